/* report.c - the part of a notice for programs: message/delivery-status. See notice.h. */
#include "bounce/notice.h"

#include <arpa/inet.h>

#include "lib/mail/dsn.h"
#include "lib/mail/header.h"

void
notice_system_name(const struct parameters *parameters, char name[40])
{
	size_t length = 0;

	for (const char *c = parameters->mail_name; *c != '\0' && length < 39; c++)
		if (ascii_is_alnum(*c) || *c == '-')
			name[length++] = *c;
	name[length] = '\0';
}

static bool
append_date_field(struct buf *out, const char *name, int64_t wall_us)
{
	buf_append_format(out, "%s: ", name);
	date_append(out, wall_us / 1000000);
	return buf_append_text(out, "\r\n");
}

/* RFC 3464 2.2: of the message as a whole. */
static bool
append_message_fields(const struct notice *notice, struct buf *out)
{
	const struct msg_envelope *envelope = &notice->job->envelope;
	char                       system[40], field[64];

	notice_system_name(notice->parameters, system);
	dsn_append_field(out, "Reporting-MTA", "dns", slice_from(notice->parameters->myhostname),
	                 notice->is_global);
	if (envelope->dsn_envid.length > 0)
		dsn_append_exact(out, "Original-Envelope-Id", NULL, envelope->dsn_envid,
		                 notice->is_global);
	buf_append_format(out, "X-%s-Queue-ID: %.*s\r\n", system,
	                  SLICE_ARGS(notice->job->message.queue_id));
	if (envelope->sender.length > 0) {
		struct buf name = BUF(sizeof(field));

		buf_append_format(&name, "X-%s-Sender", system);
		dsn_append_address(out, buf_text(&name), envelope->sender, notice->is_global);
		buf_free(&name);
	}
	append_date_field(out, "Arrival-Date", envelope->arrival_us);
	return buf_append_text(out, "\r\n");
}

/* The Action of RFC 3464 2.3.3: what the notice says, whatever class the last status had. */
static const char *
action_of(const struct notice *notice, const struct notice_recipient *entry)
{
	bool is_failure = entry->outcome.action == OUTCOME_FAILED;
	bool is_delay = entry->outcome.action == OUTCOME_DEFERRED;

	switch (notice->kind->kind) {
	case JOB_NOTICE_REPORT:
		/* No words of RFC 3464, so that no program takes it for a bounce. */
		if ((notice->job->envelope.flags & ENVELOPE_VERIFY) != 0)
			return is_failure || is_delay ? "undeliverable" : "deliverable";
		if (is_failure || is_delay)
			return is_failure ? "failed" : "delayed";
		break;
	case JOB_NOTICE_FAILURE: return "failed";
	case JOB_NOTICE_DELAY: return "delayed";
	case JOB_NOTICE_SUCCESS:
	case JOB_DELIVER:
	case JOB_FORWARD:
	case JOB_VERIFY: break;
	}
	if (entry->outcome.action == OUTCOME_EXPANDED)
		return "expanded";
	return entry->outcome.action == OUTCOME_RELAYED ||
	                       entry->outcome.action == OUTCOME_RELAYED_DSN
	               ? "relayed"
	               : "delivered";
}

/* "smtp; reply" of another host, or our own words under our own type. */
static bool
append_diagnostic(const struct notice *notice, const struct notice_recipient *entry,
                  struct buf *out)
{
	char       system[40], type[44] = "X-";
	struct buf reason = BUF(2 * DSN_VALUE_MOST + 100);

	if (entry->outcome.diagnostic.length > 0)
		return dsn_append_field(out, "Diagnostic-Code", "smtp", entry->outcome.diagnostic,
		                        notice->is_global);
	notice_system_name(notice->parameters, system);
	memcpy(type + 2, system, strlen(system) + 1);
	bool ok = notice_append_reason(notice, entry, &reason) &&
	          dsn_append_field(out, "Diagnostic-Code", type, buf_slice(&reason),
	                           notice->is_global);
	buf_free(&reason);
	return ok;
}

/* RFC 3464 2.1.2: a domain name, or an address literal (RFC 5321 4.1.3). */
static bool
append_remote_mta(const struct notice *notice, struct slice name, struct buf *out)
{
	struct buf      literal = BUF(100);
	struct in_addr  in;
	struct in6_addr in6;
	char            text[64] = "";

	if (name.length < sizeof(text))
		memcpy(text, name.data, name.length);
	if (inet_pton(AF_INET, text, &in) == 1)
		buf_append_format(&literal, "[%s]", text);
	else if (inet_pton(AF_INET6, text, &in6) == 1)
		buf_append_format(&literal, "[IPv6:%s]", text);
	bool ok = dsn_append_field(out, "Remote-MTA", "dns",
	                           literal.length > 0 ? buf_slice(&literal) : name,
	                           notice->is_global);
	buf_free(&literal);
	return ok;
}

/* RFC 3464 2.3: of one recipient. */
static bool
append_recipient_fields(const struct notice *notice, const struct notice_recipient *entry,
                        struct buf *out)
{
	const struct msg_job_recipient *recipient = &entry->recipient;

	if (recipient->dsn_orcpt.length > 0)
		dsn_append_typed(out, "Original-Recipient", recipient->dsn_orcpt,
		                 notice->is_global);
	else if (recipient->original.length > 0)
		dsn_append_address(out, "Original-Recipient", recipient->original,
		                   notice->is_global);
	dsn_append_address(out, "Final-Recipient", recipient->address, notice->is_global);
	buf_append_format(out, "Action: %s\r\n", action_of(notice, entry));
	dsn_append_field(out, "Status", NULL, entry->outcome.status, false);
	if (entry->outcome.remote_mta.length > 0)
		append_remote_mta(notice, entry->outcome.remote_mta, out);
	append_diagnostic(notice, entry, out);
	if (notice->kind->kind == JOB_NOTICE_DELAY && notice->job->message.retry_until_us > 0)
		append_date_field(out, "Will-Retry-Until", notice->job->message.retry_until_us);
	return buf_append_text(out, "\r\n");
}

static bool
append_beginning(const struct notice *notice, struct buf *out)
{
	buf_append_format(out,
	                  "--%s\r\nContent-Description: Delivery report\r\n"
	                  "Content-Type: message/%sdelivery-status\r\n",
	                  notice->boundary, notice->is_global ? "global-" : "");
	if (notice->is_global)
		buf_append_text(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_append_text(out, "\r\n");
	return append_message_fields(notice, out);
}

bool
notice_write_report(const struct notice *notice, struct intake *intake)
{
	struct buf piece = BUF(NOTICE_PIECE_MOST);
	bool       ok = append_beginning(notice, &piece);

	for (size_t i = notice->first; ok && i < notice->end; i++) {
		ok = append_recipient_fields(notice, &notice->recipients.items[i], &piece);
		if (ok && piece.length > NOTICE_PIECE_FULL)
			ok = notice_write_piece(intake, &piece);
	}
	ok = ok && notice_write_piece(intake, &piece);
	buf_free(&piece);
	return ok;
}
