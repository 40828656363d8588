/*
 * auth.h - logins: the client side of authd, for smtpd and pop3d.
 *
 * RFC 4422. libsasl2 is not seen here: responses and challenges are passed on. One exchange at a
 * time on an auth_exchange; a new one for each AUTH command.
 */
#ifndef DAKIYA_SASL_AUTH_H
#define DAKIYA_SASL_AUTH_H

#include "lib/base/buf.h"
#include "lib/base/error.h"

enum auth_status {
	AUTH_OK = 0,
	AUTH_CONTINUE,  /* a challenge to pass on */
	AUTH_FAILED,    /* wrong credentials, or unknown user: the client learns no difference */
	AUTH_TRY_LATER, /* authd is not there, database unreadable */
	AUTH_CANCELLED,
	AUTH_BAD_MECHANISM,
	AUTH_MALFORMED,  /* response not in the mechanism's form */
	AUTH_NO_MAILBOX, /* credentials right, mailbox cannot be opened now (reason) */
};

struct auth_request {
	const char  *service; /* "smtp", "pop3" */
	struct slice mechanism;
	bool         has_initial;
	struct slice initial; /* decoded */
	struct slice client_address, client_name, server_address;
	bool         has_tls;
	struct slice channel_binding;
	bool         want_mailbox;
};

struct auth_outcome {
	enum auth_status status;
	struct buf       challenge; /* AUTH_CONTINUE: not yet base64; AUTH_OK: success data */
	char             user[256];
	char             reason[256];
	/* The client is to wait so long for its answer, to slow down who guesses: a pause of the
	 * session, in which nothing else of it is done. Never with AUTH_CONTINUE and AUTH_OK. */
	int64_t delay_ms;
	int     mailbox_fd; /* -1 unless asked for and granted; then the caller's */
};

struct auth_client; /* for one daemon; safe from several threads */
struct auth_client *auth_client_create(const char *path);
void                auth_client_destroy(struct auth_client **client);
/* Mechanism names for EHLO or CAPA, space separated; false when authd cannot be asked. Cached. */
bool auth_mechanisms(struct auth_client *client, const char *service, bool has_tls,
                     struct buf *names);

struct auth_exchange;
/* NULL when memory is out. outcome must be initialised with auth_outcome_init. */
struct auth_exchange *auth_start(struct auth_client *client, const struct auth_request *request,
                                 struct auth_outcome *outcome);
void                  auth_respond(struct auth_exchange *exchange, struct slice response,
                                   struct auth_outcome *outcome);
/* Ends an exchange, finished or not. */
void auth_end(struct auth_exchange **exchange);
void auth_outcome_init(struct auth_outcome *outcome);
void auth_outcome_free(struct auth_outcome *outcome); /* closes mailbox_fd if still there */

#endif
