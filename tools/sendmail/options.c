/* options.c - sendmail's options: those of fifty years, most of them accepted and ignored. */
#include <string.h>
#include <stdlib.h>
#include <sysexits.h>

#include "lib/queue/verp.h"
#include "tools/sendmail/sendmail.h"

#define ENVID_MOST 100 /* RFC 3461 4.4 */

enum argument {
	NO_ARGUMENT,
	ARGUMENT,       /* behind it, or the next word */
	ARGUMENT_CLOSE, /* only what stands behind it without a blank */
};

/* Takes an option and its argument (NULL = none); a sysexits code. */
typedef int option_take(struct tool *tool, const char *value);

static int
take_mode(struct tool *tool, const char *value)
{
	static const struct {
		char      letter;
		enum mode mode;
	} modes[] = { { 'm', MODE_MAIL },    { 's', MODE_SMTP },   { 'p', MODE_QUEUE },
		      { 'i', MODE_ALIASES }, { 'd', MODE_DAEMON }, { 'l', MODE_DAEMON },
		      { 'D', MODE_DAEMON },  { 'a', MODE_MAIL },   { 'h', MODE_NOTHING },
		      { 'H', MODE_NOTHING } };

	if (strcmp(value, "v") == 0) {
		tool->options.mode = MODE_MAIL;
		tool->options.is_verify = true;
		tool->options.flags |= ENVELOPE_VERIFY | ENVELOPE_REPORT;
		return EX_OK;
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (value[0] != modes[i].letter || value[1] != '\0')
			continue;
		tool->options.mode = modes[i].mode;
		return EX_OK;
	}
	return complain(tool, EX_USAGE, "-b%s: there is no such mode", value);
}

static int
take_queue(struct tool *tool, const char *value)
{
	/* "-bd -q15m": how often the queue is run, which its messages know themselves. */
	if (tool->options.mode == MODE_DAEMON)
		return EX_OK;
	tool->options.mode = MODE_FLUSH;
	if (value == NULL || (value[0] >= '0' && value[0] <= '9'))
		return EX_OK;
	if (value[0] == 'I' && value[1] != '\0')
		tool->options.flush_id = value + 1;
	else if (value[0] == 'R' && value[1] != '\0')
		tool->options.flush_site = value + 1;
	else
		return complain(tool, value[0] == 'S' ? EX_UNAVAILABLE : EX_USAGE,
		                "-q%s: only -q, -qI<id> and -qR<domain> are here", value);
	return EX_OK;
}

static int
take_aliases(struct tool *tool, const char *value)
{
	(void)value;
	tool->options.mode = MODE_ALIASES;
	return EX_OK;
}

static int
take_config(struct tool *tool, const char *value)
{
	size_t length = strlen(value), tail = strlen("/main.cf");

	/* The file may be named, too. */
	if (length > tail && strcmp(value + length - tail, "/main.cf") == 0)
		length -= tail;
	tool->options.config_directory = arena_text(&tool->arena, slice_of(value, length));
	return EX_OK;
}

static int
take_sender(struct tool *tool, const char *value)
{
	tool->options.sender = value;
	return EX_OK;
}

static int
take_full_name(struct tool *tool, const char *value)
{
	tool->options.full_name = value;
	return EX_OK;
}

static int
take_recipients(struct tool *tool, const char *value)
{
	(void)value;
	tool->options.reads_recipients = true;
	return EX_OK;
}

static int
take_dots(struct tool *tool, const char *value)
{
	(void)value;
	tool->options.ignores_dots = true;
	return EX_OK;
}

static int
take_body(struct tool *tool, const char *value)
{
	if (strcasecmp(value, "8BITMIME") == 0)
		tool->options.flags |= ENVELOPE_8BIT;
	else if (strcasecmp(value, "7BIT") != 0)
		warn(tool, "-B %s: 7BIT or 8BITMIME", value);
	return EX_OK;
}

static int
take_notify(struct tool *tool, const char *value)
{
	static const struct {
		struct slice word;
		uint32_t     bit;
	} words[] = { { SLICE("never"), DSN_NOTIFY_NEVER },
		      { SLICE("success"), DSN_NOTIFY_SUCCESS },
		      { SLICE("failure"), DSN_NOTIFY_FAILURE },
		      { SLICE("delay"), DSN_NOTIFY_DELAY } };
	struct slice rest = slice_from(value), word;
	uint32_t     bits = 0;

	while (slice_next_word(&rest, " ,", &word)) {
		size_t i = 0;

		while (i < 4 && !slice_equal_fold(word, words[i].word))
			i++;
		bits |= i < 4 ? words[i].bit : 1u << 31;
	}
	/* RFC 3461 4.1: NEVER stands alone. */
	if (bits >> 31 != 0 || bits == 0 || ((bits & DSN_NOTIFY_NEVER) && bits != DSN_NOTIFY_NEVER))
		return complain(
			tool, EX_USAGE,
			"-N %s: \"never\", or a list of \"success\", \"failure\", \"delay\"",
			value);
	tool->options.dsn_notify = bits;
	return EX_OK;
}

static int
take_return(struct tool *tool, const char *value)
{
	if (strcasecmp(value, "full") == 0)
		tool->options.dsn_ret = DSN_RET_FULL;
	else if (strcasecmp(value, "hdrs") == 0)
		tool->options.dsn_ret = DSN_RET_HDRS;
	else
		return complain(tool, EX_USAGE, "-R %s: \"full\" or \"hdrs\"", value);
	return EX_OK;
}

static int
take_envid(struct tool *tool, const char *value)
{
	if (strlen(value) > ENVID_MOST || slice_has_control(slice_from(value)))
		return complain(tool, EX_USAGE,
		                "-V: an envelope id has %d printable characters at most",
		                ENVID_MOST);
	tool->options.dsn_envid = value;
	return EX_OK;
}

static int
take_log(struct tool *tool, const char *value)
{
	struct slice delimiters = slice_from(value[0] == 'V' ? value + 1 : "");

	if (value[0] != 'V')
		return EX_OK;
	/* pickup knows which characters may be, and those of default_verp_delimiters. */
	if (delimiters.length != 0 && (delimiters.length != 2 || slice_has_control(delimiters) ||
	                               !slice_is_ascii(delimiters)))
		return complain(tool, EX_USAGE, "-X%s: VERP takes two delimiters or none", value);
	tool->options.flags |= verp_flags(delimiters);
	return EX_OK;
}

/* -O name=value: what Sendmail calls its options, of which two mean something here. */
static int
take_setting(struct tool *tool, const char *value)
{
	struct slice rest = slice_from(value), name;

	if (!slice_next_part(&rest, '=', &name))
		return EX_OK;
	bool is_yes = slice_equal_fold(rest, SLICE("yes"));
	if (!is_yes && !slice_equal_fold(rest, SLICE("no")))
		return EX_OK;
	unsigned flag = slice_equal_fold(name, SLICE("smtputf8"))     ? ENVELOPE_SMTPUTF8
	                : slice_equal_fold(name, SLICE("requiretls")) ? ENVELOPE_REQUIRETLS
	                                                              : 0;
	tool->options.flags = is_yes ? tool->options.flags | flag : tool->options.flags & ~flag;
	return EX_OK;
}

/* -oi, -oem, -o8 ...: one letter of old. */
static int
take_old(struct tool *tool, const char *value)
{
	if (strcmp(value, "i") == 0)
		tool->options.ignores_dots = true;
	if (value[0] == 'F' && value[1] != '\0')
		tool->options.full_name = value + 1;
	if (value[0] == 'r' && value[1] != '\0')
		tool->options.sender = value + 1;
	return EX_OK;
}

static int
take_report(struct tool *tool, const char *value)
{
	(void)value;
	tool->options.flags |= ENVELOPE_REPORT;
	return EX_OK;
}

static int
take_nothing(struct tool *tool, const char *value)
{
	(void)tool;
	(void)value;
	return EX_OK;
}

static const struct {
	char          letter;
	enum argument argument;
	option_take  *take;
} rows[] = {
	{ 'A', ARGUMENT, take_nothing },     { 'B', ARGUMENT, take_body },
	{ 'C', ARGUMENT, take_config },      { 'F', ARGUMENT, take_full_name },
	{ 'G', NO_ARGUMENT, take_nothing },  { 'I', NO_ARGUMENT, take_aliases },
	{ 'L', ARGUMENT, take_nothing },     { 'N', ARGUMENT, take_notify },
	{ 'O', ARGUMENT, take_setting },     { 'R', ARGUMENT, take_return },
	{ 'U', NO_ARGUMENT, take_nothing },  { 'V', ARGUMENT, take_envid },
	{ 'X', ARGUMENT, take_log },         { 'b', ARGUMENT, take_mode },
	{ 'c', NO_ARGUMENT, take_nothing },  { 'd', ARGUMENT_CLOSE, take_nothing },
	{ 'e', ARGUMENT, take_nothing },     { 'f', ARGUMENT, take_sender },
	{ 'h', ARGUMENT, take_nothing },     { 'i', NO_ARGUMENT, take_dots },
	{ 'm', NO_ARGUMENT, take_nothing },  { 'n', NO_ARGUMENT, take_nothing },
	{ 'o', ARGUMENT, take_old },         { 'p', ARGUMENT, take_nothing },
	{ 'q', ARGUMENT_CLOSE, take_queue }, { 'r', ARGUMENT, take_sender },
	{ 's', NO_ARGUMENT, take_nothing },  { 't', NO_ARGUMENT, take_recipients },
	{ 'v', NO_ARGUMENT, take_report },   { 'x', NO_ARGUMENT, take_nothing },
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

/* A word of options, "-ti" or "-fname"; *next is the word behind it. */
static int
word_take(struct tool *tool, const char *word, char **argv, int *next)
{
	for (const char *letter = word + 1; *letter != '\0'; letter++) {
		const char *value = NULL;
		size_t      row = 0;

		while (row < ROW_COUNT && rows[row].letter != *letter)
			row++;
		if (row == ROW_COUNT)
			return complain(tool, EX_USAGE, "there is no option -%c; see sendmail(1)",
			                ascii_is_print(*letter) ? *letter : '?');
		if (rows[row].argument != NO_ARGUMENT && letter[1] != '\0')
			value = letter + 1;
		else if (rows[row].argument == ARGUMENT)
			value = argv[(*next)++];
		if (rows[row].argument == ARGUMENT && value == NULL)
			return complain(tool, EX_USAGE, "option -%c needs an argument", *letter);
		int code = rows[row].take(tool, value);
		if (code != EX_OK || rows[row].argument == ARGUMENT ||
		    (rows[row].argument == ARGUMENT_CLOSE && value != NULL))
			return code;
	}
	return EX_OK;
}

int
options_read(struct tool *tool, int argc, char **argv)
{
	struct options *options = &tool->options;
	bool            is_over = false;

	options->recipients =
		arena_alloc_array(&tool->arena, (size_t)argc + 1, sizeof(*options->recipients));
	if (options->recipients == NULL)
		return complain(tool, EX_OSERR, "out of memory");
	for (int next = 1; next < argc;) {
		char *word = argv[next++];
		int   code = EX_OK;

		if (is_over || word[0] != '-' || word[1] == '\0')
			options->recipients[options->recipient_count++] = word;
		else if (strcmp(word, "--") == 0)
			is_over = true;
		else
			code = word_take(tool, word, argv, &next);
		if (code != EX_OK)
			return code;
	}
	if (options->is_verify && options->reads_recipients)
		return complain(tool, EX_USAGE, "-bv reads no message, so there is no -t with it");
	for (size_t i = 0; i < options->recipient_count; i++)
		if (options->recipients[i][0] == '-')
			return complain(tool, EX_USAGE, "a recipient must not begin with \"-\": %s",
			                options->recipients[i]);
	return EX_OK;
}
