/* recipient.c - a recipient of local from job to outcome. See local.h. */
#include "local/local.h"

#include <stdarg.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/io/file.h"
#include "lib/mailbox/content.h"

#define HEAD_MOST  (256u * 1024) /* searched for Delivered-To */
#define ARENA_MOST (64u << 20)

/* ---- outcomes ---- */

static void
log_outcome(const struct local_delivery *delivery, uint32_t action, const char *status,
            const char *reason)
{
	const struct job_task *task = delivery->task;
	struct delivery_times  times = { .arrival_us = task->envelope.arrival_us,
		                         .active_us = task->message.active_us,
		                         .begin_us = task->begin_us,
		                         .done_us = clock_wall_us(),
		                         .is_soft = task->message.is_soft };
	struct msg_outcome     outcome = { .action = action,
		                           .status = slice_from(status),
		                           .reason = slice_from(reason),
		                           .relay = SLICE("local") };
	char                  *queue_id =
		arena_text((struct arena *)(uintptr_t)&delivery->arena, task->message.queue_id);

	if (queue_id != NULL)
		job_log_outcome(queue_id, &delivery->recipient, &outcome, &times, 0);
}

static int
badness(uint32_t action)
{
	return action == OUTCOME_DEFERRED ? 2 : action == OUTCOME_FAILED ? 1 : 0;
}

void
local_outcome(struct local_delivery *delivery, uint32_t action, const char *status,
              const char *format, ...)
{
	char    reason[sizeof(delivery->reason.text)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	log_outcome(delivery, action, status, reason);
	if (delivery->is_logged && badness(action) <= badness(delivery->action))
		return;
	delivery->is_logged = true;
	delivery->action = action;
	snprintf(delivery->status, sizeof(delivery->status), "%s", status);
	error_set(&delivery->reason, "%s", reason);
}

/* ---- what is sent on ---- */

/* RFC 3461 5.2.7: what becomes of the sender's wishes behind an alias. */
static void
choose_dsn(const struct local_delivery *delivery, struct msg_recipient *recipient, uint32_t *action)
{
	const struct msg_job_recipient *from = &delivery->recipient;
	bool is_alone = delivery->addresses.count == 1 && delivery->places.count == 0 &&
	                !delivery->wants_mailbox;

	*action = OUTCOME_DELIVERED;
	/* A list takes over: what happens behind it is its owner's business. */
	if (delivery->record.owner.length > 0)
		return;
	recipient->dsn_orcpt = from->dsn_orcpt;
	recipient->dsn_notify = from->dsn_notify;
	if (is_alone) {
		*action = OUTCOME_RELAYED_DSN;
		return;
	}
	*action = OUTCOME_EXPANDED;
	recipient->dsn_notify &= ~(uint32_t)DSN_NOTIFY_SUCCESS;
	if (from->dsn_notify == DSN_NOTIFY_SUCCESS)
		recipient->dsn_notify = DSN_NOTIFY_NEVER;
}

static bool
add_forward(struct local_delivery *delivery, uint32_t index)
{
	struct msg_recipient template = { 0 };
	struct buf         list = BUF(6u << 20);
	struct msg_forward forward = { .recipient = index, .sender = delivery->sender };
	struct slice       mask = slice_from(delivery->parameters->prepend_delivered_header);

	template.original = delivery->recipient.original.length > 0 ? delivery->recipient.original
	                                                            : delivery->recipient.address;
	template.dsn_orcpt = SLICE_EMPTY;
	choose_dsn(delivery, &template, &forward.action);
	for (size_t i = 0; i < delivery->addresses.count; i++) {
		template.address = delivery->addresses.items[i];
		msg_recipient_append(&list, &template);
	}
	forward.recipients = buf_slice(&list);
	forward.delivered_to = slice_find(mask, SLICE("forward")) == SLICE_NOT_FOUND
	                               ? SLICE_EMPTY
	                               : delivery->recipient.address;
	forward.passes = delivery->wants_mailbox && delivery->record.has_next;
	bool ok = !list.has_failed && msg_forward_append(&delivery->task->forwards, &forward);
	buf_free(&list);
	return ok;
}

/* ---- the walk ---- */

static bool
is_loop(const struct local_delivery *delivery)
{
	const struct msg_job *job = &delivery->task->message;

	if (job->file < 0)
		return content_was_delivered_to(job->content, delivery->recipient.address);
	size_t  size = job->file_length > HEAD_MOST ? HEAD_MOST : (size_t)job->file_length;
	char   *head = malloc(size + 1);
	ssize_t got =
		head == NULL ? -1 : file_read_at(job->file, head, size, (int64_t)job->file_offset);
	bool is = got > 0 && content_was_delivered_to(slice_of(head, (size_t)got),
	                                              delivery->recipient.address);
	free(head);
	return is;
}

/* The mailbox, as far as it is ours to deliver to. */
static void
deliver_mailbox(struct local_delivery *delivery)
{
	if (delivery->record.has_next)
		return;
	if (delivery->record.kind == LOCAL_ALIAS)
		local_outcome(delivery, OUTCOME_FAILED, "5.1.1", "unknown user: \"%.*s\"",
		              SLICE_ARGS(slice_first(delivery->record.name, 100)));
	else if (delivery->record.command.length > 0)
		local_run(delivery, delivery->record.command);
	else
		local_home_mailbox(delivery);
}

/* In order, up to the first that has to be tried again: so as little as can be is done twice. */
static void
carry_out(struct local_delivery *delivery)
{
	for (size_t i = 0; i < delivery->places.count; i++) {
		const struct alias_destination *place = &delivery->places.items[i];

		if (place->kind == ALIAS_COMMAND)
			local_run(delivery, place->text);
		else
			local_file(delivery, place->text);
		if (delivery->action == OUTCOME_DEFERRED)
			return;
	}
	if (delivery->wants_mailbox)
		deliver_mailbox(delivery);
}

static void
report(struct local_delivery *delivery, uint32_t index)
{
	struct msg_outcome outcome = { .recipient = index,
		                       .action = delivery->action,
		                       .status = slice_from(delivery->status),
		                       .reason = slice_from(delivery->reason.text),
		                       .relay = SLICE("local") };

	if (delivery->action != OUTCOME_DEFERRED) {
		if (delivery->addresses.count > 0 && !add_forward(delivery, index)) {
			local_outcome(delivery, OUTCOME_DEFERRED, "4.3.0",
			              "out of memory for what is sent on");
			outcome.action = OUTCOME_DEFERRED;
			outcome.status = slice_from(delivery->status);
		} else if (delivery->addresses.count > 0) {
			outcome.action = OUTCOME_FORWARD;
		} else if (delivery->wants_mailbox && delivery->record.has_next) {
			outcome.action = OUTCOME_PASS;
		}
	}
	(void)msg_outcome_append(&delivery->task->outcomes, &outcome);
}

static bool
delivery_begin(struct local_delivery *delivery)
{
	struct slice list = delivery->recipient.local, extension;

	if (!msg_local_next(&list, &delivery->record) ||
	    !address_split(delivery->recipient.address, &delivery->address) ||
	    (delivery->record.kind != LOCAL_ALIAS && delivery->record.kind != LOCAL_USER)) {
		local_outcome(delivery, OUTCOME_DEFERRED, "4.3.5", "the queue sent no local user");
		return false;
	}
	delivery->user = delivery->address.local;
	if (delivery->record.extension.length > 0)
		address_split_extension(delivery->address.local,
		                        delivery->parameters->recipient_delimiter, &delivery->user,
		                        &extension);
	/* A notice to a list must not become one to its owner: the null sender stays. */
	delivery->sender = delivery->task->envelope.sender;
	if (delivery->record.owner.length > 0 && delivery->sender.length > 0)
		delivery->sender = delivery->record.owner;
	return true;
}

static void
deliver_one(struct local_delivery *delivery)
{
	if (!delivery_begin(delivery))
		return;
	if (is_loop(delivery)) {
		local_outcome(delivery, OUTCOME_FAILED, "5.4.6", "mail forwarding loop for %.*s",
		              SLICE_ARGS(slice_first(delivery->recipient.address, 300)));
		return;
	}
	if (local_collect(delivery)) {
		carry_out(delivery);
		return;
	}
	/* What was collected before the mistake is not done. */
	delivery->addresses.count = 0;
	delivery->wants_mailbox = false;
}

void
local_deliver(struct worker *worker, struct job_task *task)
{
	struct slice             list = task->message.recipients;
	struct msg_job_recipient recipient;

	for (uint32_t i = 0; i < task->recipients && msg_job_recipient_next(&list, &recipient);
	     i++) {
		struct local_delivery delivery = { .worker = worker,
			                           .parameters = worker->context->parameters,
			                           .task = task,
			                           .recipient = recipient,
			                           .arena = ARENA(ARENA_MOST),
			                           .action = OUTCOME_DELIVERED,
			                           .status = "2.0.0" };

		deliver_one(&delivery);
		report(&delivery, i);
		ARRAY_FREE(&delivery.places);
		ARRAY_FREE(&delivery.addresses);
		arena_reset(&delivery.arena);
	}
}
