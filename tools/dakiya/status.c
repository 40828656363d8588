/* status.c - what runs and what waits: dakiya status. */
#include "tools/dakiya/dakiya.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/ipc/channel.h"
#include "lib/queue/control.h"

#define ANSWER_MS     60000
#define QUEUE_MS      5000
#define DEFERRED_MOST 20000 /* more files than that are not read for a status */
#define DOMAINS_SHOWN 10

/* ---- the queue ---- */

/* True: *totals borrows *frame, which is the caller's to close. Words are printed otherwise. */
static bool
ask_totals(const struct tool *tool, struct ipc_channel *channel, struct ipc_frame *frame,
           struct msg_queue_totals *totals)
{
	struct msg_queue_count question = msg_queue_count_clear();
	int64_t                deadline = clock_monotonic_ms() + QUEUE_MS;
	enum ipc_result        result;

	result = ipc_send(channel, queue_count, &question, deadline);
	if (result == IPC_OK)
		result = ipc_receive(channel, deadline, frame);
	if (result == IPC_OK && !msg_queue_totals_decode(frame, totals)) {
		ipc_frame_close(frame);
		result = IPC_MALFORMED;
	}
	if (result == IPC_OK)
		return true;
	fprintf(stderr, "%s: the queue manager does not answer: %s\n", tool->name,
	        ipc_result_text(result));
	return false;
}

/* Messages by the domain of their recipients that wait. */
struct domain {
	char    *name;
	uint64_t messages;
};
struct domains {
	struct hash    by_name; /* struct domain */
	struct domain *top[DOMAINS_SHOWN];
};

static void
domain_free(void *domain)
{
	free(((struct domain *)domain)->name);
	free(domain);
}

static struct domain *
domain_get(struct domains *domains, struct slice name)
{
	struct buf     folded = BUF(300);
	struct domain *domain = NULL;

	if (buf_append_lower(&folded, name))
		domain = hash_get(&domains->by_name, buf_slice(&folded));
	if (domain == NULL && !folded.has_failed) {
		domain = calloc(1, sizeof(*domain));
		if (domain != NULL)
			domain->name = strdup(buf_text(&folded));
		if (domain != NULL &&
		    (domain->name == NULL ||
		     !hash_put(&domains->by_name, buf_slice(&folded), domain, NULL))) {
			domain_free(domain);
			domain = NULL;
		}
	}
	buf_free(&folded);
	return domain;
}

static void
domains_note(struct domains *domains, const struct msg_queue_entry *entry)
{
	struct slice               list = entry->recipients;
	struct msg_queue_recipient recipient;
	const struct domain       *last = NULL; /* a list has its domains side by side, mostly */

	while (msg_queue_recipient_next(&list, &recipient)) {
		size_t         at = slice_find_last_byte(recipient.address, '@');
		struct domain *domain =
			domain_get(domains, at == SLICE_NOT_FOUND
		                                    ? SLICE("(no domain)")
		                                    : slice_from_offset(recipient.address, at + 1));

		if (domain != NULL && domain != last)
			domain->messages++;
		last = domain;
	}
}

static void
domain_visit(struct slice name, void *value, void *context)
{
	struct domains *domains = context;
	struct domain  *domain = value;

	(void)name;
	for (size_t i = 0; i < DOMAINS_SHOWN && domain != NULL; i++) {
		struct domain *other = domains->top[i];

		if (other != NULL &&
		    (other->messages > domain->messages || (other->messages == domain->messages &&
		                                            strcmp(other->name, domain->name) < 0)))
			continue;
		domains->top[i] = domain;
		domain = other;
	}
}

/* Reads the deferred messages' recipients; what cannot be had is left out. */
static void
domains_read(struct ipc_channel *channel, struct domains *domains)
{
	struct msg_queue_list  ask = { .want_recipients = true };
	struct msg_queue_entry entry;
	struct ipc_frame       frame;
	bool                   is_more =
		ipc_send(channel, queue_list, &ask, clock_monotonic_ms() + ANSWER_MS) == IPC_OK;

	while (is_more &&
	       ipc_receive(channel, clock_monotonic_ms() + ANSWER_MS, &frame) == IPC_OK) {
		is_more = msg_queue_entry_decode(&frame, &entry);
		if (is_more && entry.state == QUEUE_DEFERRED)
			domains_note(domains, &entry);
		ipc_frame_close(&frame);
	}
	hash_each(&domains->by_name, domain_visit, domains);
}

/* ---- as text ---- */

static void
print_destinations(const struct msg_queue_totals *totals)
{
	struct slice                 list = totals->destinations;
	struct msg_queue_destination one;
	uint64_t                     shown = 0;

	while (shown < DOMAINS_SHOWN && msg_queue_destination_next(&list, &one)) {
		if (shown++ == 0)
			printf("  %-10s %-32s %9s %8s\n", "transport", "next hop", "waiting",
			       "running");
		printf("  %-10.*s %-32.*s %9" PRIu64 " %8" PRIu32, SLICE_ARGS(one.transport),
		       SLICE_ARGS(one.nexthop), one.waiting, one.running);
		if (one.retry_ms > 0 && one.reason.length > 0)
			printf("  suspended for %" PRId64 " s: %.*s", (one.retry_ms + 999) / 1000,
			       SLICE_ARGS(one.reason));
		else if (one.retry_ms > 0)
			printf("  paused for %" PRId64 " s", (one.retry_ms + 999) / 1000);
		putchar('\n');
	}
	if (totals->destination_count > shown)
		printf("  and %" PRIu64 " more next hops\n", totals->destination_count - shown);
}

/* What an administrator told to wait. */
static void
print_suspensions(const struct msg_queue_totals *totals)
{
	struct slice                list = totals->suspensions;
	struct msg_queue_suspension one;
	struct tm                   date;
	char                        until[40];

	while (msg_queue_suspension_next(&list, &one)) {
		time_t when = (time_t)(one.until_us / 1000000);

		snprintf(until, sizeof(until), "it is resumed");
		if (when != 0 && localtime_r(&when, &date) != NULL)
			strftime(until, sizeof(until), "%b %e %H:%M:%S", &date);
		printf("  suspended  %.*s%s%.*s until %s%s%.*s\n", SLICE_ARGS(one.transport),
		       one.transport.length > 0 ? ":" : "", SLICE_ARGS(one.nexthop), until,
		       one.reason.length > 0 ? ": " : "", SLICE_ARGS(one.reason));
	}
}

static void
print_queue(const struct msg_queue_totals *totals, const struct domains *domains)
{
	printf("\nqueue: %" PRIu64 " active, %" PRIu64 " deferred, %" PRIu64 " on hold",
	       totals->active, totals->deferred, totals->hold);
	if (totals->corrupt > 0)
		printf(", %" PRIu64 " damaged (in corrupt/)", totals->corrupt);
	puts(totals->is_complete ? "" : " (still being read)");
	print_suspensions(totals);
	print_destinations(totals);
	for (size_t i = 0; i < DOMAINS_SHOWN && domains->top[i] != NULL; i++)
		printf("  deferred   %-32s %9" PRIu64 "\n", domains->top[i]->name,
		       domains->top[i]->messages);
}

/* ---- as JSON ---- */

static void
json_destinations(struct buf *out, const struct msg_queue_totals *totals)
{
	struct slice                 list = totals->destinations;
	struct msg_queue_destination one;

	for (bool is_first = true; msg_queue_destination_next(&list, &one); is_first = false) {
		buf_append_text(out, is_first ? "{" : ",{");
		json_append_member(out, "transport", one.transport);
		buf_append_byte(out, ',');
		json_append_member(out, "nexthop", one.nexthop);
		buf_append_format(out,
		                  ",\"waiting\":%" PRIu64 ",\"running\":%" PRIu32
		                  ",\"suspended_s\":%" PRId64 ",",
		                  one.waiting, one.running, (one.retry_ms + 999) / 1000);
		json_append_member(out, "reason", one.reason);
		buf_append_byte(out, '}');
	}
}

static void
json_suspensions(struct buf *out, const struct msg_queue_totals *totals)
{
	struct slice                list = totals->suspensions;
	struct msg_queue_suspension one;

	for (bool is_first = true; msg_queue_suspension_next(&list, &one); is_first = false) {
		buf_append_text(out, is_first ? "{" : ",{");
		json_append_member(out, "transport", one.transport);
		buf_append_byte(out, ',');
		json_append_member(out, "nexthop", one.nexthop);
		buf_append_format(out, ",\"since\":%" PRId64 ",\"until\":%" PRId64 ",",
		                  one.since_us / 1000000, one.until_us / 1000000);
		json_append_member(out, "reason", one.reason);
		buf_append_byte(out, '}');
	}
}

static void
json_queue(struct buf *out, const struct msg_queue_totals *totals, const struct domains *domains)
{
	buf_append_format(out,
	                  ",\"queue\":{\"active\":%" PRIu64 ",\"deferred\":%" PRIu64
	                  ",\"hold\":%" PRIu64 ",\"corrupt\":%" PRIu64
	                  ",\"is_complete\":%s,\"destination_count\":%" PRIu64
	                  ",\"destinations\":[",
	                  totals->active, totals->deferred, totals->hold, totals->corrupt,
	                  totals->is_complete ? "true" : "false", totals->destination_count);
	json_destinations(out, totals);
	buf_append_text(out, "],\"suspensions\":[");
	json_suspensions(out, totals);
	buf_append_text(out, "],\"deferred_domains\":[");
	for (size_t i = 0; i < DOMAINS_SHOWN && domains->top[i] != NULL; i++) {
		buf_append_text(out, i == 0 ? "{" : ",{");
		json_append_member(out, "domain", slice_from(domains->top[i]->name));
		buf_append_format(out, ",\"messages\":%" PRIu64 "}", domains->top[i]->messages);
	}
	buf_append_text(out, "]}");
}

/* ---- both ---- */

/* What waits, behind what runs. A queue manager that is down, or busy, is no failure of status. */
static void
show_queue(const struct tool *tool, struct buf *text)
{
	struct ipc_channel      channel;
	struct ipc_frame        frame;
	struct msg_queue_totals totals;
	struct domains          domains = { 0 };

	if (tool_connect(tool, "public/queue", &channel) != EX_OK)
		return;
	if (ask_totals(tool, &channel, &frame, &totals)) {
		struct ipc_channel listing;

		if (totals.deferred > 0 && totals.deferred <= DEFERRED_MOST &&
		    tool_connect(tool, "public/queue", &listing) == EX_OK) {
			domains_read(&listing, &domains);
			ipc_channel_close(&listing);
		}
		if (tool->wants_json)
			json_queue(text, &totals, &domains);
		else
			print_queue(&totals, &domains);
		ipc_frame_close(&frame);
	}
	hash_free(&domains.by_name, domain_free);
	ipc_channel_close(&channel);
}

int
tool_status(struct tool *tool)
{
	struct buf text = BUF(TOOL_TEXT_MOST);
	int        status;

	if (tool->is_postfix)
		return tool_postfix_status(tool);
	status = tool_ask_master(tool, tool->wants_json ? "status" : "status-text", ANSWER_MS,
	                         &text);
	struct slice answer = slice_trim(buf_slice(&text));
	if (status != EX_OK || !tool->wants_json) {
		fprintf(status == EX_OK ? stdout : stderr, "%.*s%s", SLICE_ARGS(answer),
		        answer.length > 0 ? "\n" : "");
		if (status == EX_OK)
			show_queue(tool, &text);
	} else {
		/* Master's object stays open for what else is known. */
		buf_truncate(&text, answer.length - 1);
		show_queue(tool, &text);
		buf_append_byte(&text, '}');
		puts(buf_text(&text));
	}
	buf_free(&text);
	return status;
}
