/*
 * memory.h - how much memory this mail system may still take.
 *
 * What counts is the control group that we run in and those above it (version 2, or 1), and without
 * a limit there, the machine. Who begins something that needs memory asks first and says "later":
 * the kernel does not fail an allocation in a group that is full, it kills. Files in the page cache
 * count as free. The files are opened once, before a sandbox closes, and read at most every 10 ms
 * (100 ms while there is plenty): asking is cheap, also for every command. Any thread may ask.
 *
 * LIMIT: in groups of version 1 swap is not counted, so "later" is said although pages could be
 * swapped.
 */
#ifndef DAKIYA_BASE_MEMORY_H
#define DAKIYA_BASE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Below such a limit nothing is kept running that nobody uses, and threads are few. */
#define MEMORY_LITTLE (INT64_C(64) << 20)

struct memory;

/* Never fails: of what cannot be read there is plenty. root is "" but in tests. NULL is a memory,
 * too. */
struct memory *memory_open(const char *root);
void           memory_close(struct memory **memory);

/* Bytes there are at all; INT64_MAX when unknown. */
int64_t memory_limit(const struct memory *memory);
bool    memory_is_little(const struct memory *memory);
/* Bytes that are left; INT64_MAX when unknown. */
int64_t memory_left(struct memory *memory);
/* What is kept for what has been begun: a sixteenth of the limit, 1 to 16 MB. */
int64_t memory_reserve(const struct memory *memory);
/* Whether something may be begun that takes so many bytes: then the reserve must be left. */
bool memory_allows(struct memory *memory, int64_t bytes);
/* Whether what is kept only to be faster had better be given back: three quarters of little memory
 * are taken, or of more all but two reserves. */
bool memory_is_short(struct memory *memory);

#endif
