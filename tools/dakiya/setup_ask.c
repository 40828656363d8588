/* setup_ask.c - what setup was not told: at most three questions, each with a default. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "tools/dakiya/setup.h"

/* Letters, digits and hyphens in labels of 1 to 63, two labels or more: what may stand in DNS. */
bool
setup_name_is_sound(const char *name)
{
	struct slice rest = slice_from(name), label;
	size_t       labels = 0;

	if (rest.length == 0 || rest.length > SETUP_NAME_MOST)
		return false;
	while (slice_next_part(&rest, '.', &label)) {
		if (label.length == 0 || label.length > 63 || label.data[0] == '-' ||
		    label.data[label.length - 1] == '-')
			return false;
		for (size_t i = 0; i < label.length; i++) {
			char c = ascii_lower(label.data[i]);
			if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
				return false;
		}
		labels++;
	}
	return labels >= 2;
}

/* ---- a line of standard input ---- */

static bool
read_line(char *line, size_t size)
{
	size_t length;

	if (fgets(line, (int)size, stdin) == NULL)
		return false;
	length = strlen(line);
	if (length > 0 && line[length - 1] != '\n' && !feof(stdin))
		return false; /* too long */
	while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
		line[--length] = '\0';
	return true;
}

static bool
ask(const char *question, const char *standard, char *answer, size_t size)
{
	printf(standard[0] != '\0' ? "%s [%s]: " : "%s: ", question, standard);
	fflush(stdout);
	if (!read_line(answer, size))
		return setup_fail("no answer: see the options of `dakiya setup --help'");
	if (answer[0] == '\0')
		snprintf(answer, size, "%s", standard);
	return true;
}

static bool
ask_password(char *password, size_t size)
{
	struct termios before, silent;
	bool           is_terminal = tcgetattr(STDIN_FILENO, &before) == 0, is_ok;

	printf("Its password (empty: one is made up): ");
	fflush(stdout);
	if (is_terminal) {
		silent = before;
		silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	}
	is_ok = read_line(password, size);
	if (is_terminal) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
		printf("\n");
	}
	return is_ok || setup_fail("no password");
}

/* ---- the three ---- */

/* What Debian calls this host's mail domain. */
static void
read_mailname(char *name, size_t size)
{
	FILE *file = fopen("/etc/mailname", "re");

	name[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(name, (int)size, file) == NULL)
		name[0] = '\0';
	fclose(file);
	name[strcspn(name, " \t\r\n")] = '\0';
	if (!setup_name_is_sound(name))
		name[0] = '\0';
}

static bool
need_domain(struct setup *setup)
{
	char mailname[SETUP_NAME_MOST + 1] = "";

	/* A tree of its own has nothing to do with the system's names. */
	if (setup->directory == NULL)
		read_mailname(mailname, sizeof(mailname));
	if (setup->domain[0] == '\0' && setup->is_yes)
		memcpy(setup->domain, mailname, sizeof(mailname));
	if (setup->domain[0] == '\0' && setup->is_yes)
		return setup_fail("which domain? dakiya setup example.org");
	if (setup->domain[0] == '\0' &&
	    !ask("The domain that gets mail", mailname, setup->domain, sizeof(setup->domain)))
		return false;
	for (char *at = setup->domain; *at != '\0'; at++)
		*at = ascii_lower(*at);
	return setup_name_is_sound(setup->domain) ||
	       setup_fail("\"%s\" is no domain name (a name with letters beyond ASCII is written "
	                  "as in DNS, xn--...)",
	                  setup->domain);
}

static bool
need_hostname(struct setup *setup)
{
	char       standard[SETUP_NAME_MOST + 1];
	struct buf now = BUF(SETUP_PATH_MOST);

	/* Set before: that is the answer. */
	if (setup->hostname[0] == '\0' && setup_value(setup, "myhostname", &now) &&
	    setup_name_is_sound(buf_text(&now)))
		snprintf(setup->hostname, sizeof(setup->hostname), "%s", buf_text(&now));
	buf_free(&now);
	if ((size_t)snprintf(standard, sizeof(standard), "mail.%s", setup->domain) >=
	    sizeof(standard))
		snprintf(standard, sizeof(standard), "%s", setup->domain);
	if (setup->hostname[0] == '\0' && setup->is_yes)
		snprintf(setup->hostname, sizeof(setup->hostname), "%s", standard);
	if (setup->hostname[0] == '\0' &&
	    !ask("The name of this host, to which the MX record points", standard, setup->hostname,
	         sizeof(setup->hostname)))
		return false;
	for (char *at = setup->hostname; *at != '\0'; at++)
		*at = ascii_lower(*at);
	return setup_name_is_sound(setup->hostname) ||
	       setup_fail("\"%s\" is no host name", setup->hostname);
}

static bool
complete_user(struct setup *setup)
{
	char   whole[sizeof(setup->user)];
	size_t at = strcspn(setup->user, "@");

	for (char *c = setup->user; *c != '\0'; c++)
		*c = ascii_lower(*c);
	if (setup->user[at] == '@')
		return strcmp(setup->user + at + 1, setup->domain) == 0 ||
		       setup_fail("%s is not in %s", setup->user, setup->domain);
	if ((size_t)snprintf(whole, sizeof(whole), "%s@%s", setup->user, setup->domain) >=
	    sizeof(whole))
		return setup_fail("%s: the name is too long", setup->user);
	memcpy(setup->user, whole, sizeof(whole));
	return true;
}

/* With users in the domain nobody is asked for a first one; the aliases are theirs already. */
static bool
has_user(struct setup *setup)
{
	struct buf   users = BUF(16u * 1024 * 1024);
	struct slice first = SLICE_EMPTY, rest;
	bool         is_there;

	setup_users(setup, &users);
	rest = buf_slice(&users);
	is_there = slice_next_part(&rest, '\n', &first) && first.length > 0;
	if (is_there && setup->user[0] == '\0')
		snprintf(setup->user, sizeof(setup->user), "%.*s", SLICE_ARGS(first));
	buf_free(&users);
	return is_there;
}

static bool
need_user(struct setup *setup)
{
	bool is_asked = setup->user[0] == '\0';

	if (has_user(setup) && is_asked)
		return true;
	if (is_asked && setup->is_yes)
		snprintf(setup->user, sizeof(setup->user), "postmaster");
	else if (is_asked && !ask("The first user", "postmaster", setup->user, sizeof(setup->user)))
		return false;
	if (!complete_user(setup))
		return false;
	if (setup->from_stdin)
		return read_line(setup->password, sizeof(setup->password)) ||
		       setup_fail("no password on standard input");
	if (is_asked && !setup->is_yes && !setup->wants_password)
		return ask_password(setup->password, sizeof(setup->password));
	return true;
}

bool
setup_ask(struct setup *setup)
{
	return need_domain(setup) && need_hostname(setup) && need_user(setup);
}
