/* unbound.c - see unbound.h. */
#include "lib/dns/unbound.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/dns/name.h"

#define WORD_MOST  300
#define ENTRY_MOST 4096
/* Where memory is little: a part of it for each cache, and few questions at a time. */
#define CACHE_PART  64
#define FEW_QUERIES 50
#define FEW_TCP     "4"

struct applying {
	struct ub_ctx           *context;
	const struct parameters *parameters;
	bool                     asks_localhost; /* a configured server is on this host */
	int64_t                  memory_limit;
	bool                     is_memory_little;
};

bool
unbound_next_entry(struct slice *rest, struct slice *entry, bool *is_bad)
{
	*is_bad = false;
	while (rest->length > 0 && (ascii_is_space(rest->data[0]) || rest->data[0] == ','))
		*rest = slice_from_offset(*rest, 1);
	if (rest->length == 0)
		return false;
	bool   is_braced = rest->data[0] == '{';
	size_t end = slice_find_byte(*rest, is_braced ? '}' : ',');
	if (is_braced && end == SLICE_NOT_FOUND) {
		*is_bad = true;
		return false;
	}
	if (end == SLICE_NOT_FOUND)
		end = rest->length;
	*entry = slice_trim(slice_of(rest->data + is_braced, end - is_braced));
	*rest = slice_from_offset(*rest, end + 1);
	return true;
}

static bool
option_set(struct applying *applying, const char *option, const char *value, struct error *error)
{
	int result = ub_ctx_set_option(applying->context, option, value);

	return result == 0 ||
	       error_set(error, "libunbound refuses %s %s: %s", option, value, ub_strerror(result));
}

static bool
option_set_number(struct applying *applying, const char *option, int64_t number,
                  struct error *error)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)number);
	return option_set(applying, option, text, error);
}

static bool
word_copy(struct slice word, char copy[WORD_MOST])
{
	if (word.length == 0 || word.length >= WORD_MOST)
		return false;
	memcpy(copy, word.data, word.length);
	copy[word.length] = '\0';
	return strlen(copy) == word.length;
}

/* "address" or "address@port"; libunbound checks the rest. */
static bool
server_take(struct applying *applying, struct slice word, char server[WORD_MOST])
{
	unsigned char bytes[16];
	struct slice  address = slice_first(word, slice_find_byte(word, '@'));
	size_t        length = dns_address_parse(address, bytes);

	if (length == 0 || !word_copy(word, server))
		return false;
	if ((length == 4 && bytes[0] == 127) || slice_equal(address, SLICE("::1")))
		applying->asks_localhost = true;
	return true;
}

static bool
apply_forwarders(struct applying *applying, struct error *error)
{
	struct slice rest = slice_from(applying->parameters->resolver_forwarders), word;
	char         server[WORD_MOST];

	while (slice_next_word(&rest, ", \t\n", &word)) {
		int result;

		if (slice_equal(word, SLICE("system"))) {
			result = ub_ctx_resolvconf(applying->context, NULL);
			applying->asks_localhost = true; /* as systemd-resolved has it */
		} else if (server_take(applying, word, server)) {
			result = ub_ctx_set_fwd(applying->context, server);
		} else {
			return error_set(error, "not address or address@port: %.*s",
			                 SLICE_ARGS(slice_first(word, 100)));
		}
		if (result != 0)
			return error_set(error, "%.*s: %s", SLICE_ARGS(word), ub_strerror(result));
	}
	return true;
}

/*
 * libunbound answers "does not exist" for .test, 127.in-addr.arpa and their like by itself; a
 * zone that is configured here is asked for all the same.
 */
static bool
zone_open(struct applying *applying, const char *zone, struct error *error)
{
	char setting[WORD_MOST + 20];

	snprintf(setting, sizeof(setting), "%s transparent", zone);
	return option_set(applying, "local-zone:", setting, error);
}

static bool
apply_stub_zone(struct applying *applying, struct slice entry, struct error *error)
{
	char         zone[WORD_MOST], server[WORD_MOST];
	struct slice word;
	size_t       servers = 0;

	if (!slice_next_word(&entry, " \t\n", &word) || !word_copy(word, zone))
		return error_set(error, "a zone's name is missing or too long");
	while (slice_next_word(&entry, " \t\n", &word)) {
		if (!server_take(applying, word, server))
			return error_set(error, "%s: not address or address@port: %.*s", zone,
			                 SLICE_ARGS(slice_first(word, 100)));
		int result = ub_ctx_set_stub(applying->context, zone, server, 0);
		if (result != 0)
			return error_set(error, "%s %s: %s", zone, server, ub_strerror(result));
		servers++;
	}
	if (servers == 0)
		return error_set(error, "%s: a server is missing", zone);
	return zone_open(applying, zone, error);
}

static bool
apply_stub_zones(struct applying *applying, struct error *error)
{
	struct slice rest = slice_from(applying->parameters->resolver_stub_zones), entry;
	bool         is_bad;

	while (unbound_next_entry(&rest, &entry, &is_bad))
		if (!apply_stub_zone(applying, entry, error))
			return false;
	return !is_bad || error_set(error, "a } is missing");
}

static bool
apply_insecure_zones(struct applying *applying, struct error *error)
{
	struct slice rest = slice_from(applying->parameters->resolver_insecure_zones), word;
	char         zone[WORD_MOST];

	while (slice_next_word(&rest, ", \t\n", &word))
		if (!word_copy(word, zone))
			return error_set(error, "a zone's name is too long");
		else if (!option_set(applying, "domain-insecure:", zone, error))
			return false;
	return true;
}

static bool
apply_local_data(struct applying *applying, struct error *error)
{
	struct slice rest = slice_from(applying->parameters->resolver_local_data), entry;
	bool         is_bad;
	char         record[ENTRY_MOST];

	while (unbound_next_entry(&rest, &entry, &is_bad)) {
		if (entry.length >= sizeof(record))
			return error_set(error, "a record is longer than %d characters",
			                 ENTRY_MOST - 1);
		memcpy(record, entry.data, entry.length);
		record[entry.length] = '\0';
		int result = ub_ctx_data_add(applying->context, record);
		/* Its answer to what it cannot read is that memory is out. */
		if (result != 0)
			return error_set(error, "%.200s: %s", record,
			                 result == UB_NOMEM ? "not a DNS record"
			                                    : ub_strerror(result));
	}
	return !is_bad || error_set(error, "a } is missing");
}

/* Without a trust anchor libunbound would call everything insecure: say so, once. */
static bool
apply_dnssec(struct applying *applying, struct error *error)
{
	const char *anchors = applying->parameters->resolver_trust_anchor_file;

	if (!applying->parameters->resolver_dnssec)
		return option_set(applying, "module-config:", "iterator", error);
	if (anchors[0] == '\0' || access(anchors, R_OK) != 0) {
		log_warning("resolver_trust_anchor_file %s cannot be read: DNSSEC is not validated",
		            anchors);
		return option_set(applying, "module-config:", "iterator", error);
	}
	int result = ub_ctx_add_ta_file(applying->context, anchors);
	if (result != 0)
		return error_set(error, "%s: %s", anchors, ub_strerror(result));
	return option_set(applying, "module-config:", "validator iterator", error);
}

static bool
apply_root_hints(struct applying *applying, struct error *error)
{
	const char *hints = applying->parameters->resolver_root_hints;

	if (hints[0] == '\0')
		return true;
	if (access(hints, R_OK) != 0)
		return error_set_errno(error, "%s", hints);
	return option_set(applying, "root-hints:", hints, error);
}

static bool
apply_interfaces(struct applying *applying, struct error *error)
{
	struct slice rest = slice_from(applying->parameters->resolver_outgoing_interfaces), word;
	char         address[WORD_MOST];

	while (slice_next_word(&rest, ", \t\n", &word))
		if (!word_copy(word, address))
			return error_set(error, "an address is too long");
		else if (!option_set(applying, "outgoing-interface:", address, error))
			return false;
	return true;
}

static bool
apply_protocols(struct applying *applying, struct error *error)
{
	struct slice rest = slice_from(applying->parameters->inet_protocols), word;
	bool         has_ipv4 = false, has_ipv6 = false;

	while (slice_next_word(&rest, ", \t\n", &word)) {
		bool is_all = slice_equal(word, SLICE("all"));

		has_ipv4 = has_ipv4 || is_all || slice_equal(word, SLICE("ipv4"));
		has_ipv6 = has_ipv6 || is_all || slice_equal(word, SLICE("ipv6"));
	}
	return option_set(applying, "do-ip4:", has_ipv4 || !has_ipv6 ? "yes" : "no", error) &&
	       option_set(applying, "do-ip6:", has_ipv6 ? "yes" : "no", error);
}

static bool
apply_sizes(struct applying *applying, struct error *error)
{
	const struct parameters *p = applying->parameters;
	int64_t                  queries = p->resolver_queries_limit, size = p->resolver_cache_size;

	if (applying->is_memory_little && queries > FEW_QUERIES)
		queries = FEW_QUERIES;
	if (applying->is_memory_little && size > applying->memory_limit / CACHE_PART)
		size = applying->memory_limit / CACHE_PART;
	int64_t range = queries * 2;
	return option_set_number(applying, "msg-cache-size:", size, error) &&
	       option_set_number(applying, "rrset-cache-size:", size * 2, error) &&
	       option_set_number(applying, "key-cache-size:", size / 2, error) &&
	       option_set_number(applying, "cache-max-ttl:", p->resolver_cache_max_ttl, error) &&
	       option_set_number(applying,
	                         "cache-max-negative-ttl:", p->resolver_cache_max_negative_ttl,
	                         error) &&
	       option_set_number(applying, "num-queries-per-thread:", queries, error) &&
	       option_set_number(applying, "outgoing-range:", range > 4096 ? 4096 : range, error);
}

static bool
apply_fixed(struct applying *applying, struct error *error)
{
	static const char *const rows[][2] = {
		{ "use-syslog:", "no" },
		{ "edns-buffer-size:", "1232" }, /* DNS flag day 2020: no fragments */
		{ "harden-glue:", "yes" },
		{ "harden-dnssec-stripped:", "yes" },
		{ "harden-referral-path:", "no" },
		{ "qname-minimisation:", "yes" },
		{ "unblock-lan-zones:", "yes" }, /* PTR of the LAN's addresses, where forwarded */
		{ "insecure-lan-zones:", "yes" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!option_set(applying, rows[i][0], rows[i][1], error))
			return false;
	/* Each has a buffer of 64 KB. */
	return option_set(applying,
	                  "outgoing-num-tcp:", applying->is_memory_little ? FEW_TCP : "64",
	                  error) &&
	       option_set(applying,
	                  "do-not-query-localhost:", applying->asks_localhost ? "no" : "yes",
	                  error);
}

/* In this order: local data ends the time in which settings may change. */
static const struct {
	const char *parameter;
	bool (*apply)(struct applying *applying, struct error *error);
} steps[] = {
	{ "inet_protocols", apply_protocols },
	{ "resolver_cache_size", apply_sizes },
	{ "resolver_forwarders", apply_forwarders },
	{ "resolver_stub_zones", apply_stub_zones },
	{ "resolver_insecure_zones", apply_insecure_zones },
	{ "resolver_outgoing_interfaces", apply_interfaces },
	{ "resolver_root_hints", apply_root_hints },
	{ "resolver_trust_anchor_file", apply_dnssec },
	{ "resolver", apply_fixed },
	{ "resolver_local_data", apply_local_data },
};

static bool
apply_all(struct applying *applying, struct error *error)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!steps[i].apply(applying, error))
			return error_prefix(error, "%s", steps[i].parameter);
	/* Does nothing but makes libunbound read its files now and complain now. */
	int result = ub_ctx_zone_remove(applying->context, "dakiya.invalid");
	return result == 0 || error_set(error, "resolver: %s", ub_strerror(result));
}

struct ub_ctx *
unbound_create(const struct parameters *parameters, struct error *error)
{
	struct applying applying = { .context = ub_ctx_create(), .parameters = parameters };
	struct memory  *memory = memory_open("");
	char           *words = NULL;
	size_t          words_length = 0;

	applying.memory_limit = memory_limit(memory);
	applying.is_memory_little = memory_is_little(memory);
	memory_close(&memory);
	if (applying.context == NULL) {
		error_set_errno(error, "libunbound cannot start");
		return NULL;
	}
	/* libunbound's own words on a bad setting go where we can read them, later ones nowhere:
	 * a log line for each lame server in the world helps nobody. */
	FILE *listener = open_memstream(&words, &words_length);
	ub_ctx_debugout(applying.context, listener);
	ub_ctx_async(applying.context, 1); /* fails only once settings are final */
	bool is_good = apply_all(&applying, error);
	ub_ctx_debugout(applying.context, NULL);
	if (listener != NULL)
		fclose(listener);
	if (!is_good && words_length > 0 && error != NULL) {
		char   copy[200];
		size_t end = words_length < sizeof(copy) - 1 ? words_length : sizeof(copy) - 1;

		memcpy(copy, words, end);
		copy[end] = '\0';
		struct error first = *error;
		error_set(error, "%.250s (%s)", first.text, copy);
	}
	free(words);
	if (!is_good)
		ub_ctx_delete(applying.context);
	return is_good ? applying.context : NULL;
}
