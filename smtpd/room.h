/*
 * room.h - what all sessions of one smtpd process share.
 *
 * Made once before the doors close; read-only afterwards, except the counters in limits.h, which
 * have their own lock.
 */
#ifndef DAKIYA_SMTPD_ROOM_H
#define DAKIYA_SMTPD_ROOM_H

#include "lib/base/mutex.h"
#include "lib/conf/snapshot.h"
#include "lib/daemon/daemon.h"
#include "lib/dns/dns.h"
#include "lib/intake/transcript.h"
#include "lib/io/endpoint.h"
#include "lib/milter/milter.h"
#include "lib/queue/verify.h"
#include "lib/route/route.h"
#include "lib/sasl/auth.h"
#include "lib/sasl/turns.h"
#include "lib/table/match.h"
#include "lib/table/table.h"
#include "lib/tls/tls.h"
#include "smtpd/limits.h"
#include "smtpd/restrictions.h"

struct room {
	const char              *service;
	const struct snapshot   *snapshot;
	const struct parameters *parameters;
	struct intake_context    intake;
	struct tls_server       *tls; /* NULL: no TLS */
	struct auth_client      *auth;
	struct auth_turns        turns;
	struct dns_client       *dns;
	struct verify_client    *verify;
	struct restrictions     *restrictions;
	struct limits           *limits;
	struct memory           *memory;         /* new mail waits while it is short, */
	_Atomic int64_t          memory_said_ms; /* which is said now and then */
	_Atomic int32_t          messages;       /* on their way in */
	unsigned                 notify_classes; /* see notify.c */
	struct transcript_limit  notify_limit;
	size_t                   session_limit;
	unsigned                 extensions; /* SMTP_*: offered before clients are looked at */
	bool                     is_tls_required;
	bool                     is_auth_enabled;
	struct match_list       *mynetworks;
	struct match_list       *xclient_hosts;
	struct match_list       *xforward_hosts;
	struct match_list       *verp_hosts; /* smtpd_authorized_verp_clients */
	struct match_list       *bare_newline_exclusions;
	struct match_list       *event_exceptions;
	struct match_list       *flush_domains; /* fast_flush_domains */
	struct match_list       *sasl_exceptions;
	struct match_list       *sasl_filter;
	struct match_list       *mx_backup_networks;
	struct table_list       *discard_maps;
	struct table_list       *command_filter; /* smtpd_command_filter */
	struct milter_list      *milters;        /* NULL: none, see milters.c */
	struct table_list       *milter_maps;    /* smtpd_milter_maps */
	struct endpoint         *proxy_filter;   /* NULL: none, see proxy.c */
	struct table_list       *login_maps;
	struct table_list       *client_certificates; /* relay_clientcerts */
};

/* NULL and *error when the configuration cannot work. */
struct room *room_create(const struct daemon_context *context, struct error *error);
void         room_destroy(struct room **room);
/* smtpd_session_limit, or what it stands for. */
size_t room_session_limit(const struct daemon_context *context);

#endif
