/*
 * checks.c - smtp_header_checks and its kin: rules for what leaves, carried out while it is sent.
 *
 * The content in the queue stays as it is. Rules change text and write to the log; who gets the
 * message, and whether, was decided when it came in. A rule that asks for more, or cannot be looked
 * up, makes the message wait: it must not pass by.
 */
#include "lib/base/log.h"
#include "smtp/smtp.h"

#define LOGGED_MOST 200 /* bytes of a field or line that are logged */

struct rules *
outgoing_rules_open(const struct parameters *parameters, bool is_lmtp, struct error *error)
{
	const struct rules_source smtp[CHECK_COUNT] = {
		[CHECK_HEADER] = { "smtp_header_checks", parameters->smtp_header_checks },
		[CHECK_MIME] = { "smtp_mime_header_checks", parameters->smtp_mime_header_checks },
		[CHECK_NESTED] = { "smtp_nested_header_checks",
		                   parameters->smtp_nested_header_checks },
		[CHECK_BODY] = { "smtp_body_checks", parameters->smtp_body_checks },
	};
	const struct rules_source lmtp[CHECK_COUNT] = {
		[CHECK_HEADER] = { "lmtp_header_checks", parameters->lmtp_header_checks },
		[CHECK_MIME] = { "lmtp_mime_header_checks", parameters->lmtp_mime_header_checks },
		[CHECK_NESTED] = { "lmtp_nested_header_checks",
		                   parameters->lmtp_nested_header_checks },
		[CHECK_BODY] = { "lmtp_body_checks", parameters->lmtp_body_checks },
	};

	return rules_open(is_lmtp ? lmtp : smtp, error);
}

/* "ID: replace: header Subject: x: Subject: y". */
static void
log_match(const struct rule_match *match, const char *action, struct slice text)
{
	const struct outgoing_checks *checks = match->context;
	struct buf                    line = BUF(8192);

	buf_append_format(&line, "%s: %s: %s ", checks->queue_id, action,
	                  rules_class_word(match->class));
	buf_append_printable(&line, slice_first(match->text, LOGGED_MOST));
	if (text.length > 0) {
		buf_append_text(&line, ": ");
		buf_append_printable(&line, text);
	}
	log_info("%s", buf_text(&line));
	buf_free(&line);
}

static void
fail_match(const struct rule_match *match, enum rule_failure failure, const struct error *error)
{
	struct outgoing_checks *checks = match->context;

	checks->status = failure == RULE_MISTAKEN ? "4.3.5" : "4.3.0";
	checks->error = *error;
	log_warning("%s: %s", checks->queue_id, error->text);
}

static const struct rule_user user = { .log = log_match, .fail = fail_match };

/* ---- the header ---- */

bool
outgoing_check_header(struct outgoing_checks *checks, struct slice header, struct buf *out)
{
	struct rule_question question = { checks->rules, &user, checks };
	struct slice         rest = header;
	struct header_field  field;
	struct buf           text = BUF(128u * 1024);
	bool                 ok = true;

	while (ok && header_next(&rest, &field)) {
		buf_clear(&text);
		enum check_fate fate = rules_field(&question, CHECK_HEADER, &field, &text);
		ok = fate != CHECK_FAILED;
		buf_append(out, buf_slice(&text));
		if (fate == CHECK_KEPT)
			buf_append(out, field.whole);
		out->has_failed |= text.has_failed;
	}
	buf_append(out, rest); /* the empty line */
	buf_free(&text);
	if (ok && out->has_failed) {
		checks->status = "4.3.0";
		ok = error_set(&checks->error, "out of memory for header checks");
	}
	return ok;
}

/* ---- the body ---- */

static bool
walk_store(void *context, struct slice bytes)
{
	struct outgoing_checks *checks = context;

	return checks->store(checks->store_context, bytes);
}

static enum check_fate
walk_check_text(void *context, struct slice text, struct buf *out)
{
	struct outgoing_checks *checks = context;
	struct rule_question    question = { checks->rules, &user, checks };

	return rules_text(&question, CHECK_BODY, text, out);
}

static enum check_fate
walk_check_field(void *context, enum check_class place, const struct header_field *field,
                 struct buf *out)
{
	struct outgoing_checks *checks = context;
	struct rule_question    question = { checks->rules, &user, checks };

	return rules_field(&question, place, field, out);
}

static bool
walk_fail(void *context, enum walk_failure failure)
{
	struct outgoing_checks *checks = context;

	checks->status = failure == WALK_TOO_DEEP ? "5.6.0" : "4.3.0";
	return error_set(&checks->error, "%s",
	                 failure == WALK_TOO_DEEP ? "MIME nesting exceeds safety limit"
	                                          : "out of memory for body checks");
}

bool
outgoing_walk_begin(struct outgoing_checks *checks, const struct parameters *parameters,
                    struct slice content_types)
{
	static const struct walk_user walker = {
		.store = walk_store,
		.check_text = walk_check_text,
		.check_field = walk_check_field,
		.fail = walk_fail,
	};
	struct header_field field;

	checks->walk = body_walk_create(parameters, UINT64_MAX, &walker, checks);
	if (checks->walk == NULL)
		return walk_fail(checks, WALK_NO_MEMORY);
	while (header_next(&content_types, &field))
		body_walk_field(checks->walk, &field);
	return body_walk_begin(checks->walk);
}
