/* dsn.c - fields of delivery status notifications. See dsn.h. */
#include "lib/mail/dsn.h"

#include "lib/mail/address.h"

#define LINE_WANTED 78
#define WORD_MOST   900 /* a word without blanks is cut here: RFC 5322 2.1.1 allows 998 */

/* ---- cleaning ---- */

/* Byte by byte; line ends and tabs are blanks, for replies of several lines. */
static bool
append_clean(struct buf *out, struct slice value, bool allow_utf8)
{
	bool keeps_utf8 = allow_utf8 && slice_is_utf8(value);

	for (size_t i = 0; i < value.length; i++) {
		char c = value.data[i];

		if (ascii_is_space(c))
			c = ' ';
		else if (ascii_is_control(c) || ((unsigned char)c >= 128 && !keeps_utf8))
			c = '?';
		buf_append_byte(out, c);
	}
	return !out->has_failed;
}

/* At most DSN_VALUE_MOST bytes, not cut inside a UTF-8 sequence. */
static struct slice
bounded(struct slice value)
{
	size_t length = value.length;

	if (length <= DSN_VALUE_MOST)
		return value;
	length = DSN_VALUE_MOST;
	while (length > 0 && ((unsigned char)value.data[length] & 0xc0) == 0x80)
		length--;
	return slice_first(value, length);
}

/* ---- wrapping ---- */

/* Length of the piece of a long word that fits; never inside a UTF-8 sequence. */
static size_t
word_piece(struct slice word)
{
	size_t length = WORD_MOST;

	if (word.length <= WORD_MOST)
		return word.length;
	while (length > WORD_MOST - 4 && ((unsigned char)word.data[length] & 0xc0) == 0x80)
		length--;
	return length;
}

static void
append_blanks(struct buf *out, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_append_byte(out, ' ');
}

/* Words separated by blanks, a new line with hang blanks in front when one does not fit. */
static bool
append_wrapped(struct buf *out, struct slice text, size_t column, size_t hang)
{
	struct slice word;
	bool         is_first = true;

	while (slice_next_word(&text, " ", &word)) {
		while (word.length > 0) {
			size_t length = word_piece(word);

			if (!is_first && column + 1 + length > LINE_WANTED) {
				buf_append_text(out, "\r\n");
				append_blanks(out, hang);
				column = hang;
			} else if (column > 0) {
				buf_append_byte(out, ' ');
				column++;
			}
			buf_append(out, slice_first(word, length));
			column += length;
			word = slice_from_offset(word, length);
			is_first = false;
		}
	}
	return buf_append_text(out, "\r\n");
}

bool
dsn_append_text(struct buf *out, struct slice text, size_t column, size_t hang, bool allow_utf8)
{
	struct buf clean = BUF(DSN_VALUE_MOST);
	bool       ok = append_clean(&clean, bounded(text), allow_utf8) &&
	          append_wrapped(out, buf_slice(&clean), column, hang);

	buf_free(&clean);
	return ok;
}

/* ---- fields ---- */

static bool
append_name(struct buf *out, const char *name, const char *type)
{
	buf_append_format(out, "%s:", name);
	return type == NULL || buf_append_format(out, " %s;", type);
}

bool
dsn_append_field(struct buf *out, const char *name, const char *type, struct slice value,
                 bool allow_utf8)
{
	size_t start = out->length;

	append_name(out, name, type);
	return dsn_append_text(out, value, out->length - start, 4, allow_utf8);
}

bool
dsn_append_exact(struct buf *out, const char *name, const char *type, struct slice value,
                 bool allow_utf8)
{
	if (value.length > WORD_MOST)
		return dsn_append_field(out, name, type, value, allow_utf8);
	append_name(out, name, type);
	buf_append_byte(out, ' ');
	return append_clean(out, value, allow_utf8) && buf_append_text(out, "\r\n");
}

/* The code point at the start of well-formed UTF-8, and its length. */
static unsigned long
code_point(struct slice text, size_t *length)
{
	unsigned char first = (unsigned char)text.data[0];
	unsigned long value;

	*length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	value = *length == 1 ? first : first & (0xffu >> (*length + 1));
	for (size_t i = 1; i < *length; i++)
		value = value << 6 | ((unsigned char)text.data[i] & 0x3f);
	return value;
}

/* utf-8-addr-xtext of RFC 6533 3; bytes in `kept` stay as they are. */
static bool
append_escaped(struct buf *out, struct slice text, const char *kept)
{
	while (text.length > 0) {
		size_t        length;
		unsigned long value = code_point(text, &length);

		if (value > ' ' && value < 127 &&
		    (strchr("\\+=", (int)value) == NULL || strchr(kept, (int)value) != NULL))
			buf_append_byte(out, (char)value);
		else
			buf_append_format(out, "\\x{%lX}", value);
		text = slice_from_offset(text, length);
	}
	return !out->has_failed;
}

bool
dsn_append_address(struct buf *out, const char *name, struct slice address, bool allow_utf8)
{
	struct buf external = BUF(DSN_VALUE_MOST), escaped = BUF(DSN_VALUE_MOST * 4);
	bool       ok = address_append_external(&external, bounded(address));
	bool       is_utf8 = !slice_is_ascii(address) && slice_is_utf8(buf_slice(&external));

	if (ok && is_utf8 && !allow_utf8)
		ok = append_escaped(&escaped, buf_slice(&external), "") &&
		     dsn_append_exact(out, name, "utf-8", buf_slice(&escaped), false);
	else if (ok)
		ok = dsn_append_exact(out, name, is_utf8 ? "utf-8" : "rfc822", buf_slice(&external),
		                      allow_utf8);
	buf_free(&external);
	buf_free(&escaped);
	return ok;
}

bool
dsn_append_utf8_original(struct buf *out, struct slice address)
{
	return slice_is_utf8(address) ? append_escaped(out, address, "\\")
	                              : append_clean(out, address, false);
}

bool
dsn_append_typed(struct buf *out, const char *name, struct slice typed, bool allow_utf8)
{
	size_t semicolon = slice_find_byte(typed, ';');
	char   type[40];

	if (semicolon == SLICE_NOT_FOUND || semicolon == 0 || semicolon >= sizeof(type))
		return dsn_append_exact(out, name, "rfc822", typed, allow_utf8);
	for (size_t i = 0; i < semicolon; i++) {
		char c = typed.data[i];

		type[i] = ascii_is_alnum(c) || c == '-' ? c : '?';
	}
	type[semicolon] = '\0';
	typed = slice_trim(slice_from_offset(typed, semicolon + 1));
	if (allow_utf8 || slice_is_ascii(typed) ||
	    !slice_equal_fold(slice_from(type), SLICE("utf-8")))
		return dsn_append_exact(out, name, type, typed, allow_utf8);
	struct buf escaped = BUF(DSN_VALUE_MOST * 4);
	bool       ok = dsn_append_utf8_original(&escaped, bounded(typed)) &&
	          dsn_append_exact(out, name, type, buf_slice(&escaped), false);
	buf_free(&escaped);
	return ok;
}
