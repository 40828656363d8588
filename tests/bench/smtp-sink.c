/*
 * smtp-sink.c - accepts any mail over many SMTP sessions and throws it away, as fast as it can.
 *
 *   smtp-sink [-n MESSAGES] ADDRESS:PORT
 *
 * One thread around epoll; PIPELINING, 8BITMIME, SIZE. With -n it ends after so many messages and
 * prints "MESSAGES SECONDS CONNECTIONS", the time counted from the first connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct session {
	int    fd;
	bool   is_content;
	int    matched; /* bytes of CRLF.CRLF seen */
	char   line[1024];
	size_t line_length;
	char   out[8192];
	size_t out_length;
};

static struct {
	int    epoll, listener;
	long   messages, most, connections;
	double first;
} run;

static const char end_of_data[] = "\r\n.\r\n";

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
answer(struct session *session, const char *text)
{
	size_t length = strlen(text);

	if (session->out_length + length <= sizeof(session->out)) {
		memcpy(session->out + session->out_length, text, length);
		session->out_length += length;
	}
}

static void
message_done(struct session *session)
{
	session->is_content = false;
	run.messages++;
	answer(session, "250 2.0.0 Ok: thrown away\r\n");
}

/* The end of the content within data; how many bytes belong to it. */
static size_t
take_content(struct session *session, const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (session->matched == 0) {
			const char *next = memchr(data + i, '\r', length - i);
			if (next == NULL)
				return length;
			i = (size_t)(next - data);
		}
		if (data[i] == end_of_data[session->matched])
			session->matched++;
		else
			session->matched = data[i] == '\r' ? 1 : 0;
		if (session->matched == 5) {
			message_done(session);
			return i + 1;
		}
	}
	return length;
}

static void
take_command(struct session *session)
{
	const char *line = session->line;

	if (strncasecmp(line, "EHLO", 4) == 0) {
		answer(session, "250-sink.test\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n"
		                "250 SMTPUTF8\r\n");
	} else if (strncasecmp(line, "DATA", 4) == 0) {
		answer(session, "354 go on\r\n");
		session->is_content = true;
		session->matched = 2;
	} else if (strncasecmp(line, "QUIT", 4) == 0) {
		answer(session, "221 2.0.0 Bye\r\n");
	} else {
		answer(session, "250 2.0.0 Ok\r\n");
	}
}

static void
take(struct session *session, const char *data, size_t length)
{
	size_t at = 0;

	while (at < length) {
		if (session->is_content) {
			at += take_content(session, data + at, length - at);
			continue;
		}
		char byte = data[at++];
		if (session->line_length < sizeof(session->line) - 1)
			session->line[session->line_length++] = byte;
		if (byte == '\n') {
			session->line[session->line_length] = '\0';
			session->line_length = 0;
			take_command(session);
		}
	}
}

static void
accept_all(void)
{
	for (;;) {
		int fd = accept4(run.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		struct session *session = calloc(1, sizeof(*session));
		if (session == NULL)
			exit(71);
		session->fd = fd;
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = session };
		epoll_ctl(run.epoll, EPOLL_CTL_ADD, fd, &event);
		if (run.connections++ == 0)
			run.first = now();
		static const char greeting[] = "220 sink.test ESMTP\r\n";
		if (send(fd, greeting, sizeof(greeting) - 1, MSG_NOSIGNAL) < 0)
			perror("smtp-sink: send");
	}
}

static void
serve(struct session *session)
{
	char    data[65536];
	ssize_t got = recv(session->fd, data, sizeof(data), 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		close(session->fd);
		free(session);
		return;
	}
	take(session, data, (size_t)got);
	if (session->out_length > 0 &&
	    send(session->fd, session->out, session->out_length, MSG_NOSIGNAL) < 0)
		perror("smtp-sink: send");
	session->out_length = 0;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int                option, one = 1;
	char               host[64];

	while ((option = getopt(argc, argv, "n:")) != -1) {
		if (option != 'n')
			return 64;
		run.most = strtol(optarg, NULL, 10);
	}
	const char *colon = optind + 1 == argc ? strrchr(argv[optind], ':') : NULL;
	if (colon == NULL || (size_t)(colon - argv[optind]) >= sizeof(host))
		return 64;
	memcpy(host, argv[optind], (size_t)(colon - argv[optind]));
	host[colon - argv[optind]] = '\0';
	address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	inet_pton(AF_INET, host, &address.sin_addr);
	run.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(run.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(run.listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(run.listener, 1024) != 0) {
		perror("smtp-sink");
		return 71;
	}
	run.epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	epoll_ctl(run.epoll, EPOLL_CTL_ADD, run.listener, &event);
	while (run.most == 0 || run.messages < run.most) {
		struct epoll_event events[64];
		int                count = epoll_wait(run.epoll, events, 64, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				accept_all();
			else
				serve(events[i].data.ptr);
		}
	}
	printf("%ld %.3f %ld\n", run.messages, now() - run.first, run.connections);
	return 0;
}
