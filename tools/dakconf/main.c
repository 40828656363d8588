/* main.c - dakconf(1): shows and sets the parameters of the mail system. */
#include "tools/dakconf/dakconf.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/conf/version.h"
#include "lib/table/table.h"

#define DEFAULT_CONFIG_DIRECTORY "/etc/dakiya"

static void
print_help(FILE *to)
{
	fprintf(to, "usage: dakconf [-c directory] [-dhnpx] [name ...]\n"
	            "       dakconf [-c directory] -e name=value ...\n"
	            "       dakconf [-c directory] -M [service ...]\n"
	            "       dakconf -m | --mdoc | --help\n\n"
	            "  -d  defaults instead of what is set\n"
	            "  -e  set parameters in main.cf; comments and order stay\n"
	            "  -h  values without \"name = \"\n"
	            "  -M  the services of master.cf\n"
	            "  -m  the types of tables\n"
	            "  -n  only what is set in main.cf\n"
	            "  -p  parameters of main.cf (the default)\n"
	            "  -x  with $names expanded\n");
}

struct arguments {
	const char *directory;
	struct show show;
	char        mode; /* 'p', 'M', 'm' or 'e' */
};

static void
take_long_option(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			print_help(stdout);
			exit(EX_OK);
		}
		if (strcmp(argv[i], "--mdoc") == 0) {
			manual_print(stdout);
			exit(EX_OK);
		}
	}
}

static void
parse(struct arguments *arguments, int argc, char **argv)
{
	int option;

	arguments->directory = getenv("MAIL_CONFIG");
	if (arguments->directory == NULL || arguments->directory[0] == '\0')
		arguments->directory = DEFAULT_CONFIG_DIRECTORY;
	while ((option = getopt(argc, argv, "c:dehMmnpx")) != -1) {
		switch (option) {
		case 'c': arguments->directory = optarg; break;
		case 'd': arguments->show.defaults = true; break;
		case 'h': arguments->show.without_name = true; break;
		case 'n': arguments->show.only_set = true; break;
		case 'x': arguments->show.expanded = true; break;
		case 'e':
		case 'M':
		case 'm':
		case 'p': arguments->mode = (char)option; break;
		default: print_help(stderr); exit(EX_USAGE);
		}
	}
}

static int
print_types(void)
{
	for (const char *const *name = table_type_names(); *name != NULL; name++)
		printf("%s\n", *name);
	return EX_OK;
}

static void
print_problems(const struct report *report)
{
	struct buf text = BUF(1024u * 1024);

	report_append(report, false, &text);
	fprintf(stderr, "%s", buf_text(&text));
	buf_free(&text);
}

static int
print_services(const struct arguments *arguments, char **names, int count)
{
	struct master_file file;
	struct report      report = REPORT_NONE;
	struct buf         path = BUF(8192);
	int                status = EX_OK;

	buf_append_format(&path, "%s/master.cf", arguments->directory);
	if (!master_file_read(&file, buf_text(&path), &report))
		status = EX_NOINPUT;
	else if (count == 0)
		show_services(&file, NULL);
	for (int i = 0; status == EX_OK && i < count; i++) {
		if (!show_services(&file, names[i])) {
			fprintf(stderr, "dakconf: warning: %s: no such service\n", names[i]);
			status = EX_DATAERR;
		}
	}
	print_problems(&report);
	buf_free(&path);
	master_file_free(&file);
	report_free(&report);
	return status;
}

static int
print_parameters(struct arguments *arguments, char **names, int count)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;
	int                   status = EX_OK;

	if (configuration == NULL)
		return EX_OSERR;
	/* Defaults can be shown without a main.cf. */
	if (!configuration_read_main(configuration, arguments->directory, &report) &&
	    !arguments->show.defaults)
		status = EX_NOINPUT;
	arguments->show.configuration = configuration;
	if (status == EX_OK && count == 0)
		show_all(&arguments->show);
	for (int i = 0; status != EX_NOINPUT && i < count; i++) {
		if (!show_name(&arguments->show, names[i])) {
			fprintf(stderr, "dakconf: warning: %s: unknown parameter\n", names[i]);
			status = EX_DATAERR;
		}
	}
	if (!arguments->show.defaults)
		print_problems(&report);
	configuration_destroy(&configuration);
	report_free(&report);
	return status;
}

int
main(int argc, char **argv)
{
	struct arguments arguments = { .mode = 'p' };

	if (version_asked(argc, argv))
		return EX_OK;
	take_long_option(argc, argv);
	parse(&arguments, argc, argv);
	argv += optind;
	argc -= optind;
	switch (arguments.mode) {
	case 'm': return print_types();
	case 'M': return print_services(&arguments, argv, argc);
	case 'e': return edit_main(arguments.directory, argv, argc);
	default: return print_parameters(&arguments, argv, argc);
	}
}
