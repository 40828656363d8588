/*
 * generic.c - the header as it leaves: smtp_header_checks (checks.c), then smtp_generic_maps:
 * addresses as the world may see them.
 */
#include "lib/mail/addrlist.h"
#include "smtp/smtp.h"

#define HEADER_MOST (64u * 1024 * 1024)

/* ---- the content as it leaves ---- */

uint64_t
delivery_size(const struct delivery *delivery)
{
	return agent_job_size(delivery->job) - delivery->replaced + delivery->header.length;
}

bool
delivery_content(const struct delivery *delivery, uint64_t offset, size_t most, struct slice *piece,
                 struct error *error)
{
	if (offset < delivery->header.length) {
		*piece = slice_first(slice_from_offset(buf_slice(&delivery->header), offset), most);
		return true;
	}
	if (!agent_job_content(delivery->job, offset - delivery->header.length + delivery->replaced,
	                       delivery->scratch, most, piece, error))
		return false;
	*piece = slice_first(*piece, most);
	return true;
}

/* ---- addresses ---- */

struct generic {
	struct delivery *delivery;
	struct arena     arena; /* of the header address at hand */
	struct error     error;
	const char      *status; /* of the verdict that error becomes */
};

static bool
rewrite_envelope(struct delivery *delivery, struct slice *address, struct error *error)
{
	struct slice result;

	switch (route_generic(delivery->agent->generic, *address, &delivery->arena, &result,
	                      error)) {
	case LOOKUP_FOUND: *address = result; return true;
	case LOOKUP_NOT_FOUND: return true;
	case LOOKUP_TRY_LATER: break;
	}
	return false;
}

static enum address_fate
rewrite_listed(void *context, enum header_role role, const struct listed_address *listed,
               struct address *replacement)
{
	struct generic *generic = context;
	struct slice    result;

	(void)role;
	arena_reset(&generic->arena);
	if (listed->domain.length == 0 && slice_contains_byte(listed->local, '@'))
		return ADDRESS_KEPT; /* "a@b" in quotes, and nothing behind */
	char *text = arena_format(&generic->arena, "%.*s%s%.*s", SLICE_ARGS(listed->local),
	                          listed->domain.length > 0 ? "@" : "", SLICE_ARGS(listed->domain));
	if (text == NULL) {
		error_set(&generic->error, "out of memory");
		return ADDRESS_FAILED;
	}
	switch (route_generic(generic->delivery->agent->generic, slice_from(text), &generic->arena,
	                      &result, &generic->error)) {
	case LOOKUP_FOUND: break;
	case LOOKUP_NOT_FOUND: return ADDRESS_KEPT;
	case LOOKUP_TRY_LATER: return ADDRESS_FAILED;
	}
	size_t at = slice_find_last_byte(result, '@');
	replacement->local = slice_first(result, at);
	replacement->domain = slice_from_offset(result, at + 1);
	return ADDRESS_REPLACED;
}

/* ---- the header ---- */

/* Whether the header ends in what was read; from: where what is new begins. */
static bool
has_header_end(const struct buf *read, size_t from)
{
	struct slice text = buf_slice(read);

	if (slice_starts_with(text, SLICE("\r\n")))
		return true;
	from = from < 3 ? 0 : from - 3;
	return slice_find(slice_from_offset(text, from), SLICE("\r\n\r\n")) != SLICE_NOT_FOUND;
}

/* The stored header with its empty line. Intake has bounded it. */
static bool
read_header(const struct delivery *delivery, struct buf *read, struct error *error)
{
	struct slice piece;
	size_t       before;

	do {
		before = read->length;
		if (!delivery_content(delivery, before, DELIVERY_PIECE, &piece, error))
			return false;
		if (!buf_append(read, piece)) {
			error_set(error, "out of memory for the header");
			return false;
		}
	} while (piece.length > 0 && !has_header_end(read, before));
	buf_truncate(read, header_block_length(buf_slice(read)));
	return true;
}

/* What smtp_header_checks make of the header: *read is that then. False: generic->error. */
static bool
check_header(struct generic *generic, struct buf *read)
{
	struct delivery       *delivery = generic->delivery;
	struct outgoing_checks checks = { .rules = delivery->agent->rules,
		                          .queue_id = delivery->queue_id };
	struct slice           rest = buf_slice(read);
	struct header_field    field;
	struct buf             checked = BUF(HEADER_MOST);

	/* What the parts of the body are depends on what the sender wrote. */
	delivery->content_types = BUF(HEADER_MOST);
	while (header_next(&rest, &field))
		if (slice_equal_fold(field.name, SLICE("Content-Type")))
			buf_append(&delivery->content_types, field.whole);
	checks.status = "4.3.0";
	if (delivery->content_types.has_failed)
		error_set(&checks.error, "out of memory for header checks");
	else if (outgoing_check_header(&checks, buf_slice(read), &checked)) {
		buf_free(read);
		*read = checked;
		return true;
	}
	buf_free(&checked);
	generic->status = checks.status;
	generic->error = checks.error;
	return false;
}

static bool
rewrite_header(struct generic *generic)
{
	const struct smtp_agent *agent = generic->delivery->agent;
	struct delivery         *delivery = generic->delivery;
	struct buf               read = BUF(HEADER_MOST), header = BUF(HEADER_MOST);
	bool                     has_rules = rules_have(agent->rules, CHECK_COUNT);
	bool                     is_changed = false;
	bool                     ok = read_header(delivery, &read, &generic->error);
	uint64_t                 stored = read.length;

	if (ok && has_rules)
		ok = check_header(generic, &read);
	if (ok && agent->generic != NULL) {
		ok = header_replace_addresses(buf_slice(&read),
		                              (size_t)agent->parameters->header_address_token_limit,
		                              rewrite_listed, generic, &header, &is_changed);
		if (!ok && generic->error.text[0] == '\0')
			error_set(&generic->error, "out of memory for the header");
	}
	if (ok && (is_changed || has_rules)) {
		delivery->replaced = stored;
		delivery->header = is_changed ? header : read;
	}
	if (!ok || !is_changed)
		buf_free(&header);
	if (!ok || is_changed || !has_rules)
		buf_free(&read);
	return ok;
}

bool
delivery_rewrite(struct delivery *delivery, struct verdict *verdict)
{
	const struct smtp_agent *agent = delivery->agent;
	struct generic generic = { .delivery = delivery, .error = ERROR_NONE, .status = "4.3.0" };
	bool           ok = true;

	if (agent->generic == NULL && !rules_have(agent->rules, CHECK_COUNT))
		return true;
	if (agent->generic != NULL) {
		ok = rewrite_envelope(delivery, &delivery->sender, &generic.error);
		for (size_t i = 0; ok && i < delivery->count; i++)
			ok = rewrite_envelope(delivery, &delivery->recipients[i].address,
			                      &generic.error);
	}
	ok = ok && rewrite_header(&generic);
	arena_reset(&generic.arena);
	if (!ok)
		*verdict = verdict_make(&delivery->arena, OUTCOME_DEFERRED, generic.status, "%s",
		                        generic.error.text);
	return ok;
}
