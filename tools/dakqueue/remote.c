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
#define IDS_MOST  (256u << 20)

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
	enum ipc_result result =
		ipc_receive(&tool->channel, clock_monotonic_ms() + ANSWER_MS, frame);

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
			code = EX_OSERR;
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

static bool
visit_print(void *context, const struct msg_queue_entry *entry)
{
	print_entry(context, entry);
	return true;
}

int
remote_list(struct tool *tool, const struct arguments *arguments)
{
	struct msg_queue_list ask = { .queue_id = slice_from(arguments->list_id),
		                      .site = slice_from(arguments->site),
		                      .want_recipients = true };
	struct printer        printer = { .form = arguments->form };
	int                   code;

	if (arguments->is_selected)
		code = remote_entries(tool, arguments, visit_print, &printer);
	else
		code = list_each(tool, &ask, visit_print, &printer);
	if (code == EX_OK)
		print_end(&printer);
	return code;
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

/* One question, one answer; *count grows. */
static int
act_send(struct tool *tool, const struct msg_queue_act *act, uint64_t *count)
{
	struct msg_queue_end end;
	struct ipc_frame     frame;
	enum ipc_result      result =
		ipc_send(&tool->channel, queue_act, act, clock_monotonic_ms() + ANSWER_MS);

	if (result != IPC_OK)
		return lost(tool, result);
	int code = answer_receive(tool, &frame);
	if (code != EX_OK)
		return code;
	code = msg_queue_end_decode(&frame, &end) ? status_exit(tool, &end)
	                                          : lost(tool, IPC_MALFORMED);
	ipc_frame_close(&frame);
	if (code == EX_OK)
		*count += end.count;
	return code;
}

/* postsuper says of each message that was named what became of it. */
static void
each_tell(const struct tool *tool, const struct msg_queue_act *act, const char *done)
{
	if (tool->tells_each && act->queue_id.length > 0 &&
	    !slice_equal(act->queue_id, SLICE("ALL")))
		fprintf(stderr, "%s: %.*s: %s\n", tool->name, SLICE_ARGS(act->queue_id), done);
}

/* What is on hold expires, and stays there; it is returned when it is released. */
static int
act_one(struct tool *tool, const struct msg_queue_act *act, struct tally *tally)
{
	struct msg_queue_act release = *act;

	release.action = QUEUE_ACT_RELEASE;
	int code = act_send(tool, act, &tally->changed);
	if (code == EX_OK)
		each_tell(tool, act, tool->done_each);
	if (!tool->is_release_too || (code != EX_OK && code != EX_DATAERR))
		return code;
	int released = act_send(tool, &release, &tally->released);
	if (released == EX_OK)
		each_tell(tool, act, "released from hold");
	return released == EX_DATAERR ? code : released;
}

/* The ids on standard input, one a line; unknown ones are skipped, as postsuper does. */
static int
act_lines(struct tool *tool, struct msg_queue_act *act, struct tally *tally)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		act->queue_id = slice_trim(slice_from(line));
		if (act->queue_id.length == 0)
			continue;
		int code = act_one(tool, act, tally);
		if (code != EX_OK && code != EX_DATAERR)
			return code;
	}
	return EX_OK;
}

struct chosen {
	unsigned   states;
	struct buf ids; /* each with a NUL behind it */
};

static bool
visit_choose(void *context, const struct msg_queue_entry *entry)
{
	struct chosen *chosen = context;

	if ((chosen->states & (1u << (entry->state & 31))) == 0)
		return true;
	return buf_append(&chosen->ids, entry->queue_id) && buf_append_byte(&chosen->ids, '\0');
}

/* ALL, but only in some of the queues: listed first, then each by its id. */
static int
act_states(struct tool *tool, struct msg_queue_act *act, unsigned states, struct tally *tally)
{
	struct chosen         chosen = { .states = states, .ids = BUF(IDS_MOST) };
	struct msg_queue_list ask = { .want_recipients = false };
	int                   code = list_each(tool, &ask, visit_choose, &chosen);
	struct slice          rest = buf_slice(&chosen.ids);
	bool                  tells_each = tool->tells_each;

	tool->tells_each = false; /* nobody named them */
	while (rest.length > 0 && (code == EX_OK || code == EX_DATAERR)) {
		act->queue_id = slice_first(rest, slice_find_byte(rest, '\0'));
		rest = slice_from_offset(rest, act->queue_id.length + 1);
		code = act_one(tool, act, tally);
	}
	tool->tells_each = tells_each;
	buf_free(&chosen.ids);
	return code == EX_DATAERR ? EX_OK : code; /* delivered meanwhile */
}

static int
act_argument(struct tool *tool, const struct arguments *arguments, struct msg_queue_act *act,
             const char *id, struct tally *tally)
{
	if (strcmp(id, "-") == 0)
		return act_lines(tool, act, tally);
	if (strcmp(id, "ALL") == 0 && arguments->states != 0)
		return act_states(tool, act, arguments->states, tally);
	act->queue_id = slice_from(id);
	bool is_all = strcmp(id, "ALL") == 0;
	if (!is_all && tool->tells_each && !queue_id_is_valid(act->queue_id)) {
		fprintf(stderr, "%s: warning: invalid mail queue id: %s\n", tool->name, id);
		return EX_OK;
	}
	int code = act_one(tool, act, tally);
	if (code != EX_DATAERR || tool->is_postfix)
		return code == EX_DATAERR ? EX_OK : code;
	fprintf(stderr, "%s: %s: no such message in the queue, or not in that state\n", tool->name,
	        id);
	return EX_DATAERR;
}

static void
done_print(const struct tool *tool, const char *done, uint64_t count)
{
	fprintf(stderr, "%s: %s: %" PRIu64 " message%s\n", tool->name, done, count,
	        count == 1 ? "" : "s");
}

int
remote_act(struct tool *tool, const struct arguments *arguments, const struct step *step)
{
	struct msg_queue_act act = { .action = step->command->action,
		                     .site = slice_from(arguments->site) };
	struct tally         tally = { 0 };
	int                  code = EX_OK;

	tool->is_release_too = step->command->is_release_too;
	tool->done_each = step->command->done_each;
	if (step->id_count == 0)
		code = act_one(tool, &act, &tally);
	/* An id that is not there keeps the others from nothing; the exit code tells. */
	for (size_t i = 0; i < step->id_count && (code == EX_OK || code == EX_DATAERR); i++) {
		int one = act_argument(tool, arguments, &act, step->ids[i], &tally);

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
	struct printer printer = { .form = arguments->form };
	const char    *done = step->command->done;
	uint64_t       count = 0;
	int            code = select_send(tool, arguments, step);

	if (code == EX_OK)
		code = entries_receive(tool, visit_print, &printer, &count);
	if (code != EX_OK)
		return code;
	if (arguments->is_dry_run)
		print_end(&printer);
	else if (arguments->form == LIST_JSON)
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
	struct msg_queue_end end;
	struct ipc_frame     frame;
	enum ipc_result      result =
		ipc_send(&tool->channel, queue_suspend, question, clock_monotonic_ms() + ANSWER_MS);

	if (result != IPC_OK)
		return lost(tool, result);
	int code = answer_receive(tool, &frame);
	if (code != EX_OK)
		return code;
	code = msg_queue_end_decode(&frame, &end) ? status_exit(tool, &end)
	                                          : lost(tool, IPC_MALFORMED);
	*count = code == EX_OK ? end.count : 0;
	ipc_frame_close(&frame);
	return code;
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
