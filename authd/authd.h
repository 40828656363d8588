/*
 * authd.h - what the parts of authd share: the room, its user database, its bounded resources.
 *
 * A session (session.c) is a channel from smtpd or pop3d; an exchange (exchange.c) one AUTH
 * command, driven by libsasl2; credentials (credentials.c) answer whether a password is right.
 */
#ifndef DAKIYA_AUTHD_H
#define DAKIYA_AUTHD_H

#include "authd/cache.h"
#include "authd/clients.h"
#include "lib/base/mutex.h"
#include "lib/daemon/daemon.h"
#include "lib/route/route.h"
#include "lib/sasl/auth.h"
#include "lib/sasl/lastuse.h"
#include "lib/sasl/user.h"
#include "lib/table/table.h"

/* How many hashes run at once; the rest of the threads that want one wait here. */
struct hash_slots {
	struct mutex     lock; /* guards everything below */
	struct condition freed;
	size_t           limit;
	size_t           running;
	int64_t          taken_bytes; /* of memory, by those that run */
	size_t           waiting;
};

struct authd {
	const struct parameters *parameters;
	struct table            *users;        /* users.db */
	struct router           *router;       /* the mailboxes' */
	const char              *mailbox_path; /* private/virtual */
	struct hash_slots        slots;
	struct memory           *memory;
	size_t                   waiting_most; /* threads that may wait for a slot */
	struct password_cache   *cache;
	struct client_table     *clients;
	struct last_use         *last_use;                       /* NULL: not kept */
	char                     dummy_hash[PASSWORD_HASH_SIZE]; /* for users that are not there */
	unsigned char            fallback_secret[32];            /* until users.db has one */
};

/* Who logs in, by which way; what was used to do so is filled in. */
struct login_name {
	const char *canonical;                         /* "" for a name that can be nobody's */
	const char *service;                           /* "smtp", "pop3" */
	char        credential[USER_APP_ID_BYTES + 1]; /* an app password's id; "" the user's own */
};

/* What is known after looking a user up. */
struct credentials {
	bool               is_known; /* there is such a user, and he may log in */
	struct user_record record;
	struct scram_keys  scram; /* the user's, or made up so that nobody can tell */
	struct user_app    app;   /* the one that the password says it is; id "" = none */
};

/*
 * password chooses among app passwords; without one (SCRAM) the keys are the user's own, or when
 * there are none those of the last app password for the service (see scram.h for the others).
 * LOOKUP_TRY_LATER sets *error.
 */
enum lookup credentials_find(struct authd *authd, struct login_name *login, struct slice password,
                             struct credentials *credentials, struct error *error);

enum verdict { VERDICT_RIGHT, VERDICT_WRONG, VERDICT_TRY_LATER };
/* Costs the same for any user and any wrong password. *reason is for the log. */
enum verdict password_check(struct authd *authd, struct login_name *login, struct slice password,
                            const char **reason);
/* Whether so many threads wait for a hash that another one had better not begin. */
bool hash_is_crowded(struct authd *authd);

/*
 * The descriptor of the user's mailbox; -1 and *error. Done in the rights of local's parent, which
 * gets the other end.
 */
int mailbox_attach(struct authd *authd, const char *canonical, struct error *error);

/* Starts and ends libsasl2 in this process; once. */
bool exchange_library_start(struct error *error);

/* The session functions of struct daemon. */
void             *session_begin(struct daemon_context *context, struct stream *stream,
                                const struct session_peer *peer);
enum session_next session_input(void *session);
void              session_end(void *session, enum session_end why);
int64_t           session_timeout(void *session);
bool              session_is_idle(void *session);

/* Everything that the room holds; for main.c and for unit tests. */
struct authd *authd_create(const struct snapshot *snapshot, size_t thread_limit,
                           struct memory *memory, struct error *error);
void          authd_destroy(struct authd **authd);

#endif
