/*
 * policy.h - asks a policy server what to do: the delegation protocol of SMTPD_POLICY_README.
 *
 * A request is lines "name=value" and an empty line, the answer "action=..." and an empty line.
 * Connections are kept and used again, one request at a time each. Three answers: an action, or
 * (after try_limit tries) no answer, and then the caller does what default_action says.
 */
#ifndef DAKIYA_POLICY_POLICY_H
#define DAKIYA_POLICY_POLICY_H

#include "lib/base/buf.h"
#include "lib/base/error.h"

/* What a server's own "{ spec, name=value ... }" may replace. */
struct policy_settings {
	int64_t     timeout_ms;
	int64_t     max_idle_ms;
	int64_t     max_ttl_ms;
	int64_t     request_limit; /* requests on one connection; 0 = any number */
	int64_t     try_limit;
	int64_t     retry_delay_ms;
	const char *default_action; /* borrowed */
	const char *context;        /* policy_context=; borrowed */
};

struct policy_service;
/*
 * text: "unix:path", "inet:host:port", or that and settings within what was "{ }". NULL and
 * *error when it is malformed. Names are resolved here: call it before the doors close.
 */
struct policy_service *policy_service_create(struct slice                  text,
                                             const struct policy_settings *settings,
                                             struct error                 *error);
void                   policy_service_destroy(struct policy_service **service);
const char            *policy_service_name(const struct policy_service *service);
bool                   policy_service_is_unix(const struct policy_service *service);

/* name=value and a line end; a value with control bytes is cut there. False: no room. */
bool policy_append(struct buf *request, const char *name, struct slice value);
/*
 * Sends request (its lines, without the empty one; context is added here) and waits: the action
 * in *action, cleared first. False and *error when there is none after all tries; *action is then
 * default_action. Any thread; holds no lock while waiting.
 */
bool policy_ask(struct policy_service *service, struct slice request, struct buf *action,
                struct error *error);

#endif
