/*
 * smtpd_fakes.h - the worlds around an SMTP session, for dialogue tests and the fuzzer: intake,
 * authd, DNS and TLS that answer from memory. Defines the functions themselves, so include it once.
 */
#ifndef DAKIYA_TESTS_SMTPD_FAKES_H
#define DAKIYA_TESTS_SMTPD_FAKES_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/queue/flush.h"
#include "smtpd/session.h"

/* What the fakes saw and how they should behave. */
struct fake_world {
	struct buf intake; /* one line for each thing that reached the queue */
	bool       is_queue_down;
	bool       is_auth_down;
	int64_t    auth_delay_ms; /* of failures */
	bool       has_tls;
	bool       wants_handshake;
	unsigned   messages;
};
static struct fake_world fake_world;

/* ---- intake ---- */

struct intake {
	char       id[16];
	struct buf text;
	struct buf content;
};

struct intake *
intake_begin(const struct intake_context *context, const struct msg_envelope *envelope,
             struct error *error)
{
	(void)context;
	if (fake_world.is_queue_down) {
		error_set(error, "connect to private/intake: Connection refused");
		return NULL;
	}
	struct intake *intake = calloc(1, sizeof(*intake));
	intake->text = BUF(1u << 20);
	intake->content = BUF(64u << 20);
	snprintf(intake->id, sizeof(intake->id), "ID%04u", ++fake_world.messages % 10000);
	buf_append_text(&intake->text, "from=<");
	buf_append_printable(&intake->text, envelope->sender);
	buf_append_format(&intake->text, "> proto=%.*s", SLICE_ARGS(envelope->client_protocol));
	if (envelope->dsn_ret != 0)
		buf_append_format(&intake->text, " ret=%u", envelope->dsn_ret);
	if (envelope->dsn_envid.length > 0)
		buf_append_format(&intake->text, " envid=%.*s", SLICE_ARGS(envelope->dsn_envid));
	if (envelope->sasl_username.length > 0)
		buf_append_format(&intake->text, " sasl=%.*s", SLICE_ARGS(envelope->sasl_username));
	return intake;
}

const char *
intake_id(const struct intake *intake)
{
	return intake->id;
}

bool
intake_add_recipient(struct intake *intake, const struct msg_recipient *recipient)
{
	buf_append_text(&intake->text, " to=<");
	buf_append_printable(&intake->text, recipient->address);
	buf_append_byte(&intake->text, '>');
	if (recipient->dsn_notify != 0)
		buf_append_format(&intake->text, " notify=%u", recipient->dsn_notify);
	if (recipient->dsn_orcpt.length > 0)
		buf_append_format(&intake->text, " orcpt=%.*s", SLICE_ARGS(recipient->dsn_orcpt));
	return true;
}

bool
intake_set_trace(struct intake *intake, struct slice fields)
{
	buf_append_text(&intake->text, " trace=");
	return buf_append_printable(&intake->text, fields);
}

void
intake_amend(struct intake *intake, uint32_t flags, struct slice filter)
{
	if (flags != 0)
		buf_append_format(&intake->text, " flags=%u", flags);
	if (filter.length > 0)
		buf_append_format(&intake->text, " filter=%.*s", SLICE_ARGS(filter));
}

bool
intake_write(struct intake *intake, struct slice content)
{
	return buf_append(&intake->content, content);
}

struct smtp_reply
intake_finish(struct intake *intake, struct arena *arena)
{
	buf_append(&fake_world.intake, buf_slice(&intake->text));
	buf_append_text(&fake_world.intake, " content=");
	for (size_t i = 0; i < intake->content.length && i < 300; i++) {
		char c = intake->content.data[i];
		if (c == '\r')
			buf_append_text(&fake_world.intake, "\\r");
		else if (c == '\n')
			buf_append_text(&fake_world.intake, "\\n");
		else
			buf_append_byte(&fake_world.intake, ascii_is_control(c) ? '?' : c);
	}
	buf_append_format(&fake_world.intake, " bytes=%zu\n", intake->content.length);
	return (struct smtp_reply){
		250,
		{ 2, 0, 0 },
		slice_from(arena_format(arena, "Ok: queued as %s", intake->id)),
	};
}

void
intake_end(struct intake **intake)
{
	buf_free(&(*intake)->text);
	buf_free(&(*intake)->content);
	free(*intake);
	*intake = NULL;
}

void
intake_set_milters(struct intake *intake, struct milter_session *milters)
{
	(void)intake;
	(void)milters;
}
struct milter_settings
intake_milter_settings(const struct parameters *parameters)
{
	return (struct milter_settings){ .default_action = parameters->milter_default_action };
}
struct slice
intake_milter_macro(const struct parameters *parameters, struct slice name)
{
	(void)parameters;
	(void)name;
	return (struct slice){ NULL, 0 };
}

struct intake_client {
	int unused;
};
struct intake_client *
intake_client_create(const char *path, const char *service)
{
	(void)path;
	(void)service;
	return calloc(1, sizeof(struct intake_client));
}
bool
intake_make_id(struct intake_client *client, char id[QUEUE_ID_MOST], struct error *error)
{
	(void)client;
	(void)error;
	snprintf(id, QUEUE_ID_MOST, "SPOOL");
	return true;
}
enum intake_status
intake_open_spool(struct intake_client *client, const char *id, uint64_t size, int *fd,
                  struct error *error)
{
	(void)client;
	(void)id;
	(void)size;
	*fd = fake_world.is_queue_down ? -1 : memfd_create("spool", MFD_CLOEXEC);
	return *fd >= 0 ? INTAKE_OK : (error_set(error, "no file"), INTAKE_TRY_LATER);
}
void
intake_abandon_spool(struct intake_client *client, const char *id)
{
	(void)client;
	(void)id;
}
void
intake_client_destroy(struct intake_client **client)
{
	free(*client);
	*client = NULL;
}

bool
queue_flush_site(const char *socket_path, struct slice site, int64_t timeout_ms,
                 struct error *error)
{
	(void)socket_path;
	(void)timeout_ms;
	if (fake_world.is_queue_down)
		return error_set(error, "connect to public/queue: Connection refused");
	buf_append_format(&fake_world.intake, "flush=%.*s\n", SLICE_ARGS(site));
	return true;
}

struct rules *
checks_create(const struct snapshot *snapshot, struct error *error)
{
	static const struct rules_source none[CHECK_COUNT];

	(void)snapshot;
	return rules_open(none, error);
}

/* ---- authd: PLAIN and LOGIN for alice with password "secret" ---- */

struct auth_client {
	int unused;
};
struct auth_exchange {
	bool is_login;
	bool is_in_time; /* alice was named */
	int  step;
};

struct auth_client *
auth_client_create(const char *path)
{
	(void)path;
	return calloc(1, sizeof(struct auth_client));
}
void
auth_client_destroy(struct auth_client **client)
{
	free(*client);
	*client = NULL;
}
bool
auth_mechanisms(struct auth_client *client, const char *service, bool has_tls, struct buf *names)
{
	(void)client;
	(void)service;
	(void)has_tls;
	return !fake_world.is_auth_down && buf_append_text(names, "SCRAM-SHA-256 PLAIN LOGIN");
}
void
auth_outcome_init(struct auth_outcome *outcome)
{
	*outcome = (struct auth_outcome){ .challenge = BUF(65536), .mailbox_fd = -1 };
}
void
auth_outcome_free(struct auth_outcome *outcome)
{
	buf_free(&outcome->challenge);
}
static void
fake_decide(struct auth_outcome *outcome, bool is_good)
{
	outcome->status = is_good ? AUTH_OK : AUTH_FAILED;
	outcome->delay_ms = is_good ? 0 : fake_world.auth_delay_ms;
	snprintf(outcome->user, sizeof(outcome->user), "alice@example.test");
}
void
auth_respond(struct auth_exchange *exchange, struct slice response, struct auth_outcome *outcome)
{
	if (!exchange->is_login) {
		fake_decide(outcome, slice_equal(response, SLICE("\0alice\0secret")));
	} else if (exchange->step++ == 0) {
		exchange->is_in_time = slice_equal(response, SLICE("alice"));
		outcome->status = AUTH_CONTINUE;
		buf_append_text(&outcome->challenge, "Password:");
	} else {
		fake_decide(outcome,
		            exchange->is_in_time && slice_equal(response, SLICE("secret")));
	}
}
struct auth_exchange *
auth_start(struct auth_client *client, const struct auth_request *request,
           struct auth_outcome *outcome)
{
	(void)client;
	struct auth_exchange *exchange = calloc(1, sizeof(*exchange));
	exchange->is_login = slice_equal(request->mechanism, SLICE("LOGIN"));
	if (fake_world.is_auth_down) {
		outcome->status = AUTH_TRY_LATER;
	} else if (request->has_initial) {
		auth_respond(exchange, request->initial, outcome);
	} else {
		outcome->status = AUTH_CONTINUE;
		if (exchange->is_login)
			buf_append_text(&outcome->challenge, "Username:");
	}
	return exchange;
}
void
auth_end(struct auth_exchange **exchange)
{
	free(*exchange);
	*exchange = NULL;
}

/* ---- DNS ---- */

struct dns_client {
	int unused;
};
struct dns_client *
dns_client_create(const char *path)
{
	(void)path;
	return calloc(1, sizeof(struct dns_client));
}
void
dns_client_destroy(struct dns_client **client)
{
	free(*client);
	*client = NULL;
}

static const struct {
	const char     *name;
	enum dns_type   type;
	enum dns_status status;
	struct slice    target, data;
} fake_zone[] = {
	{ "good.test", DNS_MX, DNS_FOUND, { "mx.good.test", 12 }, { "", 0 } },
	{ "mx.good.test", DNS_A, DNS_FOUND, { "", 0 }, { "\xc0\x00\x02\x19", 4 } },
	{ "client.test", DNS_A, DNS_FOUND, { "", 0 }, { "\xc0\x00\x02\x01", 4 } },
	{ "null.test", DNS_MX, DNS_FOUND, { "", 0 }, { "", 0 } },
	{ "slow.test", DNS_MX, DNS_TRY_LATER, { "", 0 }, { "", 0 } },
	{ "slow.test", DNS_A, DNS_TRY_LATER, { "", 0 }, { "", 0 } },
	{ "slow.test", DNS_AAAA, DNS_TRY_LATER, { "", 0 }, { "", 0 } },
	/* 192.0.2.250 is this host */
	{ "backup.test", DNS_MX, DNS_FOUND, { "mx.good.test", 12 }, { "", 0 } },
	{ "backup.test", DNS_MX, DNS_FOUND, { "mx.example.test", 15 }, { "", 0 } },
	{ "mx.example.test", DNS_A, DNS_FOUND, { "", 0 }, { "\xc0\x00\x02\xfa", 4 } },
	{ "strange.test", DNS_MX, DNS_FOUND, { "client.test", 11 }, { "", 0 } },
	{ "strange.test", DNS_MX, DNS_FOUND, { "mx.example.test", 15 }, { "", 0 } },
	{ "lost.test", DNS_MX, DNS_FOUND, { "slow.test", 9 }, { "", 0 } },
	{ "66.2.0.192.bl.test", DNS_A, DNS_FOUND, { "", 0 }, { "\x7f\x00\x00\x02", 4 } },
	{ "66.2.0.192.bl.test", DNS_TXT, DNS_FOUND, { "", 0 }, { "listed by hand", 14 } },
	{ "bad.test.rhs.test", DNS_A, DNS_FOUND, { "", 0 }, { "\x7f\x00\x00\x02", 4 } },
};

enum dns_status
dns_query(struct dns_client *client, struct slice name, enum dns_type type, int64_t timeout_ms,
          struct arena *arena, struct dns_answer *answer, struct error *error)
{
	(void)client;
	(void)timeout_ms;
	*answer = (struct dns_answer){ .count = 0 };
	answer->records = arena_alloc_array(arena, sizeof(fake_zone) / sizeof(fake_zone[0]),
	                                    sizeof(*answer->records));
	if (answer->records == NULL)
		return DNS_TRY_LATER;
	for (size_t i = 0; i < sizeof(fake_zone) / sizeof(fake_zone[0]); i++) {
		if (fake_zone[i].type != type ||
		    !slice_equal_fold(name, slice_from(fake_zone[i].name)))
			continue;
		if (fake_zone[i].status != DNS_FOUND) {
			error_set(error, "timed out");
			return fake_zone[i].status;
		}
		answer->records[answer->count] =
			(struct dns_record){ .preference = (uint32_t)answer->count,
			                     .target = fake_zone[i].target,
			                     .data = fake_zone[i].data };
		answer->count++;
	}
	return answer->count > 0 ? DNS_FOUND : DNS_NO_DATA;
}

/* 192.0.2.1 is client.test; .2 has a name that does not confirm; .3 is slow; others have none. */
enum dns_status
dns_confirm_client(struct dns_client *client, struct slice address, int64_t timeout_ms,
                   struct arena *arena, struct slice *name, struct slice *unconfirmed,
                   struct error *error)
{
	(void)client;
	(void)timeout_ms;
	(void)arena;
	*unconfirmed = SLICE_EMPTY;
	if (slice_equal(address, SLICE("192.0.2.1"))) {
		*name = SLICE("client.test");
		return DNS_FOUND;
	}
	if (slice_equal(address, SLICE("192.0.2.2")))
		*unconfirmed = SLICE("liar.test");
	if (slice_equal(address, SLICE("192.0.2.3"))) {
		error_set(error, "timed out");
		return DNS_TRY_LATER;
	}
	return DNS_NO_NAME;
}

/* ---- verify: knows an address by its local part ---- */

struct verify_client {
	int unused;
};
struct verify_client *
verify_client_create(const char *path, size_t waiting_most)
{
	(void)path;
	(void)waiting_most;
	return calloc(1, sizeof(struct verify_client));
}
void
verify_client_destroy(struct verify_client **client)
{
	free(*client);
	*client = NULL;
}

bool
verify_ask(struct verify_client *client, struct slice address, int64_t wait_ms,
           enum verify_status *status, struct buf *reason, struct error *error)
{
	static const struct {
		const char        *start;
		enum verify_status status;
		const char        *reason;
	} rows[] = {
		{ "good", VERIFY_GOOD, "250 Ok" },
		{ "bad", VERIFY_BAD, "host said: 550 no" },
		{ "later", VERIFY_LATER, "connect to it: Connection refused" },
		{ "new", VERIFY_UNKNOWN, "Address verification in progress" },
	};

	(void)client;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (slice_starts_with(address, slice_from(rows[i].start))) {
			*status = rows[i].status;
			/* Three times three seconds, unless a test says otherwise. */
			buf_append_text(reason, rows[i].reason);
			if (wait_ms != 9000)
				buf_append_format(reason, " after %lld ms", (long long)wait_ms);
			return true;
		}
	return error_set(error, "connect to private/verify: Connection refused");
}

/* ---- TLS: on or off, no bytes change ---- */

size_t
daemon_sessions_most(void)
{
	return 1000;
}

struct tls_server {
	int unused;
};
struct tls_server *
daemon_tls_server(const struct daemon_context *context, struct error *error)
{
	(void)error;
	return context->parameters->smtpd_tls_security_level[0] == '\0'
	               ? NULL
	               : calloc(1, sizeof(struct tls_server));
}
void
tls_server_destroy(struct tls_server **server)
{
	free(*server);
	*server = NULL;
}
bool
tls_is_active(const struct stream *stream)
{
	(void)stream;
	return fake_world.has_tls;
}
bool
tls_info_get(const struct stream *stream, struct tls_info *info)
{
	(void)stream;
	*info = (struct tls_info){ .protocol = "TLSv1.3",
		                   .cipher = "TLS_AES_256_GCM_SHA384",
		                   .bits = 256,
		                   .algorithm_bits = 256 };
	return fake_world.has_tls;
}
bool
tls_peer_get(const struct stream *stream, const char *digest, struct tls_peer *peer)
{
	(void)stream;
	(void)digest;
	*peer = (struct tls_peer){ .subject = "" };
	return false;
}
bool
tls_channel_binding(const struct stream *stream, struct buf *out)
{
	(void)stream;
	(void)out;
	return false;
}
void
session_start_tls(void *session, struct stream *stream, struct tls_server *server)
{
	(void)session;
	(void)server;
	stream_drop_input(stream);
	fake_world.wants_handshake = true;
}

/* ---- the other end of the wire ---- */

struct fake_wire {
	struct slice to_server; /* what may be read now */
	struct buf   from_server;
};

static enum stream_result
wire_read(void *state, int fd, char *data, size_t size, size_t *got, short *wants,
          struct error *error)
{
	struct fake_wire *wire = state;

	(void)fd;
	(void)error;
	if (wire->to_server.length == 0) {
		*wants = 1;
		return STREAM_AGAIN;
	}
	*got = wire->to_server.length < size ? wire->to_server.length : size;
	memcpy(data, wire->to_server.data, *got);
	wire->to_server = slice_from_offset(wire->to_server, *got);
	return STREAM_OK;
}

static enum stream_result
wire_write(void *state, int fd, struct slice bytes, size_t *sent, short *wants, struct error *error)
{
	struct fake_wire *wire = state;

	(void)fd;
	(void)wants;
	(void)error;
	*sent = bytes.length;
	return buf_append(&wire->from_server, bytes) ? STREAM_OK : STREAM_ERROR;
}

static bool
wire_has_pending(void *state)
{
	return ((struct fake_wire *)state)->to_server.length > 0;
}

static void
wire_close(void *state, int fd)
{
	(void)state;
	(void)fd;
}

static const struct stream_transport fake_transport = { wire_read, wire_write, wire_has_pending,
	                                                wire_close };

static inline struct stream *
fake_stream(struct fake_wire *wire, struct buf *unused_output)
{
	struct stream *stream = stream_from_memory(SLICE_EMPTY, 0, unused_output);

	stream_set_transport(stream, &fake_transport, wire);
	return stream;
}

static inline struct session_peer
fake_peer(const char *client, const char *server)
{
	struct session_peer peer = { .number = 4711 };
	struct sockaddr_in *in = (void *)&peer.client;
	struct sockaddr_in *own = (void *)&peer.server;

	in->sin_family = own->sin_family = AF_INET;
	inet_pton(AF_INET, client, &in->sin_addr);
	inet_pton(AF_INET, server, &own->sin_addr);
	in->sin_port = htons(40000);
	own->sin_port = htons(25);
	return peer;
}

/* What lib/daemon does with a session that has input: until it waits, pauses or closes. */
static inline enum session_next
fake_run(struct session *session, struct stream *stream)
{
	for (;;) {
		enum stream_result filled = stream_fill_now(stream);
		if (fake_world.wants_handshake) {
			stream_flush(stream);
			fake_world.wants_handshake = false;
			fake_world.has_tls = true;
			if (session_input(session) == SESSION_CLOSE)
				return SESSION_CLOSE;
			continue;
		}
		if (stream_input(stream).length == 0 && filled != STREAM_OK)
			return SESSION_WAIT;
		enum session_next next = session_input(session);
		if (next == SESSION_PAUSE || next == SESSION_CLOSE)
			return next;
		if (next == SESSION_WAIT && filled != STREAM_OK)
			return SESSION_WAIT;
	}
}

#endif
