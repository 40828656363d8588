/* usage.c - see usage.h. */
#include "lib/base/usage.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MOST 64
#define LETTER_MOST  127

enum { ASKS_HELP = 10000, ASKS_COMPLETION };

const char *
usage_program(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return slash == NULL ? argv0 : slash + 1;
}

bool
usage_has_colour(FILE *to)
{
	const char *refused = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return (refused == NULL || refused[0] == '\0') && isatty(fileno(to)) && terminal != NULL &&
	       strcmp(terminal, "dumb") != 0;
}

static void
print_heading(FILE *to, const char *text)
{
	if (usage_has_colour(to))
		fprintf(to, "\n\033[1m%s\033[0m\n", text);
	else
		fprintf(to, "\n%s\n", text);
}

/* "-c DIRECTORY, --config DIRECTORY" in its column, and the meaning behind it. */
static void
print_option(FILE *to, const struct usage_option *option)
{
	char text[200];
	int  length = 0;

	if (option->letter <= LETTER_MOST)
		length = snprintf(text, sizeof(text), "-%c%s%s", option->letter,
		                  option->argument == NULL ? "" : " ",
		                  option->argument == NULL ? "" : option->argument);
	if (option->name != NULL && length >= 0 && (size_t)length < sizeof(text))
		snprintf(text + length, sizeof(text) - (size_t)length, "%s--%s%s%s",
		         length > 0 ? ", " : "", option->name, option->argument == NULL ? "" : " ",
		         option->argument == NULL ? "" : option->argument);
	fprintf(to, "  %-22s %s\n", text, option->meaning);
}

static void
print_commands(FILE *to, const struct usage_command *commands)
{
	char text[200];

	print_heading(to, "commands:");
	for (; commands->name != NULL; commands++) {
		snprintf(text, sizeof(text), "%s%s%s", commands->name,
		         commands->arguments[0] == '\0' ? "" : " ", commands->arguments);
		if (strlen(text) > 40)
			fprintf(to, "  %s\n  %-40s %s\n", text, "", commands->meaning);
		else
			fprintf(to, "  %-40s %s\n", text, commands->meaning);
	}
}

void
usage_print(FILE *to, const char *program, const struct usage *usage)
{
	for (size_t i = 0; usage->forms[i] != NULL; i++)
		fprintf(to, "%s %s %s\n", i == 0 ? "usage:" : "      ", program, usage->forms[i]);
	if (usage->commands != NULL)
		print_commands(to, usage->commands);
	print_heading(to, "options:");
	for (const struct usage_option *option = usage->options; option->letter != 0; option++)
		print_option(to, option);
	fprintf(to, "  %-22s %s\n", "--help", "this text");
	fprintf(to, "  %-22s %s\n", "--version", "name and version");
	if (usage->notes != NULL)
		fprintf(to, "\n%s", usage->notes);
}

void
usage_print_words(FILE *to, const struct usage *usage)
{
	for (const struct usage_command *command = usage->commands;
	     command != NULL && command->name != NULL; command++)
		fprintf(to, "%s\n", command->name);
	for (const struct usage_option *option = usage->options; option->letter != 0; option++) {
		if (option->letter <= LETTER_MOST)
			fprintf(to, "-%c\n", option->letter);
		if (option->name != NULL)
			fprintf(to, "--%s\n", option->name);
	}
	fputs("--help\n--version\n", to);
}

static void
make_tables(const struct usage *usage, char *letters, struct option *longs)
{
	size_t count = 0;

	for (const struct usage_option *option = usage->options;
	     option->letter != 0 && count < OPTIONS_MOST; option++) {
		int has_argument = option->argument == NULL ? no_argument : required_argument;

		if (option->letter <= LETTER_MOST) {
			*letters++ = (char)option->letter;
			if (option->argument != NULL)
				*letters++ = ':';
		}
		if (option->name != NULL)
			longs[count++] =
				(struct option){ option->name, has_argument, NULL, option->letter };
	}
	*letters = '\0';
	longs[count++] = (struct option){ "help", no_argument, NULL, ASKS_HELP };
	longs[count++] = (struct option){ "complete", no_argument, NULL, ASKS_COMPLETION };
	longs[count] = (struct option){ NULL, 0, NULL, 0 };
}

int
usage_next(const struct usage *usage, int argc, char **argv)
{
	char          letters[2 * OPTIONS_MOST + 1];
	struct option longs[OPTIONS_MOST + 3];
	int           option;

	make_tables(usage, letters, longs);
	option = getopt_long(argc, argv, letters, longs, NULL);
	if (option == ASKS_HELP)
		usage_print(stdout, usage_program(argv[0]), usage);
	else if (option == ASKS_COMPLETION)
		usage_print_words(stdout, usage);
	else
		return option;
	exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}
