/*
 * error.h - what went wrong in the world around us, worded where it happened.
 *
 * A function that can fail takes a `struct error *` last, returns false (or its own enum) and
 * words the reason; callers may put context in front; whoever decides logs it once.
 * A NULL error pointer is allowed and means that the caller does not want the words.
 */
#ifndef DAKIYA_BASE_ERROR_H
#define DAKIYA_BASE_ERROR_H

#include <stdbool.h>

struct error {
	int  errno_value; /* the system's errno when that was the cause, otherwise 0 */
	char text[500];   /* one line without a final stop; control bytes are escaped when logged */
};

#define ERROR_NONE ((struct error){ 0, "" })

/* Sets the text; always returns false so that `return error_set(...)` ends a function. */
bool error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with ": " and the text of errno behind it, errno kept in errno_value. */
bool error_set_errno(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Puts context and ": " in front of what is there; always returns false. */
bool error_prefix(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
