/* command_status.c - what an exit status means for the mail. See command.h. */
#include <sysexits.h>

#include "lib/daemon/command.h"
#include "lib/mail/status.h"

static const struct {
	int         exit_status;
	const char *status;
	const char *text;
} rows[] = {
	{ EX_USAGE, "5.3.0", "command line usage error" },
	{ EX_DATAERR, "5.6.0", "data format error" },
	{ EX_NOINPUT, "5.3.0", "cannot open input" },
	{ EX_NOUSER, "5.1.1", "user unknown" },
	{ EX_NOHOST, "5.1.2", "host name unknown" },
	{ EX_UNAVAILABLE, "5.3.0", "service unavailable" },
	{ EX_SOFTWARE, "5.3.0", "internal software error" },
	{ EX_OSERR, "4.3.0", "system resource problem" },
	{ EX_OSFILE, "5.3.0", "critical OS file missing" },
	{ EX_CANTCREAT, "5.2.0", "can't create user output file" },
	{ EX_IOERR, "5.3.0", "input/output error" },
	{ EX_TEMPFAIL, "4.3.0", "temporary failure" },
	{ EX_PROTOCOL, "5.5.0", "remote error in protocol" },
	{ EX_NOPERM, "5.7.0", "permission denied" },
	{ EX_CONFIG, "5.3.5", "local configuration error" },
};

static void
status_set(char status[12], struct slice text)
{
	size_t length = text.length < 11 ? text.length : 11;

	memcpy(status, text.data, length);
	status[length] = '\0';
}

/* In one line: line ends and tabs become blanks, what is not printable a '?'. */
static void
append_line(struct buf *out, struct slice output)
{
	struct slice word;
	bool         is_first = true;

	while (slice_next_word(&output, " \t\r\n\v\f", &word)) {
		if (!is_first)
			buf_append_byte(out, ' ');
		buf_append_printable(out, word);
		is_first = false;
	}
}

static void
append_output(struct buf *out, struct slice output)
{
	if (output.length == 0)
		return;
	buf_append_text(out, ". Command output: ");
	append_line(out, output);
}

/* "5.7.1 text" of a command that failed. */
static bool
output_overrides(struct slice output, char status[12], struct buf *text)
{
	struct enhanced_status parsed;
	size_t                 length;

	if (!enhanced_status_parse(output, &parsed, &length) || parsed.class == 2)
		return false;
	status_set(status, slice_first(output, length));
	struct slice rest = slice_trim(slice_from_offset(output, length));
	if (rest.length == 0)
		buf_append_text(text, "command refused the message");
	append_line(text, rest);
	return true;
}

static void
exited(int exit_status, const char *command, struct slice output, char status[12], struct buf *text)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].exit_status == exit_status) {
			status_set(status, slice_from(rows[i].status));
			buf_append_text(text, rows[i].text);
			append_output(text, output);
			return;
		}
	status_set(status, SLICE("5.3.0"));
	buf_append_format(text, "Command died with status %d: \"", exit_status);
	append_line(text, slice_from(command));
	buf_append_byte(text, '"');
	append_output(text, output);
}

bool
command_result_status(const struct command_result *result, const char *command, char status[12],
                      struct buf *text)
{
	struct slice output = slice_trim(buf_slice(&result->output));

	status_set(status, SLICE("4.3.0"));
	switch (result->end) {
	case COMMAND_EXITED:
		if (result->status == 0) {
			status_set(status, SLICE("2.0.0"));
			append_line(text, output);
			return true;
		}
		if (!output_overrides(output, status, text))
			exited(result->status, command, output, status, text);
		return false;
	case COMMAND_KILLED:
		buf_append_format(text, "Command died with signal %d: \"", result->status);
		break;
	case COMMAND_TIMED_OUT: buf_append_text(text, "Command time limit exceeded: \""); break;
	case COMMAND_NOT_RUN:
		buf_append_text(text, "temporary failure. Command output: ");
		append_line(text, slice_from(result->error.text));
		return false;
	}
	append_line(text, slice_from(command));
	buf_append_byte(text, '"');
	append_output(text, output);
	return false;
}
