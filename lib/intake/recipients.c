/* recipients.c - steps at the end of the content: copies, aliases, duplicates, flags. */
#include "lib/intake/steps.h"

#include "lib/base/hash.h"
#include "lib/base/log.h"

static bool
out_of_room(struct intake *intake)
{
	static const struct enhanced_status too_many = { 4, 5, 3 };

	return intake_fail(intake, 452, too_many, "Error: too many recipients");
}

/* always_bcc; a notice is between a system and a sender, and gets none. */
bool
step_add_always_bcc(struct intake *intake)
{
	struct slice address = slice_trim(slice_from(intake->context->parameters->always_bcc));

	if (address.length == 0 || (intake->envelope.flags & ENVELOPE_IS_NOTICE) != 0)
		return true;
	struct msg_recipient copy = { .address = address, .dsn_notify = DSN_NOTIFY_NEVER };
	return intake_add_recipient(intake, &copy) || out_of_room(intake);
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
	if (slice_equal(settled.original, address))
		settled.original = SLICE_EMPTY;
	if (seen != NULL && (limit == 0 || seen->count < limit)) {
		struct buf folded = BUF(65536);
		bool       is_there, ok = buf_append_lower(&folded, address);

		is_there = ok && hash_get(seen, buf_slice(&folded)) != NULL;
		ok = ok && (is_there ||
		            hash_put(seen, buf_slice(&folded), (void *)(uintptr_t)&mark, NULL));
		buf_free(&folded);
		if (is_there)
			return true;
		if (!ok)
			return out_of_room(intake);
	}
	return ARRAY_PUSH(&intake->settled, settled) || out_of_room(intake);
}

static bool
expand_one(struct intake *intake, struct hash *seen, const struct msg_recipient *given)
{
	struct route_addresses              addresses;
	struct error                        error = ERROR_NONE;
	static const struct enhanced_status lookup_failure = { 4, 3, 0 };

	if (route_expand(intake->context->router, given->address, &intake->arena, &addresses,
	                 &error) != LOOKUP_FOUND) {
		log_warning("%s: %s", intake->id, error.text);
		return intake_fail(intake, 451, lookup_failure, "Temporary lookup failure");
	}
	/* One that stays alone needs no filter for duplicates. */
	if (intake->given.count == 1 && addresses.count == 1)
		seen = NULL;
	for (size_t i = 0; i < addresses.count; i++)
		if (!settle(intake, seen, given, addresses.items[i]))
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
