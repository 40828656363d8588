/* setup.c - dakiya setup: its options and the order of its steps. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/conf/places.h"
#include "tools/dakiya/setup.h"

static const char help[] =
	"usage: dakiya [-c config_directory] setup [options] [domain]\n\n"
	"Makes this a mail host for domain: accounts, directories, configuration, a certificate,\n"
	"a first user. What is there is left as it is, so it may be run again. Then prints the\n"
	"DNS records to publish.\n\n"
	"  --hostname NAME      the name that MX records point to (mail.DOMAIN)\n"
	"  --user NAME          the first user; root, postmaster and abuse are its aliases\n"
	"  --password-stdin     its password is the first line of standard input\n"
	"  --generate-password  its password is made up and shown once\n"
	"  --chain-files FILES  key and certificate, instead of one that nobody signed\n"
	"  --address ADDRESS    this host's public address, for the records; may be repeated\n"
	"  --directory DIR      everything in DIR, on ports above 1024; needs no root\n"
	"  --listen ADDRESS     the address to serve on (all)\n"
	"  --log FILE           the log; /dev/stdout in containers\n"
	"  --probe HOST[:PORT]  what to try outbound port 25 with; may be repeated\n"
	"  --name-server ADDRESS[@PORT]  whom the probes ask for names\n"
	"  --no-probe           asks nothing of the network\n"
	"  --dry-run            shows what would be done\n"
	"  --yes                asks no question: defaults for what is not given\n";

/* ---- words ---- */

bool
setup_change(struct setup *setup, const char *format, ...)
{
	va_list arguments;

	setup->changes++;
	fputs(setup->is_dry ? "  would make  " : "  makes  ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	return !setup->is_dry;
}

void
setup_keep(struct setup *setup, const char *format, ...)
{
	va_list arguments;

	setup->kept++;
	fputs("  leaves  ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

bool
setup_fail(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fputs("dakiya setup: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return false;
}

/* ---- options ---- */

enum option_kind { A_FLAG, A_TEXT, A_NAME, A_LIST };

struct option_row {
	const char      *name;
	enum option_kind kind;
	void            *place;
	size_t           size; /* A_NAME */
};

static const char *
option_value(int argc, char **argv, int *at, const char *name)
{
	size_t length = strlen(name);

	if (argv[*at][length] == '=')
		return argv[*at] + length + 1;
	return *at + 1 < argc ? argv[++*at] : NULL;
}

static bool
option_set(const struct option_row *row, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return setup_fail("%s needs a value", row->name);
	switch (row->kind) {
	case A_FLAG: break;
	case A_TEXT: *(const char **)row->place = value; break;
	case A_NAME:
		if ((size_t)snprintf(row->place, row->size, "%s", value) >= row->size)
			return setup_fail("%s %s: too long", row->name, value);
		break;
	case A_LIST: {
		struct setup_texts *texts = row->place;
		return ARRAY_PUSH(&texts->list, value) || setup_fail("out of memory");
	}
	}
	return true;
}

/* False: worded. */
static bool
option_take(const struct option_row *rows, size_t count, int argc, char **argv, int *at)
{
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(rows[i].name);
		bool   is_equal = strcmp(argv[*at], rows[i].name) == 0;

		if (rows[i].kind == A_FLAG && is_equal) {
			*(bool *)rows[i].place = true;
			return true;
		}
		if (rows[i].kind != A_FLAG &&
		    (is_equal ||
		     (strncmp(argv[*at], rows[i].name, length) == 0 && argv[*at][length] == '=')))
			return option_set(&rows[i], option_value(argc, argv, at, rows[i].name));
	}
	return setup_fail("unknown option %s; see dakiya setup --help", argv[*at]);
}

static bool
parse(struct setup *setup, int argc, char **argv)
{
	const struct option_row rows[] = {
		{ "--hostname", A_NAME, setup->hostname, sizeof(setup->hostname) },
		{ "--user", A_NAME, setup->user, sizeof(setup->user) },
		{ "--password-stdin", A_FLAG, &setup->from_stdin, 0 },
		{ "--generate-password", A_FLAG, &setup->wants_password, 0 },
		{ "--chain-files", A_TEXT, &setup->chain_files, 0 },
		{ "--address", A_LIST, &setup->addresses, 0 },
		{ "--directory", A_TEXT, &setup->directory, 0 },
		{ "--listen", A_TEXT, &setup->listen, 0 },
		{ "--log", A_TEXT, &setup->log, 0 },
		{ "--probe", A_LIST, &setup->probes, 0 },
		{ "--name-server", A_TEXT, &setup->name_server, 0 },
		{ "--no-probe", A_FLAG, &setup->without_probes, 0 },
		{ "--dry-run", A_FLAG, &setup->is_dry, 0 },
		{ "--yes", A_FLAG, &setup->is_yes, 0 },
	};

	for (int i = 0; i < argc; i++) {
		if (argv[i][0] == '-') {
			if (!option_take(rows, sizeof(rows) / sizeof(rows[0]), argc, argv, &i))
				return false;
		} else if (setup->domain[0] != '\0') {
			return setup_fail("one domain at a time, not also %s", argv[i]);
		} else if ((size_t)snprintf(setup->domain, sizeof(setup->domain), "%s", argv[i]) >=
		           sizeof(setup->domain)) {
			return setup_fail("the domain's name is too long");
		}
	}
	/* Standard input is the password's. */
	if (setup->from_stdin)
		setup->is_yes = true;
	return true;
}

/* ---- places ---- */

static bool
absolute(const char *path, char *out, size_t size)
{
	char here[SETUP_PATH_MOST] = "";

	if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL)
		return setup_fail("the current directory is not known: %m");
	if ((size_t)snprintf(out, size, "%s%s%s", here, here[0] != '\0' ? "/" : "", path) >= size)
		return setup_fail("%s: the path is too long", path);
	for (size_t end = strlen(out); end > 1 && out[end - 1] == '/'; end--)
		out[end - 1] = '\0';
	for (const char *c = out; *c != '\0'; c++)
		if (*c == ' ' || *c == ',' || *c == '$' || *c == '\n' || *c == '\t')
			return setup_fail("%s: a path with blanks, commas or dollars does not fit "
			                  "into main.cf",
			                  out);
	return true;
}

static bool
join(char *out, size_t size, const char *directory, const char *name)
{
	return (size_t)snprintf(out, size, "%s/%s", directory, name) < size ||
	       setup_fail("%s: the path is too long", directory);
}

static bool
find_places(struct setup *setup, char *tree, size_t size)
{
	struct buf queue = BUF(SETUP_PATH_MOST), data = BUF(SETUP_PATH_MOST);
	bool       is_ok;

	if (setup->directory != NULL) {
		if (!absolute(setup->directory, tree, size - 20))
			return false;
		setup->directory = tree;
		return join(setup->config, sizeof(setup->config), tree, "etc") &&
		       join(setup->queue, sizeof(setup->queue), tree, "queue") &&
		       join(setup->data, sizeof(setup->data), tree, "data");
	}
	is_ok = absolute(setup->tool->config_directory, setup->config, sizeof(setup->config) - 40);
	snprintf(setup->queue, sizeof(setup->queue), "%s",
	         setup_value(setup, "queue_directory", &queue) ? buf_text(&queue) : PLACE_QUEUE);
	snprintf(setup->data, sizeof(setup->data), "%s",
	         setup_value(setup, "data_directory", &data) ? buf_text(&data) : PLACE_DATA);
	buf_free(&queue);
	buf_free(&data);
	if (is_ok && (setup->queue[0] != '/' || setup->data[0] != '/'))
		return setup_fail("queue_directory and data_directory in main.cf must be paths");
	return is_ok;
}

/* ---- the whole ---- */

static void
say_what_is_next(const struct setup *setup)
{
	const char *option = setup->directory != NULL || strcmp(setup->config, PLACE_CONFIG) != 0
	                             ? setup->config
	                             : NULL;
	const char *c = option == NULL ? "" : " -c ";

	if (option == NULL)
		option = "";
	if (setup->is_password_made && !setup->is_dry)
		printf("\nThe password of %s is  %s  (shown once; dakuser%s%s password %s)\n",
		       setup->user, setup->password, c, option, setup->user);
	printf("\nNext:\n  dakiya%s%s check\n  dakiya%s%s start\n", c, option, c, option);
	printf("and when the records are published:\n  dakiya%s%s check --online\n", c, option);
}

static int
run(struct setup *setup)
{
	char tree[SETUP_PATH_MOST];

	setup->is_root = geteuid() == 0;
	if (!setup->is_root && setup->directory == NULL) {
		setup_fail("only root may set up the system's mail host; with --directory DIR "
		           "anybody may have one of his own, on ports above 1024");
		return EX_NOPERM;
	}
	if (!find_places(setup, tree, sizeof(tree)) || !setup_ask(setup))
		return EX_USAGE;
	printf("%s: mail host for %s\n", setup->hostname, setup->domain);
	if (!setup_accounts(setup) || !setup_directories(setup) || !setup_config(setup) ||
	    !setup_certificate(setup) || !setup_user(setup))
		return EX_CANTCREAT;
	if (setup->changes == 0)
		printf("  everything was there already: nothing was changed\n");
	if (!setup->without_probes)
		setup_probe(setup);
	setup_records(setup);
	say_what_is_next(setup);
	return EX_OK;
}

int
tool_setup(struct tool *tool, int argc, char **argv)
{
	struct setup *setup;
	int           status = EX_USAGE;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(help, stdout);
			return EX_OK;
		}
	}
	setup = calloc(1, sizeof(*setup));
	if (setup == NULL)
		return EX_OSERR;
	setup->tool = tool;
	/* For the programs that make accounts, and what we make ourselves. */
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	umask(022);
	if (parse(setup, argc, argv))
		status = run(setup);
	ARRAY_FREE(&setup->addresses.list);
	ARRAY_FREE(&setup->probes.list);
	explicit_bzero(setup, sizeof(*setup));
	free(setup);
	if (fflush(stdout) != 0 && status == EX_OK)
		status = EX_IOERR;
	return status;
}
