/*
 * pickup.h - what the parts of pickup share: mail from this host's users, by sendmail(1).
 *
 * While the system is up a user's program hands its message in on public/pickup (session.c); while
 * it is down it leaves it in maildrop/ (drop.c). Both are the same frames, taken apart by
 * submission.c, which trusts nothing in them: who the user is, the kernel says.
 */
#ifndef DAKIYA_PICKUP_PICKUP_H
#define DAKIYA_PICKUP_PICKUP_H

#include "lib/daemon/daemon.h"
#include "lib/intake/intake.h"
#include "lib/table/userlist.h"
#include "pickup/users.h"

struct room {
	const struct parameters *parameters;
	struct intake_context    intake;
	struct milter_list      *milters;      /* non_smtpd_milters */
	struct match_list       *submit_users; /* authorized_submit_users */
	struct users            *users;
	int                      watch_fd; /* inotify on maildrop/; -1 = looked at every second */
};

/* ---- session.c ---- */
void             *session_begin(struct daemon_context *context, struct stream *stream,
                                const struct session_peer *peer);
enum session_next session_input(void *session);
void              session_end(void *session, enum session_end why);
int64_t           session_timeout(void *session);
bool              session_is_idle(void *session);
size_t            session_limit(const struct daemon_context *context);

/* ---- drop.c ---- */
/* The thread that looks after maildrop/; its argument is the daemon's context. */
void *drop_run(void *context);
/* Watches maildrop/ for new files; -1 when that cannot be. */
int drop_watch(void);

#endif
