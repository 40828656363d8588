/* buf.c - see buf.h. */
#include "lib/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

void
buf_free(struct buf *buf)
{
	free(buf->data);
	*buf = BUF(buf->limit);
}

void
buf_clear(struct buf *buf)
{
	buf->length = 0;
	buf->has_failed = false;
}

/* One byte beyond what is asked is always there, for buf_text's NUL. */
bool
buf_reserve(struct buf *buf, size_t more)
{
	size_t need, capacity;

	if (buf->has_failed)
		return false;
	if (__builtin_add_overflow(buf->length, more, &need) || need > buf->limit) {
		buf->has_failed = true;
		return false;
	}
	if (need < buf->capacity)
		return true;
	capacity = buf->capacity < 64 ? 64 : buf->capacity;
	while (capacity <= need)
		capacity = capacity > SIZE_MAX / 2 ? SIZE_MAX : capacity * 2;
	if (capacity > buf->limit && buf->limit < SIZE_MAX)
		capacity = buf->limit + 1;
	char *data = realloc(buf->data, capacity);
	if (data == NULL) {
		buf->has_failed = true;
		return false;
	}
	buf->data = data;
	buf->capacity = capacity;
	return true;
}

bool
buf_reserve_some(struct buf *buf, size_t most)
{
	size_t room = buf->limit - buf->length;

	return buf_reserve(buf, most < room ? most : room);
}

bool
buf_append(struct buf *buf, struct slice bytes)
{
	if (!buf_reserve(buf, bytes.length))
		return false;
	if (bytes.length > 0)
		memcpy(buf->data + buf->length, bytes.data, bytes.length);
	buf->length += bytes.length;
	return true;
}

bool
buf_append_text(struct buf *buf, const char *text)
{
	return buf_append(buf, slice_from(text));
}

bool
buf_append_byte(struct buf *buf, char byte)
{
	if (!buf_reserve(buf, 1))
		return false;
	buf->data[buf->length++] = byte;
	return true;
}

bool
buf_append_vformat(struct buf *buf, const char *format, va_list arguments)
{
	size_t  room = buf->has_failed ? 0 : buf->capacity - buf->length;
	va_list again;

	/* Mostly there is room; otherwise this tells how much it takes. */
	va_copy(again, arguments);
	int need = vsnprintf(room > 0 ? buf->data + buf->length : NULL, room, format, again);
	va_end(again);
	if (need >= 0 && (size_t)need < room) {
		buf->length += (size_t)need;
		return true;
	}
	if (need < 0 || !buf_reserve(buf, (size_t)need)) {
		buf->has_failed = true;
		return false;
	}
	vsnprintf(buf->data + buf->length, (size_t)need + 1, format, arguments);
	buf->length += (size_t)need;
	return true;
}

bool
buf_append_format(struct buf *buf, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	bool done = buf_append_vformat(buf, format, arguments);
	va_end(arguments);
	return done;
}

bool
buf_append_u64(struct buf *buf, uint64_t number)
{
	char   digits[20];
	size_t count = 0;

	do {
		digits[sizeof(digits) - ++count] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return buf_append(buf, slice_of(digits + sizeof(digits) - count, count));
}

bool
buf_append_lower(struct buf *buf, struct slice bytes)
{
	if (!buf_reserve(buf, bytes.length))
		return false;
	for (size_t i = 0; i < bytes.length; i++)
		buf->data[buf->length + i] = ascii_lower(bytes.data[i]);
	buf->length += bytes.length;
	return true;
}

bool
buf_append_printable(struct buf *buf, struct slice bytes)
{
	bool is_utf8 = slice_is_utf8(bytes);

	if (!buf_reserve(buf, bytes.length))
		return false;
	for (size_t i = 0; i < bytes.length; i++) {
		char c = bytes.data[i];
		bool is_bad = ascii_is_control(c) || (!is_utf8 && (unsigned char)c >= 128);

		/* C1 controls (U+0080..U+009F) move terminals, too. */
		if (is_utf8 && (unsigned char)c == 0xc2 && i + 1 < bytes.length &&
		    (unsigned char)bytes.data[i + 1] < 0xa0) {
			buf->data[buf->length + i] = '?';
			i++;
			is_bad = true;
		}
		buf->data[buf->length + i] = is_bad ? '?' : c;
	}
	buf->length += bytes.length;
	return true;
}

void
buf_consume(struct buf *buf, size_t count)
{
	if (count >= buf->length) {
		buf->length = 0;
		return;
	}
	memmove(buf->data, buf->data + count, buf->length - count);
	buf->length -= count;
}

void
buf_truncate(struct buf *buf, size_t length)
{
	if (length < buf->length)
		buf->length = length;
}

struct slice
buf_slice(const struct buf *buf)
{
	return buf->length == 0 ? SLICE_EMPTY : slice_of(buf->data, buf->length);
}

const char *
buf_text(struct buf *buf)
{
	if (buf->has_failed || !buf_reserve(buf, 0))
		return "";
	buf->data[buf->length] = '\0';
	return buf->data;
}
