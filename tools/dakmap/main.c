/* main.c - dakmap: builds and asks lookup tables; answers to postmap and postalias, too. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/conf/version.h"

#include "tools/dakmap/dakmap.h"

static const char help[] =
	"usage: dakmap [options] [type:]file ...        builds file.db from file\n"
	"       dakmap -q key [type:]file ...           asks (also cidr, pcre, texthash ...)\n"
	"       dakmap -d key [type:]file ...           removes a key\n"
	"       dakmap -s [type:]file ...               lists all entries\n"
	"\n"
	"  -f  do not fold keys to lower case      -i  add what standard input says\n"
	"  -n  end keys and values in no NUL       -N  end them in a NUL (default)\n"
	"  -o  stay root for others' files         -p  do not take the mode of the source\n"
	"  -r  replace duplicates without a word   -w  no warnings about duplicates\n"
	"  -q -  asks each line of standard input and prints \"key TAB value\"\n"
	"\n"
	"type is hash (default) or btree to build. Called as postalias it reads aliases(5).\n"
	"Exit status: 0 done or found, 1 not found or failed, 64 wrong usage.\n";

void
complain(const struct options *options, const char *kind, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: %s: ", options->program, kind);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

/* "hash:aliases" below the working directory becomes "hash:/etc/aliases". */
static bool
map_parse(const char *text, struct map *map)
{
	const char *colon = strchr(text, ':');
	bool        has_type = colon != NULL && table_spec_is_known(slice_from(text));
	const char *name = has_type ? colon + 1 : text;
	char       *directory = NULL;

	map->type = has_type ? strndup(text, (size_t)(colon - text)) : strdup("hash");
	if (name[0] != '/' && strchr(name, '{') == NULL)
		directory = getcwd(NULL, 0);
	if (asprintf(&map->path, "%s%s%s", directory == NULL ? "" : directory,
	             directory == NULL ? "" : "/", name) < 0)
		map->path = NULL;
	free(directory);
	if (map->type == NULL || map->path == NULL ||
	    asprintf(&map->spec, "%s:%s", map->type, map->path) < 0)
		map->spec = NULL;
	return map->spec != NULL;
}

static void
map_free(struct map *map)
{
	free((void *)(uintptr_t)map->type);
	free(map->path);
	free(map->spec);
}

static int
do_map(const struct options *options, const char *text)
{
	struct map map = { 0 };
	int        status = EXIT_TROUBLE;

	if (!map_parse(text, &map))
		complain(options, "fatal", "out of memory");
	else if (options->query != NULL)
		status = query_map(options, &map);
	else if (options->is_dump)
		status = dump_map(options, &map);
	else if (options->remove != NULL)
		status = remove_key(options, &map);
	else
		status = build_map(options, &map);
	map_free(&map);
	return status;
}

/* Root's hand is given up for good, so each table is worked on in a process of its own. */
static int
do_map_apart(const struct options *options, const char *text)
{
	int   status;
	pid_t child = fork();

	if (child == 0) {
		status = do_map(options, text);
		exit(fflush(stdout) == 0 ? status : EXIT_TROUBLE);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
		complain(options, "fatal", "%s: the process that works on it failed", text);
		return EXIT_TROUBLE;
	}
	return WEXITSTATUS(status);
}

static int
usage(const struct options *options, int letter)
{
	switch (letter) {
	case 'h':
	case 'b':
	case 'm':
	case 'F':
	case 'j':
		complain(options, "fatal",
		         "-%c is not here (mail headers, MIME, files as values, JSON)", letter);
		break;
	default: fprintf(stderr, "%s", help); break;
	}
	return EXIT_WRONG_USAGE;
}

/* False: *status is the exit status. */
static bool
options_parse(struct options *options, int argc, char **argv, int *status)
{
	int letter;

	while ((letter = getopt(argc, argv, "c:d:fhbmFijnNopq:rsuUvw")) != -1) {
		switch (letter) {
		case 'c':
		case 'u':
		case 'U':
		case 'v': break;
		case 'd': options->remove = optarg; break;
		case 'f': options->keeps_case = true; break;
		case 'i': options->is_incremental = true; break;
		case 'n': options->without_nul = true; break;
		case 'N': options->without_nul = false; break;
		case 'o': options->keeps_root = true; break;
		case 'p': options->has_own_mode = true; break;
		case 'q': options->query = optarg; break;
		case 'r': options->replaces = true; break;
		case 's': options->is_dump = true; break;
		case 'w': options->is_quiet = true; break;
		default: *status = usage(options, letter); return false;
		}
	}
	return true;
}

int
main(int argc, char **argv)
{
	const char    *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	struct options options = { .program = slash != NULL ? slash + 1 : argv[0] };
	int            status = EXIT_DONE, worst = EXIT_DONE;
	bool           is_found = false;

	if (version_asked(argc, argv))
		return EXIT_DONE;
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		fputs(help, stdout);
		return EXIT_DONE;
	}
	options.is_alias = strcmp(options.program, "postalias") == 0;
	if (!options_parse(&options, argc, argv, &status))
		return status;
	if (optind == argc)
		return usage(&options, 0);
	for (int i = optind; i < argc; i++) {
		bool is_apart = geteuid() == 0 && options.query == NULL && !options.is_dump;

		status = is_apart ? do_map_apart(&options, argv[i]) : do_map(&options, argv[i]);
		is_found = is_found || status == EXIT_DONE;
		worst = status > worst ? status : worst;
		/* The first table that knows a key answers. */
		if (options.query != NULL && strcmp(options.query, "-") != 0 && is_found)
			break;
	}
	if (fflush(stdout) != 0)
		return EXIT_TROUBLE;
	return options.query != NULL && is_found ? EXIT_DONE : worst;
}
