/*
 * log.h - one event, one line, in the shape that Postfix's log readers parse (FACTS: log lines).
 *
 * The one writer that escapes control bytes: nothing else in the suite writes a log. A line is
 * "Mon dd hh:mm:ss HOST NAME/PROGRAM[NUMBER]: text" to a file or stream, or a syslog datagram.
 * NUMBER is the process id until a thread calls log_set_session: readers join lines by it.
 * Never pass secrets or message content.
 */
#ifndef DAKIYA_BASE_LOG_H
#define DAKIYA_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_target {
	LOG_TO_STREAM, /* a descriptor: maillog_file, standard output, a test's pipe */
	LOG_TO_SYSLOG, /* a connected datagram socket to /dev/log */
};

/*
 * Sets name ("postfix/smtpd"), host and where lines go. Call once before threads start; the
 * descriptor stays the caller's. Before it is called, lines go to standard error.
 */
void log_open(const char *name, const char *host, enum log_target target, int fd, int facility);
/* The number in brackets for lines of this thread; 0 = the process id again. */
void log_set_session(uint64_t number);
/* Whether log_debug writes (-v). */
void log_set_verbose(bool is_verbose);
bool log_is_verbose(void);

/*
 * The last warning or error of this process, as it was written (control bytes escaped), cut to
 * size - 1 bytes; empty when there was none. For `dakiya status`.
 */
void log_last_problem(char *text, size_t size);

void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2))); /* "warning: " */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));   /* "error: " */
/*
 * A warning of trouble that may come with every message: a full disk, no memory. A few a second are
 * written; how many were not is told with the next line of any kind that a later second brings.
 */
void log_trouble(const char *format, ...) __attribute__((format(printf, 1, 2)));
/*
 * log_info with another program's name in place of the last part of ours: log readers look for
 * what happens to content under "postfix/cleanup", whichever daemon took the message in.
 */
void log_info_as(const char *program, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Any severity of syslog.h, and what stands in front: for daklog, which logs for others. */
void log_labelled(int severity, const char *label, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* "fatal: " and exit(1): for the start of a program only, never for what a peer sent. */
void log_fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
