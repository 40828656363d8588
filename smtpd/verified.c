/*
 * verified.c - reject_unverified_sender and reject_unverified_recipient: would the address be
 * taken?
 *
 * verify(8) knows, or finds out by a probe. Aliases are expanded here, since this process has the
 * tables: what is asked for is an address that mail goes to.
 */
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "smtpd/checks.h"

#define REASON_MOST 1000

/* What the two restrictions differ in. */
struct wish {
	struct party party;
	const char  *status;
	int64_t      reject_code, defer_code;
	const char  *reason; /* of the administrator; empty = what the probe found */
	const char  *tempfail_action;
};

static bool
is_probe_sender(const struct check *check, struct slice address)
{
	return route_is_probe_sender(check->parameters, address, clock_wall_us() / 1000000);
}

/*
 * The address that mail to this one goes to, in the arena. Empty: to several, so it exists, and
 * which of them counts nobody can say.
 */
static enum lookup
find_target(struct check *check, struct slice address, struct arena *arena, struct slice *target,
            struct error *error)
{
	static const struct route_rewriting how = { .role = ROUTE_ENVELOPE_RECIPIENT };
	struct router                      *router = check->session->room->intake.router;
	struct route_addresses              addresses = { .count = 0 };

	*target = address;
	if (slice_list_has(slice_from(check->parameters->receive_override_options),
	                   SLICE("no_address_mappings")))
		return LOOKUP_FOUND;
	enum lookup found = route_rewrite(router, &how, address, arena, target, error);
	if (found == LOOKUP_FOUND)
		found = route_expand(router, *target, arena, &addresses, error);
	if (found == LOOKUP_FOUND)
		*target = addresses.count == 1 ? addresses.items[0] : SLICE_EMPTY;
	return found;
}

static enum verdict
refuse_unverified(struct check *check, const struct wish *wish, int64_t code, const char *reason)
{
	struct slice why = check_text(check, "%s: %s",
	                              code >= 500 ? "undeliverable address" : "unverified address",
	                              wish->reason[0] != '\0' ? wish->reason : reason);
	const char  *text = arena_text(&check->session->mail.arena, why);
	bool         waits = code < 500 && !check->is_warning &&
	             slice_equal(slice_from(wish->tempfail_action), SLICE("defer_if_permit"));

	if (text == NULL)
		text = "unverified address";
	if (code < 300) {
		check_log(check, "permit", text);
		return VERDICT_DUNNO;
	}
	if (!waits)
		return refuse_party(check, &wish->party, code, wish->status, text);
	struct buf external = BUF(700);
	address_append_external(&external, wish->party.as_given);
	hold_reply(check, &check->defer_if_permit, (int)code, wish->status, "<%s>: %s rejected: %s",
	           buf_text(&external), wish->party.class, text);
	buf_free(&external);
	return VERDICT_DUNNO;
}

static enum verdict
ask(struct check *check, const struct wish *wish, struct slice target)
{
	const struct parameters *parameters = check->parameters;
	int64_t                  wait_ms = parameters->address_verify_poll_count *
	                  parameters->address_verify_poll_delay * 1000;
	struct buf         reason = BUF(REASON_MOST);
	struct error       error = ERROR_NONE;
	enum verify_status status;
	enum verdict       verdict = VERDICT_DUNNO;

	if (!verify_ask(check->session->room->verify, target, wait_ms, &status, &reason, &error)) {
		log_warning("%s", error.text);
		verdict = refuse_unverified(check, wish, 450, "address verification problem");
	} else if (status == VERIFY_BAD) {
		verdict = refuse_unverified(check, wish, wish->reject_code, buf_text(&reason));
	} else if (status != VERIFY_GOOD) {
		verdict = refuse_unverified(check, wish, wish->defer_code, buf_text(&reason));
	}
	buf_free(&reason);
	return verdict;
}

static enum verdict
require_verified(struct check *check, const struct wish *wish)
{
	struct arena arena = ARENA(1024u * 1024);
	struct error error = ERROR_NONE;
	struct slice target;
	enum verdict verdict = VERDICT_DUNNO;

	if (is_probe_sender(check, wish->party.address))
		return VERDICT_DUNNO;
	enum lookup found = find_target(check, wish->party.address, &arena, &target, &error);
	if (found != LOOKUP_FOUND)
		verdict = lookup_failed(check, wish->party.address, &error);
	else if (target.length > 0)
		verdict = ask(check, wish, target);
	arena_reset(&arena);
	return verdict;
}

enum verdict
check_reject_unverified_recipient(struct check *check, const struct entry *entry)
{
	const struct parameters *parameters = check->parameters;
	struct wish              wish = {
			     .status = "4.1.1",
			     .reject_code = parameters->unverified_recipient_reject_code,
			     .defer_code = parameters->unverified_recipient_defer_code,
			     .reason = parameters->unverified_recipient_reject_reason,
			     .tempfail_action = parameters->unverified_recipient_tempfail_action,
	};

	(void)entry;
	return recipient_party(check, &wish.party) ? require_verified(check, &wish) : VERDICT_DUNNO;
}

enum verdict
check_reject_unverified_sender(struct check *check, const struct entry *entry)
{
	const struct parameters *parameters = check->parameters;
	struct wish              wish = {
			     .status = "4.1.7",
			     .reject_code = parameters->unverified_sender_reject_code,
			     .defer_code = parameters->unverified_sender_defer_code,
			     .reason = parameters->unverified_sender_reject_reason,
			     .tempfail_action = parameters->unverified_sender_tempfail_action,
	};

	(void)entry;
	if (!sender_party(check, &wish.party))
		return VERDICT_DUNNO;
	/* Another host looks whether the sender of our probes exists, perhaps by a probe: two that
	 * verified each other's would never come to an end. */
	if (check->question->recipient != NULL &&
	    is_probe_sender(check, check->question->recipient->address))
		return VERDICT_DUNNO;
	return require_verified(check, &wish);
}
