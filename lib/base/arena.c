/* arena.c - see arena.h. */
#include "lib/base/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_LEAST   1024
#define CHUNK_MOST    65536
#define DEFAULT_LIMIT (16u << 20)

struct arena_chunk {
	struct arena_chunk *next;
	size_t              size; /* bytes in data */
	size_t              used;
	max_align_t         data[];
};

static struct arena_chunk *
chunk_add(struct arena *arena, size_t least)
{
	size_t limit = arena->limit == 0 ? DEFAULT_LIMIT : arena->limit;
	size_t size = arena->chunks == NULL ? CHUNK_LEAST : arena->chunks->size * 2;
	size_t whole;

	if (size > CHUNK_MOST)
		size = CHUNK_MOST;
	if (size < least)
		size = least;
	if (__builtin_add_overflow(size, sizeof(struct arena_chunk), &whole) || whole > limit ||
	    arena->used > limit - whole)
		return NULL;
	struct arena_chunk *chunk = malloc(whole);
	if (chunk == NULL)
		return NULL;
	chunk->size = size;
	chunk->used = 0;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	arena->used += whole;
	return chunk;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = arena->chunks;
	size_t              rounded;

	if (__builtin_add_overflow(size, sizeof(max_align_t) - 1, &rounded))
		return NULL;
	rounded -= rounded % sizeof(max_align_t);
	if (chunk == NULL || chunk->size - chunk->used < rounded)
		chunk = chunk_add(arena, rounded);
	if (chunk == NULL) {
		arena->has_failed = true;
		return NULL;
	}
	void *at = (char *)chunk->data + chunk->used;
	chunk->used += rounded;
	memset(at, 0, size);
	return at;
}

void *
arena_alloc_array(struct arena *arena, size_t count, size_t size)
{
	size_t whole;

	if (__builtin_mul_overflow(count, size, &whole))
		return NULL;
	return arena_alloc(arena, whole);
}

struct slice
arena_copy(struct arena *arena, struct slice bytes)
{
	char *copy = bytes.length == SIZE_MAX ? NULL : arena_alloc(arena, bytes.length + 1);

	if (copy == NULL)
		return slice_of(NULL, 0);
	if (bytes.length > 0)
		memcpy(copy, bytes.data, bytes.length);
	return slice_of(copy, bytes.length);
}

char *
arena_text(struct arena *arena, struct slice bytes)
{
	char *copy = bytes.length == SIZE_MAX ? NULL : arena_alloc(arena, bytes.length + 1);

	if (copy != NULL && bytes.length > 0)
		memcpy(copy, bytes.data, bytes.length);
	return copy;
}

char *
arena_format(struct arena *arena, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int need = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (need < 0)
		return NULL;
	char *text = arena_alloc(arena, (size_t)need + 1);
	if (text == NULL)
		return NULL;
	va_start(arguments, format);
	vsnprintf(text, (size_t)need + 1, format, arguments);
	va_end(arguments);
	return text;
}

void
arena_reset(struct arena *arena)
{
	while (arena->chunks != NULL) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		free(chunk);
	}
	arena->used = 0;
	arena->has_failed = false;
}
