/* trace.c - dakiya trace: a message's whole story from the log and the queue. */
#include "tools/dakiya/trace.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/ipc/channel.h"
#include "lib/queue/control.h"
#include "tools/dakiya/dakiya.h"

#define ANSWER_MS   60000
#define LOGS_MOST   64
#define ASKED_MOST  100   /* messages that the queue is asked for */
#define SEARCH_MOST 20000 /* a queue of more messages is not searched for an address */

/* ---- the logs ---- */

struct logs {
	FILE  *files[LOGS_MOST];
	size_t count;
};

static void
logs_close(struct logs *logs)
{
	for (size_t i = 0; i < logs->count; i++)
		fclose(logs->files[i]);
	logs->count = 0;
}

/* Standard input is read more than once, so it is copied. */
static FILE *
open_input(void)
{
	FILE  *copy = tmpfile();
	char   buffer[4096];
	size_t got;

	while (copy != NULL && (got = fread(buffer, 1, sizeof(buffer), stdin)) > 0)
		if (fwrite(buffer, 1, got, copy) != got) {
			fclose(copy);
			return NULL;
		}
	return copy;
}

static int
logs_add(struct logs *logs, const struct tool *tool, const char *path)
{
	FILE *file = strcmp(path, "-") == 0 ? open_input() : fopen(path, "re");

	if (file != NULL && logs->count < LOGS_MOST) {
		logs->files[logs->count++] = file;
		return EX_OK;
	}
	fprintf(stderr, "%s: log %s: %s\n", tool->name, path,
	        file == NULL ? strerrordesc_np(errno) : "too many files");
	if (file != NULL)
		fclose(file);
	return errno == EACCES ? EX_NOPERM : EX_NOINPUT;
}

/* The file and what it was renamed to (.1, .20261128-...), oldest first. */
static int
by_age(const void *a, const void *b)
{
	struct stat first, second;

	if (stat(*(char *const *)a, &first) != 0 || stat(*(char *const *)b, &second) != 0)
		return 0;
	return (first.st_mtime > second.st_mtime) - (first.st_mtime < second.st_mtime);
}

static bool
is_packed(const char *path)
{
	static const char *const endings[] = { ".gz", ".xz", ".bz2", ".zst" };

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		if (slice_ends_with(slice_from(path), slice_from(endings[i])))
			return true;
	return false;
}

static int
logs_add_with_older(struct logs *logs, const struct tool *tool, const char *path)
{
	char   pattern[4200];
	glob_t found = { 0 };
	size_t packed = 0;

	snprintf(pattern, sizeof(pattern), "%s[.-]*", path);
	if (glob(pattern, 0, NULL, &found) == 0)
		qsort(found.gl_pathv, found.gl_pathc, sizeof(*found.gl_pathv), by_age);
	for (size_t i = 0; i < found.gl_pathc && logs->count < LOGS_MOST - 1; i++) {
		if (is_packed(found.gl_pathv[i]))
			packed++;
		else
			(void)logs_add(logs, tool, found.gl_pathv[i]);
	}
	if (packed > 0)
		fprintf(stderr,
		        "%s: %zu compressed logs are not searched; zcat %s*.gz | %s trace --log - "
		        "...\n",
		        tool->name, packed, path, tool->name);
	globfree(&found);
	return logs_add(logs, tool, path);
}

/* maillog_file, or where a syslog daemon puts mail.*; EX_OK also when there is none. */
static int
logs_open(struct logs *logs, const struct tool *tool)
{
	static const char *const usual[] = { "/var/log/mail.log", "/var/log/maillog",
		                             "/var/log/mail/mail.log" };
	struct buf               path = BUF(4096);
	struct stat              file;
	int                      status = tool_setting(tool, "maillog_file", &path);

	for (size_t i = 0; i < tool->log_count && status == EX_OK; i++)
		status = logs_add(logs, tool, tool->logs[i]);
	if (tool->log_count > 0 || status != EX_OK) {
		buf_free(&path);
		return status;
	}
	for (size_t i = 0; path.length == 0 && i < sizeof(usual) / sizeof(usual[0]); i++)
		if (access(usual[i], F_OK) == 0)
			buf_append_text(&path, usual[i]);
	if (path.length > 0 && stat(buf_text(&path), &file) == 0 && S_ISREG(file.st_mode))
		status = logs_add_with_older(logs, tool, buf_text(&path));
	else
		fprintf(stderr,
		        "%s: there is no log file to read; for the journal: journalctl -o short "
		        "SYSLOG_FACILITY=2 | %s trace --log - ...\n",
		        tool->name, tool->name);
	buf_free(&path);
	return status;
}

/* ---- the queue ---- */

struct queue {
	struct ipc_channel channel;
	bool               is_open;
};

typedef void visit_entry(void *context, const struct msg_queue_entry *entry);

static void
queue_each(struct queue *queue, struct slice id, visit_entry *visit, void *context)
{
	struct msg_queue_list  ask = { .queue_id = id, .want_recipients = true };
	struct msg_queue_entry entry;
	struct ipc_frame       frame;

	if (!queue->is_open ||
	    ipc_send(&queue->channel, queue_list, &ask, clock_monotonic_ms() + ANSWER_MS) != IPC_OK)
		return;
	for (bool is_more = true; is_more;) {
		if (ipc_receive(&queue->channel, clock_monotonic_ms() + ANSWER_MS, &frame) !=
		    IPC_OK) {
			queue->is_open = false;
			return;
		}
		is_more = msg_queue_entry_decode(&frame, &entry);
		if (is_more)
			visit(context, &entry);
		ipc_frame_close(&frame);
	}
}

static void
note_entry(void *context, const struct msg_queue_entry *entry)
{
	struct trace              *trace = context;
	struct slice               list = entry->recipients;
	struct msg_queue_recipient recipient;
	bool                       is_named = trace_mentions(trace, entry->sender);

	while (msg_queue_recipient_next(&list, &recipient))
		is_named |= trace_mentions(trace, recipient.address) ||
		            trace_mentions(trace, recipient.original);
	if (is_named)
		trace_add_id(trace, entry->queue_id);
}

/* Mail of an address that the logs do not know any more. */
static void
queue_search(struct queue *queue, struct trace *trace)
{
	struct msg_queue_count  question = msg_queue_count_clear();
	struct msg_queue_totals totals;
	struct ipc_frame        frame;
	int64_t                 deadline = clock_monotonic_ms() + ANSWER_MS;

	if (!queue->is_open || trace->is_id ||
	    ipc_send(&queue->channel, queue_count, &question, deadline) != IPC_OK ||
	    ipc_receive(&queue->channel, deadline, &frame) != IPC_OK)
		return;
	if (msg_queue_totals_decode(&frame, &totals) &&
	    totals.active + totals.deferred + totals.hold <= SEARCH_MOST)
		queue_each(queue, SLICE_EMPTY, note_entry, trace);
	ipc_frame_close(&frame);
}

/* ---- as text ---- */

static const char *const state_names[] = { "coming in", "active",  "deferred",
	                                   "on hold",   "damaged", "in maildrop" };

static void
print_entry(void *context, const struct msg_queue_entry *entry)
{
	struct slice               list = entry->recipients;
	struct msg_queue_recipient recipient;
	time_t                     when = (time_t)(entry->next_attempt_us / 1000000);
	struct tm                  date;
	char                       text[40] = "now";

	*(bool *)context = true;
	if (when > clock_wall_s() && localtime_r(&when, &date) != NULL)
		strftime(text, sizeof(text), "%b %e %H:%M:%S", &date);
	printf("  now: %s, %" PRIu32 " attempts so far",
	       entry->state < QUEUE_STATES ? state_names[entry->state] : "in the queue",
	       entry->attempts);
	printf(entry->state == QUEUE_DEFERRED ? ", the next one %s\n" : "\n", text);
	while (msg_queue_recipient_next(&list, &recipient)) {
		printf("    <%.*s>", SLICE_ARGS(recipient.address));
		if (recipient.transport.length > 0)
			printf(" by %.*s", SLICE_ARGS(recipient.transport));
		if (recipient.nexthop.length > 0)
			printf(" to %.*s", SLICE_ARGS(recipient.nexthop));
		if (recipient.reason.length > 0)
			printf(": %.*s", SLICE_ARGS(recipient.reason));
		putchar('\n');
	}
}

static void
print_lines(const struct trace_story *story)
{
	for (size_t i = 0; i < story->lines.count; i++) {
		const struct trace_line *line = &story->lines.items[i];
		size_t                   slash = slice_find_last_byte(line->program, '/');
		struct slice             text = line->text;

		/* The id stands in the heading. */
		if (story->id.length > 0 && slice_starts_with(text, story->id))
			text = slice_from_offset(text, story->id.length + 2);
		printf("  %.*s  %-8.*s  %.*s\n", SLICE_ARGS(line->time),
		       SLICE_ARGS(slash == SLICE_NOT_FOUND
		                          ? line->program
		                          : slice_from_offset(line->program, slash + 1)),
		       SLICE_ARGS(text));
	}
}

static bool
is_session_of_a_message(const struct trace *trace, const struct trace_story *session)
{
	for (size_t i = 0; i < trace->messages.count; i++)
		if (slice_equal(trace->messages.items[i]->session, session->session))
			return true;
	return false;
}

static void
print_text(struct trace *trace, struct queue *queue)
{
	for (size_t i = 0; i < trace->messages.count; i++) {
		struct trace_story *message = trace->messages.items[i];
		bool                is_there = false;

		printf("%smessage %.*s\n", i == 0 ? "" : "\n", SLICE_ARGS(message->id));
		print_lines(message);
		if (i < ASKED_MOST)
			queue_each(queue, message->id, print_entry, &is_there);
		if (queue->is_open && i < ASKED_MOST && !is_there)
			puts("  now: not in the queue any more");
	}
	for (size_t i = 0; i < trace->conversations.count; i++) {
		const struct trace_story *session = trace->conversations.items[i];

		if (session->lines.count == 0 || is_session_of_a_message(trace, session))
			continue;
		printf("%ssession %.*s, without a message\n",
		       trace->messages.count + i == 0 ? "" : "\n", SLICE_ARGS(session->session));
		print_lines(session);
	}
}

/* ---- as JSON ---- */

static void
json_lines(struct buf *out, const struct trace_story *story)
{
	buf_append_text(out, "\"lines\":[");
	for (size_t i = 0; i < story->lines.count; i++) {
		const struct trace_line *line = &story->lines.items[i];

		buf_append_text(out, i == 0 ? "{" : ",{");
		json_append_member(out, "time", line->time);
		buf_append_byte(out, ',');
		json_append_member(out, "program", line->program);
		buf_append_byte(out, ',');
		json_append_member(out, "text", line->text);
		buf_append_byte(out, '}');
	}
	buf_append_byte(out, ']');
}

static void
json_entry(void *context, const struct msg_queue_entry *entry)
{
	static const char *const   names[] = { "incoming", "active",  "deferred",
		                               "hold",     "corrupt", "maildrop" };
	struct buf                *out = context;
	struct slice               list = entry->recipients;
	struct msg_queue_recipient recipient;

	buf_append_text(out, ",\"queue\":{");
	json_append_member(out, "queue_name",
	                   slice_from(entry->state < QUEUE_STATES ? names[entry->state] : ""));
	buf_append_format(out,
	                  ",\"attempts\":%" PRIu32 ",\"next_attempt\":%" PRId64 ",\"recipients\":[",
	                  entry->attempts, entry->next_attempt_us / 1000000);
	for (bool is_first = true; msg_queue_recipient_next(&list, &recipient); is_first = false) {
		buf_append_text(out, is_first ? "{" : ",{");
		json_append_member(out, "address", recipient.address);
		buf_append_byte(out, ',');
		json_append_member(out, "delay_reason", recipient.reason);
		buf_append_byte(out, ',');
		json_append_member(out, "transport", recipient.transport);
		buf_append_byte(out, ',');
		json_append_member(out, "nexthop", recipient.nexthop);
		buf_append_byte(out, '}');
	}
	buf_append_text(out, "]}");
}

static void
print_json(struct trace *trace, struct queue *queue, struct buf *out)
{
	buf_append_text(out, "{\"messages\":[");
	for (size_t i = 0; i < trace->messages.count; i++) {
		struct trace_story *message = trace->messages.items[i];

		buf_append_text(out, i == 0 ? "{" : ",{");
		json_append_member(out, "queue_id", message->id);
		buf_append_byte(out, ',');
		json_append_member(out, "session", message->session);
		buf_append_byte(out, ',');
		json_lines(out, message);
		if (i < ASKED_MOST)
			queue_each(queue, message->id, json_entry, out);
		buf_append_byte(out, '}');
	}
	buf_append_text(out, "],\"sessions\":[");
	for (size_t i = 0, shown = 0; i < trace->conversations.count; i++) {
		const struct trace_story *session = trace->conversations.items[i];

		if (session->lines.count == 0 || is_session_of_a_message(trace, session))
			continue;
		buf_append_text(out, shown++ == 0 ? "{" : ",{");
		json_append_member(out, "session", session->session);
		buf_append_byte(out, ',');
		json_lines(out, session);
		buf_append_byte(out, '}');
	}
	buf_append_text(out, "]}");
	puts(buf_text(out));
}

/* ---- the command ---- */

/* A message that neither log nor queue know is not there. */
static bool
is_nothing(const struct trace *trace, struct queue *queue)
{
	bool is_there = false;

	for (size_t i = 0; i < trace->messages.count; i++)
		is_there |= trace->messages.items[i]->lines.count > 0;
	for (size_t i = 0; i < trace->conversations.count; i++)
		is_there |= trace->conversations.items[i]->lines.count > 0;
	if (!is_there && trace->messages.count > 0) {
		struct buf found = BUF(TOOL_TEXT_MOST);

		queue_each(queue, trace->messages.items[0]->id, json_entry, &found);
		is_there = found.length > 0;
		buf_free(&found);
	}
	return !is_there;
}

int
tool_trace(struct tool *tool, const char *verb)
{
	struct trace trace;
	struct logs  logs = { 0 };
	struct queue queue = { 0 };
	struct buf   out = BUF(64u << 20);
	int          status = logs_open(&logs, tool);

	(void)verb;
	if (status != EX_OK) {
		logs_close(&logs);
		return status;
	}
	queue.is_open = tool_connect(tool, "public/queue", &queue.channel) == EX_OK;
	trace_init(&trace, slice_from(tool->argument));
	queue_search(&queue, &trace);
	trace_read(&trace, logs.files, logs.count);
	for (size_t i = 0; i < trace.messages.count; i++)
		trace_merge(&trace, trace.messages.items[i]);
	if (is_nothing(&trace, &queue)) {
		fprintf(stderr, "%s: neither the log nor the queue knows %s\n", tool->name,
		        tool->argument);
		status = EX_DATAERR;
	}
	if (tool->wants_json)
		print_json(&trace, &queue, &out);
	else if (status == EX_OK)
		print_text(&trace, &queue);
	if (trace.is_cut)
		fprintf(stderr, "%s: there is more: only a part is shown\n", tool->name);
	if (trace.has_no_memory || out.has_failed)
		status = EX_OSERR;
	if (queue.is_open)
		ipc_channel_close(&queue.channel);
	logs_close(&logs);
	trace_free(&trace);
	buf_free(&out);
	return status;
}
