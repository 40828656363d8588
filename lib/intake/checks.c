/* checks.c - what header_checks and body_checks say, carried out. See checks.h. */
#include "lib/intake/checks.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/intake/steps.h"
#include "lib/mail/address.h"
#include "lib/mail/status.h"
#include "lib/table/table.h"

#define VALUE_MOST  (64u * 1024) /* a result of a table */
#define LOGGED_MOST 200          /* bytes of a field or line that are logged */

/* ---- the tables ---- */

struct checks {
	struct table_list *lists[CHECK_COUNT];
	bool               are_on;
};

static const struct {
	const char *name;
	size_t      offset;
	const char *what; /* in the log */
} class_rows[CHECK_COUNT] = {
	[CHECK_HEADER] = { "header_checks", offsetof(struct parameters, header_checks), "header" },
	[CHECK_MIME] = { "mime_header_checks", offsetof(struct parameters, mime_header_checks),
	                 "header" },
	[CHECK_NESTED] = { "nested_header_checks",
	                   offsetof(struct parameters, nested_header_checks), "header" },
	[CHECK_BODY] = { "body_checks", offsetof(struct parameters, body_checks), "body" },
	[CHECK_MILTER] = { "milter_header_checks",
	                   offsetof(struct parameters, milter_header_checks), "milter-header" },
};

struct checks *
checks_create(const struct snapshot *snapshot, struct error *error)
{
	const struct parameters *parameters = snapshot_parameters(snapshot);
	struct checks           *checks = calloc(1, sizeof(*checks));
	bool is_off = slice_list_has(slice_from(parameters->receive_override_options),
	                             SLICE("no_header_body_checks"));

	if (checks == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < CHECK_COUNT && !is_off; i++) {
		const char *specs;

		memcpy(&specs, (const char *)parameters + class_rows[i].offset, sizeof(specs));
		checks->lists[i] = table_list_open(specs, error);
		if (checks->lists[i] == NULL) {
			error_prefix(error, "%s", class_rows[i].name);
			checks_destroy(&checks);
			return NULL;
		}
		checks->are_on |= !table_list_is_empty(checks->lists[i]);
	}
	return checks;
}

void
checks_destroy(struct checks **checks)
{
	struct checks *gone = *checks;

	if (gone == NULL)
		return;
	for (size_t i = 0; i < CHECK_COUNT; i++)
		table_list_close(&gone->lists[i]);
	free(gone);
	*checks = NULL;
}

bool
checks_are_on(const struct intake *intake, enum check_class class)
{
	const struct checks *checks = intake->context->checks;

	if (checks == NULL || !checks->are_on || intake->skips_checks)
		return false;
	return class == CHECK_COUNT || !table_list_is_empty(checks->lists[class]);
}

/* ---- one match ---- */

struct match {
	struct intake *intake;
	enum check_class class;
	struct slice text;     /* the field or line */
	struct slice argument; /* of the action */
	struct buf  *out;
};

static void
append_origin(struct buf *line, const struct msg_envelope *envelope)
{
	if (envelope->client_address.length == 0) {
		buf_append_text(line, "local");
		return;
	}
	buf_append_printable(line, envelope->client_name);
	buf_append_byte(line, '[');
	buf_append_printable(line, envelope->client_address);
	buf_append_byte(line, ']');
}

/* "ID: warning: header Subject: x from h[a]; from=<s> to=<r> proto=ESMTP helo=<h>: text". */
static void
log_match(const struct match *match, const char *action, struct slice text)
{
	const struct intake       *intake = match->intake;
	const struct msg_envelope *envelope = &intake->envelope;
	struct buf                 line = BUF(8192);

	buf_append_format(&line, "%s: %s: %s ", intake->id, action, class_rows[match->class].what);
	buf_append_printable(&line, slice_first(match->text, LOGGED_MOST));
	buf_append_text(&line, " from ");
	append_origin(&line, envelope);
	buf_append_text(&line, "; from=<");
	address_append_external(&line, envelope->sender);
	buf_append_byte(&line, '>');
	if (intake->given.count > 0) {
		buf_append_text(&line, " to=<");
		address_append_external(&line, intake->given.items[0].address);
		buf_append_byte(&line, '>');
	}
	if (envelope->client_protocol.length > 0) {
		buf_append_text(&line, " proto=");
		buf_append_printable(&line, envelope->client_protocol);
	}
	if (envelope->client_helo.length > 0) {
		buf_append_text(&line, " helo=<");
		buf_append_printable(&line, envelope->client_helo);
		buf_append_byte(&line, '>');
	}
	if (text.length > 0) {
		buf_append_text(&line, ": ");
		buf_append_printable(&line, text);
	}
	log_info_as("cleanup", "%s", buf_text(&line));
	buf_free(&line);
}

/* An action that cannot be carried out is a mistake in the table: mail must not pass by it. */
static enum check_fate
is_mistaken(struct match *match, const char *why)
{
	static const struct enhanced_status configuration = { 4, 3, 5 };

	log_warning("%s: %s: %s", match->intake->id, class_rows[match->class].name, why);
	intake_fail(match->intake, 451, configuration, "Server configuration error");
	return CHECK_FAILED;
}

static bool
keep_argument(struct match *match, struct slice *kept)
{
	struct slice copy = arena_copy(&match->intake->arena, match->argument);

	if (copy.data == NULL)
		return false;
	*kept = copy;
	return true;
}

/* ---- actions ---- */

static enum check_fate
act_nothing(struct match *match)
{
	(void)match;
	return CHECK_KEPT;
}

static enum check_fate
act_reject(struct match *match)
{
	struct enhanced_status status;
	struct slice           text;
	size_t                 length;
	struct buf             whole = BUF(VALUE_MOST + 100);

	if (!keep_argument(match, &text))
		return is_mistaken(match, "out of memory");
	if (enhanced_status_parse(text, &status, &length) && status.class != 2)
		text = slice_trim(slice_from_offset(text, length));
	else
		status = (struct enhanced_status){ 5, 7, 1 };
	if (text.length == 0)
		text = SLICE("message content rejected");
	enhanced_status_append(&whole, status);
	buf_append_byte(&whole, ' ');
	buf_append(&whole, text);
	log_match(match, "reject", buf_slice(&whole));
	buf_free(&whole);
	if (match->intake->failure.code == 0)
		match->intake->failure =
			(struct smtp_reply){ status.class == 4 ? 451 : 550, status, text };
	match->intake->is_told = true;
	return CHECK_FAILED;
}

static enum check_fate
act_discard(struct match *match)
{
	log_match(match, "discard", match->argument);
	match->intake->is_discarded = match->intake->skips_checks = true;
	return CHECK_KEPT;
}

static enum check_fate
act_hold(struct match *match)
{
	if ((match->intake->envelope.flags & ENVELOPE_HOLD) == 0)
		log_match(match, "hold", match->argument);
	match->intake->envelope.flags |= ENVELOPE_HOLD;
	return CHECK_KEPT;
}

static enum check_fate
act_filter(struct match *match)
{
	size_t colon = slice_find_byte(match->argument, ':');

	if (colon == SLICE_NOT_FOUND || colon == 0)
		return is_mistaken(match, "FILTER needs transport:destination");
	log_match(match, "filter", match->argument);
	if (!keep_argument(match, &match->intake->envelope.filter))
		return is_mistaken(match, "out of memory");
	return CHECK_KEPT;
}

static enum check_fate
act_redirect(struct match *match)
{
	if (!slice_contains_byte(match->argument, '@'))
		return is_mistaken(match, "REDIRECT needs an address with a domain");
	log_match(match, "redirect", match->argument);
	if (!keep_argument(match, &match->intake->redirect))
		return is_mistaken(match, "out of memory");
	return CHECK_KEPT;
}

static enum check_fate
act_bcc(struct match *match)
{
	struct slice copy = SLICE_EMPTY;

	if (!slice_contains_byte(match->argument, '@'))
		return is_mistaken(match, "BCC needs an address with a domain");
	log_match(match, "bcc", match->argument);
	if (!keep_argument(match, &copy) || !ARRAY_PUSH(&match->intake->copies, copy))
		return is_mistaken(match, "out of memory");
	return CHECK_KEPT;
}

/* Whether the argument can stand where the match stands. */
static bool
is_good_text(const struct match *match)
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
act_prepend(struct match *match)
{
	if (!is_good_text(match))
		return is_mistaken(match, "PREPEND needs text, in a header a field");
	log_match(match, "prepend", match->argument);
	buf_append(match->out, match->argument);
	buf_append_text(match->out, "\r\n");
	return CHECK_KEPT;
}

static enum check_fate
act_replace(struct match *match)
{
	if (!is_good_text(match))
		return is_mistaken(match, "REPLACE needs text, in a header a field");
	log_match(match, "replace", match->argument);
	buf_append(match->out, match->argument);
	buf_append_text(match->out, "\r\n");
	return CHECK_REPLACED;
}

static enum check_fate
act_ignore(struct match *match)
{
	(void)match;
	return CHECK_REPLACED;
}

static enum check_fate
act_strip(struct match *match)
{
	log_match(match, "strip", match->argument);
	return CHECK_REPLACED;
}

static enum check_fate
act_info(struct match *match)
{
	log_match(match, "info", match->argument);
	return CHECK_KEPT;
}

static enum check_fate
act_warn(struct match *match)
{
	log_match(match, "warning", match->argument);
	return CHECK_KEPT;
}

static enum check_fate
act_pass(struct match *match)
{
	log_match(match, "pass", match->argument);
	match->intake->skips_checks = true;
	return CHECK_KEPT;
}

static const struct {
	struct slice word;
	enum check_fate (*act)(struct match *match);
} actions[] = {
	{ SLICE("BCC"), act_bcc },           { SLICE("DISCARD"), act_discard },
	{ SLICE("DUNNO"), act_nothing },     { SLICE("FILTER"), act_filter },
	{ SLICE("HOLD"), act_hold },         { SLICE("IGNORE"), act_ignore },
	{ SLICE("INFO"), act_info },         { SLICE("OK"), act_nothing },
	{ SLICE("PASS"), act_pass },         { SLICE("PREPEND"), act_prepend },
	{ SLICE("REDIRECT"), act_redirect }, { SLICE("REJECT"), act_reject },
	{ SLICE("REPLACE"), act_replace },   { SLICE("STRIP"), act_strip },
	{ SLICE("WARN"), act_warn },
};

static enum check_fate
carry_out(struct match *match, struct slice value)
{
	struct slice word = SLICE_EMPTY, rest = value;
	char         why[100];

	slice_next_word(&rest, " \t", &word);
	match->argument = slice_trim(rest);
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (slice_equal_fold(word, actions[i].word))
			return actions[i].act(match);
	snprintf(why, sizeof(why), "unknown action \"%.*s\"", SLICE_ARGS(slice_first(word, 40)));
	return is_mistaken(match, why);
}

enum check_fate
checks_text(struct intake *intake, enum check_class class, struct slice text, struct buf *out)
{
	struct match    match = { .intake = intake, .class = class, .text = text, .out = out };
	struct buf      value = BUF(VALUE_MOST);
	struct error    error = ERROR_NONE;
	enum check_fate fate = CHECK_KEPT;

	if (!checks_are_on(intake, class))
		return CHECK_KEPT;
	switch (table_list_lookup(intake->context->checks->lists[class], text, &value, &error)) {
	case LOOKUP_FOUND: fate = carry_out(&match, slice_trim(buf_slice(&value))); break;
	case LOOKUP_NOT_FOUND: break;
	case LOOKUP_TRY_LATER:
		error_prefix(&error, "%s", class_rows[class].name);
		intake_fail_lookup(intake, &error);
		fate = CHECK_FAILED;
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
checks_field(struct intake *intake, enum check_class place, const struct header_field *field,
             struct buf *out)
{
	struct buf      logical = BUF(SIZE_MAX);
	enum check_fate fate;

	if (mime_is_field(field->name))
		place = CHECK_MIME;
	if (!checks_are_on(intake, place))
		return CHECK_KEPT;
	if (!append_logical(&logical, field->whole)) {
		struct error error = ERROR_NONE;

		error_set(&error, "out of memory for a header field");
		intake_fail_error(intake, INTAKE_TRY_LATER, &error);
		fate = CHECK_FAILED;
	} else {
		fate = checks_text(intake, place, buf_slice(&logical), out);
	}
	buf_free(&logical);
	return fate;
}

/* The header as it becomes: built anew from the first field on that changes. */
struct checked_header {
	struct slice block;
	size_t       copied; /* bytes of the block that are in out, or left out */
	struct buf   out;
	size_t       trace; /* length of what stands in front in out */
};

static bool
apply_fate(struct checked_header *header, const struct header_field *field, enum check_fate fate,
           const struct buf *text)
{
	size_t start = (size_t)(field->whole.data - header->block.data);

	if (fate == CHECK_KEPT && text->length == 0)
		return true;
	if (!buf_append(&header->out,
	                slice_of(header->block.data + header->copied, start - header->copied)) ||
	    !buf_append(&header->out, buf_slice(text)))
		return false;
	header->copied = start + (fate == CHECK_REPLACED ? field->whole.length : 0);
	return true;
}

static bool
check_fields(struct intake *intake, struct checked_header *header)
{
	struct slice        rest = header->block;
	struct header_field field;
	struct buf          text = BUF(VALUE_MOST + 2);
	bool                ok = true;
	size_t              gained = 0; /* what the trace fields have grown by, with wrap-around */

	while (ok && header_next(&rest, &field)) {
		bool is_trace =
			(size_t)(field.whole.data - header->block.data) < intake->header_start;

		buf_clear(&text);
		body_walk_field(intake->walk, &field);
		enum check_fate fate = checks_field(intake, CHECK_HEADER, &field, &text);
		ok = fate != CHECK_FAILED && apply_fate(header, &field, fate, &text);
		if (is_trace)
			gained += text.length - (fate == CHECK_REPLACED ? field.whole.length : 0);
	}
	header->trace = intake->header_start + gained;
	buf_free(&text);
	return ok;
}

bool
step_check_fields(struct intake *intake)
{
	struct checked_header header = { .block = buf_slice(&intake->content),
		                         .out = BUF(intake->content.limit) };
	struct error          error = ERROR_NONE;

	if (!checks_are_on(intake, CHECK_COUNT))
		return true;
	error_set(&error, "out of memory for header checks");
	intake->walk = body_walk_create(intake->context->parameters);
	if (intake->walk == NULL)
		return intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	bool ok = check_fields(intake, &header);
	bool is_changed = header.copied > 0 || header.out.length > 0;
	if (ok && is_changed)
		ok = buf_append(&header.out, slice_from_offset(header.block, header.copied));
	if (!ok && intake->failure.code == 0)
		intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	if (ok && is_changed) {
		buf_free(&intake->content);
		intake->content = header.out;
		intake->header_start = header.trace;
	} else {
		buf_free(&header.out);
	}
	return ok;
}

/* ---- recipients ---- */

bool
step_apply_checks(struct intake *intake)
{
	for (size_t i = 0; i < intake->copies.count; i++)
		if (!intake_add_copy(intake, intake->copies.items[i]))
			return false;
	if (intake->redirect.length == 0)
		return true;
	intake->given.count = 0;
	intake->envelope.filter = SLICE_EMPTY;
	struct msg_recipient only = { .address = intake->redirect };
	if (intake_add_recipient(intake, &only))
		return true;
	struct error error = ERROR_NONE;
	error_set(&error, "out of memory for a recipient");
	return intake_fail_error(intake, INTAKE_TRY_LATER, &error);
}
