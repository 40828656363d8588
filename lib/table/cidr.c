/* cidr.c - tables of networks: "192.0.2.0/24 result", first match wins. */
#include <stdlib.h>

#include "lib/table/net.h"
#include "lib/table/rules.h"
#include "lib/table/type.h"

static void *
pattern_parse(struct slice *rest, struct error *error)
{
	struct net   net, *kept;
	struct slice word;
	size_t       at = 0;

	while (at < rest->length && !ascii_is_space(rest->data[at]))
		at++;
	word = slice_first(*rest, at);
	if (!net_parse(word, &net, error))
		return NULL;
	*rest = slice_from_offset(*rest, at);
	kept = malloc(sizeof(*kept));
	if (kept == NULL)
		error_set(error, "out of memory");
	else
		*kept = net;
	return kept;
}

static enum lookup
pattern_match(const void *pattern, struct slice key, void *scratch, struct error *error)
{
	(void)key;
	(void)error;
	return net_contains(pattern, scratch) ? LOOKUP_FOUND : LOOKUP_NOT_FOUND;
}

static enum lookup
result_give(struct slice key, struct slice result, void *scratch, struct buf *value,
            struct error *error)
{
	(void)key;
	(void)scratch;
	return table_give(result, value, error);
}

static const struct rules_kind cidr_kind = {
	.parse = pattern_parse,
	.free = free,
	.match = pattern_match,
	.give = result_give,
};

static void *
cidr_load(const char *name, const char *path, struct error *error)
{
	return rules_load(&cidr_kind, name, path, error);
}

static enum lookup
cidr_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	struct net address;

	if (!net_parse_address(key, &address))
		return LOOKUP_NOT_FOUND;
	return rules_lookup(content, key, &address, value, error);
}

static void
cidr_unload(void *content)
{
	rules_free(content);
}

const struct table_type table_type_cidr = {
	.name = "cidr",
	.suffix = "",
	.has_patterns = true,
	.load = cidr_load,
	.lookup = cidr_lookup,
	.unload = cidr_unload,
};
