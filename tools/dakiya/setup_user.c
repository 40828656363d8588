/* setup_user.c - the first user, by dakuser(8). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/random.h"
#include "tools/dakiya/setup.h"

/* No letters that are taken for others; 20 of 31 are 99 bits. */
static void
make_password(char *password)
{
	static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789";
	size_t            at = 0;

	for (size_t i = 0; i < 20; i++) {
		if (i > 0 && i % 5 == 0)
			password[at++] = '-';
		password[at++] = letters[random_below(sizeof(letters) - 1)];
	}
	password[at] = '\0';
}

/* The first column of `dakuser list`. */
bool
setup_users(const struct setup *setup, struct buf *out)
{
	char         tool[SETUP_PATH_MOST];
	struct buf   listing = BUF(16u * 1024 * 1024);
	struct slice rest, line, name;
	char         main[SETUP_PATH_MOST + 10];
	bool         is_ok = false;

	snprintf(main, sizeof(main), "%s/main.cf", setup->config);
	if (access(main, F_OK) != 0)
		return true;
	if (setup_tool_path("dakuser", tool, sizeof(tool))) {
		const char *const arguments[] = { tool,   "-c",          setup->config,
			                          "list", setup->domain, NULL };
		is_ok = setup_run(arguments, NULL, &listing) == 0;
	}
	rest = buf_slice(&listing);
	while (is_ok && slice_next_part(&rest, '\n', &line))
		if (slice_next_word(&line, " \t", &name))
			is_ok = buf_append(out, name) && buf_append_byte(out, '\n');
	buf_free(&listing);
	return is_ok;
}

static bool
is_listed(struct slice list, const char *user)
{
	struct slice line;

	while (slice_next_part(&list, '\n', &line))
		if (slice_equal_fold(line, slice_from(user)))
			return true;
	return false;
}

static bool
add(struct setup *setup)
{
	char tool[SETUP_PATH_MOST], input[sizeof(setup->password) + 2];

	if (setup->password[0] == '\0') {
		make_password(setup->password);
		setup->is_password_made = true;
	}
	if (!setup_tool_path("dakuser", tool, sizeof(tool)))
		return false;
	const char *const arguments[] = { tool,      "-c",        setup->config, "add",
		                          "--stdin", setup->user, NULL };
	snprintf(input, sizeof(input), "%s\n", setup->password);
	int status = setup_run(arguments, input, NULL);
	explicit_bzero(input, sizeof(input));
	return status == 0 || setup_fail("the user cannot be made (dakuser says %d)", status);
}

bool
setup_user(struct setup *setup)
{
	struct buf users = BUF(16u * 1024 * 1024);
	bool       is_there, is_ok = true;

	if (setup->user[0] == '\0')
		return true;
	if (!setup_users(setup, &users))
		is_ok = setup_fail("the users cannot be listed");
	is_there = is_listed(buf_slice(&users), setup->user);
	buf_free(&users);
	if (is_ok && !is_there && setup_change(setup, "user %s", setup->user))
		is_ok = add(setup);
	return is_ok;
}
