/* test_mbox.c - one-file mailboxes: what is appended, the locks, and what a crash leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/io/file.h"
#include "lib/mailbox/deliver.h"
#include "lib/mailbox/mbox_note.h"

struct place {
	char                 path[64];
	int                  base;
	struct mailbox_store store;
};

static int
set_up(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	snprintf(place->path, sizeof(place->path), "/tmp/dakiya-test-mbox-XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->base = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mailbox_store_init(&place->store, place->base, "mx.test");
	place->store.lock.wait_ms = 300;
	*state = place;
	return 0;
}

static int
tear_down(void **state)
{
	struct place  *place = *state;
	DIR           *directory = fdopendir(place->base);
	struct dirent *entry;

	while ((entry = readdir(directory)) != NULL)
		if (entry->d_name[0] != '.' || entry->d_name[1] == 'l') {
			unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
			unlinkat(dirfd(directory), entry->d_name, 0);
		}
	closedir(directory);
	rmdir(place->path);
	free(place);
	return 0;
}

/* ---- helpers ---- */

static struct mailbox_message
message_of(const char *content)
{
	return (struct mailbox_message){ .queue_id = SLICE("4Tabcdez1"),
		                         .sender = SLICE("s@y.test"),
		                         .arrival_us = 1700000000000001,
		                         .content = slice_from(content),
		                         .file = -1 };
}

static struct mailbox_delivery
delivery_to(const struct mailbox_message *message, const char *mailbox)
{
	return (struct mailbox_delivery){ .message = message,
		                          .recipient = SLICE("a@x.test"),
		                          .original = SLICE_EMPTY,
		                          .mailbox = slice_from(mailbox) };
}

static void
deliver(struct place *place, const char *content, const char *status)
{
	struct mailbox_message  message = message_of(content);
	struct mailbox_delivery delivery = delivery_to(&message, "box");

	mailbox_deliver(&place->store, &delivery, 1);
	if (strcmp(delivery.status, status) != 0)
		fail_msg("%s: %s", delivery.status, delivery.reason.text);
}

static char *
contents(const struct place *place, const char *name)
{
	struct buf out = BUF(1 << 20);
	int        fd = openat(place->base, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(file_read_all(fd, &out, name, NULL));
	close(fd);
	char *text = strdup(buf_text(&out));
	buf_free(&out);
	return text;
}

static void
put_file(const struct place *place, const char *name, const char *text)
{
	int fd = openat(place->base, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* The text with every date of a From_ line as "DATE". */
static void
assert_mbox(const struct place *place, const char *expected)
{
	char      *text = contents(place, "box");
	struct buf out = BUF(1 << 20);

	for (const char *at = text; *at != '\0';) {
		const char *end = strchr(at, '\n');
		size_t      length = end == NULL ? strlen(at) : (size_t)(end - at) + 1;

		if (strncmp(at, "From s@y.test ", 14) == 0 && length == 14 + 25) {
			buf_append(&out, slice_of(at, 14));
			buf_append_text(&out, "DATE\n");
		} else {
			buf_append(&out, slice_of(at, length));
		}
		at += length;
	}
	assert_string_equal(buf_text(&out), expected);
	buf_free(&out);
	free(text);
}

#define FIELDS                                                                                     \
	"From s@y.test DATE\nReturn-Path: <s@y.test>\nX-Original-To: a@x.test\n"                   \
	"Delivered-To: a@x.test\n"

/* ---- format ---- */

static void
message_has_from_line_fields_quoting_and_empty_line(void **state)
{
	struct place *place = *state;
	struct stat   status;

	deliver(place, "Subject: x\r\n\r\nFrom here on\r\nFrom\r\n>From\r\n From x\r\nFromage",
	        "2.0.0");
	assert_mbox(place, FIELDS "Subject: x\n\n>From here on\nFrom\n>From\n From x\nFromage\n\n");
	assert_int_equal(fstatat(place->base, "box", &status, 0), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	deliver(place, "\r\nFrom ", "2.0.0");
	assert_mbox(place,
	            FIELDS "Subject: x\n\n>From here on\nFrom\n>From\n From x\nFromage\n\n" FIELDS
	                   "\n>From \n\n");
	assert_int_equal(faccessat(place->base, "box.lock", F_OK, 0), -1);
}

static void
deliver_across_border(struct place *place, size_t shift)
{
	struct mailbox_message  message = message_of("");
	struct mailbox_delivery delivery;
	struct buf              text = BUF(1 << 20), expected = BUF(1 << 20);

	/* The border between pieces lies somewhere in the lines that begin with "From ". */
	buf_append_text(&text, "A: b\r\n\r\n");
	buf_append_text(&expected, FIELDS "A: b\n\n");
	while (text.length < 65536 - 200) {
		buf_append_text(&text, "line of text\r\n");
		buf_append_text(&expected, "line of text\n");
	}
	for (size_t i = 0; i < shift; i++) {
		buf_append_byte(&text, 'y');
		buf_append_byte(&expected, 'y');
	}
	buf_append_text(&text, "\r\n");
	buf_append_byte(&expected, '\n');
	for (int i = 0; i < 60; i++) {
		buf_append_text(&text, "From x\r\n");
		buf_append_text(&expected, ">From x\n");
	}
	buf_append_byte(&expected, '\n');
	put_file(place, "file", buf_text(&text));
	message.file = openat(place->base, "file", O_RDONLY | O_CLOEXEC);
	message.file_length = text.length;
	delivery = delivery_to(&message, "box");
	mailbox_deliver(&place->store, &delivery, 1);
	close(message.file);
	assert_string_equal(delivery.status, "2.0.0");
	assert_mbox(place, buf_text(&expected));
	buf_free(&text);
	buf_free(&expected);
}

static void
quoting_does_not_depend_on_pieces(void **state)
{
	for (size_t shift = 0; shift < 9; shift++) {
		deliver_across_border(*state, shift);
		put_file(*state, "box", "");
	}
}

static void
null_sender_is_mailer_daemon(void **state)
{
	struct place           *place = *state;
	struct mailbox_message  message = message_of("\r\nx\r\n");
	struct mailbox_delivery delivery = delivery_to(&message, "deep/er/box");

	message.sender = SLICE_EMPTY;
	mailbox_deliver(&place->store, &delivery, 1);
	assert_string_equal(delivery.reason.text, "delivered to mailbox");
	char *text = contents(place, "deep/er/box");
	assert_int_equal(strncmp(text, "From MAILER-DAEMON ", 19), 0);
	assert_non_null(strstr(text, "\nReturn-Path: <>\n"));
	free(text);
	unlinkat(place->base, "deep/er/box", 0);
	unlinkat(place->base, "deep/er", AT_REMOVEDIR);
}

static void
next_message_never_joins_an_unfinished_end(void **state)
{
	struct place *place = *state;

	put_file(place, "box", "From x Sat\n\nno end");
	deliver(place, "\r\nhi\r\n", "2.0.0");
	assert_mbox(place, "From x Sat\n\nno end\n\n" FIELDS "\nhi\n\n");
	put_file(place, "box", "From x Sat\n\nline\n");
	deliver(place, "\r\nhi\r\n", "2.0.0");
	assert_mbox(place, "From x Sat\n\nline\n\n" FIELDS "\nhi\n\n");
}

static void
batch_of_maildir_and_mbox_is_all_delivered(void **state)
{
	struct place           *place = *state;
	struct mailbox_message  one = message_of("\r\none\r\n"), two = message_of("\r\ntwo\r\n");
	struct mailbox_delivery batch[] = { delivery_to(&one, "box"), delivery_to(&one, "dir/"),
		                            delivery_to(&two, "box"), delivery_to(&two, "dir") };

	mailbox_deliver(&place->store, batch, 4);
	assert_string_equal(batch[0].reason.text, "delivered to mailbox");
	assert_string_equal(batch[1].reason.text, "delivered to maildir");
	assert_string_equal(batch[2].reason.text, "delivered to mailbox");
	assert_string_equal(batch[3].status, "4.3.0");
	assert_non_null(strstr(batch[3].reason.text, "a Maildir's path ends with /"));
	assert_mbox(place, FIELDS "\none\n\n" FIELDS "\ntwo\n\n");
	char command[200];
	snprintf(command, sizeof(command), "%s/dir", place->path);
	pid_t pid = fork();
	if (pid == 0)
		execl("/bin/rm", "rm", "-rf", command, (char *)NULL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- what is no mailbox of ours ---- */

static void
only_a_regular_file_of_one_name_is_written_to(void **state)
{
	struct place *place = *state;

	put_file(place, "target", "untouched");
	assert_int_equal(symlinkat("target", place->base, "box"), 0);
	deliver(place, "\r\nhi\r\n", "4.2.0");
	unlinkat(place->base, "box", 0);
	assert_int_equal(linkat(place->base, "target", place->base, "box", 0), 0);
	deliver(place, "\r\nhi\r\n", "4.3.0");
	unlinkat(place->base, "box", 0);
	assert_int_equal(mkfifoat(place->base, "box", 0600), 0);
	deliver(place, "\r\nhi\r\n", "4.3.0");
	unlinkat(place->base, "box", 0);
	char *text = contents(place, "target");
	assert_string_equal(text, "untouched");
	free(text);
}

static void
file_of_another_user_is_not_written_to(void **state)
{
	struct place *place = *state;

	if (geteuid() != 0)
		skip();
	put_file(place, "box", "");
	assert_int_equal(fchownat(place->base, "box", 12345, 12345, 0), 0);
	deliver(place, "\r\nhi\r\n", "4.3.0");
}

static void
full_mailbox_refuses_or_defers(void **state)
{
	struct place *place = *state;

	place->store.message_limit = 400;
	deliver(place, "\r\nhi\r\n", "2.0.0");
	deliver(place, "\r\nhi\r\n", "2.0.0");
	put_file(place, "box", "");
	assert_int_equal(truncate(place->path, 0), -1);
	int fd = openat(place->base, "box", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 397), 0);
	close(fd);
	deliver(place, "\r\nhi\r\n", "5.2.2");
	place->store.defer_over_quota = true;
	deliver(place, "\r\nhi\r\n", "4.2.2");
	struct buf big = BUF(1000);
	while (big.length < 401)
		buf_append_byte(&big, 'x');
	deliver(place, buf_text(&big), "5.2.3");
	buf_free(&big);
}

/* ---- a write that fails ---- */

static void
failed_write_leaves_the_mailbox_as_it_was(void **state)
{
	struct place *place = *state;

	deliver(place, "\r\nhi\r\n", "2.0.0");
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit           limit = { 100000, 100000 };
		struct mailbox_message  big = message_of(""), small = message_of("\r\nsmall\r\n");
		struct mailbox_delivery batch[] = { delivery_to(&big, "box"),
			                            delivery_to(&small, "box") };
		char                   *text = malloc(300001);

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		memset(text, 'x', 300000);
		text[300000] = '\0';
		big.content = slice_from(text);
		mailbox_deliver(&place->store, batch, 2);
		bool is_right = batch[0].outcome == MAILBOX_DEFERRED &&
		                strstr(batch[0].reason.text, "File too large") != NULL &&
		                batch[1].outcome == MAILBOX_DELIVERED;
		free(text);
		_exit(is_right ? 0 : 1);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_mbox(place, FIELDS "\nhi\n\n" FIELDS "\nsmall\n\n");
}

/* ---- locks ---- */

static void
lock_of_another_program_is_waited_for_and_then_defers(void **state)
{
	struct place *place = *state;
	int64_t       begin = clock_monotonic_ms();

	put_file(place, "box", "");
	put_file(place, "box.lock", "12345");
	deliver(place, "\r\nhi\r\n", "4.3.0");
	assert_true(clock_monotonic_ms() - begin >= 300);
	assert_int_equal(faccessat(place->base, "box.lock", F_OK, 0), 0);
	unlinkat(place->base, "box.lock", 0);

	int fd = openat(place->base, "box", O_RDWR | O_CLOEXEC);
	/* A lock as other programs take it: of the process, not of the open file. */
	pid_t pid = fork();
	if (pid == 0) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		_exit(fcntl(fd, F_SETLK, &lock) == 0 && pause() ? 0 : 1);
	}
	usleep(200000);
	deliver(place, "\r\nhi\r\n", "4.3.0");
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	place->store.lock.methods = MAILFILE_FLOCK;
	assert_int_equal(flock(fd, LOCK_EX), 0);
	deliver(place, "\r\nhi\r\n", "4.3.0");
	close(fd);
	deliver(place, "\r\nhi\r\n", "2.0.0");
	assert_mbox(place, FIELDS "\nhi\n\n");
}

static void
old_lock_of_another_program_is_removed(void **state)
{
	struct place   *place = *state;
	struct timespec times[2] = { { .tv_sec = time(NULL) - 499 },
		                     { .tv_sec = time(NULL) - 499 } };

	put_file(place, "box.lock", "12345");
	assert_int_equal(utimensat(place->base, "box.lock", times, 0), 0);
	deliver(place, "\r\nhi\r\n", "4.3.0");
	times[0].tv_sec = times[1].tv_sec = time(NULL) - 510;
	assert_int_equal(utimensat(place->base, "box.lock", times, 0), 0);
	deliver(place, "\r\nhi\r\n", "2.0.0");
	assert_int_equal(faccessat(place->base, "box.lock", F_OK, 0), -1);
}

static void
lock_of_ours_that_nobody_holds_is_taken_at_once(void **state)
{
	struct place        *place = *state;
	struct mailfile_lock lock;
	int                  fd = openat(place->base, "box", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	pid_t pid = fork();
	if (pid == 0)
		_exit((int)mailfile_lock_try(&lock, place->base, "box", fd, &place->store.lock,
		                             NULL));
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(faccessat(place->base, "box.lock", F_OK, 0), 0);
	char *text = contents(place, "box.lock");
	assert_int_equal(atoi(text), pid);
	free(text);
	/* Only its death made it free: while one lives, it waits. */
	assert_int_equal(mailfile_lock_try(&lock, place->base, "box", fd, &place->store.lock, NULL),
	                 MAILFILE_LOCKED);
	deliver(place, "\r\nhi\r\n", "4.3.0");
	mailfile_unlock(&lock);
	close(fd);
	deliver(place, "\r\nhi\r\n", "2.0.0");
	assert_int_equal(faccessat(place->base, "box.lock", F_OK, 0), -1);
}

static void
words_of_the_lock_parameter_are_checked(void **state)
{
	struct mailbox_lock_rules rules;
	struct parameters         parameters = { .deliver_lock_attempts = 3,
		                                 .deliver_lock_delay = 2,
		                                 .stale_lock_time = 7 };

	(void)state;
	assert_true(mailfile_lock_rules(&rules, "fcntl, dotlock", &parameters));
	assert_int_equal(rules.methods, MAILFILE_FCNTL | MAILFILE_DOTLOCK);
	assert_int_equal(rules.wait_ms, 6000);
	assert_int_equal(rules.stale_ms, 7000);
	assert_true(mailfile_lock_rules(&rules, "flock", &parameters));
	assert_int_equal(rules.methods, MAILFILE_FLOCK);
	assert_false(mailfile_lock_rules(&rules, "", &parameters));
	assert_false(mailfile_lock_rules(&rules, "fcntl lockf", &parameters));
}

#define WRITERS  6
#define MESSAGES 20

static void
writers_at_once_lose_and_mix_nothing(void **state)
{
	struct place *place = *state;
	pid_t         pids[WRITERS];

	place->store.lock.wait_ms = 60000;
	for (size_t i = 0; i < WRITERS; i++)
		if ((pids[i] = fork()) == 0) {
			for (int n = 0; n < MESSAGES; n++)
				deliver(place, "\r\nabc\r\ndef\r\n", "2.0.0");
			_exit(0);
		}
	for (size_t i = 0; i < WRITERS; i++) {
		int status = 1;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	struct buf expected = BUF(1 << 20);
	for (int i = 0; i < WRITERS * MESSAGES; i++)
		buf_append_text(&expected, FIELDS "\nabc\ndef\n\n");
	assert_mbox(place, buf_text(&expected));
	buf_free(&expected);
	assert_int_equal(faccessat(place->base, "box.lock", F_OK, 0), -1);
}

/* ---- crashes ---- */

#define FROM_LINE "From s@y.test Sat Nov 28 08:48:13 2026\n"
#define WHOLE     FROM_LINE "Subject: x\n\nFrom: no\nat 10:11:12\n\n"

/* Leaves text as a process that was killed would; end 0: while writing. */
static void
crash(struct place *place, const char *before, const char *tail, uint64_t end)
{
	int        fd = openat(place->base, "box", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct buf text = BUF(1000);

	buf_append_text(&text, before);
	buf_append_text(&text, tail);
	assert_true(file_write_all(fd, buf_slice(&text), "box", NULL));
	mbox_note_set(fd, strlen(before), end, SLICE(FROM_LINE));
	if (fgetxattr(fd, "user.dakiya.append", NULL, 0) <= 0)
		skip(); /* a file system without attributes */
	close(fd);
	buf_free(&text);
}

static void
half_message_of_a_crash_is_taken_out(void **state)
{
	struct place *place = *state;
	const char   *before = "From x Sat Nov 28 01:02:03 2026\n\nolder\n\n";
	char          expected[1000];

	snprintf(expected, sizeof(expected), "%s%s", before, FIELDS "\nhi\n\n");
	for (size_t length = 0; length <= strlen(WHOLE); length++) {
		char tail[200];

		snprintf(tail, sizeof(tail), "%.*s", (int)length, WHOLE);
		crash(place, before, tail, 0);
		deliver(place, "\r\nhi\r\n", "2.0.0");
		assert_mbox(place, expected);
		/* Written, but not all of it reached the disk before a power cut. */
		crash(place, before, tail, strlen(before) + strlen(WHOLE));
		deliver(place, "\r\nhi\r\n", "2.0.0");
		if (length < strlen(WHOLE))
			assert_mbox(place, expected);
	}
}

static void
whole_message_is_never_taken_out(void **state)
{
	struct place *place = *state;

	crash(place, "", WHOLE, strlen(WHOLE));
	deliver(place, "\r\nhi\r\n", "2.0.0");
	assert_mbox(place, "From s@y.test DATE\nSubject: x\n\nFrom: no\nat 10:11:12\n\n" FIELDS
	                   "\nhi\n\n");
}

static void
what_others_wrote_is_never_taken_out(void **state)
{
	static const char *const tails[] = {
		/* behind ours, behind half of ours, glued to it, in place of it, shorter lines */
		WHOLE "From o@z Sat Nov 28 09:00:00 2026\n\nother\n\n",
		FROM_LINE "Subject: x\nFrom o@z Sat Nov 28 09:00:00 2026\n\nother\n\n",
		FROM_LINE "Subject: xFrom o@z Sat Nov 28 09:00:00 2026\n\nother\n\n",
		"From o@z Sat Nov 28 09:00:00 2026\n\nother\n\n",
		"rest of another message\n\n",
		FROM_LINE "From o@z\n\nother\n\n",
	};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		crash(place, "From x\n\nolder\n\n", tails[i], 0);
		deliver(place, "\r\nhi\r\n", "2.0.0");
		char *text = contents(place, "box");
		assert_non_null(strstr(text, tails[i]));
		free(text);
	}
}

static void
tail_longer_than_a_window_is_searched_to_its_end(void **state)
{
	struct place *place = *state;
	struct buf    text = BUF(1 << 20);

	for (size_t at = 60000; at < 140000; at += 1777) {
		buf_clear(&text);
		buf_append_text(&text, FROM_LINE "\n");
		while (text.length < at)
			buf_append_text(&text, "x\n");
		for (int with_other = 0; with_other < 2; with_other++) {
			if (with_other)
				buf_append_text(&text, "From o@z Sat\n\n");
			int fd = openat(place->base, "box", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
			                0600);
			assert_true(file_write_all(fd, buf_slice(&text), "box", NULL));
			mbox_note_set(fd, 0, 0, SLICE(FROM_LINE));
			if (fgetxattr(fd, "user.dakiya.append", NULL, 0) <= 0)
				skip();
			uint64_t size = text.length;
			assert_int_equal(mbox_recover(fd, &size), !with_other);
			assert_int_equal(size, with_other ? text.length : 0);
			/* A note serves once. */
			assert_false(mbox_recover(fd, &size));
			close(fd);
		}
	}
	buf_free(&text);
}

/* A writer is killed at any moment; after the next delivery only whole messages are there. */
static void
killed_writer_leaves_no_half_message(void **state)
{
	struct place *place = *state;
	size_t        size = 4u << 20;
	char         *big = malloc(size + 1);

	for (size_t i = 0; i < size; i++)
		big[i] = i % 64 == 63 ? '\n' : 'x';
	big[size] = '\0';
	put_file(place, "queue", big);
	free(big);
	crash(place, "", "", 0); /* skips where there are no attributes */
	for (int round = 0; round < 25; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct mailbox_message  message = message_of("");
			struct mailbox_delivery delivery = delivery_to(&message, "box");

			message.file = openat(place->base, "queue", O_RDONLY | O_CLOEXEC);
			message.file_length = size;
			for (;;)
				mailbox_deliver(&place->store, &delivery, 1);
		}
		usleep((useconds_t)(1000 + round * 1700));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		deliver(place, "\r\nhi\r\n", "2.0.0");
		struct stat status;
		assert_int_equal(fstatat(place->base, "box", &status, 0), 0);
		int64_t small = 39 + 24 + 24 + 23 + 5;
		int64_t large = 39 + 24 + 24 + 23 + (int64_t)size + 1;
		if ((status.st_size - small) % large != 0)
			fail_msg("round %d: %lld bytes", round, (long long)status.st_size);
		put_file(place, "box", "");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(message_has_from_line_fields_quoting_and_empty_line),
		TEST(quoting_does_not_depend_on_pieces),
		TEST(null_sender_is_mailer_daemon),
		TEST(next_message_never_joins_an_unfinished_end),
		TEST(batch_of_maildir_and_mbox_is_all_delivered),
		TEST(only_a_regular_file_of_one_name_is_written_to),
		TEST(file_of_another_user_is_not_written_to),
		TEST(full_mailbox_refuses_or_defers),
		TEST(failed_write_leaves_the_mailbox_as_it_was),
		TEST(lock_of_another_program_is_waited_for_and_then_defers),
		TEST(old_lock_of_another_program_is_removed),
		TEST(lock_of_ours_that_nobody_holds_is_taken_at_once),
		cmocka_unit_test(words_of_the_lock_parameter_are_checked),
		TEST(writers_at_once_lose_and_mix_nothing),
		TEST(half_message_of_a_crash_is_taken_out),
		TEST(whole_message_is_never_taken_out),
		TEST(what_others_wrote_is_never_taken_out),
		TEST(tail_longer_than_a_window_is_searched_to_its_end),
		TEST(killed_writer_leaves_no_half_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
