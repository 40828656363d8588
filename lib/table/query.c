/* query.c - see query.h. */
#include "lib/table/query.h"

#include "lib/table/type.h"

void
query_parts_of(struct slice text, struct query_parts *parts)
{
	size_t at = slice_find_last_byte(text, '@');

	*parts = (struct query_parts){ .whole = text, .has_at = at != SLICE_NOT_FOUND };
	if (!parts->has_at)
		return;
	parts->local = slice_first(text, at);
	parts->domain = slice_from_offset(text, at + 1);
	struct slice rest = parts->domain;
	while (!slice_is_empty(rest) && parts->component_count < 9) {
		size_t       dot = slice_find_last_byte(rest, '.');
		struct slice part =
			dot == SLICE_NOT_FOUND ? rest : slice_from_offset(rest, dot + 1);

		parts->components[parts->component_count++] = part;
		rest = dot == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_first(rest, dot);
	}
}

/* The part that a letter stands for; false when the key has none. */
static bool
part_of(char letter, const struct query_parts *key, struct slice *part)
{
	switch (letter) {
	case 's':
	case 'S': *part = key->whole; return true;
	case 'u':
	case 'U':
		*part = key->has_at ? key->local : key->whole;
		return !key->has_at || key->local.length > 0;
	case 'd':
	case 'D': *part = key->domain; return key->has_at && key->domain.length > 0;
	}
	size_t number = (size_t)(letter - '1');
	if (number >= key->component_count)
		return false;
	*part = key->components[number];
	return true;
}

static bool
is_letter(char c)
{
	return c != '\0' && strchr("sSuUdD123456789", c) != NULL;
}

bool
query_check(const char *name, const char *template, struct error *error)
{
	for (const char *at = template; *at != '\0'; at++) {
		if (*at != '%')
			continue;
		at++;
		if (*at != '%' && !is_letter(*at))
			return error_set(error,
			                 "%s: \"%%%c\" means nothing (want %%s %%u %%d %%S %%U %%D "
			                 "%%1 to %%9 or %%%%)",
			                 name, *at == '\0' ? ' ' : *at);
	}
	return true;
}

bool
query_suits(const char *template, const struct query_parts *key)
{
	struct slice part;

	for (const char *at = template; *at != '\0'; at++) {
		if (*at != '%')
			continue;
		at++;
		if (*at != '%' && !part_of(*at, key, &part))
			return false;
	}
	return true;
}

bool
query_expand(const char *template, const struct query_parts *key, query_quote *quote, void *context,
             struct buf *out)
{
	struct slice part;

	for (const char *at = template; *at != '\0'; at++) {
		if (*at != '%' || at[1] == '%') {
			if (!buf_append_byte(out, *at))
				return false;
			at += *at == '%';
			continue;
		}
		at++;
		if (!part_of(*at, key, &part))
			return false;
		if (quote == NULL ? !buf_append(out, part) : !quote(context, part, out))
			return false;
	}
	return true;
}

/* ---- rules ---- */

/* A cf file whose filter is asked by a cf file could come back to itself. */
static bool
filter_has_settings(const char *domains)
{
	struct slice rest = slice_from(domains), word;

	while (slice_next_word(&rest, ", \t\r\n{}!", &word)) {
		struct table_spec spec;

		if (table_spec_parse(word, &spec) && spec.type != NULL && spec.type->has_settings)
			return true;
	}
	return false;
}

bool
query_rules_read(const struct cf *cf, struct query_rules *rules, struct error *error)
{
	const char *domains = cf_get(cf, "domain", "");

	*rules = (struct query_rules){ .result_format = cf_get(cf, "result_format", NULL) };
	/* The name of before Postfix 2.2. */
	if (rules->result_format == NULL)
		rules->result_format = cf_get(cf, "result_filter", "%s");
	if (!query_check("result_format", rules->result_format, error) ||
	    !cf_get_number(cf, "expansion_limit", 0, INT32_MAX, &rules->expansion_limit, error))
		return false;
	if (domains[0] == '\0')
		return true;
	if (filter_has_settings(domains))
		return error_set(error, "domain: tables that have a cf file cannot stand here");
	rules->domains = match_list_open(domains, MATCH_STRINGS, error);
	return rules->domains != NULL || error_prefix(error, "%s: domain", cf_name(cf));
}

void
query_rules_free(struct query_rules *rules)
{
	match_list_close(&rules->domains);
}

/* In a result_format, %s %u %d are of the result and the others of the key. */
static bool
is_of_key(char letter)
{
	return letter != 's' && letter != 'u' && letter != 'd';
}

enum lookup
query_rules_allow(const struct query_rules *rules, const struct query_parts *key,
                  struct error *error)
{
	struct slice part;

	for (const char *at = rules->result_format; *at != '\0'; at++) {
		if (*at != '%')
			continue;
		at++;
		if (*at != '%' && is_of_key(*at) && !part_of(*at, key, &part))
			return LOOKUP_NOT_FOUND;
	}
	if (rules->domains == NULL)
		return LOOKUP_FOUND;
	/* With a filter, neither bare names nor "@domain" are asked for. */
	if (slice_is_empty(key->local) || slice_is_empty(key->domain))
		return LOOKUP_NOT_FOUND;
	return match_list_name(rules->domains, key->domain, error);
}

static bool
format_value(const char *format, const struct query_parts *key, const struct query_parts *value,
             struct buf *out)
{
	struct slice part;

	for (const char *at = format; *at != '\0'; at++) {
		if (*at != '%' || at[1] == '%') {
			buf_append_byte(out, *at);
			at += *at == '%';
			continue;
		}
		at++;
		if (part_of(*at, is_of_key(*at) ? key : value, &part))
			buf_append(out, part);
	}
	return !out->has_failed;
}

bool
query_result_add(struct query_result *result, struct slice value)
{
	const char        *format = result->rules->result_format;
	struct query_parts parts;
	struct slice       part;

	query_parts_of(value, &parts);
	if (slice_is_empty(value))
		return true;
	/* A value without the part that the format wants of it is skipped. */
	for (const char *at = format; *at != '\0'; at++)
		if (*at == '%' && *++at != '%' && !is_of_key(*at) && !part_of(*at, &parts, &part))
			return true;
	if (result->rules->expansion_limit > 0 && result->count >= result->rules->expansion_limit)
		return error_set(&result->error, "more than expansion_limit = %lld results",
		                 (long long)result->rules->expansion_limit);
	if (result->count++ > 0)
		buf_append_byte(result->value, ',');
	return format_value(format, result->key, &parts, result->value) ||
	       error_set(&result->error, "the result is too long");
}
