/*
 * tls_health.h - what is wrong with the server's keys and certificates, for `dakiya check`.
 *
 * Found before a client finds it: a key that does not belong, an end that is near, a name that
 * is not this host's, a key that everybody may read.
 */
#ifndef DAKIYA_TLS_TLS_HEALTH_H
#define DAKIYA_TLS_TLS_HEALTH_H

#include "lib/conf/parameters.h"
#include "lib/conf/report.h"

#define TLS_HEALTH_DAYS 14 /* an end closer than this is worth a warning */

/* Examines what smtpd_tls_chain_files or the pairs of cert and key files name; file and line are
 * where they are set. Nothing named: nothing said. */
void tls_health_check(const struct parameters *parameters, const char *file, unsigned line,
                      struct report *report);

#endif
