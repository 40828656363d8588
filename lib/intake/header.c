/* header.c - steps at the end of the header: survey, hops, fields dropped, added and noted. */
#include "lib/intake/steps.h"

#include "lib/base/clock.h"
#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/mail/address.h"
#include "lib/mail/header.h"

#define MESSAGE_ID_MOST   998
#define FULL_NAME_MOST    1000
#define ENCODED_NAME_MOST 42 /* bytes; an encoded word has 75 characters at most */

static struct slice
header_of(const struct intake *intake)
{
	return slice_from_offset(buf_slice(&intake->content), intake->header_start);
}

/* ---- survey: what is there ---- */

static const struct {
	struct slice name;
	unsigned     field;
} field_rows[] = {
	{ SLICE("Received"), FIELD_RECEIVED }, { SLICE("From"), FIELD_FROM },
	{ SLICE("Date"), FIELD_DATE },         { SLICE("Message-ID"), FIELD_MESSAGE_ID },
	{ SLICE("To"), FIELD_DESTINATION },    { SLICE("Cc"), FIELD_DESTINATION },
	{ SLICE("Bcc"), FIELD_DESTINATION },
};

bool
step_survey_fields(struct intake *intake)
{
	struct slice        block = header_of(intake);
	struct header_field field;

	while (header_next(&block, &field)) {
		for (size_t i = 0; i < sizeof(field_rows) / sizeof(field_rows[0]); i++) {
			if (!slice_equal_fold(field.name, field_rows[i].name))
				continue;
			intake->fields |= field_rows[i].field;
			intake->received_count += field_rows[i].field == FIELD_RECEIVED;
			break;
		}
	}
	intake->has_8bit_header = !slice_is_ascii(header_of(intake));
	return true;
}

bool
step_limit_hops(struct intake *intake)
{
	static const struct enhanced_status routing = { 5, 4, 0 };

	if (intake->received_count <= (size_t)intake->context->parameters->hopcount_limit)
		return true;
	return intake_fail(intake, 554, routing, "Error: too many hops");
}

/* ---- dropping ---- */

bool
step_drop_fields(struct intake *intake)
{
	struct slice        list = slice_from(intake->context->parameters->message_drop_headers);
	struct slice        block = header_of(intake);
	struct header_field field;
	size_t              kept = intake->header_start; /* end of what stays, moved to the front */

	while (list.length > 0 && header_next(&block, &field)) {
		size_t start = (size_t)(field.whole.data - intake->content.data);

		if (slice_list_has(list, field.name))
			continue;
		if (kept != start)
			memmove(intake->content.data + kept, field.whole.data, field.whole.length);
		kept += field.whole.length;
	}
	if (list.length > 0)
		buf_truncate(&intake->content, kept);
	return true;
}

/* ---- adding ---- */

/* A name that is not ASCII, in encoded words (RFC 2047) of whole characters. */
static void
append_encoded_name(struct buf *out, struct slice name)
{
	while (name.length > 0) {
		size_t length = name.length < ENCODED_NAME_MOST ? name.length : ENCODED_NAME_MOST;

		while (length < name.length && length > 1 && (name.data[length] & 0xc0) == 0x80)
			length--;
		buf_append_text(out, "=?utf-8?B?");
		base64_encode(slice_first(name, length), out);
		buf_append_text(out, "?=");
		name = slice_from_offset(name, length);
		if (name.length > 0)
			buf_append_text(out, "\r\n ");
	}
}

/* A display name (RFC 5322 3.4): in quotes unless it is made of atoms. */
static void
append_display_name(struct buf *out, struct slice name)
{
	bool is_plain = true;

	for (size_t i = 0; i < name.length; i++)
		is_plain = is_plain && (ascii_is_alnum(name.data[i]) ||
		                        strchr(" !#$%&'*+-/=?^_`{|}~", name.data[i]) != NULL);
	if (!is_plain)
		buf_append_byte(out, '"');
	for (size_t i = 0; i < name.length; i++) {
		if (name.data[i] == '"' || name.data[i] == '\\')
			buf_append_byte(out, '\\');
		buf_append_byte(out, name.data[i]);
	}
	if (!is_plain)
		buf_append_byte(out, '"');
}

/* Control bytes are no part of a name. */
static void
append_name(struct buf *out, struct slice name)
{
	struct buf printable = BUF(FULL_NAME_MOST);

	buf_append_printable(&printable, slice_first(name, FULL_NAME_MOST));
	if (slice_is_ascii(buf_slice(&printable)))
		append_display_name(out, buf_slice(&printable));
	else
		append_encoded_name(out, buf_slice(&printable));
	buf_free(&printable);
}

/* From: the envelope sender; without one, who sends notices. */
static void
append_from(struct intake *intake)
{
	struct buf  *out = &intake->content;
	struct slice name = slice_trim(intake->full_name);
	bool         has_name = name.length > 0 && intake->envelope.sender.length > 0;

	buf_append_text(out, "From: ");
	if (has_name) {
		append_name(out, name);
		buf_append_text(out, " <");
	}
	if (intake->envelope.sender.length > 0)
		address_append_external(out, intake->envelope.sender);
	else
		buf_append_format(out, "MAILER-DAEMON@%s", intake->context->parameters->myhostname);
	buf_append_text(out, has_name ? ">\r\n" : "\r\n");
}

static void
append_missing(struct intake *intake)
{
	struct buf *out = &intake->content;
	int64_t     arrival_s = intake->envelope.arrival_us / 1000000;

	if ((intake->fields & FIELD_MESSAGE_ID) == 0) {
		buf_append_text(out, "Message-Id: ");
		message_id_append(out, arrival_s, intake->id,
		                  intake->context->parameters->myhostname);
		buf_append_text(out, "\r\n");
	}
	if ((intake->fields & FIELD_DATE) == 0) {
		buf_append_text(out, "Date: ");
		date_append(out, arrival_s);
		buf_append_text(out, "\r\n");
	}
	if ((intake->fields & FIELD_FROM) == 0)
		append_from(intake);
}

/* undisclosed_recipients_header, when it is a field. */
static void
append_destination(struct intake *intake)
{
	struct slice        text, block;
	struct header_field field;

	text = slice_trim(slice_from(intake->context->parameters->undisclosed_recipients_header));
	block = text;
	if (text.length == 0 || (intake->fields & FIELD_DESTINATION) != 0)
		return;
	if (slice_has_control(text) || !header_next(&block, &field)) {
		log_warning("undisclosed_recipients_header is no header field: %.*s",
		            SLICE_ARGS(text));
		return;
	}
	buf_append(&intake->content, text);
	buf_append_text(&intake->content, "\r\n");
}

bool
step_add_missing_fields(struct intake *intake)
{
	const unsigned wanted = FIELD_MESSAGE_ID | FIELD_DATE | FIELD_FROM;
	struct error   error = ERROR_NONE;

	append_destination(intake);
	if ((intake->fields & wanted) != wanted) {
		bool is_wanted = intake->context->parameters->always_add_missing_headers;

		if (!is_wanted && !intake_client_is_local(intake, &is_wanted))
			return false;
		if (is_wanted)
			append_missing(intake);
	}
	if (intake->content.has_failed) {
		error_set(&error, "out of memory for the header");
		return intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	}
	return true;
}

/* ---- noting ---- */

/* The Message-ID goes to the log, where it joins a message's lines at all its hosts. */
bool
step_note_message_id(struct intake *intake)
{
	struct header_field field;
	struct buf          text = BUF(MESSAGE_ID_MOST);

	if (header_find(header_of(intake), SLICE("Message-ID"), &field))
		header_unfold(slice_first(field.value, MESSAGE_ID_MOST), &text);
	intake->envelope.message_id = arena_copy(&intake->arena, buf_slice(&text));
	if (intake->envelope.message_id.data == NULL)
		intake->envelope.message_id = SLICE_EMPTY;
	if (intake->envelope.message_id.length > 0)
		log_info_as("cleanup", "%s: message-id=%.*s", intake->id,
		            SLICE_ARGS(intake->envelope.message_id));
	else
		log_info_as("cleanup", "%s: message-id=<>", intake->id);
	buf_free(&text);
	return true;
}
