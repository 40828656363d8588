/*
 * milters.c - the message shown to milters, and what they change about it. See lib/milter.
 *
 * They see it as it will be stored, but for our own Received field: Sendmail adds that later, and
 * filters count on it. Positions of fields that they insert count it.
 *
 * LIMIT: a body that a filter replaces is held in memory until the end.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/intake/steps.h"
#include "lib/mail/address.h"

#define HEADER_MOST (64u * 1024 * 1024) /* as the content buffer */
#define REASON_MOST 1000

/* The message in two parts while it is changed. */
struct draft {
	struct intake *intake;
	struct buf     header;  /* trace fields included */
	struct buf     visible; /* the same without our Received field */
	struct buf     body;    /* NULL data and !has_new_body: where it was */
	bool           has_new_body, has_new_header;
};

void
intake_set_milters(struct intake *intake, struct milter_session *milters)
{
	intake->milters = milters;
}

struct milter_settings
intake_milter_settings(const struct parameters *parameters)
{
	return (struct milter_settings){
		.connect_timeout_ms = parameters->milter_connect_timeout * 1000,
		.command_timeout_ms = parameters->milter_command_timeout * 1000,
		.content_timeout_ms = parameters->milter_content_timeout * 1000,
		.default_action = parameters->milter_default_action,
		.protocol = parameters->milter_protocol,
		.macros = {
			[MILTER_CONNECT] = parameters->milter_connect_macros,
			[MILTER_HELO] = parameters->milter_helo_macros,
			[MILTER_MAIL] = parameters->milter_mail_macros,
			[MILTER_RCPT] = parameters->milter_rcpt_macros,
			[MILTER_DATA] = parameters->milter_data_macros,
			[MILTER_END_OF_CONTENT] = parameters->milter_end_of_data_macros,
			[MILTER_END_OF_HEADER] = parameters->milter_end_of_header_macros,
			[MILTER_UNKNOWN] = parameters->milter_unknown_command_macros,
		},
		.macro_defaults = parameters->milter_macro_defaults,
	};
}

struct slice
intake_milter_macro(const struct parameters *parameters, struct slice name)
{
	if (slice_equal(name, SLICE("j")))
		return slice_from(parameters->myhostname);
	if (slice_equal(name, SLICE("daemon_name")))
		return slice_from(parameters->milter_macro_daemon_name);
	if (slice_equal(name, SLICE("v")))
		return slice_from(parameters->milter_macro_v);
	return (struct slice){ NULL, 0 };
}

/* ---- what they see ---- */

/* Where our own Received field stands in the header; length 0: there is none. */
static struct slice
own_received(const struct draft *draft)
{
	struct slice trace = slice_first(buf_slice(&draft->header), draft->intake->header_start);
	struct header_field field;

	return header_find(trace, SLICE("Received"), &field) ? field.whole : SLICE_EMPTY;
}

static struct slice
draft_header(void *context)
{
	struct draft *draft = context;
	struct slice  whole = buf_slice(&draft->header), own = own_received(draft);
	size_t        before = own.length == 0 ? 0 : (size_t)(own.data - whole.data);

	buf_clear(&draft->visible);
	buf_append(&draft->visible, slice_first(whole, before));
	buf_append(&draft->visible, slice_from_offset(whole, before + own.length));
	return buf_slice(&draft->visible);
}

static ssize_t
draft_body(void *context, uint64_t offset, char *data, size_t size, struct error *error)
{
	const struct draft  *draft = context;
	const struct intake *intake = draft->intake;
	size_t               start = intake->header_length + 2;
	struct slice         body = draft->has_new_body
	                                    ? buf_slice(&draft->body)
	                                    : slice_from_offset(buf_slice(&intake->content), start);

	if (!draft->has_new_body && intake->is_spooled) {
		ssize_t got;
		do
			got = pread(intake->spool_fd, data, size, (off_t)(start + offset));
		while (got < 0 && errno == EINTR);
		if (got < 0)
			error_set_errno(error, "read the content again");
		return got;
	}
	body = slice_first(slice_from_offset(body, (size_t)offset), size);
	if (body.length > 0)
		memcpy(data, body.data, body.length);
	return (ssize_t)body.length;
}

/* ---- fields ---- */

/*
 * "Name: value" with CRLF; a line within that does not begin with a blank gets one, and line ends
 * behind the last are left out: an empty line would end the header.
 */
static void
append_field(struct buf *out, struct slice name, const struct milter_edit *edit)
{
	struct slice value = edit->value;
	bool         is_line_start = false;

	while (value.length > 0 && strchr("\r\n", value.data[value.length - 1]) != NULL)
		value.length--; /* a NUL, too */
	for (size_t i = 0; i < name.length; i++)
		buf_append_byte(out, ascii_is_print(name.data[i]) && name.data[i] != ':' &&
		                                     name.data[i] != ' '
		                             ? name.data[i]
		                             : '-');
	buf_append_text(out, edit->has_space ? ":" : ": ");
	for (size_t i = 0; i < value.length; i++) {
		char c = value.data[i];

		if (c == '\r' || c == '\0')
			continue;
		if (is_line_start && !ascii_is_blank(c))
			buf_append_byte(out, '\t');
		is_line_start = c == '\n';
		if (is_line_start)
			buf_append_byte(out, '\r');
		buf_append_byte(out, c);
	}
	buf_append_text(out, "\r\n");
}

/* Puts text in place of length bytes at an offset of the header. */
static bool
splice(struct draft *draft, size_t offset, size_t length, struct slice text, struct error *error)
{
	struct buf   header = BUF(HEADER_MOST);
	struct slice old = buf_slice(&draft->header);

	buf_append(&header, slice_first(old, offset));
	buf_append(&header, text);
	buf_append(&header, slice_from_offset(old, offset + length));
	if (header.has_failed) {
		buf_free(&header);
		return error_set(error, "out of memory for the header");
	}
	/* Where the trace fields end moves with what is put in front of that. */
	if (offset < draft->intake->header_start)
		draft->intake->header_start += text.length - length;
	buf_free(&draft->header);
	draft->header = header;
	draft->has_new_header = true;
	return true;
}

/* What milter_header_checks makes of a new field. False: refused, or no memory. */
static bool
check_field(struct draft *draft, struct buf *field, struct error *error)
{
	struct intake *intake = draft->intake;
	struct buf     out = BUF(HEADER_MOST), logical = BUF(HEADER_MOST);
	bool           ok = true;

	if (!checks_are_on(intake, CHECK_MILTER) || field->length == 0)
		return true;
	for (size_t i = 0; i + 2 < field->length; i++)
		if (field->data[i] != '\r')
			buf_append_byte(&logical, field->data[i]);
	switch (checks_text(intake, CHECK_MILTER, buf_slice(&logical), &out)) {
	case CHECK_KEPT: buf_append(&out, buf_slice(field)); break; /* behind what PREPEND says */
	case CHECK_REPLACED: break;
	case CHECK_FAILED: ok = error_set(error, "milter_header_checks refuse the message");
	}
	if (ok) {
		buf_clear(field);
		ok = buf_append(field, buf_slice(&out)) ||
		     error_set(error, "out of memory for a header field");
	}
	buf_free(&logical);
	buf_free(&out);
	return ok;
}

static bool
put_field(struct draft *draft, size_t offset, size_t length, struct slice name,
          const struct milter_edit *edit, struct error *error)
{
	struct buf field = BUF(HEADER_MOST);

	append_field(&field, name, edit);
	bool ok = check_field(draft, &field, error);
	if (ok && field.has_failed)
		ok = error_set(error, "out of memory for a header field");
	ok = ok && splice(draft, offset, length, buf_slice(&field), error);
	buf_free(&field);
	return ok;
}

/* index counts all fields: 0 = in front of the first. */
static bool
insert_field(struct draft *draft, const struct milter_edit *edit, struct error *error)
{
	struct slice        block = buf_slice(&draft->header);
	struct header_field field;

	for (uint32_t i = 0; i < edit->index && header_next(&block, &field); i++)
		;
	return put_field(draft, (size_t)(block.data - draft->header.data), 0, edit->name, edit,
	                 error);
}

/* The index'th of the name, our Received field not counted; one that is not there is added. */
static bool
change_field(struct draft *draft, const struct milter_edit *edit, struct error *error)
{
	struct slice        block = buf_slice(&draft->header), own = own_received(draft);
	struct header_field field;
	uint32_t            index = edit->index == 0 ? 1 : edit->index;

	while (header_next(&block, &field)) {
		size_t offset = (size_t)(field.whole.data - draft->header.data);

		if (field.whole.data == own.data || !slice_equal_fold(field.name, edit->name) ||
		    --index > 0)
			continue;
		if (edit->value.length == 0)
			return splice(draft, offset, field.whole.length, SLICE_EMPTY, error);
		return put_field(draft, offset, field.whole.length, edit->name, edit, error);
	}
	if (edit->value.length == 0)
		return true;
	return put_field(draft, draft->header.length, 0, edit->name, edit, error);
}

/* ---- envelope ---- */

/* "<a@b>" or "a@b" in standard form; data NULL: no address. */
static struct slice
standard_form(struct intake *intake, struct slice given)
{
	struct address address;
	struct slice   rest;

	given = slice_trim(given);
	if (!address_parse_path(given, true, false, &intake->arena, &address, &rest))
		return (struct slice){ NULL, 0 };
	const char *text =
		arena_format(&intake->arena, "%.*s%s%.*s", SLICE_ARGS(address.local),
	                     address.domain.length > 0 ? "@" : "", SLICE_ARGS(address.domain));
	return text == NULL ? (struct slice){ NULL, 0 }
	                    : route_standard_form(intake->context->router, slice_from(text),
	                                          &intake->arena);
}

static bool
add_recipient(struct intake *intake, struct slice given, struct error *error)
{
	struct msg_recipient recipient = { .address = standard_form(intake, given) };

	if (recipient.address.data == NULL || recipient.address.length == 0) {
		log_warning("%s: a milter adds the recipient \"%.*s\", which is no address: left "
		            "out",
		            intake->id, SLICE_ARGS(slice_first(given, 100)));
		return true;
	}
	return intake_add_recipient(intake, &recipient) ||
	       error_set(error, "out of memory for a recipient");
}

static void
remove_recipient(struct intake *intake, struct slice given)
{
	struct slice address = standard_form(intake, given);
	size_t       kept = 0;

	for (size_t i = 0; i < intake->given.count; i++)
		if (address.data == NULL ||
		    !slice_equal_fold(intake->given.items[i].address, address))
			intake->given.items[kept++] = intake->given.items[i];
	intake->given.count = kept;
}

static bool
change_sender(struct intake *intake, struct slice given)
{
	struct slice sender = standard_form(intake, given);

	if (slice_equal(slice_trim(given), SLICE("<>")) || slice_trim(given).length == 0)
		sender = SLICE_EMPTY;
	if (sender.data == NULL)
		log_warning("%s: a milter changes the sender to \"%.*s\", which is no address: "
		            "left as it was",
		            intake->id, SLICE_ARGS(slice_first(given, 100)));
	else
		intake->envelope.sender = sender;
	return true;
}

static void
hold(struct intake *intake, struct slice reason)
{
	struct buf text = BUF(REASON_MOST + 100);

	intake->envelope.flags |= ENVELOPE_HOLD;
	buf_append_text(&text, "milter triggers HOLD action");
	if (reason.length > 0) {
		buf_append_text(&text, ": ");
		buf_append_printable(&text, slice_first(reason, REASON_MOST));
	}
	intake_log(intake, "milter-hold", buf_slice(&text));
	buf_free(&text);
}

/* ---- all changes ---- */

static bool
take_new_body(struct draft *draft, struct slice piece, struct error *error)
{
	int64_t limit = draft->intake->context->parameters->message_size_limit;

	draft->has_new_body = true;
	if (limit > 0 && draft->body.length + piece.length > (uint64_t)limit)
		return error_set(error, "its new body is larger than message_size_limit");
	return buf_append(&draft->body, piece) || error_set(error, "out of memory for a new body");
}

static bool
draft_edit(void *context, const struct milter_edit *edit, struct error *error)
{
	struct draft  *draft = context;
	struct intake *intake = draft->intake;

	if (edit->kind <= MILTER_CHANGE_FIELD && edit->name.length == 0)
		return error_set(error, "it changes a header field without a name");
	switch (edit->kind) {
	case MILTER_ADD_FIELD:
		return put_field(draft, draft->header.length, 0, edit->name, edit, error);
	case MILTER_INSERT_FIELD: return insert_field(draft, edit, error);
	case MILTER_CHANGE_FIELD: return change_field(draft, edit, error);
	case MILTER_NEW_BODY: return take_new_body(draft, edit->value, error);
	case MILTER_ADD_RECIPIENT: return add_recipient(intake, edit->value, error);
	case MILTER_REMOVE_RECIPIENT: remove_recipient(intake, edit->value); return true;
	case MILTER_CHANGE_SENDER: return change_sender(intake, edit->value);
	case MILTER_QUARANTINE: hold(intake, edit->value); return true;
	}
	return true;
}

/* ---- the step ---- */

/* The header as it is stored so far. */
static bool
draft_begin(struct draft *draft)
{
	struct intake *intake = draft->intake;
	size_t         length = intake->header_length, got = 0;

	if (!intake->is_spooled)
		return buf_append(&draft->header, slice_first(buf_slice(&intake->content), length));
	if (!content_flush(intake) || !buf_reserve(&draft->header, length))
		return false;
	while (got < length) {
		ssize_t more =
			pread(intake->spool_fd, draft->header.data + got, length - got, (off_t)got);

		if (more < 0 && errno == EINTR)
			continue;
		if (more <= 0)
			return false;
		got += (size_t)more;
	}
	draft->header.length = length;
	return true;
}

static bool
draft_store(struct draft *draft)
{
	struct intake *intake = draft->intake;
	struct slice   header = buf_slice(&draft->header);
	struct buf     copy = BUF(HELD_CONTENT_MOST);
	bool           ok;

	if (!draft->has_new_body && !draft->has_new_header)
		return true;
	intake->has_8bit_header = !slice_is_ascii(slice_from_offset(header, intake->header_start));
	if (draft->has_new_body)
		return content_replace(intake, header, buf_slice(&draft->body));
	if (intake->is_spooled)
		return content_replace_header(intake, header);
	ok = buf_append(&copy, slice_from_offset(buf_slice(&intake->content),
	                                         intake->header_length + 2)) &&
	     content_replace(intake, header, buf_slice(&copy));
	buf_free(&copy);
	return ok;
}

static bool
refuse(struct intake *intake, const struct milter_verdict *verdict)
{
	struct buf  line = BUF(4096);
	const char *text = arena_text(&intake->arena, verdict->text);

	/* An error of our own on the way has been told already. */
	if (intake->failure.code != 0)
		return false;
	enhanced_status_append(&line, verdict->status);
	buf_append_byte(&line, ' ');
	buf_append(&line, verdict->text);
	intake_log(intake, "milter-reject", buf_slice(&line));
	intake->is_told = true;
	buf_free(&line);
	return intake_fail(intake, verdict->code, verdict->status, text == NULL ? "" : text);
}

static bool
follow(struct draft *draft, const struct milter_verdict *verdict)
{
	static const struct enhanced_status other = { 4, 3, 0 };
	struct intake                      *intake = draft->intake;

	switch (verdict->outcome) {
	case MILTER_REFUSED: return refuse(intake, verdict);
	case MILTER_DISCARD:
		intake_log(intake, "milter-discard", SLICE("milter triggers DISCARD action"));
		intake->is_discarded = true;
		return true;
	case MILTER_HOLD: hold(intake, SLICE_EMPTY); break;
	case MILTER_GO_ON: break;
	}
	if (intake->given.count == 0) {
		intake_log(intake, "milter-discard", SLICE("milters leave no recipient"));
		intake->is_discarded = true;
		return true;
	}
	return draft_store(draft) || intake->failure.code != 0
	               ? intake->failure.code == 0
	               : intake_fail(intake, 451, other, "Error: queue file write error");
}

/* Shows the content to those of session, when their verdict so far lets it. */
static bool
ask(struct intake *intake, struct milter_session *session, struct milter_verdict verdict)
{
	struct draft          draft = { .intake = intake,
		                        .header = BUF(HEADER_MOST),
		                        .visible = BUF(HEADER_MOST),
		                        .body = BUF(HEADER_MOST) };
	struct milter_content content = { &draft, draft_header, draft_body, draft_edit };
	bool                  ok;

	if (!draft_begin(&draft)) {
		struct error error = ERROR_NONE;

		error_set(&error, "no memory for milters, or the content cannot be read again");
		ok = intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	} else {
		if (verdict.outcome == MILTER_GO_ON || verdict.outcome == MILTER_HOLD)
			verdict = milter_message(session, &content);
		ok = follow(&draft, &verdict);
	}
	buf_free(&draft.header);
	buf_free(&draft.visible);
	buf_free(&draft.body);
	return ok;
}

bool
step_ask_milters(struct intake *intake)
{
	struct local_milters  local;
	struct milter_verdict verdict = { .outcome = MILTER_GO_ON };
	struct error          error = ERROR_NONE;

	if (intake->milters != NULL)
		return ask(intake, intake->milters, verdict);
	if (milter_list_is_empty(intake->context->milters))
		return true;
	if (!local_milters_begin(&local, intake)) {
		error_set(&error, "out of memory for milters");
		return intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	}
	bool ok = ask(intake, local.session, local_milters_envelope(&local));
	local_milters_end(&local);
	return ok;
}
