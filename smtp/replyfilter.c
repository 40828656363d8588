/* replyfilter.c - smtp_reply_filter: what a server says, line by line, as the admin reads it. */
#include "lib/base/log.h"
#include "smtp/smtp.h"

#define LINE_MOST (64u * 1024)

/* The line as the table has it; itself when the table does not know it. False: *error. */
static bool
translate(struct session *session, struct slice line, struct buf *value, struct error *error)
{
	buf_clear(value);
	switch (table_list_lookup(session->agent->reply_filter, line, value, error)) {
	case LOOKUP_FOUND: break;
	case LOOKUP_NOT_FOUND: return true;
	case LOOKUP_TRY_LATER: return error_prefix(error, "smtp_reply_filter");
	}
	if (slice_has_control(buf_slice(value))) {
		log_warning("smtp_reply_filter: a result with a control character is not used");
		buf_clear(value);
	}
	return true;
}

bool
reply_filter_lines(struct session *session, struct slice input, struct filtered_reply *reply,
                   struct error *error)
{
	struct buf value = BUF(LINE_MOST);
	bool       ok = true;

	while (ok && !reply->is_whole) {
		struct slice rest = slice_from_offset(input, reply->taken);
		size_t       length = slice_find_byte(rest, '\n');

		if (length == SLICE_NOT_FOUND)
			break;
		struct slice line = slice_first(rest, length);
		reply->taken += length + 1;
		if (slice_ends_with(line, SLICE("\r")))
			line.length--;
		ok = translate(session, line, &value, error);
		if (value.length > 0)
			line = buf_slice(&value);
		reply->is_whole = line.length < 4 || line.data[3] != '-';
		buf_append(&reply->text, line);
		if (ok && !buf_append_text(&reply->text, "\r\n"))
			ok = error_set(error, "out of memory for a reply");
	}
	buf_free(&value);
	return ok;
}
