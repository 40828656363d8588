/* posix.c - see posix.h. */
#include "lib/table/posix.h"

/* "[...]" at the start of text, with "[]x]" and "[[:alpha:]]" as POSIX reads them; 0: no end. */
static size_t
bracket_length(struct slice text)
{
	size_t at = 1;

	if (at < text.length && text.data[at] == '^')
		at++;
	if (at < text.length && text.data[at] == ']')
		at++;
	while (at < text.length) {
		struct slice rest = slice_from_offset(text, at);
		bool         is_class = rest.length > 1 && rest.data[0] == '[' &&
		                (rest.data[1] == ':' || rest.data[1] == '.' || rest.data[1] == '=');

		if (text.data[at] == ']')
			return at + 1;
		if (is_class) {
			char   end[2] = { rest.data[1], ']' };
			size_t close = slice_find(slice_from_offset(rest, 2), slice_of(end, 2));

			if (close == SLICE_NOT_FOUND)
				return 0;
			at += 2 + close + 2;
			continue;
		}
		at++;
	}
	return 0;
}

static void
bracket_append(struct slice bracket, struct buf *out)
{
	for (size_t i = 0; i < bracket.length; i++) {
		bool is_class = i > 0 && bracket.data[i] == '[' && i + 1 < bracket.length &&
		                bracket.data[i + 1] == ':';

		/* A '[' that begins no class is literal; PCRE2 may think otherwise. */
		if (bracket.data[i] == '\\' || (i > 0 && bracket.data[i] == '[' && !is_class))
			buf_append_byte(out, '\\');
		buf_append_byte(out, bracket.data[i]);
	}
}

/* A backslash and the byte behind it. */
static void
escape_append(char c, bool is_basic, struct buf *out)
{
	if (c == '<')
		buf_append_text(out, "\\b(?=\\w)");
	else if (c == '>')
		buf_append_text(out, "\\b(?<=\\w)");
	else if (is_basic && strchr("(){}+?|", c) != NULL && c != '\0')
		buf_append_byte(out, c);
	else {
		buf_append_byte(out, '\\');
		buf_append_byte(out, c);
	}
}

bool
posix_rewrite(struct slice pattern, bool is_basic, struct buf *out)
{
	for (size_t i = 0; i < pattern.length; i++) {
		char         c = pattern.data[i];
		struct slice rest = slice_from_offset(pattern, i);
		size_t       length = c == '[' ? bracket_length(rest) : 0;

		if (length > 0) {
			bracket_append(slice_first(rest, length), out);
			i += length - 1;
		} else if (c == '\\' && i + 1 < pattern.length) {
			escape_append(pattern.data[++i], is_basic, out);
		} else if (is_basic && c != '\0' && strchr("(){}+?|", c) != NULL) {
			buf_append_byte(out, '\\');
			buf_append_byte(out, c);
		} else {
			buf_append_byte(out, c);
		}
	}
	return !out->has_failed;
}
