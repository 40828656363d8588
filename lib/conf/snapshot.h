/*
 * snapshot.h - the checked, expanded, immutable configuration that master hands to a daemon.
 *
 * Master builds one for each service (main.cf with the service's -o overrides), as bytes in a
 * sealed memfd; a daemon opens it and never reads main.cf. Everything borrowed from a snapshot
 * lives as long as the process.
 */
#ifndef DAKIYA_CONF_SNAPSHOT_H
#define DAKIYA_CONF_SNAPSHOT_H

#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/conf/parameters.h"

struct snapshot;

/* Reads the whole of fd (stays the caller's). NULL and *error when it is malformed. */
struct snapshot *snapshot_open(int fd, struct error *error);
void             snapshot_destroy(struct snapshot **snapshot);

/* The values; under stress the defaults with ${stress?...} differ. */
const struct parameters *snapshot_parameters(const struct snapshot *snapshot);
const struct parameters *snapshot_stress_parameters(const struct snapshot *snapshot);

/*
 * The expanded value of any name in main.cf, known to the table or not (restriction classes,
 * TRANSPORT_destination_recipient_limit); NULL when it is set nowhere and has no default.
 */
const char *snapshot_value(const struct snapshot *snapshot, const char *name);
/*
 * A per-transport number, like smtp_destination_concurrency_limit for suffix
 * "_destination_concurrency_limit": TRANSPORT+suffix when set, otherwise default+suffix.
 * Seconds for time parameters.
 */
int64_t snapshot_transport_number(const struct snapshot *snapshot, const char *transport,
                                  const char *suffix);

/* A snapshot from text "name = value\n..." for unit tests; everything else has its default. */
struct snapshot *snapshot_from_text(const char *text, struct error *error);

#endif
