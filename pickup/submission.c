/* submission.c - see submission.h. */
#include "pickup/submission.h"

#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/mail/address.h"
#include "lib/mail/header.h"
#include "lib/queue/verp.h"

#define ADDRESS_MOST   1000 /* bytes of an address */
#define FULL_NAME_MOST 1000
#define ENVID_MOST     100 /* RFC 3461 4.4 */
#define ORCPT_MOST     500 /* RFC 3461 4.2 */
#define RETURNED_TEXT                                                                              \
	"Subject: A message that was left for the mail system\n\n"                                 \
	"It is kept by the administrator of the mail system, in the directory corrupt/.\n"
#define NOTIFY_BITS (DSN_NOTIFY_NEVER | DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY)

void
submission_init(struct submission *submission, const struct intake_context *context, uint32_t uid)
{
	*submission = (struct submission){ .context = context, .uid = uid };
}

void
submission_reset(struct submission *submission)
{
	const struct intake_context *context = submission->context;
	uint32_t                     uid = submission->uid;

	intake_end(&submission->intake);
	arena_reset(&submission->arena);
	submission_init(submission, context, uid);
}

void
submission_fail(struct submission *submission, enum submit_status status, const char *reason)
{
	if (submission->failure != SUBMIT_OK)
		return;
	submission->failure = status;
	submission->reason = reason;
}

void
submission_return(struct submission *submission, const char *refusal)
{
	submission->refusal = refusal;
}

/* ---- the envelope ---- */

/* A user may leave the domain out; the rest is as anybody's. */
static bool
address_is_good(struct slice text)
{
	struct address address;

	return text.length > 0 && text.length <= ADDRESS_MOST && text.data[0] != '-' &&
	       slice_is_utf8(text) && address_split(text, &address);
}

static bool
text_is_good(struct slice text, size_t most)
{
	return text.length <= most && !slice_has_control(text);
}

/* With $myorigin, or $mydomain behind a name of one label (append_at_myorigin and so on). */
static struct slice
sender_complete(struct submission *submission, struct slice sender)
{
	const struct parameters *parameters = submission->context->parameters;
	size_t                   at = slice_find_last_byte(sender, '@');
	struct slice             domain = slice_from_offset(sender, at + 1);
	char                    *text = NULL;

	if (sender.length == 0)
		return sender;
	if (at == SLICE_NOT_FOUND && parameters->append_at_myorigin)
		text = arena_format(&submission->arena, "%.*s@%s", SLICE_ARGS(sender),
		                    parameters->myorigin);
	else if (at != SLICE_NOT_FOUND && parameters->append_dot_mydomain &&
	         !slice_contains_byte(domain, '.') && domain.data[0] != '[')
		text = arena_format(&submission->arena, "%.*s.%s", SLICE_ARGS(sender),
		                    parameters->mydomain);
	return text == NULL ? arena_copy(&submission->arena, sender) : slice_from(text);
}

/* RFC 5321 4.4: who gave it to us, and when. */
static bool
trace_set(struct submission *submission, int64_t now_s)
{
	const struct parameters *parameters = submission->context->parameters;
	struct buf               trace = BUF(4096);

	buf_append_format(&trace, "Received: by %s (%s, from userid %u)\r\n\tid %s; ",
	                  parameters->myhostname, parameters->mail_name, (unsigned)submission->uid,
	                  submission->id);
	date_append(&trace, now_s);
	buf_append_text(&trace, "\r\n");
	bool is_set = !trace.has_failed && intake_set_trace(submission->intake, buf_slice(&trace));
	buf_free(&trace);
	return is_set;
}

/* content_filter, which has nothing to say of addresses; or the way back, for what was refused.
 * NULL: no room. */
static const char *
filter_of(struct submission *submission, bool is_verify)
{
	struct buf text = BUF(2000);

	if (submission->refusal == NULL)
		return is_verify ? "" : submission->context->parameters->content_filter;
	buf_append_text(&text, "error:5.7.1 ");
	buf_append_printable(&text, slice_first(slice_from(submission->refusal), 500));
	const char *filter = arena_text(&submission->arena, buf_slice(&text));
	buf_free(&text);
	return filter;
}

static void
log_begin(const struct submission *submission, struct slice sender)
{
	struct buf line = BUF(8192);

	buf_append_format(&line, "%s: uid=%u from=<", submission->id, (unsigned)submission->uid);
	address_append_external(&line, sender);
	buf_append_byte(&line, '>');
	log_info("%s", buf_text(&line));
	buf_free(&line);
}

static void
begin(struct submission *submission, const struct msg_submit_begin *message)
{
	struct error error = ERROR_NONE;
	bool         is_verify = (message->flags & ENVELOPE_VERIFY) != 0;
	const char  *filter = filter_of(submission, is_verify);
	struct slice delimiters =
		slice_from(submission->context->parameters->default_verp_delimiters);
	struct msg_envelope envelope = { .sender = sender_complete(submission, message->sender),
		                         .arrival_us = clock_wall_us(),
		                         .flags = verp_complete(message->flags, delimiters),
		                         .dsn_ret = message->dsn_ret,
		                         .dsn_envid =
		                                 arena_copy(&submission->arena, message->dsn_envid),
		                         .filter = slice_trim(slice_from(filter)),
		                         .service = SLICE("pickup") };

	if (filter == NULL || envelope.sender.data == NULL || envelope.dsn_envid.data == NULL) {
		submission_fail(submission, SUBMIT_TRY_LATER, "out of memory");
		return;
	}
	submission->intake = intake_begin(submission->context, &envelope, &error);
	if (submission->intake == NULL) {
		log_trouble("mail of uid %u: %s", (unsigned)submission->uid, error.text);
		submission_fail(submission, SUBMIT_TRY_LATER, "the queue cannot be reached");
		return;
	}
	snprintf(submission->id, sizeof(submission->id), "%s", intake_id(submission->intake));
	log_begin(submission, message->sender);
	if (!intake_set_full_name(submission->intake, message->full_name) ||
	    !trace_set(submission, envelope.arrival_us / 1000000))
		submission_fail(submission, SUBMIT_TRY_LATER, "out of memory");
}

/* Delimiters as the administrator allows them; 0 = those of default_verp_delimiters. */
static bool
verp_is_good(const struct submission *submission, const struct msg_submit_begin *message)
{
	const char delimiters[2] = { (char)(message->flags >> 16 & 0xff),
		                     (char)(message->flags >> 24 & 0xff) };

	if ((message->flags & ENVELOPE_VERP) == 0)
		return message->flags >> 16 == 0;
	return message->sender.length > 0 &&
	       (message->flags >> 16 == 0 ||
	        verp_delimiters_are_good(slice_of(delimiters, 2),
	                                 submission->context->parameters->verp_delimiter_filter));
}

static enum submission_step
take_begin(struct submission *submission, struct ipc_frame *frame)
{
	struct msg_submit_begin message;

	if (!msg_submit_begin_decode(frame, &message) || submission->state != SUBMISSION_IDLE)
		return SUBMISSION_MALFORMED;
	submission->state = SUBMISSION_ENVELOPE;
	data_encoder_init(&submission->encoder, false);
	if (submission->failure != SUBMIT_OK)
		return SUBMISSION_GOES_ON;
	if (message.sender.length > 0 && !address_is_good(message.sender))
		submission_fail(submission, SUBMIT_BAD_DATA, "malformed sender address");
	else if (!text_is_good(message.full_name, FULL_NAME_MOST) ||
	         !text_is_good(message.dsn_envid, ENVID_MOST) || message.dsn_ret > DSN_RET_HDRS ||
	         (message.flags & ~(unsigned)SUBMIT_FLAGS) != 0)
		submission_fail(submission, SUBMIT_BAD_DATA, "malformed envelope");
	else if (!verp_is_good(submission, &message))
		submission_fail(submission, SUBMIT_BAD_DATA,
		                "VERP (-XV) needs a sender, and two of the characters in "
		                "verp_delimiter_filter");
	else
		begin(submission, &message);
	return SUBMISSION_GOES_ON;
}

static void
add_recipient(struct submission *submission, const struct msg_recipient *recipient)
{
	struct msg_recipient kept = { .address = recipient->address,
		                      .dsn_orcpt = recipient->dsn_orcpt,
		                      .dsn_notify = recipient->dsn_notify };

	submission->recipient_count++;
	if (intake_is_full(submission->intake))
		submission_fail(submission, SUBMIT_BAD_DATA, "too many recipients");
	else if (!address_is_good(recipient->address))
		submission_fail(submission, SUBMIT_BAD_DATA, "malformed recipient address");
	else if (!text_is_good(recipient->dsn_orcpt, ORCPT_MOST) ||
	         (recipient->dsn_notify & ~(unsigned)NOTIFY_BITS) != 0)
		submission_fail(submission, SUBMIT_BAD_DATA, "malformed recipient");
	else if (!intake_add_recipient(submission->intake, &kept))
		submission_fail(submission, SUBMIT_TRY_LATER, "out of memory for the recipients");
}

static enum submission_step
take_recipients(struct submission *submission, struct ipc_frame *frame)
{
	struct msg_submit_recipients message;
	struct msg_recipient         recipient;

	if (!msg_submit_recipients_decode(frame, &message) ||
	    submission->state != SUBMISSION_ENVELOPE)
		return SUBMISSION_MALFORMED;
	while (msg_recipient_next(&message.recipients, &recipient))
		if (submission->failure == SUBMIT_OK)
			add_recipient(submission, &recipient);
	return message.recipients.data == NULL ? SUBMISSION_MALFORMED : SUBMISSION_GOES_ON;
}

/* ---- content ---- */

static void
content_write(struct submission *submission, struct slice content)
{
	struct buf text = BUF(2 * content.length + 16);

	if (!data_encode(&submission->encoder, content, &text))
		submission_fail(submission, SUBMIT_TRY_LATER, "out of memory for the content");
	else
		/* A failure is remembered by intake and told by intake_finish. */
		(void)intake_write(submission->intake, buf_slice(&text));
	buf_free(&text);
}

static enum submission_step
take_content(struct submission *submission, struct ipc_frame *frame)
{
	struct msg_submit_content message;

	if (!msg_submit_content_decode(frame, &message) || submission->state == SUBMISSION_IDLE)
		return SUBMISSION_MALFORMED;
	submission->state = SUBMISSION_CONTENT;
	submission->content_bytes += message.content.length;
	if (submission->failure == SUBMIT_OK && submission->refusal == NULL &&
	    message.content.length > 0)
		content_write(submission, message.content);
	return SUBMISSION_GOES_ON;
}

static enum submission_step
take_end(struct submission *submission, struct ipc_frame *frame)
{
	struct msg_submit_end message;

	if (!msg_submit_end_decode(frame, &message) || submission->state == SUBMISSION_IDLE ||
	    message.content_bytes != submission->content_bytes)
		return SUBMISSION_MALFORMED;
	if (submission->recipient_count == 0)
		submission_fail(submission, SUBMIT_BAD_DATA, "no recipients");
	return SUBMISSION_ENDED;
}

enum submission_step
submission_take(struct submission *submission, struct ipc_frame *frame)
{
	switch (frame->type) {
	case MSG_submit_begin: return take_begin(submission, frame);
	case MSG_submit_recipients: return take_recipients(submission, frame);
	case MSG_submit_content: return take_content(submission, frame);
	case MSG_submit_end: return take_end(submission, frame);
	default: return SUBMISSION_MALFORMED;
	}
}

/* ---- the end ---- */

struct submission_result
submission_commit(struct submission *submission)
{
	if (submission->failure != SUBMIT_OK)
		return (struct submission_result){ submission->failure, submission->reason };
	if (submission->refusal != NULL)
		content_write(submission, SLICE(RETURNED_TEXT));
	struct buf rest = BUF(16);
	if (data_encode_end(&submission->encoder, &rest) && submission->content_bytes > 0)
		(void)intake_write(submission->intake, buf_slice(&rest));
	buf_free(&rest);
	struct smtp_reply reply = intake_finish(submission->intake, &submission->arena);
	if (reply.code == 250)
		return (struct submission_result){ SUBMIT_OK, "" };
	const char        *text = arena_text(&submission->arena, reply.text);
	enum submit_status status = reply.code >= 500   ? SUBMIT_REFUSED
	                            : reply.code == 452 ? SUBMIT_NO_SPACE
	                                                : SUBMIT_TRY_LATER;
	return (struct submission_result){ status, text == NULL ? "" : text };
}
