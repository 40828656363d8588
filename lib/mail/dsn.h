/*
 * dsn.h - fields of delivery status notifications, and the wrapped text that goes with them.
 *
 * RFC 3464 (message/delivery-status), 3461 (ORCPT), 6533 (UTF-8 forms). Whatever the value holds,
 * what comes out is one well-formed field: control bytes become blanks or '?', bytes that are not
 * allowed '?', and no line is longer than 998 bytes.
 */
#ifndef DAKIYA_MAIL_DSN_H
#define DAKIYA_MAIL_DSN_H

#include "lib/base/buf.h"

#define DSN_VALUE_MOST 4000 /* bytes of a value that are kept; enough for any reply of a server */

/* "Name: type; value" CRLF, folded; type may be NULL. allow_utf8: the report is a global- one. */
bool dsn_append_field(struct buf *out, const char *name, const char *type, struct slice value,
                      bool allow_utf8);
/* The same byte for byte, blanks and all, on one line unless it is longer than such may be. */
bool dsn_append_exact(struct buf *out, const char *name, const char *type, struct slice value,
                      bool allow_utf8);
/*
 * An address in internal form: "Final-Recipient: rfc822; user@domain", type utf-8
 * when it is not ASCII, with its characters as \x{HEX} unless allow_utf8 (RFC 6533 3).
 */
bool dsn_append_address(struct buf *out, const char *name, struct slice address, bool allow_utf8);
/*
 * "type;address" as ORCPT gave it, xtext decoded, to "Name: type; address"; of the type utf-8
 * likewise without UTF-8 unless allow_utf8.
 */
bool dsn_append_typed(struct buf *out, const char *name, struct slice typed, bool allow_utf8);
/*
 * An address of ORCPT's type utf-8 in ASCII alone, for servers without SMTPUTF8, too. What the
 * client escaped stays as it is.
 */
bool dsn_append_utf8_original(struct buf *out, struct slice address);
/*
 * Text for people, wrapped at 78 columns; lines but the first are indented by hang blanks. Ends
 * with CRLF. column: what stands on the first line already.
 */
bool dsn_append_text(struct buf *out, struct slice text, size_t column, size_t hang,
                     bool allow_utf8);

#endif
