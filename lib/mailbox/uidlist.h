/*
 * uidlist.h - the unique ids in a `dovecot-uidlist` file, so that POP3 clients of a mailbox that
 * Dovecot served before do not load everything again.
 *
 * Version 3 ("3 V1275660208 N25022 ...", then "uid [fields] :name") and version 1. Read only.
 */
#ifndef DAKIYA_MAILBOX_UIDLIST_H
#define DAKIYA_MAILBOX_UIDLIST_H

#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/slice.h"

#define UIDLIST_BYTES_MOST (64u << 20)

struct uidlist {
	uint32_t    validity;
	struct hash uids; /* unique part of the name -> uid as a pointer's value, never 0 */
};

/* False when text is no such file; lines that are malformed are left out. uidlist_free always. */
bool     uidlist_parse(struct slice text, struct uidlist *list);
uint32_t uidlist_get(const struct uidlist *list, struct slice unique); /* 0 = not listed */
void     uidlist_free(struct uidlist *list);

#endif
