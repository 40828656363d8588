/*
 * exchange.h - one AUTH command: a new libsasl2 object from start to end, never used again.
 *
 * RFC 4422. What libsasl2 asks of the user database comes back through callbacks that know this
 * exchange. Not shared between threads at a time.
 */
#ifndef DAKIYA_AUTHD_EXCHANGE_H
#define DAKIYA_AUTHD_EXCHANGE_H

#include "authd/authd.h"
#include "lib/ipc/messages.h"

struct exchange;

struct exchange_answer {
	enum auth_status status;
	struct slice     challenge; /* AUTH_CONTINUE; valid until the next step */
	const char      *user;   /* canonical when known, "" otherwise; lives with the exchange */
	const char      *reason; /* for the log */
};

/*
 * The names of the mechanisms that a service offers, separated by blanks, into *names: those in
 * the parameters, less those that send the password itself when the line is in clear.
 */
bool exchange_mechanisms(const struct authd *authd, struct slice service, bool has_tls,
                         struct buf *names);
/* Whether the mechanism sends the password itself, so that a hash will have to be computed. */
bool exchange_is_plaintext(struct slice mechanism);

/* NULL when memory is out. *answer is set. start is not kept. */
struct exchange *exchange_start(struct authd *authd, const struct msg_auth_start *start,
                                struct exchange_answer *answer);
void             exchange_step(struct exchange *exchange, struct slice response,
                               struct exchange_answer *answer);
bool             exchange_has_plaintext(const struct exchange *exchange);
void             exchange_end(struct exchange **exchange);

#endif
