/*
 * smtp-source.c - sends many messages over many SMTP sessions at once; prints the rate.
 *
 *   smtp-source -s SESSIONS -m MESSAGES -l BYTES [-r RECIPIENTS] [-u USERS] [-p] [-b] [-1]
 *               [-f FROM] [-t PATTERN] ADDRESS:PORT
 *
 * One thread around epoll, so that what is measured is the server. PATTERN holds %d for the number
 * of a user, 0 .. USERS-1, taken in turn. -p sends MAIL, RCPT and DATA in one write (PIPELINING),
 * -b sends the content by BDAT, in one chunk, -1 makes a new connection for each message. Ends with
 * "MESSAGES SECONDS RATE".
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

enum step { GREETING, HELLO, MAIL, RCPT, DATA, CONTENT, QUIT };

struct session {
	int       fd;
	enum step step;
	int       replies_due; /* of a pipelined group */
	int       recipients_sent;
	char      in[4096];
	size_t    in_length;
	size_t    content_sent;
};

static struct {
	int                sessions, messages, length, recipients, users;
	bool               is_pipelined, is_bdat, is_single;
	const char        *from, *to;
	struct sockaddr_in server;
	char              *content;
	size_t             content_length;
	int                started, done, failed, user;
	int                epoll;
} run = { .sessions = 10,
	  .messages = 1000,
	  .length = 4096,
	  .recipients = 1,
	  .users = 1,
	  .from = "sender@client.test",
	  .to = "user%d@example.test" };

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
make_content(void)
{
	size_t most = (size_t)run.length + 400;

	run.content = malloc(most);
	if (run.content == NULL)
		exit(71);
	int    used = snprintf(run.content, most,
	                       "From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: a message\r\n"
	                          "Date: Tue, 24 Nov 2026 09:15:02 +0000\r\nMessage-ID: <1@client.test>"
	                          "\r\n\r\n",
	                       run.from);
	size_t at = (size_t)used;
	while (at < (size_t)run.length) {
		memcpy(run.content + at,
		       "The quick brown fox jumps over the lazy dog, again and "
		       "again, and once more.\r\n",
		       79);
		at += 78;
	}
	memcpy(run.content + at, ".\r\n", 4);
	run.content_length = run.is_bdat ? at : at + 3;
}

static void
send_text(struct session *session, const char *text, size_t length)
{
	if (send(session->fd, text, length, MSG_NOSIGNAL) != (ssize_t)length) {
		perror("smtp-source: send");
		exit(75);
	}
}

static int
format_recipient(char *out, size_t size)
{
	char address[256];

	/* The pattern is this program's own argument. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(address, sizeof(address), run.to, run.user++ % run.users);
#pragma GCC diagnostic pop
	return snprintf(out, size, "RCPT TO:<%s>\r\n", address);
}

static void
begin_message(struct session *session)
{
	char   text[64 * 1024];
	size_t used;

	if (run.started >= run.messages) {
		session->step = QUIT;
		session->replies_due = 1;
		send_text(session, "QUIT\r\n", 6);
		return;
	}
	run.started++;
	used = (size_t)snprintf(text, sizeof(text), "MAIL FROM:<%s>\r\n", run.from);
	session->step = MAIL;
	session->replies_due = 1;
	session->recipients_sent = 0;
	if (run.is_pipelined) {
		for (int i = 0; i < run.recipients && used < sizeof(text) - 400; i++)
			used += (size_t)format_recipient(text + used, sizeof(text) - used);
		session->step = RCPT;
		session->recipients_sent = run.recipients;
		session->replies_due = run.recipients + 1;
		if (!run.is_bdat) {
			used += (size_t)snprintf(text + used, sizeof(text) - used, "DATA\r\n");
			session->step = DATA;
			session->replies_due++;
		}
	}
	send_text(session, text, used);
}

static void
watch(struct session *session, uint32_t events, int operation)
{
	struct epoll_event event = { .events = events, .data.ptr = session };

	if (epoll_ctl(run.epoll, operation, session->fd, &event) != 0) {
		perror("smtp-source: epoll_ctl");
		exit(71);
	}
}

static void
send_content(struct session *session)
{
	while (session->content_sent < run.content_length) {
		ssize_t sent = send(session->fd, run.content + session->content_sent,
		                    run.content_length - session->content_sent,
		                    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EAGAIN) {
			watch(session, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
			return;
		}
		if (sent < 0) {
			perror("smtp-source: send");
			exit(75);
		}
		session->content_sent += (size_t)sent;
	}
}

static void
begin_content(struct session *session)
{
	session->step = CONTENT;
	session->content_sent = 0;
	send_content(session);
}

static void
open_session(struct session *session)
{
	session->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	session->step = GREETING;
	session->replies_due = 1;
	session->in_length = 0;
	if (session->fd < 0 ||
	    connect(session->fd, (struct sockaddr *)&run.server, sizeof(run.server)) != 0) {
		perror("smtp-source: connect");
		exit(75);
	}
	watch(session, EPOLLIN, EPOLL_CTL_ADD);
}

static void
close_session(struct session *session)
{
	close(session->fd);
	session->fd = -1;
	if (run.is_single && run.started < run.messages)
		open_session(session);
}

/* All replies of the step are in and good: the next step. */
static void
advance(struct session *session)
{
	char text[512];

	session->replies_due = 1;
	switch (session->step) {
	case GREETING:
		session->step = HELLO;
		send_text(session, "EHLO client.test\r\n", 18);
		return;
	case HELLO: begin_message(session); return;
	case MAIL:
	case RCPT:
		if (session->recipients_sent < run.recipients) {
			session->recipients_sent++;
			session->step = RCPT;
			send_text(session, text, (size_t)format_recipient(text, sizeof(text)));
			return;
		}
		if (run.is_bdat) {
			send_text(session, text,
			          (size_t)snprintf(text, sizeof(text), "BDAT %zu LAST\r\n",
			                           run.content_length));
			begin_content(session);
			return;
		}
		session->step = DATA;
		send_text(session, "DATA\r\n", 6);
		return;
	case DATA: begin_content(session); return;
	case CONTENT:
		run.done++;
		if (run.is_single) {
			session->step = QUIT;
			send_text(session, "QUIT\r\n", 6);
			return;
		}
		begin_message(session);
		return;
	case QUIT: close_session(session); return;
	}
}

static void
take_line(struct session *session, const char *line, size_t length)
{
	if (length < 4 || line[3] == '-')
		return;
	if (line[0] != '2' && line[0] != '3') {
		fprintf(stderr, "smtp-source: step %d: %.*s\n", session->step, (int)length, line);
		exit(76);
	}
	if (--session->replies_due == 0)
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
			fprintf(stderr, "smtp-source: connection lost in step %d\n", session->step);
			exit(76);
		}
		close_session(session);
		return;
	}
	session->in_length += (size_t)got;
	size_t start = 0;
	for (;;) {
		char *end = memchr(session->in + start, '\n', session->in_length - start);
		if (end == NULL || session->fd < 0)
			break;
		take_line(session, session->in + start, (size_t)(end - session->in) - start);
		start = (size_t)(end - session->in) + 1;
		if (session->in_length == 0)
			return; /* reopened */
	}
	memmove(session->in, session->in + start, session->in_length - start);
	session->in_length -= start;
}

static void
parse_server(const char *text)
{
	char        address[64];
	const char *colon = strrchr(text, ':');

	if (colon == NULL || (size_t)(colon - text) >= sizeof(address))
		exit(64);
	memcpy(address, text, (size_t)(colon - text));
	address[colon - text] = '\0';
	run.server.sin_family = AF_INET;
	run.server.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	if (inet_pton(AF_INET, address, &run.server.sin_addr) != 1)
		exit(64);
}

int
main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "s:m:l:r:u:pb1f:t:")) != -1) {
		switch (option) {
		case 's': run.sessions = (int)strtol(optarg, NULL, 10); break;
		case 'm': run.messages = (int)strtol(optarg, NULL, 10); break;
		case 'l': run.length = (int)strtol(optarg, NULL, 10); break;
		case 'r': run.recipients = (int)strtol(optarg, NULL, 10); break;
		case 'u': run.users = (int)strtol(optarg, NULL, 10); break;
		case 'p': run.is_pipelined = true; break;
		case 'b': run.is_bdat = true; break;
		case '1': run.is_single = true; break;
		case 'f': run.from = optarg; break;
		case 't': run.to = optarg; break;
		default: return 64;
		}
	}
	if (optind + 1 != argc || run.sessions < 1 || run.users < 1)
		return 64;
	parse_server(argv[optind]);
	make_content();
	run.epoll = epoll_create1(EPOLL_CLOEXEC);
	struct session *sessions = calloc((size_t)run.sessions, sizeof(*sessions));
	if (sessions == NULL)
		return 71;
	double start = now();
	for (int i = 0; i < run.sessions; i++)
		open_session(&sessions[i]);
	while (run.done < run.messages) {
		struct epoll_event events[64];
		int                count = epoll_wait(run.epoll, events, 64, 30000);

		if (count <= 0) {
			fprintf(stderr, "smtp-source: nothing came for 30 s, %d done\n", run.done);
			return 75;
		}
		for (int i = 0; i < count; i++) {
			struct session *session = events[i].data.ptr;

			if (session->fd >= 0 && (events[i].events & EPOLLOUT) != 0) {
				watch(session, EPOLLIN, EPOLL_CTL_MOD);
				send_content(session);
			}
			if (session->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP)) != 0)
				take_input(session);
		}
	}
	double seconds = now() - start;
	printf("%d %.3f %.1f\n", run.done, seconds, run.done / seconds);
	return 0;
}
