/*
 * arguments.c - dakqueue's own commands, and the options of the Postfix commands whose names it
 * answers to: postqueue, mailq, postsuper, postcat.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/dakqueue/dakqueue.h"

/* clang-format off */
static const struct command commands[] = {
	{ "list",    VERB_LIST, 0,                 false, NULL, NULL,                 "list [-j] [-i ID] [-s SITE] [which ...]   what is in the queue", false },
	{ "show",    VERB_SHOW, 0,                 true,  NULL, NULL,                 "show [-ehb] ID ...            a message: envelope, header, body", false },
	{ "flush",   VERB_ACT,  QUEUE_ACT_FLUSH,   false, NULL, NULL,                 "flush [ID ... | -s SITE]      try to deliver now", false },
	{ "delete",  VERB_ACT,  QUEUE_ACT_DELETE,  true,  "Deleted", "removed",       "delete ID ... | ALL | -       without a notice to anybody", false },
	{ "hold",    VERB_ACT,  QUEUE_ACT_HOLD,    true,  "Placed on hold", "placed on hold", "hold ID ... | ALL | -         do not try any more", false },
	{ "release", VERB_ACT,  QUEUE_ACT_RELEASE, true,  "Released from hold", "released from hold", "release ID ... | ALL | -      try again", false },
	{ "requeue", VERB_ACT,  QUEUE_ACT_REQUEUE, true,  "Requeued", "requeued",     "requeue ID ... | ALL | -      route anew and try now", false },
	{ "expire",  VERB_ACT,  QUEUE_ACT_EXPIRE,  true,  "Force-expired", "expired", "expire ID ... | ALL | -       return to the sender; what is on hold when it is released", false },
	{ "force",   VERB_ACT,  QUEUE_ACT_EXPIRE,  true,  "Force-expired", "expired", "force ID ... | ALL | -        the same, and what is on hold is released", true },
	{ "why",     VERB_WHY,  0,                 true,  NULL, NULL,                 "why [-j] ID ...               when and why the next attempt comes", false },
	{ "suspend", VERB_SUSPEND, 0,              true,  NULL, NULL,                 "suspend DOMAIN | TRANSPORT:[NEXTHOP] ... [--for 2h] [--reason TEXT]", false },
	{ "resume",  VERB_RESUME, 0,               true,  NULL, NULL,                 "resume DOMAIN | TRANSPORT:[NEXTHOP] ...", false },
	{ "suspended", VERB_SUSPENDED, 0,          false, NULL, NULL,                 "suspended [-j]                destinations that are suspended or dead", false },
	{ "summary", VERB_SUMMARY, 0,              false, NULL, NULL,                 "summary [-jslp] [-b BUCKETS] [-t MINUTES] [QUEUE ...] [which ...]   by domain and age", false },
	/* postsuper's upkeep of the directories: qmgr does that at every start. */
	{ "",        VERB_NOTHING, 0,              false, NULL, NULL,                 "", false },
};

/* An option that is a command; it takes an id where the option string has a colon. */
struct letter {
	char        letter;
	const char *command;
};
static const struct letter postqueue_letters[] = { { 'p', "list" }, { 'j', "list" }, { 'f', "flush" }, { 'i', "flush" }, { 's', "flush" }, { 0, NULL } };
static const struct letter postsuper_letters[] = { { 'd', "delete" }, { 'e', "expire" }, { 'f', "force" }, { 'h', "hold" }, { 'H', "release" }, { 'r', "requeue" }, { 'p', "" }, { 's', "" }, { 'S', "" }, { 0, NULL } };
static const struct letter no_letters[] = { { 0, NULL } };

enum persona_flag { TAKES_COMMANDS = 1, IS_POSTQUEUE = 2, IS_POSTSUPER = 4, IS_POSTCAT = 8, IS_QSHAPE = 16 };
static const struct persona {
	const char          *name;
	const char          *options;
	const struct letter *letters;
	unsigned             flags;
	const char          *first; /* the command when none is given */
	const char          *usage;
} personas[] = {
	{ "postqueue", "+c:fi:jps:v",     postqueue_letters, IS_POSTQUEUE,   NULL,   "[-v] [-c directory] -p | -j | -f | -i ID | -s SITE" },
	{ "mailq",     "+c:jpv",          postqueue_letters, IS_POSTQUEUE,   "list", "[-j] [-c directory]" },
	{ "postsuper", "+c:d:e:f:h:H:r:psSv", postsuper_letters, IS_POSTSUPER, NULL, "[-v] [-c directory] [-psS] -d|-e|-f|-h|-H|-r ID|ALL|- ... [queue ...]" },
	{ "postcat",   "+c:bdefhnoqrs:v", no_letters,        IS_POSTCAT,     "show", "[-v] [-c directory] [-bdefhor] [-q] ID | file ..." },
	{ "qshape",    "",                no_letters,        IS_QSHAPE,      "summary", "[-spl] [-m subdomains] [-b buckets] [-t minutes] [-w width] [-N count] [-n domains] [-c directory] [queue ...]" },
	{ "dakqueue",  "+c:beh" "jpfi:s:v", postqueue_letters, TAKES_COMMANDS, NULL, "[-c directory] command" },
};
/* clang-format on */
#define PERSONA_COUNT (sizeof(personas) / sizeof(personas[0]))

static const struct persona *
persona_find(const char *name)
{
	size_t i = 0;

	while (i + 1 < PERSONA_COUNT && strcmp(personas[i].name, name) != 0)
		i++;
	return &personas[i]; /* the last one by any other name */
}

void
arguments_usage(FILE *to, const char *name)
{
	const struct persona *persona = persona_find(name);

	fprintf(to, "usage: %s %s\n", name, persona->usage);
	if ((persona->flags & TAKES_COMMANDS) == 0)
		return;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].verb != VERB_NOTHING)
			fprintf(to, "       %s %s\n", name, commands[i].help);
	fprintf(to,
	        "       which: --sender, --recipient, --domain, --reason, --transport, --nexthop "
	        "PATTERN\n              --older, --newer AGE  --larger, --smaller SIZE  --state "
	        "QUEUE,...  --dry-run  --json\n");
	fprintf(to, "       %s -p | -j | -f | -i ID | -s SITE    as postqueue\n", name);
}

/* The options with one letter: getopt's string without its colons and the plus. */
static void
letters_print(FILE *to, const char *options)
{
	for (; *options != '\0'; options++)
		if (*options != ':' && *options != '+')
			fprintf(to, "-%c\n", *options);
}

void
arguments_words(FILE *to, const char *name)
{
	const struct persona *persona = persona_find(name);

	fputs("--help\n--version\n", to);
	letters_print(to, (persona->flags & IS_QSHAPE) != 0 ? SUMMARY_OPTIONS : persona->options);
	if ((persona->flags & (IS_QSHAPE | IS_POSTSUPER)) != 0)
		for (uint32_t i = 0; i < QUEUE_STATES; i++)
			fprintf(to, "%s\n", state_name(i));
	if ((persona->flags & TAKES_COMMANDS) == 0)
		return;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].verb != VERB_NOTHING)
			fprintf(to, "%s\n", commands[i].name);
	for (uint32_t i = 0; i < QUEUE_STATES; i++)
		fprintf(to, "summary %s\n", state_name(i));
	select_words(to);
}

static const struct command *
command_find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* The step with that command, a new one at its first mention; NULL when memory is out. */
static struct step *
step_of(struct arguments *arguments, const struct command *command, int argc)
{
	struct step *step = arguments->steps;

	for (size_t i = 0; i < arguments->step_count; i++, step++)
		if (step->command == command)
			return step;
	if (arguments->step_count == STEPS_MOST)
		return NULL;
	step->ids = calloc((size_t)argc + 1, sizeof(char *));
	step->command = command;
	if (step->ids != NULL)
		arguments->step_count++;
	return step->ids == NULL ? NULL : step;
}

/* The letters of postqueue and postsuper that are commands. */
static bool
letter_take(struct arguments *arguments, const struct persona *persona, int option, int argc)
{
	const struct letter *row = persona->letters;

	while (row->letter != 0 && row->letter != option)
		row++;
	if (row->letter == 0)
		return false;
	/* Two of them are two wishes, of which one would be forgotten. */
	if ((option == 'i' && arguments->list_id != NULL) ||
	    (option == 's' && arguments->site != NULL))
		return false;
	if (option == 'j')
		arguments->form = LIST_JSON;
	if (option == 's' && (persona->flags & IS_POSTSUPER) == 0)
		arguments->site = optarg;
	if (option == 'i')
		arguments->list_id = optarg;
	/* Behind a command of dakqueue's own they only say more of it. */
	if ((persona->flags & TAKES_COMMANDS) != 0 && arguments->step_count > 0)
		return true;
	struct step *step = step_of(arguments, command_find(row->command), argc);
	if (step != NULL && (persona->flags & IS_POSTSUPER) != 0 && step->command->verb == VERB_ACT)
		step->ids[step->id_count++] = optarg;
	return step != NULL;
}

static bool
option_take(struct arguments *arguments, const struct persona *persona, int option, int argc)
{
	bool shows = (persona->flags & (IS_POSTCAT | TAKES_COMMANDS)) != 0;

	switch (option) {
	case 'c': arguments->config_directory = optarg; return true;
	case 'v': return true;
	case 'q': return true; /* the queue is all that we show */
	case 'd':              /* how the records of another queue are printed */
	case 'f':
	case 'n':
	case 'o':
	case 'r':
	case 's':
		if ((persona->flags & IS_POSTCAT) != 0)
			return true;
		break;
	case 'e':
		if (shows)
			arguments->parts |= SHOW_ENVELOPE;
		break;
	case 'h':
		if (shows)
			arguments->parts |= SHOW_HEADER;
		break;
	case 'b': arguments->parts |= SHOW_BODY; break;
	case '?': return false;
	default: break;
	}
	return (shows && strchr("ehb", option) != NULL) ||
	       letter_take(arguments, persona, option, argc);
}

/* "postsuper -d ALL deferred": the queues that are meant. */
static bool
queues_take(struct arguments *arguments, char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!state_parse(slice_from(names[i]), &arguments->states))
			return false;
	return true;
}

/* Conditions and ids exclude each other: one of them would be a surprise. */
static bool
which_is_clear(const struct arguments *arguments, const struct step *step)
{
	bool is_all = step->id_count == 1 && strcmp(step->ids[0], "ALL") == 0;
	bool is_suspend = step->command->verb == VERB_SUSPEND;

	if (arguments->for_s > 0 && !is_suspend)
		return false;
	if (is_suspend)
		return !arguments->is_dry_run;
	if (step->command->verb != VERB_ACT)
		return !arguments->is_selected && !arguments->is_dry_run;
	if (!arguments->is_selected && !arguments->is_dry_run)
		return true;
	if (arguments->site != NULL)
		return false;
	return arguments->is_selected ? step->id_count == 0 || is_all : is_all;
}

/* "dakqueue [-c directory] summary ..."; the rest is as qshape's. */
static int
summary_at(const struct persona *persona, int argc, char **argv)
{
	int at = argc > 3 && strcmp(argv[1], "-c") == 0 ? 3 : 1;

	if ((persona->flags & TAKES_COMMANDS) == 0 || at >= argc ||
	    strcmp(argv[at], "summary") != 0)
		return 0;
	return at;
}

static bool
summary_take(struct arguments *arguments, const struct persona *persona, int at, int argc,
             char **argv)
{
	bool is_qshape = (persona->flags & IS_QSHAPE) != 0;

	if (at == 3)
		arguments->config_directory = argv[2];
	arguments->is_selected = true;
	return step_of(arguments, command_find("summary"), argc) != NULL &&
	       summary_read(arguments, argc - at, argv + at,
	                    is_qshape ? 1u << QUEUE_INCOMING | 1u << QUEUE_ACTIVE : 0);
}

/* What is left after the options: ids for the command, or queues. */
static bool
rest_take(struct arguments *arguments, const struct persona *persona, char **rest, int argc)
{
	struct step *step = arguments->steps;

	if (arguments->step_count == 0 && persona->first != NULL &&
	    step_of(arguments, command_find(persona->first), argc) == NULL)
		return false;
	/* Without an option it looks after the directories, as with -s. */
	if (arguments->step_count == 0 && (persona->flags & IS_POSTSUPER) == 0)
		return false;
	if ((persona->flags & IS_POSTSUPER) != 0)
		return queues_take(arguments, rest, (size_t)argc);
	if ((persona->flags & IS_POSTQUEUE) != 0 && (argc > 0 || arguments->step_count != 1))
		return false;
	/* A file of the queue, as postcat is given it, is called by its id. */
	for (int i = 0; i < argc; i++) {
		char *slash = (persona->flags & IS_POSTCAT) != 0 ? strrchr(rest[i], '/') : NULL;

		step->ids[step->id_count++] = slash == NULL ? rest[i] : slash + 1;
	}
	if (step->command->verb == VERB_LIST || step->command->verb == VERB_SUSPENDED)
		return step->id_count == 0;
	if (!which_is_clear(arguments, step))
		return false;
	if (step->command->verb == VERB_ACT && (arguments->is_selected || arguments->is_dry_run))
		return true;
	if (arguments->list_id != NULL && step->id_count == 0)
		step->ids[step->id_count++] = (char *)(uintptr_t)arguments->list_id;
	return !step->command->needs_id || step->id_count > 0 ||
	       (arguments->site != NULL && step->command->verb == VERB_ACT);
}

bool
arguments_read(struct arguments *arguments, const char *name, int argc, char **argv)
{
	const struct persona *persona = persona_find(name);
	int                   option;

	arguments->is_postfix = (persona->flags & TAKES_COMMANDS) == 0;
	arguments->tells_each = (persona->flags & IS_POSTSUPER) != 0;
	arguments->summary = (struct summary_options){ .least_subdomains = 5,
		                                       .buckets = 10,
		                                       .first_minutes = 5,
		                                       .width = 80,
		                                       .top_domains = 20 };
	if ((persona->flags & TAKES_COMMANDS) != 0 && !select_read(arguments, &argc, argv))
		return false;
	int at = summary_at(persona, argc, argv);
	if (at > 0 || (persona->flags & IS_QSHAPE) != 0)
		return summary_take(arguments, persona, at, argc, argv);
	/* Options may stand in front of dakqueue's command and behind it. */
	for (;;) {
		while ((option = getopt(argc, argv, persona->options)) != -1)
			if (!option_take(arguments, persona, option, argc))
				return false;
		if ((persona->flags & TAKES_COMMANDS) == 0 || optind >= argc)
			break;
		const struct command *command = command_find(argv[optind]);
		if (command == NULL || command->verb == VERB_NOTHING || arguments->step_count > 0)
			break;
		if (step_of(arguments, command, argc) == NULL)
			return false;
		optind++;
	}
	if (arguments->parts == 0)
		arguments->parts = SHOW_ALL;
	if ((persona->flags & IS_POSTCAT) != 0)
		arguments->parts |= SHOW_EMPTY_LINE;
	return rest_take(arguments, persona, argv + optind, argc - optind);
}

void
arguments_free(struct arguments *arguments)
{
	for (size_t i = 0; i < arguments->step_count; i++)
		free(arguments->steps[i].ids);
	*arguments = (struct arguments){ 0 };
}
