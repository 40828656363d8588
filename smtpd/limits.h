/*
 * limits.h - connections and rates of each client, counted within this process.
 *
 * A client is an address cut to smtpd_client_ipv4_prefix_length or _ipv6_. Counts of events run
 * over windows of anvil_rate_time_unit. Safe from several threads; nothing waits under the lock.
 */
#ifndef DAKIYA_SMTPD_LIMITS_H
#define DAKIYA_SMTPD_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/conf/parameters.h"

enum limit_event {
	LIMIT_CONNECTIONS,
	LIMIT_MESSAGES,
	LIMIT_RECIPIENTS,
	LIMIT_TLS_SESSIONS,
	LIMIT_AUTH,
	LIMIT_EVENTS, /* the number of them */
};

struct limits;
struct limit_client; /* one client's counts while a session of it lives */

struct limits *limits_create(const struct parameters *parameters);
void           limits_destroy(struct limits **limits);

/* A session begins: *simultaneous counts it, too. NULL when memory is out. */
struct limit_client *limits_connect(struct limits *limits, const struct sockaddr_storage *address,
                                    int64_t now_ms, size_t *simultaneous);
void limits_disconnect(struct limits *limits, struct limit_client **client, int64_t now_ms);
/* Counts an event; how many there were in this window. */
size_t limits_count(struct limits *limits, struct limit_client *client, enum limit_event event,
                    int64_t now_ms);
/* Sessions that live now. */
size_t limits_sessions(struct limits *limits);

#endif
