/* intake.c - one message on its way in: life, the table of steps, the commit. See intake.h. */
#include "lib/intake/intake.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/intake/steps.h"
#include "lib/mail/address.h"

#define COMMIT_TIMEOUT_MS                                                                          \
	(300 * INT64_C(1000))                /* half of what a client waits, RFC 5321 4.5.3.2.6 */
#define RECIPIENTS_MOST (15u * 1024 * 1024)  /* bytes: what fits a commit beside inline content */
#define GIVEN_MOST      (12u * 1024 * 1024)  /* of those before aliases are expanded */
#define RECIPIENT_BYTES 20                   /* of each: numbers and lengths */
#define ARENA_MOST      (128u * 1024 * 1024) /* so many of them, and what aliases make of them */
#define BUFFER_MOST     (64u * 1024 * 1024)  /* the header's limit is header_block_size_limit */

/*
 * The steps in their order. Limits of size are kept while content comes in (content.c); the trace
 * fields stand in front from the beginning.
 */
enum intake_stage { AT_END_OF_HEADER, AT_END_OF_CONTENT };
static const struct {
	const char       *name; /* for -v */
	enum intake_stage stage;
	bool (*run)(struct intake *intake);
} steps[] = {
	{ "rewrite the sender", AT_END_OF_HEADER, step_rewrite_sender },
	{ "check fields", AT_END_OF_HEADER, step_check_fields }, /* as the sender wrote them */
	{ "survey fields", AT_END_OF_HEADER, step_survey_fields },
	{ "limit hops", AT_END_OF_HEADER, step_limit_hops },
	{ "drop fields", AT_END_OF_HEADER, step_drop_fields },
	{ "rewrite fields", AT_END_OF_HEADER, step_rewrite_fields },
	{ "add missing fields", AT_END_OF_HEADER, step_add_missing_fields },
	{ "note message-id", AT_END_OF_HEADER, step_note_message_id },
	/* body_checks see the body as it comes (walk.c). */
	{ "ask milters", AT_END_OF_CONTENT, step_ask_milters }, /* they see what will be stored */
	{ "rewrite recipients", AT_END_OF_CONTENT, step_rewrite_recipients },
	{ "automatic copies", AT_END_OF_CONTENT, step_add_copies },
	{ "redirect and copies of checks", AT_END_OF_CONTENT, step_apply_checks },
	{ "virtual aliases", AT_END_OF_CONTENT, step_expand_aliases },
	{ "flags", AT_END_OF_CONTENT, step_set_flags },
};

static bool
run_steps(struct intake *intake, enum intake_stage stage)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].stage != stage)
			continue;
		log_debug("%s: %s", intake->id, steps[i].name);
		if (!steps[i].run(intake))
			return false;
	}
	return true;
}

bool
intake_client_is_local(struct intake *intake, bool *is_local)
{
	struct route_client client = {
		.address = intake->envelope.client_address,
		.is_authenticated = intake->envelope.sasl_username.length > 0,
	};
	struct error error = ERROR_NONE;

	if (!intake->has_locality) {
		enum lookup found = route_client_is_local(intake->context->router, &client, &error);

		if (found == LOOKUP_TRY_LATER)
			return intake_fail_lookup(intake, &error);
		intake->is_local = found == LOOKUP_FOUND;
		intake->has_locality = true;
	}
	*is_local = intake->is_local;
	return true;
}

bool
intake_run_header_steps(struct intake *intake)
{
	return run_steps(intake, AT_END_OF_HEADER);
}

/* ---- refusals and failures ---- */

bool
intake_fail(struct intake *intake, int code, struct enhanced_status status, const char *text)
{
	if (intake->failure.code == 0)
		intake->failure = (struct smtp_reply){ code, status, slice_from(text) };
	return false;
}

bool
intake_fail_error(struct intake *intake, enum intake_status status, const struct error *error)
{
	static const struct enhanced_status no_space = { 4, 3, 1 }, other = { 4, 3, 0 };

	log_trouble("%s: %s", intake->id, error->text);
	if (status == INTAKE_NO_SPACE)
		return intake_fail(intake, 452, no_space, "Insufficient system storage");
	return intake_fail(intake, 451, other, "Error: queue file write error");
}

/* In the shape that log readers know refusals by (FACTS 2.9). */
void
intake_log(const struct intake *intake, const char *word, struct slice text)
{
	const struct msg_envelope *envelope = &intake->envelope;
	bool                       is_local = envelope->client_address.length == 0;
	struct slice               client = is_local ? SLICE("local") : envelope->client_name;
	struct slice address = is_local ? envelope->service : envelope->client_address;
	struct buf   line = BUF(8192);

	buf_append_format(&line, "%s: %s: END-OF-MESSAGE from ", intake->id, word);
	buf_append_printable(&line, client);
	buf_append_byte(&line, '[');
	buf_append_printable(&line, address);
	buf_append_text(&line, "]: ");
	buf_append_printable(&line, text);
	buf_append_text(&line, "; from=<");
	address_append_external(&line, envelope->sender);
	buf_append_text(&line, "> proto=");
	buf_append_printable(&line, envelope->client_protocol);
	buf_append_text(&line, " helo=<");
	buf_append_printable(&line, envelope->client_helo);
	buf_append_byte(&line, '>');
	log_info_as("cleanup", "%s", buf_text(&line));
	buf_free(&line);
}

static void
log_refusal(const struct intake *intake)
{
	const struct smtp_reply *reply = &intake->failure;
	struct buf               text = BUF(4096);

	buf_append_format(&text, "%d ", reply->code);
	enhanced_status_append(&text, reply->status);
	buf_append_byte(&text, ' ');
	buf_append(&text, reply->text);
	intake_log(intake, "reject", buf_slice(&text));
	buf_free(&text);
}

/* ---- life ---- */

struct intake *
intake_begin(const struct intake_context *context, const struct msg_envelope *envelope,
             struct error *error)
{
	struct intake *intake = calloc(1, sizeof(*intake));

	if (intake == NULL) {
		error_set(error, "out of memory for a message");
		return NULL;
	}
	intake->context = context;
	intake->envelope = *envelope;
	intake->arena = ARENA(ARENA_MOST);
	intake->content = BUF(BUFFER_MOST);
	intake->spool_fd = -1;
	if (!intake_make_id(context->queue, intake->id, error))
		intake_end(&intake);
	return intake;
}

void
intake_end(struct intake **intake)
{
	struct intake *gone = *intake;

	if (gone == NULL)
		return;
	if (gone->spool_fd >= 0)
		close(gone->spool_fd);
	if (gone->is_spooled)
		intake_abandon_spool(gone->context->queue, gone->id);
	if (gone->is_held)
		intake_release_content(gone->context->queue);
	buf_free(&gone->content);
	body_walk_destroy(&gone->walk);
	ARRAY_FREE(&gone->copies);
	ARRAY_FREE(&gone->given);
	ARRAY_FREE(&gone->settled);
	arena_reset(&gone->arena);
	free(gone);
	*intake = NULL;
}

const char *
intake_id(const struct intake *intake)
{
	return intake->id;
}

bool
intake_is_full(const struct intake *intake)
{
	return intake->given_bytes >= GIVEN_MOST;
}

bool
intake_add_recipient(struct intake *intake, const struct msg_recipient *recipient)
{
	if (intake_is_full(intake))
		return false;
	intake->given_bytes += recipient->address.length + recipient->original.length +
	                       recipient->dsn_orcpt.length + RECIPIENT_BYTES;
	struct msg_recipient copy = { .address = arena_copy(&intake->arena, recipient->address),
		                      .original = arena_copy(&intake->arena, recipient->original),
		                      .dsn_orcpt = arena_copy(&intake->arena, recipient->dsn_orcpt),
		                      .dsn_notify = recipient->dsn_notify };

	return copy.address.data != NULL && copy.original.data != NULL &&
	       copy.dsn_orcpt.data != NULL && ARRAY_PUSH(&intake->given, copy);
}

bool
intake_set_full_name(struct intake *intake, struct slice name)
{
	intake->full_name = arena_copy(&intake->arena, name);
	return intake->full_name.data != NULL;
}

void
intake_amend(struct intake *intake, uint32_t flags, struct slice filter)
{
	intake->envelope.flags |= flags;
	if (filter.length > 0)
		intake->envelope.filter = filter;
}

bool
intake_set_trace(struct intake *intake, struct slice fields)
{
	/* A declared size tells how much room the whole will take. */
	uint64_t expected = intake->envelope.size < INLINE_CONTENT_MOST ? intake->envelope.size
	                                                                : INLINE_CONTENT_MOST;

	buf_clear(&intake->content);
	if (!buf_reserve(&intake->content, fields.length + (size_t)expected + 1024) ||
	    !buf_append(&intake->content, fields))
		return false;
	intake->header_start = intake->field_start = intake->line_start = fields.length;
	return true;
}

void
intake_set_settles(struct intake *intake, const struct intake_settles *settles)
{
	intake->settles = settles;
}

bool
intake_write(struct intake *intake, struct slice content)
{
	return intake->failure.code == 0 && content_write(intake, content);
}

/* ---- the end ---- */

static bool
commit(struct intake *intake)
{
	struct buf   recipients = BUF(RECIPIENTS_MOST);
	struct error error = ERROR_NONE;

	for (size_t i = 0; i < intake->settled.count; i++)
		msg_recipient_append(&recipients, &intake->settled.items[i]);
	enum intake_status status = INTAKE_TRY_LATER;
	if (recipients.has_failed) {
		error_set(&error, "the list of recipients is too large");
	} else {
		struct intake_submission submission = { .id = intake->id,
			                                .envelope = &intake->envelope,
			                                .recipients = buf_slice(&recipients),
			                                .is_spooled = intake->is_spooled,
			                                .content = buf_slice(&intake->content),
			                                .settles = intake->settles };

		status = intake_commit(intake->context->queue, &submission, COMMIT_TIMEOUT_MS,
		                       &error);
	}
	buf_free(&recipients);
	if (status != INTAKE_OK)
		return intake_fail_error(intake, status, &error);
	intake->is_spooled = false; /* qmgr's now: not to be abandoned */
	return true;
}

static bool
finish(struct intake *intake)
{
	static const struct enhanced_status no_recipients = { 5, 5, 1 };

	if (intake->failure.code != 0 || !content_end(intake))
		return false;
	if (intake->given.count == 0)
		return intake_fail(intake, 554, no_recipients, "Error: no valid recipients");
	if (intake->is_discarded) /* the log has told; intake_end throws away what was spooled */
		return true;
	if (!run_steps(intake, AT_END_OF_CONTENT))
		return false;
	if (intake->is_discarded)
		return true;
	intake->envelope.size = intake->total;
	if (intake->is_spooled && !content_spool_end(intake))
		return false;
	return commit(intake);
}

struct smtp_reply
intake_finish(struct intake *intake, struct arena *arena)
{
	static const struct enhanced_status done = { 2, 0, 0 };

	if (!finish(intake)) {
		if (!intake->is_told)
			log_refusal(intake);
		return intake->failure;
	}
	const char *text = arena_format(arena, "Ok: queued as %s", intake->id);
	return (struct smtp_reply){ 250, done, slice_from(text == NULL ? "Ok" : text) };
}
