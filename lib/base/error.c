/* error.c - see error.h. */
#include "lib/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool
error_set(struct error *error, const char *format, ...)
{
	va_list arguments;

	if (error == NULL)
		return false;
	error->errno_value = 0;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	return false;
}

bool
error_set_errno(struct error *error, const char *format, ...)
{
	int     saved = errno;
	char    reason_buffer[128];
	va_list arguments;

	if (error == NULL)
		return false;
	error->errno_value = saved;
	va_start(arguments, format);
	int used = vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	if (used >= 0 && (size_t)used < sizeof(error->text)) {
		const char *reason = strerror_r(saved, reason_buffer, sizeof(reason_buffer));
		snprintf(error->text + used, sizeof(error->text) - (size_t)used, ": %s", reason);
	}
	errno = saved;
	return false;
}

bool
error_prefix(struct error *error, const char *format, ...)
{
	char    tail[sizeof(error->text)];
	va_list arguments;

	if (error == NULL)
		return false;
	memcpy(tail, error->text, sizeof(tail));
	va_start(arguments, format);
	int used = vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	if (used >= 0 && (size_t)used < sizeof(error->text))
		snprintf(error->text + used, sizeof(error->text) - (size_t)used, ": %s", tail);
	return false;
}
