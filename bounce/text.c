/* text.c - the header of a notice and its part for people. See notice.h. */
#include "bounce/notice.h"

#include "lib/base/encode.h"
#include "lib/mail/address.h"
#include "lib/mail/dsn.h"
#include "lib/mail/header.h"

static bool
text_is_8bit(const struct notice *notice)
{
	return notice->is_utf8 || !slice_is_ascii(notice->template->text);
}

/* What may not take UTF-8 in header fields may not take eight bits at all: RFC 6533 4.1. */
static bool
text_is_quoted(const struct notice *notice)
{
	return notice->is_utf8 && !notice->is_global;
}

static bool
has_8bit(const struct notice *notice)
{
	return (text_is_8bit(notice) && !text_is_quoted(notice)) || notice_returns_8bit(notice);
}

/* References and In-Reply-To, when asked for and the id is one: "<...>" without blanks. */
static void
append_thread(const struct notice *notice, struct buf *out)
{
	struct slice id = notice->job->envelope.message_id;

	if (!notice->parameters->enable_threaded_bounces || id.length < 3 || id.length > 900 ||
	    id.data[0] != '<' || id.data[id.length - 1] != '>' || slice_has_control(id) ||
	    slice_contains_byte(id, ' ') || !slice_is_ascii(id))
		return;
	buf_append_format(out, "References: %.*s\r\nIn-Reply-To: %.*s\r\n", SLICE_ARGS(id),
	                  SLICE_ARGS(id));
}

static void
append_to(const struct notice *notice, struct buf *out)
{
	buf_append_text(out, "To: ");
	address_append_external(out, notice->to);
	if (slice_find_byte(notice->to, '@') == SLICE_NOT_FOUND)
		buf_append_format(out, "@%s", notice->parameters->myorigin);
	buf_append_text(out, "\r\n");
}

/*
 * The address of "Name <address>", "address (Name)" or an address alone gets our domain when it has
 * none.
 */
static void
append_from(const struct notice *notice, struct buf *out)
{
	struct slice from = notice->template->from;
	size_t       angle = slice_find_byte(from, '<');
	size_t       begin = angle == SLICE_NOT_FOUND ? 0 : angle + 1, end = begin;

	while (end < from.length && from.data[end] != '>' && from.data[end] != '(' &&
	       !ascii_is_space(from.data[end]))
		end++;
	buf_append_text(out, "From: ");
	buf_append(out, slice_first(from, end));
	if (!slice_contains_byte(slice_of(from.data + begin, end - begin), '@'))
		buf_append_format(out, "@%s", notice->parameters->myorigin);
	buf_append(out, slice_from_offset(from, end));
	buf_append_text(out, "\r\n");
}

static void
append_subject(const struct notice *notice, struct buf *out)
{
	const struct notice_template *template = notice->template;
	bool is_own =
		notice->kind->audience == FOR_SENDER || template->postmaster_subject.length == 0;
	struct slice subject = is_own ? template->subject : template->postmaster_subject;

	buf_append_format(out, "Subject: %.*s\r\n", SLICE_ARGS(subject));
}

bool
notice_append_header(const struct notice *notice, struct buf *out)
{
	const struct parameters *parameters = notice->parameters;

	buf_append_text(out, "Date: ");
	date_append(out, notice->now_s);
	buf_append_text(out, "\r\n");
	append_from(notice, out);
	append_subject(notice, out);
	append_to(notice, out);
	buf_append_text(out, "Message-Id: ");
	message_id_append(out, notice->now_s, notice->id, parameters->myhostname);
	buf_append_text(out, "\r\n");
	append_thread(notice, out);
	/* RFC 3834 5: what the postmaster gets answers nothing of his. */
	buf_append_format(out, "Auto-Submitted: auto-%s\r\n",
	                  notice->kind->audience == FOR_SENDER ? "replied" : "generated");
	if (notice->needs_no_tls)
		buf_append_text(out, "TLS-Required: no\r\n");
	buf_append_text(out, "MIME-Version: 1.0\r\n");
	buf_append_format(out,
	                  "Content-Type: multipart/report; report-type=%sdelivery-status;\r\n"
	                  "\tboundary=\"%s\"\r\n",
	                  notice->is_global ? "global-" : "", notice->boundary);
	if (has_8bit(notice))
		buf_append_text(out, "Content-Transfer-Encoding: 8bit\r\n");
	return buf_append_text(out, "\r\nThis is a MIME-encapsulated message.\r\n\r\n");
}

/* ---- part 1 ---- */

/* UTF-8 stands in the text only when it is not in another character set. */
static struct slice
charset_of(const struct notice *notice)
{
	struct slice charset = notice->template->charset;

	if (notice->is_utf8 && slice_equal_fold(charset, SLICE("us-ascii")))
		return SLICE("utf-8");
	return charset;
}

bool
notice_append_reason(const struct notice *notice, const struct notice_recipient *entry,
                     struct buf *out)
{
	struct slice relay = entry->outcome.relay;

	bool is_good = notice->kind->kind == JOB_NOTICE_SUCCESS ||
	               (notice->kind->kind == JOB_NOTICE_REPORT &&
	                entry->outcome.action != OUTCOME_FAILED &&
	                entry->outcome.action != OUTCOME_DEFERRED);

	if (is_good && relay.length > 0 && !slice_equal(relay, SLICE("none")))
		buf_append_format(
			out, "delivery via %.*s: ", SLICE_ARGS(slice_first(relay, DSN_VALUE_MOST)));
	return buf_append(out, slice_first(entry->outcome.reason, DSN_VALUE_MOST));
}

/* "<r> (expanded from <o>): reason" */
static bool
append_recipient(const struct notice *notice, const struct notice_recipient *entry, struct buf *out)
{
	struct buf   line = BUF(16384);
	struct slice original = entry->recipient.original;
	bool is_utf8 = notice->is_utf8 && slice_equal_fold(charset_of(notice), SLICE("utf-8"));

	buf_append_byte(&line, '<');
	address_append_external(&line, entry->recipient.address);
	buf_append_byte(&line, '>');
	if (original.length > 0 && !slice_equal_fold(original, entry->recipient.address)) {
		buf_append_text(&line, " (expanded from <");
		address_append_external(&line, original);
		buf_append_text(&line, ">)");
	}
	buf_append_text(&line, ": ");
	notice_append_reason(notice, entry, &line);
	bool ok = !line.has_failed && dsn_append_text(out, buf_slice(&line), 0, 4, is_utf8) &&
	          buf_append_text(out, "\r\n");
	buf_free(&line);
	return ok;
}

/* The template's lines; template.c has seen to their bytes and lengths. */
static void
append_words(const struct notice *notice, struct buf *out)
{
	struct slice rest = notice->template->text, line;

	while (rest.length > 0 && slice_next_part(&rest, '\n', &line)) {
		buf_append(out, line);
		buf_append_text(out, "\r\n");
	}
	buf_append_text(out, "\r\n");
}

static bool
append_part_header(const struct notice *notice, struct buf *out)
{
	buf_append_format(out,
	                  "--%s\r\nContent-Description: Notification\r\n"
	                  "Content-Type: text/plain; charset=%.*s\r\n",
	                  notice->boundary, SLICE_ARGS(charset_of(notice)));
	if (text_is_quoted(notice))
		buf_append_text(out, "Content-Transfer-Encoding: quoted-printable\r\n");
	else if (text_is_8bit(notice))
		buf_append_text(out, "Content-Transfer-Encoding: 8bit\r\n");
	return buf_append_text(out, "\r\n");
}

static bool
append_beginning(const struct notice *notice, struct buf *out)
{
	if (notice->kind->why != NULL) {
		dsn_append_text(out, slice_from(notice->kind->why), 0, 0, false);
		buf_append_text(out, "\r\n");
	}
	append_words(notice, out);
	return !out->has_failed;
}

/* Whole lines of the text, encoded when it is. */
static bool
write_lines(const struct notice *notice, struct intake *intake, struct buf *lines)
{
	struct quoted quoted = { 0 };
	struct buf    encoded = BUF(4 * NOTICE_PIECE_MOST);

	if (!text_is_quoted(notice))
		return notice_write_piece(intake, lines);
	bool ok = !lines->has_failed && quoted_encode(&quoted, buf_slice(lines), &encoded) &&
	          notice_write_piece(intake, &encoded);
	buf_clear(lines);
	buf_free(&encoded);
	return ok;
}

bool
notice_write_text(const struct notice *notice, struct intake *intake)
{
	struct buf piece = BUF(NOTICE_PIECE_MOST);
	bool       ok = append_part_header(notice, &piece) && notice_write_piece(intake, &piece) &&
	          append_beginning(notice, &piece);

	for (size_t i = notice->first; ok && i < notice->end; i++) {
		ok = append_recipient(notice, &notice->recipients.items[i], &piece);
		if (ok && piece.length > NOTICE_PIECE_FULL)
			ok = write_lines(notice, intake, &piece);
	}
	ok = ok && write_lines(notice, intake, &piece);
	buf_free(&piece);
	return ok;
}
