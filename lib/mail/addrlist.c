/* addrlist.c - address lists of header fields. See addrlist.h. */
#include "lib/mail/addrlist.h"

#define LINE_MOST 998 /* RFC 5322 2.1.1 */

/* ---- tokens ---- */

enum token_type {
	TOKEN_END,
	TOKEN_WORD,    /* an atom */
	TOKEN_QUOTED,  /* "..." */
	TOKEN_LITERAL, /* [...] */
	TOKEN_COMMENT, /* (...), nested ones inside */
	TOKEN_SIGN,    /* one of < > @ , ; : . */
	TOKEN_BROKEN,  /* no end, or a byte that has no place here */
};

struct token {
	enum token_type type;
	size_t          start, end;
};

/* Whether an atom may hold it: all but controls, the space and RFC 5322's specials. */
static bool
is_word_byte(char c)
{
	switch (c) {
	case '(':
	case ')':
	case '<':
	case '>':
	case '@':
	case ',':
	case ';':
	case ':':
	case '\\':
	case '"':
	case '.':
	case '[':
	case ']':
	case ' ':
	case 127: return false;
	default: return (unsigned char)c > ' ';
	}
}

/* Behind the end of what begins at start with '(' or '"' or '['; SLICE_NOT_FOUND without one. */
static size_t
enclosed_end(struct slice value, size_t start, char close)
{
	size_t depth = 1;

	for (size_t i = start + 1; i < value.length; i++) {
		char c = value.data[i];

		if (c == '\\')
			i++;
		else if (c == '(' && close == ')')
			depth++;
		else if (c == close && --depth == 0)
			return i + 1;
	}
	return SLICE_NOT_FOUND;
}

static struct token
enclosed(struct slice value, size_t start, enum token_type type, char close)
{
	size_t end = enclosed_end(value, start, close);

	if (end == SLICE_NOT_FOUND)
		return (struct token){ TOKEN_BROKEN, start, value.length };
	return (struct token){ type, start, end };
}

static struct token
token_at(struct slice value, size_t at)
{
	while (at < value.length && ascii_is_space(value.data[at]))
		at++;
	if (at >= value.length)
		return (struct token){ TOKEN_END, value.length, value.length };
	switch (value.data[at]) {
	case '(': return enclosed(value, at, TOKEN_COMMENT, ')');
	case '"': return enclosed(value, at, TOKEN_QUOTED, '"');
	case '[': return enclosed(value, at, TOKEN_LITERAL, ']');
	case '<':
	case '>':
	case '@':
	case ',':
	case ';':
	case ':':
	case '.': return (struct token){ TOKEN_SIGN, at, at + 1 };
	default: break;
	}
	size_t end = at;
	while (end < value.length && is_word_byte(value.data[end]))
		end++;
	if (end == at)
		return (struct token){ TOKEN_BROKEN, at, at + 1 };
	return (struct token){ TOKEN_WORD, at, end };
}

/* ---- one address ---- */

static void
address_clear(struct address_list *list)
{
	list->address = (struct listed_address){ .element = list->element };
	list->length = 0;
	list->sign = SLICE_NOT_FOUND;
	list->has_begun = list->is_bad = list->is_route = list->after_word = false;
}

static void
push(struct address_list *list, char c)
{
	if (list->length == sizeof(list->text))
		list->is_bad = true;
	else
		list->text[list->length++] = c;
}

static void
push_all(struct address_list *list, struct slice bytes)
{
	for (size_t i = 0; i < bytes.length; i++)
		push(list, bytes.data[i]);
}

/* A quoted string without its quotes; the line ends of folding are no part of it. */
static void
push_quoted(struct address_list *list, struct slice quoted)
{
	for (size_t i = 1; i + 1 < quoted.length; i++) {
		char c = quoted.data[i];

		if (c == '\r' || c == '\n')
			continue;
		if (c == '\\' && i + 2 < quoted.length)
			c = quoted.data[++i];
		if (ascii_is_control(c))
			list->is_bad = true;
		push(list, c);
	}
}

/* '@': of the domain; the last one counts. At the front it begins a source route. */
static void
take_sign(struct address_list *list)
{
	if (list->length == 0) {
		list->is_route = list->address.has_route = true;
		list->is_bad |= !list->in_angle;
		return;
	}
	if (list->sign != SLICE_NOT_FOUND)
		list->address.is_quoted = true;
	list->sign = list->length;
	push(list, '@');
	list->after_word = false;
}

static void
take_word(struct address_list *list, struct slice bytes, enum token_type type)
{
	if (list->after_word)
		list->is_bad = true; /* two words are a phrase */
	list->after_word = true;
	if (type == TOKEN_QUOTED) {
		list->address.is_quoted = true;
		list->is_bad |= list->sign != SLICE_NOT_FOUND;
		push_quoted(list, bytes);
	} else {
		list->is_bad |= type == TOKEN_LITERAL &&
		                (list->sign == SLICE_NOT_FOUND || slice_has_control(bytes));
		push_all(list, bytes);
	}
}

static void
take_token(struct address_list *list, struct token token)
{
	struct slice bytes = slice_of(list->value.data + token.start, token.end - token.start);

	if (!list->has_begun)
		list->address.start = token.start;
	else if (token.start != list->end)
		list->address.is_irregular = true;
	list->has_begun = true;
	list->end = token.end;
	if (list->is_route)
		return; /* up to its colon */
	if (token.type == TOKEN_BROKEN)
		list->is_bad = true;
	else if (token.type != TOKEN_SIGN)
		take_word(list, bytes, token.type);
	else if (bytes.data[0] == '@')
		take_sign(list);
	else {
		push(list, '.');
		list->after_word = false;
	}
}

static bool
has_broken_dots(struct slice local)
{
	return local.data[0] == '.' || local.data[local.length - 1] == '.' ||
	       slice_find(local, SLICE("..")) != SLICE_NOT_FOUND;
}

/* Whether what was read is an address; it is completed then. */
static bool
address_is_complete(struct address_list *list)
{
	struct slice text = slice_of(list->text, list->length);
	bool         has_domain = list->sign != SLICE_NOT_FOUND;

	if (!list->has_begun || list->is_bad || list->is_route || list->sign == 0 ||
	    text.length == 0)
		return false;
	list->address.length = list->end - list->address.start;
	list->address.local = slice_first(text, list->sign);
	list->address.domain = has_domain ? slice_from_offset(text, list->sign + 1) : SLICE_EMPTY;
	if (has_domain)
		return list->address.domain.length > 0;
	return list->address.is_quoted || !has_broken_dots(list->address.local);
}

/* ---- the list ---- */

void
address_list_begin(struct address_list *list, struct slice value, size_t token_limit)
{
	list->value = value;
	list->at = list->element = 0;
	list->tokens_left = token_limit;
	list->in_angle = false;
	address_clear(list);
}

/* True: the address read so far is complete. */
static bool
take_list_sign(struct address_list *list, struct token token)
{
	bool is_complete = false;

	switch (list->value.data[token.start]) {
	case '<': /* what stood before it was a name */
		list->in_angle = true;
		address_clear(list);
		return false;
	case '>':
		is_complete = list->in_angle && address_is_complete(list);
		list->in_angle = false;
		list->is_bad = true; /* whatever follows, up to the next comma */
		return is_complete;
	case ':':
		if (list->in_angle) {
			list->is_bad |= !list->is_route;
			list->is_route = false;
			list->end = token.end;
			return false;
		}
		break; /* the name of a group */
	case ',':
		if (list->in_angle && list->is_route) {
			list->end = token.end;
			return false;
		}
		is_complete = !list->in_angle && address_is_complete(list);
		break;
	default: is_complete = !list->in_angle && address_is_complete(list); break; /* ';' */
	}
	list->in_angle = false;
	list->element = token.end;
	return is_complete;
}

/* An address has been handed out: the next one begins, or nothing more up to the comma. */
static void
continue_behind(struct address_list *list, struct token token)
{
	bool is_behind_angle = list->value.data[token.start] == '>';

	address_clear(list);
	list->is_bad = is_behind_angle;
}

bool
address_list_next(struct address_list *list, struct listed_address *address)
{
	for (;;) {
		struct token token = token_at(list->value, list->at);

		list->at = token.end;
		if (token.type != TOKEN_END && list->tokens_left-- == 0) {
			list->tokens_left = 0;
			list->at = list->value.length;
			return false;
		}
		bool is_complete = false;
		if (token.type == TOKEN_COMMENT) {
			continue;
		} else if (token.type == TOKEN_END) {
			is_complete = !list->in_angle && address_is_complete(list);
			*address = list->address;
			address_clear(list);
			return is_complete;
		} else if (token.type == TOKEN_SIGN &&
		           strchr("@.", list->value.data[token.start]) == NULL) {
			bool separates = strchr(",;", list->value.data[token.start]) != NULL;

			is_complete = take_list_sign(list, token);
			*address = list->address;
			if (is_complete)
				continue_behind(list, token);
			else if (!list->in_angle &&
			         (separates || list->value.data[token.start] == ':'))
				address_clear(list);
		} else {
			take_token(list, token);
		}
		if (is_complete)
			return true;
	}
}

/* ---- header fields ---- */

enum header_role
header_role_of(struct slice name)
{
	/* As Postfix has it: Resent-Reply-To counts among the recipients. */
	static const struct {
		struct slice     name;
		enum header_role role;
	} rows[] = {
		{ SLICE("From"), HEADER_SENDER },
		{ SLICE("Sender"), HEADER_SENDER },
		{ SLICE("Reply-To"), HEADER_SENDER },
		{ SLICE("Errors-To"), HEADER_SENDER },
		{ SLICE("Return-Path"), HEADER_SENDER },
		{ SLICE("Return-Receipt-To"), HEADER_SENDER },
		{ SLICE("Disposition-Notification-To"), HEADER_SENDER },
		{ SLICE("Mail-Followup-To"), HEADER_SENDER },
		{ SLICE("Resent-From"), HEADER_SENDER },
		{ SLICE("Resent-Sender"), HEADER_SENDER },
		{ SLICE("To"), HEADER_RECIPIENT },
		{ SLICE("Cc"), HEADER_RECIPIENT },
		{ SLICE("Bcc"), HEADER_RECIPIENT },
		{ SLICE("Apparently-To"), HEADER_RECIPIENT },
		{ SLICE("Resent-To"), HEADER_RECIPIENT },
		{ SLICE("Resent-Cc"), HEADER_RECIPIENT },
		{ SLICE("Resent-Bcc"), HEADER_RECIPIENT },
		{ SLICE("Resent-Reply-To"), HEADER_RECIPIENT },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (slice_equal_fold(name, rows[i].name))
			return rows[i].role;
	return HEADER_NO_ADDRESSES;
}

/* A block on its way through header_replace_addresses. */
struct replacement {
	struct slice      block;
	size_t            copied; /* bytes of the block that are in out, or skipped */
	size_t            line;   /* in out: where the line at hand begins */
	struct buf       *out;
	address_replacer *replace;
	void             *context;
};

static bool
copy_up_to(struct replacement *replacement, size_t offset)
{
	struct buf *out = replacement->out;
	size_t      start = out->length;

	if (!buf_append(out, slice_of(replacement->block.data + replacement->copied,
	                              offset - replacement->copied)))
		return false;
	replacement->copied = offset;
	for (size_t i = out->length; i > start; i--) {
		if (out->data[i - 1] != '\n')
			continue;
		replacement->line = i;
		break;
	}
	return true;
}

/* The comments of an address that is taken out. */
static bool
append_comments(struct buf *out, struct slice written)
{
	struct token token;
	size_t       at = 0;

	while ((token = token_at(written, at)).type != TOKEN_END) {
		at = token.end;
		if (token.type != TOKEN_COMMENT)
			continue;
		if (!buf_append_byte(out, ' ') ||
		    !buf_append(out, slice_of(written.data + token.start, token.end - token.start)))
			return false;
	}
	return true;
}

/* Begins a new line behind the comma at hand when more bytes do not fit the old one. */
static bool
fold_behind_comma(struct replacement *replacement, size_t more)
{
	struct buf *out = replacement->out;
	char        next = replacement->block.data[replacement->copied];

	if (out->length - replacement->line + more <= LINE_MOST || next == '\r' || next == '\n')
		return true;
	replacement->line = out->length + 2;
	return buf_append_text(out, ascii_is_blank(next) ? "\r\n" : "\r\n ");
}

/* Puts new in the place of what stands at value + address->start in the block. */
static bool
replace_one(struct replacement *replacement, size_t value, const struct listed_address *address,
            const struct address *new)
{
	struct buf *out = replacement->out;
	size_t      element = value + address->element, start = value + address->start;
	size_t      most = start - element + 2 * new->local.length + new->domain.length + 4;

	if (address->element > 0 && element > replacement->copied &&
	    (!copy_up_to(replacement, element) || !fold_behind_comma(replacement, most)))
		return false;
	if (!copy_up_to(replacement, start) || !address_append(out, new))
		return false;
	replacement->copied += address->length;
	return !address->is_irregular ||
	       append_comments(out, slice_of(replacement->block.data + start, address->length));
}

static bool
replace_in_field(struct replacement *replacement, struct slice value, enum header_role role,
                 size_t token_limit)
{
	struct address_list   list;
	struct listed_address address;
	struct address new;
	size_t offset = (size_t)(value.data - replacement->block.data);

	address_list_begin(&list, value, token_limit);
	while (address_list_next(&list, &address)) {
		switch (replacement->replace(replacement->context, role, &address, &new)) {
		case ADDRESS_KEPT: break;
		case ADDRESS_FAILED: return false;
		case ADDRESS_REPLACED:
			if (!replace_one(replacement, offset, &address, &new))
				return false;
		}
	}
	return true;
}

bool
header_replace_addresses(struct slice block, size_t token_limit, address_replacer *replace,
                         void *context, struct buf *out, bool *is_changed)
{
	struct replacement  replacement = { .block = block,
		                            .out = out,
		                            .replace = replace,
		                            .context = context,
		                            .line = out->length };
	struct slice        rest = block;
	struct header_field field;

	while (header_next(&rest, &field)) {
		enum header_role role = header_role_of(field.name);

		if (role != HEADER_NO_ADDRESSES &&
		    !replace_in_field(&replacement, field.value, role, token_limit))
			return false;
	}
	*is_changed = replacement.copied > 0;
	return !*is_changed || copy_up_to(&replacement, block.length);
}
