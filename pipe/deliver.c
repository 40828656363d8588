/* deliver.c - one job: the command is run, once or several times, and its end becomes outcomes. */
#include "pipe/pipe.h"

#include <stdarg.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/queue/id.h"

#define DELIVERY_MOST (64u << 20)
#define TEXT_MOST     6000

/* ---- outcomes ---- */

static void settle(struct pipe_delivery *delivery, struct pipe_recipient *recipient,
                   uint32_t action, const char *status, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
static void
settle(struct pipe_delivery *delivery, struct pipe_recipient *recipient, uint32_t action,
       const char *status, const char *format, ...)
{
	char    text[TEXT_MOST];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	recipient->is_done = true;
	recipient->action = action;
	snprintf(recipient->status, sizeof(recipient->status), "%s", status);
	recipient->reason = arena_text(&delivery->arena, slice_from(text));
}

static void
settle_rest(struct pipe_delivery *delivery, uint32_t action, const char *status, const char *reason)
{
	for (size_t i = 0; i < delivery->count; i++)
		if (!delivery->recipients[i].is_done)
			settle(delivery, &delivery->recipients[i], action, status, "%s", reason);
}

/* ---- what is not even tried ---- */

static void
check_size(struct pipe_delivery *delivery)
{
	int64_t  limit = delivery->room->arguments.size_limit;
	uint64_t size = agent_job_size(delivery->job);
	char     text[200];

	if (limit == 0 || size <= (uint64_t)limit)
		return;
	snprintf(text, sizeof(text),
	         "message size %llu exceeds size limit %lld for transport %.64s",
	         (unsigned long long)size, (long long)limit, delivery->room->service);
	settle_rest(delivery, OUTCOME_FAILED, "5.2.3", text);
}

/* An address from outside must not be read as an option by the command. */
static void
check_options(struct pipe_delivery *delivery)
{
	if (expand_makes_option(delivery, NULL, &delivery->arena))
		settle_rest(delivery, OUTCOME_FAILED, "5.1.7",
		            "bad address syntax: the sender begins with -, and the command would "
		            "read an option");
	for (size_t i = 0; i < delivery->count; i++) {
		struct pipe_recipient *recipient = &delivery->recipients[i];

		if (!recipient->is_done &&
		    expand_makes_option(delivery, recipient, &delivery->arena))
			settle(delivery, recipient, OUTCOME_FAILED, "5.1.3",
			       "bad address syntax: it begins with -, and the command would read "
			       "an option");
	}
}

static void
check_loops(struct pipe_delivery *delivery)
{
	struct error error = ERROR_NONE;

	if ((delivery->room->arguments.flags & PIPE_DELIVERED) == 0)
		return;
	for (size_t i = 0; i < delivery->count; i++) {
		struct pipe_recipient *recipient = &delivery->recipients[i];
		struct slice           address = recipient->message.address;
		bool                   was = false;

		if (recipient->is_done)
			continue;
		if (!pipe_was_delivered_to(delivery, address, &was, &error))
			settle(delivery, recipient, OUTCOME_DEFERRED, "4.3.0", "%s", error.text);
		else if (was)
			settle(delivery, recipient, OUTCOME_FAILED, "5.4.6",
			       "mail forwarding loop for %.*s",
			       SLICE_ARGS(slice_first(address, 300)));
	}
}

/* ---- running the command ---- */

static void
settle_by_result(struct pipe_delivery *delivery, struct pipe_recipient *const *recipients,
                 size_t count, const struct command_result *result)
{
	const struct pipe_room *room = delivery->room;
	struct buf              text = BUF(TEXT_MOST);
	char                    status[12];
	uint32_t                success =
                (room->arguments.flags & PIPE_FINAL) != 0 ? OUTCOME_DELIVERED : OUTCOME_RELAYED;

	bool is_success = command_result_status(result, room->arguments.argv[0], status, &text);
	bool has_text = text.length > 0;
	for (size_t i = 0; i < count; i++) {
		if (is_success)
			settle(delivery, recipients[i], success, status,
			       "delivered via %s service%s%s%s", room->service,
			       has_text ? " (" : "", buf_text(&text), has_text ? ")" : "");
		else
			settle(delivery, recipients[i],
			       status[0] == '4' ? OUTCOME_DEFERRED : OUTCOME_FAILED, status, "%s",
			       buf_text(&text));
	}
	buf_free(&text);
}

/* The drain is over: better ended and told than killed by master. */
static bool
drain_is_over(void *context)
{
	const struct pipe_room *room = context;

	return daemon_drain_deadline_ms(room->daemon) <= clock_monotonic_ms();
}

static void
run_for(struct pipe_delivery *delivery, struct pipe_recipient *const *recipients, size_t count,
        const char *const *argv)
{
	struct pipe_room     *room = delivery->room;
	struct pipe_content   content;
	struct command        command = { .arguments = argv,
		                          .environment = (const char *const *)room->environment.list,
		                          .directory = room->arguments.directory,
		                          .time_limit_ms = room->time_limit_ms,
		                          .input = pipe_content_next,
		                          .input_context = &content,
		                          .must_end = drain_is_over,
		                          .must_end_context = room };
	struct command_result result;

	if (!pipe_content_init(&content, delivery, recipients[0]))
		return; /* deferred for want of memory */
	command_run(room->runner, &command, &result);
	settle_by_result(delivery, recipients, count, &result);
	if (result.end == COMMAND_NOT_RUN && command_runner_is_gone(room->runner))
		pipe_end(room);
	command_result_free(&result);
	pipe_content_free(&content);
}

/* As many of the recipients as fit into one list of arguments, one at least. */
static size_t
run_some(struct pipe_delivery *delivery, struct pipe_recipient *const *recipients, size_t count)
{
	const struct pipe_room *room = delivery->room;

	/* These flags put one recipient's address into the message. */
	if ((room->arguments.flags & (PIPE_DELIVERED | PIPE_ORIGINAL)) != 0)
		count = 1;
	for (;; count = (count + 1) / 2) {
		struct arena       arena = ARENA(ARGUMENTS_MOST);
		const char *const *argv = expand_argv(delivery, recipients, count, &arena);
		struct command     command = {
			    .arguments = argv,
			    .environment = (const char *const *)room->environment.list,
			    .directory = room->arguments.directory,
		};
		bool fits = argv != NULL && command_room_left(&command) > 0;

		if (fits || (count == 1 && argv != NULL))
			run_for(delivery, recipients, count, argv);
		arena_reset(&arena);
		if (fits || count == 1)
			return count;
	}
}

static void
run_all(struct pipe_delivery *delivery)
{
	struct pipe_recipient **todo =
		arena_alloc_array(&delivery->arena, delivery->count + 1, sizeof(*todo));
	size_t count = 0, done = 0;

	for (size_t i = 0; todo != NULL && i < delivery->count; i++)
		if (!delivery->recipients[i].is_done)
			todo[count++] = &delivery->recipients[i];
	while (done < count && !atomic_load(&delivery->room->is_over))
		done += run_some(delivery, todo + done, count - done);
	settle_rest(delivery, OUTCOME_DEFERRED, "4.3.0",
	            todo == NULL || done == count ? "out of memory"
	                                          : "the helper for commands has ended");
}

/* ---- public ---- */

static bool
recipients_take(struct pipe_delivery *delivery)
{
	struct slice             list = delivery->job->message.recipients;
	struct msg_job_recipient recipient;
	size_t                   count = 0;

	while (msg_job_recipient_next(&list, &recipient))
		count++;
	delivery->recipients =
		arena_alloc_array(&delivery->arena, count + 1, sizeof(*delivery->recipients));
	if (delivery->recipients == NULL)
		return false;
	list = delivery->job->message.recipients;
	while (msg_job_recipient_next(&list, &recipient))
		delivery->recipients[delivery->count++].message = recipient;
	return true;
}

static void
outcomes_add(struct pipe_delivery *delivery, struct buf *outcomes)
{
	const struct agent_job *job = delivery->job;
	struct delivery_times   times = { .arrival_us = job->envelope.arrival_us,
		                          .active_us = job->message.active_us,
		                          .begin_us = job->begin_us,
		                          .done_us = clock_wall_us(),
		                          .is_soft = job->message.is_soft,
		                          .is_verify = job->message.kind == JOB_VERIFY };
	char                    queue_id[QUEUE_ID_MOST];

	snprintf(queue_id, sizeof(queue_id), "%.*s",
	         SLICE_ARGS(slice_first(job->message.queue_id, sizeof(queue_id) - 1)));
	for (size_t i = 0; i < delivery->count; i++) {
		const struct pipe_recipient *recipient = &delivery->recipients[i];
		struct msg_outcome           outcome = {
				  .recipient = (uint32_t)i,
				  .action = recipient->action,
				  .status = slice_from(recipient->status),
				  .reason = slice_from(recipient->reason),
				  .relay = slice_from(delivery->room->service),
		};

		status_filter_apply(delivery->room->statuses, queue_id, &delivery->arena, &outcome);
		job_log_outcome(queue_id, &recipient->message, &outcome, &times, 0);
		(void)msg_outcome_append(outcomes, &outcome);
	}
}

void
pipe_deliver(struct pipe_room *room, struct agent_job *job, struct buf *outcomes)
{
	struct pipe_delivery delivery = { .room = room, .job = job, .arena = ARENA(DELIVERY_MOST) };

	if (!recipients_take(&delivery)) {
		log_error("out of memory: a job goes back to the queue");
		arena_reset(&delivery.arena);
		return;
	}
	if (job->message.kind == JOB_VERIFY) {
		settle_rest(&delivery, OUTCOME_DELIVERED, "2.0.0", "delivers to command");
	} else {
		check_size(&delivery);
		check_options(&delivery);
		check_loops(&delivery);
		run_all(&delivery);
	}
	outcomes_add(&delivery, outcomes);
	arena_reset(&delivery.arena);
}
