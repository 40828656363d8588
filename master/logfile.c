/* logfile.c - opens the log for all daemons; a log that fails never stops a start. */
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

static const struct {
	const char *name;
	int         facility;
} facilities[] = {
	{ "auth", LOG_AUTH },     { "authpriv", LOG_AUTHPRIV }, { "cron", LOG_CRON },
	{ "daemon", LOG_DAEMON }, { "ftp", LOG_FTP },           { "kern", LOG_KERN },
	{ "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 },     { "local2", LOG_LOCAL2 },
	{ "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 },     { "local5", LOG_LOCAL5 },
	{ "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 },     { "lpr", LOG_LPR },
	{ "mail", LOG_MAIL },     { "news", LOG_NEWS },         { "syslog", LOG_SYSLOG },
	{ "user", LOG_USER },     { "uucp", LOG_UUCP },
};

static int
facility_of(const char *name)
{
	for (size_t i = 0; i < sizeof(facilities) / sizeof(facilities[0]); i++) {
		if (strcmp(name, facilities[i].name) == 0)
			return facilities[i].facility;
	}
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

static int
open_file(const char *path, struct error *error)
{
	int fd;

	if (strcmp(path, "/dev/stdout") == 0 || strcmp(path, "/dev/stderr") == 0)
		fd = fcntl(path[8] == 'o' ? STDOUT_FILENO : STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	else
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		          0640);
	if (fd < 0)
		error_set_errno(error, "open maillog_file %s", path);
	return fd;
}

/* Where lines go when the configured place fails: syslog, and at last standard error. */
static int
open_fallback(enum log_target *target)
{
	int fd = connect_syslog();

	*target = fd >= 0 ? LOG_TO_SYSLOG : LOG_TO_STREAM;
	return fd >= 0 ? fd : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
}

/* Standard error is nobody's in the background: the log needs no descriptor of its own. */
static int
to_standard_error(int fd)
{
	if (fd <= STDERR_FILENO || dup2(fd, STDERR_FILENO) < 0)
		return fd;
	close(fd);
	return STDERR_FILENO;
}

void
logfile_open(struct master *master, const struct parameters *parameters)
{
	struct error    error = ERROR_NONE;
	enum log_target target = LOG_TO_STREAM;
	char            name[300], host[256] = "localhost";
	int             fd = -1, old = master->log_fd;

	if (parameters->maillog_file[0] != '\0')
		fd = open_file(parameters->maillog_file, &error);
	/* Where no descriptor is free, the old log is better than none. */
	if (fd < 0 && old >= 0 && (error.errno_value == EMFILE || error.errno_value == ENFILE)) {
		log_warning("%s; the log stays where it was", error.text);
		return;
	}
	if (fd < 0)
		fd = open_fallback(&target);
	if (fd < 0)
		fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (target == LOG_TO_STREAM && !master->is_foreground)
		fd = to_standard_error(fd);
	gethostname(host, sizeof(host) - 1);
	host[strcspn(host, ".")] = '\0';
	snprintf(name, sizeof(name), "%.250s/master", parameters->syslog_name);
	master->log_fd = fd;
	master->log_target = target;
	log_open(name, host, target, fd, facility_of(parameters->syslog_facility));
	if (old == STDERR_FILENO && fd != STDERR_FILENO)
		dup2(STDIN_FILENO, STDERR_FILENO);
	else if (old >= 0 && old != fd)
		close(old);
	if (error.text[0] != '\0')
		log_warning("%s; logging elsewhere", error.text);
}
