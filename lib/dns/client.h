/*
 * client.h - inside lib/dns: who answers a client's questions when it is not the resolver.
 */
#ifndef DAKIYA_DNS_CLIENT_H
#define DAKIYA_DNS_CLIENT_H

#include "lib/dns/dns.h"
#include "lib/ipc/messages.h"

struct dns_private {
	/* As the resolver answers; the message's slices lie in the arena. False and *error. */
	bool (*ask)(const struct dns_private *private, const struct msg_dns_query *query,
	            struct arena *arena, struct msg_dns_answer *message, struct error *error);
	void (*close)(const struct dns_private *private);
};

/* Owns private from then on, unless it is NULL, which it is when memory is out. */
struct dns_client *dns_client_create_from(const struct dns_private *private);

#endif
