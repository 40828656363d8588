/*
 * online_spf.c - an SPF record read for one of our addresses (RFC 7208); see online.h.
 *
 * For an admin before the mail is sent, not for mail that comes: macros, which need a message, are
 * left open.
 */
#include <string.h>

#include "lib/base/number.h"
#include "lib/table/net.h"
#include "tools/dakiya/online.h"

#define MX_HOSTS_MOST 10

/* One mechanism: "~include:example.org", "a/24", taken apart. */
struct mechanism {
	enum spf_result result; /* when it matches */
	struct slice    name;
	struct slice    argument; /* behind the colon, without prefix lengths */
	unsigned        bits4, bits6;
};

enum match { MATCH_YES, MATCH_NO, MATCH_TEMPERROR, MATCH_PERMERROR, MATCH_MACRO };

static enum match
wrong(struct spf *spf, const char *text, struct slice word)
{
	if (spf->problem.length == 0) {
		buf_append_text(&spf->problem, text);
		buf_append_printable(&spf->problem, slice_first(word, 200));
	}
	return MATCH_PERMERROR;
}

/* "/24", "//64", "/24//64" at the end. */
static bool
take_lengths(struct slice *text, struct mechanism *mechanism)
{
	size_t  slash = slice_find_byte(*text, '/');
	int64_t bits;

	mechanism->bits4 = 32;
	mechanism->bits6 = 128;
	if (slash == SLICE_NOT_FOUND)
		return true;
	struct slice rest = slice_from_offset(*text, slash + 1);
	*text = slice_first(*text, slash);
	size_t second = slice_find(rest, SLICE("//"));
	if (rest.length > 0 && rest.data[0] == '/') {
		rest = slice_from_offset(rest, 1);
		if (!number_parse(rest, 0, 128, &bits))
			return false;
		mechanism->bits6 = (unsigned)bits;
		return true;
	}
	if (!number_parse(slice_first(rest, second), 0, 32, &bits))
		return false;
	mechanism->bits4 = (unsigned)bits;
	if (second == SLICE_NOT_FOUND)
		return true;
	if (!number_parse(slice_from_offset(rest, second + 2), 0, 128, &bits))
		return false;
	mechanism->bits6 = (unsigned)bits;
	return true;
}

static bool
parse_mechanism(struct slice word, struct mechanism *mechanism)
{
	static const struct {
		char            qualifier;
		enum spf_result result;
	} rows[] = {
		{ '+', SPF_PASS }, { '-', SPF_FAIL }, { '~', SPF_SOFTFAIL }, { '?', SPF_NEUTRAL }
	};

	*mechanism = (struct mechanism){ .result = SPF_PASS };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (word.length > 0 && word.data[0] == rows[i].qualifier) {
			mechanism->result = rows[i].result;
			word = slice_from_offset(word, 1);
			break;
		}
	}
	size_t colon = slice_find_byte(word, ':');
	mechanism->name = slice_first(word, colon);
	mechanism->argument =
		colon == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(word, colon + 1);
	/* In ip4 and ip6 the length belongs to the network. */
	if (slice_starts_with_fold(mechanism->name, SLICE("ip")))
		return true;
	return take_lengths(colon == SLICE_NOT_FOUND ? &mechanism->name : &mechanism->argument,
	                    mechanism);
}

static bool
is_same_net(const struct spf *spf, struct slice bytes, const struct mechanism *mechanism)
{
	unsigned bits = bytes.length == 4 ? mechanism->bits4 : mechanism->bits6;

	if (bytes.length != spf->address->length)
		return false;
	for (unsigned i = 0; i < bits; i++) {
		unsigned char mask = (unsigned char)(0x80u >> (i % 8));

		if (((unsigned char)bytes.data[i / 8] & mask) !=
		    (spf->address->bytes[i / 8] & mask))
			return false;
	}
	return true;
}

static enum match
match_host(struct spf *spf, const char *host, const struct mechanism *mechanism)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	enum dns_status   status = online_ask(
		  spf->online, host, spf->address->length == 4 ? DNS_A : DNS_AAAA, &answer, &error);

	if (status == DNS_TRY_LATER || status == DNS_BOGUS)
		return MATCH_TEMPERROR;
	for (size_t i = 0; status == DNS_FOUND && i < answer.count; i++) {
		if (is_same_net(spf, answer.records[i].data, mechanism))
			return MATCH_YES;
	}
	return MATCH_NO;
}

static enum match
match_mx(struct spf *spf, const char *domain, const struct mechanism *mechanism)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	enum dns_status   status = online_ask(spf->online, domain, DNS_MX, &answer, &error);

	if (status == DNS_TRY_LATER || status == DNS_BOGUS)
		return MATCH_TEMPERROR;
	for (size_t i = 0; status == DNS_FOUND && i < answer.count && i < MX_HOSTS_MOST; i++) {
		const char *host =
			online_text(spf->online, "%.*s", SLICE_ARGS(answer.records[i].target));
		/* A null MX has no name to ask for. */
		enum match match = host[0] == '\0' ? MATCH_NO : match_host(spf, host, mechanism);

		if (match != MATCH_NO)
			return match;
	}
	return MATCH_NO;
}

static enum match
match_network(const struct spf *spf, const struct mechanism *mechanism)
{
	struct net one, net;

	return net_parse_address(slice_from(spf->address->text), &one) &&
	                       net_parse(mechanism->argument, &net, NULL) &&
	                       net_contains(&net, &one)
	               ? MATCH_YES
	               : MATCH_NO;
}

static enum match
match_include(struct spf *spf, const char *domain, unsigned depth)
{
	switch (online_spf(spf, domain, depth + 1)) {
	case SPF_PASS: return MATCH_YES;
	case SPF_FAIL:
	case SPF_SOFTFAIL:
	case SPF_NEUTRAL: return MATCH_NO;
	case SPF_TEMPERROR: return MATCH_TEMPERROR;
	case SPF_MACRO: return MATCH_MACRO;
	case SPF_NONE: return wrong(spf, "there is no record at include:", slice_from(domain));
	case SPF_PERMERROR: return MATCH_PERMERROR;
	}
	return MATCH_PERMERROR;
}

static enum match
match_mechanism(struct spf *spf, const char *domain, const struct mechanism *mechanism,
                unsigned depth)
{
	struct slice name = mechanism->name;
	const char  *target =
                mechanism->argument.length == 0
			 ? domain
			 : online_text(spf->online, "%.*s", SLICE_ARGS(mechanism->argument));

	if (slice_equal_fold(name, SLICE("all")))
		return MATCH_YES;
	if (slice_equal_fold(name, SLICE("ip4")) || slice_equal_fold(name, SLICE("ip6")))
		return match_network(spf, mechanism);
	if (++spf->lookups > SPF_LOOKUPS_MOST)
		return wrong(spf, "more than 10 lookups, at ", name);
	if (strchr(target, '%') != NULL)
		return MATCH_MACRO;
	if (slice_equal_fold(name, SLICE("a")))
		return match_host(spf, target, mechanism);
	if (slice_equal_fold(name, SLICE("mx")))
		return match_mx(spf, target, mechanism);
	if (slice_equal_fold(name, SLICE("include")))
		return match_include(spf, target, depth);
	if (slice_equal_fold(name, SLICE("ptr")) || slice_equal_fold(name, SLICE("exists")))
		return MATCH_MACRO;
	return wrong(spf, "unknown mechanism ", name);
}

static enum spf_result
evaluate(struct spf *spf, const char *domain, struct slice record, unsigned depth)
{
	struct slice     rest = slice_from_offset(record, 6), word, redirect = SLICE_EMPTY;
	struct mechanism mechanism;
	bool             has_macro = false;

	while (slice_next_word(&rest, " ", &word)) {
		size_t equals = slice_find_byte(word, '=');

		/* A modifier has its '=' in front of any ':' or '/'. */
		if (equals != SLICE_NOT_FOUND &&
		    slice_find_byte(slice_first(word, equals), ':') == SLICE_NOT_FOUND &&
		    slice_find_byte(slice_first(word, equals), '/') == SLICE_NOT_FOUND) {
			if (slice_starts_with_fold(word, SLICE("redirect=")))
				redirect = slice_from_offset(word, 9);
			continue;
		}
		if (!parse_mechanism(word, &mechanism)) {
			(void)wrong(spf, "malformed: ", word);
			return SPF_PERMERROR;
		}
		switch (match_mechanism(spf, domain, &mechanism, depth)) {
		case MATCH_YES: return has_macro ? SPF_MACRO : mechanism.result;
		case MATCH_NO: break;
		case MATCH_MACRO: has_macro = true; break;
		case MATCH_TEMPERROR: return SPF_TEMPERROR;
		case MATCH_PERMERROR: return SPF_PERMERROR;
		}
	}
	if (redirect.length == 0)
		return has_macro ? SPF_MACRO : SPF_NEUTRAL;
	if (++spf->lookups > SPF_LOOKUPS_MOST) {
		(void)wrong(spf, "more than 10 lookups, at redirect=", redirect);
		return SPF_PERMERROR;
	}
	if (slice_contains_byte(redirect, '%'))
		return SPF_MACRO;
	return online_spf(spf, online_text(spf->online, "%.*s", SLICE_ARGS(redirect)), depth + 1);
}

static bool
is_spf(struct slice text)
{
	return slice_equal_fold(slice_first(text, 6), SLICE("v=spf1")) &&
	       (text.length == 6 || text.data[6] == ' ');
}

enum spf_result
online_spf(struct spf *spf, const char *domain, unsigned depth)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	struct slice      record = SLICE_EMPTY;
	enum dns_status   status;

	/* Each level takes one of the lookups; this only bounds the stack. */
	if (depth > SPF_LOOKUPS_MOST + 1)
		return SPF_PERMERROR;
	status = online_ask(spf->online, domain, DNS_TXT, &answer, &error);
	if (status == DNS_TRY_LATER || status == DNS_BOGUS)
		return SPF_TEMPERROR;
	for (size_t i = 0; status == DNS_FOUND && i < answer.count; i++) {
		if (!is_spf(answer.records[i].data))
			continue;
		if (record.length > 0) {
			(void)wrong(spf, "two SPF records at ", slice_from(domain));
			return SPF_PERMERROR;
		}
		record = answer.records[i].data;
	}
	return record.length == 0 ? SPF_NONE : evaluate(spf, domain, record, depth);
}
