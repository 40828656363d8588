/* address.c - envelope addresses. See address.h. */
#include "lib/mail/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define LABEL_MOST 63

/* What is being read, and how far; one pass from left to right. */
struct scan {
	struct slice text;
	size_t       at;
	bool         allow_utf8;
	bool         is_strict;
};

/* The local part as it is unquoted. */
struct local_part {
	char   bytes[ADDRESS_LOCAL_MOST];
	size_t length;
	bool   has_quotes;    /* a quoted string somewhere */
	bool   has_bare_text; /* unquoted characters somewhere */
};

static bool
is_atext(char c)
{
	return ascii_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL) ||
	       (unsigned char)c >= 128;
}

static bool
at_end(const struct scan *scan)
{
	return scan->at >= scan->text.length;
}

/* The byte at hand; NUL at the end, which no rule accepts. */
static char
peek(const struct scan *scan)
{
	return at_end(scan) ? '\0' : scan->text.data[scan->at];
}

static void
skip_blanks(struct scan *scan)
{
	while (ascii_is_blank(peek(scan)))
		scan->at++;
}

/* ---- host names and literals ---- */

static bool
label_is_valid(struct slice label)
{
	if (label.length == 0 || label.data[0] == '-' || label.data[label.length - 1] == '-')
		return false;
	for (size_t i = 0; i < label.length; i++) {
		char c = label.data[i];

		if (!ascii_is_alnum(c) && c != '-' && c != '_' && (unsigned char)c < 128)
			return false;
	}
	/* A U-label may be longer than the A-label that it stands for. */
	return label.length <= LABEL_MOST || !slice_is_ascii(label);
}

static bool
is_digits_and_dots(struct slice name)
{
	for (size_t i = 0; i < name.length; i++)
		if (!ascii_is_digit(name.data[i]) && name.data[i] != '.')
			return false;
	return true;
}

bool
hostname_is_valid(struct slice name, bool allow_utf8)
{
	size_t start = 0;

	if (name.length == 0 || name.length > ADDRESS_DOMAIN_MOST || is_digits_and_dots(name))
		return false;
	if (!slice_is_ascii(name) && (!allow_utf8 || !slice_is_utf8(name)))
		return false;
	for (size_t i = 0; i <= name.length; i++) {
		if (i < name.length && name.data[i] != '.')
			continue;
		if (!label_is_valid(slice_of(name.data + start, i - start)))
			return false;
		start = i + 1;
	}
	return true;
}

bool
hostname_is_fqdn(struct slice name)
{
	return hostname_is_valid(name, true) && slice_contains_byte(name, '.');
}

bool
address_literal_is_valid(struct slice text)
{
	unsigned char binary[sizeof(struct in6_addr)];
	char          presentation[INET6_ADDRSTRLEN];
	int           family = AF_INET;

	if (text.length < 3 || text.data[0] != '[' || text.data[text.length - 1] != ']')
		return false;
	struct slice inner = slice_of(text.data + 1, text.length - 2);
	if (slice_starts_with_fold(inner, SLICE("IPv6:"))) {
		family = AF_INET6;
		inner = slice_from_offset(inner, strlen("IPv6:"));
	}
	/* inet_pton stops at a NUL and knows no zones ("%eth0"), which have no place here. */
	if (inner.length >= sizeof(presentation) || slice_has_control(inner))
		return false;
	memcpy(presentation, inner.data, inner.length);
	presentation[inner.length] = '\0';
	return inet_pton(family, presentation, binary) == 1;
}

static bool
domain_is_valid(struct slice domain, bool allow_utf8)
{
	return hostname_is_valid(domain, allow_utf8) || address_literal_is_valid(domain);
}

/* ---- paths ---- */

static bool
local_push(struct local_part *local, char c)
{
	if (local->length == sizeof(local->bytes))
		return false;
	local->bytes[local->length++] = c;
	return true;
}

/* Quoted-string, RFC 5321 4.1.2; the opening quote is at hand. */
static bool
take_quoted(struct scan *scan, struct local_part *local)
{
	local->has_quotes = true;
	scan->at++;
	while (!at_end(scan) && peek(scan) != '"') {
		if (peek(scan) == '\\')
			scan->at++;
		if (ascii_is_control(peek(scan)) || !local_push(local, peek(scan)))
			return false; /* also the end of the text, which reads as NUL */
		scan->at++;
	}
	if (at_end(scan))
		return false;
	scan->at++;
	return true;
}

/* Strict: one Dot-string or one Quoted-string. Otherwise words and dots in any order. */
static bool
local_has_strict_form(const struct local_part *local)
{
	char previous = '.';

	if (local->has_quotes)
		return !local->has_bare_text;
	for (size_t i = 0; i < local->length; i++) {
		if (local->bytes[i] == '.' && previous == '.')
			return false;
		previous = local->bytes[i];
	}
	return previous != '.';
}

static bool
take_local(struct scan *scan, struct local_part *local)
{
	for (;;) {
		char c = peek(scan);

		if (c == '"') {
			if (!take_quoted(scan, local))
				return false;
		} else if (c == '.' || is_atext(c)) {
			local->has_bare_text = true;
			if (!local_push(local, c))
				return false;
			scan->at++;
		} else {
			break;
		}
	}
	struct slice text = slice_of(local->bytes, local->length);
	if (!slice_is_ascii(text) && (!scan->allow_utf8 || !slice_is_utf8(text)))
		return false;
	/* "" as a local part is in the grammar, but nothing could tell it from none. */
	return local->length > 0 && (!scan->is_strict || local_has_strict_form(local));
}

/* What follows '@', up to '>' or a blank. */
static bool
take_domain(struct scan *scan, struct slice *domain)
{
	size_t start = scan->at;

	while (!at_end(scan) && peek(scan) != '>' && !ascii_is_blank(peek(scan)))
		if (scan->at++ - start > ADDRESS_DOMAIN_MOST + 1)
			return false;
	struct slice text = slice_of(scan->text.data + start, scan->at - start);
	if (!scan->is_strict && text.length > 1 && text.data[text.length - 1] == '.')
		text.length--; /* a fully qualified name as DNS writes it */
	if (!domain_is_valid(text, scan->allow_utf8))
		return false;
	*domain = text;
	return true;
}

/* "@one,@two:" in front of the mailbox, which RFC 5321 (appendix F.2) has us accept and ignore. */
static bool
skip_source_route(struct scan *scan)
{
	if (peek(scan) != '@')
		return true;
	while (!at_end(scan) && peek(scan) != ':') {
		char c = peek(scan);

		if (c == '>' || c == '"' || c == ' ' || ascii_is_control(c))
			return false;
		/* The colon of an IPv6 literal does not end the route. */
		if (c == '[')
			while (!at_end(scan) && peek(scan) != ']')
				scan->at++;
		scan->at++;
	}
	if (at_end(scan))
		return false;
	scan->at++;
	return true;
}

static bool
take_mailbox(struct scan *scan, struct arena *arena, struct address *address)
{
	struct local_part local;
	struct slice      domain = SLICE_EMPTY;

	local.length = 0;
	local.has_quotes = local.has_bare_text = false;
	if (!skip_source_route(scan) || !take_local(scan, &local))
		return false;
	struct slice text = slice_of(local.bytes, local.length);
	if (peek(scan) == '@') {
		scan->at++;
		if (!take_domain(scan, &domain))
			return false;
	} else if (scan->is_strict && !slice_equal_fold(text, SLICE("postmaster"))) {
		return false;
	}
	struct address copy = { arena_copy(arena, text), arena_copy(arena, domain) };
	if (copy.local.data == NULL || copy.domain.data == NULL)
		return false;
	*address = copy;
	return true;
}

bool
address_parse_path(struct slice text, bool allow_utf8, bool is_strict, struct arena *arena,
                   struct address *address, struct slice *rest)
{
	struct scan    scan = { text, 0, allow_utf8, is_strict };
	struct address parsed = { SLICE_EMPTY, SLICE_EMPTY };

	if (!is_strict)
		skip_blanks(&scan);
	bool has_angles = peek(&scan) == '<';
	if (!has_angles && is_strict)
		return false;
	if (has_angles)
		scan.at++;
	if (!is_strict)
		skip_blanks(&scan);

	bool is_null = has_angles && peek(&scan) == '>';
	if (!is_null && !take_mailbox(&scan, arena, &parsed))
		return false;
	if (has_angles) {
		if (!is_strict)
			skip_blanks(&scan);
		if (peek(&scan) != '>')
			return false;
		scan.at++;
	}
	if (!at_end(&scan) && !ascii_is_blank(peek(&scan)))
		return false;
	*address = parsed;
	*rest = slice_from_offset(text, scan.at);
	return true;
}

/* ---- the internal form ---- */

bool
address_split(struct slice text, struct address *address)
{
	struct address split = { text, SLICE_EMPTY };
	size_t         at = slice_find_last_byte(text, '@');

	if (slice_has_control(text) || !slice_is_utf8(text))
		return false;
	if (at != SLICE_NOT_FOUND) {
		split.local = slice_of(text.data, at);
		split.domain = slice_of(text.data + at + 1, text.length - at - 1);
		if (split.local.length == 0 || !domain_is_valid(split.domain, true))
			return false;
	}
	if (split.local.length > ADDRESS_LOCAL_MOST)
		return false;
	*address = split;
	return true;
}

bool
address_needs_quotes(struct slice local)
{
	char previous = '.';

	for (size_t i = 0; i < local.length; i++) {
		char c = local.data[i];

		if (c == '.' ? previous == '.' : !is_atext(c))
			return true;
		previous = c;
	}
	return previous == '.';
}

static bool
append_quoted(struct buf *out, struct slice local)
{
	buf_append_byte(out, '"');
	for (size_t i = 0; i < local.length; i++) {
		if (local.data[i] == '"' || local.data[i] == '\\')
			buf_append_byte(out, '\\');
		buf_append_byte(out, local.data[i]);
	}
	return buf_append_byte(out, '"');
}

bool
address_append(struct buf *out, const struct address *address)
{
	if (address->local.length == 0 && address->domain.length == 0)
		return !out->has_failed;
	bool ok = address_needs_quotes(address->local) ? append_quoted(out, address->local)
	                                               : buf_append(out, address->local);
	if (address->domain.length == 0)
		return ok;
	return ok && buf_append_byte(out, '@') && buf_append(out, address->domain);
}

bool
address_append_external(struct buf *out, struct slice internal)
{
	struct address address = { internal, SLICE_EMPTY };
	size_t         at = slice_find_last_byte(internal, '@');

	if (at != SLICE_NOT_FOUND) {
		address.local = slice_of(internal.data, at);
		address.domain = slice_from_offset(internal, at + 1);
	}
	return address_append(out, &address);
}

/* owner-list and list-request are lists' own names, which a '-' does not take apart. */
static bool
is_owner_or_request(struct slice local)
{
	return (local.length > strlen("owner-") &&
	        slice_starts_with_fold(local, SLICE("owner-"))) ||
	       (local.length > strlen("-request") &&
	        slice_ends_with_fold(local, SLICE("-request")));
}

bool
address_split_any_extension(struct slice local, const char *delimiters, struct slice *user,
                            struct slice *extension)
{
	static const char *const never_split[] = { "postmaster", "mailer-daemon", "double-bounce" };

	if (delimiters == NULL || delimiters[0] == '\0')
		return false;
	for (size_t i = 0; i < sizeof(never_split) / sizeof(never_split[0]); i++)
		if (slice_equal_fold(local, slice_from(never_split[i])))
			return false;
	for (size_t i = 1; i < local.length; i++) {
		if (local.data[i] == '\0' || strchr(delimiters, local.data[i]) == NULL)
			continue;
		*user = slice_of(local.data, i);
		*extension = slice_of(local.data + i + 1, local.length - i - 1);
		return true;
	}
	return false;
}

bool
address_split_extension(struct slice local, const char *delimiters, struct slice *user,
                        struct slice *extension)
{
	if (delimiters != NULL && strchr(delimiters, '-') != NULL && is_owner_or_request(local))
		return false;
	return address_split_any_extension(local, delimiters, user, extension);
}
