/* prompt.c - the passwords' way in: a terminal without echo, or standard input. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "tools/dakuser/dakuser.h"

/* A line of fd without its end; false at the end of input or when it is too long. */
static bool
line_read(int fd, char *line, size_t size, struct error *error)
{
	size_t length = 0;
	char   c;

	for (;;) {
		ssize_t got = read(fd, &c, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(error, "read the password");
		if (got == 0 && length == 0)
			return error_set(error, "no password was given");
		if (got == 0 || c == '\n')
			break;
		if (length == size - 1)
			return error_set(error, "the password is longer than %zu bytes", size - 1);
		line[length++] = c;
	}
	if (length > 0 && line[length - 1] == '\r')
		length--;
	line[length] = '\0';
	if (strlen(line) != length)
		return error_set(error, "the password has control characters");
	return true;
}

static bool
ask(int terminal, const char *question, char *line, size_t size, struct error *error)
{
	struct termios before, silent;
	sigset_t       all, old;

	if (tcgetattr(terminal, &before) != 0)
		return error_set_errno(error, "terminal");
	silent = before;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	/* A signal while the echo is off would leave it off: it has to wait. ^C comes as input. */
	silent.c_lflag &= ~(tcflag_t)ISIG;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	bool is_good = tcsetattr(terminal, TCSAFLUSH, &silent) == 0 &&
	               write(terminal, question, strlen(question)) > 0 &&
	               line_read(terminal, line, size, error);
	tcsetattr(terminal, TCSAFLUSH, &before);
	if (write(terminal, "\n", 1) < 0)
		is_good = false;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return is_good;
}

bool
password_read(bool from_stdin, char password[PASSWORD_MOST + 1], struct error *error)
{
	char again[PASSWORD_MOST + 1];

	if (from_stdin)
		return line_read(STDIN_FILENO, password, PASSWORD_MOST + 1, error);
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (terminal < 0)
		return error_set(error, "there is no terminal to ask for the password; see "
		                        "--stdin");
	bool is_good = ask(terminal, "Password: ", password, PASSWORD_MOST + 1, error) &&
	               ask(terminal, "Once more: ", again, sizeof(again), error);
	close(terminal);
	if (is_good && strcmp(password, again) != 0)
		is_good = error_set(error, "the two passwords differ");
	OPENSSL_cleanse(again, sizeof(again));
	return is_good;
}
