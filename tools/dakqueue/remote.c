/* remote.c - what dakqueue asks a running qmgr. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/queue/id.h"
#include "tools/dakqueue/dakqueue.h"

#define ANSWER_MS 60000

int
remote_connect(struct tool *tool)
{
	struct error error = ERROR_NONE;

	if (ipc_channel_connect(&tool->channel, "public/queue", &error))
		return EX_OK;
	if (error.errno_value == ECONNREFUSED || error.errno_value == ENOENT)
		return EX_UNAVAILABLE;
	fprintf(stderr, "%s: %s\n", tool->name, error.text);
	return error.errno_value == EACCES ? EX_NOPERM : EX_OSERR;
}

static int
lost(struct tool *tool, enum ipc_result result)
{
	fprintf(stderr, "%s: queue manager: %s\n", tool->name, ipc_result_text(result));
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
		fprintf(stderr, "%s: %.*s\n", tool->name, SLICE_ARGS(end->reason));
	return end->status <= CONTROL_FAILED ? codes[end->status] : EX_SOFTWARE;
}

int
remote_list(struct tool *tool, const char *id, const char *site, enum list_form form)
{
	struct msg_queue_list  ask = { .queue_id = slice_from(id),
		                       .site = slice_from(site),
		                       .want_recipients = true };
	struct printer         printer = { .form = form };
	struct msg_queue_entry entry;
	struct msg_queue_end   end;
	struct ipc_frame       frame;
	int                    code;

	enum ipc_result result =
		ipc_send(&tool->channel, queue_list, &ask, clock_monotonic_ms() + ANSWER_MS);
	if (result != IPC_OK)
		return lost(tool, result);
	while ((code = answer_receive(tool, &frame)) == EX_OK) {
		bool is_end = msg_queue_end_decode(&frame, &end);

		if (is_end) {
			code = status_exit(tool, &end);
			ipc_frame_close(&frame);
			break;
		}
		if (!msg_queue_entry_decode(&frame, &entry)) {
			ipc_frame_close(&frame);
			return lost(tool, IPC_MALFORMED);
		}
		print_entry(&printer, &entry);
		ipc_frame_close(&frame);
	}
	if (code == EX_OK)
		print_end(&printer);
	return code;
}

int
remote_show(struct tool *tool, const char *id)
{
	struct msg_queue_show    ask = { .queue_id = slice_from(id) };
	struct msg_queue_message message;
	struct msg_queue_end     end;
	struct ipc_frame         frame;
	struct error             error = ERROR_NONE;

	enum ipc_result result =
		ipc_send(&tool->channel, queue_show, &ask, clock_monotonic_ms() + ANSWER_MS);
	if (result != IPC_OK)
		return lost(tool, result);
	int code = answer_receive(tool, &frame);
	if (code != EX_OK)
		return code;
	if (msg_queue_end_decode(&frame, &end)) {
		code = status_exit(tool, &end);
	} else if (!msg_queue_message_decode(&frame, &message)) {
		code = lost(tool, IPC_MALFORMED);
	} else {
		if (!print_message(&message, &error)) {
			fprintf(stderr, "%s: %s\n", tool->name, error.text);
			code = EX_IOERR;
		}
		if (message.file >= 0)
			close(message.file);
	}
	ipc_frame_close(&frame);
	return code;
}

/* ---- acting ---- */

/* One question, one answer; *count grows. */
static int
act_one(struct tool *tool, const struct msg_queue_act *act, uint64_t *count)
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

/* The ids on standard input, one a line; unknown ones are skipped, as postsuper does. */
static int
act_lines(struct tool *tool, struct msg_queue_act *act, uint64_t *count)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		act->queue_id = slice_trim(slice_from(line));
		if (act->queue_id.length == 0)
			continue;
		int code = act_one(tool, act, count);
		if (code != EX_OK && code != EX_DATAERR)
			return code;
	}
	return EX_OK;
}

int
remote_act(struct tool *tool, enum queue_action action, const char *site, char **ids, size_t count,
           const char *done)
{
	struct msg_queue_act act = { .action = action, .site = slice_from(site) };
	uint64_t             changed = 0;
	int                  code = EX_OK;

	if (count == 0)
		code = act_one(tool, &act, &changed);
	for (size_t i = 0; i < count && code == EX_OK; i++) {
		if (strcmp(ids[i], "-") == 0) {
			code = act_lines(tool, &act, &changed);
			continue;
		}
		act.queue_id = slice_from(ids[i]);
		code = act_one(tool, &act, &changed);
		if (code == EX_DATAERR) {
			fprintf(stderr,
			        "%s: %s: no such message in the queue, or not in that state\n",
			        tool->name, ids[i]);
		}
	}
	if (done != NULL && changed > 0)
		fprintf(stderr, "%s: %s: %llu message%s\n", tool->name, done,
		        (unsigned long long)changed, changed == 1 ? "" : "s");
	return code;
}
