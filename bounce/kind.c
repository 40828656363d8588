/* kind.c - which notice a job asks for, to whom it goes, and who is left out. See notice.h. */
#include "bounce/notice.h"

#include "lib/base/log.h"

/* ---- the kinds ---- */

static const struct notice_kind kinds[] = {
	{ JOB_NOTICE_FAILURE, false, DSN_NOTIFY_FAILURE, true, NOTICE_TEXT_FAILURE,
	  "sender non-delivery notification", "Undelivered Message" },
	{ JOB_NOTICE_FAILURE, true, DSN_NOTIFY_FAILURE, true, NOTICE_TEXT_POSTMASTER,
	  "postmaster non-delivery notification", "Undelivered Message" },
	{ JOB_NOTICE_DELAY, false, DSN_NOTIFY_DELAY, true, NOTICE_TEXT_DELAY,
	  "sender delay notification", "Delayed Message" },
	{ JOB_NOTICE_SUCCESS, false, DSN_NOTIFY_SUCCESS, false, NOTICE_TEXT_SUCCESS,
	  "sender delivery status notification", "Message" },
};

static const struct notice_kind *
kind_of(uint32_t kind, bool is_double_bounce)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if ((uint32_t)kinds[i].kind == kind &&
		    kinds[i].is_double_bounce == is_double_bounce)
			return &kinds[i];
	return NULL;
}

/* ---- the addressee ---- */

static bool
list_has_word(const char *list, const char *word)
{
	struct slice rest = slice_from(list), one;

	while (slice_next_word(&rest, " \t\r\n,", &one))
		if (slice_equal_fold(one, slice_from(word)))
			return true;
	return false;
}

static bool
is_double_bounce_sender(const struct notice *notice, struct slice sender)
{
	struct slice local = slice_first(sender, slice_find_byte(sender, '@'));

	return slice_equal_fold(local, slice_from(notice->parameters->double_bounce_sender));
}

/*
 * Sets kind and addressee; kind stays NULL when nobody is told. What has no sender (a notice of
 * ours or another's) and fails goes to the postmaster if he wants it, once: what comes from
 * double_bounce_sender ends here.
 */
static void
choose_addressee(struct notice *notice)
{
	const struct msg_envelope *envelope = &notice->job->envelope;
	uint32_t                   kind = notice->job->message.kind;
	struct slice               id = notice->job->message.queue_id;

	if (envelope->sender.length > 0 && !is_double_bounce_sender(notice, envelope->sender) &&
	    (envelope->flags & ENVELOPE_DOUBLE_BOUNCE) == 0) {
		notice->kind = kind_of(kind, false);
		notice->to = envelope->sender;
		return;
	}
	if (kind != JOB_NOTICE_FAILURE)
		return;
	if (envelope->sender.length > 0 || (envelope->flags & ENVELOPE_DOUBLE_BOUNCE) != 0) {
		log_warning("%.*s: undeliverable postmaster notification discarded",
		            SLICE_ARGS(id));
		return;
	}
	if (!list_has_word(notice->parameters->notify_classes, "2bounce")) {
		log_info("%.*s: undeliverable notification without a sender discarded",
		         SLICE_ARGS(id));
		return;
	}
	notice->kind = kind_of(kind, true);
	notice->to = slice_from(notice->parameters->double_bounce_notice_recipient);
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

/* RFC 3461 5.2: NOTIFY decides, where it was given. */
static bool
wants_notice(const struct notice_kind *kind, const struct msg_job_recipient *recipient)
{
	if (recipient->dsn_notify == 0)
		return kind->is_default;
	return (recipient->dsn_notify & kind->notify) != 0 &&
	       (recipient->dsn_notify & DSN_NOTIFY_NEVER) == 0;
}

bool
notice_select(struct notice *notice, struct error *error)
{
	struct slice            list = notice->job->message.recipients;
	struct notice_recipient entry;

	choose_addressee(notice);
	if (notice->kind == NULL)
		return true;
	while (msg_job_recipient_next(&list, &entry.recipient)) {
		if (!wants_notice(notice->kind, &entry.recipient))
			continue;
		take_outcome(&entry);
		/* The next host has taken over the duty to report (RFC 3461 5.2.2). */
		if (entry.outcome.action == OUTCOME_RELAYED_DSN)
			continue;
		if (!ARRAY_PUSH(&notice->recipients, entry))
			return error_set(error, "out of memory for a notice");
	}
	return list.data != NULL || error_set(error, "the job's recipients are malformed");
}
