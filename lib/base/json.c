/* json.c - see json.h. */
#include "lib/base/json.h"

/* U+2028 or U+2029: readers that split at what Unicode calls a line end would cut a line in two. */
static bool
is_line_end(struct slice text)
{
	return slice_starts_with(text, SLICE("\xe2\x80\xa8")) ||
	       slice_starts_with(text, SLICE("\xe2\x80\xa9"));
}

bool
json_append_string(struct buf *out, struct slice text)
{
	bool is_utf8 = slice_is_utf8(text);

	buf_append_byte(out, '"');
	for (size_t i = 0; i < text.length; i++) {
		unsigned char c = (unsigned char)text.data[i];

		if (c == '"' || c == '\\')
			buf_append_byte(out, '\\');
		if (c < 32 || c == 127) {
			buf_append_format(out, "\\u%04x", c);
		} else if (is_utf8 && c == 0xc2 && (unsigned char)text.data[i + 1] < 0xa0) {
			/* C1 controls (U+0080..U+009F) move terminals, too. */
			buf_append_format(out, "\\u%04x", (unsigned char)text.data[++i]);
		} else if (is_utf8 && is_line_end(slice_from_offset(text, i))) {
			buf_append_format(out, "\\u%04x",
			                  text.data[i + 2] == '\xa8' ? 0x2028 : 0x2029);
			i += 2;
		} else {
			buf_append_byte(out, c >= 128 && !is_utf8 ? '?' : text.data[i]);
		}
	}
	return buf_append_byte(out, '"');
}

bool
json_append_member(struct buf *out, const char *name, struct slice text)
{
	json_append_string(out, slice_from(name));
	buf_append_byte(out, ':');
	return json_append_string(out, text);
}
