/*
 * regex.c - tables of regular expressions: "/pattern/flags result with $1".
 *
 * Both types run on PCRE2, whose limits bound the time and memory of a match; POSIX regexec has
 * no such bounds and a stack that threads here do not have. A regexp pattern is rewritten from
 * POSIX's syntax (posix.c). LIMIT: it means PCRE2's leftmost-first alternatives, not POSIX's
 * longest, which matters only for what $1 holds.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "lib/base/mutex.h"
#include "lib/base/number.h"
#include "lib/table/posix.h"
#include "lib/table/rules.h"
#include "lib/table/textlines.h"
#include "lib/table/type.h"

#define GROUPS_MOST  99
#define STEPS_MOST   500000 /* matching effort for one rule, then LOOKUP_TRY_LATER */
#define DEPTH_MOST   5000
#define HEAP_MOST_KB 2048
#define IDLE_MOST    64

struct pattern {
	pcre2_code *code;
	uint32_t    groups;
};

/* What a running match needs; kept for the next lookup. */
struct matcher {
	struct matcher           *next;
	pcre2_match_data         *data;
	const struct regex_table *table;
};

struct regex_table {
	struct rules        *rules;
	pcre2_match_context *limits;
	struct mutex         lock; /* guards idle and idle_count */
	struct matcher      *idle;
	size_t               idle_count;
};

/* ---- patterns ---- */

struct flag {
	char     letter;
	uint32_t option;
};
/* A flag turns its option over; what is on without flags is in the start value. */
static const struct flag pcre_flags[] = {
	{ 'i', PCRE2_CASELESS },
	{ 'm', PCRE2_MULTILINE },
	{ 's', PCRE2_DOTALL },
	{ 'x', PCRE2_EXTENDED },
	{ 'A', PCRE2_ANCHORED },
	{ 'E', PCRE2_DOLLAR_ENDONLY },
	{ 'U', PCRE2_UNGREEDY },
	{ 'X', 0 },
	{ 0, 0 },
};
/* Here 'm' is POSIX's REG_NEWLINE: also '.' ends at a line end. 'x' turns to basic syntax. */
#define FLAG_BASIC PCRE2_EXTENDED
static const struct flag regexp_flags[] = {
	{ 'i', PCRE2_CASELESS },
	{ 'm', PCRE2_MULTILINE | PCRE2_DOTALL },
	{ 'x', FLAG_BASIC },
	{ 0, 0 },
};

static bool
flags_parse(struct slice *rest, const struct flag *flags, uint32_t *options, struct error *error)
{
	while (!slice_is_empty(*rest) && !ascii_is_space(rest->data[0])) {
		const struct flag *flag = flags;

		while (flag->letter != 0 && flag->letter != rest->data[0])
			flag++;
		if (flag->letter == 0)
			return error_set(error, "unknown flag '%c' after the pattern",
			                 ascii_is_print(rest->data[0]) ? rest->data[0] : '?');
		*options ^= flag->option;
		*rest = slice_from_offset(*rest, 1);
	}
	return true;
}

/* The text between delimiters; "\" before the delimiter protects it and stays. */
static bool
delimited(struct slice *rest, struct slice *text, struct error *error)
{
	if (slice_is_empty(*rest) || ascii_is_alnum(rest->data[0]) || rest->data[0] == '\\')
		return error_set(error, "a pattern must stand between delimiters: /pattern/");
	char delimiter = rest->data[0];
	for (size_t i = 1; i < rest->length; i++) {
		if (rest->data[i] == '\\') {
			i++;
		} else if (rest->data[i] == delimiter) {
			*text = slice_of(rest->data + 1, i - 1);
			*rest = slice_from_offset(*rest, i + 1);
			return true;
		}
	}
	return error_set(error, "no closing delimiter '%c' of the pattern", delimiter);
}

static void *
pattern_compile(struct slice text, uint32_t options, struct error *error)
{
	struct pattern *pattern = calloc(1, sizeof(*pattern));
	int             number;
	PCRE2_SIZE      offset;

	if (pattern == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	pattern->code =
		pcre2_compile((PCRE2_SPTR)text.data, text.length, options, &number, &offset, NULL);
	if (pattern->code == NULL) {
		unsigned char reason[160] = "bad pattern";

		pcre2_get_error_message(number, reason, sizeof(reason));
		error_set(error, "pattern, at offset %zu: %s", (size_t)offset, reason);
		free(pattern);
		return NULL;
	}
	pcre2_pattern_info(pattern->code, PCRE2_INFO_CAPTURECOUNT, &pattern->groups);
	return pattern;
}

static void *
pcre_parse(struct slice *rest, struct error *error)
{
	uint32_t     options = PCRE2_CASELESS | PCRE2_DOTALL;
	struct slice text;

	if (!delimited(rest, &text, error) || !flags_parse(rest, pcre_flags, &options, error))
		return NULL;
	return pattern_compile(text, options, error);
}

static void *
regexp_parse(struct slice *rest, struct error *error)
{
	uint32_t     options = PCRE2_CASELESS | PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY;
	struct buf   rewritten = BUF(TEXTLINES_LINE_MOST * 2);
	struct slice text;
	void        *pattern = NULL;

	if (!delimited(rest, &text, error) || !flags_parse(rest, regexp_flags, &options, error))
		return NULL;
	if (posix_rewrite(text, (options & FLAG_BASIC) != 0, &rewritten))
		pattern = pattern_compile(buf_slice(&rewritten), options & ~FLAG_BASIC, error);
	else
		error_set(error, "the pattern is too long");
	buf_free(&rewritten);
	return pattern;
}

static void
pattern_free(void *pattern)
{
	pcre2_code_free(((struct pattern *)pattern)->code);
	free(pattern);
}

/* ---- results: $1, ${1}, $(1), $$ ---- */

/*
 * Takes literal text or a group off the front of *result. *group is -1 for literal text. False
 * and *error when '$' stands before something else.
 */
static bool
result_next(struct slice *result, struct slice *literal, int *group, struct error *error)
{
	struct slice digits = slice_from_offset(*result, 1);
	char         closing = 0;
	size_t       used = 1, count = 0;
	int64_t      number;

	*group = -1;
	if (result->data[0] != '$') {
		*literal = slice_first(*result, slice_find_byte(*result, '$'));
		*result = slice_from_offset(*result, literal->length);
		return true;
	}
	if (!slice_is_empty(digits) && digits.data[0] == '$') {
		*literal = slice_first(digits, 1);
		*result = slice_from_offset(*result, 2);
		return true;
	}
	if (!slice_is_empty(digits) && (digits.data[0] == '{' || digits.data[0] == '(')) {
		closing = digits.data[0] == '{' ? '}' : ')';
		digits = slice_from_offset(digits, 1);
		used++;
	}
	while (count < digits.length && ascii_is_digit(digits.data[count]))
		count++;
	if (!number_parse(slice_first(digits, count), 0, GROUPS_MOST, &number) ||
	    (closing != 0 && (count == digits.length || digits.data[count] != closing)))
		return error_set(error, "want $1, ${1}, $(1) or $$ in the result");
	*group = (int)number;
	*result = slice_from_offset(*result, used + count + (closing != 0));
	return true;
}

static bool
result_check(const void *pattern, bool is_negated, struct slice result, struct error *error)
{
	const struct pattern *compiled = pattern;
	struct slice          literal;
	int                   group;

	while (!slice_is_empty(result)) {
		if (!result_next(&result, &literal, &group, error))
			return false;
		if (group >= 0 && is_negated)
			return error_set(error, "$%d after a negated pattern has no text", group);
		if (group > (int)compiled->groups)
			return error_set(error, "$%d, but the pattern has %u group(s)", group,
			                 compiled->groups);
	}
	return true;
}

static enum lookup
result_give(struct slice key, struct slice result, void *scratch, struct buf *value,
            struct error *error)
{
	const struct matcher *matcher = scratch;
	const PCRE2_SIZE     *ends = pcre2_get_ovector_pointer(matcher->data);
	uint32_t              pairs = pcre2_get_ovector_count(matcher->data);
	struct slice          text;
	int                   group;

	while (!slice_is_empty(result)) {
		if (!result_next(&result, &text, &group, error))
			return LOOKUP_TRY_LATER;
		if (group >= 0) {
			size_t at = 2 * (size_t)group;

			if ((uint32_t)group >= pairs || ends[at] == PCRE2_UNSET ||
			    ends[at] > ends[at + 1] || ends[at + 1] > key.length)
				continue;
			text = slice_of(key.data + ends[at], ends[at + 1] - ends[at]);
		}
		if (table_give(text, value, error) != LOOKUP_FOUND)
			return LOOKUP_TRY_LATER;
	}
	return LOOKUP_FOUND;
}

static enum lookup
pattern_match(const void *pattern, struct slice key, void *scratch, struct error *error)
{
	const struct pattern *compiled = pattern;
	struct matcher       *matcher = scratch;
	int got = pcre2_match(compiled->code, (PCRE2_SPTR)key.data, key.length, 0, 0, matcher->data,
	                      matcher->table->limits);

	if (got >= 0)
		return LOOKUP_FOUND;
	if (got == PCRE2_ERROR_NOMATCH)
		return LOOKUP_NOT_FOUND;
	unsigned char reason[160] = "error";
	pcre2_get_error_message(got, reason, sizeof(reason));
	error_set(error, "matching: %s", reason);
	return LOOKUP_TRY_LATER;
}

/* ---- tables ---- */

static const struct rules_kind pcre_kind = { pcre_parse, result_check, pattern_free, pattern_match,
	                                     result_give };
static const struct rules_kind regexp_kind = { regexp_parse, result_check, pattern_free,
	                                       pattern_match, result_give };

static struct matcher *
matcher_take(struct regex_table *table)
{
	struct matcher *matcher;

	mutex_lock(&table->lock);
	matcher = table->idle;
	if (matcher != NULL) {
		table->idle = matcher->next;
		table->idle_count--;
	}
	mutex_unlock(&table->lock);
	if (matcher != NULL)
		return matcher;
	matcher = calloc(1, sizeof(*matcher));
	if (matcher == NULL)
		return NULL;
	matcher->table = table;
	matcher->data = pcre2_match_data_create(GROUPS_MOST + 1, NULL);
	if (matcher->data != NULL)
		return matcher;
	free(matcher);
	return NULL;
}

static void
matcher_free(struct matcher *matcher)
{
	pcre2_match_data_free(matcher->data);
	free(matcher);
}

static void
matcher_give_back(struct regex_table *table, struct matcher *matcher)
{
	mutex_lock(&table->lock);
	bool is_kept = table->idle_count < IDLE_MOST;
	if (is_kept) {
		matcher->next = table->idle;
		table->idle = matcher;
		table->idle_count++;
	}
	mutex_unlock(&table->lock);
	if (!is_kept)
		matcher_free(matcher);
}

static enum lookup
regex_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	struct regex_table *table = content;
	struct matcher     *matcher = matcher_take(table);

	if (matcher == NULL) {
		error_set(error, "out of memory");
		return LOOKUP_TRY_LATER;
	}
	enum lookup answer = rules_lookup(table->rules, key, matcher, value, error);
	matcher_give_back(table, matcher);
	return answer;
}

static void
regex_unload(void *content)
{
	struct regex_table *table = content;

	if (table == NULL)
		return;
	while (table->idle != NULL) {
		struct matcher *matcher = table->idle;

		table->idle = matcher->next;
		matcher_free(matcher);
	}
	rules_free(table->rules);
	pcre2_match_context_free(table->limits);
	mutex_destroy(&table->lock);
	free(table);
}

static void *
regex_load(const struct rules_kind *kind, const char *name, const char *path, struct error *error)
{
	struct regex_table *table = calloc(1, sizeof(*table));

	if (table == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	mutex_init(&table->lock);
	table->limits = pcre2_match_context_create(NULL);
	if (table->limits == NULL) {
		error_set(error, "out of memory");
		regex_unload(table);
		return NULL;
	}
	pcre2_set_match_limit(table->limits, STEPS_MOST);
	pcre2_set_depth_limit(table->limits, DEPTH_MOST);
	pcre2_set_heap_limit(table->limits, HEAP_MOST_KB);
	table->rules = rules_load(kind, name, path, error);
	if (table->rules != NULL)
		return table;
	regex_unload(table);
	return NULL;
}

static void *
pcre_load(const char *name, const char *path, struct error *error)
{
	return regex_load(&pcre_kind, name, path, error);
}

static void *
regexp_load(const char *name, const char *path, struct error *error)
{
	return regex_load(&regexp_kind, name, path, error);
}

const struct table_type table_type_pcre = {
	.name = "pcre",
	.suffix = "",
	.has_patterns = true,
	.load = pcre_load,
	.lookup = regex_lookup,
	.unload = regex_unload,
};

const struct table_type table_type_regexp = {
	.name = "regexp",
	.suffix = "",
	.has_patterns = true,
	.load = regexp_load,
	.lookup = regex_lookup,
	.unload = regex_unload,
};
