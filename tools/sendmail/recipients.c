/*
 * recipients.c - the addresses in an RFC 5322 address list, for -t and the command line.
 *
 * RFC 5322 3.4 and 4.4, taken generously: what programs write into To is not always an address
 * list. One pass, no recursion: what matters is which bytes are the address.
 */
#include "lib/mail/address.h"
#include "lib/mail/header.h"
#include "tools/sendmail/sendmail.h"

#define ADDRESS_MOST 1000 /* bytes */

/* One mailbox of the list while it is read. */
struct mailbox {
	char   plain[ADDRESS_MOST]; /* what stands outside < > */
	size_t plain_length;
	char   angle[ADDRESS_MOST];
	size_t angle_length;
	bool   has_angle; /* < was seen */
	bool   is_in_angle;
	bool   is_too_long;
	bool   has_gap;     /* a blank, after which nothing came yet */
	bool   is_in_words; /* plain is several words: a display name, or no address */
	bool   is_quoted;   /* the last thing was a quoted string */
};

struct reader {
	struct slice         text;
	size_t               at;
	struct arena        *arena;
	struct address_list *list;
	struct mailbox       mailbox;
	size_t               start; /* of the mailbox, for the complaint */
};

static bool
is_special(char byte)
{
	return byte == '.' || byte == '@';
}

/* A byte of the address; blanks in front of it count between two words only. */
static void
mailbox_add(struct mailbox *mailbox, char byte, bool is_literal)
{
	char   *to = mailbox->is_in_angle ? mailbox->angle : mailbox->plain;
	size_t *length = mailbox->is_in_angle ? &mailbox->angle_length : &mailbox->plain_length;

	if (mailbox->has_gap && *length > 0 && !mailbox->is_in_angle &&
	    (is_literal || !is_special(byte)) && !is_special(to[*length - 1]))
		mailbox->is_in_words = true;
	mailbox->has_gap = false;
	if (*length == ADDRESS_MOST) {
		/* A long display name is none of our business. */
		mailbox->is_too_long |= mailbox->is_in_angle;
		mailbox->is_in_words |= !mailbox->is_in_angle;
		return;
	}
	to[(*length)++] = byte;
}

/* "@a,@b:user@c" goes to user@c (RFC 5321 4.1.2). */
static struct slice
route_drop(struct slice address)
{
	size_t colon = slice_find_byte(address, ':');

	if (address.length > 0 && address.data[0] == '@' && colon != SLICE_NOT_FOUND)
		return slice_from_offset(address, colon + 1);
	return address;
}

/* At a comma, semicolon or the end. */
static bool
mailbox_finish(struct reader *reader, struct slice *bad)
{
	struct mailbox *mailbox = &reader->mailbox;
	struct slice    address = mailbox->has_angle
	                                  ? route_drop(slice_of(mailbox->angle, mailbox->angle_length))
	                                  : slice_of(mailbox->plain, mailbox->plain_length);
	struct address  parts;
	bool            is_nothing = !mailbox->has_angle && address.length == 0;

	bool is_good = is_nothing ||
	               (!mailbox->is_too_long && (mailbox->has_angle || !mailbox->is_in_words) &&
	                address.length > 0 && address_split(address, &parts));
	if (!is_good)
		*bad = slice_trim(
			slice_of(reader->text.data + reader->start, reader->at - reader->start));
	struct slice copy = SLICE_EMPTY;
	if (is_good && !is_nothing)
		copy = arena_copy(reader->arena, address);
	if (copy.data == NULL || (copy.length > 0 && !ARRAY_PUSH(&reader->list->items, copy))) {
		*bad = SLICE_EMPTY;
		is_good = false;
	}
	*mailbox = (struct mailbox){ .is_in_angle = false };
	reader->start = reader->at + 1;
	return is_good;
}

/* Comments nest; the byte behind the last bracket is next. */
static void
comment_skip(struct reader *reader)
{
	size_t depth = 0;

	for (; reader->at < reader->text.length; reader->at++) {
		char byte = reader->text.data[reader->at];

		if (byte == '\\')
			reader->at++;
		else if (byte == '(')
			depth++;
		else if (byte == ')' && --depth == 0)
			break;
	}
	reader->mailbox.has_gap = true;
}

/* "john doe"@example.org: the bytes without quotes are the local part. */
static void
quoted_take(struct reader *reader)
{
	for (reader->at++; reader->at < reader->text.length; reader->at++) {
		char byte = reader->text.data[reader->at];

		if (byte == '"')
			break;
		if (byte == '\\' && reader->at + 1 < reader->text.length)
			byte = reader->text.data[++reader->at];
		mailbox_add(&reader->mailbox, byte, true);
	}
}

/* [192.0.2.1] as it stands. */
static void
literal_take(struct reader *reader)
{
	for (; reader->at < reader->text.length; reader->at++) {
		char byte = reader->text.data[reader->at];

		if (!ascii_is_space(byte))
			mailbox_add(&reader->mailbox, byte, false);
		if (byte == ']')
			break;
	}
}

static bool
byte_take(struct reader *reader, struct slice *bad)
{
	struct mailbox *mailbox = &reader->mailbox;
	char            byte = reader->text.data[reader->at];

	switch (byte) {
	case '(': comment_skip(reader); return true;
	case '"': quoted_take(reader); return true;
	case '[': literal_take(reader); return true;
	case '<':
		mailbox->has_angle = mailbox->is_in_angle = true;
		mailbox->has_gap = false;
		mailbox->angle_length = 0;
		return true;
	case '>': mailbox->is_in_angle = false; return true;
	case ',':
		if (!mailbox->is_in_angle)
			return mailbox_finish(reader, bad);
		break; /* of a route */
	case ';': return mailbox_finish(reader, bad);
	case ':':
		if (mailbox->is_in_angle)
			break;
		/* The name of a group. */
		*mailbox = (struct mailbox){ .is_in_angle = false };
		reader->start = reader->at + 1;
		return true;
	case '\\':
		if (reader->at + 1 < reader->text.length)
			byte = reader->text.data[++reader->at];
		break;
	default: break;
	}
	if (ascii_is_space(byte))
		mailbox->has_gap = true;
	else
		mailbox_add(mailbox, byte, false);
	return true;
}

bool
address_list_read(struct slice text, struct arena *arena, struct address_list *list,
                  struct slice *bad)
{
	struct reader reader = { .text = text, .arena = arena, .list = list };

	for (; reader.at < text.length; reader.at++)
		if (!byte_take(&reader, bad))
			return false;
	reader.at = text.length; /* a backslash at the end may have led beyond */
	return mailbox_finish(&reader, bad);
}

bool
address_list_read_header(struct slice header, struct arena *arena, struct address_list *list,
                         struct slice *bad)
{
	static const struct slice names[2][3] = {
		{ SLICE("To"), SLICE("Cc"), SLICE("Bcc") },
		{ SLICE("Resent-To"), SLICE("Resent-Cc"), SLICE("Resent-Bcc") },
	};
	struct slice        rest = header;
	struct header_field field;
	size_t              row = 0;

	while (header_next(&rest, &field))
		for (size_t i = 0; i < 3; i++)
			if (slice_equal_fold(field.name, names[1][i]))
				row = 1;
	for (rest = header; header_next(&rest, &field);)
		for (size_t i = 0; i < 3; i++)
			if (slice_equal_fold(field.name, names[row][i]) &&
			    !address_list_read(field.value, arena, list, bad))
				return false;
	return true;
}
