/*
 * prober.h - the channel to qmgr on which probes are sent and answered.
 *
 * Never waits but to connect. While qmgr is away probes stand in line, and when another one comes
 * all that are not answered are sent to it: a probe does no harm twice.
 */
#ifndef DAKIYA_VERIFY_PROBER_H
#define DAKIYA_VERIFY_PROBER_H

#include "lib/conf/snapshot.h"
#include "lib/ipc/channel.h"
#include "verify/cache.h"

/* A probe is over; the address may be gone afterwards. */
typedef void probe_report(void *context, struct known *known, enum verify_status status,
                          struct slice reason);

struct prober {
	const struct parameters *parameters;
	struct cache            *cache;
	probe_report            *report;
	void                    *context;
	struct ipc_channel       channel;
	bool                     is_open, is_new, has_greeted;
	uint64_t                 instance; /* of the channel, for ids */
	int64_t                  last_us;  /* of the newest id */
	int64_t                  retry_ms; /* not connected to before */
	bool                     has_complained;
	struct hash              asked; /* struct known by queue id */
};

void prober_init(struct prober *prober, const struct parameters *parameters, struct cache *cache,
                 probe_report *report, void *context);
/* The address has been marked by cache_ask. */
void prober_send(struct prober *prober, struct known *known);
/* There is something to read. */
void prober_read(struct prober *prober);
/* Connects again, and gives up what has waited too long. */
void prober_tick(struct prober *prober, int64_t now_ms);
void prober_close(struct prober *prober);
/* -1 when it is not connected. */
int prober_fd(const struct prober *prober);
/* True once after each connect. */
bool prober_is_new(struct prober *prober);

#endif
