/* why.c - dakqueue why ID: when the next attempt comes, and what it waits for. */
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include "lib/base/json.h"
#include "tools/dakqueue/dakqueue.h"

#define SECOND_US INT64_C(1000000)
#define TEXT_MOST 65536

/* ---- words ---- */

/* "2h 5m": the two largest units. */
static void
span_print(int64_t seconds)
{
	static const struct {
		int64_t seconds;
		char    name;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	unsigned printed = 0;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && printed < 2; i++) {
		int64_t count = seconds / units[i].seconds;

		if (count == 0 && (printed == 0 ? i < 3 : true))
			continue;
		printf("%s%" PRId64 "%c", printed > 0 ? " " : "", count, units[i].name);
		seconds -= count * units[i].seconds;
		printed++;
	}
}

/* ---- the message ---- */

static void
message_print(const struct msg_queue_entry *entry, const struct msg_queue_outlook *outlook)
{
	struct slice               list = entry->recipients;
	struct msg_queue_recipient one;

	printf("%.*s: %s, %" PRIu32 " attempt%s so far, %" PRIu64 " bytes from <",
	       SLICE_ARGS(entry->queue_id), state_name(entry->state), entry->attempts,
	       entry->attempts == 1 ? "" : "s", entry->size);
	text_print(entry->sender);
	printf(">\narrived: ");
	time_print(entry->arrival_us);
	printf(", ");
	span_print((outlook->now_us - entry->arrival_us) / SECOND_US);
	puts(" ago");
	while (msg_queue_recipient_next(&list, &one)) {
		printf("to <");
		text_print(one.address);
		putchar('>');
		if (one.transport.length > 0) {
			printf(" by ");
			text_print(one.transport);
		}
		if (one.nexthop.length > 0) {
			putchar(':');
			text_print(one.nexthop);
		}
		printf(": ");
		text_print(one.reason.length > 0 ? one.reason : SLICE("not tried yet"));
		putchar('\n');
	}
}

/* ---- when ---- */

/* The last attempt was so long before the next one, as the rule says. */
static int64_t
backoff_us(const struct msg_queue_entry *entry, const struct msg_queue_outlook *outlook)
{
	int64_t half = (outlook->next_us - entry->arrival_us) / 2;
	int64_t least = outlook->least_s * SECOND_US, most = outlook->most_s * SECOND_US;

	return half < least ? least : half > most ? most : half;
}

static void
backoff_print(const struct msg_queue_entry *entry, const struct msg_queue_outlook *outlook)
{
	int64_t pause_us = backoff_us(entry, outlook);

	printf("  an attempt comes after as long again as the message is old: ");
	span_print(pause_us / SECOND_US);
	printf(" after the last one;\n  at least minimal_backoff_time (");
	span_print(outlook->least_s);
	printf("), at most maximal_backoff_time (");
	span_print(outlook->most_s);
	puts(")");
}

static void
due_print(const struct msg_queue_outlook *outlook)
{
	puts(outlook->is_flushed ? "next attempt: now, it was asked for by hand"
	                         : "next attempt: now");
	if (outlook->active >= outlook->active_limit)
		printf("  the active queue is full: %" PRIu64
		       " messages (qmgr_message_active_limit)\n",
		       outlook->active);
	else
		puts("  it waits to be read back into the active queue");
}

static void
when_print(const struct msg_queue_entry *entry, const struct msg_queue_outlook *outlook)
{
	if (entry->state == QUEUE_HOLD) {
		printf("next attempt: none, it is on hold ");
		puts(outlook->is_held_by_rule
		             ? "since it came in (HOLD in an access or check table)"
		             : "by an administrator (dakqueue release)");
	} else if (outlook->jobs > 0) {
		puts("next attempt: now, a delivery is under way");
	} else if (outlook->is_resolving) {
		puts("next attempt: now, its next hop is being looked up");
	} else if (entry->state == QUEUE_ACTIVE) {
		puts("next attempt: when it is its turn");
	} else if (outlook->next_us <= outlook->now_us) {
		due_print(outlook);
	} else {
		printf("next attempt: ");
		time_print(outlook->next_us);
		printf(", in ");
		span_print((outlook->next_us - outlook->now_us) / SECOND_US);
		putchar('\n');
		backoff_print(entry, outlook);
	}
	if (entry->is_expired)
		puts("  it was expired by hand: nothing of it is tried, it is returned then");
	if (outlook->is_unsaved)
		puts("  what became of the last attempt could not be written yet (disk full?)");
}

/* ---- where ---- */

static void
suspension_print(const struct msg_queue_way *way)
{
	struct slice                list = way->suspension;
	struct msg_queue_suspension one;

	if (!msg_queue_suspension_next(&list, &one))
		return;
	printf("  suspended by hand since ");
	time_print(one.since_us);
	if (one.until_us != 0) {
		printf(" until ");
		time_print(one.until_us);
	}
	if (one.reason.length > 0) {
		printf(": ");
		text_print(one.reason);
	}
	putchar('\n');
}

static bool
is_here(enum queue_state state)
{
	return state == QUEUE_ACTIVE;
}

static void
way_print(const struct msg_queue_entry *entry, const struct msg_queue_way *way)
{
	bool is_active = is_here((enum queue_state)entry->state);

	printf("at ");
	text_print(way->transport);
	if (way->nexthop.length > 0) {
		putchar(':');
		text_print(way->nexthop);
	}
	printf(": %" PRIu64 " waiting, %" PRIu32 " under way, at most %" PRIu32 " at a time\n",
	       way->waiting, way->running, way->window);
	suspension_print(way);
	if (way->is_transport_deferred)
		puts("  its transport is in defer_transports: it waits for a flush");
	if (way->dead_reason.length > 0) {
		printf("  dead for ");
		span_print((way->pause_ms + 999) / 1000);
		printf(" more: ");
		text_print(way->dead_reason);
		putchar('\n');
	} else if (way->pause_ms > 0) {
		printf("  a rate delay of ");
		span_print(way->delay_ms / 1000);
		printf(" holds it up, ");
		span_print((way->pause_ms + 999) / 1000);
		puts(" more");
	}
	if (!is_active)
		return;
	if (way->agents == 0)
		puts("  no delivery agent serves this transport now (transport_retry_time)");
	else if (way->idle == 0)
		puts("  all its delivery agents are busy");
	else if (way->window > 0 && way->running >= way->window)
		puts("  as many deliveries as it may have are under way");
	if (way->ahead > 0)
		printf("  %" PRIu64 " messages are in line before it\n", way->ahead);
}

/* ---- as JSON ---- */

static void
member(const char *name, struct slice value)
{
	struct buf text = BUF(TEXT_MOST);

	json_append_member(&text, name, value);
	printf(", %s", buf_text(&text));
	buf_free(&text);
}

static void
way_json(const struct msg_queue_way *way, bool is_first)
{
	struct slice                list = way->suspension;
	struct msg_queue_suspension one;

	printf("%s{\"waiting\": %" PRIu64 ", \"ahead\": %" PRIu64 ", \"running\": %" PRIu32
	       ", \"window\": %" PRIu32 ", \"pause\": %" PRId64 ", \"agents\": %" PRIu64
	       ", \"idle_agents\": %" PRIu64 ", \"deferred_transport\": %s",
	       is_first ? "" : ", ", way->waiting, way->ahead, way->running, way->window,
	       (way->pause_ms + 999) / 1000, way->agents, way->idle,
	       way->is_transport_deferred ? "true" : "false");
	member("transport", way->transport);
	member("nexthop", way->nexthop);
	member("dead_reason", way->dead_reason);
	if (msg_queue_suspension_next(&list, &one)) {
		printf(", \"suspended_until\": %" PRId64, one.until_us / SECOND_US);
		member("suspended_reason", one.reason);
	}
	putchar('}');
}

static void
outlook_json(const struct msg_queue_entry *entry, const struct msg_queue_outlook *outlook)
{
	struct slice         ways = outlook->ways;
	struct msg_queue_way way;
	bool                 is_first = true;

	printf("{\"entry\": ");
	print_json(entry);
	printf(", \"next_attempt\": %" PRId64 ", \"backoff\": %" PRId64
	       ", \"is_flushed\": %s, \"is_resolving\": %s, \"is_unsaved\": %s, "
	       "\"held_by_rule\": %s, \"deliveries\": %" PRIu32 ", \"returned_at\": %" PRId64
	       ", \"ways\": [",
	       outlook->next_us / SECOND_US, backoff_us(entry, outlook) / SECOND_US,
	       outlook->is_flushed ? "true" : "false", outlook->is_resolving ? "true" : "false",
	       outlook->is_unsaved ? "true" : "false", outlook->is_held_by_rule ? "true" : "false",
	       outlook->jobs, entry->arrival_us / SECOND_US + outlook->lifetime_s);
	for (; msg_queue_way_next(&ways, &way); is_first = false)
		way_json(&way, is_first);
	puts("]}");
}

void
print_outlook(enum list_form form, const struct msg_queue_entry *entry,
              const struct msg_queue_outlook *outlook)
{
	struct slice         ways = outlook->ways;
	struct msg_queue_way way;

	if (form == LIST_JSON) {
		outlook_json(entry, outlook);
		return;
	}
	message_print(entry, outlook);
	when_print(entry, outlook);
	while (msg_queue_way_next(&ways, &way))
		way_print(entry, &way);
	printf("returned to its sender, unless it is delivered, after ");
	time_print(entry->arrival_us + outlook->lifetime_s * SECOND_US);
	puts(entry->sender.length == 0 ? " (bounce_queue_lifetime)" : " (maximal_queue_lifetime)");
}
