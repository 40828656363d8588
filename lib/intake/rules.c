/* rules.c - see rules.h. */
#include "lib/intake/rules.h"

#include <stdlib.h>

#include "lib/mail/mime.h"
#include "lib/table/table.h"

#define VALUE_MOST (64u * 1024) /* a result of a table */

/* ---- tables ---- */

struct rules {
	struct table_list *lists[CHECK_COUNT];
	const char        *parameters[CHECK_COUNT];
	bool               are_there;
};

struct rules *
rules_open(const struct rules_source sources[CHECK_COUNT], struct error *error)
{
	struct rules *rules = calloc(1, sizeof(*rules));

	if (rules == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < CHECK_COUNT; i++) {
		if (sources[i].parameter == NULL)
			continue;
		rules->parameters[i] = sources[i].parameter;
		rules->lists[i] = table_list_open(sources[i].specs, error);
		if (rules->lists[i] == NULL) {
			error_prefix(error, "%s", sources[i].parameter);
			rules_close(&rules);
			return NULL;
		}
		rules->are_there |= !table_list_is_empty(rules->lists[i]);
	}
	return rules;
}

void
rules_close(struct rules **rules)
{
	struct rules *gone = *rules;

	if (gone == NULL)
		return;
	for (size_t i = 0; i < CHECK_COUNT; i++)
		table_list_close(&gone->lists[i]);
	free(gone);
	*rules = NULL;
}

bool
rules_have(const struct rules *rules, enum check_class class)
{
	if (rules == NULL || !rules->are_there)
		return false;
	return class == CHECK_COUNT || !table_list_is_empty(rules->lists[class]);
}

const char *rules_class_word(enum check_class class)
{
	return class == CHECK_BODY ? "body" : class == CHECK_MILTER ? "milter-header" : "header";
}

/* ---- actions ---- */

enum check_fate
rules_fail(const struct rule_match *match, enum rule_failure failure, const char *why)
{
	struct error error = ERROR_NONE;

	error_set(&error, "%s: %s", match->parameter, why);
	match->user->fail(match, failure, &error);
	return CHECK_FAILED;
}

static enum check_fate
act_nothing(struct rule_match *match)
{
	(void)match;
	return CHECK_KEPT;
}

/* Whether the argument can stand where the match stands. */
static bool
is_good_text(const struct rule_match *match)
{
	struct slice        block = match->argument;
	struct header_field field;

	for (size_t i = 0; i < block.length; i++)
		if (ascii_is_control(block.data[i]) && block.data[i] != '\t')
			return false;
	if (match->class == CHECK_BODY)
		return block.length > 0;
	return header_next(&block, &field);
}

static enum check_fate
act_prepend(struct rule_match *match)
{
	if (!is_good_text(match))
		return rules_fail(match, RULE_MISTAKEN, "PREPEND needs text, in a header a field");
	match->user->log(match, "prepend", match->argument);
	buf_append(match->out, match->argument);
	buf_append_text(match->out, "\r\n");
	return CHECK_KEPT;
}

static enum check_fate
act_replace(struct rule_match *match)
{
	if (!is_good_text(match))
		return rules_fail(match, RULE_MISTAKEN, "REPLACE needs text, in a header a field");
	match->user->log(match, "replace", match->argument);
	buf_append(match->out, match->argument);
	buf_append_text(match->out, "\r\n");
	return CHECK_REPLACED;
}

static enum check_fate
act_ignore(struct rule_match *match)
{
	(void)match;
	return CHECK_REPLACED;
}

static enum check_fate
act_strip(struct rule_match *match)
{
	match->user->log(match, "strip", match->argument);
	return CHECK_REPLACED;
}

static enum check_fate
act_info(struct rule_match *match)
{
	match->user->log(match, "info", match->argument);
	return CHECK_KEPT;
}

static enum check_fate
act_warn(struct rule_match *match)
{
	match->user->log(match, "warning", match->argument);
	return CHECK_KEPT;
}

static const struct rule_action actions[] = {
	{ SLICE("DUNNO"), act_nothing },   { SLICE("IGNORE"), act_ignore },
	{ SLICE("INFO"), act_info },       { SLICE("OK"), act_nothing },
	{ SLICE("PREPEND"), act_prepend }, { SLICE("REPLACE"), act_replace },
	{ SLICE("STRIP"), act_strip },     { SLICE("WARN"), act_warn },
};

static const struct rule_action *
find_action(const struct rule_action *rows, size_t count, struct slice word)
{
	for (size_t i = 0; i < count; i++)
		if (slice_equal_fold(word, rows[i].word))
			return &rows[i];
	return NULL;
}

static enum check_fate
carry_out(struct rule_match *match, struct slice value)
{
	struct slice              word = SLICE_EMPTY, rest = value;
	const struct rule_action *action;
	struct error              why = ERROR_NONE;

	slice_next_word(&rest, " \t", &word);
	match->argument = slice_trim(rest);
	action = find_action(actions, sizeof(actions) / sizeof(actions[0]), word);
	if (action == NULL)
		action = find_action(match->user->actions, match->user->count, word);
	if (action != NULL)
		return action->act(match);
	error_set(&why, "unknown action \"%.*s\"", SLICE_ARGS(slice_first(word, 40)));
	return rules_fail(match, RULE_MISTAKEN, why.text);
}

enum check_fate
rules_text(const struct rule_question *question, enum check_class class, struct slice text,
           struct buf *out)
{
	const struct rules *rules = question->rules;
	struct buf          value = BUF(VALUE_MOST);
	struct error        error = ERROR_NONE;
	enum check_fate     fate = CHECK_KEPT;

	if (!rules_have(rules, class))
		return CHECK_KEPT;
	struct rule_match match = { .user = question->user,
		                    .context = question->context,
		                    .class = class,
		                    .parameter = rules->parameters[class],
		                    .text = text,
		                    .out = out };
	switch (table_list_lookup(rules->lists[class], text, &value, &error)) {
	case LOOKUP_FOUND: fate = carry_out(&match, slice_trim(buf_slice(&value))); break;
	case LOOKUP_NOT_FOUND: break;
	case LOOKUP_TRY_LATER: fate = rules_fail(&match, RULE_LOOKUP, error.text);
	}
	buf_free(&value);
	return fate;
}

/* ---- fields ---- */

/* The field without its last line end, and with LF as the others. */
static bool
append_logical(struct buf *logical, struct slice whole)
{
	while (whole.length > 0 &&
	       (whole.data[whole.length - 1] == '\n' || whole.data[whole.length - 1] == '\r'))
		whole.length--;
	for (size_t i = 0; i < whole.length; i++)
		if (!(whole.data[i] == '\r' && i + 1 < whole.length && whole.data[i + 1] == '\n') &&
		    !buf_append_byte(logical, whole.data[i]))
			return false;
	return true;
}

enum check_fate
rules_field(const struct rule_question *question, enum check_class place,
            const struct header_field *field, struct buf *out)
{
	struct buf      logical = BUF(SIZE_MAX);
	enum check_fate fate;

	if (mime_is_field(field->name))
		place = CHECK_MIME;
	if (!rules_have(question->rules, place))
		return CHECK_KEPT;
	if (!append_logical(&logical, field->whole)) {
		struct rule_match match = { .user = question->user,
			                    .context = question->context,
			                    .class = place,
			                    .parameter = question->rules->parameters[place] };

		fate = rules_fail(&match, RULE_NO_MEMORY, "out of memory for a header field");
	} else {
		fate = rules_text(question, place, buf_slice(&logical), out);
	}
	buf_free(&logical);
	return fate;
}
