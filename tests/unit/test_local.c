/* test_local.c - local: what a command gets, and what an alias or .forward makes of a recipient. */
/* links: local/program.c local/expand.c local/recipient.c local/files.c */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/log.h"
#include "lib/io/file.h"
#include "local/local.h"

struct world {
	struct snapshot      *snapshot;
	struct worker         worker;
	struct job_task       task;
	struct local_delivery delivery;
	char                  home[64];
};

static void
world_open(struct world *world, const char *settings, const char *recipient)
{
	struct error error = ERROR_NONE;
	struct slice extension = SLICE_EMPTY;

	*world = (struct world){ .home = "/tmp/dakiya-unit-local-XXXXXX" };
	assert_non_null(mkdtemp(world->home));
	world->snapshot = snapshot_from_text(settings, &error);
	if (world->snapshot == NULL)
		fail_msg("%s", error.text);
	world->task.envelope.sender = SLICE("sender@far.example");
	world->task.message.queue_id = SLICE("4abcz1");
	world->delivery = (struct local_delivery){
		.worker = &world->worker,
		.parameters = snapshot_parameters(world->snapshot),
		.task = &world->task,
		.recipient = { .address = slice_from(recipient) },
		.record = { .kind = LOCAL_USER,
		            .name = SLICE("bob"),
		            .home = slice_from(world->home),
		            .shell = SLICE("/bin/zsh") },
		.sender = SLICE("sender@far.example"),
		.arena = ARENA(0),
		.status = "2.0.0",
	};
	assert_true(address_split(slice_from(recipient), &world->delivery.address));
	world->delivery.user = world->delivery.address.local;
	if (address_split_extension(world->delivery.address.local,
	                            world->delivery.parameters->recipient_delimiter,
	                            &world->delivery.user, &extension))
		world->delivery.record.extension = extension;
}

static void
world_write(struct world *world, const char *name, const char *text, mode_t mode)
{
	int          directory = file_open_directory(world->home, NULL);
	struct error error = ERROR_NONE;

	if (!file_replace(directory, name, slice_from(text), mode, &error))
		fail_msg("%s", error.text);
	close(directory);
}

static void
world_close(struct world *world)
{
	static const char *const names[] = { ".forward", ".forward+x", "list", "self" };
	int                      directory = file_open_directory(world->home, NULL);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(directory, names[i], 0);
	close(directory);
	rmdir(world->home);
	ARRAY_FREE(&world->delivery.places);
	ARRAY_FREE(&world->delivery.addresses);
	arena_reset(&world->delivery.arena);
	snapshot_destroy(&world->snapshot);
}

/* ---- commands ---- */

static const char *
value_of(const char *const *environment, const char *name)
{
	size_t length = strlen(name);

	for (; *environment != NULL; environment++)
		if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
			return *environment + length + 1;
	return NULL;
}

static void
the_environment_holds_what_is_known_and_nothing_unsafe(void **state)
{
	const char *const *list;
	struct world       world;

	(void)state;
	world_open(&world,
	           "recipient_delimiter = +-\nexport_environment = A=b MAIL_CONFIG LANG NONE\n"
	           "config_directory = /etc/here\nimport_environment = LANG=C.UTF-8 TZ\n",
	           "Bob+x;y@Here.example");
	world.task.envelope.client_helo = SLICE("`rm`\nX=y");
	world.task.envelope.sasl_username = SLICE("bob@x");
	world.delivery.sender = SLICE("a'b\"c@far.example");
	assert_true(local_environment(&world.delivery, &world.delivery.arena, &list));
	static const char *const expected[][2] = {
		{ "PATH", "/usr/bin:/bin" },
		{ "SHELL", "/bin/zsh" },
		{ "USER", "bob" },
		{ "LOGNAME", "bob" },
		{ "LOCAL", "Bob+x_y" },
		{ "EXTENSION", "x_y" },
		{ "DOMAIN", "Here.example" },
		{ "RECIPIENT", "Bob+x_y@Here.example" },
		{ "ORIGINAL_RECIPIENT", "Bob+x_y@Here.example" },
		{ "SENDER", "a_b_c@far.example" },
		{ "CLIENT_HELO", "_rm__X=y" },
		{ "SASL_USERNAME", "bob@x" },
		{ "A", "b" },
		{ "MAIL_CONFIG", "/etc/here" },
		{ "LANG", "C.UTF-8" },
	};
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_non_null(value_of(list, expected[i][0]));
		assert_string_equal(value_of(list, expected[i][0]), expected[i][1]);
	}
	assert_string_equal(value_of(list, "HOME"), world.home);
	assert_null(value_of(list, "NONE"));
	assert_null(value_of(list, "ENVID"));
	assert_null(value_of(list, "CLIENT_ADDRESS"));
	world_close(&world);
}

static void
only_plain_commands_do_without_a_shell(void **state)
{
	(void)state;
	assert_false(local_needs_shell(SLICE("/usr/bin/procmail -a x -t=1 a@b")));
	assert_true(local_needs_shell(SLICE("/usr/bin/procmail \"$EXTENSION\"")));
	assert_true(local_needs_shell(SLICE("exit 75")));
	assert_true(local_needs_shell(SLICE("FOO=bar /bin/true")));
	assert_true(local_needs_shell(SLICE("/bin/cat >x")));
	assert_true(local_needs_shell(SLICE("/bin/a;/bin/b")));
	assert_true(local_needs_shell(SLICE("/bin/a *")));
}

static void
macros_are_filled_in_once_and_filtered(void **state)
{
	struct buf   out = BUF(4096);
	struct error error = ERROR_NONE;
	struct world world;

	(void)state;
	world_open(&world, "recipient_delimiter = +-\n", "bob-$home/..@here.example");
	assert_true(local_expand(&world.delivery,
	                         "$user|${recipient_delimiter}|${extension}|$domain|$none|$shell",
	                         "abcdefghijklmnopqrstuvwxyz.", &out, &error));
	assert_string_equal(buf_text(&out), "bob|-|_home_..|here.example||/bin/zsh");
	buf_clear(&out);
	/* A filter that lets '$' through does not make it a name. */
	assert_true(local_expand(&world.delivery, "${extension}", "$home", &out, &error));
	assert_string_equal(buf_text(&out), "$home___");
	buf_clear(&out);
	assert_false(local_expand(&world.delivery, "${user", "x", &out, &error));
	buf_free(&out);
	world_close(&world);
}

/* ---- aliases and .forward ---- */

/* "mailbox a addr c command f file" or "action status". */
static void
check_collected(struct world *world, const char *expected)
{
	struct buf                   out = BUF(4096);
	bool                         ok = local_collect(&world->delivery);
	const struct local_delivery *d = &world->delivery;

	if (!ok)
		buf_append_format(&out, "%s %s",
		                  d->action == OUTCOME_FAILED ? "failed" : "deferred", d->status);
	else if (d->wants_mailbox)
		buf_append_text(&out, "mailbox");
	for (size_t i = 0; ok && i < d->addresses.count; i++)
		buf_append_format(&out, " a %.*s", SLICE_ARGS(d->addresses.items[i]));
	for (size_t i = 0; ok && i < d->places.count; i++)
		buf_append_format(&out, " %c %.*s", "acfi"[d->places.items[i].kind],
		                  SLICE_ARGS(d->places.items[i].text));
	assert_string_equal(buf_text(&out), expected);
	buf_free(&out);
	ARRAY_FREE(&world->delivery.places);
	ARRAY_FREE(&world->delivery.addresses);
	world->delivery.wants_mailbox = world->delivery.is_logged = false;
	world->delivery.action = OUTCOME_DELIVERED;
}

static void
a_forward_file_says_where_mail_goes(void **state)
{
	struct world world;

	(void)state;
	world_open(&world, "recipient_delimiter = +\nmyorigin = origin.example\n",
	           "bob+x@here.example");
	check_collected(&world, "mailbox"); /* none */
	world_write(&world, ".forward", "", 0600);
	check_collected(&world, "mailbox"); /* empty */
	world_write(&world, ".forward", "# nothing\n\n", 0600);
	check_collected(&world, "mailbox");
	world_write(&world, ".forward", "Bob@Here.example, other, bob@else.example, \"|x y\"\n/f\n",
	            0644);
	check_collected(&world, "mailbox a other a bob@else.example c x y f /f");
	world_write(&world, ".forward", "\\bob@origin.example\n", 0644);
	check_collected(&world, "mailbox");
	world_write(&world, ".forward+x", "news\n", 0600);
	check_collected(&world, " a news"); /* before .forward */
	world_write(&world, ".forward+x", "news\n", 0602);
	check_collected(&world, "mailbox"); /* passed over: .forward */
	world_write(&world, ".forward+x", "\"open\n", 0600);
	check_collected(&world, "deferred 4.3.5");
	world_close(&world);
}

static void
includes_are_bounded_and_may_run_nothing(void **state)
{
	char         text[200], self[200];
	struct world world;

	(void)state;
	world_open(&world, "", "list@here.example");
	world.delivery.record = (struct msg_local){ .kind = LOCAL_ALIAS, .name = SLICE("list") };
	snprintf(text, sizeof(text), "a, :include:%s/list, z, list", world.home);
	world.delivery.record.text = slice_from(text);
	check_collected(&world, "deferred 4.3.0"); /* not there */
	world_write(&world, "list", "b,\n  c\nd\n", 0644);
	check_collected(&world, "mailbox a a a b a c a d a z");
	world_write(&world, "list", "b\n", 0646);
	check_collected(&world, "deferred 4.3.0");
	world_write(&world, "list", "|/bin/x\n", 0644);
	check_collected(&world, "failed 5.7.1");
	world_write(&world, "list", "/file\n", 0644);
	check_collected(&world, "failed 5.7.1");
	snprintf(self, sizeof(self), ":include:%s/self", world.home);
	world_write(&world, "self", self, 0644);
	world.delivery.record.text = slice_from(self);
	check_collected(&world, "failed 5.4.6");
	world.delivery.record.text = SLICE(":include:/etc");
	check_collected(&world, "deferred 4.3.0"); /* a directory */
	world.delivery.record.text = SLICE(" , ");
	check_collected(&world, "deferred 4.3.5");
	world_close(&world);
}

static void
what_is_allowed_where_is_the_admins_choice(void **state)
{
	char         text[200];
	struct world world;

	(void)state;
	world_open(&world,
	           "allow_mail_to_commands = alias, include\nallow_mail_to_files = forward\n",
	           "list@here.example");
	world.delivery.record = (struct msg_local){ .kind = LOCAL_ALIAS, .name = SLICE("list") };
	snprintf(text, sizeof(text), ":include:%s/list", world.home);
	world.delivery.record.text = slice_from(text);
	world_write(&world, "list", "|/bin/x\n", 0644);
	check_collected(&world, " c /bin/x");
	world.delivery.record.text = SLICE("|/bin/y");
	check_collected(&world, " c /bin/y");
	world.delivery.record.text = SLICE("/file");
	check_collected(&world, "failed 5.7.1");
	world_close(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_environment_holds_what_is_known_and_nothing_unsafe),
		cmocka_unit_test(only_plain_commands_do_without_a_shell),
		cmocka_unit_test(macros_are_filled_in_once_and_filtered),
		cmocka_unit_test(a_forward_file_says_where_mail_goes),
		cmocka_unit_test(includes_are_bounded_and_may_run_nothing),
		cmocka_unit_test(what_is_allowed_where_is_the_admins_choice),
	};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	log_open("test", "localhost", LOG_TO_STREAM, null, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
