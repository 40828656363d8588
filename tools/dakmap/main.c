/*
 * main.c - dakmap: builds and asks lookup tables; answers to postmap, postalias and newaliases.
 */
#include <ctype.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/conf/version.h"
#include "lib/io/file.h"
#include "tools/dakmap/dakmap.h"

static const char help[] =
	"usage: dakmap [options] [type:]file ...        builds file.db from file\n"
	"       dakmap -q key [type:]file ...           asks (also cidr, pcre, pgsql ...)\n"
	"       dakmap -d key [type:]file ...           removes a key\n"
	"       dakmap -s [type:]file ...               lists all entries\n"
	"       dakmap --aliases                        builds $alias_database\n"
	"       dakmap -m                               lists the types of tables\n"
	"\n"
	"  -c directory  where main.cf is          -f  do not fold keys to lower case\n"
	"  -F  values are names of files           -i  add what standard input says\n"
	"  -j, --json    one object a line         -n  end keys and values in no NUL\n"
	"  -N  end them in a NUL (default)         -o  stay root for others' files\n"
	"  -p  mode 0644, not that of the source   -r  later duplicates replace earlier ones\n"
	"  -u  take also what is no UTF-8          -U  only UTF-8 (default)\n"
	"  -v  say more                            -w  no warnings about duplicates\n"
	"  -q -  asks each line of standard input and prints \"key TAB value\"; with -h the\n"
	"        header lines of the message there, with -b the body lines, with -m by MIME part\n"
	"  -d -  removes each line of standard input\n"
	"\n"
	"A type that is built is hash, btree, lmdb or cdb; without one it is\n"
	"$default_database_type. Called as postalias, or with --aliases, it reads aliases(5).\n"
	"Exit status: 0 done or found, 1 not found or failed, 64 wrong usage.\n";

void
complain(const struct options *options, const char *kind, const char *format, ...)
{
	char    text[1500];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	for (char *c = text; *c != '\0'; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	fprintf(stderr, "%s: %s: %s\n", options->program, kind, text);
}

static int
wrong_usage(const struct options *options, const char *why)
{
	bool is_postfix = slice_starts_with(slice_from(options->program), SLICE("post"));

	complain(options, "fatal", "%s (%s --help)", why, options->program);
	return is_postfix ? EXIT_TROUBLE : EXIT_WRONG_USAGE;
}

/* ---- options ---- */

static const struct option long_options[] = {
	{ "aliases", no_argument, NULL, 'A' },
	{ "help", no_argument, NULL, 'H' },
	{ "json", no_argument, NULL, 'j' },
	{ NULL, 0, NULL, 0 },
};

struct call {
	struct options options;
	bool           builds_aliases; /* $alias_database */
	unsigned       tasks;          /* -q, -d and -s given */
};

static void
task_set(struct call *call, enum task task, const char *argument)
{
	call->tasks++;
	call->options.task = task;
	call->options.argument = argument;
}

static bool
option_take(struct call *call, int letter)
{
	struct options *options = &call->options;

	switch (letter) {
	case 'A': call->builds_aliases = options->is_alias = true; break;
	case 'b': options->asks_body = true; break;
	case 'c':
		options->config_directory = optarg;
		options->has_own_config = true;
		break;
	case 'd': task_set(call, TASK_REMOVE, optarg); break;
	case 'f': options->keeps_case = true; break;
	case 'F': options->takes_files = true; break;
	case 'h': options->asks_headers = true; break;
	case 'i': options->is_incremental = true; break;
	case 'j': options->is_json = true; break;
	case 'm': options->knows_mime = true; break;
	case 'n': options->without_nul = true; break;
	case 'N': options->without_nul = false; break;
	case 'o': options->keeps_root = true; break;
	case 'p': options->has_own_mode = true; break;
	case 'q': task_set(call, TASK_QUERY, optarg); break;
	case 'r': options->replaces = true; break;
	case 's': task_set(call, TASK_DUMP, NULL); break;
	case 'u': options->takes_any = true; break;
	case 'U': options->takes_any = false; break;
	case 'v': options->is_verbose = true; break;
	case 'w': options->is_quiet = true; break;
	default: return false;
	}
	return true;
}

/* False: *status is the exit status. */
static bool
options_parse(struct call *call, int argc, char **argv, int *status)
{
	struct options *options = &call->options;
	int             letter;

	while ((letter = getopt_long(argc, argv, "bc:d:fFhijmnNopq:rsuUvw", long_options, NULL)) !=
	       -1) {
		if (letter == 'H') {
			fputs(help, stdout);
			*status = EXIT_DONE;
			return false;
		}
		if (!option_take(call, letter)) {
			*status = wrong_usage(options, "unknown option, or one without its value");
			return false;
		}
	}
	bool asks_message = options->asks_headers || options->asks_body;
	bool asks_stdin = options->task == TASK_QUERY && strcmp(options->argument, "-") == 0;
	if (call->tasks > 1)
		*status = wrong_usage(options, "specify only one of -s or -q or -d");
	else if (asks_message && !asks_stdin)
		*status = wrong_usage(options, "specify -b or -h only with \"-q -\"");
	else
		return true;
	return false;
}

/* ---- doing ---- */

static int
do_map(const struct options *options, const struct map *map, const struct input *input)
{
	return options->task == TASK_DUMP ? dump_map(options, map) : build_map(options, map, input);
}

/* Root's hand is given up for good, so each table is worked on in a process of its own. */
static int
do_map_apart(const struct options *options, const struct map *map, const struct input *input)
{
	int   status;
	pid_t child = fork();

	if (child == 0) {
		status = do_map(options, map, input);
		exit(fflush(stdout) == 0 ? status : EXIT_TROUBLE);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
		complain(options, "fatal", "%s: the process that works on it failed", map->spec);
		return EXIT_TROUBLE;
	}
	return WEXITSTATUS(status);
}

/* A removal has done its work when one table had the key; everything else when all went well. */
static int
do_maps(const struct options *options, const struct map *maps, size_t count)
{
	struct input input = { .text = BUF(0) };
	struct error error = ERROR_NONE;
	bool         is_apart = geteuid() == 0 && options->task != TASK_DUMP;
	int          best = EXIT_NOT_FOUND, worst = EXIT_DONE;

	if ((options->task == TASK_BUILD && options->is_incremental &&
	     !input_read_text(&input, &error)) ||
	    (options->task == TASK_REMOVE && !input_read_keys(options, &input, &error))) {
		complain(options, "fatal", "%s", error.text);
		input_free(&input);
		return EXIT_TROUBLE;
	}
	for (size_t i = 0; i < count; i++) {
		int status = (is_apart ? do_map_apart : do_map)(options, &maps[i], &input);

		best = status < best ? status : best;
		worst = status > worst ? status : worst;
	}
	input_free(&input);
	return options->task == TASK_REMOVE ? best : worst;
}

static int
run(const struct options *options, char **texts, size_t count)
{
	struct map *maps = calloc(count + 1, sizeof(*maps));
	int         status = EXIT_TROUBLE;
	size_t      parsed = 0;

	if (maps == NULL)
		complain(options, "fatal", "out of memory");
	while (maps != NULL && parsed < count && map_parse(options, texts[parsed], &maps[parsed]))
		parsed++;
	if (maps != NULL && parsed == count)
		status = options->task == TASK_QUERY ? query_maps(options, maps, count)
		                                     : do_maps(options, maps, count);
	for (size_t i = 0; i < count && maps != NULL; i++)
		map_free(&maps[i]);
	free(maps);
	return status;
}

/* newaliases: every table of $alias_database. */
static int
run_aliases(const struct options *options)
{
	char        *value = parameter_value(options, "alias_database");
	struct slice rest = slice_from(value), item;
	ARRAY(char *) texts = { 0 };
	int  status = EXIT_TROUBLE;
	bool is_good = value != NULL;

	while (is_good && table_next_item(&rest, &item)) {
		char *text = strndup(item.data, item.length);

		is_good = text != NULL && ARRAY_PUSH(&texts, text);
	}
	if (is_good && texts.count == 0)
		complain(options, "fatal", "alias_database names no table");
	else if (is_good)
		status = run(options, texts.items, texts.count);
	for (size_t i = 0; i < texts.count; i++)
		free(texts.items[i]);
	ARRAY_FREE(&texts);
	free(value);
	return status;
}

static int
list_types(void)
{
	for (const char *const *name = table_type_names(); *name != NULL; name++)
		printf("%s\n", *name);
	return fflush(stdout) == 0 ? EXIT_DONE : EXIT_TROUBLE;
}

int
main(int argc, char **argv)
{
	const char     *program = argc > 0 ? argv[0] : "dakmap", *slash = strrchr(program, '/');
	struct call     call = { .options = { .program = slash != NULL ? slash + 1 : program } };
	struct options *options = &call.options;
	int             status = EXIT_DONE;

	if (!file_open_standard())
		return EXIT_TROUBLE;
	if (version_asked(argc, argv))
		return EXIT_DONE;
	log_open(options->program, "", LOG_TO_STREAM, STDERR_FILENO, 0);
	opterr = 0;
	call.builds_aliases = strcmp(options->program, "newaliases") == 0;
	options->is_alias = call.builds_aliases || strcmp(options->program, "postalias") == 0;
	if (!options_parse(&call, argc, argv, &status))
		return status;
	bool has_names = optind < argc;
	if (call.builds_aliases)
		status = has_names || call.tasks > 0
		                 ? wrong_usage(options, "newaliases takes its tables from main.cf")
		                 : run_aliases(options);
	else if (!has_names && call.tasks == 0 && options->knows_mime)
		status = list_types();
	else if (!has_names)
		status = wrong_usage(options, "no table is named");
	else
		status = run(options, argv + optind, (size_t)(argc - optind));
	return fflush(stdout) == 0 ? status : EXIT_TROUBLE;
}
