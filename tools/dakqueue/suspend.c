/* suspend.c - dakqueue suspend, resume, suspended. */
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "tools/dakqueue/dakqueue.h"

#define SECOND_US INT64_C(1000000)
#define LIST_MOST 4096

/* "smtp:[mx.example.net]:25", "smtp:" or "example.net". */
static struct msg_queue_suspension
suspension_parse(const char *text)
{
	struct slice word = slice_from(text);
	size_t       colon = slice_find_byte(word, ':');

	if (colon == SLICE_NOT_FOUND || colon == 0 || word.data[0] == '[')
		return (struct msg_queue_suspension){ .transport = SLICE_EMPTY, .nexthop = word };
	return (struct msg_queue_suspension){ .transport = slice_first(word, colon),
		                              .nexthop = slice_from_offset(word, colon + 1) };
}

int
remote_suspend(struct tool *tool, const struct arguments *arguments, const char *destination,
               bool is_resumed)
{
	struct msg_queue_suspension suspension = suspension_parse(destination);
	struct msg_queue_suspend    question = { .is_resumed = is_resumed };
	struct buf                  list = BUF(LIST_MOST);
	uint64_t                    count = 0;

	suspension.reason = arguments->filter.reason;
	if (arguments->for_s > 0)
		suspension.until_us = clock_wall_us() + arguments->for_s * SECOND_US;
	if (!msg_queue_suspension_append(&list, &suspension)) {
		fprintf(stderr, "%s: %s: too long\n", tool->name, destination);
		buf_free(&list);
		return EX_USAGE;
	}
	question.suspension = buf_slice(&list);
	int code = remote_suspend_ask(tool, &question, &count);
	buf_free(&list);
	if (code == EX_DATAERR)
		fprintf(stderr, "%s: %s: not suspended\n", tool->name, destination);
	else if (code == EX_OK && is_resumed)
		fprintf(stderr, "%s: Resumed: %s, %" PRIu64 " message%s tried now\n", tool->name,
		        destination, count, count == 1 ? "" : "s");
	else if (code == EX_OK)
		fprintf(stderr, "%s: Suspended: %s\n", tool->name, destination);
	return code;
}

/* ---- listing ---- */

static void
name_print(const struct msg_queue_suspension *one)
{
	text_print(one->transport);
	if (one->transport.length > 0)
		putchar(':');
	text_print(one->nexthop);
}

static void
suspension_print(const struct msg_queue_suspension *one)
{
	name_print(one);
	printf(": by hand, since ");
	time_print(one->since_us);
	printf(one->until_us != 0 ? ", until " : ", until it is resumed");
	if (one->until_us != 0)
		time_print(one->until_us);
	if (one->reason.length > 0) {
		printf(": ");
		text_print(one->reason);
	}
	putchar('\n');
}

static void
suspension_json(const struct msg_queue_suspension *one)
{
	struct buf out = BUF(4 * LIST_MOST);

	buf_append_format(&out, "{\"by_hand\": true, \"since\": %" PRId64 ", \"until\": %" PRId64,
	                  one->since_us / SECOND_US, one->until_us / SECOND_US);
	buf_append_text(&out, ", ");
	json_append_member(&out, "transport", one->transport);
	buf_append_text(&out, ", ");
	json_append_member(&out, "nexthop", one->nexthop);
	buf_append_text(&out, ", ");
	json_append_member(&out, "reason", one->reason);
	printf("%s}\n", buf_text(&out));
	buf_free(&out);
}

/* Found dead: by itself for a while. */
static void
dead_print(const struct msg_queue_destination *one, enum list_form form)
{
	struct msg_queue_suspension same = { .transport = one->transport, .nexthop = one->nexthop };
	struct buf                  out = BUF(4 * LIST_MOST);

	if (form == LIST_JSON) {
		buf_append_format(&out, "{\"by_hand\": false, \"for\": %" PRId64 ", ",
		                  (one->retry_ms + 999) / 1000);
		json_append_member(&out, "transport", one->transport);
		buf_append_text(&out, ", ");
		json_append_member(&out, "nexthop", one->nexthop);
		buf_append_text(&out, ", ");
		json_append_member(&out, "reason", one->reason);
		printf("%s}\n", buf_text(&out));
	} else {
		name_print(&same);
		printf(": dead for %" PRId64 " s more: ", (one->retry_ms + 999) / 1000);
		text_print(one->reason);
		putchar('\n');
	}
	buf_free(&out);
}

void
print_suspended(enum list_form form, const struct msg_queue_totals *totals)
{
	struct slice                 by_hand = totals->suspensions, all = totals->destinations;
	struct msg_queue_suspension  suspension;
	struct msg_queue_destination one;
	bool                         has_any = false;

	for (; msg_queue_suspension_next(&by_hand, &suspension); has_any = true)
		if (form == LIST_JSON)
			suspension_json(&suspension);
		else
			suspension_print(&suspension);
	while (msg_queue_destination_next(&all, &one)) {
		if (one.retry_ms <= 0 || one.reason.length == 0)
			continue;
		dead_print(&one, form);
		has_any = true;
	}
	if (!has_any && form == LIST_TEXT)
		puts("No destination is suspended");
}
