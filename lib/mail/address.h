/*
 * address.h - mail addresses of the envelope: parsed from paths, normalised, quoted.
 *
 * RFC 5321 4.1.2 (paths), 6531 (UTF-8), 5321 4.5.3.1 (limits). Linear time, no recursion.
 * The internal form is local part without quotes, '@', domain; printing quotes what needs it.
 */
#ifndef DAKIYA_MAIL_ADDRESS_H
#define DAKIYA_MAIL_ADDRESS_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"

struct address {
	struct slice local;  /* unquoted; no control bytes; UTF-8 only where allowed */
	struct slice domain; /* as written, without '@'; "[192.0.2.1]" for literals; may be empty */
};

/*
 * RFC 5321 4.5.3.1.1 names 64 as what everybody must take and asks for no limit beyond; VERP and
 * SRS senders are longer than that every day.
 */
#define ADDRESS_LOCAL_MOST  512
#define ADDRESS_DOMAIN_MOST 255

/*
 * The path at the start of text: "<user@example.org>", a source route is dropped, "<>" gives two
 * empty parts, "<postmaster>" an empty domain. *rest is what follows '>'. allow_utf8 as SMTPUTF8.
 * Lenient forms that real clients send (blanks around, missing <>) are accepted only when
 * !is_strict (strict_rfc821_envelopes). False: malformed.
 */
bool address_parse_path(struct slice text, bool allow_utf8, bool is_strict, struct arena *arena,
                        struct address *address, struct slice *rest);
/*
 * "user@domain", "user" or "" in internal form, as tables hold it. False when a part is not
 * allowed ("@domain", "user@", control bytes, a domain that is neither name nor literal).
 */
bool address_split(struct slice text, struct address *address);
/* local@domain with the local part quoted when RFC 5321 needs it (external form, for the wire and
 * logs). */
bool address_append(struct buf *out, const struct address *address);
/* The same for internal text "local@domain". */
bool address_append_external(struct buf *out, struct slice internal);
/* Whether a local part can only be written as "quoted string" (RFC 5321 4.1.2). */
bool address_needs_quotes(struct slice local);
/*
 * Splits "user+ext" at the first of delimiters into "user" and "ext" (the delimiter is the byte in
 * front of the extension). False, nothing set, when there is none: delimiters empty, the user part
 * would be empty, or a name that is never split (postmaster, mailer-daemon, double-bounce; with
 * '-' among the delimiters also owner-anything and anything-request: owner_request_special).
 */
bool address_split_extension(struct slice local, const char *delimiters, struct slice *user,
                             struct slice *extension);
/* The same with owner_request_special = no. */
bool address_split_any_extension(struct slice local, const char *delimiters, struct slice *user,
                                 struct slice *extension);
/*
 * Syntax of a host name (RFC 1123 and '_'; UTF-8 labels when allow_utf8; not only digits and dots,
 * no final dot), and of an address literal.
 */
bool hostname_is_valid(struct slice name, bool allow_utf8);
bool hostname_is_fqdn(struct slice name);
bool address_literal_is_valid(struct slice text); /* "[192.0.2.1]", "[IPv6:2001:db8::1]" */

#endif
