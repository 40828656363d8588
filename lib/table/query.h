/*
 * query.h - what SQL, LDAP and Redis tables share: templates with %s, %u, %d, and their results.
 *
 * The rules of pgsql_table(5) and its kin. A query that needs a part which the key does not have is
 * not sent: the key is not found. Read by threads at the same time; nothing in it changes.
 */
#ifndef DAKIYA_TABLE_QUERY_H
#define DAKIYA_TABLE_QUERY_H

#include "lib/base/arena.h"
#include "lib/table/cf.h"
#include "lib/table/match.h"

/* A key or a result taken apart at its last '@'. */
struct query_parts {
	struct slice whole;
	struct slice local, domain; /* empty without '@' */
	bool         has_at;
	struct slice components[9]; /* of the domain, from the right: %1 is "com" */
	size_t       component_count;
};
void query_parts_of(struct slice text, struct query_parts *parts);

/* Whether the key has all that the template asks for. */
bool query_suits(const char *template, const struct query_parts *key);
/* Appends the key's part with what is special in the language made harmless. */
typedef bool query_quote(void *context, struct slice part, struct buf *out);
/* False when the part could not be quoted or out is full. quote may be NULL. */
bool query_expand(const char *template, const struct query_parts *key, query_quote *quote,
                  void *context, struct buf *out);
/* False and *error for a '%' that means nothing. is_result: no such thing as %X is different. */
bool query_check(const char *name, const char *template, struct error *error);

/* What stands in each cf file of this family. */
struct query_rules {
	const char        *result_format;
	struct match_list *domains; /* NULL: all keys */
	int64_t            expansion_limit;
};
bool query_rules_read(const struct cf *cf, struct query_rules *rules, struct error *error);
void query_rules_free(struct query_rules *rules);
/*
 * Whether this key may be asked for: the domain filter and what result_format needs.
 * LOOKUP_NOT_FOUND: no.
 */
enum lookup query_rules_allow(const struct query_rules *rules, const struct query_parts *key,
                              struct error *error);

/* The values of one lookup joined by commas. */
struct query_result {
	const struct query_rules *rules;
	const struct query_parts *key;
	struct buf               *value;
	int64_t                   count;
	struct error              error; /* why query_result_add was false */
};
/* Formats one value and appends it; an empty one is skipped. False: stop, error is set. */
bool query_result_add(struct query_result *result, struct slice value);

#endif
