/* rules.c - see rules.h. */
#include "lib/table/rules.h"

#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/table/textlines.h"

#define NESTING_MOST 100

enum rule_kind { RULE_MATCH, RULE_IF, RULE_ENDIF };

struct rule {
	enum rule_kind kind;
	bool           is_negated;
	unsigned       line;
	size_t         after; /* RULE_IF: index of its endif */
	void          *pattern;
	struct slice   result;
};

struct rules {
	const struct rules_kind *kind;
	char                    *name;
	struct arena             arena;
	ARRAY(struct rule) list;
};

/* A parse under way: the ifs that are open. */
struct nesting {
	size_t open[NESTING_MOST];
	size_t depth;
};

static bool
starts_word(struct slice line, struct slice word)
{
	return slice_starts_with_fold(line, word) &&
	       (line.length == word.length || !ascii_is_alnum(line.data[word.length]));
}

static bool
rule_read(struct rules *rules, struct slice line, struct rule *rule, struct error *error)
{
	struct slice rest = line;

	if (starts_word(line, SLICE("endif"))) {
		rule->kind = RULE_ENDIF;
		rest = slice_trim(slice_from_offset(line, 5));
		return slice_is_empty(rest) || error_set(error, "text after \"endif\"");
	}
	rule->kind = RULE_MATCH;
	if (starts_word(line, SLICE("if"))) {
		rule->kind = RULE_IF;
		rest = slice_trim(slice_from_offset(line, 2));
	}
	while (!slice_is_empty(rest) && (rest.data[0] == '!' || ascii_is_space(rest.data[0]))) {
		if (rest.data[0] == '!')
			rule->is_negated = !rule->is_negated;
		rest = slice_from_offset(rest, 1);
	}
	rule->pattern = rules->kind->parse(&rest, error);
	if (rule->pattern == NULL)
		return false;
	rest = slice_trim(rest);
	if (rule->kind == RULE_IF)
		return slice_is_empty(rest) || error_set(error, "text after the pattern of \"if\"");
	if (slice_is_empty(rest))
		return error_set(error, "no result after the pattern");
	rule->result = arena_copy(&rules->arena, rest);
	if (rule->result.data == NULL)
		return error_set(error, "out of memory");
	return rules->kind->check == NULL ||
	       rules->kind->check(rule->pattern, rule->is_negated, rule->result, error);
}

static bool
rule_nest(struct rules *rules, struct nesting *nesting, enum rule_kind kind, struct error *error)
{
	size_t index = rules->list.count - 1;

	switch (kind) {
	case RULE_MATCH: return true;
	case RULE_IF:
		if (nesting->depth == NESTING_MOST)
			return error_set(error, "\"if\" is nested too deeply");
		nesting->open[nesting->depth++] = index;
		return true;
	case RULE_ENDIF:
		if (nesting->depth == 0)
			return error_set(error, "\"endif\" without \"if\"");
		rules->list.items[nesting->open[--nesting->depth]].after = index;
		return true;
	}
	return false;
}

static bool
rules_add(struct rules *rules, struct nesting *nesting, struct slice line, unsigned number,
          struct error *error)
{
	struct rule rule = { .line = number };

	if (rule_read(rules, line, &rule, error)) {
		if (ARRAY_PUSH(&rules->list, rule))
			return rule_nest(rules, nesting, rule.kind, error);
		error_set(error, "out of memory");
	}
	if (rule.pattern != NULL)
		rules->kind->free(rule.pattern);
	return false;
}

static bool
rules_fill(struct rules *rules, struct slice text, struct error *error)
{
	struct nesting   nesting = { .depth = 0 };
	struct error     trouble = ERROR_NONE;
	struct textlines lines;
	struct slice     line;
	bool             is_good = true;

	textlines_start(&lines, text);
	while (is_good && textlines_next(&lines, &line, &trouble))
		if (!rules_add(rules, &nesting, line, lines.line, error))
			is_good = error_prefix(error, "%s:%u", rules->name, lines.line);
	textlines_end(&lines);
	if (is_good && trouble.text[0] != '\0')
		return error_set(error, "%s: %s", rules->name, trouble.text);
	if (is_good && nesting.depth > 0)
		return error_set(error, "%s:%u: \"if\" without \"endif\"", rules->name,
		                 rules->list.items[nesting.open[nesting.depth - 1]].line);
	return is_good;
}

struct rules *
rules_parse(const struct rules_kind *kind, const char *name, struct slice text, struct error *error)
{
	struct rules *rules = calloc(1, sizeof(*rules));

	if (rules == NULL || (rules->name = strdup(name)) == NULL) {
		free(rules);
		error_set(error, "out of memory");
		return NULL;
	}
	rules->kind = kind;
	rules->arena = ARENA(TEXTLINES_FILE_MOST);
	if (rules_fill(rules, text, error))
		return rules;
	rules_free(rules);
	return NULL;
}

/* "{ {a}, {b} }" becomes two lines. */
static bool
inline_rules(struct slice text, struct buf *out, struct error *error)
{
	struct slice item;

	text = slice_trim(text);
	if (text.length < 2 || text.data[0] != '{' || text.data[text.length - 1] != '}')
		return error_set(error, "want { {pattern result}, ... }");
	text = slice_of(text.data + 1, text.length - 2);
	while (table_next_item(&text, &item)) {
		if (item.length < 2 || item.data[0] != '{' || item.data[item.length - 1] != '}')
			return error_set(error, "each rule stands in braces: { {pattern result} }");
		buf_append(out, slice_trim(slice_of(item.data + 1, item.length - 2)));
		buf_append_byte(out, '\n');
	}
	return !out->has_failed || error_set(error, "out of memory");
}

struct rules *
rules_load(const struct rules_kind *kind, const char *name, const char *path, struct error *error)
{
	struct buf    text = BUF(TEXTLINES_FILE_MOST);
	struct rules *rules = NULL;

	if (path == NULL ? inline_rules(slice_from(name), &text, error)
	                 : textlines_read_file(path, &text, error))
		rules = rules_parse(kind, path == NULL ? "inline rules" : path, buf_slice(&text),
		                    error);
	buf_free(&text);
	return rules;
}

enum lookup
rules_lookup(const struct rules *rules, struct slice key, void *scratch, struct buf *value,
             struct error *error)
{
	for (size_t i = 0; i < rules->list.count; i++) {
		const struct rule *rule = &rules->list.items[i];

		if (rule->kind == RULE_ENDIF)
			continue;
		enum lookup answer = rules->kind->match(rule->pattern, key, scratch, error);
		if (answer == LOOKUP_TRY_LATER) {
			error_prefix(error, "%s:%u", rules->name, rule->line);
			return answer;
		}
		bool has_matched = (answer == LOOKUP_FOUND) != rule->is_negated;
		if (rule->kind == RULE_IF && !has_matched)
			i = rule->after;
		else if (rule->kind == RULE_MATCH && has_matched)
			return rules->kind->give(key, rule->result, scratch, value, error);
	}
	return LOOKUP_NOT_FOUND;
}

void
rules_free(struct rules *rules)
{
	if (rules == NULL)
		return;
	for (size_t i = 0; i < rules->list.count; i++)
		if (rules->list.items[i].pattern != NULL)
			rules->kind->free(rules->list.items[i].pattern);
	ARRAY_FREE(&rules->list);
	arena_reset(&rules->arena);
	free(rules->name);
	free(rules);
}
