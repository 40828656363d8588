/*
 * scram.h - SCRAM with one of a user's app passwords.
 *
 * RFC 5802. libsasl2 carries out the exchange with the keys of the user's own password; its
 * plugin takes one set of keys only. All keys of a user have the same salt, so the client's last
 * message may as well prove an app password: that is looked at here before libsasl2 sees it.
 */
#ifndef DAKIYA_AUTHD_SCRAM_H
#define DAKIYA_AUTHD_SCRAM_H

#include "authd/authd.h"

/* The three messages so far, as they came and went. */
struct scram_messages {
	struct slice client_first;
	struct slice server_first;
	struct slice client_final;
};

/*
 * True when the client proved an app password of the user for the service: login->credential is
 * its id, and server_final ("v=...") is to be sent. False: whatever it is, libsasl2 decides.
 */
bool scram_app_prove(struct authd *authd, struct login_name *login,
                     const struct scram_messages *messages, struct buf *server_final);

#endif
