/* main.c - sendmail(1): what every program on this host calls to send mail. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/conf/places.h"
#include "lib/conf/version.h"
#include "lib/io/file.h"
#include "lib/mail/address.h"
#include "lib/table/table.h"
#include "lib/table/userlist.h"
#include "tools/sendmail/sendmail.h"

#define DEFAULT_CONFIG_DIRECTORY PLACE_CONFIG
#define HEADER_MOST              (16u << 20)
#define PATH_BYTES               4096
#define ALIAS_TABLES_MOST        50

static const char help[] =
	"usage: sendmail [options] [recipient ...] <message\n"
	"       sendmail -t [options] [recipient ...] <message   recipients from the header, too\n"
	"       sendmail -bv [options] recipient ...             reports on them by mail, no "
	"message\n"
	"       sendmail -bs                                     SMTP on standard input\n"
	"       sendmail -bp | -bi | -q                          mailq, newaliases, flush the "
	"queue\n"
	"options: -f SENDER -F FULLNAME -i -N never|success,failure,delay -R full|hdrs -V ENVID\n"
	"         -v -B 7BIT|8BITMIME -C DIRECTORY -O name=value; others of Sendmail's are "
	"ignored.\n"
	"See sendmail(1).\n";
static const char postdrop_help[] =
	"postdrop is not needed here: sendmail(1) leaves a message in the maildrop directory "
	"itself,\n"
	"without any rights of its own. Its record format is nobody's interface.\n";

/* ---- complaints ---- */

int
complain(const struct tool *tool, int code, const char *format, ...)
{
	struct buf text = BUF(4000), line = BUF(4000);
	va_list    arguments;

	va_start(arguments, format);
	buf_append_vformat(&text, format, arguments);
	va_end(arguments);
	buf_append_printable(&line, buf_slice(&text));
	if (tool->has_user)
		fprintf(stderr, "%s: fatal: %s(%u): %s\n", tool->name, tool->user, tool->uid,
		        buf_text(&line));
	else
		fprintf(stderr, "%s: fatal: %s\n", tool->name, buf_text(&line));
	buf_free(&text);
	buf_free(&line);
	return code;
}

void
warn(const struct tool *tool, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: warning: ", tool->name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

/* ---- configuration ---- */

static const char *
setting(struct tool *tool, const char *name)
{
	const struct settings *settings = &tool->configuration->settings;
	struct buf             out = BUF(SETTINGS_TEXT_MOST);
	struct error           error = ERROR_NONE;
	struct slice           text;
	const char            *value = NULL;

	if (settings_text(settings, slice_from(name), &text) &&
	    settings_expand(settings, NULL, slice_from(name), text, &out, &error))
		value = arena_text(&tool->arena, buf_slice(&out));
	buf_free(&out);
	return value;
}

static int
config_read(struct tool *tool)
{
	struct report report = REPORT_NONE;
	const char   *limit;
	int64_t       most = 0;

	tool->configuration = configuration_create();
	bool is_read =
		tool->configuration != NULL &&
		configuration_read_main(tool->configuration, tool->config_directory, &report);
	report_free(&report);
	if (!is_read)
		return complain(tool, EX_CONFIG, "%s/main.cf cannot be read",
		                tool->config_directory);
	tool->queue_directory = setting(tool, "queue_directory");
	tool->command_directory = setting(tool, "command_directory");
	tool->myhostname = setting(tool, "myhostname");
	tool->mail_name = setting(tool, "mail_name");
	tool->submit_users = setting(tool, "authorized_submit_users");
	limit = setting(tool, "message_size_limit");
	if (tool->queue_directory == NULL || tool->command_directory == NULL ||
	    tool->myhostname == NULL || tool->mail_name == NULL || tool->submit_users == NULL ||
	    limit == NULL || !number_parse(slice_trim(slice_from(limit)), 0, INT64_MAX, &most))
		return complain(tool, EX_CONFIG, "%s/main.cf has errors: see dakiya check",
		                tool->config_directory);
	tool->message_size_limit = most;
	return EX_OK;
}

/* ---- handing over to another program of the suite ---- */

/* The one beside this program, however that was called, or the one that main.cf knows. */
static int
hand_over(struct tool *tool, const char *program, char *const arguments[])
{
	char    own[PATH_BYTES] = "";
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);

	if (length > 0) {
		const char *path = arena_format(&tool->arena, "%s/%s", dirname(own), program);

		if (path != NULL)
			execv(path, arguments);
	}
	int code = tool->configuration == NULL ? config_read(tool) : EX_OK;
	if (code != EX_OK)
		return code;
	const char *path = arena_format(&tool->arena, "%s/%s", tool->command_directory, program);
	if (path != NULL)
		execv(path, arguments);
	return complain(tool, EX_UNAVAILABLE, "%s cannot be run: error %d",
	                path == NULL ? program : path, errno);
}

static int
run_queue(struct tool *tool)
{
	struct options *options = &tool->options;
	char mailq[] = "mailq", postqueue[] = "postqueue", c[] = "-c", p[] = "-p", f[] = "-f",
	     i[] = "-i", s[] = "-s";
	bool is_list = options->mode == MODE_QUEUE;
	/* What is flushed stays in the argument vector for the program that runs then. */
	char *what = options->flush_id != NULL     ? (char *)(uintptr_t)options->flush_id
	             : options->flush_site != NULL ? (char *)(uintptr_t)options->flush_site
	                                           : NULL;
	char *verb = is_list                       ? p
	             : options->flush_id != NULL   ? i
	             : options->flush_site != NULL ? s
	                                           : f;
	char *arguments[] = {
		is_list ? mailq : postqueue, c, tool->config_directory, verb, what, NULL
	};

	return hand_over(tool, "dakqueue", arguments);
}

/* postalias for each table of alias_database. */
static int
run_aliases(struct tool *tool)
{
	char         postalias[] = "postalias", c[] = "-c";
	char        *arguments[ALIAS_TABLES_MOST + 4] = { postalias, c, tool->config_directory };
	size_t       count = 3;
	struct slice rest, item;
	int          code = config_read(tool);

	if (code != EX_OK)
		return code;
	const char *tables = setting(tool, "alias_database");
	for (rest = slice_from(tables); table_next_item(&rest, &item);) {
		if (count == ALIAS_TABLES_MOST + 3)
			return complain(tool, EX_CONFIG, "alias_database names too many tables");
		arguments[count] = arena_text(&tool->arena, item);
		if (arguments[count++] == NULL)
			return complain(tool, EX_OSERR, "out of memory");
	}
	return count == 3 ? EX_OK : hand_over(tool, "dakmap", arguments);
}

static int
run_daemon(struct tool *tool)
{
	char  dakiya[] = "dakiya", c[] = "-c", start[] = "start";
	char *arguments[] = { dakiya, c, tool->config_directory, start, NULL };

	return hand_over(tool, "dakiya", arguments);
}

/* ---- mail ---- */

/* "Jane &, room 3" is "Jane Doe" for doe: the name as passwd(5) has it. */
static struct slice
gecos_name(struct tool *tool, const char *gecos)
{
	struct slice whole = slice_first(slice_from(gecos), strcspn(gecos, ","));
	struct buf   name = BUF(1000);

	for (size_t i = 0; i < whole.length; i++) {
		if (whole.data[i] != '&') {
			buf_append_byte(&name, whole.data[i]);
			continue;
		}
		buf_append_byte(&name, ascii_upper(tool->user[0]));
		buf_append_text(&name, tool->user + 1);
	}
	struct slice copy = arena_copy(&tool->arena, buf_slice(&name));
	buf_free(&name);
	return copy.data == NULL ? SLICE_EMPTY : copy;
}

/* Who calls, and his full name for a From field that is missing. */
static void
user_find(struct tool *tool, struct slice *full_name)
{
	struct passwd entry, *found = NULL;
	const char   *name = getenv("NAME");
	size_t        size = 65536;
	char         *text = malloc(size);

	*full_name = SLICE_EMPTY;
	tool->uid = (unsigned)getuid();
	if (text != NULL && getpwuid_r(getuid(), &entry, text, size, &found) == 0 &&
	    found != NULL && found->pw_name[0] != '\0') {
		snprintf(tool->user, sizeof(tool->user), "%s", found->pw_name);
		tool->has_user = true;
		*full_name = gecos_name(tool, found->pw_gecos == NULL ? "" : found->pw_gecos);
	}
	free(text);
	if (name != NULL && name[0] != '\0')
		*full_name = slice_from(name);
	if (tool->options.full_name != NULL)
		*full_name = slice_from(tool->options.full_name);
	*full_name = slice_first(*full_name, 500);
}

/* authorized_submit_users, for a word that the user sees; pickup asks again. */
static int
user_check(struct tool *tool)
{
	struct error       error = ERROR_NONE;
	struct match_list *list = match_list_open(tool->submit_users, MATCH_STRINGS, &error);

	if (list == NULL)
		return complain(tool, EX_CONFIG, "authorized_submit_users: %s", error.text);
	/* A table that only pickup may read is not asked here. */
	enum lookup found = user_list_has(list, tool->uid, &error);
	match_list_close(&list);
	return found == LOOKUP_NOT_FOUND
	               ? complain(tool, EX_NOPERM, "you are not allowed to submit mail")
	               : EX_OK;
}

/* "alice", "alice@example.org", "<alice@example.org>"; "" and "<>" are the null sender. */
static int
sender_find(struct tool *tool, struct letter *letter)
{
	struct address_list list = { 0 };
	struct slice        text = slice_from(tool->options.sender), bad;

	if (tool->options.sender == NULL && !tool->has_user)
		return complain(tool, EX_OSERR, "uid %u has no login name; name a sender with -f",
		                tool->uid);
	if (tool->options.sender == NULL)
		text = slice_from(tool->user);
	text = slice_trim(text);
	letter->sender = SLICE_EMPTY;
	if (text.length == 0 || slice_equal(text, SLICE("<>")))
		return EX_OK;
	bool is_good = address_list_read(text, &tool->arena, &list, &bad) && list.items.count == 1;
	if (is_good)
		letter->sender = list.items.items[0];
	ARRAY_FREE(&list.items);
	return is_good ? EX_OK
	               : complain(tool, EX_DATAERR, "malformed sender address: %.*s",
	                          SLICE_ARGS(text));
}

static int
recipients_add(struct tool *tool, struct letter *letter, const struct address_list *list)
{
	for (size_t i = 0; i < list->items.count; i++) {
		struct msg_recipient one = { .address = list->items.items[i],
			                     .dsn_notify = tool->options.dsn_notify };

		if (one.address.data[0] == '-')
			return complain(tool, EX_DATAERR,
			                "a recipient must not begin with \"-\": %.*s",
			                SLICE_ARGS(one.address));
		if (!ARRAY_PUSH(&letter->recipients, one))
			return complain(tool, EX_OSERR, "out of memory");
	}
	return EX_OK;
}

static int
recipients_find(struct tool *tool, struct letter *letter, const struct buf *header)
{
	struct address_list   list = { 0 };
	const struct options *options = &tool->options;
	struct slice          bad = SLICE_EMPTY;
	bool                  is_good = true;
	int                   code;

	for (size_t i = 0; is_good && i < options->recipient_count; i++)
		is_good = address_list_read(slice_from(options->recipients[i]), &tool->arena, &list,
		                            &bad);
	if (is_good && options->reads_recipients)
		is_good = address_list_read_header(buf_slice(header), &tool->arena, &list, &bad);
	if (!is_good)
		code = complain(tool, bad.length == 0 ? EX_OSERR : EX_DATAERR,
		                bad.length == 0 ? "out of memory for the recipients%.*s"
		                                : "malformed recipient address: %.*s",
		                SLICE_ARGS(slice_first(bad, 500)));
	else if (list.items.count == 0)
		code = complain(tool, EX_USAGE,
		                options->reads_recipients
		                        ? "No recipient addresses found in message header"
		                        : "Recipient addresses must be specified on the command "
		                          "line or via the -t option");
	else
		code = recipients_add(tool, letter, &list);
	ARRAY_FREE(&list.items);
	return code;
}

static int
letter_send(struct tool *tool, struct letter *letter)
{
	struct answer answer;

	letter_submit(tool, letter, &answer);
	if (answer.code != EX_OK)
		return complain(tool, answer.code, "%s", answer.reason);
	if ((letter->flags & ENVELOPE_REPORT) != 0 && letter->sender.length > 0)
		printf("Mail Delivery Status Report will be mailed to <%.*s>.\n",
		       SLICE_ARGS(letter->sender));
	return EX_OK;
}

static int
mail_run(struct tool *tool, struct letter *letter)
{
	struct buf header = BUF(HEADER_MOST);
	bool       reads = tool->options.reads_recipients;
	int        code = sender_find(tool, letter);

	/* Nothing is read when it cannot be sent. */
	if (code == EX_OK && !reads)
		code = recipients_find(tool, letter, &header);
	if (code == EX_OK)
		code = tool->options.is_verify ? message_make_probe(tool, letter)
		                               : message_read(tool, letter, reads, &header);
	if (code == EX_OK && reads)
		code = recipients_find(tool, letter, &header);
	if (code == EX_OK)
		code = letter_send(tool, letter);
	buf_free(&header);
	if (letter->fd >= 0)
		close(letter->fd);
	ARRAY_FREE(&letter->recipients);
	return code;
}

static int
mail_prepare(struct tool *tool, struct letter *letter)
{
	int code = config_read(tool);

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a limit of the caller's is an error like others */
	*letter = (struct letter){ .fd = -1,
		                   .flags = tool->options.flags,
		                   .dsn_ret = tool->options.dsn_ret,
		                   .dsn_envid = slice_from(tool->options.dsn_envid) };
	user_find(tool, &letter->full_name);
	if (code == EX_OK)
		code = user_check(tool);
	if (code == EX_OK && chdir(tool->queue_directory) != 0)
		code = complain(tool, EX_TEMPFAIL, "enter queue_directory %s: error %d",
		                tool->queue_directory, errno);
	return code;
}

/* ---- the start ---- */

static int
run(struct tool *tool)
{
	struct letter letter;
	int           code;

	switch (tool->options.mode) {
	case MODE_QUEUE:
	case MODE_FLUSH:
		if (tool->options.recipient_count > 0)
			return complain(tool, EX_USAGE, "with -bp and -q there are no recipients");
		return run_queue(tool);
	case MODE_ALIASES: return run_aliases(tool);
	case MODE_DAEMON: return run_daemon(tool);
	case MODE_NOTHING: return EX_OK;
	case MODE_MAIL:
	case MODE_SMTP: break;
	}
	code = mail_prepare(tool, &letter);
	if (code != EX_OK)
		return code;
	return tool->options.mode == MODE_SMTP ? server_run(tool) : mail_run(tool, &letter);
}

static void
config_directory_find(struct tool *tool)
{
	const char *directory = tool->options.config_directory;

	if (directory == NULL)
		directory = getenv("MAIL_CONFIG");
	if (directory == NULL || directory[0] == '\0')
		directory = DEFAULT_CONFIG_DIRECTORY;
	tool->config_directory = arena_text(&tool->arena, slice_from(directory));
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	struct tool tool = { .name = argc == 0       ? "sendmail"
		                     : slash == NULL ? argv[0]
		                                     : slash + 1,
		             .arena = ARENA((size_t)256 << 20) };

	if (!file_open_standard())
		return EX_OSERR;
	if (version_asked(argc, argv))
		return EX_OK;
	bool is_postdrop = strcmp(tool.name, "postdrop") == 0;
	if (is_postdrop || (argc > 1 && strcmp(argv[1], "--help") == 0)) {
		bool is_asked = argc > 1 && strcmp(argv[1], "--help") == 0;

		fputs(is_postdrop ? postdrop_help : help, is_asked ? stdout : stderr);
		return is_asked ? EX_OK : EX_USAGE;
	}
	if (strcmp(tool.name, "mailq") == 0)
		tool.options.mode = MODE_QUEUE;
	if (strcmp(tool.name, "newaliases") == 0)
		tool.options.mode = MODE_ALIASES;
	int code = options_read(&tool, argc, argv);
	config_directory_find(&tool);
	if (code == EX_OK && tool.config_directory == NULL)
		code = complain(&tool, EX_OSERR, "out of memory");
	if (code == EX_OK)
		code = run(&tool);
	configuration_destroy(&tool.configuration);
	arena_reset(&tool.arena);
	return code;
}
