/*
 * notice.h - one delivery status notification: what it is about, and its parts.
 *
 * RFC 3461 (who gets one), 3464 (what it holds), 6522 (multipart/report), 6533 (UTF-8), 3834
 * (Auto-Submitted). FACTS 2.10. All is streamed into the new message: memory does not grow with the
 * message that is returned, nor by what is said of each recipient.
 */
#ifndef DAKIYA_BOUNCE_NOTICE_H
#define DAKIYA_BOUNCE_NOTICE_H

#include "lib/base/array.h"
#include "lib/conf/notice_template.h"
#include "lib/intake/intake.h"
#include "lib/queue/job.h"

/* A recipient that the notice tells of, and what happened (the last outcome). */
struct notice_recipient {
	struct msg_job_recipient recipient;
	struct msg_outcome       outcome;
	uint32_t                 index; /* in the job's list */
};

enum notice_audience {
	FOR_SENDER,
	FOR_POSTMASTER_COPY,  /* of what the sender is told, as notify_classes says */
	FOR_POSTMASTER_ALONE, /* about a notice, which has no sender */
};

/* What differs between the kinds; one row each in kind.c. */
struct notice_kind {
	enum job_kind             kind;
	enum notice_audience      audience;
	unsigned                  notify; /* FOR_SENDER: DSN_NOTIFY_* that asks for it */
	enum notice_template_kind text;
	const char               *log;         /* "sender non-delivery notification" */
	const char               *description; /* of the returned part */
	const char               *why;         /* the first paragraph; NULL = none */
};

/* Intake lets no larger header in. */
#define NOTICE_HEADER_MOST (1u << 20)

enum notice_returned { RETURN_MESSAGE, RETURN_HEADER, RETURN_NOTHING };

/* What all notices of the process share. */
struct notice_room {
	struct intake_context   intake;
	struct notice_templates templates; /* their texts with $names filled in */
	struct buf              file;      /* what they point into */
	struct arena            arena;
};

struct notice {
	const struct notice_kind *kind;
	const struct notice_template *template;
	const struct parameters *parameters;
	const struct agent_job  *job;
	ARRAY(struct notice_recipient) recipients;
	/* Those that this one tells of: all, unless it would be too large. */
	size_t               first, end;
	struct slice         to;             /* internal form */
	bool                 is_utf8;        /* its words and the message may hold UTF-8 */
	bool                 is_global;      /* and the way back takes it: see send.c */
	bool                 has_utf8_field; /* the message's header holds UTF-8 */
	bool                 needs_no_tls;   /* the message says TLS-Required: no (RFC 8689 5) */
	enum notice_returned returned;
	const char          *id; /* of the notice itself */
	int64_t              now_s;
	char                 boundary[64];
};

/* ---- template.c ---- */

/*
 * Reads bounce_template_file and fills in the names. A file with an error is told of in the log,
 * and the built-in words stand: no notice waits for it. False: out of memory.
 */
bool notice_room_init(struct notice_room *room, const struct snapshot *snapshot,
                      struct error *error);
void notice_room_free(struct notice_room *room); /* intake stays */

/* ---- kind.c ---- */

/*
 * The next notice that the job asks for, from *row on (0 at first): kind, addressee and the
 * recipients it tells of. kind is NULL when there is none left.
 */
bool notice_next(struct notice *notice, size_t *row, struct error *error);
/* Says in the log why a failure is told to nobody. */
void notice_log_discarded(const struct notice *notice);

/* ---- text.c: header and part 1 ---- */
bool notice_append_header(const struct notice *notice, struct buf *out);
/* What befell him; of a success also who took it. */
bool notice_append_reason(const struct notice *notice, const struct notice_recipient *entry,
                          struct buf *out);
bool notice_write_text(const struct notice *notice, struct intake *intake);

/* ---- report.c: part 2 ---- */
bool notice_write_report(const struct notice *notice, struct intake *intake);
/* mail_name as a part of field names and types: letters, digits and '-' only. */
void notice_system_name(const struct parameters *parameters, char name[40]);

/* ---- returned.c: part 3 and the end ---- */
/* The message's header without the empty line. */
bool notice_read_header(const struct agent_job *job, struct buf *header, struct error *error);
bool notice_returns_8bit(const struct notice *notice);
bool notice_write_returned(const struct notice *notice, struct intake *intake, struct error *error);

/* ---- send.c ---- */

/* What is composed before it is written: something of any size that a part begins with, or so much
 * that a few recipients have said. */
#define NOTICE_PIECE_MOST (1u << 20)
#define NOTICE_PIECE_FULL (32u * 1024)
/* Writes and empties the piece; intake_finish tells of what goes wrong there. False: no memory. */
bool notice_write_piece(struct intake *intake, struct buf *piece);

enum notice_result {
	NOTICE_DONE,  /* committed, or nothing to send; *error untouched */
	NOTICE_LATER, /* *error says why */
};
/*
 * Composes and commits what the job asks for, and logs it. A copy for the postmaster that cannot
 * be made is only logged: the sender's notice would be sent again otherwise.
 */
enum notice_result notice_send(const struct notice_room *room, const struct agent_job *job,
                               struct error *error);

/* ---- forward.c ---- */

/* Sends on for one recipient of a JOB_FORWARD, logs it and appends its outcome. */
bool forward_send(const struct intake_context *context, const struct agent_job *job,
                  const struct msg_job_recipient *recipient, uint32_t index, struct buf *outcomes);

#endif
