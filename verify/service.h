/*
 * service.h - verify's loop: questions from smtpd, probes to qmgr, answers back. One thread.
 */
#ifndef DAKIYA_VERIFY_SERVICE_H
#define DAKIYA_VERIFY_SERVICE_H

#include "lib/daemon/daemon.h"
#include "verify/store.h"

/* Serves until the daemon drains; store may be NULL. */
int service_run(struct daemon_context *context, struct cache *cache, struct store *store);

#endif
