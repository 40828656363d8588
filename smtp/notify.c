/*
 * notify.c - what the postmaster is told of sessions with other hosts: notify_classes, with their
 * transcript. See smtp.h.
 *
 * Trouble while a notice is on its way is never told of: that would make a notice for a notice.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/conf/notice_template.h"
#include "smtp/smtp.h"

#define INTAKE_SOCKET "private/intake"

bool
notify_open(struct smtp_agent *agent, const struct daemon_context *context, struct error *error)
{
	struct intake_context *intake = &agent->intake;

	if (notice_class_is_set(agent->parameters->notify_classes, "protocol"))
		agent->notify_classes |= TROUBLE_PROTOCOL;
	if (notice_class_is_set(agent->parameters->notify_classes, "data"))
		agent->notify_classes |= TROUBLE_DATA;
	if (agent->notify_classes == 0)
		return true; /* no table is opened for mail that is never made */
	agent->notify_limit = calloc(1, sizeof(*agent->notify_limit));
	if (agent->notify_limit == NULL)
		return error_set(error, "out of memory");
	mutex_init(&agent->notify_limit->lock);
	intake->snapshot = context->snapshot;
	intake->parameters = agent->parameters;
	intake->router = router_create(context->snapshot, error);
	if (intake->router == NULL)
		return false;
	intake->queue = intake_client_create(INTAKE_SOCKET, agent->service);
	return intake->queue != NULL || error_set(error, "out of memory");
}

void
notify_close(struct smtp_agent *agent)
{
	if (agent->notify_limit == NULL)
		return;
	router_destroy(&agent->intake.router);
	intake_client_destroy(&agent->intake.queue);
	mutex_destroy(&agent->notify_limit->lock);
	free(agent->notify_limit);
}

/* ---- the transcript ---- */

void
notify_command(struct session *session, enum step step, struct slice line)
{
	struct slice rest = line, word;

	if (session->agent->notify_classes == 0)
		return;
	/* A password may stand behind the mechanism, and in what follows. */
	if (step == STEP_AUTH && slice_next_word(&rest, " ", &word)) {
		if (slice_equal(word, SLICE("AUTH")) && slice_next_word(&rest, " ", &word))
			line = slice_first(line, (size_t)(word.data + word.length - line.data));
		else
			line = SLICE("(authentication response)");
	}
	transcript_add(&session->transcript, " Out: ", line);
}

void
notify_reply(struct session *session, enum step step, struct slice bytes)
{
	struct slice line;

	if (session->agent->notify_classes == 0)
		return;
	while (bytes.length > 0 && slice_next_part(&bytes, '\n', &line)) {
		line = slice_trim(line);
		if (step == STEP_AUTH && slice_starts_with(line, SLICE("334")))
			line = SLICE("334 (challenge)");
		transcript_add(&session->transcript, " In:  ", line);
	}
}

void
notify_trouble(struct session *session, enum trouble trouble)
{
	session->trouble |= trouble & session->agent->notify_classes;
}

/*
 * Replies that say that one of us two does not speak the protocol: x0z is about syntax (RFC 5321
 * 4.2.1), 555 about parameters; below 400 it is a reply that has no place where something was
 * refused.
 */
void
notify_refusal(struct session *session, int code)
{
	if (code < 400 || (code >= 500 && code < 510) || code == 555)
		notify_trouble(session, TROUBLE_PROTOCOL);
}

/* ---- the mail ---- */

void
notify_keep(struct session *session)
{
	if (session->trouble != 0 && !session->carries_notice && session->notes != NULL) {
		struct note *note = calloc(1, sizeof(*note));

		if (note != NULL) { /* the log has told of it */
			note->transcript = session->transcript;
			transcript_init(&session->transcript);
			memcpy(note->relay, session->host.relay, sizeof(note->relay));
			note->next = *session->notes;
			*session->notes = note;
		}
	}
	session->trouble = 0;
	transcript_free(&session->transcript);
}

static void
send_one(const struct smtp_agent *agent, const struct note *note)
{
	char                   opening[600];
	struct transcript_mail mail = { .service = agent->service,
		                        .role = agent->is_lmtp ? "LMTP client" : "SMTP client",
		                        .peer = note->relay,
		                        .opening = opening,
		                        .to = agent->parameters->error_notice_recipient };

	snprintf(opening, sizeof(opening), "Unexpected response from %s.", note->relay);
	transcript_send(&agent->intake, agent->notify_limit, &mail, &note->transcript);
}

void
notify_send(const struct smtp_agent *agent, struct note **notes)
{
	struct note *note;

	for (; (note = *notes) != NULL; transcript_free(&note->transcript), free(note)) {
		*notes = note->next;
		if (agent != NULL)
			send_one(agent, note);
	}
}
