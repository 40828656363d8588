/*
 * test_pop3_dialogue.c - POP3 sessions as text: tests/dialogue/pop3/NAME.txt.
 *
 * "C: text" is sent with CRLF (\xNN and \\ are escapes, "C- text" without a line end), "S: regex"
 * must match the next line of the answer (POSIX extended, whole line), "end" says that the server
 * closes there. "parameters:" lines set main.cf values. A file runs several times, its input cut
 * in pieces of different sizes: the answers must not depend on it.
 */
/* links: pop3d/command.c pop3d/counts.c pop3d/login.c pop3d/mailbox.c */
/* links: pop3d/reply.c pop3d/send.c pop3d/session.c pop3d/transaction.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <regex.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "tests/dialogue/pop3_fake.h"

#define FILES_MOST 100

struct dialogue {
	struct buf parameters;
	struct buf sent;
	struct buf expected; /* one regex a line */
	bool       ends;
};

static void
append_escaped(struct buf *out, struct slice text)
{
	uint64_t byte;

	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] == '\\' && i + 3 < text.length && text.data[i + 1] == 'x' &&
		    number_parse_hex(slice_of(text.data + i + 2, 2), 255, &byte)) {
			buf_append_byte(out, (char)byte);
			i += 3;
		} else {
			buf_append_byte(out, text.data[i]);
		}
	}
}

static void
dialogue_line(struct dialogue *dialogue, struct slice line, const char *path)
{
	struct slice text = slice_from_offset(line, 3);

	if (slice_is_empty(line) || line.data[0] == '#')
		return;
	if (slice_starts_with(line, SLICE("C:")) || slice_starts_with(line, SLICE("C-"))) {
		append_escaped(&dialogue->sent, text);
		if (line.data[1] == ':')
			buf_append_text(&dialogue->sent, "\r\n");
	} else if (slice_starts_with(line, SLICE("S:"))) {
		buf_append(&dialogue->expected, text);
		buf_append_byte(&dialogue->expected, '\n');
	} else if (slice_starts_with(line, SLICE("parameters: "))) {
		buf_append(&dialogue->parameters, slice_from_offset(line, 12));
		buf_append_byte(&dialogue->parameters, '\n');
	} else if (slice_equal(line, SLICE("end"))) {
		dialogue->ends = true;
	} else {
		fail_msg("%s: what is \"%.*s\"?", path, SLICE_ARGS(line));
	}
}

static void
dialogue_read(struct dialogue *dialogue, const char *path)
{
	struct buf   text = BUF(1 << 20);
	FILE        *file = fopen(path, "re");
	struct slice rest, line;

	*dialogue = (struct dialogue){ BUF(10000), BUF(1 << 20), BUF(1 << 20), false };
	assert_non_null(file);
	assert_true(buf_reserve(&text, 1 << 19));
	text.length = fread(text.data, 1, 1 << 19, file);
	fclose(file);
	rest = buf_slice(&text);
	while (slice_next_part(&rest, '\n', &line))
		dialogue_line(dialogue, line, path);
	buf_free(&text);
}

static void
dialogue_free(struct dialogue *dialogue)
{
	buf_free(&dialogue->parameters);
	buf_free(&dialogue->sent);
	buf_free(&dialogue->expected);
}

static bool
matches(struct slice pattern, struct slice line)
{
	char    pattern_text[1000], line_text[1000];
	regex_t regex;

	snprintf(pattern_text, sizeof(pattern_text), "^(%.*s)$", SLICE_ARGS(pattern));
	snprintf(line_text, sizeof(line_text), "%.*s", SLICE_ARGS(line));
	assert_int_equal(regcomp(&regex, pattern_text, REG_EXTENDED | REG_NOSUB), 0);
	bool is_match = regexec(&regex, line_text, 0, NULL, 0) == 0;
	regfree(&regex);
	return is_match;
}

static void
compare(const char *path, size_t step, struct slice expected, struct slice got)
{
	struct slice pattern, line;
	size_t       number = 0;

	while (slice_next_part(&expected, '\n', &pattern) && expected.data != NULL) {
		number++;
		if (!slice_next_part(&got, '\n', &line) || got.data == NULL)
			fail_msg("%s, step %zu: answer %zu \"%.*s\" did not come", path, step,
			         number, SLICE_ARGS(pattern));
		if (line.length == 0 || line.data[line.length - 1] != '\r')
			fail_msg("%s, step %zu: answer %zu does not end in CRLF", path, step,
			         number);
		line.length--;
		if (!matches(pattern, line))
			fail_msg("%s, step %zu: answer %zu is \"%.*s\", not \"%.*s\"", path, step,
			         number, SLICE_ARGS(line), SLICE_ARGS(pattern));
	}
	if (slice_next_part(&got, '\n', &line) && line.length > 0)
		fail_msg("%s, step %zu: \"%.*s\" came, too", path, step, SLICE_ARGS(line));
}

static void
dialogue_run(const char *path)
{
	static const size_t steps[] = { 0, 1, 2, 3, 7, 64, 511, 512, 513 };
	struct dialogue     dialogue;
	struct error        error = ERROR_NONE;
	struct pop3_room    room = { 0 };

	dialogue_read(&dialogue, path);
	struct snapshot *snapshot = snapshot_from_text(buf_text(&dialogue.parameters), &error);
	if (snapshot == NULL)
		fail_msg("%s: %s", path, error.text);
	room.parameters = snapshot_parameters(snapshot);
	pop3_counts_init(&room.counts);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct buf output = BUF(1 << 22);

		fake_session(&room, buf_slice(&dialogue.sent), steps[i], &output);
		compare(path, steps[i], buf_slice(&dialogue.expected), buf_slice(&output));
		buf_free(&output);
	}
	/* A session leaves nothing behind in the counts. */
	assert_int_equal(room.counts.by_key.count, 0);
	pop3_counts_destroy(&room.counts);
	snapshot_destroy(&snapshot);
	dialogue_free(&dialogue);
}

static void
run_one(void **state)
{
	dialogue_run(*state);
}

/* ---- TOP's arithmetic by itself ---- */

static void
top_ends_after_the_header_and_so_many_lines_wherever_it_is_cut(void **unused)
{
	static const struct {
		const char *text;
		uint64_t    lines;
		const char *expected;
	} rows[] = {
		{ "A: b\n\none\ntwo\n", 0, "A: b\n\n" },
		{ "A: b\n\none\ntwo\n", 1, "A: b\n\none\n" },
		{ "A: b\n\none\ntwo\n", 9, "A: b\n\none\ntwo\n" },
		{ "A: b\r\n\r\none\r\ntwo\r\n", 1, "A: b\r\n\r\none\r\n" },
		{ "A: b\n", 0, "A: b\n" },
		{ "\nbody\nmore\n", 1, "\nbody\n" },
		{ "A: b\n c\n\n\n\nx\n", 2, "A: b\n c\n\n\n\n" },
	};

	(void)unused;
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++)
		for (size_t step = 1; step < 20; step++) {
			struct pop3_top top = { .is_limited = true,
				                .is_line_empty = true,
				                .lines_left = rows[row].lines };
			struct buf      out = BUF(1000);
			struct slice    rest = slice_from(rows[row].text);
			bool            is_over = false;

			while (!is_over && rest.length > 0) {
				struct slice piece = slice_first(rest, step);
				size_t       take = pop3_top_take(&top, piece, &is_over);

				buf_append(&out, slice_first(piece, take));
				rest = slice_from_offset(rest, step);
			}
			assert_string_equal(buf_text(&out), rows[row].expected);
			buf_free(&out);
		}
}

static void
a_user_is_counted_once_a_session_and_up_to_the_limit(void **unused)
{
	struct pop3_counts counts;

	(void)unused;
	pop3_counts_init(&counts);
	assert_true(pop3_counts_enter(&counts, "alice 192.0.2.1", 2));
	assert_true(pop3_counts_enter(&counts, "alice 192.0.2.1", 2));
	assert_false(pop3_counts_enter(&counts, "alice 192.0.2.1", 2));
	assert_true(pop3_counts_enter(&counts, "alice 192.0.2.2", 2));
	assert_true(pop3_counts_enter(&counts, "alice 192.0.2.1", 0));
	for (int i = 0; i < 3; i++)
		pop3_counts_leave(&counts, "alice 192.0.2.1");
	pop3_counts_leave(&counts, "alice 192.0.2.2");
	assert_int_equal(counts.by_key.count, 0);
	pop3_counts_destroy(&counts);
}

int
main(void)
{
	static struct CMUnitTest tests[FILES_MOST] = {
		cmocka_unit_test(top_ends_after_the_header_and_so_many_lines_wherever_it_is_cut),
		cmocka_unit_test(a_user_is_counted_once_a_session_and_up_to_the_limit),
	};
	struct dirent **entries;
	size_t          count = 2;
	int             found = scandir("tests/dialogue/pop3", &entries, NULL, alphasort);
	int             quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);

	log_open("test", "test", LOG_TO_STREAM, quiet, 0);
	for (int i = 0; i < found; i++) {
		char *path = NULL;

		if (strstr(entries[i]->d_name, ".txt") == NULL || count == FILES_MOST ||
		    asprintf(&path, "tests/dialogue/pop3/%s", entries[i]->d_name) < 0)
			continue;
		tests[count++] = (struct CMUnitTest){ .name = path + strlen("tests/dialogue/"),
			                              .test_func = run_one,
			                              .initial_state = path };
	}
	for (int i = 0; i < found; i++)
		free(entries[i]);
	if (found > 0)
		free(entries);
	if (count < 5) {
		fprintf(stderr, "tests/dialogue/pop3 not found: run from the top directory\n");
		return 1;
	}
	int failed = _cmocka_run_group_tests("pop3", tests, count, NULL, NULL);
	for (size_t i = 2; i < count; i++)
		free(tests[i].initial_state);
	return failed;
}
