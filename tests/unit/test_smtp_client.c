/*
 * test_smtp_client.c - dialogues of the outbound agent: each file of tests/dialogue/smtp-client is
 * one session, what the server says, what the client must say, and what becomes of the mail.
 *
 *   set NAME = VALUE       a parameter            lmtp                  LMTP instead of SMTP
 *   mx                     the host came by MX    from ADDRESS [flags]  8bit utf8 full hdrs envid=x
 *   to ADDRESS [never|success|failure|delay,...] [orcpt=TYPE;ADDRESS] [orig=ADDRESS]
 *   content TEXT           \r \n \0 \xNN inside; repeat=N before it repeats the text
 *   S: TEXT                the server sends the line (with CRLF); S+ without CRLF, escapes
 *   C: TEXT                the client must send exactly this line
 *   close | stall          the server closes, or is silent until the client gives up
 *   again                  a second delivery on the same session begins here
 *   => ADDRESS STATE STATUS TEXT    state: sent relayed-dsn delivered deferred bounced todo
 *   => session usable|over
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

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtp/smtp.h"

#define LINES_MOST      400
#define RECIPIENTS_MOST 150
#define DIRECTORY       "tests/dialogue/smtp-client"

struct dialogue {
	char               *text;
	char               *lines[LINES_MOST];
	size_t              line_count;
	struct buf          parameters;
	bool                is_lmtp, has_mx;
	struct msg_envelope envelope;
	struct buf          recipients; /* list of msg_job_recipient */
	struct buf          content;
	size_t              script_at, script_end; /* lines of the session */
	int                 fd;                    /* the server's end */
	char                complaint[1500];       /* of the server's thread; empty = none */
};

/* ---- reading a dialogue ---- */

static void
unescape(const char *text, struct buf *out)
{
	for (; *text != '\0'; text++) {
		if (*text != '\\') {
			buf_append_byte(out, *text);
			continue;
		}
		switch (*++text) {
		case 'r': buf_append_byte(out, '\r'); break;
		case 'n': buf_append_byte(out, '\n'); break;
		case '0': buf_append_byte(out, '\0'); break;
		case 'x': {
			char hex[3] = { text[1], text[2], '\0' };

			buf_append_byte(out, (char)strtol(hex, NULL, 16));
			text += 2;
			break;
		}
		default: buf_append_byte(out, *text);
		}
	}
}

static bool
after(const char *line, const char *prefix, const char **rest)
{
	size_t length = strlen(prefix);

	if (strncmp(line, prefix, length) != 0)
		return false;
	*rest = line + length;
	return true;
}

static void
read_from(struct dialogue *dialogue, const char *rest)
{
	struct slice text = slice_from(rest), word;
	bool         is_first = true;

	while (slice_next_word(&text, " ", &word)) {
		if (is_first)
			dialogue->envelope.sender =
				slice_equal(word, SLICE("<>")) ? SLICE_EMPTY : word;
		else if (slice_equal(word, SLICE("8bit")))
			dialogue->envelope.flags |= ENVELOPE_8BIT;
		else if (slice_equal(word, SLICE("utf8")))
			dialogue->envelope.flags |= ENVELOPE_SMTPUTF8;
		else if (slice_equal(word, SLICE("requiretls")))
			dialogue->envelope.flags |= ENVELOPE_REQUIRETLS;
		else if (slice_equal(word, SLICE("full")))
			dialogue->envelope.dsn_ret = DSN_RET_FULL;
		else if (slice_equal(word, SLICE("hdrs")))
			dialogue->envelope.dsn_ret = DSN_RET_HDRS;
		else if (slice_starts_with(word, SLICE("envid=")))
			dialogue->envelope.dsn_envid = slice_from_offset(word, 6);
		is_first = false;
	}
}

static void
read_to(struct dialogue *dialogue, const char *rest)
{
	struct msg_job_recipient row = { .quota = 0 };
	struct slice             text = slice_from(rest), word;
	struct buf               address = BUF(5000);

	assert_true(slice_next_word(&text, " ", &word));
	char *copy = strndup(word.data, word.length);
	unescape(copy, &address);
	free(copy);
	row.address = buf_slice(&address);
	while (slice_next_word(&text, " ,", &word)) {
		if (slice_equal(word, SLICE("never")))
			row.dsn_notify |= DSN_NOTIFY_NEVER;
		else if (slice_equal(word, SLICE("success")))
			row.dsn_notify |= DSN_NOTIFY_SUCCESS;
		else if (slice_equal(word, SLICE("failure")))
			row.dsn_notify |= DSN_NOTIFY_FAILURE;
		else if (slice_equal(word, SLICE("delay")))
			row.dsn_notify |= DSN_NOTIFY_DELAY;
		else if (slice_starts_with(word, SLICE("orcpt=")))
			row.dsn_orcpt = slice_from_offset(word, 6);
		else if (slice_starts_with(word, SLICE("orig=")))
			row.original = slice_from_offset(word, 5);
	}
	assert_true(msg_job_recipient_append(&dialogue->recipients, &row));
	buf_free(&address);
}

static void
read_content(struct dialogue *dialogue, const char *rest)
{
	long  repeat = 1;
	char *end;

	if (after(rest, "repeat=", &rest)) {
		repeat = strtol(rest, &end, 10);
		rest = end + 1;
	}
	while (repeat-- > 0)
		unescape(rest, &dialogue->content);
}

static bool
is_script(const char *line)
{
	return strncmp(line, "S: ", 3) == 0 || strncmp(line, "S+ ", 3) == 0 ||
	       strncmp(line, "C: ", 3) == 0 || strcmp(line, "close") == 0 ||
	       strcmp(line, "stall") == 0 || strncmp(line, "C* ", 3) == 0;
}

static void
read_dialogue(struct dialogue *dialogue, const char *path)
{
	static char buffer[200000];
	FILE       *file = fopen(path, "re");
	const char *rest;
	size_t      length;

	assert_non_null(file);
	length = fread(buffer, 1, sizeof(buffer) - 1, file);
	fclose(file);
	buffer[length] = '\0';
	*dialogue = (struct dialogue){ .parameters = BUF(10000),
		                       .recipients = BUF(1 << 20),
		                       .content = BUF(4 << 20) };
	buf_append_text(&dialogue->parameters, "myhostname = me.test\n");
	dialogue->text = strdup(buffer);
	for (char *at = dialogue->text, *line; (line = strsep(&at, "\n")) != NULL;) {
		if (line[0] == '\0' || line[0] == '#')
			continue;
		assert_true(dialogue->line_count < LINES_MOST);
		dialogue->lines[dialogue->line_count++] = line;
		if (after(line, "set ", &rest))
			buf_append_format(&dialogue->parameters, "%s\n", rest);
		else if (strcmp(line, "lmtp") == 0)
			dialogue->is_lmtp = true;
		else if (strcmp(line, "mx") == 0)
			dialogue->has_mx = true;
		else if (after(line, "from ", &rest))
			read_from(dialogue, rest);
		else if (after(line, "to ", &rest))
			read_to(dialogue, rest);
		else if (after(line, "content ", &rest))
			read_content(dialogue, rest);
		else if (!is_script(line) && !after(line, "=> ", &rest) &&
		         strcmp(line, "again") != 0)
			fail_msg("%s: cannot understand: %s", path, line);
	}
}

/* ---- the server ---- */

static bool
server_read_line(int fd, char *line, size_t size)
{
	size_t length = 0;

	for (;;) {
		struct pollfd one = { .fd = fd, .events = POLLIN };
		char          c;

		if (poll(&one, 1, 5000) <= 0 || recv(fd, &c, 1, 0) <= 0)
			return false;
		if (length + 1 < size)
			line[length++] = c;
		line[length] = '\0';
		if (c == '\n')
			return true;
	}
}

static void
expect_line(struct dialogue *dialogue, const char *expected)
{
	char       got[3000] = "";
	struct buf wire = BUF(8192);

	unescape(expected, &wire);
	buf_append_text(&wire, "\r\n");
	if (!server_read_line(dialogue->fd, got, sizeof(got)))
		snprintf(dialogue->complaint, sizeof(dialogue->complaint),
		         "expected \"%.500s\", the client sent nothing more (\"%.500s\")", expected,
		         got);
	else if (strcmp(got, buf_text(&wire)) != 0)
		snprintf(dialogue->complaint, sizeof(dialogue->complaint),
		         "expected \"%.500s\", the client sent \"%.500s\"", expected, got);
	buf_free(&wire);
}

/* C* N: the client sends N bytes up to the final dot, whatever they are. */
static void
skip_to_dot(struct dialogue *dialogue)
{
	char line[4000];

	while (server_read_line(dialogue->fd, line, sizeof(line)))
		if (strcmp(line, ".\r\n") == 0)
			return;
	snprintf(dialogue->complaint, sizeof(dialogue->complaint), "no final dot");
}

static void *
server_run(void *argument)
{
	struct dialogue *dialogue = argument;
	bool             is_open = true;

	for (size_t i = dialogue->script_at;
	     i < dialogue->script_end && is_open && dialogue->complaint[0] == '\0'; i++) {
		const char *line = dialogue->lines[i];
		struct buf  wire = BUF(1 << 20);

		if (line[0] == 'C' && line[1] == '*') {
			skip_to_dot(dialogue);
		} else if (line[0] == 'C') {
			expect_line(dialogue, line + 3);
		} else if (line[0] == 'S') {
			unescape(line + 3, &wire);
			if (line[1] == ':')
				buf_append_text(&wire, "\r\n");
			send(dialogue->fd, wire.data, wire.length, MSG_NOSIGNAL);
		} else if (strcmp(line, "close") == 0) {
			is_open = false;
		} else { /* stall: until the client hangs up */
			char c;

			recv(dialogue->fd, &c, 1, 0);
		}
		buf_free(&wire);
	}
	if (!is_open || dialogue->complaint[0] != '\0')
		shutdown(dialogue->fd, SHUT_RDWR);
	return NULL;
}

/* ---- the client ---- */

static const char *
state_name(const struct delivery_recipient *recipient)
{
	if (recipient->state != RECIPIENT_DONE)
		return "todo";
	switch (recipient->verdict.action) {
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

static void
expect_recipient(const struct delivery *delivery, const char *path, const char *expectation)
{
	struct slice rest = slice_from(expectation), address;

	slice_next_part(&rest, ' ', &address);
	for (size_t i = 0; i < delivery->count; i++) {
		const struct delivery_recipient *recipient = &delivery->recipients[i];
		char                             got[3000];

		if (!slice_equal(recipient->row.address, address))
			continue;
		snprintf(got, sizeof(got), "%.*s %s %s %s", SLICE_ARGS(recipient->row.address),
		         state_name(recipient), recipient->verdict.status,
		         recipient->verdict.reason);
		if (strcmp(got, expectation) != 0)
			fail_msg("%s\n  expected %s\n  got      %s", path, expectation, got);
		return;
	}
	fail_msg("%s: no recipient %s", path, expectation);
}

/* One delivery: begins the session unless it is there, then the transaction, then the results. */
static void
play_delivery(struct dialogue *dialogue, const struct smtp_agent *agent, struct session **session,
              int client_fd, const char *path, size_t results_at, size_t results_end)
{
	struct agent_job  job = { .message = msg_job_clear(), .envelope = dialogue->envelope };
	struct nexthop    nexthop = { .text = "example.org", .domain = "example.org", .port = 25 };
	struct tls_choice tls = { .level = TLS_NONE };
	struct session_plan plan = { .nexthop = &nexthop, .tls = &tls };
	struct delivery     delivery;
	struct verdict      verdict;
	pthread_t           server;
	const char         *rest;
	bool                is_ready = *session != NULL;

	if (agent->tls_level == TLS_ENCRYPT)
		tls.level = TLS_ENCRYPT;
	job.message.queue_id = SLICE("4TEST");
	job.message.recipients = buf_slice(&dialogue->recipients);
	job.message.content = buf_slice(&dialogue->content);
	assert_true(delivery_begin(&delivery, agent, &job));
	assert_int_equal(pthread_create(&server, NULL, server_run, dialogue), 0);
	if (*session == NULL) {
		struct host host = { .detects_loops = dialogue->has_mx };

		snprintf(host.name, sizeof(host.name), "mx.test");
		snprintf(host.address, sizeof(host.address), "192.0.2.1");
		host_describe(&host, 25);
		*session = session_create(agent, stream_from_socket(client_fd), &host);
		(*session)->words = &delivery.arena;
		(*session)->queue_id = "4TEST";
		is_ready = session_begin(*session, &plan, &verdict) == SESSION_READY;
		if (!is_ready)
			delivery_all(&delivery, *session, verdict);
	}
	if (is_ready)
		transaction_run(*session, &delivery);
	bool is_usable = is_ready && session_reset(*session) && session_is_reusable(*session);

	if (!is_usable)
		session_quit(session);
	pthread_join(server, NULL);
	if (dialogue->complaint[0] != '\0')
		fail_msg("%s: %s", path, dialogue->complaint);
	for (size_t i = results_at; i < results_end; i++) {
		if (!after(dialogue->lines[i], "=> ", &rest))
			continue;
		if (after(rest, "session ", &rest))
			assert_string_equal(rest, is_usable ? "usable" : "over");
		else
			expect_recipient(&delivery, path, rest);
	}
	delivery_end(&delivery);
}

static void
play(void **state)
{
	const char            *path = *state;
	static struct dialogue dialogue; /* large */
	struct error           error = ERROR_NONE;
	struct snapshot       *snapshot;
	struct smtp_agent      agent = { .service = "smtp" };
	struct session        *session = NULL;
	int                    pair[2];

	read_dialogue(&dialogue, path);
	snapshot = snapshot_from_text(buf_text(&dialogue.parameters), &error);
	if (snapshot == NULL)
		fail_msg("%s: %s", path, error.text);
	agent.parameters = snapshot_parameters(snapshot);
	agent.is_lmtp = dialogue.is_lmtp;
	agent.helo_name = "me.test";
	if (strcmp(agent.parameters->smtp_tls_security_level, "encrypt") == 0)
		agent.tls_level = TLS_ENCRYPT;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	dialogue.fd = pair[1];

	size_t at = 0;
	while (at < dialogue.line_count) {
		size_t end = at;

		while (end < dialogue.line_count && strcmp(dialogue.lines[end], "again") != 0)
			end++;
		/* The script is the run of S:, C:, close, stall; the results stand behind it. */
		dialogue.script_at = at;
		while (dialogue.script_at < end && !is_script(dialogue.lines[dialogue.script_at]))
			dialogue.script_at++;
		dialogue.script_end = dialogue.script_at;
		while (dialogue.script_end < end && is_script(dialogue.lines[dialogue.script_end]))
			dialogue.script_end++;
		play_delivery(&dialogue, &agent, &session, pair[0], path, dialogue.script_end, end);
		at = end + 1;
	}
	session_destroy(&session);
	close(pair[1]);
	snapshot_destroy(&snapshot);
	buf_free(&dialogue.parameters);
	buf_free(&dialogue.recipients);
	buf_free(&dialogue.content);
	free(dialogue.text);
}

static int
is_dialogue(const struct dirent *entry)
{
	return slice_ends_with(slice_from(entry->d_name), SLICE(".txt"));
}

int
main(void)
{
	struct dirent    **entries;
	int                count = scandir(DIRECTORY, &entries, is_dialogue, alphasort);
	struct CMUnitTest *tests;
	int                failed;

	if (count <= 0) {
		fprintf(stderr, "no dialogues in %s\n", DIRECTORY);
		return 1;
	}
	tests = calloc((size_t)count, sizeof(*tests));
	for (int i = 0; i < count; i++) {
		char *path = NULL, *name = strdup(entries[i]->d_name);

		if (asprintf(&path, "%s/%s", DIRECTORY, name) < 0)
			return 1;
		name[strlen(name) - 4] = '\0';
		for (char *c = name; *c != '\0'; c++)
			*c = *c == '-' ? '_' : *c;
		tests[i] = (struct CMUnitTest){ .name = name,
			                        .test_func = play,
			                        .initial_state = path };
		free(entries[i]);
	}
	free(entries);
	failed = _cmocka_run_group_tests("smtp_client", tests, (size_t)count, NULL, NULL);
	for (int i = 0; i < count; i++) {
		free(tests[i].initial_state);
		free((void *)(uintptr_t)tests[i].name);
	}
	free(tests);
	return failed;
}
