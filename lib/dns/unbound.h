/*
 * unbound.h - the resolver_* parameters, turned into a libunbound context that is ready to ask.
 *
 * Everything that libunbound reads from files (trust anchor, root hints, /etc/resolv.conf) is read
 * here, before the sandbox closes; a bad setting fails with the parameter's name.
 */
#ifndef DAKIYA_DNS_UNBOUND_H
#define DAKIYA_DNS_UNBOUND_H

#include <unbound.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/conf/parameters.h"

/* NULL and *error when a setting is not usable. Its background thread starts with the first
 * question. */
struct ub_ctx *unbound_create(const struct parameters *parameters, struct error *error);

/*
 * The next entry of a list: text up to a comma, or between { and }. False at the end; *is_bad when
 * a brace is missing.
 */
bool unbound_next_entry(struct slice *rest, struct slice *entry, bool *is_bad);

#endif
