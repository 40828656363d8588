/* jobs.c - jobs from qmgr, turned into a batch of deliveries and back into outcomes. */
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/queue/id.h"
#include "lib/queue/job.h"
#include "local/worker.h"

#define RECIPIENTS_MOST 100000
#define OUTCOMES_MOST   (7u << 20) /* a job_result holds both */
#define FORWARDS_MOST   (7u << 20)

/* ---- taking ---- */

static bool
recipients_count(struct slice list, size_t *count)
{
	struct msg_job_recipient recipient;
	size_t                   counted = 0;

	while (msg_job_recipient_next(&list, &recipient))
		counted++;
	if (list.data == NULL || counted == 0 || counted > RECIPIENTS_MOST)
		return false;
	*count = counted;
	return true;
}

bool
job_task_make(struct jobs_channel *from, struct ipc_frame *frame, struct job_task **task)
{
	struct job_task *made = calloc(1, sizeof(*made));
	struct ipc_frame copy = *frame;

	if (made == NULL)
		return false;
	made->message.file = -1;
	made->outcomes = BUF(OUTCOMES_MOST);
	made->forwards = BUF(FORWARDS_MOST);
	made->from = from;
	made->begin_us = clock_wall_us();
	made->bytes = malloc(frame->payload.length + 1);
	if (made->bytes == NULL) {
		job_task_free(made);
		return false;
	}
	memcpy(made->bytes, frame->payload.data, frame->payload.length);
	copy.payload = slice_of(made->bytes, frame->payload.length);
	bool is_job = msg_job_decode(&copy, &made->message);
	frame->descriptors_taken = copy.descriptors_taken;
	struct slice envelope = made->message.envelope;
	if (!is_job || made->message.kind != JOB_DELIVER ||
	    !queue_id_is_valid(made->message.queue_id) ||
	    !msg_envelope_next(&envelope, &made->envelope) ||
	    !recipients_count(made->message.recipients, &made->recipients)) {
		job_task_free(made);
		return false;
	}
	*task = made;
	return true;
}

void
job_task_free(struct job_task *task)
{
	if (task->message.file >= 0)
		close(task->message.file);
	buf_free(&task->outcomes);
	buf_free(&task->forwards);
	free(task->bytes);
	free(task);
}

/* ---- delivering ---- */

struct batch {
	struct mailbox_message   *messages; /* one a task */
	struct mailbox_delivery  *deliveries;
	struct msg_job_recipient *recipients; /* of each delivery */
	size_t                    count;
};

static void
batch_add(struct batch *batch, const struct job_task *task, struct mailbox_message *message,
          bool without_delivered_to)
{
	struct slice             list = task->message.recipients;
	struct msg_job_recipient recipient;

	*message = (struct mailbox_message){
		.queue_id = task->message.queue_id,
		.sender = task->envelope.sender,
		.arrival_us = task->envelope.arrival_us,
		.content = task->message.content,
		.file = task->message.file,
		.file_offset = task->message.file_offset,
		.file_length = task->message.file_length,
		/* What came in while this channel was there was not given to another. */
		.may_be_repeat = !task->message.is_fresh &&
		                 task->envelope.arrival_us < task->from->attached_us,
	};
	for (size_t i = 0; i < task->recipients && msg_job_recipient_next(&list, &recipient); i++) {
		batch->recipients[batch->count] = recipient;
		batch->deliveries[batch->count++] =
			(struct mailbox_delivery){ .message = message,
			                           .recipient = recipient.address,
			                           .original = recipient.original,
			                           .mailbox = recipient.mailbox,
			                           .quota = recipient.quota,
			                           .without_delivered_to = without_delivered_to };
	}
}

static bool
batch_make(struct batch *batch, struct list_node *tasks, bool without_delivered_to)
{
	size_t task_count = 0, recipient_count = 0;

	LIST_EACH (node, tasks) {
		task_count++;
		recipient_count += CONTAINER_OF(node, struct job_task, node)->recipients;
	}
	batch->messages = calloc(task_count + 1, sizeof(*batch->messages));
	batch->deliveries = calloc(recipient_count + 1, sizeof(*batch->deliveries));
	batch->recipients = calloc(recipient_count + 1, sizeof(*batch->recipients));
	if (batch->messages == NULL || batch->deliveries == NULL || batch->recipients == NULL)
		return false;
	size_t index = 0;
	LIST_EACH (node, tasks)
		batch_add(batch, CONTAINER_OF(node, struct job_task, node),
		          &batch->messages[index++], without_delivered_to);
	return true;
}

static void
batch_free(struct batch *batch)
{
	free(batch->messages);
	free(batch->deliveries);
	free(batch->recipients);
}

static uint32_t
action_of(enum mailbox_outcome outcome)
{
	switch (outcome) {
	case MAILBOX_DELIVERED: return OUTCOME_DELIVERED;
	case MAILBOX_REFUSED: return OUTCOME_FAILED;
	case MAILBOX_DEFERRED: break;
	}
	return OUTCOME_DEFERRED;
}

/* Logs and notes the outcome of one recipient. */
static void
outcome_add(struct job_task *task, uint32_t index, const struct msg_job_recipient *recipient,
            const struct mailbox_delivery *delivery, const char *relay, int64_t done_us)
{
	struct delivery_times times = { .arrival_us = task->envelope.arrival_us,
		                        .active_us = task->message.active_us,
		                        .begin_us = task->begin_us,
		                        .done_us = done_us,
		                        .is_soft = task->message.is_soft };
	struct msg_outcome    outcome = { .recipient = index,
		                          .action = action_of(delivery->outcome),
		                          .status = slice_from(delivery->status),
		                          .reason = slice_from(delivery->reason.text),
		                          .relay = slice_from(relay),
		                          .remote_mta = SLICE_EMPTY,
		                          .diagnostic = SLICE_EMPTY };
	char                  queue_id[QUEUE_ID_MOST];

	/* A valid id is shorter than QUEUE_ID_MOST. */
	memcpy(queue_id, task->message.queue_id.data, task->message.queue_id.length);
	queue_id[task->message.queue_id.length] = '\0';
	job_log_outcome(queue_id, recipient, &outcome, &times, 0);
	/* One that does not fit counts as deferred: it is delivered again, and recognised. */
	(void)msg_outcome_append(&task->outcomes, &outcome);
}

void
jobs_deliver(struct worker *worker, struct list_node *tasks)
{
	const char  *relay = worker->kind == WORKER_VIRTUAL ? "virtual" : "local";
	struct slice mask = slice_from(worker->context->parameters->prepend_delivered_header);
	bool         is_without =
		worker->kind == WORKER_SPOOL && slice_find(mask, SLICE("file")) == SLICE_NOT_FOUND;
	struct batch batch = { 0 };
	size_t       at = 0;

	if (!batch_make(&batch, tasks, is_without)) {
		log_trouble("out of memory: jobs go back to the queue");
		batch_free(&batch);
		return; /* without outcomes: deferred */
	}
	mailbox_deliver(&worker->store, batch.deliveries, batch.count);
	int64_t done_us = clock_wall_us();
	LIST_EACH (node, tasks) {
		struct job_task *task = CONTAINER_OF(node, struct job_task, node);

		for (uint32_t i = 0; i < task->recipients; i++, at++)
			outcome_add(task, i, &batch.recipients[at], &batch.deliveries[at], relay,
			            done_us);
	}
	batch_free(&batch);
}
