/*
 * dns-zone.c - an authoritative DNS server for a zone with as many domains as one likes, by UDP.
 *
 *   dns-zone ADDRESS:PORT
 *
 * d12345.ANYTHING has an MX record mx.d12345.ANYTHING, and that has the address 127.66.23.145;
 * there is nothing else below it. Answers may be kept for a second, so every round of a bench asks
 * anew.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HEADER   12
#define TYPE_A   1
#define TYPE_SOA 6
#define TYPE_MX  15
#define TTL      1

struct answer {
	unsigned char bytes[512];
	size_t        length;
};

static void
put(struct answer *answer, const void *bytes, size_t length)
{
	if (length > sizeof(answer->bytes) - answer->length)
		exit(70);
	memcpy(answer->bytes + answer->length, bytes, length);
	answer->length += length;
}

/* A record of the name at that place of the message, up to the length of its data. */
static void
put_record(struct answer *answer, size_t name, unsigned type, size_t length)
{
	unsigned char head[12] = { (unsigned char)(0xc0 | name >> 8),
		                   (unsigned char)name,
		                   0,
		                   (unsigned char)type,
		                   0,
		                   1,
		                   0,
		                   0,
		                   0,
		                   TTL,
		                   (unsigned char)(length >> 8),
		                   (unsigned char)length };

	put(answer, head, sizeof(head));
}

/* The number of the domain in the label at that place, or -1. */
static long
domain_number(const struct answer *query, size_t at)
{
	char   digits[6] = "";
	size_t length = query->bytes[at];

	if (length != 6 || (query->bytes[at + 1] | 32) != 'd')
		return -1;
	memcpy(digits, query->bytes + at + 2, 5);
	return strtol(digits, NULL, 10);
}

/* Makes the answer of the query in place. False: it is none that we could answer. */
static bool
answer_make(struct answer *message)
{
	unsigned char *bytes = message->bytes;
	size_t         end = HEADER, zone = HEADER, labels = 0;
	long           number = -1;
	bool           is_host = false;

	if (message->length < HEADER + 5 || bytes[4] != 0 || bytes[5] != 1)
		return false;
	for (; end < message->length && bytes[end] != 0; end += bytes[end] + 1u, labels++) {
		if (number < 0 && labels < 2 && end + 7 < message->length) {
			number = domain_number(message, end);
			is_host = labels == 1;
		}
		zone = end; /* the last label: records below belong to the zone of that name */
	}
	if (end + 5 > message->length)
		return false;
	unsigned type = (unsigned)bytes[end + 1] << 8 | bytes[end + 2];
	message->length = end + 5;
	bytes[2] = 0x84; /* an answer, authoritative */
	bytes[3] = 0;
	memset(bytes + 6, 0, 6);
	if (type == TYPE_MX && number >= 0 && !is_host) {
		unsigned char data[] = { 0, 10, 2, 'm', 'x', 0xc0, HEADER };

		put_record(message, HEADER, TYPE_MX, sizeof(data));
		put(message, data, sizeof(data));
		bytes[7] = 1;
	} else if (type == TYPE_A && number >= 0 && is_host) {
		unsigned char data[] = { 127, 66, (unsigned char)(number % 10000 / 100),
			                 (unsigned char)(100 + number % 100) };

		put_record(message, HEADER, TYPE_A, sizeof(data));
		put(message, data, sizeof(data));
		bytes[7] = 1;
	} else {
		unsigned char data[24] = { 0xc0, (unsigned char)zone, 0xc0, (unsigned char)zone };

		data[23] = TTL; /* the last number: how long "nothing" is kept */
		put_record(message, zone, TYPE_SOA, sizeof(data));
		put(message, data, sizeof(data));
		bytes[9] = 1;
	}
	return true;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	char               host[64];
	int                fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const char        *colon = argc == 2 ? strrchr(argv[1], ':') : NULL;

	if (colon == NULL || (size_t)(colon - argv[1]) >= sizeof(host))
		return 64;
	memcpy(host, argv[1], (size_t)(colon - argv[1]));
	host[colon - argv[1]] = '\0';
	address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		return 64;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		perror("dns-zone");
		return 71;
	}
	for (;;) {
		struct sockaddr_in client;
		socklen_t          size = sizeof(client);
		struct answer      message;
		ssize_t            got = recvfrom(fd, message.bytes, sizeof(message.bytes) / 2, 0,
		                                  (struct sockaddr *)&client, &size);

		message.length = got > 0 ? (size_t)got : 0;
		if (answer_make(&message))
			(void)sendto(fd, message.bytes, message.length, 0,
			             (struct sockaddr *)&client, size);
	}
}
