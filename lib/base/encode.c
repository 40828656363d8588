/* encode.c - see encode.h. */
#include "lib/base/encode.h"

#include "lib/base/number.h"

static const char base64_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";

bool
base64_encode(struct slice bytes, struct buf *out)
{
	const unsigned char *in = (const unsigned char *)bytes.data;
	size_t               need; /* all of it or nothing */

	if (__builtin_mul_overflow(bytes.length / 3 + (bytes.length % 3 != 0), (size_t)4, &need) ||
	    !buf_reserve(out, need))
		return false;
	for (size_t at = 0; at < bytes.length; at += 3) {
		size_t   left = bytes.length - at;
		unsigned group = (unsigned)in[at] << 16;
		char     quad[4];

		if (left > 1)
			group |= (unsigned)in[at + 1] << 8;
		if (left > 2)
			group |= in[at + 2];
		quad[0] = base64_alphabet[group >> 18];
		quad[1] = base64_alphabet[group >> 12 & 63];
		quad[2] = left > 1 ? base64_alphabet[group >> 6 & 63] : '=';
		quad[3] = left > 2 ? base64_alphabet[group & 63] : '=';
		if (!buf_append(out, slice_of(quad, 4)))
			return false;
	}
	return true;
}

static int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four characters; the number of bytes it holds, -1 when it is malformed. */
static int
base64_group(const char *quad, char *bytes)
{
	int padding = quad[3] != '=' ? 0 : quad[2] != '=' ? 1 : 2;
	int group = 0;

	for (int i = 0; i < 4; i++) {
		int value = i >= 4 - padding ? 0 : base64_value(quad[i]);

		if (value < 0)
			return -1;
		group = group << 6 | value;
	}
	if ((padding == 1 && (group & 0xff) != 0) || (padding == 2 && (group & 0xffff) != 0))
		return -1;
	bytes[0] = (char)(group >> 16);
	bytes[1] = (char)(group >> 8);
	bytes[2] = (char)group;
	return 3 - padding;
}

bool
base64_decode(struct slice text, struct buf *out)
{
	size_t start = out->length;

	if (text.length % 4 != 0)
		return false;
	for (size_t at = 0; at < text.length; at += 4) {
		char bytes[3];
		int  count = base64_group(text.data + at, bytes);

		if (count < 0 || (count < 3 && at + 4 < text.length) ||
		    !buf_append(out, slice_of(bytes, (size_t)count))) {
			buf_truncate(out, start);
			return false;
		}
	}
	return true;
}

bool
hex_encode(struct slice bytes, struct buf *out)
{
	size_t need;

	if (__builtin_mul_overflow(bytes.length, (size_t)2, &need) || !buf_reserve(out, need))
		return false;
	for (size_t i = 0; i < bytes.length; i++) {
		unsigned char c = (unsigned char)bytes.data[i];

		buf_append_byte(out, hex_lower[c >> 4]);
		buf_append_byte(out, hex_lower[c & 15]);
	}
	return !out->has_failed;
}

bool
hex_decode(struct slice text, struct buf *out)
{
	size_t start = out->length;

	if (text.length % 2 != 0)
		return false;
	for (size_t at = 0; at < text.length; at += 2) {
		uint64_t byte;

		if (!number_parse_hex(slice_of(text.data + at, 2), 255, &byte) ||
		    !buf_append_byte(out, (char)byte)) {
			buf_truncate(out, start);
			return false;
		}
	}
	return true;
}

/* ---- quoted-printable ---- */

#define QUOTED_LINE_MOST 76

static void
quoted_put(struct quoted *quoted, char c, bool is_literal, struct buf *out)
{
	size_t width = is_literal ? 1 : 3;

	if (quoted->column + width >= QUOTED_LINE_MOST) { /* with room for the soft break's = */
		buf_append_text(out, "=\r\n");
		quoted->column = 0;
	}
	quoted->column += width;
	if (is_literal) {
		buf_append_byte(out, c);
		return;
	}
	buf_append_byte(out, '=');
	buf_append_byte(out, hex_upper[(unsigned char)c >> 4]);
	buf_append_byte(out, hex_upper[(unsigned char)c & 15]);
}

/* What was held is no end of a line after all, unless is_end. */
static void
quoted_release(struct quoted *quoted, bool is_end, struct buf *out)
{
	if (quoted->held != 0)
		quoted_put(quoted, quoted->held, quoted->held != '\r' && !is_end, out);
	quoted->held = 0;
}

static void
quoted_byte(struct quoted *quoted, char c, struct buf *out)
{
	if (c == '\n' && quoted->held == '\r') {
		buf_append_text(out, "\r\n");
		*quoted = (struct quoted){ 0 };
	} else if (c == ' ' || c == '\t' || c == '\r') {
		quoted_release(quoted, c == '\r', out);
		quoted->held = c;
	} else {
		quoted_release(quoted, false, out);
		quoted_put(quoted, c, c > ' ' && c < 127 && c != '=', out);
	}
}

bool
quoted_encode(struct quoted *quoted, struct slice bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.length; i++)
		quoted_byte(quoted, bytes.data[i], out);
	return !out->has_failed;
}

bool
quoted_end(struct quoted *quoted, struct buf *out)
{
	quoted_release(quoted, true, out);
	return !out->has_failed;
}

/* ---- xtext ---- */

bool
xtext_encode(struct slice bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.length; i++) {
		char c = bytes.data[i];

		if (c > 32 && c < 127 && c != '+' && c != '=') {
			buf_append_byte(out, c);
			continue;
		}
		buf_append_byte(out, '+');
		buf_append_byte(out, hex_upper[(unsigned char)c >> 4]);
		buf_append_byte(out, hex_upper[(unsigned char)c & 15]);
	}
	return !out->has_failed;
}

static bool
is_upper_hex(char c)
{
	return ascii_is_digit(c) || (c >= 'A' && c <= 'F');
}

bool
xtext_decode(struct slice text, struct buf *out)
{
	size_t start = out->length;

	for (size_t at = 0; at < text.length; at++) {
		char     c = text.data[at];
		uint64_t byte = (unsigned char)c;
		bool     is_good = c > 32 && c < 127;

		if (c == '+') {
			is_good = text.length - at > 2 && is_upper_hex(text.data[at + 1]) &&
			          is_upper_hex(text.data[at + 2]) &&
			          number_parse_hex(slice_of(text.data + at + 1, 2), 255, &byte);
			at += 2;
		}
		if (!is_good || !buf_append_byte(out, (char)byte)) {
			buf_truncate(out, start);
			return false;
		}
	}
	return true;
}
