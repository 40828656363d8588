/*
 * compose.h - parts of commands as a client of SMTP writes them: for smtp, which delivers, and for
 * smtpd, which replays sessions to a filter. One writer, so that both write alike.
 *
 * RFC 5321 4.1, 3461 (NOTIFY, ORCPT), 6533 (utf-8 addresses); XFORWARD as Postfix has it. No I/O.
 */
#ifndef DAKIYA_SMTP_COMPOSE_H
#define DAKIYA_SMTP_COMPOSE_H

#include <stdint.h>

#include "lib/base/buf.h"

/* "MAIL FROM:<address>"; verb has its colon. False when the address has no form on the wire. */
bool compose_path(struct buf *line, const char *verb, struct slice address);
/* " NOTIFY=SUCCESS,FAILURE" of DSN_NOTIFY_* bits; nothing for 0. */
void compose_notify(struct buf *line, uint32_t notify);
/* " ORCPT=type;address" of "type;address", decoded; nothing when there is no semicolon. */
void compose_orcpt(struct buf *line, struct slice orcpt);

struct xforward_attribute {
	const char  *name;
	struct slice value; /* empty or "unknown": [UNAVAILABLE] */
};
/*
 * The next XFORWARD command with the attributes from *at on that offered (the words behind the
 * keyword in EHLO's reply) has, as many as fit 510 bytes. False: none is left.
 */
bool compose_xforward(struct buf *line, struct slice offered,
                      const struct xforward_attribute *attributes, size_t count, size_t *at);

#endif
