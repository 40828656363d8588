/* main.c - daklog(1), postlog: a line in the mail system's log, for scripts. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syslog.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/conf/configuration.h"
#include "lib/conf/places.h"
#include "lib/conf/version.h"
#include "lib/io/file.h"

#define DEFAULT_CONFIG_DIRECTORY PLACE_CONFIG
#define NAME_MOST                300
#define TEXT_MOST                (1u << 20)

struct priority {
	const char *name;
	int         severity;
	const char *label;
};

struct tool {
	const char            *name;
	const char            *config_directory;
	const struct priority *priority;
	const char            *tag; /* NULL = syslog_name and the program's name */
	char                   syslog_name[NAME_MOST], maillog_file[NAME_MOST], facility[NAME_MOST];
};

static const struct priority priorities[] = {
	{ "info", LOG_INFO, "" },
	{ "warn", LOG_WARNING, "warning: " },
	{ "warning", LOG_WARNING, "warning: " },
	{ "error", LOG_ERR, "error: " },
	{ "fatal", LOG_CRIT, "fatal: " },
	{ "panic", LOG_CRIT, "panic: " },
	{ "debug", LOG_DEBUG, "" },
};
#define PRIORITY_COUNT (sizeof(priorities) / sizeof(priorities[0]))

static const char usage[] =
	"usage: %s [-iv] [-c directory] [-p info|warn|error|fatal|panic] [-t tag] [text ...]\n"
	"Without text each line of standard input is logged. See daklog(1).\n";

/* ---- configuration ---- */

static bool
setting(const struct configuration *configuration, const char *name, char value[NAME_MOST])
{
	const struct settings *settings = &configuration->settings;
	struct buf             out = BUF(NAME_MOST - 1);
	struct error           error = ERROR_NONE;
	struct slice           text;
	bool                   is_good;

	is_good = settings_text(settings, slice_from(name), &text) &&
	          settings_expand(settings, NULL, slice_from(name), text, &out, &error);
	if (is_good)
		snprintf(value, NAME_MOST, "%s", buf_text(&out));
	buf_free(&out);
	return is_good;
}

/* A script's line is logged also when main.cf is broken: perhaps it is about that. */
static void
config_read(struct tool *tool)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;

	snprintf(tool->syslog_name, NAME_MOST, "postfix");
	snprintf(tool->facility, NAME_MOST, "mail");
	tool->maillog_file[0] = '\0';
	if (configuration == NULL ||
	    !configuration_read_main(configuration, tool->config_directory, &report)) {
		fprintf(stderr, "%s: warning: %s/main.cf cannot be read\n", tool->name,
		        tool->config_directory);
	} else {
		setting(configuration, "syslog_name", tool->syslog_name);
		setting(configuration, "syslog_facility", tool->facility);
		setting(configuration, "maillog_file", tool->maillog_file);
	}
	report_free(&report);
	configuration_destroy(&configuration);
}

/* ---- the log ---- */

static int
facility_number(const char *name)
{
	static const struct {
		const char *name;
		int         number;
	} rows[] = { { "auth", LOG_AUTH },     { "cron", LOG_CRON },     { "daemon", LOG_DAEMON },
		     { "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 },
		     { "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 }, { "local5", LOG_LOCAL5 },
		     { "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 }, { "news", LOG_NEWS },
		     { "user", LOG_USER },     { "uucp", LOG_UUCP } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].number;
	return LOG_MAIL;
}

static int
connect_syslog(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	int                fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* maillog_file, as the daemons write to it, when the caller may; otherwise syslog. */
static int
log_find(const struct tool *tool, enum log_target *target)
{
	int fd = -1;

	*target = LOG_TO_STREAM;
	if (tool->maillog_file[0] != '\0')
		fd = open(tool->maillog_file,
		          O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (fd >= 0)
		return fd;
	*target = LOG_TO_SYSLOG;
	return connect_syslog();
}

static int
begin(const struct tool *tool)
{
	enum log_target target;
	char            name[2 * NAME_MOST], host[256] = "localhost";
	int             fd = log_find(tool, &target);

	if (fd < 0) {
		fprintf(stderr, "%s: fatal: neither %s nor /dev/log can be written to\n",
		        tool->name,
		        tool->maillog_file[0] == '\0' ? "maillog_file (not set)"
		                                      : tool->maillog_file);
		return EX_UNAVAILABLE;
	}
	gethostname(host, sizeof(host) - 1);
	host[strcspn(host, ".")] = '\0';
	if (tool->tag != NULL)
		snprintf(name, sizeof(name), "%s", tool->tag);
	else
		snprintf(name, sizeof(name), "%s/%s", tool->syslog_name, tool->name);
	log_open(name, host, target, fd, facility_number(tool->facility));
	return EX_OK;
}

/* Whoever sits at a terminal sees what he logs. */
static void
line_log(const struct tool *tool, const char *text)
{
	log_labelled(tool->priority->severity, tool->priority->label, "%s", text);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "%s: %s%s\n", tool->name, tool->priority->label, text);
}

static int
lines_log(const struct tool *tool)
{
	char   *line = NULL;
	size_t  size = 0;
	ssize_t length;

	while ((length = getline(&line, &size, stdin)) >= 0) {
		if (length > 0 && line[length - 1] == '\n')
			line[length - 1] = '\0';
		line_log(tool, line);
	}
	free(line);
	return ferror(stdin) ? EX_IOERR : EX_OK;
}

static int
words_log(const struct tool *tool, int argc, char **argv)
{
	struct buf text = BUF(TEXT_MOST);

	for (int i = 0; i < argc; i++) {
		if (i > 0)
			buf_append_byte(&text, ' ');
		buf_append_text(&text, argv[i]);
	}
	line_log(tool, buf_text(&text));
	buf_free(&text);
	return EX_OK;
}

/* ---- the start ---- */

static bool
priority_take(struct tool *tool, const char *name)
{
	for (size_t i = 0; i < PRIORITY_COUNT; i++) {
		if (strcmp(name, priorities[i].name) != 0)
			continue;
		tool->priority = &priorities[i];
		return true;
	}
	fprintf(stderr, "%s: fatal: %s: the priorities are info, warn, error, fatal, panic\n",
	        tool->name, name);
	return false;
}

static bool
options_read(struct tool *tool, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "+c:ip:t:v")) != -1) {
		switch (option) {
		case 'c': tool->config_directory = optarg; break;
		case 'i': /* the process id always stands there */
		case 'v': break;
		case 'p':
			if (!priority_take(tool, optarg))
				return false;
			break;
		case 't': tool->tag = optarg; break;
		default: fprintf(stderr, usage, tool->name); return false;
		}
	}
	return true;
}

int
main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/'), *config = getenv("MAIL_CONFIG");
	struct tool tool = { .name = slash == NULL ? argv[0] : slash + 1,
		             .config_directory = config == NULL || config[0] == '\0'
		                                         ? DEFAULT_CONFIG_DIRECTORY
		                                         : config,
		             .priority = &priorities[0] };

	if (!file_open_standard())
		return EX_OSERR;
	if (version_asked(argc, argv))
		return EX_OK;
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		printf(usage, tool.name);
		return EX_OK;
	}
	if (!options_read(&tool, argc, argv))
		return EX_USAGE;
	config_read(&tool);
	int code = begin(&tool);
	if (code != EX_OK)
		return code;
	return optind < argc ? words_log(&tool, argc - optind, argv + optind) : lines_log(&tool);
}
