/*
 * arena.h - memory for things that die together (a session, a transaction, a lookup).
 *
 * Allocation from an arena fails when its limit is reached or memory is out: NULL, and the
 * caller turns that into its reply ("452 insufficient storage"). Nothing is freed singly.
 */
#ifndef DAKIYA_BASE_ARENA_H
#define DAKIYA_BASE_ARENA_H

#include "lib/base/slice.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks;
	size_t              used;       /* bytes handed out and chunk overhead */
	size_t              limit;      /* most bytes; 0 means 16 MB */
	bool                has_failed; /* an allocation, since it was last empty */
};

#define ARENA(most) ((struct arena){ .limit = (most) })

/* Zeroed, aligned for any type; NULL when the limit or memory is reached. */
void *arena_alloc(struct arena *arena, size_t size);
/* For count things of size bytes; the product is checked. */
void *arena_alloc_array(struct arena *arena, size_t count, size_t size);
/* A copy with a NUL behind it; data is NULL when there is no room. */
struct slice arena_copy(struct arena *arena, struct slice bytes);
/* The same as a C string; NULL when there is no room. Only for text without NUL inside. */
char *arena_text(struct arena *arena, struct slice bytes);
/* printf into the arena; NULL when there is no room. */
char *arena_format(struct arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Releases everything; the arena may be used again. */
void arena_reset(struct arena *arena);

#endif
