/* notify.c - what the postmaster is told of sessions: notify_classes, with their transcript. */
#include "smtpd/session.h"

#include "lib/conf/notice_template.h"

/* ---- the classes ---- */

enum notify_class {
	NOTIFY_BOUNCE = 1 << 0,
	NOTIFY_DATA = 1 << 1,
	NOTIFY_POLICY = 1 << 2,
	NOTIFY_PROTOCOL = 1 << 3,
	NOTIFY_RESOURCE = 1 << 4,
	NOTIFY_SOFTWARE = 1 << 5,
};

static const struct {
	const char *word;
	unsigned class;
} classes[] = {
	{ "bounce", NOTIFY_BOUNCE },     { "data", NOTIFY_DATA },
	{ "policy", NOTIFY_POLICY },     { "protocol", NOTIFY_PROTOCOL },
	{ "resource", NOTIFY_RESOURCE }, { "software", NOTIFY_SOFTWARE },
};

unsigned
notify_classes(const struct parameters *parameters)
{
	unsigned all = 0;

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (notice_class_is_set(parameters->notify_classes, classes[i].word))
			all |= classes[i].class;
	return all;
}

#define ANY_DETAIL 1000

/* By the status of RFC 3463; what is not here is policy. */
static const struct {
	unsigned subject, detail;
	unsigned class;
} by_status[] = {
	{ 1, 1, NOTIFY_BOUNCE }, /* no such user */
	{ 1, 3, NOTIFY_PROTOCOL },
	{ 1, 7, NOTIFY_PROTOCOL },
	{ 2, 2, NOTIFY_RESOURCE },
	{ 3, 0, NOTIFY_SOFTWARE },
	{ 3, 1, NOTIFY_RESOURCE },
	{ 3, 5, NOTIFY_SOFTWARE },
	{ 4, ANY_DETAIL, NOTIFY_PROTOCOL },
	{ 5, 3, NOTIFY_POLICY },
	{ 5, ANY_DETAIL, NOTIFY_PROTOCOL },
};

static unsigned
class_of(const struct smtp_reply *reply)
{
	/* Tables share their status with other trouble inside. */
	if (reply->status.subject == 3 &&
	    slice_find(reply->text, SLICE("Temporary lookup failure")) != SLICE_NOT_FOUND)
		return NOTIFY_DATA;
	for (size_t i = 0; i < sizeof(by_status) / sizeof(by_status[0]); i++)
		if (reply->status.class != 0 && by_status[i].subject == reply->status.subject &&
		    (by_status[i].detail == ANY_DETAIL ||
		     by_status[i].detail == reply->status.detail))
			return by_status[i].class;
	return NOTIFY_POLICY;
}

void
notify_note_error(struct session *session, const struct smtp_reply *reply)
{
	session->trouble |= class_of(reply) & session->room->notify_classes;
}

/* ---- the transcript ---- */

void
notify_note_command(struct session *session, struct slice line)
{
	struct slice rest = line, word;

	if (session->room->notify_classes == 0)
		return;
	if (session->state == STATE_AUTH) {
		transcript_add(&session->transcript, " In:  ", SLICE("(authentication response)"));
		return;
	}
	/* A password may stand behind the mechanism. */
	if (slice_next_word(&rest, " \t", &word) && slice_equal_fold(word, SLICE("AUTH")) &&
	    slice_next_word(&rest, " \t", &word))
		line = slice_first(line, (size_t)(word.data + word.length - line.data));
	transcript_add(&session->transcript, " In:  ", line);
}

void
notify_note_answer(struct session *session, struct slice bytes)
{
	struct slice line;

	if (session->room->notify_classes == 0)
		return;
	while (bytes.length > 0 && slice_next_part(&bytes, '\n', &line))
		transcript_add(&session->transcript, " Out: ", slice_trim(line));
}

void
notify_forget(struct session *session)
{
	if (session->trouble == 0)
		transcript_free(&session->transcript);
}

void
notify_postmaster(struct session *session)
{
	const struct parameters *parameters = session->parameters;

	if (session->trouble == 0)
		return;
	struct transcript_mail mail = { .service = session->room->service,
		                        .role = "SMTP server",
		                        .peer = client_label(session),
		                        .to = (session->trouble & NOTIFY_BOUNCE) != 0
		                                      ? parameters->bounce_notice_recipient
		                                      : parameters->error_notice_recipient };

	transcript_send(&session->room->intake, &session->room->notify_limit, &mail,
	                &session->transcript);
}
