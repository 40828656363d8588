/*
 * check_relay.h - C3: which stranger could relay through a service, by which rule of its lists?
 *
 * A stranger is in no network of ours, has not logged in, and sends to a domain that is not ours.
 * He chooses HELO and sender as he likes, and the address that he calls from with some effort. The
 * lists are followed as smtpd does: permit ends one list only, each of them must let him through.
 */
#ifndef DAKIYA_CONF_CHECK_RELAY_H
#define DAKIYA_CONF_CHECK_RELAY_H

#include "lib/conf/settings.h"

enum relay_verdict {
	RELAY_NONE, /* no stranger */
	RELAY_SOME, /* some strangers, or to some domains: what an entry of a table admits */
	RELAY_ALL,  /* each stranger, or each that claims a sender or a HELO name */
};

enum relay_domain {
	RELAY_DOMAIN_FOREIGN,
	RELAY_DOMAIN_HOSTED,  /* delivered here, or refused */
	RELAY_DOMAIN_RELAYED, /* in relay_domains */
};

/* How tables in files are read; without one only inline: and static: are known. */
struct relay_reader {
	/* Calls visit for each entry; false when the table cannot be read through. */
	bool (*each_entry)(void *context, struct slice spec,
	                   void (*visit)(void *visitor, struct slice key, struct slice value),
	                   void *visitor);
	/* What is done with mail for a domain, whoever sends it. */
	enum relay_domain (*look_up_domain)(void *context, struct slice domain);
	void *context;
};

/*
 * Follows the lists. Appends for RELAY_NONE where strangers are stopped, otherwise how they come
 * through. reader may be NULL.
 */
enum relay_verdict relay_evaluate(const struct settings     *settings,
                                  const struct relay_reader *reader, struct buf *text);

/*
 * Calls visit for each entry of inline:{...} and static:value; "" is the key of static, which is
 * for all. False for tables of other types.
 */
bool relay_each_own_entry(struct slice spec,
                          void (*visit)(void *visitor, struct slice key, struct slice value),
                          void *visitor);

#endif
