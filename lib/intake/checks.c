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

struct rules *
checks_create(const struct snapshot *snapshot, struct error *error)
{
	static const struct rules_source none[CHECK_COUNT];
	const struct parameters         *parameters = snapshot_parameters(snapshot);
	const struct rules_source        sources[CHECK_COUNT] = {
		       [CHECK_HEADER] = { "header_checks", parameters->header_checks },
		       [CHECK_MIME] = { "mime_header_checks", parameters->mime_header_checks },
		       [CHECK_NESTED] = { "nested_header_checks", parameters->nested_header_checks },
		       [CHECK_BODY] = { "body_checks", parameters->body_checks },
		       [CHECK_MILTER] = { "milter_header_checks", parameters->milter_header_checks },
	};
	bool is_off = slice_list_has(slice_from(parameters->receive_override_options),
	                             SLICE("no_header_body_checks"));

	return rules_open(is_off ? none : sources, error);
}

bool
checks_are_on(const struct intake *intake, enum check_class class)
{
	return !intake->skips_checks && rules_have(intake->context->checks, class);
}

/* ---- one match ---- */

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
log_match(const struct rule_match *match, const char *action, struct slice text)
{
	const struct intake       *intake = match->context;
	const struct msg_envelope *envelope = &intake->envelope;
	struct buf                 line = BUF(8192);

	buf_append_format(&line, "%s: %s: %s ", intake->id, action, rules_class_word(match->class));
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

static void
fail_match(const struct rule_match *match, enum rule_failure failure, const struct error *error)
{
	static const struct enhanced_status configuration = { 4, 3, 5 };
	struct intake                      *intake = match->context;

	switch (failure) {
	case RULE_MISTAKEN:
		log_warning("%s: %s", intake->id, error->text);
		intake_fail(intake, 451, configuration, "Server configuration error");
		return;
	case RULE_LOOKUP: intake_fail_lookup(intake, error); return;
	case RULE_NO_MEMORY: intake_fail_error(intake, INTAKE_TRY_LATER, error); return;
	}
}

static bool
keep_argument(const struct rule_match *match, struct slice *kept)
{
	struct intake *intake = match->context;
	struct slice   copy = arena_copy(&intake->arena, match->argument);

	if (copy.data == NULL)
		return false;
	*kept = copy;
	return true;
}

/* ---- actions ---- */

static enum check_fate
act_reject(struct rule_match *match)
{
	struct intake         *intake = match->context;
	struct enhanced_status status;
	struct slice           text;
	size_t                 length;
	struct buf             whole = BUF(VALUE_MOST + 100);

	if (!keep_argument(match, &text))
		return rules_fail(match, RULE_NO_MEMORY, "out of memory");
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
	if (intake->failure.code == 0)
		intake->failure =
			(struct smtp_reply){ status.class == 4 ? 451 : 550, status, text };
	intake->is_told = true;
	return CHECK_FAILED;
}

static enum check_fate
act_discard(struct rule_match *match)
{
	struct intake *intake = match->context;

	log_match(match, "discard", match->argument);
	intake->is_discarded = intake->skips_checks = true;
	return CHECK_KEPT;
}

static enum check_fate
act_hold(struct rule_match *match)
{
	struct intake *intake = match->context;

	if ((intake->envelope.flags & ENVELOPE_HOLD) == 0)
		log_match(match, "hold", match->argument);
	intake->envelope.flags |= ENVELOPE_HOLD;
	return CHECK_KEPT;
}

static enum check_fate
act_filter(struct rule_match *match)
{
	struct intake *intake = match->context;
	size_t         colon = slice_find_byte(match->argument, ':');

	if (colon == SLICE_NOT_FOUND || colon == 0)
		return rules_fail(match, RULE_MISTAKEN, "FILTER needs transport:destination");
	log_match(match, "filter", match->argument);
	if (!keep_argument(match, &intake->envelope.filter))
		return rules_fail(match, RULE_NO_MEMORY, "out of memory");
	return CHECK_KEPT;
}

static enum check_fate
act_redirect(struct rule_match *match)
{
	struct intake *intake = match->context;

	if (!slice_contains_byte(match->argument, '@'))
		return rules_fail(match, RULE_MISTAKEN, "REDIRECT needs an address with a domain");
	log_match(match, "redirect", match->argument);
	if (!keep_argument(match, &intake->redirect))
		return rules_fail(match, RULE_NO_MEMORY, "out of memory");
	return CHECK_KEPT;
}

static enum check_fate
act_bcc(struct rule_match *match)
{
	struct intake *intake = match->context;
	struct slice   copy = SLICE_EMPTY;

	if (!slice_contains_byte(match->argument, '@'))
		return rules_fail(match, RULE_MISTAKEN, "BCC needs an address with a domain");
	log_match(match, "bcc", match->argument);
	if (!keep_argument(match, &copy) || !ARRAY_PUSH(&intake->copies, copy))
		return rules_fail(match, RULE_NO_MEMORY, "out of memory");
	return CHECK_KEPT;
}

static enum check_fate
act_pass(struct rule_match *match)
{
	struct intake *intake = match->context;

	log_match(match, "pass", match->argument);
	intake->skips_checks = true;
	return CHECK_KEPT;
}

static const struct rule_action actions[] = {
	{ SLICE("BCC"), act_bcc },       { SLICE("DISCARD"), act_discard },
	{ SLICE("FILTER"), act_filter }, { SLICE("HOLD"), act_hold },
	{ SLICE("PASS"), act_pass },     { SLICE("REDIRECT"), act_redirect },
	{ SLICE("REJECT"), act_reject },
};

static const struct rule_user user = {
	.actions = actions,
	.count = sizeof(actions) / sizeof(actions[0]),
	.log = log_match,
	.fail = fail_match,
};

enum check_fate
checks_text(struct intake *intake, enum check_class class, struct slice text, struct buf *out)
{
	struct rule_question question = { intake->context->checks, &user, intake };

	return intake->skips_checks ? CHECK_KEPT : rules_text(&question, class, text, out);
}

/* ---- fields ---- */

enum check_fate
checks_field(struct intake *intake, enum check_class place, const struct header_field *field,
             struct buf *out)
{
	struct rule_question question = { intake->context->checks, &user, intake };

	return intake->skips_checks ? CHECK_KEPT : rules_field(&question, place, field, out);
}

static bool
walk_store(void *context, struct slice bytes)
{
	return content_store(context, bytes);
}

static enum check_fate
walk_check_text(void *context, struct slice text, struct buf *out)
{
	return checks_text(context, CHECK_BODY, text, out);
}

static enum check_fate
walk_check_field(void *context, enum check_class place, const struct header_field *field,
                 struct buf *out)
{
	return checks_field(context, place, field, out);
}

static bool
walk_fail(void *context, enum walk_failure failure)
{
	static const struct enhanced_status bad_content = { 5, 6, 0 };
	struct error                        error = ERROR_NONE;

	if (failure == WALK_TOO_DEEP)
		return intake_fail(context, 550, bad_content, "MIME nesting exceeds safety limit");
	error_set(&error, "out of memory for body checks");
	return intake_fail_error(context, INTAKE_TRY_LATER, &error);
}

static const struct walk_user walker = {
	.store = walk_store,
	.check_text = walk_check_text,
	.check_field = walk_check_field,
	.fail = walk_fail,
};

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
	intake->walk = body_walk_create(
		intake->context->parameters,
		(uint64_t)intake->context->parameters->body_checks_size_limit, &walker, intake);
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
