/* content.c - see content.h. */
#include "lib/mailbox/content.h"

#include <time.h>

#include "lib/mail/address.h"
#include "lib/mail/header.h"

static bool
give_out(struct content_count *count, struct slice bytes, struct buf *out)
{
	if (bytes.length == 0)
		return true;
	content_measure(count, bytes);
	return buf_append(out, bytes);
}

void
content_measure(struct content_count *count, struct slice stored)
{
	if (stored.length == 0)
		return;
	const char *at = stored.data, *end = stored.data + stored.length;
	count->size += stored.length;
	count->virtual_size += stored.length;
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));

		if (newline == NULL)
			break;
		bool follows_cr = newline == stored.data ? count->after_cr : newline[-1] == '\r';
		if (!follows_cr)
			count->virtual_size++;
		at = newline + 1;
	}
	count->after_cr = end[-1] == '\r';
	count->ends_line = end[-1] == '\n';
}

bool
content_convert(struct content_count *count, struct slice input, struct buf *out)
{
	if (input.length == 0)
		return true;
	if (!buf_reserve(out, input.length + 1))
		return false;
	const char *at = input.data, *end = input.data + input.length;
	if (count->holds_cr && *at != '\n')
		give_out(count, SLICE("\r"), out);
	count->holds_cr = false;
	/* The hot path of large messages: one look at a line, one copy. */
	char *put = out->data + out->length;
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline == NULL ? end : newline;
		bool        has_cr = stop > at && stop[-1] == '\r';
		size_t      text = (size_t)(stop - at) - has_cr;

		memcpy(put, at, text);
		put += text;
		if (text > 0)
			count->after_cr = at[text - 1] == '\r';
		count->ends_line = newline != NULL || (text == 0 && count->ends_line);
		if (newline == NULL) {
			count->holds_cr = has_cr;
			break;
		}
		*put++ = '\n';
		count->virtual_size += !count->after_cr;
		count->after_cr = false;
		at = newline + 1;
	}
	size_t given = (size_t)(put - out->data) - out->length;
	count->size += given;
	count->virtual_size += given;
	out->length += given;
	return true;
}

bool
content_finish(struct content_count *count, struct buf *out)
{
	bool held = count->holds_cr;

	count->holds_cr = false;
	if (held && !give_out(count, SLICE("\r"), out))
		return false;
	return count->size == 0 || count->ends_line || give_out(count, SLICE("\n"), out);
}

void
content_quote(struct content_quoting *quoting, struct slice bytes, struct buf *out)
{
	static const char from[] = "From ";

	while (bytes.length > 0) {
		size_t have = 0;

		while (!quoting->in_line && quoting->matched < 5 && have < bytes.length &&
		       bytes.data[have] == from[quoting->matched]) {
			quoting->matched++;
			have++;
		}
		bytes = slice_from_offset(bytes, have);
		if (!quoting->in_line && quoting->matched < 5 && bytes.length == 0)
			return;
		if (quoting->matched == 5)
			buf_append_byte(out, '>');
		buf_append(out, slice_of(from, quoting->matched));
		quoting->matched = 0;
		size_t newline = slice_find_byte(bytes, '\n');
		quoting->in_line = newline == SLICE_NOT_FOUND;
		size_t length = quoting->in_line ? bytes.length : newline + 1;
		buf_append(out, slice_first(bytes, length));
		bytes = slice_from_offset(bytes, length);
	}
}

void
content_quote_finish(struct content_quoting *quoting, struct buf *out)
{
	buf_append(out, slice_first(SLICE("From "), quoting->matched));
	*quoting = (struct content_quoting){ 0 };
}

void
content_append_from_line(struct buf *out, struct slice sender, int64_t wall_s)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t            now = (time_t)wall_s;
	struct tm         local = { 0 };

	localtime_r(&now, &local);
	buf_append_text(out, "From ");
	if (sender.length == 0)
		buf_append_text(out, "MAILER-DAEMON");
	else if (!address_append_external(out, sender))
		buf_append(out, sender);
	buf_append_format(out, " %.3s %.3s %2d %02d:%02d:%02d %d\n",
	                  days + 3 * (size_t)local.tm_wday, months + 3 * (size_t)local.tm_mon,
	                  local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec,
	                  local.tm_year + 1900);
}

bool
content_append_fields(struct buf *out, struct slice sender, struct slice original,
                      struct slice recipient)
{
	if (slice_has_control(sender) || slice_has_control(original) ||
	    slice_has_control(recipient))
		return false;
	buf_append_text(out, "Return-Path: <");
	if (sender.length > 0)
		address_append_external(out, sender);
	buf_append_text(out, ">\nX-Original-To: ");
	address_append_external(out, original.length > 0 ? original : recipient);
	if (recipient.length > 0) {
		buf_append_text(out, "\nDelivered-To: ");
		address_append_external(out, recipient);
	}
	return buf_append_byte(out, '\n');
}

bool
content_was_delivered_to(struct slice content, struct slice recipient)
{
	struct buf          external = BUF(2048);
	struct slice        block = content;
	struct header_field field;
	bool                was = false;

	if (!address_append_external(&external, recipient))
		buf_append(&external, recipient);
	while (!was && header_next(&block, &field))
		if (slice_equal_fold(field.name, SLICE("Delivered-To"))) {
			struct slice value = slice_trim(field.value);

			was = slice_equal_fold(value, recipient) ||
			      slice_equal_fold(value, buf_slice(&external));
		}
	buf_free(&external);
	return was;
}
