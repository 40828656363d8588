/* fuzz_dns_answer.c - record data of every type, as libunbound would hand it over. */
#include <stdlib.h>

#include "lib/dns/name.h"
#include "lib/dns/unbound_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* First byte: which type; the rest is cut into records of the length in front of each. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int      types[] = { DNS_A,   DNS_NS,   DNS_CNAME, DNS_SOA,  DNS_PTR, DNS_MX,
		                          DNS_TXT, DNS_AAAA, DNS_SRV,   DNS_TLSA, DNS_CAA, 99 };
	char                 *records[65] = { 0 };
	int                   lengths[65] = { 0 };
	struct ub_result      result = { .data = records, .len = lengths, .havedata = 1, .ttl = 5 };
	struct arena          arena = ARENA(1u << 20);
	struct buf            list = BUF(120u * 1024);
	struct msg_dns_answer answer;
	struct msg_dns_record record;
	size_t                count = 0, at = 1;
	char                  name[] = "example.test";

	if (size < 1)
		return 0;
	result.qname = name;
	result.qtype = types[data[0] % (sizeof(types) / sizeof(types[0]))];
	while (at < size && count < 64) {
		size_t length = data[at++];

		if (length > size - at)
			length = size - at;
		/* A copy of its own, so that a byte too many is seen. */
		records[count] = malloc(length + 1);
		if (records[count] == NULL)
			break;
		records[count] = realloc(records[count], length > 0 ? length : 1);
		memcpy(records[count], data + at, length);
		lengths[count++] = (int)length;
		at += length;
	}
	unbound_answer(&result, &arena, &list, &answer);
	struct slice rest = answer.records;
	while (msg_dns_record_next(&rest, &record))
		if (!dns_name_is_normal(record.target))
			abort();
	if (rest.data == NULL)
		abort();
	for (size_t i = 0; i < count; i++)
		free(records[i]);
	buf_free(&list);
	arena_reset(&arena);
	return 0;
}
