/*
 * pop3-source.c - logs in over POP3 many times, many sessions at once; prints the rate.
 *
 *   pop3-source -s SESSIONS -n LOGINS [-u USERS] [-t PATTERN] [-w PASSWORD] [-r] ADDRESS:PORT
 *
 * Each login: USER, PASS, STAT, with -r also RETR 1, QUIT. Ends with "LOGINS SECONDS RATE".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum step { GREETING, USER, PASS, STAT, RETR, QUIT };

struct session {
	int       fd;
	enum step step;
	bool      is_body;
	char      in[8192];
	size_t    in_length;
};

static struct {
	int                sessions, logins, users, started, done, user, epoll;
	bool               with_retr;
	const char        *pattern, *password;
	struct sockaddr_in server;
} run = { .sessions = 10,
	  .logins = 1000,
	  .users = 1,
	  .pattern = "user%d@example.test",
	  .password = "secret" };

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
say(struct session *session, const char *text)
{
	if (send(session->fd, text, strlen(text), MSG_NOSIGNAL) < 0) {
		perror("pop3-source: send");
		exit(75);
	}
}

static void
open_session(struct session *session)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = session };

	run.started++;
	session->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	session->step = GREETING;
	session->is_body = false;
	session->in_length = 0;
	if (session->fd < 0 ||
	    connect(session->fd, (struct sockaddr *)&run.server, sizeof(run.server)) != 0 ||
	    epoll_ctl(run.epoll, EPOLL_CTL_ADD, session->fd, &event) != 0) {
		perror("pop3-source: connect");
		exit(75);
	}
}

static void
close_session(struct session *session)
{
	close(session->fd);
	session->fd = -1;
	run.done++;
	if (run.started < run.logins)
		open_session(session);
}

static void
advance(struct session *session)
{
	char text[600], user[256];

	switch (session->step) {
	case GREETING:
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(user, sizeof(user), run.pattern, run.user++ % run.users);
#pragma GCC diagnostic pop
		snprintf(text, sizeof(text), "USER %s\r\n", user);
		session->step = USER;
		say(session, text);
		return;
	case USER:
		snprintf(text, sizeof(text), "PASS %s\r\n", run.password);
		session->step = PASS;
		say(session, text);
		return;
	case PASS:
		session->step = STAT;
		say(session, "STAT\r\n");
		return;
	case STAT:
		if (run.with_retr) {
			session->step = RETR;
			say(session, "RETR 1\r\n");
			return;
		}
		session->step = QUIT;
		say(session, "QUIT\r\n");
		return;
	case RETR:
		session->step = QUIT;
		say(session, "QUIT\r\n");
		return;
	case QUIT: return;
	}
}

static void
take_line(struct session *session, const char *line, size_t length)
{
	if (session->is_body) {
		if (length >= 2 && line[0] == '.' && (line[1] == '\r' || line[1] == '\n')) {
			session->is_body = false;
			advance(session);
		}
		return;
	}
	if (length == 0 || line[0] != '+') {
		fprintf(stderr, "pop3-source: step %d: %.*s\n", session->step, (int)length, line);
		exit(76);
	}
	if (session->step == RETR)
		session->is_body = true;
	else
		advance(session);
}

static void
take_input(struct session *session)
{
	ssize_t got = recv(session->fd, session->in + session->in_length,
	                   sizeof(session->in) - session->in_length, MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		if (session->step != QUIT) {
			fprintf(stderr, "pop3-source: connection lost in step %d\n", session->step);
			exit(76);
		}
		close_session(session);
		return;
	}
	session->in_length += (size_t)got;
	size_t start = 0;
	for (char *end; (end = memchr(session->in + start, '\n', session->in_length - start));) {
		size_t next = (size_t)(end - session->in) + 1;
		take_line(session, session->in + start, next - start);
		start = next;
	}
	memmove(session->in, session->in + start, session->in_length - start);
	session->in_length -= start;
}

int
main(int argc, char **argv)
{
	int  option;
	char host[64];

	while ((option = getopt(argc, argv, "s:n:u:t:w:r")) != -1) {
		switch (option) {
		case 's': run.sessions = (int)strtol(optarg, NULL, 10); break;
		case 'n': run.logins = (int)strtol(optarg, NULL, 10); break;
		case 'u': run.users = (int)strtol(optarg, NULL, 10); break;
		case 't': run.pattern = optarg; break;
		case 'w': run.password = optarg; break;
		case 'r': run.with_retr = true; break;
		default: return 64;
		}
	}
	const char *colon = optind + 1 == argc ? strrchr(argv[optind], ':') : NULL;
	if (colon == NULL || (size_t)(colon - argv[optind]) >= sizeof(host))
		return 64;
	memcpy(host, argv[optind], (size_t)(colon - argv[optind]));
	host[colon - argv[optind]] = '\0';
	run.server.sin_family = AF_INET;
	run.server.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	inet_pton(AF_INET, host, &run.server.sin_addr);
	run.epoll = epoll_create1(EPOLL_CLOEXEC);
	struct session *sessions = calloc((size_t)run.sessions, sizeof(*sessions));
	if (sessions == NULL)
		return 71;
	double start = now();
	for (int i = 0; i < run.sessions && run.started < run.logins; i++)
		open_session(&sessions[i]);
	while (run.done < run.logins) {
		struct epoll_event events[64];
		int                count = epoll_wait(run.epoll, events, 64, 30000);

		if (count <= 0) {
			fprintf(stderr, "pop3-source: nothing came for 30 s, %d done\n", run.done);
			return 75;
		}
		for (int i = 0; i < count; i++)
			take_input(events[i].data.ptr);
	}
	double seconds = now() - start;
	printf("%d %.3f %.1f\n", run.done, seconds, run.done / seconds);
	return 0;
}
