/*
 * clients.h - which addresses failed to log in, and how long the next failure's answer waits.
 *
 * IPv6 clients count by /64. Bounded: the address that was quiet longest is forgotten first. The
 * waiting itself is the session's, which is parked meanwhile.
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
	size_t  held_limit; /* logins of one address under way or held back, once it failed */
	size_t  entry_limit;
};

struct client_table *client_table_create(const struct client_rules *rules);
void                 client_table_destroy(struct client_table **table);
/*
 * A login is tried. False when the address failed lately and so many of its logins are under way
 * or held back that it must wait; otherwise it counts until client_ended or client_failed.
 */
bool client_begin(struct client_table *table, struct slice address, int64_t now_ms);
void client_ended(struct client_table *table, struct slice address);
/* It failed; how long its answer is held back, in ms, until client_released. */
int64_t client_failed(struct client_table *table, struct slice address, int64_t now_ms);
void    client_released(struct client_table *table, struct slice address);

#endif
