/* remote.c - what dakqueue asks a running qmgr. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/queue/id.h"
#include "tools/dakqueue/dakqueue.h"

#define ANSWER_MS 60000
/* For what may concern a million messages. qmgr that dies closes the channel; one that hangs is
 * ended by its watchdog. */
#define WORK_MS    (24 * 3600 * INT64_C(1000))
#define LINES_MOST 60000 /* bytes of ids in one question */

int
remote_connect(struct tool *tool)
{
	struct error error = ERROR_NONE;

	if (ipc_channel_connect(&tool->channel, "public/queue", &error))
		return EX_OK;
	if (error.errno_value == ECONNREFUSED || error.errno_value == ENOENT)
		return EX_UNAVAILABLE;
	fprintf(stderr, "%s: %s\n", tool->voice, error.text);
	return error.errno_value == EACCES ? EX_NOPERM : EX_OSERR;
}

static int
lost(struct tool *tool, enum ipc_result result)
{
	fprintf(stderr, "%s: queue manager: %s\n", tool->voice, ipc_result_text(result));
	return EX_UNAVAILABLE;
}

/* The next answer; a sysexits code. */
static int
answer_receive(struct tool *tool, struct ipc_frame *frame)
{
	enum ipc_result result = ipc_receive(&tool->channel, clock_monotonic_ms() + WORK_MS, frame);

	return result == IPC_OK ? EX_OK : lost(tool, result);
}

static int
status_exit(struct tool *tool, const struct msg_queue_end *end)
{
	static const int codes[] = { EX_OK, EX_DATAERR, EX_NOPERM, EX_SOFTWARE };

	if (end->status == CONTROL_OK)
		return EX_OK;
	if (end->reason.length > 0)
		fprintf(stderr, "%s: %.*s\n", tool->voice, SLICE_ARGS(end->reason));
	return end->status <= CONTROL_FAILED ? codes[end->status] : EX_SOFTWARE;
}

/* Gives each entry of an answer to visit; *count is what its end says. */
static int
entries_receive(struct tool *tool, entry_visit *visit, void *context, uint64_t *count)
{
	struct msg_queue_entry entry;
	struct msg_queue_end   end;
	struct ipc_frame       frame;
	int                    code;

	while ((code = answer_receive(tool, &frame)) == EX_OK) {
		bool is_end = msg_queue_end_decode(&frame, &end);

		*count = is_end ? end.count : 0;
		if (is_end)
			code = status_exit(tool, &end);
		else if (!msg_queue_entry_decode(&frame, &entry))
			code = lost(tool, IPC_MALFORMED);
		else if (!visit(context, &entry))
			code = EX_IOERR;
		ipc_frame_close(&frame);
		if (is_end || code != EX_OK)
			break;
	}
	return code;
}

static int
list_each(struct tool *tool, const struct msg_queue_list *ask, entry_visit *visit, void *context)
{
	uint64_t        count;
	enum ipc_result result =
		ipc_send(&tool->channel, queue_list, ask, clock_monotonic_ms() + ANSWER_MS);

	return result == IPC_OK ? entries_receive(tool, visit, context, &count)
	                        : lost(tool, result);
}

/* ---- by conditions ---- */

static int
select_send(struct tool *tool, const struct arguments *arguments, const struct step *step)
{
	struct msg_queue_select ask = { .want_recipients = true };
	struct buf              list = BUF(60000);
	enum ipc_result         result = IPC_MALFORMED;

	if (step != NULL && !arguments->is_dry_run) {
		ask.action = step->command->action;
		ask.is_forced = step->command->is_release_too;
	}
	if (msg_queue_filter_append(&list, &arguments->filter)) {
		ask.filter = buf_slice(&list);
		result = ipc_send(&tool->channel, queue_select, &ask,
		                  clock_monotonic_ms() + ANSWER_MS);
	}
	buf_free(&list);
	return result == IPC_OK ? EX_OK : lost(tool, result);
}

int
remote_entries(struct tool *tool, const struct arguments *arguments, entry_visit *visit,
               void *context)
{
	uint64_t count;
	int      code = select_send(tool, arguments, NULL);

	return code == EX_OK ? entries_receive(tool, visit, context, &count) : code;
}

/* What is printed goes out before the next frame has to be waited for. */
struct listing {
	struct tool   *tool;
	struct printer printer;
};

static bool
visit_print(void *context, const struct msg_queue_entry *entry)
{
	struct listing *listing = context;

	return print_entry(&listing->printer, entry) &&
	       (ipc_has_input(&listing->tool->channel) || print_flush(&listing->printer));
}

/* The end of a list; the code it ends with. */
static int
listing_end(struct listing *listing, int code)
{
	if (code == EX_OK)
		return print_end(&listing->printer) ? EX_OK : EX_IOERR;
	print_drop(&listing->printer);
	return code;
}

int
remote_list(struct tool *tool, const struct arguments *arguments)
{
	struct msg_queue_list ask = { .queue_id = slice_from(arguments->list_id),
		                      .site = slice_from(arguments->site),
		                      .want_recipients = true };
	struct listing        listing = { tool, PRINTER(arguments->form) };
	int                   code;

	if (arguments->is_selected)
		code = remote_entries(tool, arguments, visit_print, &listing);
	else
		code = list_each(tool, &ask, visit_print, &listing);
	return listing_end(&listing, code);
}

/* What cannot be an id is no message's. */
static bool
id_check(const struct tool *tool, const char *id)
{
	bool is_id = queue_id_is_valid(slice_from(id));

	if (!is_id)
		message_missing(tool, id);
	return is_id;
}

void
message_missing(const struct tool *tool, const char *id)
{
	if (tool->is_postfix)
		fprintf(stderr, "%s: open queue file %s: No such file or directory\n", tool->voice,
		        id);
	else
		fprintf(stderr, "%s: %s: no such message in the queue\n", tool->name, id);
}

void
id_invalid(const struct tool *tool, struct slice id)
{
	struct buf text = BUF(1000);

	buf_append_printable(&text, slice_first(id, 200));
	if (tool->tells_each)
		fprintf(stderr, "%s: warning: invalid mail queue id: %s\n", tool->name,
		        buf_text(&text));
	buf_free(&text);
}

/* The answer to a question about one message. */
static int
message_exit(struct tool *tool, const char *id, const struct msg_queue_end *end)
{
	if (end->status != CONTROL_NOT_FOUND)
		return status_exit(tool, end);
	message_missing(tool, id);
	return EX_DATAERR;
}

int
remote_show(struct tool *tool, const char *id, unsigned parts)
{
	struct msg_queue_show    ask = { .queue_id = slice_from(id) };
	struct msg_queue_message message;
	struct msg_queue_end     end;
	struct ipc_frame         frame;
	struct error             error = ERROR_NONE;

	if (!id_check(tool, id))
		return EX_DATAERR;
	enum ipc_result result =
		ipc_send(&tool->channel, queue_show, &ask, clock_monotonic_ms() + ANSWER_MS);
	if (result != IPC_OK)
		return lost(tool, result);
	int code = answer_receive(tool, &frame);
	if (code != EX_OK)
		return code;
	if (msg_queue_end_decode(&frame, &end)) {
		code = message_exit(tool, id, &end);
	} else if (!msg_queue_message_decode(&frame, &message)) {
		code = lost(tool, IPC_MALFORMED);
	} else {
		if (!print_message(&message, parts, &error)) {
			fprintf(stderr, "%s: %s\n", tool->voice, error.text);
			code = EX_IOERR;
		}
		if (message.file >= 0)
			close(message.file);
	}
	ipc_frame_close(&frame);
	return code;
}

/* ---- acting ---- */

struct tally {
	uint64_t changed;
	uint64_t released; /* of what is to expire: also released from hold */
};

/* The answer to what was sent: *count grows, and *others (NULL: not wanted) by its text. */
static int
end_receive(struct tool *tool, enum ipc_result sent, uint64_t *count, struct buf *others)
{
	struct msg_queue_end end;
	struct ipc_frame     frame;

	if (sent != IPC_OK)
		return lost(tool, sent);
	int code = answer_receive(tool, &frame);
	if (code != EX_OK)
		return code;
	code = msg_queue_end_decode(&frame, &end) ? status_exit(tool, &end)
	                                          : lost(tool, IPC_MALFORMED);
	if (code == EX_OK) {
		*count += end.count;
		if (others != NULL)
			buf_append(others, end.reason);
	}
	ipc_frame_close(&frame);
	return code;
}

/* One question, one answer; *count grows, and *others by the ids that were not there. */
static int
act_send(struct tool *tool, const struct msg_queue_act *act, uint64_t *count, struct buf *others)
{
	return end_receive(
		tool, ipc_send(&tool->channel, queue_act, act, clock_monotonic_ms() + ANSWER_MS),
		count, others);
}

/* Of the ids, a line each, those that are not among the others, which are in the same order. */
static void
each_tell(const struct tool *tool, struct slice ids, struct slice others, const char *done)
{
	struct slice id, other = SLICE_EMPTY;

	while (slice_next_part(&ids, '\n', &id)) {
		while (other.length == 0 && slice_next_part(&others, '\n', &other))
			;
		if (slice_equal(id, other))
			other = SLICE_EMPTY;
		else if (id.length > 0)
			fprintf(stderr, "%s: %.*s: %s\n", tool->name, SLICE_ARGS(id), done);
	}
}

static void
missing_tell(const struct tool *tool, struct slice others)
{
	struct slice id;

	while (slice_next_part(&others, '\n', &id))
		if (id.length > 0)
			fprintf(stderr,
			        "%s: %.*s: no such message in the queue, or not in that state\n",
			        tool->name, SLICE_ARGS(id));
}

/*
 * postsuper says of each message that was named what became of it. What is on hold expires, and
 * stays there; it is returned when it is released.
 */
static int
act_one(struct tool *tool, const struct msg_queue_act *act, struct tally *tally, struct buf *others)
{
	bool tells_each =
		tool->tells_each && slice_find_byte(act->queue_id, '\n') != SLICE_NOT_FOUND;
	struct msg_queue_act release = *act;
	struct buf           not_held = BUF(2 * LINES_MOST);

	release.action = QUEUE_ACT_RELEASE;
	int code = act_send(tool, act, &tally->changed, others);
	if (code == EX_OK && tells_each)
		each_tell(tool, act->queue_id, buf_slice(others), tool->done_each);
	if (!tool->is_release_too || (code != EX_OK && code != EX_DATAERR))
		return code;
	int released = act_send(tool, &release, &tally->released, &not_held);
	if (released == EX_OK && tells_each)
		each_tell(tool, act->queue_id, buf_slice(&not_held), "released from hold");
	buf_free(&not_held);
	return released == EX_DATAERR ? code : released;
}

/* All, or those of a site. */
static int
act_all(struct tool *tool, const struct msg_queue_act *act, struct tally *tally)
{
	struct buf others = BUF(2 * LINES_MOST);
	int        code = act_one(tool, act, tally, &others);

	buf_free(&others);
	return code;
}

/* Where two things may be told of a message they stand together: one message in a question. */
static bool
has_two_lines(const struct tool *tool)
{
	return tool->tells_each && tool->is_release_too;
}

/* The lines that are ids, without what stands around them. */
static void
ids_read(const struct tool *tool, struct slice lines, struct buf *ids)
{
	struct slice line;

	while (slice_next_part(&lines, '\n', &line)) {
		line = slice_trim(line);
		if (queue_id_is_valid(line)) {
			buf_append(ids, line);
			buf_append_byte(ids, '\n');
		} else if (line.length > 0) {
			id_invalid(tool, line);
		}
	}
}

/* The whole lines among *lines; the beginning of another one stays. Unknown ones are skipped. */
static int
lines_give(struct tool *tool, struct msg_queue_act *act, struct buf *lines, struct tally *tally)
{
	struct slice all = buf_slice(lines);
	size_t       end = slice_find_last_byte(all, '\n');
	struct buf   ids = BUF(2 * LINES_MOST);

	if (end == SLICE_NOT_FOUND)
		return EX_OK;
	struct slice rest = slice_from_offset(all, end + 1);
	int          code = EX_OK;

	ids_read(tool, slice_first(all, end + 1), &ids);
	for (size_t at = 0, next; at < ids.length && (code == EX_OK || code == EX_DATAERR);
	     at = next) {
		next = ids.length;
		if (has_two_lines(tool))
			next = at + slice_find_byte(slice_from_offset(buf_slice(&ids), at), '\n') +
			       1;
		act->queue_id = slice_of(ids.data + at, next - at);
		code = act_all(tool, act, tally);
	}
	buf_free(&ids);
	memmove(lines->data, rest.data, rest.length);
	lines->length = rest.length;
	return code == EX_DATAERR ? EX_OK : code;
}

/*
 * The ids on standard input, one a line: as many at once as have come, so that a slow list is
 * carried out as it comes.
 */
static int
act_lines(struct tool *tool, struct msg_queue_act *act, struct tally *tally)
{
	struct buf   lines = BUF(LINES_MOST + 4096);
	char         piece[4096];
	struct error error = ERROR_NONE;
	int          code = EX_OK;
	ssize_t      got = 1;

	while (code == EX_OK && got > 0) {
		got = read(STDIN_FILENO, piece, sizeof(piece));
		if (got < 0 && errno == EINTR) {
			got = 1;
			continue;
		}
		if (got < 0) {
			error_set_errno(&error, "standard input");
			fprintf(stderr, "%s: %s\n", tool->voice, error.text);
			code = EX_IOERR;
			break;
		}
		buf_append(&lines, got > 0 ? slice_of(piece, (size_t)got) : SLICE("\n"));
		if (got < (ssize_t)sizeof(piece) || lines.length >= LINES_MOST)
			code = lines_give(tool, act, &lines, tally);
		if (lines.length >= LINES_MOST)
			buf_clear(&lines); /* no id is that long */
	}
	buf_free(&lines);
	return code;
}

/* Entries come for lists only. */
static bool
visit_nothing(void *context, const struct msg_queue_entry *entry)
{
	(void)context;
	(void)entry;
	return false;
}

/* ALL, but only in some of the queues. */
static int
act_states(struct tool *tool, const struct arguments *arguments, const struct step *step,
           struct tally *tally)
{
	struct arguments meant = { .filter = { .states = arguments->states } };
	uint64_t         changed = 0;
	int              code = select_send(tool, &meant, step);

	if (code == EX_OK)
		code = entries_receive(tool, visit_nothing, NULL, &changed);
	tally->changed += changed;
	return code;
}

static bool
id_is_special(const char *id)
{
	return strcmp(id, "-") == 0 || strcmp(id, "ALL") == 0;
}

/* As many ids as fit in one question, from *at on, which moves behind them. */
static int
act_ids(struct tool *tool, struct msg_queue_act *act, const struct step *step, size_t *at,
        struct tally *tally)
{
	struct buf ids = BUF(2 * LINES_MOST), others = BUF(2 * LINES_MOST);
	int        code = EX_OK;
	size_t     most = has_two_lines(tool) ? 1 : LINES_MOST;

	for (; *at < step->id_count && !id_is_special(step->ids[*at]) && ids.length < most; ++*at) {
		const char *id = step->ids[*at];

		if (queue_id_is_valid(slice_from(id))) {
			buf_append_text(&ids, id);
			buf_append_byte(&ids, '\n');
		} else if (tool->tells_each) {
			id_invalid(tool, slice_from(id));
		} else if (!tool->is_postfix) {
			missing_tell(tool, slice_from(id));
			code = EX_DATAERR;
		}
	}
	act->queue_id = buf_slice(&ids);
	int sent = ids.length == 0 ? EX_OK : act_one(tool, act, tally, &others);
	if (sent == EX_OK && others.length > 0 && !tool->is_postfix) {
		missing_tell(tool, buf_slice(&others));
		sent = EX_DATAERR;
	}
	buf_free(&ids);
	buf_free(&others);
	return sent == EX_OK ? code : sent;
}

static void
done_print(const struct tool *tool, const char *done, uint64_t count)
{
	fprintf(stderr, "%s: %s: %" PRIu64 " message%s\n", tool->name, done, count,
	        count == 1 ? "" : "s");
}

static int
step_next(struct tool *tool, const struct arguments *arguments, struct msg_queue_act *act,
          const struct step *step, size_t *at, struct tally *tally)
{
	const char *id = step->ids[*at];

	if (!id_is_special(id))
		return act_ids(tool, act, step, at, tally);
	++*at;
	if (strcmp(id, "-") == 0)
		return act_lines(tool, act, tally);
	if (arguments->states != 0)
		return act_states(tool, arguments, step, tally);
	act->queue_id = SLICE("ALL");
	return act_all(tool, act, tally);
}

int
remote_act(struct tool *tool, const struct arguments *arguments, const struct step *step)
{
	struct msg_queue_act act = { .action = step->command->action,
		                     .states = arguments->states,
		                     .site = slice_from(arguments->site) };
	struct tally         tally = { 0 };
	int                  code = EX_OK;

	tool->is_release_too = step->command->is_release_too;
	tool->done_each = step->command->done_each;
	if (step->id_count == 0)
		code = act_all(tool, &act, &tally);
	/* An id that is not there keeps the others from nothing; the exit code tells. */
	for (size_t at = 0; at < step->id_count && (code == EX_OK || code == EX_DATAERR);) {
		int one = step_next(tool, arguments, &act, step, &at, &tally);

		code = one == EX_OK ? code : one;
	}
	if (step->command->done == NULL || (code != EX_OK && code != EX_DATAERR))
		return code;
	done_print(tool, step->command->done, tally.changed);
	if (tool->is_postfix && tool->is_release_too)
		done_print(tool, "Released from hold", tally.released);
	return code;
}

int
remote_select(struct tool *tool, const struct arguments *arguments, const struct step *step)
{
	struct listing listing = { tool, PRINTER(arguments->form) };
	const char    *done = step->command->done;
	uint64_t       count = 0;
	int            code = select_send(tool, arguments, step);

	if (code == EX_OK)
		code = entries_receive(tool, visit_print, &listing, &count);
	if (code != EX_OK || !arguments->is_dry_run)
		print_drop(&listing.printer);
	else
		code = listing_end(&listing, code);
	if (code != EX_OK)
		return code;
	if (!arguments->is_dry_run && arguments->form == LIST_JSON)
		printf("{\"action\": \"%s\", \"count\": %llu}\n", step->command->name,
		       (unsigned long long)count);
	fprintf(stderr, "%s: %s%s: %llu message%s\n", tool->name,
	        arguments->is_dry_run ? "Dry run, nothing is done: " : "",
	        done == NULL ? "Flushed" : done, (unsigned long long)count, count == 1 ? "" : "s");
	return EX_OK;
}

/* ---- why, suspend ---- */

int
remote_why(struct tool *tool, const char *id, enum list_form form)
{
	struct msg_queue_why     ask = { .queue_id = slice_from(id) };
	struct msg_queue_entry   entry;
	struct msg_queue_outlook outlook;
	struct msg_queue_end     end;
	struct ipc_frame         frame;
	struct buf               kept = BUF(64u << 20);

	if (!id_check(tool, id))
		return EX_DATAERR;
	enum ipc_result result =
		ipc_send(&tool->channel, queue_why, &ask, clock_monotonic_ms() + ANSWER_MS);
	if (result != IPC_OK)
		return lost(tool, result);
	int code = answer_receive(tool, &frame);
	if (code != EX_OK)
		return code;
	if (msg_queue_end_decode(&frame, &end)) {
		code = message_exit(tool, id, &end);
		ipc_frame_close(&frame);
		return code;
	}
	/* The next frame takes the place of this one. */
	struct ipc_frame copy = { .type = frame.type };
	buf_append(&kept, frame.payload);
	copy.payload = buf_slice(&kept);
	ipc_frame_close(&frame);
	code = answer_receive(tool, &frame);
	if (code == EX_OK) {
		if (msg_queue_entry_decode(&copy, &entry) &&
		    msg_queue_outlook_decode(&frame, &outlook))
			print_outlook(form, &entry, &outlook);
		else
			code = lost(tool, IPC_MALFORMED);
		ipc_frame_close(&frame);
	}
	buf_free(&kept);
	return code;
}

int
remote_suspend_ask(struct tool *tool, const struct msg_queue_suspend *question, uint64_t *count)
{
	*count = 0;
	return end_receive(
		tool,
		ipc_send(&tool->channel, queue_suspend, question, clock_monotonic_ms() + ANSWER_MS),
		count, NULL);
}

int
remote_suspended(struct tool *tool, enum list_form form)
{
	struct msg_queue_count  ask = msg_queue_count_clear();
	struct msg_queue_totals totals;
	struct msg_queue_end    end;
	struct ipc_frame        frame;
	enum ipc_result         result =
		ipc_send(&tool->channel, queue_count, &ask, clock_monotonic_ms() + ANSWER_MS);

	if (result != IPC_OK)
		return lost(tool, result);
	int code = answer_receive(tool, &frame);
	if (code != EX_OK)
		return code;
	if (msg_queue_totals_decode(&frame, &totals))
		print_suspended(form, &totals);
	else
		code = msg_queue_end_decode(&frame, &end) ? status_exit(tool, &end)
		                                          : lost(tool, IPC_MALFORMED);
	ipc_frame_close(&frame);
	return code;
}
