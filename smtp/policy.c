/* policy.c - how much TLS a destination needs: smtp_tls_policy_maps, levels, names to match. */
#include "smtp/smtp.h"

#define POLICY_MOST 4096
#define NAMES_MOST  100

static const struct level_row {
	const char    *name;
	enum tls_level level;
} levels[] = {
	{ "none", TLS_NONE },           { "may", TLS_MAY },
	{ "encrypt", TLS_ENCRYPT },     { "dane", TLS_DANE },
	{ "dane-only", TLS_DANE_ONLY }, { "fingerprint", TLS_FINGERPRINT },
	{ "verify", TLS_VERIFY },       { "secure", TLS_SECURE },
};

static bool
level_parse(struct slice text, enum tls_level *level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (slice_equal_fold(text, slice_from(levels[i].name))) {
			*level = levels[i].level;
			return true;
		}
	return false;
}

static bool
refuse(struct arena *arena, struct verdict *verdict, const struct nexthop *nexthop, const char *why)
{
	*verdict = verdict_make(arena, OUTCOME_DEFERRED, "4.7.5",
	                        "TLS policy for %s cannot be followed: %s", nexthop->text, why);
	return false;
}

/* One "name=value" of a policy. An attribute that is not known defers the destination: it may be
 * the one that matters. */
static bool
take_attribute(struct slice word, struct arena *arena, struct tls_choice *choice)
{
	size_t       equals = slice_find_byte(word, '=');
	struct slice name = slice_first(word, equals == SLICE_NOT_FOUND ? word.length : equals);
	struct slice value;

	if (equals == SLICE_NOT_FOUND)
		return false;
	value = slice_from_offset(word, equals + 1);
	if (slice_equal_fold(name, SLICE("protocols")))
		return (choice->protocols = arena_text(arena, value)) != NULL;
	if (slice_equal_fold(name, SLICE("ciphers")))
		return (choice->ciphers = arena_text(arena, value)) != NULL;
	if (slice_equal_fold(name, SLICE("servername"))) {
		choice->server_name = arena_copy(arena, value);
		return choice->server_name.data != NULL;
	}
	if (slice_equal_fold(name, SLICE("match"))) {
		/* given again, the lists are joined */
		const char *joined = arena_format(arena, "%.*s|%.*s", SLICE_ARGS(choice->match),
		                                  SLICE_ARGS(value));

		choice->match = slice_from(joined);
		return joined != NULL;
	}
	/* What STS plugins tell for reports, and how connections are used: nothing to keep. */
	return slice_starts_with_fold(name, SLICE("policy_")) ||
	       slice_equal_fold(name, SLICE("mx_host_pattern")) ||
	       slice_equal_fold(name, SLICE("connection_reuse"));
}

static bool
policy_parse(struct slice text, const struct nexthop *nexthop, struct arena *arena,
             struct tls_choice *choice, struct verdict *verdict)
{
	struct slice rest = text, word;

	if (!slice_next_word(&rest, " \t\r\n,", &word) || !level_parse(word, &choice->level))
		return refuse(arena, verdict, nexthop, "unknown level");
	while (slice_next_word(&rest, " \t\r\n,", &word))
		if (!take_attribute(word, arena, choice))
			return refuse(arena, verdict, nexthop, "unknown attribute");
	return true;
}

/* FACTS 2.4: the next hop as written, then, for a plain domain, its parents with a leading dot. */
static enum lookup
policy_lookup(const struct smtp_agent *agent, const struct nexthop *nexthop, struct buf *value,
              struct error *error)
{
	struct slice key = slice_from(nexthop->text);
	enum lookup  found = table_list_lookup(agent->tls_policies, key, value, error);
	size_t       dot;

	if (found != LOOKUP_NOT_FOUND || nexthop->is_host || nexthop->has_port)
		return found;
	while (found == LOOKUP_NOT_FOUND &&
	       (dot = slice_find_byte(slice_from_offset(key, 1), '.')) != SLICE_NOT_FOUND) {
		key = slice_from_offset(key, dot + 1);
		found = table_list_lookup(agent->tls_policies, key, value, error);
	}
	return found;
}

bool
tls_choice_find(const struct smtp_agent *agent, const struct nexthop *nexthop, struct arena *arena,
                struct tls_choice *choice, struct verdict *verdict)
{
	struct buf   value = BUF(POLICY_MOST);
	struct error error = ERROR_NONE;
	enum lookup  found = LOOKUP_NOT_FOUND;
	bool         ok = true;

	*choice = (struct tls_choice){ .level = agent->tls_level,
		                       .match = SLICE_EMPTY,
		                       .server_name = SLICE_EMPTY };
	if (nexthop->is_unix && choice->level <= TLS_MAY)
		choice->level = TLS_NONE;
	if (agent->tls_policies != NULL)
		found = policy_lookup(agent, nexthop, &value, &error);
	if (found == LOOKUP_FOUND)
		ok = policy_parse(buf_slice(&value), nexthop, arena, choice, verdict);
	buf_free(&value);
	if (found == LOOKUP_TRY_LATER) {
		*verdict = verdict_make(arena, OUTCOME_DEFERRED, "4.3.0",
		                        "TLS policy lookup for %s failed: %s", nexthop->text,
		                        error.text);
		return false;
	}
	if (!ok)
		return false;
	return true;
}

static const char *
default_match(const struct smtp_agent *agent, enum tls_level level)
{
	switch (level) {
	case TLS_DANE:
	case TLS_DANE_ONLY: return "nexthop"; /* for DANE-TA, beside the host's name */
	case TLS_FINGERPRINT: return agent->parameters->smtp_tls_fingerprint_cert_match;
	case TLS_VERIFY: return agent->parameters->smtp_tls_verify_cert_match;
	case TLS_SECURE: return agent->parameters->smtp_tls_secure_cert_match;
	case TLS_NONE:
	case TLS_MAY:
	case TLS_ENCRYPT: break;
	}
	return "";
}

static struct slice
expand_name(struct slice word, const char *domain, const struct host *host, struct arena *arena)
{
	if (slice_equal_fold(word, SLICE("hostname")))
		return slice_from(host->name);
	if (slice_equal_fold(word, SLICE("nexthop")))
		return slice_from(domain);
	if (slice_equal_fold(word, SLICE("dot-nexthop")))
		return slice_from(arena_format(arena, ".%s", domain));
	return word;
}

/* The name to ask for: as configured, else the host when its certificate matters. */
static struct slice
server_name(const struct smtp_agent *agent, const struct tls_choice *choice, const char *domain,
            const struct host *host, struct arena *arena)
{
	struct slice name = slice_is_empty(choice->server_name)
	                            ? slice_from(agent->parameters->smtp_tls_servername)
	                            : choice->server_name;

	return slice_is_empty(name) ? SLICE_EMPTY : expand_name(name, domain, host, arena);
}

bool
tls_choice_policy(const struct smtp_agent *agent, const struct tls_choice *choice,
                  const char *domain, const struct host *host, struct arena *arena,
                  struct tls_policy *policy)
{
	struct slice rest = slice_is_empty(choice->match)
	                            ? slice_from(default_match(agent, choice->level))
	                            : choice->match;
	/* In fingerprints the colon stands between bytes; "|" separates them in match=. */
	const char  *separators = choice->level == TLS_FINGERPRINT ? " \t\r\n,|" : " \t\r\n,:|";
	struct slice word;

	*policy = (struct tls_policy){ .level = choice->level,
		                       .protocols = choice->protocols,
		                       .ciphers = choice->ciphers };
	policy->names = arena_alloc_array(arena, NAMES_MOST, sizeof(*policy->names));
	if (policy->names == NULL)
		return false;
	while (policy->name_count < NAMES_MOST && slice_next_word(&rest, separators, &word))
		policy->names[policy->name_count++] = expand_name(word, domain, host, arena);
	policy->server_name = server_name(agent, choice, domain, host, arena);
	if (choice->level == TLS_DANE || choice->level == TLS_DANE_ONLY)
		policy->server_name = slice_from(host->name);
	policy->tlsa = choice->tlsa;
	policy->tlsa_count = choice->tlsa_count;
	return true;
}
