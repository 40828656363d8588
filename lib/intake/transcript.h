/*
 * transcript.h - what was said in a session, kept short, and its mail to the postmaster.
 *
 * For notify_classes, used by smtpd and smtp. Strangers can cause such mail, so there is a limit
 * to it; it has the sender of double bounces and ends where it cannot be delivered. Secrets and
 * content are left out by the caller.
 */
#ifndef DAKIYA_INTAKE_TRANSCRIPT_H
#define DAKIYA_INTAKE_TRANSCRIPT_H

#include "lib/base/mutex.h"
#include "lib/intake/intake.h"

#define TRANSCRIPT_MOST (16u * 1024)

struct transcript {
	struct buf lines;
	bool       is_cut; /* its beginning was dropped */
};

/* Empty. */
void transcript_init(struct transcript *transcript);
void transcript_free(struct transcript *transcript);
/* One line, printable, behind who (" In:  "); a long one is cut, and so is what is oldest. */
void transcript_add(struct transcript *transcript, const char *who, struct slice line);

/* How many mails there were lately, from all sessions of a process. */
struct transcript_limit {
	struct mutex lock;
	int64_t      since_ms; /* guarded by it, like count */
	unsigned     count;
};

struct transcript_mail {
	const char *service; /* that hands it in */
	const char *role;    /* "SMTP server": of the subject */
	const char *peer;    /* "mx.example.net[192.0.2.25]": of the subject and the log */
	const char *opening; /* a first paragraph, NULL = none */
	const char *to;      /* without a domain: in myorigin; empty: nobody is told */
};
/* Composes, commits and logs it, unless there were too many. Trouble is only logged. */
void transcript_send(const struct intake_context *context, struct transcript_limit *limit,
                     const struct transcript_mail *mail, const struct transcript *transcript);

#endif
