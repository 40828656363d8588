/* expand.c - see expand.h. */
#include "lib/conf/expand.h"

#include "lib/base/number.h"

#define WORKING_TEXT_MOST (256u * 1024)

/* The names whose values are being expanded, innermost first: a loop is a name seen twice. */
struct chain {
	struct slice        name;
	const struct chain *outer;
};

struct expansion {
	const struct expand_source *source;
	struct error               *error;
	size_t                      depth;
	size_t steps; /* texts looked at: bounds the doubling of a=$b$b, b=$c$c */
};
#define STEPS_MOST 100000

static bool expand_text(struct expansion *expansion, const struct chain *chain, struct slice text,
                        struct buf *out);

static bool
is_name_byte(char c)
{
	return ascii_is_alnum(c) || c == '_';
}

static struct slice
skip_space(struct slice text)
{
	while (text.length > 0 && ascii_is_space(text.data[0]))
		text = slice_from_offset(text, 1);
	return text;
}

/*
 * The text between the bracket at the start of *rest and its partner; *rest goes on behind it.
 * Only brackets of the same kind are counted, as Postfix does.
 */
static bool
take_bracketed(struct slice *rest, char open, char close, struct slice *inside)
{
	size_t level = 0;

	if (rest->length == 0 || rest->data[0] != open)
		return false;
	for (size_t i = 0; i < rest->length; i++) {
		if (rest->data[i] == open) {
			level++;
		} else if (rest->data[i] == close && --level == 0) {
			*inside = slice_of(rest->data + 1, i - 1);
			*rest = slice_from_offset(*rest, i + 1);
			return true;
		}
	}
	return false;
}

/* Finds and expands a name's value. An undefined name is empty. */
static bool
expand_name(struct expansion *expansion, const struct chain *chain, struct slice name,
            struct buf *out)
{
	struct slice text;

	for (const struct chain *link = chain; link != NULL; link = link->outer) {
		if (slice_equal(link->name, name))
			return error_set(expansion->error,
			                 "%.*s is defined by itself through $%.*s",
			                 SLICE_ARGS(name), SLICE_ARGS(chain->name));
	}
	if (!expansion->source->find(expansion->source->context, name, &text)) {
		if (expansion->source->undefined != NULL)
			expansion->source->undefined(expansion->source->context, name);
		return true;
	}

	struct chain link = { name, chain };
	return expand_text(expansion, &link, text, out);
}

/* ---- conditions ---- */

/* What stands behind a condition: ?{a}:{b}, ?a, :b. */
struct branches {
	bool         has_yes, has_no;
	struct slice yes, no;
};

static bool
take_branches(struct expansion *expansion, struct slice rest, struct branches *branches)
{
	*branches = (struct branches){ 0 };
	rest = skip_space(rest);
	if (rest.length > 0 && rest.data[0] == '?') {
		branches->has_yes = true;
		rest = slice_from_offset(rest, 1);
		struct slice behind = skip_space(rest);
		if (!take_bracketed(&behind, '{', '}', &branches->yes)) {
			branches->yes = rest; /* ${name?text}: all of it */
			return true;
		}
		branches->yes = slice_trim(branches->yes);
		rest = skip_space(behind);
	}
	if (rest.length > 0 && rest.data[0] == ':') {
		branches->has_no = true;
		rest = slice_from_offset(rest, 1);
		struct slice behind = skip_space(rest);
		if (!take_bracketed(&behind, '{', '}', &branches->no)) {
			branches->no = rest;
			return true;
		}
		branches->no = slice_trim(branches->no);
		rest = skip_space(behind);
	}
	if (rest.length > 0)
		return error_set(expansion->error, "\"%.*s\" is not expected here",
		                 SLICE_ARGS(slice_first(rest, 100)));
	return true;
}

static bool
expand_branch(struct expansion *expansion, const struct chain *chain,
              const struct branches *branches, bool is_true, struct buf *out)
{
	if (is_true)
		return !branches->has_yes || expand_text(expansion, chain, branches->yes, out);
	return !branches->has_no || expand_text(expansion, chain, branches->no, out);
}

/* "3.6.1" as one number, so that levels compare; missing parts are 0. */
static bool
level_parse(struct slice text, int64_t *level)
{
	struct slice rest = text, part;
	int64_t      parts[3] = { 0, 0, 0 };
	size_t       count = 0;

	while (slice_next_part(&rest, '.', &part)) {
		if (count == 3 || !number_parse(part, 0, 99999, &parts[count++]))
			return false;
	}
	*level = (parts[0] * 100000 + parts[1]) * 100000 + parts[2];
	return count > 0;
}

enum comparison { EQUAL, UNEQUAL, LESS, LESS_EQUAL, MORE, MORE_EQUAL };

static const struct {
	const char     *text;
	enum comparison comparison;
	bool            is_level;
} operators[] = {
	/* longer ones first */
	{ "<=level", LESS_EQUAL, true },
	{ ">=level", MORE_EQUAL, true },
	{ "<level", LESS, true },
	{ ">level", MORE, true },
	{ "==", EQUAL, false },
	{ "!=", UNEQUAL, false },
	{ "<=", LESS_EQUAL, false },
	{ ">=", MORE_EQUAL, false },
	{ "<", LESS, false },
	{ ">", MORE, false },
};

static bool
holds(enum comparison comparison, int order)
{
	switch (comparison) {
	case EQUAL: return order == 0;
	case UNEQUAL: return order != 0;
	case LESS: return order < 0;
	case LESS_EQUAL: return order <= 0;
	case MORE: return order > 0;
	case MORE_EQUAL: return order >= 0;
	}
	return false;
}

/* Numbers compare as numbers, all else as text. */
static bool
compare(struct expansion *expansion, size_t row, struct slice left, struct slice right,
        bool *result)
{
	int64_t a, b;
	int     order;

	if (operators[row].is_level) {
		if (!level_parse(left, &a) || !level_parse(right, &b))
			return error_set(
				expansion->error, "%s compares levels like 3.6, not \"%.*s\"",
				operators[row].text,
				SLICE_ARGS(slice_first(level_parse(left, &a) ? right : left, 100)));
		order = (a > b) - (a < b);
	} else if (number_parse(left, 0, INT64_MAX, &a) && number_parse(right, 0, INT64_MAX, &b)) {
		order = (a > b) - (a < b);
	} else {
		order = slice_compare(left, right);
	}
	*result = holds(operators[row].comparison, order);
	return true;
}

static bool
take_operator(struct slice *rest, size_t *row)
{
	for (*row = 0; *row < sizeof(operators) / sizeof(operators[0]); (*row)++) {
		struct slice text = slice_from(operators[*row].text);
		if (slice_starts_with(*rest, text)) {
			*rest = slice_from_offset(*rest, text.length);
			return true;
		}
	}
	return false;
}

/* ${{x} == {y} ? {a} : {b}}: content starts with the first brace. */
static bool
expand_comparison(struct expansion *expansion, const struct chain *chain, struct slice content,
                  struct buf *out)
{
	struct slice    rest = content, left, right;
	struct buf      left_text = BUF(WORKING_TEXT_MOST), right_text = BUF(WORKING_TEXT_MOST);
	struct branches branches;
	size_t          row;
	bool            is_ok = false, is_true = false;

	if (!take_bracketed(&rest, '{', '}', &left))
		return error_set(expansion->error, "a } is missing in \"${%.*s}\"",
		                 SLICE_ARGS(slice_first(content, 100)));
	rest = skip_space(rest);
	if (!take_operator(&rest, &row))
		return error_set(expansion->error,
		                 "one of == != < <= > >= is missing in \"${%.*s}\"",
		                 SLICE_ARGS(slice_first(content, 100)));
	rest = skip_space(rest);
	if (!take_bracketed(&rest, '{', '}', &right))
		return error_set(expansion->error, "{text} is missing behind %s in \"${%.*s}\"",
		                 operators[row].text, SLICE_ARGS(slice_first(content, 100)));
	if (!take_branches(expansion, rest, &branches))
		return false;
	if (expand_text(expansion, chain, slice_trim(left), &left_text) &&
	    expand_text(expansion, chain, slice_trim(right), &right_text) &&
	    compare(expansion, row, buf_slice(&left_text), buf_slice(&right_text), &is_true))
		is_ok = expand_branch(expansion, chain, &branches, is_true, out);
	buf_free(&left_text);
	buf_free(&right_text);
	return is_ok;
}

/* What stands between the brackets of ${...} or $(...). */
static bool
expand_bracketed(struct expansion *expansion, const struct chain *chain, struct slice content,
                 struct buf *out)
{
	struct slice    trimmed = slice_trim(content), name;
	struct branches branches;
	size_t          length = 0;

	if (trimmed.length > 0 && trimmed.data[0] == '{')
		return expand_comparison(expansion, chain, trimmed, out);
	while (length < trimmed.length && is_name_byte(trimmed.data[length]))
		length++;
	name = slice_first(trimmed, length);
	if (length == 0)
		return error_set(expansion->error, "\"${%.*s}\" begins with no name",
		                 SLICE_ARGS(slice_first(content, 100)));
	if (length == trimmed.length)
		return expand_name(expansion, chain, name, out);
	if (!take_branches(expansion, slice_from_offset(trimmed, length), &branches))
		return false;

	struct buf value = BUF(WORKING_TEXT_MOST);
	bool       is_ok = expand_name(expansion, chain, name, &value) &&
	             expand_branch(expansion, chain, &branches, value.length > 0, out);
	buf_free(&value);
	return is_ok;
}

/* *rest starts behind the '$'. */
static bool
expand_dollar(struct expansion *expansion, const struct chain *chain, struct slice *rest,
              struct buf *out)
{
	struct slice inside, whole = *rest;
	size_t       length = 0;

	if (rest->length > 0 && rest->data[0] == '$') {
		*rest = slice_from_offset(*rest, 1);
		return buf_append_byte(out, '$') ||
		       error_set(expansion->error, "the expanded text is too long");
	}
	if (take_bracketed(rest, '{', '}', &inside) || take_bracketed(rest, '(', ')', &inside))
		return expand_bracketed(expansion, chain, inside, out);
	if (rest->length > 0 && (rest->data[0] == '{' || rest->data[0] == '('))
		return error_set(expansion->error, "\"$%.*s\" is not closed",
		                 SLICE_ARGS(slice_first(whole, 100)));
	while (length < rest->length && is_name_byte(rest->data[length]))
		length++;
	if (length == 0)
		return error_set(expansion->error,
		                 "a name is missing behind $ (a literal dollar is written $$)");
	*rest = slice_from_offset(*rest, length);
	return expand_name(expansion, chain, slice_first(whole, length), out);
}

static bool
expand_text(struct expansion *expansion, const struct chain *chain, struct slice text,
            struct buf *out)
{
	bool is_ok = true;

	if (expansion->depth >= EXPAND_DEPTH_MOST)
		return error_set(expansion->error, "names are nested more than %d deep",
		                 EXPAND_DEPTH_MOST);
	if (++expansion->steps > STEPS_MOST)
		return error_set(expansion->error, "the names in it refer to too many others");
	expansion->depth++;
	while (is_ok && text.length > 0) {
		size_t dollar = slice_find_byte(text, '$');

		is_ok = buf_append(out, slice_first(text, dollar)) ||
		        error_set(expansion->error, "the expanded text is too long");
		if (!is_ok || dollar == SLICE_NOT_FOUND)
			break;
		text = slice_from_offset(text, dollar + 1);
		is_ok = expand_dollar(expansion, chain, &text, out);
	}
	expansion->depth--;
	return is_ok;
}

bool
expand(const struct expand_source *source, struct slice name, struct slice text, struct buf *out,
       struct error *error)
{
	struct expansion expansion = { .source = source, .error = error };
	struct chain     chain = { name, NULL };

	return expand_text(&expansion, name.length > 0 ? &chain : NULL, text, out);
}
