/*
 * addrlist.h - the addresses in header fields: where each stands, and fields with some replaced.
 *
 * RFC 5322 3.4 (address lists), 4.4 (obsolete forms: source routes, blanks and comments inside an
 * address). One pass, no recursion, no allocation while reading. What is no address by the grammar
 * is passed over, never mended: phrases, comments and everything malformed stay as they are.
 */
#ifndef DAKIYA_MAIL_ADDRLIST_H
#define DAKIYA_MAIL_ADDRLIST_H

#include "lib/mail/address.h"
#include "lib/mail/header.h"

/* One address of a list. The slices live until the next one is read. */
struct listed_address {
	size_t start;       /* in the value; without < and > */
	size_t length;      /* up to its last word: blanks and comments behind it do not count */
	size_t element;     /* in the value: behind the comma, semicolon or colon before it, or 0 */
	struct slice local; /* unquoted; never empty */
	struct slice domain;       /* as written; empty when there is none */
	bool         is_quoted;    /* the local part has quotes: '%' and '!' in it mean nothing */
	bool         is_irregular; /* blanks or comments stand inside */
	bool         has_route;    /* a source route (RFC 5322 4.4) stands in front, inside */
};

struct address_list {
	struct slice value;
	size_t       at;
	size_t       tokens_left;
	size_t       element;
	bool         in_angle;
	/* the address that is being read */
	struct listed_address address;
	char                  text[ADDRESS_LOCAL_MOST + ADDRESS_DOMAIN_MOST + 2];
	size_t                length;
	size_t                sign; /* of the last '@' in text; SLICE_NOT_FOUND */
	size_t                end;  /* in the value */
	bool                  has_begun, is_bad, is_route, after_word;
};

/*
 * Reads a field's value, folded as it stands. Behind token_limit words, comments and signs the
 * rest of the value is no longer looked at.
 */
void address_list_begin(struct address_list *list, struct slice value, size_t token_limit);
bool address_list_next(struct address_list *list, struct listed_address *address);

/* What the addresses of a field are to the message. */
enum header_role { HEADER_NO_ADDRESSES, HEADER_SENDER, HEADER_RECIPIENT };
enum header_role header_role_of(struct slice name);

enum address_fate {
	ADDRESS_KEPT,
	ADDRESS_REPLACED, /* *replacement, in internal form, borrowed until the next call */
	ADDRESS_FAILED,   /* the whole is given up */
};
typedef enum address_fate address_replacer(void *context, enum header_role role,
                                           const struct listed_address *address,
                                           struct address              *replacement);

/*
 * A header block with its addresses as replace wants them: everything else is kept byte for byte,
 * comments inside a replaced address stand behind it, and a line is folded at a comma before it
 * would become longer than 998 bytes. *is_changed false: out is not written, the block is as it
 * should be. False: replace failed, or out has no room.
 */
bool header_replace_addresses(struct slice block, size_t token_limit, address_replacer *replace,
                              void *context, struct buf *out, bool *is_changed);

#endif
