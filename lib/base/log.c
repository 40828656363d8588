/* log.c - see log.h. */
#include "lib/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syslog.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/mutex.h"

#define LINE_MOST  4000
#define LINE_USUAL 512

/* Written once by log_open before threads start, read-only afterwards. */
static struct {
	char            name[64];
	char            host[64];
	enum log_target target;
	int             fd;
	int             facility;
	bool            is_verbose;
	pid_t           pid; /* asked once: a system call a line otherwise; 0 = not yet */
} log_state = { .name = "dakiya", .host = "", .fd = 2, .facility = LOG_MAIL };

static __thread uint64_t log_session;

#define PROBLEM_MOST 200

static struct {
	struct mutex lock; /* guards everything below */
	char         text[PROBLEM_MOST];
} log_problem = { .lock = MUTEX_INIT };

#define TROUBLE_MOST 5 /* lines of log_trouble in a second */

static struct {
	struct mutex lock; /* guards everything below */
	int64_t      second;
	unsigned     written;
	atomic_uint  left_out; /* looked at without it */
} log_gate = { .lock = MUTEX_INIT };

void
log_open(const char *name, const char *host, enum log_target target, int fd, int facility)
{
	snprintf(log_state.name, sizeof(log_state.name), "%s", name);
	snprintf(log_state.host, sizeof(log_state.host), "%s", host);
	log_state.target = target;
	log_state.fd = fd;
	log_state.facility = facility;
	log_state.pid = getpid();
}

void
log_set_session(uint64_t number)
{
	log_session = number;
}

void
log_set_verbose(bool is_verbose)
{
	log_state.is_verbose = is_verbose;
}

bool
log_is_verbose(void)
{
	return log_state.is_verbose;
}

static void
append_head(struct buf *line, int severity, const char *program)
{
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t            now = (time_t)clock_wall_s();
	struct tm         date = { 0 };

	localtime_r(&now, &date);
	if (log_state.target == LOG_TO_SYSLOG)
		buf_append_format(line, "<%d>", log_state.facility | severity);
	buf_append_format(line, "%s %2d %02d:%02d:%02d ", months[date.tm_mon % 12], date.tm_mday,
	                  date.tm_hour, date.tm_min, date.tm_sec);
	if (log_state.target == LOG_TO_STREAM && log_state.host[0] != '\0')
		buf_append_format(line, "%s ", log_state.host);
	const char  *slash = strchr(log_state.name, '/'); /* submission is smtpd's word only */
	struct slice name = slice_from(log_state.name);
	if (program != NULL) {
		name.length = slash == NULL ? 0 : (size_t)(slash + 1 - log_state.name);
		buf_append(line, name);
		name = slice_from(program);
	}
	buf_append(line, name);
	buf_append_format(line, "[%llu]: ",
	                  log_session != 0 ? (unsigned long long)log_session
	                                   : (unsigned long long)(log_state.pid != 0 ? log_state.pid
	                                                                             : getpid()));
}

static void
keep_problem(struct slice text)
{
	struct slice first = slice_first(text, PROBLEM_MOST - 1);

	mutex_lock(&log_problem.lock);
	memcpy(log_problem.text, first.data, first.length);
	log_problem.text[first.length] = '\0';
	mutex_unlock(&log_problem.lock);
}

void
log_last_problem(char *text, size_t size)
{
	mutex_lock(&log_problem.lock);
	snprintf(text, size, "%s", log_problem.text);
	mutex_unlock(&log_problem.lock);
}

/* One write, so that lines of several processes in one file do not mix (O_APPEND). */
static void
write_line_as(const char *program, int severity, const char *label, const char *format,
              va_list arguments)
{
	struct buf line = BUF(LINE_MOST + 200);
	struct buf text = BUF(LINE_MOST * 4);

	buf_reserve(&line, LINE_USUAL);
	buf_reserve(&text, LINE_USUAL);
	append_head(&line, severity, program);
	buf_append_text(&line, label);
	if (!buf_append_vformat(&text, format, arguments)) {
		buf_clear(&text);
		buf_append_text(&text, "(a log line that was too long was left out)");
	}
	size_t text_begins = line.length;
	buf_append_printable(&line, slice_first(buf_slice(&text), LINE_MOST));
	if (severity <= LOG_WARNING)
		keep_problem(slice_from_offset(buf_slice(&line), text_begins));
	if (log_state.target == LOG_TO_STREAM)
		buf_append_byte(&line, '\n');
	/* A log that cannot be written must not stop mail: the result is looked at by nobody. */
	ssize_t written = log_state.target == LOG_TO_SYSLOG
	                          ? send(log_state.fd, line.data, line.length, MSG_NOSIGNAL)
	                          : write(log_state.fd, line.data, line.length);
	(void)written;
	buf_free(&text);
	buf_free(&line);
}

static void
write_line(int severity, const char *label, const char *format, va_list arguments)
{
	write_line_as(NULL, severity, label, format, arguments);
}

void
log_info_as(const char *program, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line_as(program, LOG_INFO, "", format, arguments);
	va_end(arguments);
}

void
log_labelled(int severity, const char *label, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line_as(NULL, severity, label, format, arguments);
	va_end(arguments);
}

/* In a new second: how many lines were left out before it. */
static unsigned
gate_open_locked(void)
{
	int64_t  second = clock_monotonic_ms() / 1000;
	unsigned left_out = log_gate.left_out;

	if (second == log_gate.second)
		return 0;
	log_gate.second = second;
	log_gate.written = 0;
	log_gate.left_out = 0;
	return left_out;
}

static void
tell_left_out(unsigned count)
{
	if (count > 0)
		log_labelled(LOG_WARNING,
		             "warning: ", "%u more warnings like those before were left out",
		             count);
}

/* Before any other line: the trouble may be over. */
static void
tell_trouble(void)
{
	if (atomic_load_explicit(&log_gate.left_out, memory_order_relaxed) == 0)
		return;
	mutex_lock(&log_gate.lock);
	unsigned left_out = gate_open_locked();
	mutex_unlock(&log_gate.lock);
	tell_left_out(left_out);
}

void
log_trouble(const char *format, ...)
{
	va_list arguments;

	mutex_lock(&log_gate.lock);
	unsigned left_out = gate_open_locked();
	bool     is_written = log_gate.written < TROUBLE_MOST;
	log_gate.written += is_written;
	log_gate.left_out += !is_written;
	mutex_unlock(&log_gate.lock);
	tell_left_out(left_out);
	if (!is_written)
		return;
	va_start(arguments, format);
	write_line(LOG_WARNING, "warning: ", format, arguments);
	va_end(arguments);
}

#define LOG_FUNCTION(name, severity, label)                                                        \
	void name(const char *format, ...)                                                         \
	{                                                                                          \
		va_list arguments;                                                                 \
                                                                                                   \
		tell_trouble();                                                                    \
		va_start(arguments, format);                                                       \
		write_line(severity, label, format, arguments);                                    \
		va_end(arguments);                                                                 \
	}

LOG_FUNCTION(log_info, LOG_INFO, "")
LOG_FUNCTION(log_warning, LOG_WARNING, "warning: ")
LOG_FUNCTION(log_error, LOG_ERR, "error: ")

void
log_debug(const char *format, ...)
{
	va_list arguments;

	if (!log_state.is_verbose)
		return;
	va_start(arguments, format);
	write_line(LOG_DEBUG, "", format, arguments);
	va_end(arguments);
}

void
log_fatal(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line(LOG_CRIT, "fatal: ", format, arguments);
	va_end(arguments);
	exit(1);
}
