/* aliases.c - see aliases.h. */
#include "lib/mail/aliases.h"

#include "lib/mail/address.h"

#define SHOWN_MOST 100 /* bytes of a malformed item in an error's text */

/* ---- where an item ends ---- */

struct scan {
	bool     is_address; /* comments and angle brackets count */
	bool     in_quotes;
	bool     in_brackets;
	unsigned comments; /* nested */
};

/* Takes one byte in; false when the item ends in front of it. */
static bool
scan_byte(struct scan *scan, char c)
{
	if (c == '\n')
		return false;
	if (scan->in_quotes) {
		scan->in_quotes = c != '"';
		return true;
	}
	if (scan->comments > 0) {
		scan->comments += c == '(' ? 1u : 0u;
		scan->comments -= c == ')' ? 1u : 0u;
		return true;
	}
	if (c == ',')
		return scan->in_brackets;
	if (c == '"')
		scan->in_quotes = true;
	else if (scan->is_address && c == '(')
		scan->comments = 1;
	else if (scan->is_address && c == '<')
		scan->in_brackets = true;
	else if (c == '>')
		scan->in_brackets = false;
	return true;
}

/* Cuts the next item off; false when what was open in it was never closed. */
static bool
take_item(struct slice *rest, struct slice *item)
{
	char        first = rest->length > 0 ? rest->data[0] : '\0';
	struct scan scan = { .is_address = first != '|' && first != '/' && first != ':' };
	size_t      at = 0;

	for (; at < rest->length && scan_byte(&scan, rest->data[at]); at++)
		if (rest->data[at] == '\\' && scan.comments == 0 && at + 1 < rest->length &&
		    rest->data[at + 1] != '\n')
			at++; /* the next byte stands for itself */
	*item = slice_trim(slice_first(*rest, at));
	*rest = slice_from_offset(*rest, at + 1);
	return !scan.in_quotes && !scan.in_brackets && scan.comments == 0;
}

/* ---- what an item is ---- */

static bool
malformed(struct error *error, const char *what, struct slice item)
{
	return error_set(error, "%s: \"%.*s\"", what, SLICE_ARGS(slice_first(item, SHOWN_MOST)));
}

static bool
out_of_memory(struct error *error)
{
	return error_set(error, "out of memory");
}

/* The text of a quoted string that is the whole item; false when it is something else. */
static bool
unquote_whole(struct slice item, struct arena *arena, struct slice *text)
{
	size_t length = 0;

	if (item.length < 2 || item.data[0] != '"')
		return false;
	char *out = arena_alloc(arena, item.length);
	if (out == NULL)
		return false;
	for (size_t i = 1; i < item.length; i++) {
		if (item.data[i] == '"') {
			*text = slice_of(out, length);
			return i + 1 == item.length;
		}
		if (item.data[i] == '\\' && i + 1 < item.length)
			i++;
		out[length++] = item.data[i];
	}
	return false;
}

/* A comment at the end of an address, as in "bob@example.org (Bob)". */
static struct slice
without_comments(struct slice item, struct arena *arena)
{
	char        *out = arena_alloc(arena, item.length + 1);
	struct slice kept = { out, 0 };
	bool         in_quotes = false;
	unsigned     comments = 0;

	if (out == NULL)
		return item;
	for (size_t i = 0; i < item.length; i++) {
		char c = item.data[i];

		if (comments == 0 && c == '\\' && i + 1 < item.length) {
			out[kept.length++] = c;
			out[kept.length++] = item.data[++i];
			continue;
		}
		if (comments == 0 && c == '"')
			in_quotes = !in_quotes;
		if (!in_quotes && c == '(')
			comments++;
		if (comments == 0)
			out[kept.length++] = c;
		if (!in_quotes && comments > 0 && c == ')')
			comments--;
	}
	return slice_trim(kept);
}

/* "Bob <bob@example.org>" without the name. */
static struct slice
without_phrase(struct slice item)
{
	size_t open = slice_find_last_byte(item, '<');

	if (open == SLICE_NOT_FOUND || item.data[item.length - 1] != '>')
		return item;
	return slice_from_offset(item, open);
}

static bool
take_address(struct slice item, struct arena *arena, struct alias_destination *destination,
             struct error *error)
{
	struct slice   text = without_phrase(without_comments(item, arena)), rest;
	struct address parts, again;

	if (text.length > 0 && text.data[0] == '\\') {
		destination->is_literal = true;
		text = slice_from_offset(text, 1);
	}
	if (!address_parse_path(text, true, false, arena, &parts, &rest) ||
	    slice_trim(rest).length > 0 || parts.local.length == 0 ||
	    slice_has_control(parts.local) || slice_has_control(parts.domain))
		return malformed(error, "no valid destination", item);
	const char *at = parts.domain.length > 0 ? "@" : "";
	char       *whole = arena_format(arena, "%.*s%s%.*s", SLICE_ARGS(parts.local), at,
	                                 SLICE_ARGS(parts.domain));
	if (whole == NULL)
		return out_of_memory(error);
	/* A quoted '@' without a domain behind it would be taken for one. */
	if (!address_split(slice_from(whole), &again) || !slice_equal(again.domain, parts.domain))
		return malformed(error, "no valid destination", item);
	destination->kind = ALIAS_ADDRESS;
	destination->text = slice_from(whole);
	return true;
}

static bool
take_path(struct slice path, enum alias_kind kind, struct arena *arena,
          struct alias_destination *destination, struct error *error)
{
	struct slice unquoted;

	if (unquote_whole(path, arena, &unquoted))
		path = unquoted;
	if (path.length < 2 || path.data[0] != '/' || slice_has_control(path))
		return malformed(error, "want an absolute path", path);
	destination->kind = kind;
	destination->text = arena_copy(arena, path);
	return destination->text.data != NULL || out_of_memory(error);
}

static bool
take_command(struct slice command, struct arena *arena, struct alias_destination *destination,
             struct error *error)
{
	struct slice unquoted;

	command = slice_trim(command);
	if (unquote_whole(command, arena, &unquoted))
		command = slice_trim(unquoted);
	for (size_t i = 0; i < command.length; i++)
		if (ascii_is_control(command.data[i]) && command.data[i] != '\t')
			return malformed(error, "control character in a command", command);
	if (command.length == 0)
		return malformed(error, "no command behind |", command);
	destination->kind = ALIAS_COMMAND;
	destination->text = arena_copy(arena, command);
	return destination->text.data != NULL || out_of_memory(error);
}

static bool
take_destination(struct slice item, struct arena *arena, struct alias_destination *destination,
                 struct error *error)
{
	static const struct slice include = SLICE(":include:");
	struct slice              inner = item;

	/* "|command with blanks" and "/path with blanks"; a quoted name is an address. */
	if (unquote_whole(item, arena, &inner) && inner.length > 0 &&
	    (inner.data[0] == '|' || inner.data[0] == '/' || inner.data[0] == ':'))
		item = inner;
	if (item.data[0] == '|')
		return take_command(slice_from_offset(item, 1), arena, destination, error);
	if (item.data[0] == '/')
		return take_path(item, ALIAS_FILE, arena, destination, error);
	if (slice_starts_with_fold(item, include))
		return take_path(slice_trim(slice_from_offset(item, include.length)), ALIAS_INCLUDE,
		                 arena, destination, error);
	return take_address(item, arena, destination, error);
}

enum alias_result
alias_next(struct slice *rest, struct arena *arena, struct alias_destination *destination,
           struct error *error)
{
	struct slice item;

	for (;;) {
		while (rest->length > 0 && (ascii_is_space(rest->data[0]) || rest->data[0] == ','))
			*rest = slice_from_offset(*rest, 1);
		if (rest->length == 0)
			return ALIAS_END;
		bool is_closed = take_item(rest, &item);

		if (!is_closed) {
			malformed(error, "a quote, comment or bracket is not closed", item);
			return ALIAS_MALFORMED;
		}
		if (item.length > 0)
			break;
	}
	*destination = (struct alias_destination){ .text = SLICE_EMPTY };
	return take_destination(item, arena, destination, error) ? ALIAS_FOUND : ALIAS_MALFORMED;
}

bool
alias_join_lines(struct slice file, struct buf *out)
{
	struct slice rest = file, line;

	while (slice_next_part(&rest, '\n', &line)) {
		struct slice text = slice_trim(line);

		if (text.length == 0 || text.data[0] == '#')
			continue;
		if (out->length > 0)
			buf_append_byte(out, ascii_is_blank(line.data[0]) ? ' ' : '\n');
		buf_append(out, text);
	}
	return !out->has_failed;
}
