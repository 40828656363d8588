/* unbound_answer.c - see unbound_answer.h. */
#include "lib/dns/unbound_answer.h"

#include "lib/base/log.h"
#include "lib/dns/name.h"

#define RECORDS_MOST   500
#define RCODE_SERVFAIL 2

/* The name at the start of *rdata as text; *rdata becomes what follows. */
static bool
name_take(struct slice *rdata, struct arena *arena, struct slice *name)
{
	char   text[DNS_NAME_MOST + 3];
	size_t at = 0, used = 0;

	for (;;) {
		if (at >= rdata->length)
			return false;
		size_t label = (unsigned char)rdata->data[at++];
		if (label == 0)
			break;
		if (label > 63 || label > rdata->length - at ||
		    used + label + 1 > DNS_NAME_MOST + 1)
			return false;
		if (slice_contains_byte(slice_of(rdata->data + at, label), '.'))
			return false;
		for (size_t i = 0; i < label; i++)
			text[used++] = ascii_lower(rdata->data[at + i]);
		text[used++] = '.';
		at += label;
	}
	struct slice made = slice_of(text, used > 0 ? used - 1 : 0);
	if (!dns_name_is_normal(made))
		return false;
	made = arena_copy(arena, made);
	if (made.data == NULL)
		return false;
	*name = made;
	*rdata = slice_from_offset(*rdata, at);
	return true;
}

static bool
u16_take(struct slice *rdata, uint32_t *number)
{
	if (rdata->length < 2)
		return false;
	*number = (uint32_t)(unsigned char)rdata->data[0] << 8 | (unsigned char)rdata->data[1];
	*rdata = slice_from_offset(*rdata, 2);
	return true;
}

static bool
parse_name(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	return name_take(&rdata, arena, &record->target) && rdata.length == 0;
}

static bool
parse_mx(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	return u16_take(&rdata, &record->preference) && parse_name(rdata, arena, record);
}

static bool
parse_srv(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	if (!u16_take(&rdata, &record->preference) || rdata.length < 4)
		return false;
	record->data = slice_first(rdata, 4);
	return parse_name(slice_from_offset(rdata, 4), arena, record);
}

/* MNAME RNAME and five numbers (RFC 1035 3.3.13). */
static bool
parse_soa(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	struct slice mailbox;

	record->data = rdata;
	return name_take(&rdata, arena, &record->target) && name_take(&rdata, arena, &mailbox) &&
	       rdata.length == 20;
}

static bool
parse_a(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	(void)arena;
	record->data = rdata;
	return rdata.length == 4;
}

static bool
parse_aaaa(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	(void)arena;
	record->data = rdata;
	return rdata.length == 16;
}

/* Character strings, joined (RFC 7208 3.3, 6376 3.6.2.2). */
static bool
parse_txt(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	size_t at = 0, used = 0;

	if (rdata.length == 0)
		return false;
	char *text = arena_alloc(arena, rdata.length);
	if (text == NULL)
		return false;
	while (at < rdata.length) {
		size_t length = (unsigned char)rdata.data[at++];

		if (length > rdata.length - at)
			return false;
		memcpy(text + used, rdata.data + at, length);
		used += length;
		at += length;
	}
	record->data = slice_of(text, used);
	return true;
}

/* Usage, selector, matching type, then at least one byte (RFC 6698 2.1). */
static bool
parse_tlsa(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	(void)arena;
	record->data = rdata;
	return rdata.length > 3;
}

/* Flags, tag length, tag of at least one byte, value (RFC 8659 4.1). */
static bool
parse_caa(struct slice rdata, struct arena *arena, struct msg_dns_record *record)
{
	(void)arena;
	record->data = rdata;
	return rdata.length > 2 && rdata.data[1] != 0 &&
	       (unsigned char)rdata.data[1] <= rdata.length - 2;
}

static const struct {
	enum dns_type type;
	bool (*parse)(struct slice rdata, struct arena *arena, struct msg_dns_record *record);
} type_rows[] = {
	{ DNS_A, parse_a },      { DNS_AAAA, parse_aaaa },  { DNS_MX, parse_mx },
	{ DNS_PTR, parse_name }, { DNS_CNAME, parse_name }, { DNS_NS, parse_name },
	{ DNS_TXT, parse_txt },  { DNS_TLSA, parse_tlsa },  { DNS_SOA, parse_soa },
	{ DNS_SRV, parse_srv },  { DNS_CAA, parse_caa },
};
#define TYPE_COUNT (sizeof(type_rows) / sizeof(type_rows[0]))

bool
unbound_type_is_known(uint32_t type)
{
	for (size_t i = 0; i < TYPE_COUNT; i++)
		if ((uint32_t)type_rows[i].type == type)
			return true;
	return false;
}

bool
unbound_record_parse(enum dns_type type, struct slice rdata, struct arena *arena,
                     struct msg_dns_record *record)
{
	struct msg_dns_record parsed = { .target = SLICE_EMPTY, .data = SLICE_EMPTY };

	for (size_t i = 0; i < TYPE_COUNT; i++) {
		if (type_rows[i].type != type)
			continue;
		if (!type_rows[i].parse(rdata, arena, &parsed))
			return false;
		*record = parsed;
		return true;
	}
	return false;
}

/* The records that are well-formed. False when they do not fit into an answer. */
static bool
records_append(const struct ub_result *result, struct arena *arena, struct buf *records,
               size_t *count)
{
	struct msg_dns_record record;

	for (size_t i = 0; result->data != NULL && result->data[i] != NULL; i++) {
		struct slice rdata =
			slice_of(result->data[i], result->len[i] < 0 ? 0 : (size_t)result->len[i]);

		if (!unbound_record_parse((enum dns_type)result->qtype, rdata, arena, &record)) {
			log_debug("malformed record of type %d left out", result->qtype);
			continue;
		}
		if (*count == RECORDS_MOST || !msg_dns_record_append(records, &record))
			return false;
		(*count)++;
	}
	return true;
}

static const char *
rcode_reason(int rcode)
{
	static const char *const words[] = {
		[1] = "the name server found the question malformed",
		[RCODE_SERVFAIL] = "server failure",
		[4] = "not implemented by the name server",
		[5] = "refused by the name server",
	};

	if (rcode < 0 || (size_t)rcode >= sizeof(words) / sizeof(words[0]) || words[rcode] == NULL)
		return "unexpected response code";
	return words[rcode];
}

static void
fill_found(const struct ub_result *result, struct arena *arena, struct buf *records,
           struct msg_dns_answer *message)
{
	size_t count = 0;

	if (!records_append(result, arena, records, &count)) {
		message->status = DNS_TRY_LATER;
		message->ttl_s = 0;
		message->reason = SLICE("the answer is too large");
		return;
	}
	if (count == 0) {
		/* Something is there, only nothing that we can read: not a "no". */
		message->status = DNS_TRY_LATER;
		message->ttl_s = 0;
		message->reason = SLICE("only malformed records");
		return;
	}
	message->status = DNS_FOUND;
	message->records = buf_slice(records);
}

void
unbound_answer(const struct ub_result *result, struct arena *arena, struct buf *records,
               struct msg_dns_answer *message)
{
	struct slice canonical =
		slice_from(result->canonname != NULL ? result->canonname : result->qname);
	struct slice normal;

	buf_clear(records);
	*message = msg_dns_answer_clear();
	message->records = SLICE_EMPTY;
	message->canonical = SLICE_EMPTY;
	message->reason = SLICE_EMPTY;
	if (dns_name_normalise(canonical, arena, &normal))
		message->canonical = normal;
	if (result->bogus) {
		message->status = DNS_BOGUS;
		message->reason = slice_from(result->why_bogus);
		return;
	}
	message->is_secure = result->secure != 0;
	message->ttl_s = result->ttl < 0 ? 0 : (uint32_t)result->ttl;
	if (result->havedata) {
		fill_found(result, arena, records, message);
	} else if (result->nxdomain) {
		message->status = DNS_NO_NAME;
	} else if (result->rcode == 0) {
		message->status = DNS_NO_DATA;
	} else {
		message->status = DNS_TRY_LATER;
		message->ttl_s = 0;
		message->reason = slice_from(rcode_reason(result->rcode));
	}
}
