/* recipients.c - steps at the end of the content: copies, aliases, duplicates, flags. */
#include "lib/intake/steps.h"

#include "lib/base/hash.h"

static bool
out_of_room(struct intake *intake)
{
	static const struct enhanced_status too_many = { 4, 5, 3 };

	return intake_fail(intake, 452, too_many, "Error: too many recipients");
}

/* ---- automatic copies ---- */

bool
intake_add_copy(struct intake *intake, struct slice address)
{
	static const struct route_rewriting how = { .role = ROUTE_ENVELOPE_RECIPIENT };
	struct msg_recipient                copy = { .dsn_notify = DSN_NOTIFY_NEVER };
	struct error                        error = ERROR_NONE;

	if (route_rewrite(intake->context->router, &how, address, &intake->arena, &copy.address,
	                  &error) != LOOKUP_FOUND)
		return intake_fail_lookup(intake, &error);
	return intake_add_recipient(intake, &copy) || out_of_room(intake);
}

static bool
add_copy_by_table(struct intake *intake, enum route_role role, struct slice address)
{
	struct error error = ERROR_NONE;
	struct slice copy;

	if (address.length == 0)
		return true;
	switch (route_bcc(intake->context->router, role, address, &intake->arena, &copy, &error)) {
	case LOOKUP_FOUND: return intake_add_copy(intake, copy);
	case LOOKUP_NOT_FOUND: return true;
	case LOOKUP_TRY_LATER: break;
	}
	return intake_fail_lookup(intake, &error);
}

/* By sender, by recipient, always. A notice is between a system and a sender, and gets none. */
bool
step_add_copies(struct intake *intake)
{
	struct slice always = slice_trim(slice_from(intake->context->parameters->always_bcc));
	size_t       count = intake->given.count;

	if ((intake->envelope.flags & (ENVELOPE_IS_NOTICE | ENVELOPE_INTERNAL | ENVELOPE_VERIFY)) !=
	            0 ||
	    intake_has_no_mappings(intake))
		return true;
	if (!add_copy_by_table(intake, ROUTE_ENVELOPE_SENDER, intake->envelope.sender))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!add_copy_by_table(intake, ROUTE_ENVELOPE_RECIPIENT,
		                       intake->given.items[i].address))
			return false;
	return always.length == 0 || intake_add_copy(intake, always);
}

/* ---- aliases and duplicates ---- */

/*
 * What makes two recipients the same: with enable_original_recipient all that the one copy could
 * not say for both, otherwise the address.
 */
static bool
make_key(const struct intake *intake, const struct msg_recipient *recipient, struct buf *key)
{
	if (intake->context->parameters->enable_original_recipient) {
		buf_append_lower(key, recipient->dsn_orcpt);
		buf_append_format(key, "\n%u\n", recipient->dsn_notify);
		buf_append_lower(key, recipient->original.length > 0 ? recipient->original
		                                                     : recipient->address);
		buf_append_byte(key, '\n');
	}
	return buf_append_lower(key, recipient->address);
}

/* Adds address for what was given, unless it is there already. */
static bool
settle(struct intake *intake, struct hash *seen, const struct msg_recipient *given,
       struct slice address)
{
	static const char    mark;
	size_t               limit = (size_t)intake->context->parameters->duplicate_filter_limit;
	struct msg_recipient settled = *given;

	settled.address = address;
	if (given->original.length == 0)
		settled.original = given->address;
	if (slice_equal(settled.original, address) ||
	    !intake->context->parameters->enable_original_recipient)
		settled.original = SLICE_EMPTY;
	if (seen != NULL && (limit == 0 || seen->count < limit)) {
		struct buf key = BUF(65536);
		bool       is_there, ok = make_key(intake, &settled, &key);

		is_there = ok && hash_get(seen, buf_slice(&key)) != NULL;
		ok = ok &&
		     (is_there || hash_put(seen, buf_slice(&key), (void *)(uintptr_t)&mark, NULL));
		buf_free(&key);
		if (is_there)
			return true;
		if (!ok)
			return out_of_room(intake);
	}
	return ARRAY_PUSH(&intake->settled, settled) || out_of_room(intake);
}

/*
 * An alias with several addresses (RFC 3461 5.2.7.3): the sender who asked for successes is told
 * that it was expanded, which qmgr sees to, and not of each address's success.
 */
static bool
settle_expanded(struct intake *intake, struct msg_recipient *given)
{
	struct msg_recipient expanded = *given;

	if ((given->dsn_notify & DSN_NOTIFY_SUCCESS) == 0)
		return true;
	expanded.dsn_notify |= DSN_NOTIFY_EXPANDED;
	given->dsn_notify &= ~(uint32_t)DSN_NOTIFY_SUCCESS;
	if (given->dsn_notify == 0)
		given->dsn_notify = DSN_NOTIFY_NEVER;
	return ARRAY_PUSH(&intake->settled, expanded) || out_of_room(intake);
}

static bool
expand_one(struct intake *intake, struct hash *seen, const struct msg_recipient *given)
{
	struct msg_recipient   child = *given;
	struct route_addresses addresses;
	struct error           error = ERROR_NONE;
	struct slice           itself = given->address;

	if (intake_has_no_mappings(intake))
		addresses = (struct route_addresses){ &itself, 1 };
	else if (route_expand(intake->context->router, given->address, &intake->arena, &addresses,
	                      &error) != LOOKUP_FOUND)
		return intake_fail_lookup(intake, &error);
	/* One that stays alone needs no filter for duplicates. */
	if (intake->given.count == 1 && addresses.count == 1)
		seen = NULL;
	if (addresses.count > 1 && !settle_expanded(intake, &child))
		return false;
	for (size_t i = 0; i < addresses.count; i++)
		if (!settle(intake, seen, &child, addresses.items[i]))
			return false;
	return true;
}

bool
step_expand_aliases(struct intake *intake)
{
	struct hash seen = { 0 };
	bool        ok = true;

	for (size_t i = 0; ok && i < intake->given.count; i++)
		ok = expand_one(intake, &seen, &intake->given.items[i]);
	hash_free(&seen, NULL);
	return ok;
}

/*
 * ENVELOPE_8BIT and ENVELOPE_SMTPUTF8 as the content and addresses really need them: whoever only
 * said SMTPUTF8 shall not be returned by a host that does not know it (RFC 6531 3.5).
 */
bool
step_set_flags(struct intake *intake)
{
	struct msg_envelope *envelope = &intake->envelope;
	bool                 may_be_utf8 =
		(envelope->flags & ENVELOPE_SMTPUTF8) != 0 || envelope->client_protocol.length == 0;
	bool is_utf8 =
		(may_be_utf8 && intake->has_8bit_header) || !slice_is_ascii(envelope->sender);

	for (size_t i = 0; !is_utf8 && i < intake->settled.count; i++)
		is_utf8 = !slice_is_ascii(intake->settled.items[i].address);
	envelope->flags &= ~(unsigned)(ENVELOPE_8BIT | ENVELOPE_SMTPUTF8);
	if (intake->has_8bit)
		envelope->flags |= ENVELOPE_8BIT;
	if (is_utf8)
		envelope->flags |= ENVELOPE_SMTPUTF8;
	return true;
}
