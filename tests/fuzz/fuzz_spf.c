/* SPF records of strangers, as `dakiya check --online' follows them: an end, and no more lookups.
 */
/* links: tools/dakiya/online_spf.c */
#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include "tools/dakiya/online.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each question for a TXT record gets the next line, the last one for ever. */
struct fake {
	struct online online;
	struct slice  rest, line;
	unsigned      asked;
};

enum dns_status
online_ask(struct online *online, const char *name, enum dns_type type, struct dns_answer *answer,
           struct error *error)
{
	struct fake *fake = (struct fake *)online;
	struct slice line;

	(void)name;
	(void)error;
	fake->asked++;
	*answer = (struct dns_answer){ .count = 1 };
	answer->records = arena_alloc(&online->arena, sizeof(struct dns_record));
	if (answer->records == NULL)
		return DNS_TRY_LATER;
	switch (type) {
	case DNS_TXT:
		if (slice_next_part(&fake->rest, '\n', &line))
			fake->line = line;
		answer->records[0].data = fake->line;
		return fake->line.length == 0 ? DNS_NO_DATA : DNS_FOUND;
	case DNS_MX: answer->records[0].target = SLICE("mx.example"); return DNS_FOUND;
	case DNS_A: answer->records[0].data = SLICE("\300\0\2\7"); return DNS_FOUND;
	default: return fake->asked % 2 == 0 ? DNS_NO_NAME : DNS_TRY_LATER;
	}
}

const char *
online_text(struct online *online, const char *format, ...)
{
	struct buf  text = BUF(10000);
	va_list     arguments;
	const char *copy;

	va_start(arguments, format);
	buf_append_vformat(&text, format, arguments);
	va_end(arguments);
	copy = arena_text(&online->arena, slice_from(buf_text(&text)));
	buf_free(&text);
	return copy == NULL ? "" : copy;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct online_address v4 = { .text = "192.0.2.7", .bytes = { 192, 0, 2, 7 }, .length = 4 };
	struct online_address v6 = { .text = "2001:db8::7", .length = 16 };

	if (size < 1 || size > 10000)
		return 0;
	struct fake *fake = calloc(1, sizeof(*fake));
	struct spf   spf = { .online = &fake->online,
		             .address = data[0] % 2 == 0 ? &v4 : &v6,
		             .problem = BUF(1000) };

	fake->online.arena = ARENA(4u * 1024 * 1024);
	fake->rest = slice_of((const char *)data + 1, size - 1);
	enum spf_result result = online_spf(&spf, "example.org", 0);
	assert(result != SPF_PERMERROR || spf.lookups <= SPF_LOOKUPS_MOST + 1);
	/* RFC 7208 4.6.4: ten mechanisms that ask, each of at most ten hosts. */
	assert(fake->asked <= 2 + (SPF_LOOKUPS_MOST + 1) * 12);
	buf_free(&spf.problem);
	arena_reset(&fake->online.arena);
	free(fake);
	return 0;
}
