/*
 * test_smtpd_dialogue.c - runs tests/dialogue/smtp/X.txt: what is sent and what must come back.
 *
 *   # comment
 *   = name = value     a parameter, before the first C:
 *   @ word             client ADDRESS, queue-down, auth-down, auth-slow (failures wait), advance
 * (waits a pause out), lost C: text            a line to send, with CRLF. Lines up to the next S:
 * are sent in one piece. C< text            bytes to send: \r \n \0 \t \\ \xHH are understood; *N*
 * repeats, "a*3*" = aaa S: regex           the next line from the server, whole, extended regular
 * expression S: END             the server closes Q: regex           the next thing that reached
 * the queue (at the end of the dialogue) Q: NONE            nothing did L: regex somewhere in the
 * log L! regex           nowhere in the log
 */
/* links: smtpd/access.c smtpd/answer.c smtpd/blocklists.c smtpd/checks.c smtpd/client.c */
/* links: smtpd/commands.c smtpd/content.c smtpd/dispatch.c smtpd/limits.c smtpd/login.c */
/* links: smtpd/policy.c smtpd/restrictions.c smtpd/room.c smtpd/secure.c smtpd/session.c */
/* links: smtpd/addresses.c smtpd/backup.c smtpd/domains.c smtpd/milters.c */
/* links: smtpd/proxy.c smtpd/etrn.c smtpd/verified.c */
/* links: smtpd/compile.c smtpd/notify.c smtpd/transaction.c smtpd/xclient.c smtpd/xforward.c */
#include <dirent.h>
#include <fcntl.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/smtpd_fakes.h"

#define DIRECTORY "tests/dialogue/smtp"

static const char base_config[] =
	"myhostname = mx.example.test\n"
	"mydomain = example.test\n"
	"myorigin = example.test\n"
	"mydestination =\n"
	"mynetworks = 10.0.0.0/8\n"
	"smtpd_error_sleep_time = 0\n"
	"smtpd_banner = mx.example.test ESMTP Dakiya\n"
	"recipient_delimiter = +\n"
	"virtual_mailbox_domains = example.test\n"
	"virtual_mailbox_maps = inline:{ { alice@example.test = example.test/alice/ }, "
	"{ bob@example.test = example.test/bob/ }, { postmaster@example.test = x/ } }\n"
	"virtual_uid_maps = static:1000\n"
	"virtual_gid_maps = static:1000\n";

struct dialogue {
	const char       *file;
	unsigned          line;
	struct buf        config;
	char              client[64];
	struct snapshot  *snapshot;
	struct room      *room;
	struct session   *session;
	struct stream    *stream;
	struct fake_wire  wire;
	struct buf        unused;
	size_t            read;    /* bytes of wire.from_server looked at */
	struct buf        pending; /* C: not sent yet */
	enum session_next next;
	bool              is_closed;
	int               log_fd;
	size_t            intake_read;
};

static void
complain(struct dialogue *run, const char *what, const char *detail, const char *more)
{
	fail_msg("%s:%u: %s\n  wanted: %s\n  got:    %s", run->file, run->line, what, detail, more);
}

static void
dialogue_open(struct dialogue *run)
{
	struct error          error = ERROR_NONE;
	struct daemon_context context = { .service = "smtp", .thread_limit = 100 };
	struct session_peer   peer = fake_peer(run->client, "192.0.2.250");

	run->snapshot = snapshot_from_text(buf_text(&run->config), &error);
	if (run->snapshot == NULL)
		complain(run, "configuration", "valid", error.text);
	context.snapshot = run->snapshot;
	context.parameters = snapshot_parameters(run->snapshot);
	run->room = room_create(&context, &error);
	if (run->room == NULL)
		complain(run, "room_create", "success", error.text);
	context.room = run->room;
	run->wire.from_server = BUF(1u << 20);
	run->unused = BUF(100);
	run->stream = fake_stream(&run->wire, &run->unused);
	run->session = session_begin(&context, run->stream, &peer);
	run->is_closed = run->session == NULL;
	if (!run->is_closed) {
		run->next = fake_run(run->session, run->stream);
		run->is_closed = run->next == SESSION_CLOSE;
	}
	stream_flush(run->stream);
}

static void
send_pending(struct dialogue *run)
{
	if (run->room == NULL)
		dialogue_open(run);
	if (run->pending.length == 0 || run->is_closed)
		return;
	run->wire.to_server = buf_slice(&run->pending);
	run->next = fake_run(run->session, run->stream);
	stream_flush(run->stream);
	run->is_closed = run->next == SESSION_CLOSE;
	buf_clear(&run->pending);
}

static bool
matches(struct dialogue *run, const char *pattern, const char *text)
{
	regex_t regex;
	char    whole[2000];

	snprintf(whole, sizeof(whole), "^(%.1990s)$", pattern);
	if (regcomp(&regex, whole, REG_EXTENDED | REG_NOSUB | REG_NEWLINE) != 0)
		complain(run, "bad regular expression", pattern, "");
	bool is_match = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return is_match;
}

static void
expect_line(struct dialogue *run, const char *pattern)
{
	send_pending(run);
	struct slice rest = slice_from_offset(buf_slice(&run->wire.from_server), run->read);
	size_t       end = slice_find(rest, SLICE("\r\n"));

	if (slice_equal(slice_from(pattern), SLICE("END"))) {
		if (!run->is_closed || rest.length > 0)
			complain(run, "the session goes on", "END",
			         rest.length > 0 ? buf_text(&run->wire.from_server) + run->read
			                         : "");
		return;
	}
	if (end == SLICE_NOT_FOUND)
		complain(run, "no answer", pattern, "(nothing)");
	static char line[5000];
	snprintf(line, sizeof(line), "%.*s", SLICE_ARGS(slice_first(rest, end)));
	run->read += end + 2;
	if (!matches(run, pattern, line))
		complain(run, "another answer", pattern, line);
}

static void
expect_queued(struct dialogue *run, const char *pattern)
{
	struct slice rest = slice_from_offset(buf_slice(&fake_world.intake), run->intake_read);
	size_t       end = slice_find_byte(rest, '\n');
	static char  line[8000];

	send_pending(run);
	if (slice_equal(slice_from(pattern), SLICE("NONE"))) {
		if (rest.length > 0)
			complain(run, "something was queued", pattern,
			         buf_text(&fake_world.intake));
		return;
	}
	if (end == SLICE_NOT_FOUND)
		complain(run, "nothing was queued", pattern, "(nothing)");
	snprintf(line, sizeof(line), "%.*s", SLICE_ARGS(slice_first(rest, end)));
	run->intake_read += end + 1;
	if (!matches(run, pattern, line))
		complain(run, "another message was queued", pattern, line);
}

static void
dialogue_close(struct dialogue *run)
{
	send_pending(run);
	if (run->session != NULL)
		session_end(run->session, run->is_closed ? SESSION_END_CLOSED : SESSION_END_LOST);
	run->session = NULL;
}

static void
expect_log(struct dialogue *run, const char *pattern, bool is_wanted)
{
	static char text[65536];
	ssize_t     length;

	dialogue_close(run);
	length = pread(run->log_fd, text, sizeof(text) - 1, 0);
	text[length < 0 ? 0 : length] = '\0';
	char unanchored[2000];
	snprintf(unanchored, sizeof(unanchored), ".*%.1900s.*", pattern);
	if (matches(run, unanchored, text) != is_wanted)
		complain(run, is_wanted ? "not in the log" : "in the log", pattern, text);
}

/* C< with its escapes. */
static void
append_bytes(struct dialogue *run, const char *text)
{
	for (const char *p = text; *p != '\0'; p++) {
		char     c = *p;
		uint64_t hex;
		if (*p == '\\') {
			c = *++p;
			if (c == 'r')
				c = '\r';
			else if (c == 'n')
				c = '\n';
			else if (c == 't')
				c = '\t';
			else if (c == '0')
				c = '\0';
			else if (c == 'x' && number_parse_hex(slice_of(p + 1, 2), 255, &hex)) {
				c = (char)hex;
				p += 2;
			}
		}
		unsigned long times = 1;
		char         *end = NULL;
		if (p[1] == '*' && ascii_is_digit(p[2])) {
			times = strtoul(p + 2, &end, 10);
			p = end; /* at the closing star */
		}
		while (times-- > 0)
			buf_append_byte(&run->pending, c);
	}
}

static void
do_word(struct dialogue *run, const char *word)
{
	if (slice_starts_with(slice_from(word), SLICE("client "))) {
		snprintf(run->client, sizeof(run->client), "%.63s", word + 7);
	} else if (slice_equal(slice_from(word), SLICE("queue-down"))) {
		fake_world.is_queue_down = true;
	} else if (slice_equal(slice_from(word), SLICE("auth-down"))) {
		fake_world.is_auth_down = true;
	} else if (slice_equal(slice_from(word), SLICE("auth-slow"))) {
		fake_world.auth_delay_ms = 100;
	} else if (slice_equal(slice_from(word), SLICE("advance"))) {
		send_pending(run);
		if (run->next != SESSION_PAUSE)
			complain(run, "no pause", "SESSION_PAUSE", "");
		int64_t         wait_ms = session_timeout(run->session) + 2;
		struct timespec time = { wait_ms / 1000, (wait_ms % 1000) * 1000000 };
		nanosleep(&time, NULL);
		run->next = session_input(run->session);
		if (run->next != SESSION_CLOSE)
			run->next = fake_run(run->session, run->stream);
		stream_flush(run->stream);
		run->is_closed = run->next == SESSION_CLOSE;
	} else {
		complain(run, "unknown word", "@ word", word);
	}
}

static void
do_line(struct dialogue *run, char *line)
{
	size_t length = strcspn(line, "\r\n");

	line[length] = '\0';
	if (length == 0 || line[0] == '#')
		return;
	const char *text = length > 3 ? line + 3 : "";
	if (line[0] == '=')
		buf_append_format(&run->config, "%s\n", line + 2);
	else if (line[0] == '@')
		do_word(run, line + 2);
	else if (line[0] == 'C' && line[1] == ':')
		buf_append_format(&run->pending, "%s\r\n", text);
	else if (line[0] == 'C' && line[1] == '<')
		append_bytes(run, text);
	else if (line[0] == 'S')
		expect_line(run, text);
	else if (line[0] == 'Q')
		expect_queued(run, text);
	else if (line[0] == 'L')
		expect_log(run, text, line[1] == ':');
	else
		complain(run, "not understood", line, "");
}

static void
run_dialogue(void **state)
{
	struct dialogue run = { .file = *state, .client = "192.0.2.1" };
	char            path[500];
	static char     line[4000];

	fake_world = (struct fake_world){ .intake = BUF(1u << 20) };
	run.config = BUF(100000);
	run.pending = BUF(64u << 20);
	run.log_fd = memfd_create("log", 0);
	log_open("postfix/smtpd", "mx", LOG_TO_STREAM, run.log_fd, 0);
	buf_append_text(&run.config, base_config);
	snprintf(path, sizeof(path), DIRECTORY "/%s", run.file);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		run.line++;
		do_line(&run, line);
	}
	fclose(file);
	send_pending(&run);
	struct slice rest = slice_from_offset(buf_slice(&run.wire.from_server), run.read);
	if (rest.length > 0)
		complain(&run, "more answers than expected", "(nothing)",
		         buf_text(&run.wire.from_server) + run.read);
	dialogue_close(&run);
	stream_destroy(&run.stream);
	room_destroy(&run.room);
	snapshot_destroy(&run.snapshot);
	buf_free(&run.wire.from_server);
	buf_free(&run.config);
	buf_free(&run.pending);
	buf_free(&run.unused);
	buf_free(&fake_world.intake);
	close(run.log_fd);
}

int
main(void)
{
	static struct CMUnitTest tests[500];
	static char              names[500][128];
	size_t                   count = 0;
	DIR                     *directory = opendir(DIRECTORY);
	struct dirent           *entry;

	if (directory == NULL) {
		fprintf(stderr, "%s is not there: run from the top directory\n", DIRECTORY);
		return 1;
	}
	while ((entry = readdir(directory)) != NULL && count < 500) {
		if (!slice_ends_with(slice_from(entry->d_name), SLICE(".txt")))
			continue;
		snprintf(names[count], sizeof(names[0]), "%.120s", entry->d_name);
		tests[count] = (struct CMUnitTest){ .name = names[count],
			                            .test_func = run_dialogue,
			                            .initial_state = names[count] };
		count++;
	}
	closedir(directory);
	return _cmocka_run_group_tests("dialogues", tests, count, NULL, NULL);
}
