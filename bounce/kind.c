/* kind.c - which notice a job asks for, to whom it goes, and who is left out. See notice.h. */
#include "bounce/notice.h"

#include "lib/base/log.h"

/* ---- the kinds ---- */

/* Copies first: the notice behind them settles the recipients, and nothing may follow that. */
static const struct notice_kind kinds[] = {
	{ JOB_NOTICE_FAILURE, FOR_POSTMASTER_COPY, 0, NOTICE_TEMPLATE_FAILURE,
	  "postmaster non-delivery notification", "Undelivered Message",
	  "A notice like this went to the sender, if he wanted one. You get this copy because "
	  "notify_classes lists bounce." },
	{ JOB_NOTICE_FAILURE, FOR_SENDER, DSN_NOTIFY_FAILURE, NOTICE_TEMPLATE_FAILURE,
	  "sender non-delivery notification", "Undelivered Message", NULL },
	{ JOB_NOTICE_FAILURE, FOR_POSTMASTER_ALONE, 0, NOTICE_TEMPLATE_FAILURE,
	  "postmaster non-delivery notification", "Undelivered Message",
	  "A notice could not be delivered to the one it was meant for, and has no sender to "
	  "return to. You get it because notify_classes lists 2bounce or bounce." },
	{ JOB_NOTICE_DELAY, FOR_POSTMASTER_COPY, 0, NOTICE_TEMPLATE_DELAY,
	  "postmaster delay notification", "Delayed Message",
	  "A warning like this went to the sender, if he wanted one. You get this copy because "
	  "notify_classes lists delay." },
	{ JOB_NOTICE_DELAY, FOR_SENDER, DSN_NOTIFY_DELAY, NOTICE_TEMPLATE_DELAY,
	  "sender delay notification", "Delayed Message", NULL },
	{ JOB_NOTICE_SUCCESS, FOR_SENDER, DSN_NOTIFY_SUCCESS, NOTICE_TEMPLATE_SUCCESS,
	  "sender delivery status notification", "Message", NULL },
	{ JOB_NOTICE_REPORT, FOR_SENDER, 0, NOTICE_TEMPLATE_VERIFY,
	  "sender delivery status notification", "Message", NULL },
};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* ---- the addressee ---- */

/* A double bounce, or what has the sender of one. */
static bool
is_double_bounce(const struct notice *notice)
{
	const struct msg_envelope *envelope = &notice->job->envelope;
	struct slice               sender = envelope->sender;
	struct slice               local = slice_first(sender, slice_find_byte(sender, '@'));

	return (envelope->flags & ENVELOPE_DOUBLE_BOUNCE) != 0 ||
	       slice_equal_fold(local, slice_from(notice->parameters->double_bounce_sender));
}

/*
 * Whom a notice of this kind goes to; empty: to nobody. What has no sender (a notice of ours or
 * another's) and fails goes to the postmaster if he wants it, once: what comes from
 * double_bounce_sender ends there.
 */
static struct slice
choose_addressee(const struct notice *notice, const struct notice_kind *kind)
{
	const struct parameters *parameters = notice->parameters;
	const char              *classes = parameters->notify_classes;
	struct slice             sender = notice->job->envelope.sender;

	if (is_double_bounce(notice))
		return SLICE_EMPTY;
	switch (kind->audience) {
	case FOR_SENDER: return sender;
	case FOR_POSTMASTER_COPY: /* of what a sender is told: a notice has none */
		if (sender.length == 0)
			return SLICE_EMPTY;
		if (kind->kind == JOB_NOTICE_DELAY)
			return slice_from(notice_class_is_set(classes, "delay")
			                          ? parameters->delay_notice_recipient
			                          : "");
		return slice_from(notice_class_is_set(classes, "bounce")
		                          ? parameters->bounce_notice_recipient
		                          : "");
	case FOR_POSTMASTER_ALONE: break;
	}
	if (sender.length > 0 ||
	    !(notice_class_is_set(classes, "2bounce") || notice_class_is_set(classes, "bounce")))
		return SLICE_EMPTY;
	return slice_from(parameters->double_bounce_notice_recipient);
}

/* ---- the recipients ---- */

/* The last of a recipient's outcomes; without one, words of our own. */
static void
take_outcome(struct notice_recipient *entry)
{
	struct slice list = entry->recipient.outcome;

	entry->outcome = (struct msg_outcome){ .status = SLICE("5.0.0"),
		                               .reason = SLICE("reason unavailable") };
	while (msg_outcome_next(&list, &entry->outcome))
		;
}

/*
 * RFC 3461 5.2: NOTIFY decides, where it was given; without it failures and delays are told, and
 * with confirm_delay_cleared the end of a delay, which qmgr lets through only then.
 */
static bool
wants_notice(const struct notice *notice, const struct notice_recipient *entry)
{
	unsigned notify = entry->recipient.dsn_notify;
	unsigned asked = notice->kind->notify;

	if (notice->kind->audience != FOR_SENDER)
		return true;
	/* He asked, whatever NOTIFY says; but not of copies. */
	if (notice->kind->kind == JOB_NOTICE_REPORT)
		return (notify & DSN_NOTIFY_NEVER) == 0;
	if (asked == DSN_NOTIFY_SUCCESS) {
		/* The next host may have taken over the duty to report (RFC 3461 5.2.2). */
		if ((notify & DSN_NOTIFY_SUCCESS) != 0)
			return entry->outcome.action != OUTCOME_RELAYED_DSN;
		return notice->parameters->confirm_delay_cleared &&
		       (notify == 0 || (notify & DSN_NOTIFY_DELAY) != 0);
	}
	return notify == 0 || ((notify & asked) != 0 && (notify & DSN_NOTIFY_NEVER) == 0);
}

static bool
take_recipients(struct notice *notice, struct error *error)
{
	struct slice            list = notice->job->message.recipients;
	struct notice_recipient entry = { 0 };

	notice->recipients.count = 0;
	for (; msg_job_recipient_next(&list, &entry.recipient); entry.index++) {
		take_outcome(&entry);
		if (wants_notice(notice, &entry) && !ARRAY_PUSH(&notice->recipients, entry))
			return error_set(error, "out of memory for a notice");
	}
	return list.data != NULL || error_set(error, "the job's recipients are malformed");
}

bool
notice_next(struct notice *notice, size_t *row, struct error *error)
{
	for (; *row < KIND_COUNT; ++*row) {
		notice->kind = &kinds[*row];
		if ((uint32_t)notice->kind->kind != notice->job->message.kind)
			continue;
		notice->to = choose_addressee(notice, notice->kind);
		if (notice->to.length == 0)
			continue;
		if (!take_recipients(notice, error))
			return false;
		if (notice->recipients.count > 0) {
			++*row;
			return true;
		}
	}
	notice->kind = NULL;
	return true;
}

void
notice_log_discarded(const struct notice *notice)
{
	struct slice id = notice->job->message.queue_id;

	if (notice->job->message.kind != JOB_NOTICE_FAILURE)
		return;
	if (is_double_bounce(notice))
		log_warning("%.*s: undeliverable postmaster notification discarded",
		            SLICE_ARGS(id));
	else if (notice->job->envelope.sender.length == 0)
		log_info("%.*s: undeliverable notification without a sender discarded",
		         SLICE_ARGS(id));
}
