/* main.c - dakconf(1): shows and sets the parameters of the mail system. */
#include "tools/dakconf/dakconf.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/usage.h"
#include "lib/conf/lines.h"
#include "lib/conf/places.h"
#include "lib/conf/version.h"
#include "lib/io/file.h"

#define DEFAULT_CONFIG_DIRECTORY PLACE_CONFIG

enum { OPTION_MDOC = USAGE_LONG_ONLY };

static const char *const forms[] = {
	"[-dfhHjnqx] [-c DIRECTORY] [-C CLASS] [-o NAME=VALUE] [NAME ...]",
	"[-e] [-c DIRECTORY] NAME=VALUE ...",
	"-X | -# [-c DIRECTORY] NAME ...",
	"-M [-fjx] [-c DIRECTORY] [SERVICE[/TYPE] ...]",
	"-F [-fhHjx] [-c DIRECTORY] [SERVICE[/TYPE[/FIELD]] ...]",
	"-P [-fhHjx] [-c DIRECTORY] [SERVICE[/TYPE[/PARAMETER]] ...]",
	"-Me SERVICE/TYPE='ENTRY' | -MX SERVICE/TYPE | -M# SERVICE/TYPE",
	"-Fe SERVICE/TYPE/FIELD=VALUE",
	"-Pe SERVICE/TYPE/PARAMETER=VALUE | -PX SERVICE/TYPE/PARAMETER",
	"-a | -A | -l | -m | -T WHAT | --mdoc",
	"-b | -t [TEMPLATE-FILE]",
	NULL,
};

static const struct usage_option options[] = {
	{ 'a', NULL, NULL, "the SASL types of the server" },
	{ 'A', NULL, NULL, "the SASL types of the client" },
	{ 'b', NULL, NULL, "the texts of notices, with this host's name" },
	{ 'c', NULL, "DIRECTORY", "where main.cf and master.cf are" },
	{ 'C', NULL, "CLASS", "only builtin, service, user or all names; several with commas" },
	{ 'd', NULL, NULL, "defaults instead of what is set" },
	{ 'e', NULL, NULL, "set, in main.cf or with -M, -F, -P in master.cf; comments stay" },
	{ 'f', NULL, NULL, "fold long lines" },
	{ 'F', NULL, NULL, "the fields of services in master.cf" },
	{ 'h', NULL, NULL, "values without \"name = \"" },
	{ 'H', NULL, NULL, "names without their values" },
	{ 'j', NULL, NULL, "one JSON object a line" },
	{ 'l', NULL, NULL, "how mailboxes can be locked" },
	{ 'm', NULL, NULL, "the types of tables" },
	{ 'M', NULL, NULL, "the services of master.cf" },
	{ 'n', NULL, NULL, "only what is set" },
	{ 'o', NULL, "NAME=VALUE", "as if this were set in main.cf" },
	{ 'p', NULL, NULL, "parameters of main.cf (the default)" },
	{ 'P', NULL, NULL, "the parameters (-o) of services in master.cf" },
	{ 'q', NULL, NULL, "no warnings" },
	{ 't', NULL, NULL, "the texts of notices" },
	{ 'T', NULL, "WHAT", "of TLS: compile-version, run-version or public-key-algorithms" },
	{ 'v', NULL, NULL, "say more" },
	{ 'x', NULL, NULL, "with $names expanded" },
	{ 'X', NULL, NULL, "remove what is named" },
	{ '#', NULL, NULL, "comment out what is named" },
	{ OPTION_MDOC, "mdoc", NULL, "the manual page of main.cf" },
	{ 0, NULL, NULL, NULL },
};

static const struct usage usage = { .forms = forms, .options = options };

/* ---- messages ---- */

void
dakconf_warn(const struct dakconf *dakconf, const char *format, ...)
{
	va_list arguments;

	if (dakconf->is_quiet)
		return;
	fprintf(stderr, "%s: warning: ", dakconf->program);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

int
dakconf_fail(const struct dakconf *dakconf, int status, const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "%s: fatal: ", dakconf->program);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return dakconf->is_postconf ? EXIT_FAILURE : status;
}

/* ---- options ---- */

/* Every letter that was given, once; and the arguments that some have. */
struct given {
	char        letters[64];
	const char *tls;
};

/* Of each line at most one may be given; "specify one of" lists them in this order. */
static const char *const exclusive[] = { "aAbFlmMpPtT", "deX#", "enX#", "eoX#", "efX#", "eHX#",
	                                 "ehX#",        "exX#", "ejX#", "dn",   "do",   "hH" };

/* What a mode has nothing to do with. */
static const struct {
	const char *modes, *refused;
} refusals[] = {
	{ "aAlmT", "#CdefFhHnoxX" },
	{ "bt", "#CdefFhHjnoxX" },
	{ "M", "dhHn" },
	{ "F", "#dnX" },
	{ "P", "#dn" },
};

static bool
has(const struct given *given, char letter)
{
	return letter != '\0' && strchr(given->letters, letter) != NULL;
}

static int
check_exclusive(const struct dakconf *dakconf, const struct given *given)
{
	for (size_t i = 0; i < sizeof(exclusive) / sizeof(exclusive[0]); i++) {
		char   text[64] = "";
		size_t length = 0, count = 0;

		for (const char *letter = exclusive[i]; *letter != '\0'; letter++) {
			if (!has(given, *letter))
				continue;
			length += (size_t)snprintf(text + length, sizeof(text) - length, " -%c",
			                           *letter);
			count++;
		}
		if (count > 1)
			return dakconf_fail(dakconf, EX_USAGE, "specify one of%s", text);
	}
	return EX_OK;
}

static int
check_refusals(const struct dakconf *dakconf, const struct given *given)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		if (strchr(refusals[i].modes, dakconf->mode) == NULL)
			continue;
		for (const char *letter = refusals[i].refused; *letter != '\0'; letter++)
			if (has(given, *letter))
				return dakconf_fail(dakconf, EX_USAGE,
				                    "with option -%c, do not specify -%c",
				                    dakconf->mode, *letter);
	}
	return EX_OK;
}

static int
parse_classes(struct dakconf *dakconf, const char *text)
{
	static const struct {
		const char *word;
		unsigned class;
	} classes[] = { { "builtin", CLASS_BUILTIN },
		        { "service", CLASS_SERVICE },
		        { "user", CLASS_USER },
		        { "all", CLASS_ALL } };
	struct slice rest = slice_from(text), word;

	dakconf->classes = 0;
	while (slice_next_word(&rest, ", \t", &word)) {
		size_t i = 0;

		while (i < 4 && !slice_equal(word, slice_from(classes[i].word)))
			i++;
		if (i == 4)
			return dakconf_fail(dakconf, EX_USAGE,
			                    "unknown -C option value \"%.*s\" in \"%s\"",
			                    SLICE_ARGS(word), text);
		dakconf->classes |= classes[i].class;
	}
	return EX_OK;
}

static int
take_option(struct dakconf *dakconf, struct given *given, int letter)
{
	static const char modes[] = "aAbFlmMpPtT";
	size_t            length = strlen(given->letters);

	if (letter < USAGE_LONG_ONLY && !has(given, (char)letter))
		given->letters[length] = (char)letter;
	if (letter < USAGE_LONG_ONLY && strchr(modes, letter) != NULL)
		dakconf->mode = (char)letter;
	switch (letter) {
	case 'c':
		dakconf->directory = optarg;
		dakconf->is_default_directory = strcmp(optarg, DEFAULT_CONFIG_DIRECTORY) == 0;
		break;
	case 'C': return parse_classes(dakconf, optarg);
	case 'o':
		return ARRAY_PUSH(&dakconf->overrides, optarg)
		               ? EX_OK
		               : dakconf_fail(dakconf, EX_OSERR, "out of memory");
	case 'T': given->tls = optarg; break;
	case OPTION_MDOC: manual_print(stdout); exit(EX_OK);
	}
	return EX_OK;
}

static void
set_flags(struct dakconf *dakconf, const struct given *given)
{
	dakconf->only_set = has(given, 'n');
	dakconf->defaults = has(given, 'd');
	dakconf->without_name = has(given, 'h');
	dakconf->without_value = has(given, 'H');
	dakconf->expanded = has(given, 'x');
	dakconf->folded = has(given, 'f');
	dakconf->as_json = has(given, 'j');
	dakconf->is_verbose = has(given, 'v');
	dakconf->is_quiet = has(given, 'q');
	if (has(given, 'e'))
		dakconf->change = CHANGE_SET;
	else if (has(given, 'X'))
		dakconf->change = CHANGE_REMOVE;
	else if (has(given, '#'))
		dakconf->change = CHANGE_COMMENT;
}

/* `dakconf name=value' needs no -e. */
static bool
looks_like_edit(const struct dakconf *dakconf, const struct given *given, char **arguments,
                int count)
{
	for (const char *letter = given->letters; *letter != '\0'; letter++)
		if (strchr("cpqv", *letter) == NULL && strchr("MFP", *letter) == NULL)
			return false;
	return dakconf->change == CHANGE_NONE && count > 0 &&
	       slice_contains_byte(slice_from(arguments[0]), '=');
}

static int
parse(struct dakconf *dakconf, struct given *given, int argc, char **argv)
{
	const char *environment = getenv("MAIL_CONFIG");
	int         letter, status = EX_OK;

	dakconf->directory = DEFAULT_CONFIG_DIRECTORY;
	dakconf->is_default_directory = true;
	if (environment != NULL && environment[0] != '\0') {
		dakconf->directory = environment;
		dakconf->is_default_directory = strcmp(environment, DEFAULT_CONFIG_DIRECTORY) == 0;
	}
	while (status == EX_OK && (letter = usage_next(&usage, argc, argv)) != -1) {
		if (letter == '?') {
			usage_print(stderr, dakconf->program, &usage);
			return dakconf->is_postconf ? EXIT_FAILURE : EX_USAGE;
		}
		status = take_option(dakconf, given, letter);
	}
	if (status != EX_OK)
		return status;
	set_flags(dakconf, given);
	if (looks_like_edit(dakconf, given, argv + optind, argc - optind))
		dakconf->change = CHANGE_SET;
	status = check_exclusive(dakconf, given);
	return status == EX_OK ? check_refusals(dakconf, given) : status;
}

/* ---- reading ---- */

static int
apply_overrides(struct dakconf *dakconf)
{
	for (size_t i = 0; i < dakconf->overrides.count; i++) {
		struct slice whole = slice_from(dakconf->overrides.items[i]), name;
		size_t       equals = slice_find_byte(whole, '=');

		name = slice_trim(slice_first(whole, equals));
		if (equals == SLICE_NOT_FOUND || !parameter_name_is_sound(name))
			return dakconf_fail(
				dakconf, EX_USAGE,
				"invalid parameter override: %s: missing '=' after attribute name",
				dakconf->overrides.items[i]);
		if (!values_set(&dakconf->configuration->values, name,
		                slice_trim(slice_from_offset(whole, equals + 1)), NULL, 0, true))
			return dakconf_fail(dakconf, EX_OSERR, "out of memory");
	}
	return EX_OK;
}

/* "open main.cf: No such file or directory", of a report that says why a file was not read. */
static const char *
unread(struct dakconf *dakconf, const struct report *report)
{
	const struct problem *problem = &report->list.items[0];
	struct slice          text = slice_from(problem->text), verb = SLICE("open: ");
	const char           *words;

	if (slice_starts_with(text, verb))
		text = slice_from_offset(text, verb.length);
	words = arena_format(&dakconf->arena, "open %s: %.*s", problem->file, SLICE_ARGS(text));
	return words == NULL ? "out of memory" : words;
}

/* EX_OK, or what to exit with; said why, in postconf's words. */
static int
check_line(const struct dakconf *dakconf, const struct lines *lines, struct slice line)
{
	const char  *path = dakconf->configuration->main.path;
	size_t       equals = slice_find_byte(line, '=');
	struct slice name = slice_trim(slice_first(line, equals)), shown = slice_first(line, 200);

	if (lines->is_orphan)
		dakconf_warn(dakconf, "%s: logical line must not start with whitespace: \"%.*s\"",
		             path, SLICE_ARGS(slice_first(buf_slice(&lines->text), 200)));
	else if (equals != SLICE_NOT_FOUND && slice_is_empty(name))
		return dakconf_fail(dakconf, EX_DATAERR,
		                    "%s, line %u: missing attribute name: \"%.*s\"", path,
		                    lines->first_number, SLICE_ARGS(shown));
	else if (equals == SLICE_NOT_FOUND || !parameter_name_is_sound(name))
		return dakconf_fail(dakconf, EX_DATAERR,
		                    "%s, line %u: missing '=' after attribute name: \"%.*s\"", path,
		                    lines->first_number, SLICE_ARGS(shown));
	return EX_OK;
}

/* The first error ends it, as nothing that is printed then could be trusted. */
static int
tell_problems(struct dakconf *dakconf, const struct report *report, bool is_read)
{
	struct lines lines;
	struct slice line;
	int          status = EX_OK;

	if (!is_read)
		return dakconf_fail(dakconf, EX_NOINPUT, "%s", unread(dakconf, report));
	lines_init(&lines, buf_slice(&dakconf->configuration->main.text));
	while (status == EX_OK && lines_next(&lines, &line))
		status = check_line(dakconf, &lines, line);
	lines_free(&lines);
	return status;
}

/* Of a name that stands there twice the last one counts. */
static void
tell_overridden(const struct dakconf *dakconf)
{
	const struct main_file *file = &dakconf->configuration->main;

	for (size_t i = 0; i < file->entries.count; i++) {
		const struct main_entry *entry = &file->entries.items[i], *earlier = NULL;

		for (size_t j = 0; j < i; j++)
			if (slice_equal(file->entries.items[j].name, entry->name))
				earlier = &file->entries.items[j];
		if (earlier != NULL)
			dakconf_warn(dakconf, "%s, line %u: overriding earlier entry: %.*s=%.*s",
			             file->path, entry->line, SLICE_ARGS(earlier->name),
			             SLICE_ARGS(slice_first(earlier->text, 1000)));
	}
}

static int
read_main(struct dakconf *dakconf)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;
	int                   status = EX_OK;

	dakconf->configuration = configuration;
	if (configuration == NULL)
		return dakconf_fail(dakconf, EX_OSERR, "out of memory");
	bool is_read = configuration_read_main(configuration, dakconf->directory, &report);
	/* Defaults can be shown without a main.cf. */
	if (!dakconf->defaults && dakconf->mode != 'M' && dakconf->mode != 'F')
		status = tell_problems(dakconf, &report, is_read);
	report_free(&report);
	if (status == EX_OK && dakconf->mode == 'p' && !dakconf->defaults)
		tell_overridden(dakconf);
	if (status == EX_OK)
		status = apply_overrides(dakconf);
	/* The directory counts as set when it is not the usual one. */
	if (status == EX_OK && !dakconf->is_default_directory &&
	    !values_set(&configuration->values, SLICE("config_directory"),
	                slice_from(dakconf->directory), NULL, 0, true))
		status = dakconf_fail(dakconf, EX_OSERR, "out of memory");
	return status;
}

static void
tell_remarks(const struct dakconf *dakconf)
{
	struct slice rest = buf_slice(&dakconf->master.remarks), line;

	while (slice_next_word(&rest, "\n", &line))
		dakconf_warn(dakconf, "%.*s", SLICE_ARGS(line));
}

/* Parameters can be shown without a master.cf; services cannot. */
static int
read_master(struct dakconf *dakconf)
{
	struct report report = REPORT_NONE;
	struct error  error = ERROR_NONE;
	struct buf    bytes = BUF(LINES_FILE_MOST + 8192);
	const char   *path = arena_format(&dakconf->arena, "%s/master.cf", dakconf->directory);
	int           status = EX_OK;

	if (path == NULL)
		return dakconf_fail(dakconf, EX_OSERR, "out of memory");
	if (lines_read_file(path, &bytes, &report)) {
		if (!master_text_parse(&dakconf->master, path, buf_slice(&bytes), &error))
			status = dakconf_fail(dakconf, EX_DATAERR, "%s", error.text);
		tell_remarks(dakconf);
	} else if (dakconf->mode == 'p') {
		dakconf_warn(dakconf, "%s", unread(dakconf, &report));
	} else {
		status = dakconf_fail(dakconf, EX_NOINPUT, "%s", unread(dakconf, &report));
	}
	report_free(&report);
	buf_free(&bytes);
	return status;
}

/* ---- what is asked for ---- */

static int
change(struct dakconf *dakconf, char **arguments, int count)
{
	if (count == 0 && dakconf->change == CHANGE_SET)
		return dakconf_fail(dakconf, EX_USAGE, "-e requires name=value argument");
	if (count == 0)
		return dakconf_fail(dakconf, EX_USAGE, "missing service argument");
	return dakconf->mode == 'p' ? edit_main(dakconf, arguments, count)
	                            : edit_master(dakconf, arguments, count);
}

static int
show(struct dakconf *dakconf, char **arguments, int count)
{
	int status = read_main(dakconf);

	if (status == EX_OK)
		status = read_master(dakconf);
	if (status != EX_OK || !known_prepare(dakconf))
		return status != EX_OK ? status : dakconf_fail(dakconf, EX_OSERR, "out of memory");
	if (dakconf->mode == 'b' || dakconf->mode == 't')
		return lists_print(dakconf, arguments, count);
	return dakconf->mode == 'p' ? show_parameters(dakconf, arguments, count)
	                            : show_master(dakconf, arguments, count);
}

static void
release(struct dakconf *dakconf)
{
	configuration_destroy(&dakconf->configuration);
	master_text_free(&dakconf->master);
	hash_free(&dakconf->referred, NULL);
	ARRAY_FREE(&dakconf->overrides);
	arena_reset(&dakconf->arena);
}

int
main(int argc, char **argv)
{
	struct dakconf dakconf = { .program = usage_program(argv[0]),
		                   .mode = 'p',
		                   .classes = CLASS_ALL,
		                   .arena = ARENA(64u * 1024 * 1024) };
	struct given   given = { .tls = NULL };
	int            status;

	if (!file_open_standard())
		return EX_OSERR;
	if (version_asked(argc, argv))
		return EX_OK;
	dakconf.is_postconf = strcmp(dakconf.program, "postconf") == 0;
	status = parse(&dakconf, &given, argc, argv);
	argv += optind;
	argc -= optind;
	if (status != EX_OK)
		;
	else if (dakconf.change != CHANGE_NONE)
		status = change(&dakconf, argv, argc);
	else if (strchr("aAlm", dakconf.mode) != NULL)
		status = lists_print(&dakconf, argv, argc);
	else if (dakconf.mode == 'T')
		status = lists_print(&dakconf, (char **)(uintptr_t)&given.tls, 1);
	else
		status = show(&dakconf, argv, argc);
	release(&dakconf);
	if (fflush(stdout) != 0 && status == EX_OK)
		status = dakconf_fail(&dakconf, EX_IOERR, "standard output cannot be written");
	return status;
}
