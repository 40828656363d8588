/*
 * test_smtp_deliver.c - whole deliveries over real sockets: several hosts, names from memory, TLS.
 *
 * Each host is a thread that plays its script, one part (between "--") for a connection. All listen
 * on one port at different loopback addresses, as MX hosts do.
 */
/* links: smtp/session.c smtp/command.c smtp/replyfilter.c smtp/transaction.c smtp/xforward.c */
/* links: smtp/content.c smtp/verdict.c smtp/generic.c smtp/checks.c smtp/notify.c */
/* links: smtp/silence.c smtp/policy.c smtp/route.c smtp/connect.c smtp/deliver.c smtp/sasl.c */
/* links: smtp/dane.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "smtp/sasl.h"
#include "tests/unit/tls_files.h"

#define HOSTS_MOST 4

static char directory[] = "/tmp/dakiya-smtp-XXXXXX";

struct scripted_host {
	const char *address; /* NULL = end of the list */
	const char *script;  /* S text (| = line end), C text, T = TLS handshake, X = close, parts
	                        split by -- */
	/* of the thread */
	int                listener;
	pthread_t          thread;
	struct tls_server *tls;
	int                connections;
	char               complaint[600];
};

struct scenario {
	const char          *settings;
	const char          *zone; /* "name TYPE value" lines; value "later" or "bogus" */
	const char          *nexthop;
	const char          *content; /* NULL: a short one */
	struct scripted_host hosts[HOSTS_MOST];
	const char          *expected[4]; /* recipient state status reason relay */
	bool                 is_silent, is_lmtp, is_utf8;
	int                  messages; /* on one kept session; 0 = 1 */
	int                  patience_ms;
	bool                 runs_out; /* patience does */
	int                  told;     /* waits that the pool was told of */
	int                  connections[HOSTS_MOST];
};

/* ---- names from memory ---- */

/* "match": DANE-EE with the key of ec.pem; "other": with another key; "odd": of an unknown usage.
 */
static struct slice
tlsa_data(struct slice value, struct arena *arena)
{
	char      rdata[3 + 32] = { 3, 1, 1 };
	char      path[200];
	unsigned  length;
	EVP_PKEY *key;
	FILE     *file;

	if (slice_equal(value, SLICE("odd")))
		rdata[0] = 1;
	if (slice_equal(value, SLICE("match"))) {
		unsigned char *der = NULL;

		snprintf(path, sizeof(path), "%s/ec.pem", directory);
		file = fopen(path, "re");
		key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
		fclose(file);
		int size = i2d_PUBKEY(key, &der);
		EVP_Digest(der, (size_t)size, (unsigned char *)rdata + 3, &length, EVP_sha256(),
		           NULL);
		OPENSSL_free(der);
		EVP_PKEY_free(key);
	}
	return arena_copy(arena, slice_of(rdata, sizeof(rdata)));
}

static bool
record_value(struct slice value, enum dns_type type, struct arena *arena, struct dns_record *record)
{
	struct slice  rest = value, word;
	char          text[64];
	unsigned char bytes[16];

	*record = (struct dns_record){ .target = SLICE_EMPTY, .data = SLICE_EMPTY };
	if (type == DNS_MX) {
		slice_next_word(&rest, " ", &word);
		record->preference = (uint32_t)strtoul(word.data, NULL, 10);
		if (slice_next_word(&rest, " ", &word) && !slice_equal(word, SLICE(".")))
			record->target = word;
		return true;
	}
	if (type == DNS_TLSA) {
		record->data = tlsa_data(value, arena);
		return true;
	}
	snprintf(text, sizeof(text), "%.*s", SLICE_ARGS(value));
	assert_int_equal(inet_pton(type == DNS_A ? AF_INET : AF_INET6, text, bytes), 1);
	record->data = arena_copy(arena, slice_of((const char *)bytes, type == DNS_A ? 4 : 16));
	return true;
}

static enum dns_status
lookup_in_zone(void *context, struct slice name, enum dns_type type, struct arena *arena,
               struct dns_answer *answer, struct error *error)
{
	struct slice rest = slice_from(context), line;
	const char  *wanted = type == DNS_MX     ? "MX"
	                      : type == DNS_A    ? "A"
	                      : type == DNS_TLSA ? "TLSA"
	                                         : "AAAA";
	bool         exists = false;

	error_set(error, "no more words");
	answer->records = arena_alloc_array(arena, 300, sizeof(*answer->records));
	answer->count = 0;
	answer->is_secure = strstr(context, "SECURE") != NULL;
	if (type == DNS_TLSA) /* the port varies */
		name = slice_from_offset(name, slice_find(name, SLICE("._tcp.")) + 1);
	while (slice_next_part(&rest, '\n', &line)) {
		struct slice owner = SLICE_EMPTY, kind = SLICE_EMPTY;

		slice_next_part(&line, ' ', &owner);
		slice_next_part(&line, ' ', &kind);
		if (!slice_equal(owner, name))
			continue;
		exists = true;
		if (!slice_equal(kind, slice_from(wanted)))
			continue;
		if (slice_equal(line, SLICE("later")))
			return DNS_TRY_LATER;
		if (slice_equal(line, SLICE("bogus")))
			return DNS_BOGUS;
		record_value(line, type, arena, &answer->records[answer->count++]);
	}
	return answer->count > 0 ? DNS_FOUND : exists ? DNS_NO_DATA : DNS_NO_NAME;
}

/* ---- hosts ---- */

static bool
expect_line(struct scripted_host *host, struct stream *stream, struct slice expected)
{
	struct slice       line = SLICE_EMPTY;
	size_t             ending;
	enum stream_result result = stream_read_line(stream, &line, &ending);

	if (result == STREAM_OK && slice_equal(line, expected))
		return true;
	snprintf(host->complaint, sizeof(host->complaint),
	         "%s: expected \"%.*s\", got \"%.*s\" (%s)", host->address, SLICE_ARGS(expected),
	         SLICE_ARGS(line), stream_result_text(result));
	return false;
}

static bool
shake_hands(struct scripted_host *host, struct stream *stream)
{
	struct error       error = ERROR_NONE;
	enum stream_result result;
	short              wants = POLLIN;

	if (!tls_server_start(host->tls, stream, &error))
		return false;
	while ((result = tls_handshake(stream, &wants, &error)) == STREAM_AGAIN)
		if (stream_wait(stream, wants) != STREAM_OK)
			return false;
	return result == STREAM_OK;
}

static void
play_part(struct scripted_host *host, struct stream *stream, struct slice part)
{
	struct slice line;

	while (slice_next_part(&part, '\n', &line) && host->complaint[0] == '\0') {
		if (line.length == 0)
			continue;
		switch (line.data[0]) {
		case 'S':
			for (size_t i = 2; i < line.length; i++)
				stream_write(stream, line.data[i] == '|'
				                             ? SLICE("\r\n")
				                             : slice_of(line.data + i, 1));
			stream_write(stream, SLICE("\r\n"));
			stream_flush(stream);
			break;
		case 'C': expect_line(host, stream, slice_from_offset(line, 2)); break;
		case 'T':
			if (!shake_hands(host, stream))
				return;
			break;
		default: return;
		}
	}
	/* the client ends the session */
	while (stream_fill(stream) == STREAM_OK)
		stream_drop_input(stream);
}

static void *
host_run(void *argument)
{
	struct scripted_host *host = argument;
	const char           *at = host->script;

	while (at != NULL) {
		const char  *end = strstr(at, "--\n");
		struct slice part = end != NULL ? slice_of(at, (size_t)(end - at)) : slice_from(at);
		struct pollfd  one = { .fd = host->listener, .events = POLLIN };
		struct stream *stream;
		int            fd;

		if (poll(&one, 1, 10000) <= 0)
			break;
		fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			break;
		host->connections++;
		at = end != NULL ? end + 3 : NULL;
		if (at == NULL) { /* whoever comes later is refused */
			close(host->listener);
			host->listener = -1;
		}
		stream = stream_from_socket(fd);
		stream_set_timeout(stream, 5000);
		play_part(host, stream, part);
		stream_destroy(&stream);
	}
	if (host->listener >= 0)
		close(host->listener);
	return NULL;
}

static int
listen_at(const char *address, uint16_t *port)
{
	struct sockaddr_in  in = { .sin_family = AF_INET, .sin_port = htons(*port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(*port) };
	struct sockaddr_un  un = { .sun_family = AF_UNIX };
	bool                is_v4 = inet_pton(AF_INET, address, &in.sin_addr) == 1;
	bool                is_v6 = inet_pton(AF_INET6, address, &in6.sin6_addr) == 1;
	socklen_t           length = sizeof(in);
	int                 on = 1, fd, status;

	fd = socket(is_v4 ? AF_INET : is_v6 ? AF_INET6 : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!is_v4 && !is_v6) {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", directory, address);
		status = bind(fd, (struct sockaddr *)&un, sizeof(un));
	} else {
		status = is_v4 ? bind(fd, (struct sockaddr *)&in, sizeof(in))
		               : bind(fd, (struct sockaddr *)&in6, sizeof(in6));
	}
	assert_int_equal(status, 0);
	assert_int_equal(listen(fd, 10), 0);
	if (is_v4 && *port == 0) {
		getsockname(fd, (struct sockaddr *)&in, &length);
		*port = ntohs(in.sin_port);
	}
	return fd;
}

/* A port that is free at every loopback address, as far as anybody can tell. */
static uint16_t
choose_port(void)
{
	uint16_t port = 0;
	int      fd = listen_at("127.0.0.1", &port);

	close(fd);
	return port;
}

/* ---- playing ---- */

static const char one_host[] = "example.org MX 10 mx1.test\nmx1.test A 127.9.0.1\n";

static const char two_hosts[] = "example.org MX 10 mx1.test\nexample.org MX 20 mx2.test\n"
				"mx1.test A 127.9.0.1\nmx2.test A 127.9.0.2\n";

static struct snapshot *
settings_of(const struct scenario *scenario, unsigned port)
{
	struct buf       all = BUF(20000);
	struct slice     rest = slice_from(scenario->settings), piece;
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot;

	buf_append_format(
		&all,
		"myhostname = me.test\nsmtp_tcp_port = %u\nsmtp_randomize_addresses = no\n"
		"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = %s/ec.pem\n",
		port, directory);
	if (scenario->settings == NULL || strstr(scenario->settings, "smtp_tls_sec") == NULL)
		buf_append_text(&all, "smtp_tls_security_level = none\n");
	while (slice_next_part(&rest, '@', &piece)) {
		buf_append(&all, piece);
		if (rest.length > 0)
			buf_append_text(&all, directory);
	}
	buf_append_text(&all, "\n");
	snapshot = snapshot_from_text(buf_text(&all), &error);
	if (snapshot == NULL)
		fail_msg("%s", error.text);
	buf_free(&all);
	return snapshot;
}

static const char *
state_name(enum outcome_action action)
{
	switch (action) {
	case OUTCOME_DELIVERED: return "delivered";
	case OUTCOME_RELAYED: return "sent";
	case OUTCOME_RELAYED_DSN: return "relayed-dsn";
	case OUTCOME_DEFERRED: return "deferred";
	case OUTCOME_FAILED: return "bounced";
	case OUTCOME_EXPANDED:
	case OUTCOME_PASS:
	case OUTCOME_FORWARD: break; /* local's words */
	}
	return "?";
}

/* The port and the directory vary: PORT and DIR in expectations. */
static void
normalise(const char *text, unsigned port, struct buf *out)
{
	char number[16];

	snprintf(number, sizeof(number), ":%u", port);
	while (*text != '\0') {
		if (strncmp(text, number, strlen(number)) == 0) {
			buf_append_text(out, ":PORT");
			text += strlen(number);
		} else if (strncmp(text, directory, strlen(directory)) == 0) {
			buf_append_text(out, "DIR");
			text += strlen(directory);
		} else {
			buf_append_byte(out, *text++);
		}
	}
}

static void
expect_outcomes(const struct scenario *scenario, const struct delivery *delivery, unsigned port)
{
	for (size_t i = 0; i < delivery->count; i++) {
		const struct delivery_recipient *recipient = &delivery->recipients[i];
		struct buf                       raw = BUF(10000), got = BUF(10000);

		if (scenario->expected[i] == NULL)
			continue;
		buf_append_format(&raw, "%s %s %s relay=%s", state_name(recipient->verdict.action),
		                  recipient->verdict.status, recipient->verdict.reason,
		                  recipient->relay);
		normalise(buf_text(&raw), port, &got);
		if (strcmp(buf_text(&got), scenario->expected[i]) != 0)
			fail_msg("expected %s\ngot      %s", scenario->expected[i], buf_text(&got));
		buf_free(&raw);
		buf_free(&got);
	}
}

static void
deliver_once(const struct scenario *scenario, const struct smtp_agent *agent, struct session **kept,
             unsigned port)
{
	struct agent_job         job = { .message = msg_job_clear() };
	struct buf               recipients = BUF(10000);
	struct delivery          delivery;
	struct msg_job_recipient row = { .quota = 0 };
	static const char *const names[] = { "b@example.org", "c@example.org", "d@example.org" };
	char                     nexthop[300];

	snprintf(nexthop, sizeof(nexthop), scenario->nexthop, directory);
	for (size_t i = 0; i < 3 && (i == 0 || scenario->expected[i] != NULL); i++) {
		row.address = slice_from(names[i]);
		assert_true(msg_job_recipient_append(&recipients, &row));
	}
	job.message.queue_id = SLICE("4TEST");
	job.message.nexthop = slice_from(nexthop);
	job.message.recipients = buf_slice(&recipients);
	job.message.content = scenario->content != NULL ? slice_from(scenario->content)
	                                                : SLICE("Subject: hi\r\n\r\nhello\r\n");
	job.message.patience_ms = scenario->patience_ms;
	job.envelope.sender = SLICE("a@me.test");
	if (scenario->is_utf8)
		job.envelope.flags |= ENVELOPE_SMTPUTF8;
	assert_true(delivery_begin(&delivery, agent, &job));
	delivery_run(&delivery, kept);
	expect_outcomes(scenario, &delivery, port);
	assert_int_equal(delivery.has_spoken, !scenario->is_silent);
	assert_int_equal(delivery.silence.has_run_out, scenario->runs_out);
	delivery_end(&delivery);
	buf_free(&recipients);
}

/* The pool: how many waits have begun, and how many go on. */
struct told {
	int begun, going_on;
};

static void
count_silence(void *context, bool begins)
{
	struct told *told = context;

	told->begun += begins;
	told->going_on += begins ? 1 : -1;
}

static void
begin_agent(const struct scenario *scenario, struct smtp_agent *agent, struct snapshot *snapshot)
{
	const struct parameters *parameters = snapshot_parameters(snapshot);
	struct error             error = ERROR_NONE;
	struct own_address       own = { .address = { .ss_family = AF_INET } };

	*agent = (struct smtp_agent){ .service = "smtp",
		                      .is_lmtp = scenario->is_lmtp,
		                      .parameters = parameters,
		                      .helo_name = "me.test",
		                      .lookup = lookup_in_zone,
		                      .lookup_context = (void *)(uintptr_t)scenario->zone };
	static const char *const words[] = { "none",      "may",         "encrypt", "dane",
		                             "dane-only", "fingerprint", "verify",  "secure" };
	for (size_t i = 0; i < 8; i++)
		if (strcmp(parameters->smtp_tls_security_level, words[i]) == 0)
			agent->tls_level = (enum tls_level)i;
	agent->tls = tls_client_create(parameters, &error);
	if (agent->tls == NULL)
		fail_msg("%s", error.text);
	if (parameters->smtp_tls_policy_maps[0] != '\0')
		assert_non_null(agent->tls_policies =
		                        table_list_open(parameters->smtp_tls_policy_maps, &error));
	if (parameters->smtp_sasl_auth_enable)
		assert_true(sasl_library_start(&error));
	if (parameters->smtp_sasl_auth_enable)
		assert_non_null(agent->passwords = table_list_open(
					parameters->smtp_sasl_password_maps, &error));
	agent->rules = outgoing_rules_open(parameters, agent->is_lmtp, &error);
	if (agent->rules == NULL)
		fail_msg("%s", error.text);
	if (parameters->smtp_reply_filter[0] != '\0')
		assert_non_null(agent->reply_filter =
		                        table_list_open(parameters->smtp_reply_filter, &error));
	inet_pton(AF_INET, "127.9.0.99",
	          &((struct sockaddr_in *)(void *)&own.address)->sin_addr); /* that is us */
	assert_true(ARRAY_PUSH(&agent->own, own));
}

static void
play(struct scenario *scenario)
{
	if (scenario->zone == NULL)
		scenario->zone = two_hosts;
	if (scenario->nexthop == NULL)
		scenario->nexthop = "example.org";

	struct told        told = { 0 };
	uint16_t           port = choose_port();
	struct snapshot   *snapshot = settings_of(scenario, port);
	struct smtp_agent  agent;
	struct session    *kept = NULL;
	struct error       error = ERROR_NONE;
	struct tls_server *tls = tls_server_create(snapshot_parameters(snapshot), &error);

	if (tls == NULL)
		fail_msg("%s", error.text);
	begin_agent(scenario, &agent, snapshot);
	agent.pool = &told;
	agent.tell_silence = count_silence;
	for (size_t i = 0; i < HOSTS_MOST && scenario->hosts[i].address != NULL; i++) {
		scenario->hosts[i].listener = listen_at(scenario->hosts[i].address, &port);
		scenario->hosts[i].tls = tls;
		pthread_create(&scenario->hosts[i].thread, NULL, host_run, &scenario->hosts[i]);
	}
	for (int i = 0; i < (scenario->messages > 0 ? scenario->messages : 1); i++)
		deliver_once(scenario, &agent, &kept, port);
	session_quit(&kept);
	assert_int_equal(told.begun, scenario->told);
	assert_int_equal(told.going_on, 0);
	for (size_t i = 0; i < HOSTS_MOST && scenario->hosts[i].address != NULL; i++) {
		struct scripted_host *host = &scenario->hosts[i];

		if (scenario->connections[i] < 0) /* not to be asked: let it go */
			shutdown(host->listener, SHUT_RDWR);
		pthread_join(host->thread, NULL);
		if (host->complaint[0] != '\0')
			fail_msg("%s", host->complaint);
		if (scenario->connections[i] != 0)
			assert_int_equal(host->connections, scenario->connections[i] < 0
			                                            ? 0
			                                            : scenario->connections[i]);
	}
	tls_server_destroy(&tls);
	tls_client_destroy(&agent.tls);
	table_list_close(&agent.tls_policies);
	table_list_close(&agent.passwords);
	rules_close(&agent.rules);
	table_list_close(&agent.reply_filter);
	ARRAY_FREE(&agent.own);
	snapshot_destroy(&snapshot);
}

/* ---- scripts ---- */

#define HELLO    "S 220 mx\nC EHLO me.test\nS 250 mx\n"
#define ENVELOPE "C MAIL FROM:<a@me.test>\nS 250 ok\nC RCPT TO:<b@example.org>\nS 250 ok\n"
#define CONTENT  "C DATA\nS 354 go\nC Subject: hi\nC \nC hello\nC .\n"
#define ENVELOPE_LATER                                                                             \
	"C MAIL FROM:<a@me.test>\nS 250 ok\nC RCPT TO:<b@example.org>\nS 450 later\nC RSET\n"      \
	"S 250 ok\n"
#define TAKES     ENVELOPE CONTENT "S 250 done\n"
#define STARTTLS  "S 220 mx\nC EHLO me.test\nS 250-mx\nS 250 STARTTLS\nC STARTTLS\n"
#define UNDER_TLS "T\nC EHLO me.test\nS 250 mx\n"

#define SENT(n) "sent 2.0.0 250 done relay=mx" #n ".test[127.9.0." #n "]:PORT"

#define SCENARIO(name, ...)                                                                        \
	static void name(void **state)                                                             \
	{                                                                                          \
		struct scenario scenario = { __VA_ARGS__ };                                        \
		(void)state;                                                                       \
		play(&scenario);                                                                   \
	}

SCENARIO(preferred_host_gets_it, .hosts = { { "127.9.0.1", HELLO TAKES } }, .expected = { SENT(1) })
SCENARIO(refused_connection_goes_to_the_next_host, .hosts = { { "127.9.0.2", HELLO TAKES } },
         .expected = { SENT(2) })
SCENARIO(temporary_greeting_goes_to_the_next_host,
         .hosts = { { "127.9.0.1", "S 421 busy\n" }, { "127.9.0.2", HELLO TAKES } },
         .expected = { SENT(2) })
SCENARIO(final_greeting_goes_to_the_next_host,
         .hosts = { { "127.9.0.1", "S 554 no\n" }, { "127.9.0.2", HELLO TAKES } },
         .expected = { SENT(2) })
SCENARIO(lost_before_the_dot_goes_to_the_next_host,
         .hosts = { { "127.9.0.1", HELLO ENVELOPE "C DATA\nX\n" }, { "127.9.0.2", HELLO TAKES } },
         .expected = { SENT(2) })
SCENARIO(lost_after_the_dot_goes_nowhere,
         .hosts = { { "127.9.0.1", HELLO ENVELOPE CONTENT "X\n" }, { "127.9.0.2", HELLO TAKES } },
         .connections = { 1, -1 },
         .expected = { "deferred 4.4.2 lost connection with mx1.test[127.9.0.1] while sending "
                       "end of data -- message may be sent more than once "
                       "relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(final_refusal_is_not_carried_to_the_next_host,
         .hosts = { { "127.9.0.1", HELLO "C MAIL FROM:<a@me.test>\nS 550 5.7.1 no\n" },
                    { "127.9.0.2", HELLO TAKES } },
         .connections = { 1, -1 },
         .expected = { "bounced 5.7.1 host mx1.test[127.9.0.1] said: 550 5.7.1 no (in reply to "
                       "MAIL FROM command) relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(patience_runs_out_before_the_next_host, .is_silent = true, .patience_ms = 400,
         .runs_out = true, .told = 1,
         .hosts = { { "127.9.0.1", "" }, { "127.9.0.2", HELLO TAKES } }, .connections = { 1, -1 },
         .expected = { "deferred 4.4.2 conversation with mx1.test[127.9.0.1] timed out while "
                       "receiving the initial server greeting relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(patience_runs_out_behind_the_greeting, .is_silent = true, .patience_ms = 400,
         .runs_out = true, .told = 1, .hosts = { { "127.9.0.1", "S 220 mx\nC EHLO me.test\n" } },
         .zone = one_host,
         .expected = { "deferred 4.4.2 conversation with mx1.test[127.9.0.1] timed out while "
                       "performing the EHLO handshake relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(without_patience_the_timeout_counts_and_the_next_host_is_asked,
         .settings = "smtp_helo_timeout = 1s", .told = 1,
         .hosts = { { "127.9.0.1", "" }, { "127.9.0.2", HELLO TAKES } }, .expected = { SENT(2) })
SCENARIO(patience_is_for_the_first_answer_only, .patience_ms = 60000,
         .hosts = { { "127.9.0.1", HELLO TAKES } }, .zone = one_host, .expected = { SENT(1) })
SCENARIO(nobody_there_defers, .is_silent = true,
         .expected = { "deferred 4.4.1 connect to mx2.test[127.9.0.2]:PORT: Connection refused "
                       "relay=none" })
SCENARIO(only_recipients_left_go_to_the_next_host,
         .hosts = { { "127.9.0.1",
                      HELLO "C MAIL FROM:<a@me.test>\nS 250 ok\nC RCPT TO:<b@example.org>\n"
                            "S 250 ok\nC RCPT TO:<c@example.org>\nS 450 later\n"
                            "C RCPT TO:<d@example.org>\nS 550 never\n" CONTENT "S 250 done\n" },
                    { "127.9.0.2",
                      HELLO "C MAIL FROM:<a@me.test>\nS 250 ok\n"
                            "C RCPT TO:<c@example.org>\nS 250 ok\n" CONTENT "S 250 done\n" } },
         .expected = { SENT(1), SENT(2),
                       "bounced 5.0.0 host mx1.test[127.9.0.1] said: 550 never (in reply to RCPT "
                       "TO command) relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(session_limit_is_kept,
         .zone = "example.org MX 1 mx1.test\nexample.org MX 2 mx2.test\nexample.org MX 3 mx3.test\n"
                 "mx1.test A 127.9.0.1\nmx2.test A 127.9.0.2\nmx3.test A 127.9.0.3\n",
         .hosts = { { "127.9.0.1", HELLO "C MAIL FROM:<a@me.test>\nS 451 one\n" },
                    { "127.9.0.2", HELLO "C MAIL FROM:<a@me.test>\nS 451 two\n" },
                    { "127.9.0.3", HELLO TAKES } },
         .connections = { 1, 1, -1 },
         .expected = { "deferred 4.0.0 host mx2.test[127.9.0.2] said: 451 two (in reply to MAIL "
                       "FROM command) relay=mx2.test[127.9.0.2]:PORT" })
SCENARIO(utf8_mail_finds_the_host_that_takes_it, .is_utf8 = true,
         .hosts = { { "127.9.0.1", HELLO },
                    { "127.9.0.2",
                      "S 220 mx\nC EHLO me.test\nS 250-mx\nS 250 SMTPUTF8\n"
                      "C MAIL FROM:<a@me.test> SMTPUTF8\nS 250 ok\n"
                      "C RCPT TO:<b@example.org>\nS 250 ok\n" CONTENT "S 250 done\n" } },
         .expected = { SENT(2) })
SCENARIO(utf8_mail_that_nobody_takes_is_returned, .is_utf8 = true, .zone = one_host,
         .hosts = { { "127.9.0.1", HELLO } },
         .expected = { "bounced 5.6.7 SMTPUTF8 is required, but was not offered by host "
                       "mx1.test[127.9.0.1] relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(kept_connection_takes_the_next_message, .messages = 3,
         .hosts = { { "127.9.0.1", HELLO TAKES TAKES TAKES } }, .connections = { 1 },
         .expected = { SENT(1) })
SCENARIO(kept_connection_that_was_closed_is_no_failure, .messages = 2, .zone = one_host,
         .hosts = { { "127.9.0.1", HELLO TAKES "X\n--\n" HELLO TAKES } }, .connections = { 2 },
         .expected = { SENT(1) })
SCENARIO(kept_connection_that_breaks_at_mail_is_made_anew, .messages = 2, .zone = one_host,
         .hosts = { { "127.9.0.1", HELLO TAKES "C MAIL FROM:<a@me.test>\nX\n--\n" HELLO TAKES } },
         .connections = { 2 }, .expected = { SENT(1) })
SCENARIO(kept_connection_that_is_idle_too_long_is_made_anew, .messages = 2, .zone = one_host,
         .hosts = { { "127.9.0.1",
                      HELLO TAKES "C MAIL FROM:<a@me.test>\nS 421 idle\n--\n" HELLO TAKES } },
         .connections = { 2 }, .expected = { SENT(1) })
SCENARIO(kept_connection_that_says_later_is_not_asked_twice, .messages = 2, .zone = one_host,
         .hosts = { { "127.9.0.1", HELLO ENVELOPE_LATER ENVELOPE_LATER } }, .connections = { 1 },
         .expected = { "deferred 4.0.0 host mx1.test[127.9.0.1] said: 450 later (in reply to RCPT "
                       "TO command) relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(fallback_relay_is_the_last_resort, .settings = "smtp_fallback_relay = [127.9.0.3]",
         .zone = one_host, .hosts = { { "127.9.0.3", HELLO TAKES } },
         .expected = { "sent 2.0.0 250 done relay=127.9.0.3[127.9.0.3]:PORT" })
SCENARIO(bracketed_host_skips_mx, .nexthop = "[mx2.test]",
         .hosts = { { "127.9.0.2", HELLO TAKES } }, .expected = { SENT(2) })
SCENARIO(ipv6_is_spoken, .nexthop = "[::1]", .hosts = { { "::1", HELLO TAKES } },
         .expected = { "sent 2.0.0 250 done relay=::1[::1]:PORT" })
SCENARIO(lmtp_over_a_unix_socket, .is_lmtp = true, .nexthop = "unix:%s/lmtp.sock",
         .hosts = { { "lmtp.sock", "S 220 mx\nC LHLO me.test\nS 250 mx\n" TAKES } },
         .expected = { "delivered 2.0.0 250 done relay=me.test[DIR/lmtp.sock]" })

/* ---- rules for what leaves ---- */

#define MIXED                                                                                      \
	"Received: from secret\r\nSubject: one\r\n two\r\nX-Gone: a\r\nMIME-Version: 1.0\r\n"      \
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n.old text\r\n--b\r\nX-Part: p\r\n\r\n"   \
	"gone\r\nkept\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nold "    \
	"end\r\n"                                                                                  \
	"--b-- \r\n"
#define MIXED_RULES                                                                                \
	"smtp_header_checks = pcre:{ { /^Received:/ IGNORE }, { /^X-Gone:/ STRIP why },"           \
	" { /^Subject: one\\n two$$/ REPLACE Subject: three }, { /^X-Part|inner/ REPLACE X: bad "  \
	"} "                                                                                       \
	"}\n"                                                                                      \
	"smtp_mime_header_checks = pcre:{ { /^X-Part: (.)/ REPLACE X-Part: M$$1 },"                \
	" { /^MIME-Version/ PREPEND X-Before: 1 } }\n"                                             \
	"smtp_nested_header_checks = pcre:{ { /^Subject: (.*)/ REPLACE Subject: N $$1 } }\n"       \
	"smtp_body_checks = pcre:{ { /^gone/ IGNORE }, { /^(\\.?)old (.*)/ REPLACE $$1new $$2 },"  \
	" { /^kept/ WARN seen } }"
#define MIXED_AFTER                                                                                \
	"C DATA\nS 354 go\nC Subject: three\nC X-Before: 1\nC MIME-Version: 1.0\n"                 \
	"C Content-Type: multipart/mixed; boundary=b\nC \nC ..new text\nC --b\nC X-Part: Mp\n"     \
	"C \nC kept\nC --b\nC Content-Type: message/rfc822\nC \nC Subject: N inner\nC \n"          \
	"C new end\nC --b-- \nC .\n"

SCENARIO(rules_change_what_leaves, .settings = MIXED_RULES, .content = MIXED,
         .hosts = { { "127.9.0.1", HELLO ENVELOPE MIXED_AFTER "S 451 later\n" },
                    { "127.9.0.2", HELLO ENVELOPE MIXED_AFTER "S 250 done\n" } },
         .expected = { SENT(2) })
SCENARIO(rules_of_lmtp_are_their_own, .is_lmtp = true, .nexthop = "unix:%s/rules.sock",
         .settings = "smtp_header_checks = static:IGNORE\n"
                     "lmtp_body_checks = pcre:{ { /^hello/ PREPEND .well } }",
         .hosts = { { "rules.sock", "S 220 mx\nC LHLO me.test\nS 250 mx\n" ENVELOPE
                                    "C DATA\nS 354 go\nC Subject: hi\nC \nC ..well\nC hello\n"
                                    "C .\nS 250 done\n" } },
         .expected = { "delivered 2.0.0 250 done relay=me.test[DIR/rules.sock]" })
SCENARIO(header_that_goes_whole_leaves_the_empty_line,
         .settings = "smtp_header_checks = static:IGNORE",
         .hosts = { { "127.9.0.1",
                      HELLO ENVELOPE "C DATA\nS 354 go\nC \nC hello\nC .\nS 250 done\n" } },
         .expected = { SENT(1) })
SCENARIO(line_that_a_rule_makes_long_is_folded,
         .settings = "smtp_line_length_limit = 10\n"
                     "smtp_body_checks = pcre:{ { /^hello/ REPLACE 0123456789abc } }",
         .hosts = { { "127.9.0.1",
                      HELLO ENVELOPE "C DATA\nS 354 go\nC Subject: h\nC  i\nC \nC 0123456789\n"
                                     "C  abc\nC .\nS 250 done\n" } },
         .expected = { SENT(1) })
SCENARIO(bad_rule_for_the_header_makes_mail_wait_before_anybody_is_asked,
         .settings = "smtp_header_checks = static:REJECT", .connections = { -1 },
         .hosts = { { "127.9.0.1", HELLO TAKES } },
         .expected = { "deferred 4.3.5 smtp_header_checks: unknown action \"REJECT\" relay=none" })
SCENARIO(bad_rule_for_the_body_makes_mail_wait_without_a_final_dot, .zone = one_host,
         .settings = "smtp_body_checks = static:REPLACE",
         .hosts = { { "127.9.0.1", HELLO ENVELOPE "C DATA\nS 354 go\n" } },
         .expected = { "deferred 4.3.5 smtp_body_checks: REPLACE needs text, in a header a field "
                       "relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(table_that_fails_makes_mail_wait, .connections = { -1 },
         .settings = "smtp_header_checks = fail:it", .hosts = { { "127.9.0.1", HELLO TAKES } },
         .expected = { "deferred 4.3.0 smtp_header_checks: table fail:it: this table always fails "
                       "relay=none" })

/* ---- replies as the admin reads them ---- */

SCENARIO(replies_are_filtered_line_by_line,
         .settings = "smtp_reply_filter = pcre:{ { /^550 (.*)busy/ 450 $$1wait },"
                     " { /^250-PIPELINING/ 250-X }, { /^what is this/ 250-mx } }",
         .zone = one_host,
         .hosts = { { "127.9.0.1",
                      "S 220 mx\nC EHLO me.test\nS what is this|250-PIPELINING|250 8BITMIME\n"
                      "C MAIL FROM:<a@me.test>\nS 250 ok\nC RCPT TO:<b@example.org>\n"
                      "S 550 too busy\n" } },
         .expected = { "deferred 4.0.0 host mx1.test[127.9.0.1] said: 450 too wait (in reply to "
                       "RCPT TO command) relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(replies_wait_for_their_last_line_and_leave_the_next,
         .settings = "smtp_reply_filter = pcre:{ { /nothing/ 250 x } }",
         .hosts = { { "127.9.0.1",
                      "S 220-one\nS 220 mx\nC EHLO me.test\nS 250-mx\nS 250 PIPELINING\n"
                      "C MAIL FROM:<a@me.test>\nC RCPT TO:<b@example.org>\nC DATA\n"
                      "S 250 ok|250 ok|354 go\nC Subject: hi\nC \nC hello\nC .\n"
                      "S 250 done\n" } },
         .expected = { SENT(1) })
SCENARIO(reply_filter_that_fails_makes_mail_wait, .zone = one_host, .is_silent = true,
         .settings = "smtp_reply_filter = fail:it", .hosts = { { "127.9.0.1", "S 220 mx\n" } },
         .expected = { "deferred 4.3.0 smtp_reply_filter: table fail:it: this table always fails "
                       "relay=mx1.test[127.9.0.1]:PORT" })

/* ---- TLS ---- */

SCENARIO(starttls_is_used_when_offered, .settings = "smtp_tls_security_level = may",
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go\n" UNDER_TLS TAKES } },
         .expected = { SENT(1) })
SCENARIO(failed_handshake_is_retried_in_clear, .settings = "smtp_tls_security_level = may",
         .hosts = { { "127.9.0.1",
                      STARTTLS "S 220 go\nS what?\nX\n--\nS 220 mx\nC EHLO me.test\nS 250-mx\n"
                               "S 250 STARTTLS\n" TAKES } },
         .connections = { 2 }, .expected = { SENT(1) })
SCENARIO(refused_starttls_goes_on_in_clear, .settings = "smtp_tls_security_level = may",
         .hosts = { { "127.9.0.1", STARTTLS "S 454 no\n" TAKES } }, .expected = { SENT(1) })
SCENARIO(encrypt_never_goes_on_in_clear, .settings = "smtp_tls_security_level = encrypt",
         .is_silent = true, .zone = one_host,
         .hosts = { { "127.9.0.1", STARTTLS "S 454 4.7.0 no\nC QUIT\n" } },
         .expected = { "deferred 4.7.4 TLS is required, but host mx1.test[127.9.0.1] refused to "
                       "start TLS: 454 4.7.0 no relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(encrypt_takes_any_certificate, .settings = "smtp_tls_security_level = encrypt",
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go\n" UNDER_TLS TAKES } },
         .expected = { SENT(1) })
SCENARIO(injected_reply_before_tls_is_refused, .settings = "smtp_tls_security_level = encrypt",
         .zone = one_host, .is_silent = true,
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go|250 injected\nT\n" } },
         .expected = { "deferred 4.7.5 host mx1.test[127.9.0.1] sent plain text before the TLS "
                       "handshake relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(offers_in_clear_are_forgotten_under_tls, .settings = "smtp_tls_security_level = may",
         .zone = one_host,
         .hosts = { { "127.9.0.1",
                      "S 220 mx\nC EHLO me.test\nS 250-mx\nS 250-SIZE 1\nS 250 STARTTLS\n"
                      "C STARTTLS\nS 220 go\n" UNDER_TLS TAKES } },
         .expected = { SENT(1) })
SCENARIO(verify_accepts_the_host_name,
         .settings = "smtp_tls_security_level = verify\nsmtp_tls_CAfile = @/ca.pem",
         .zone = "example.org MX 10 mx.example.org\nmx.example.org A 127.9.0.1\n",
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go\n" UNDER_TLS TAKES } },
         .expected = { "sent 2.0.0 250 done relay=mx.example.org[127.9.0.1]:PORT" })
SCENARIO(secure_accepts_a_name_below_the_next_hop,
         .settings = "smtp_tls_security_level = secure\nsmtp_tls_CAfile = @/ca.pem",
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go\n" UNDER_TLS TAKES } },
         .expected = { SENT(1) })
SCENARIO(secure_refuses_another_name,
         .settings = "smtp_tls_security_level = secure\nsmtp_tls_CAfile = @/ca.pem",
         .zone = "evil.test MX 10 mx1.test\nmx1.test A 127.9.0.1\n", .nexthop = "evil.test",
         .is_silent = true, .hosts = { { "127.9.0.1", STARTTLS "S 220 go\nT\n" } },
         .expected = { "deferred 4.7.5 Server certificate not verified: it bears none of the "
                       "names expected relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(policy_map_sets_level_and_names,
         .settings = "smtp_tls_security_level = may\nsmtp_tls_CAfile = @/ca.pem\n"
                     "smtp_tls_policy_maps = inline:{ {evil.test = secure match=mx.example.org} }",
         .zone = "evil.test MX 10 mx1.test\nmx1.test A 127.9.0.1\n", .nexthop = "evil.test",
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go\n" UNDER_TLS TAKES } },
         .expected = { SENT(1) })
SCENARIO(policy_map_of_a_parent_domain_counts,
         .settings = "smtp_tls_security_level = may\n"
                     "smtp_tls_policy_maps = inline:{ {.example.org = encrypt} }",
         .zone = "sub.example.org MX 10 mx1.test\nmx1.test A 127.9.0.1\n",
         .nexthop = "sub.example.org", .is_silent = true,
         .hosts = { { "127.9.0.1", "S 220 mx\nC EHLO me.test\nS 250 mx\nC QUIT\n" } },
         .expected = { "deferred 4.7.4 TLS is required, but was not offered by host "
                       "mx1.test[127.9.0.1] relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(unknown_policy_attribute_defers,
         .settings = "smtp_tls_policy_maps = inline:{ {example.org = secure foo=bar} }",
         .is_silent = true,
         .expected = { "deferred 4.7.5 TLS policy for example.org cannot be followed: unknown "
                       "attribute relay=none" })
#define DANE_ZONE(data)                                                                            \
	"example.org MX 10 mx1.test\nmx1.test A 127.9.0.1\n_tcp.mx1.test TLSA " data               \
	"\nSECURE x x\n"

SCENARIO(dane_verifies_by_tlsa, .settings = "smtp_tls_security_level = dane-only",
         .zone = DANE_ZONE("match"),
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go\n" UNDER_TLS TAKES } },
         .expected = { SENT(1) })
SCENARIO(dane_refuses_another_key, .settings = "smtp_tls_security_level = dane",
         .zone = DANE_ZONE("other"), .is_silent = true,
         .hosts = { { "127.9.0.1", STARTTLS "S 220 go\nT\n" } },
         .expected = { "deferred 4.7.5 Server certificate not verified: it matches no TLSA record "
                       "relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(dane_never_goes_on_in_clear, .settings = "smtp_tls_security_level = dane",
         .zone = DANE_ZONE("match"), .is_silent = true,
         .hosts = { { "127.9.0.1", HELLO "C QUIT\n" } },
         .expected = { "deferred 4.7.4 TLS is required, but was not offered by host "
                       "mx1.test[127.9.0.1] relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(dane_with_unusable_records_encrypts, .settings = "smtp_tls_security_level = dane",
         .zone = DANE_ZONE("odd"), .is_silent = true,
         .hosts = { { "127.9.0.1", HELLO "C QUIT\n" } },
         .expected = { "deferred 4.7.4 TLS is required, but was not offered by host "
                       "mx1.test[127.9.0.1] relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(dane_without_records_is_opportunistic, .settings = "smtp_tls_security_level = dane",
         .hosts = { { "127.9.0.1", HELLO TAKES } }, .expected = { SENT(1) })
SCENARIO(dane_only_without_dnssec_waits, .settings = "smtp_tls_security_level = dane-only",
         .zone = one_host, .is_silent = true,
         .expected = { "deferred 4.7.5 TLSA lookup for mx1.test[127.9.0.1]:PORT: DNSSEC does not "
                       "vouch for the host relay=none" })
SCENARIO(failing_tlsa_lookup_waits, .settings = "smtp_tls_security_level = dane",
         .zone = DANE_ZONE("bogus"), .is_silent = true,
         .expected = { "deferred 4.7.5 TLSA lookup for mx1.test[127.9.0.1]:PORT: no more words "
                       "relay=none" })

/* ---- AUTH ---- */

#define PASSWORDS                                                                                  \
	"smtp_sasl_auth_enable = yes\n"                                                            \
	"smtp_sasl_password_maps = inline:{ {mx1.test = alice:secret word} }\n"
#define IN_CLEAR    "smtp_sasl_security_options = noanonymous\n"
#define OFFERS_AUTH "S 220 mx\nC EHLO me.test\nS 250-mx\nS 250 AUTH NTLM PLAIN LOGIN\n"

SCENARIO(password_is_sent_when_allowed, .settings = PASSWORDS IN_CLEAR,
         .hosts = { { "127.9.0.1", OFFERS_AUTH "C AUTH PLAIN AGFsaWNlAHNlY3JldCB3b3Jk\n"
                                               "S 235 2.7.0 ok\n" TAKES } },
         .expected = { SENT(1) })
SCENARIO(login_is_spoken, .settings = PASSWORDS IN_CLEAR,
         .hosts = { { "127.9.0.1",
                      "S 220 mx\nC EHLO me.test\nS 250-mx\nS 250 AUTH=LOGIN\nC AUTH LOGIN\n"
                      "S 334 VXNlcm5hbWU6\nC YWxpY2U=\nS 334 UGFzc3dvcmQ6\n"
                      "C c2VjcmV0IHdvcmQ=\nS 235 ok\n" TAKES } },
         .expected = { SENT(1) })
SCENARIO(password_is_not_sent_in_clear_by_default, .settings = PASSWORDS, .zone = one_host,
         .is_silent = true, .hosts = { { "127.9.0.1", OFFERS_AUTH "C QUIT\n" } },
         .expected = { "deferred 4.7.0 SASL authentication failed; cannot authenticate to server "
                       "mx1.test[127.9.0.1]: no mechanism available "
                       "relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(wrong_password_defers, .settings = PASSWORDS IN_CLEAR, .zone = one_host, .is_silent = true,
         .hosts = { { "127.9.0.1", OFFERS_AUTH "C AUTH PLAIN AGFsaWNlAHNlY3JldCB3b3Jk\n"
                                               "S 535 5.7.8 no\nC QUIT\n" } },
         .expected = { "deferred 4.7.0 SASL authentication failed; server mx1.test[127.9.0.1] "
                       "said: 535 5.7.8 no relay=mx1.test[127.9.0.1]:PORT" })
SCENARIO(host_without_password_is_not_logged_in_to, .settings = PASSWORDS IN_CLEAR,
         .zone = "example.org MX 1 mx2.test\nmx2.test A 127.9.0.2\n",
         .hosts = { { "127.9.0.2", OFFERS_AUTH TAKES } }, .expected = { SENT(2) })

/* ---- routes ---- */

#define ROUTE(name, records, words)                                                                \
	SCENARIO(name, .zone = records, .is_silent = true, .expected = { words " relay=none" })

ROUTE(null_mx_is_final, "example.org MX 0 .\n",
      "bounced 5.1.0 Domain example.org does not accept mail (nullMX)")
ROUTE(unknown_domain_is_final, "other.test A 127.0.0.1\n",
      "bounced 5.4.4 Host or domain name not found. Name service error for name=example.org "
      "type=MX: Host not found")
ROUTE(failing_dns_is_temporary, "example.org MX later\n",
      "deferred 4.4.3 Host or domain name not found. Name service error for name=example.org "
      "type=MX: Host not found, try again")
ROUTE(bogus_dns_is_temporary, "example.org MX bogus\n",
      "deferred 4.4.3 Host or domain name not found. Name service error for name=example.org "
      "type=MX: DNSSEC validation failed")
ROUTE(domain_without_address_is_final, "example.org TXT x\n",
      "bounced 5.4.4 Host or domain name not found. Name service error for name=example.org "
      "type=A: Host found but no data record of requested type")
ROUTE(mx_without_address_is_final, "example.org MX 10 gone.test\n",
      "bounced 5.4.4 unable to look up host gone.test: no address found")
ROUTE(mx_whose_address_is_not_known_now_is_temporary,
      "example.org MX 10 mx1.test\nexample.org MX 20 gone.test\nmx1.test A later\n",
      "deferred 4.4.3 Host or domain name not found. Name service error for name=example.org "
      "type=MX: Host not found, try again")
ROUTE(being_the_best_mx_is_a_loop,
      "example.org MX 10 mx1.test\nexample.org MX 20 mx2.test\nmx1.test A 127.9.0.99\n"
      "mx2.test A 127.9.0.2\n",
      "bounced 5.4.6 mail for example.org loops back to myself")
ROUTE(being_an_mx_by_name_is_a_loop, "example.org MX 10 me.test\nme.test A 127.9.0.77\n",
      "bounced 5.4.6 mail for example.org loops back to myself")
SCENARIO(backup_mx_tries_only_better_hosts, .is_silent = true,
         .zone = "example.org MX 10 mx1.test\nexample.org MX 20 us.test\nexample.org MX 30 "
                 "mx2.test\nmx1.test A 127.9.0.1\nus.test A 127.9.0.99\nmx2.test A 127.9.0.2\n",
         .hosts = { { "127.9.0.2", HELLO TAKES } }, .connections = { -1 },
         .expected = { "deferred 4.4.1 connect to mx1.test[127.9.0.1]:PORT: Connection refused "
                       "relay=none" })
SCENARIO(domain_with_an_address_only_is_its_own_mx, .zone = "example.org A 127.9.0.1\n",
         .hosts = { { "127.9.0.1", HELLO TAKES } },
         .expected = { "sent 2.0.0 250 done relay=example.org[127.9.0.1]:PORT" })
SCENARIO(mx_that_is_missing_leaves_the_others,
         .zone = "example.org MX 10 gone.test\nexample.org MX 20 mx1.test\nmx1.test A 127.9.0.1\n",
         .hosts = { { "127.9.0.1", HELLO TAKES } }, .expected = { SENT(1) })
SCENARIO(address_limit_is_kept, .is_silent = true, .settings = "smtp_mx_address_limit = 1",
         .expected = { "deferred 4.4.1 connect to mx1.test[127.9.0.1]:PORT: Connection refused "
                       "relay=none" })
SCENARIO(malformed_next_hop_waits_for_the_admin, .is_silent = true, .nexthop = "[mx1.test",
         .expected = { "deferred 4.3.5 no ] in the next hop [mx1.test relay=none" })

static int
set_up(void **state)
{
	(void)state;
	tls_files_make(directory);
	return 0;
}

static int
tear_down(void **state)
{
	char path[200];

	(void)state;
	snprintf(path, sizeof(path), "%s/lmtp.sock", directory);
	unlink(path);
	tls_files_remove(directory);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(preferred_host_gets_it),
		cmocka_unit_test(refused_connection_goes_to_the_next_host),
		cmocka_unit_test(temporary_greeting_goes_to_the_next_host),
		cmocka_unit_test(final_greeting_goes_to_the_next_host),
		cmocka_unit_test(lost_before_the_dot_goes_to_the_next_host),
		cmocka_unit_test(lost_after_the_dot_goes_nowhere),
		cmocka_unit_test(final_refusal_is_not_carried_to_the_next_host),
		cmocka_unit_test(patience_runs_out_before_the_next_host),
		cmocka_unit_test(patience_runs_out_behind_the_greeting),
		cmocka_unit_test(without_patience_the_timeout_counts_and_the_next_host_is_asked),
		cmocka_unit_test(patience_is_for_the_first_answer_only),
		cmocka_unit_test(nobody_there_defers),
		cmocka_unit_test(only_recipients_left_go_to_the_next_host),
		cmocka_unit_test(session_limit_is_kept),
		cmocka_unit_test(utf8_mail_finds_the_host_that_takes_it),
		cmocka_unit_test(utf8_mail_that_nobody_takes_is_returned),
		cmocka_unit_test(kept_connection_takes_the_next_message),
		cmocka_unit_test(kept_connection_that_was_closed_is_no_failure),
		cmocka_unit_test(kept_connection_that_breaks_at_mail_is_made_anew),
		cmocka_unit_test(kept_connection_that_says_later_is_not_asked_twice),
		cmocka_unit_test(kept_connection_that_is_idle_too_long_is_made_anew),
		cmocka_unit_test(fallback_relay_is_the_last_resort),
		cmocka_unit_test(bracketed_host_skips_mx),
		cmocka_unit_test(ipv6_is_spoken),
		cmocka_unit_test(lmtp_over_a_unix_socket),
		cmocka_unit_test(rules_change_what_leaves),
		cmocka_unit_test(rules_of_lmtp_are_their_own),
		cmocka_unit_test(header_that_goes_whole_leaves_the_empty_line),
		cmocka_unit_test(line_that_a_rule_makes_long_is_folded),
		cmocka_unit_test(bad_rule_for_the_header_makes_mail_wait_before_anybody_is_asked),
		cmocka_unit_test(bad_rule_for_the_body_makes_mail_wait_without_a_final_dot),
		cmocka_unit_test(table_that_fails_makes_mail_wait),
		cmocka_unit_test(replies_are_filtered_line_by_line),
		cmocka_unit_test(replies_wait_for_their_last_line_and_leave_the_next),
		cmocka_unit_test(reply_filter_that_fails_makes_mail_wait),
		cmocka_unit_test(starttls_is_used_when_offered),
		cmocka_unit_test(failed_handshake_is_retried_in_clear),
		cmocka_unit_test(refused_starttls_goes_on_in_clear),
		cmocka_unit_test(encrypt_never_goes_on_in_clear),
		cmocka_unit_test(encrypt_takes_any_certificate),
		cmocka_unit_test(injected_reply_before_tls_is_refused),
		cmocka_unit_test(offers_in_clear_are_forgotten_under_tls),
		cmocka_unit_test(verify_accepts_the_host_name),
		cmocka_unit_test(secure_accepts_a_name_below_the_next_hop),
		cmocka_unit_test(secure_refuses_another_name),
		cmocka_unit_test(policy_map_sets_level_and_names),
		cmocka_unit_test(policy_map_of_a_parent_domain_counts),
		cmocka_unit_test(unknown_policy_attribute_defers),
		cmocka_unit_test(dane_verifies_by_tlsa),
		cmocka_unit_test(dane_refuses_another_key),
		cmocka_unit_test(dane_never_goes_on_in_clear),
		cmocka_unit_test(dane_with_unusable_records_encrypts),
		cmocka_unit_test(dane_without_records_is_opportunistic),
		cmocka_unit_test(dane_only_without_dnssec_waits),
		cmocka_unit_test(failing_tlsa_lookup_waits),
		cmocka_unit_test(password_is_sent_when_allowed),
		cmocka_unit_test(login_is_spoken),
		cmocka_unit_test(password_is_not_sent_in_clear_by_default),
		cmocka_unit_test(wrong_password_defers),
		cmocka_unit_test(host_without_password_is_not_logged_in_to),
		cmocka_unit_test(null_mx_is_final),
		cmocka_unit_test(unknown_domain_is_final),
		cmocka_unit_test(failing_dns_is_temporary),
		cmocka_unit_test(bogus_dns_is_temporary),
		cmocka_unit_test(domain_without_address_is_final),
		cmocka_unit_test(mx_without_address_is_final),
		cmocka_unit_test(mx_whose_address_is_not_known_now_is_temporary),
		cmocka_unit_test(being_the_best_mx_is_a_loop),
		cmocka_unit_test(being_an_mx_by_name_is_a_loop),
		cmocka_unit_test(backup_mx_tries_only_better_hosts),
		cmocka_unit_test(domain_with_an_address_only_is_its_own_mx),
		cmocka_unit_test(mx_that_is_missing_leaves_the_others),
		cmocka_unit_test(address_limit_is_kept),
		cmocka_unit_test(malformed_next_hop_waits_for_the_admin),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
