/*
 * notice.h - one delivery status notification: what it is about, and its parts.
 *
 * RFC 3461 (who gets one), 3464 (what it holds), 6522 (multipart/report), 6533 (UTF-8), 3834
 * (Auto-Submitted). FACTS 2.10. The parts are appended to one buffer; what is returned of the
 * original message is streamed behind it.
 */
#ifndef DAKIYA_BOUNCE_NOTICE_H
#define DAKIYA_BOUNCE_NOTICE_H

#include "lib/base/array.h"
#include "lib/intake/intake.h"
#include "lib/mail/notice_text.h"
#include "lib/queue/job.h"

/* A recipient that the notice tells of, and what happened (the last outcome). */
struct notice_recipient {
	struct msg_job_recipient recipient;
	struct msg_outcome       outcome;
};

/* What differs between the kinds; one row each in kind.c. */
struct notice_kind {
	enum job_kind         kind;
	bool                  is_double_bounce; /* to the postmaster, about a notice */
	unsigned              notify;           /* DSN_NOTIFY_* that asks for it */
	bool                  is_default;       /* sent, too, when NOTIFY was not given */
	enum notice_text_kind text;
	const char           *log;         /* "sender non-delivery notification" */
	const char           *description; /* of the returned part */
};

enum notice_returned { RETURN_MESSAGE, RETURN_HEADER, RETURN_NOTHING };

struct notice {
	const struct notice_kind *kind;
	const struct parameters  *parameters;
	const struct agent_job   *job;
	ARRAY(struct notice_recipient) recipients;
	struct slice         to; /* internal form */
	bool                 is_utf8;
	enum notice_returned returned;
	const char          *id; /* of the notice itself */
	int64_t              now_s;
	char                 boundary[64];
};

/* ---- kind.c ---- */

/* What the job asks for, and its recipients that want to know; none: nothing is to be sent. */
bool notice_select(struct notice *notice, struct error *error);

/* ---- text.c: header and part 1 ---- */
bool notice_append_header(const struct notice *notice, struct buf *out);
bool notice_append_text(const struct notice *notice, struct buf *out);

/* ---- report.c: part 2 ---- */
bool notice_append_report(const struct notice *notice, struct buf *out);
/* mail_name as a part of field names and types: letters, digits and '-' only. */
void notice_system_name(const struct parameters *parameters, char name[40]);

/* ---- returned.c: part 3 and the end ---- */
bool notice_write_returned(const struct notice *notice, struct intake *intake, struct error *error);

/* ---- send.c ---- */

enum notice_result {
	NOTICE_DONE,  /* committed, or nothing to send; *error untouched */
	NOTICE_LATER, /* *error says why */
};
/* Composes and commits what the job asks for, and logs it. */
enum notice_result notice_send(const struct intake_context *context, const struct agent_job *job,
                               struct error *error);

/* ---- forward.c ---- */

/* Sends on for one recipient of a JOB_FORWARD, logs it and appends its outcome. */
bool forward_send(const struct intake_context *context, const struct agent_job *job,
                  const struct msg_job_recipient *recipient, uint32_t index, struct buf *outcomes);

#endif
