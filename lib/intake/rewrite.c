/* rewrite.c - addresses of the envelope and of header fields as they are to be. See lib/route. */
#include "lib/intake/steps.h"

#include "lib/base/log.h"
#include "lib/mail/addrlist.h"

#define HEADER_MOST (64u * 1024 * 1024) /* as the content buffer */

bool
intake_has_no_mappings(const struct intake *intake)
{
	const char *options = intake->context->parameters->receive_override_options;

	return options[0] != '\0' &&
	       slice_list_has(slice_from(options), SLICE("no_address_mappings"));
}

bool
intake_fail_lookup(struct intake *intake, const struct error *error)
{
	static const struct enhanced_status lookup_failure = { 4, 3, 0 };

	log_trouble("%s: %s", intake->id, error->text);
	return intake_fail(intake, 451, lookup_failure, "Temporary lookup failure");
}

/* ---- the envelope ---- */

/* mailer-daemon of this host is who sends notices: its mail is never answered by another one. */
static bool
is_own_mailer_daemon(const struct intake *intake, struct slice sender)
{
	size_t at = slice_find_last_byte(sender, '@');

	return at != SLICE_NOT_FOUND &&
	       slice_equal_fold(slice_first(sender, at), SLICE("mailer-daemon")) &&
	       slice_equal_fold(slice_from_offset(sender, at + 1),
	                        slice_from(intake->context->parameters->myorigin));
}

static bool
rewrite_envelope(struct intake *intake, enum route_role role, struct slice address,
                 struct slice *result)
{
	struct route_rewriting how = { .role = role,
		                       .without_maps = intake_has_no_mappings(intake) };
	struct error           error = ERROR_NONE;
	size_t                 at = slice_find_last_byte(address, '@');

	how.is_quoted = address_needs_quotes(slice_first(address, at));
	return route_rewrite(intake->context->router, &how, address, &intake->arena, result,
	                     &error) == LOOKUP_FOUND ||
	       intake_fail_lookup(intake, &error);
}

bool
step_rewrite_sender(struct intake *intake)
{
	struct slice sender = intake->envelope.sender, result;

	if (is_own_mailer_daemon(intake, sender))
		sender = SLICE_EMPTY;
	if (!rewrite_envelope(intake, ROUTE_ENVELOPE_SENDER, sender, &result))
		return false;
	intake->envelope.sender = result;
	return true;
}

bool
step_rewrite_recipients(struct intake *intake)
{
	for (size_t i = 0; i < intake->given.count; i++) {
		struct msg_recipient *recipient = &intake->given.items[i];
		struct slice          given = recipient->address;

		if (!rewrite_envelope(intake, ROUTE_ENVELOPE_RECIPIENT, given, &recipient->address))
			return false;
		if (recipient->original.length == 0)
			recipient->original = given;
	}
	return true;
}

/* ---- header fields ---- */

struct field_rewriting {
	struct intake *intake;
	struct arena   arena; /* of the address at hand */
	bool           is_remote, without_maps;
};

static enum address_fate
rewrite_listed(void *context, enum header_role role, const struct listed_address *listed,
               struct address *replacement)
{
	struct field_rewriting *rewriting = context;
	struct intake          *intake = rewriting->intake;
	struct route_rewriting  how = { .role = role == HEADER_SENDER ? ROUTE_HEADER_SENDER
		                                                      : ROUTE_HEADER_RECIPIENT,
		                        .is_remote = rewriting->is_remote,
		                        .is_quoted = listed->is_quoted,
		                        .without_maps = rewriting->without_maps };
	struct address          parts = { listed->local, listed->domain };
	struct error            error = ERROR_NONE;
	struct buf              text = BUF(ADDRESS_LOCAL_MOST + ADDRESS_DOMAIN_MOST + 4);
	struct slice            given, result;

	if (!listed->has_route && !route_may_rewrite(intake->context->router, &how, &parts))
		return ADDRESS_KEPT;
	if (listed->domain.length == 0 && slice_contains_byte(listed->local, '@'))
		return ADDRESS_KEPT; /* "a@b" in quotes, and nothing behind */
	arena_reset(&rewriting->arena);
	buf_append(&text, listed->local);
	if (listed->domain.length > 0)
		buf_append_format(&text, "@%.*s", SLICE_ARGS(listed->domain));
	given = arena_copy(&rewriting->arena, buf_slice(&text));
	bool ok = !text.has_failed && given.data != NULL;
	buf_free(&text);
	if (!ok)
		return ADDRESS_KEPT; /* longer than any address that works */
	if (route_rewrite(intake->context->router, &how, given, &rewriting->arena, &result,
	                  &error) != LOOKUP_FOUND) {
		intake_fail_lookup(intake, &error);
		return ADDRESS_FAILED;
	}
	if (slice_equal(result, given) && !listed->has_route)
		return ADDRESS_KEPT;
	size_t at = slice_find_last_byte(result, '@');
	replacement->local = slice_first(result, at);
	replacement->domain =
		at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(result, at + 1);
	return ADDRESS_REPLACED;
}

static bool
take_header(struct intake *intake, struct slice header)
{
	buf_truncate(&intake->content, intake->header_start);
	if (!buf_append(&intake->content, header)) {
		struct error error = ERROR_NONE;

		error_set(&error, "out of memory for the header");
		return intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	}
	intake->has_8bit_header = !slice_is_ascii(header);
	return true;
}

bool
step_rewrite_fields(struct intake *intake)
{
	const struct parameters *parameters = intake->context->parameters;
	struct field_rewriting   rewriting = { .intake = intake };
	struct buf               header = BUF(HEADER_MOST);
	bool                     is_local, is_changed = false, ok;

	if (!intake_client_is_local(intake, &is_local))
		return false;
	if (!is_local && parameters->remote_header_rewrite_domain[0] == '\0')
		return true;
	rewriting.is_remote = !is_local;
	rewriting.without_maps = intake_has_no_mappings(intake);
	ok = header_replace_addresses(
		slice_from_offset(buf_slice(&intake->content), intake->header_start),
		(size_t)parameters->header_address_token_limit, rewrite_listed, &rewriting, &header,
		&is_changed);
	if (ok && is_changed)
		ok = take_header(intake, buf_slice(&header));
	else if (!ok && intake->failure.code == 0) {
		struct error error = ERROR_NONE;

		error_set(&error, "out of memory for the header");
		intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	}
	arena_reset(&rewriting.arena);
	buf_free(&header);
	return ok;
}
