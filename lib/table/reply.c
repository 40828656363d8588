/* reply.c - see reply.h. */
#include "lib/table/reply.h"

#include "lib/base/number.h"

#define REASON_MOST 200 /* bytes of a server's reason in our words */

static enum reply_parse
malformed(struct error *error, const char *why)
{
	error_set(error, "malformed reply: %s", why);
	return REPLY_MALFORMED;
}

/* Control bytes are escaped by the log. */
static enum reply_parse
later(enum lookup *answer, struct error *error, const char *what, struct slice reason)
{
	*answer = LOOKUP_TRY_LATER;
	error_set(error, "the server says: %s%s%.*s", what, slice_is_empty(reason) ? "" : " ",
	          SLICE_ARGS(slice_first(reason, REASON_MOST)));
	return REPLY_DONE;
}

/* "5:hello," at the start of input. */
static enum reply_parse
netstring(struct slice input, struct slice *content, size_t *used, struct error *error)
{
	size_t  digits = 0;
	int64_t length = 0;

	while (digits < input.length && ascii_is_digit(input.data[digits]))
		digits++;
	if (digits > 6)
		return malformed(error, "the length is too large");
	if (digits == input.length)
		return REPLY_MORE;
	if (input.data[digits] != ':' || digits == 0 || (digits > 1 && input.data[0] == '0') ||
	    !number_parse(slice_first(input, digits), 0, REPLY_MOST, &length))
		return malformed(error, "want a netstring of at most 100000 bytes");
	size_t whole = digits + 1 + (size_t)length + 1;
	if (input.length < whole)
		return REPLY_MORE;
	if (input.data[whole - 1] != ',')
		return malformed(error, "no comma behind the netstring");
	*content = slice_of(input.data + digits + 1, (size_t)length);
	*used = whole;
	return REPLY_DONE;
}

enum reply_parse
reply_parse_socketmap(struct slice input, size_t *used, enum lookup *answer, struct buf *value,
                      struct error *error)
{
	struct slice     content, text;
	enum reply_parse parse = netstring(input, &content, used, error);

	if (parse != REPLY_DONE)
		return parse;
	size_t       space = slice_find_byte(content, ' ');
	struct slice word = slice_first(content, space);
	text = space == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(content, space + 1);
	if (slice_equal(word, SLICE("OK"))) {
		*answer = LOOKUP_FOUND;
		return buf_append(value, text)
		               ? REPLY_DONE
		               : later(answer, error, "a value that is too long", SLICE_EMPTY);
	}
	if (slice_equal(word, SLICE("NOTFOUND"))) {
		*answer = LOOKUP_NOT_FOUND;
		return REPLY_DONE;
	}
	if (slice_equal(word, SLICE("TEMP")))
		return later(answer, error, "TEMP", text);
	if (slice_equal(word, SLICE("TIMEOUT")))
		return later(answer, error, "TIMEOUT", text);
	if (slice_equal(word, SLICE("PERM")))
		return later(answer, error, "PERM", text);
	return malformed(error, "want OK, NOTFOUND, TEMP, TIMEOUT or PERM");
}

/* ---- tcp ---- */

bool
reply_quote_tcp(struct slice key, struct buf *out)
{
	for (size_t i = 0; i < key.length; i++) {
		char c = key.data[i];

		if (!ascii_is_print(c) || c == ' ' || c == '%')
			buf_append_format(out, "%%%02X", (unsigned char)c);
		else
			buf_append_byte(out, c);
	}
	return !out->has_failed;
}

static bool
unquote(struct slice text, struct buf *out)
{
	for (size_t i = 0; i < text.length; i++) {
		uint64_t byte = 0;

		if (text.data[i] != '%') {
			buf_append_byte(out, text.data[i]);
			continue;
		}
		struct slice digits = slice_first(slice_from_offset(text, i + 1), 2);
		if (digits.length != 2 || !number_parse_hex(digits, 255, &byte))
			return false;
		buf_append_byte(out, (char)byte);
		i += 2;
	}
	return true;
}

enum reply_parse
reply_parse_tcp(struct slice input, size_t *used, enum lookup *answer, struct buf *value,
                struct error *error)
{
	size_t       end = slice_find_byte(input, '\n');
	struct slice line = slice_first(input, end), text;

	if (end == SLICE_NOT_FOUND)
		return input.length > REPLY_MOST ? malformed(error, "the line is too long")
		                                 : REPLY_MORE;
	if (line.length > 0 && line.data[line.length - 1] == '\r')
		line.length--;
	if (line.length < 4 || line.data[3] != ' ')
		return malformed(error, "want a code, a blank and a text");
	*used = end + 1;
	text = slice_from_offset(line, 4);
	if (slice_starts_with(line, SLICE("500 "))) {
		*answer = LOOKUP_NOT_FOUND;
		return REPLY_DONE;
	}
	if (slice_starts_with(line, SLICE("400 ")))
		return later(answer, error, "400", text);
	if (!slice_starts_with(line, SLICE("200 ")))
		return malformed(error, "want the code 200, 400 or 500");
	buf_clear(value);
	if (!unquote(text, value))
		return malformed(error, "bad %XX in the value");
	*answer = LOOKUP_FOUND;
	return value->has_failed ? later(answer, error, "a value that is too long", SLICE_EMPTY)
	                         : REPLY_DONE;
}
