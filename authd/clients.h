/*
 * clients.h - which addresses failed to log in, and how long the next failure's answer waits.
 *
 * IPv6 clients count by /64. Bounded: the address that was quiet longest is forgotten first. The
 * waiting itself is done by smtpd and pop3d, with the client's session. What is remembered here
 * goes by the clock alone: a client that hangs up early has gained nothing.
 */
#ifndef DAKIYA_AUTHD_CLIENTS_H
#define DAKIYA_AUTHD_CLIENTS_H

#include <stdint.h>

#include "lib/base/slice.h"

struct client_table;

struct client_rules {
	int64_t delay_ms; /* after the first failure; doubles */
	int64_t delay_limit_ms;
	int64_t forget_ms;
	/* Logins of one address being checked or with their answer still waiting, once it failed.
	 */
	size_t held_limit;
	size_t entry_limit;
};

struct client_table *client_table_create(const struct client_rules *rules);
void                 client_table_destroy(struct client_table **table);
enum client_answer {
	CLIENT_MAY,     /* it counts as under way until client_ended or client_failed */
	CLIENT_WAITS,   /* for one of those under way, which end soon */
	CLIENT_REFUSED, /* so many failed that their answers, still waiting, fill all places */
};

/* A message of a login is to be looked at. Addresses that did not fail lately always may. */
enum client_answer client_begin(struct client_table *table, struct slice address, int64_t now_ms);
void               client_ended(struct client_table *table, struct slice address);
/*
 * It failed. How long its answer is to wait, in ms: the delay of its count of failures, and what
 * is left of the one before when it came before that was over. It counts as waiting so long.
 */
int64_t client_failed(struct client_table *table, struct slice address, int64_t now_ms);

#endif
