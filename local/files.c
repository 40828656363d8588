/* files.c - mailboxes that a user, or an alias, names by a path. See local.h. */
#include "local/local.h"

#include <unistd.h>

#include "lib/io/file.h"

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

/* Delivers to name below directory, which is opened as the user that we are. */
static void
deliver(struct local_delivery *delivery, const char *directory, struct slice name,
        const char *as_file)
{
	const struct job_task *task = delivery->task;
	struct slice           mask = slice_from(delivery->parameters->prepend_delivered_header);
	struct mailbox_store   store;
	struct error           why = ERROR_NONE;
	struct mailbox_message message = {
		.queue_id = task->message.queue_id,
		.sender = delivery->sender,
		.arrival_us = task->envelope.arrival_us,
		.content = task->message.content,
		.file = task->message.file,
		.file_offset = task->message.file_offset,
		.file_length = task->message.file_length,
		.may_be_repeat = !task->message.is_fresh &&
		                 task->envelope.arrival_us < task->from->attached_us,
	};
	struct mailbox_delivery one = { .message = &message,
		                        .recipient = delivery->recipient.address,
		                        .original = delivery->recipient.original,
		                        .mailbox = name,
		                        .without_delivered_to = slice_find(mask, SLICE("file")) ==
		                                                SLICE_NOT_FOUND };

	int base = file_open_directory(directory, &why);
	if (base < 0) {
		local_outcome(delivery, OUTCOME_DEFERRED, "4.2.0", "%s", why.text);
		return;
	}
	mailbox_store_init(&store, base, delivery->parameters->myhostname);
	store.message_limit = (uint64_t)delivery->parameters->mailbox_size_limit;
	store.limit_name = "mailbox_size_limit";
	store.base_name = NULL;
	(void)mailfile_lock_rules(&store.lock, delivery->parameters->mailbox_delivery_lock,
	                          delivery->parameters); /* checked before we were started */
	/* Who writes "/some/file" need not be able to make a file beside it. */
	if (as_file != NULL)
		store.lock.methods |= MAILFILE_DOTLOCK_MAY_FAIL;
	mailbox_deliver(&store, &one, 1);
	close(base);
	bool is_maildir = name.length > 0 && name.data[name.length - 1] == '/';
	if (one.outcome == MAILBOX_DELIVERED && as_file != NULL && !is_maildir)
		local_outcome(delivery, OUTCOME_DELIVERED, one.status, "delivered to file: %s",
		              as_file);
	else
		local_outcome(delivery, action_of(one.outcome), one.status, "%s", one.reason.text);
}

void
local_file(struct local_delivery *delivery, struct slice path)
{
	char *text = arena_text(&delivery->arena, path);

	if (text == NULL) {
		local_outcome(delivery, OUTCOME_DEFERRED, "4.3.0", "out of memory");
		return;
	}
	if (slice_equal(path, SLICE("/dev/null"))) {
		local_outcome(delivery, OUTCOME_DELIVERED, "2.0.0", "delivered to file: /dev/null");
		return;
	}
	/* Only the last component is the mailbox: the way there may lead through links, which are
	 * followed with no more rights than whoever wrote the destination has. */
	size_t end = path.length;
	while (end > 1 && path.data[end - 1] == '/')
		end--;
	size_t       slash = slice_find_last_byte(slice_first(path, end), '/');
	struct slice name = slice_of(text + slash + 1, path.length - slash - 1);
	if (end + 1 < path.length) /* several slashes at the end */
		name.length = end - slash;
	char *directory = arena_text(&delivery->arena, slice_first(path, slash == 0 ? 1 : slash));
	if (directory == NULL)
		local_outcome(delivery, OUTCOME_DEFERRED, "4.3.0", "out of memory");
	else
		deliver(delivery, directory, name, text);
}

void
local_home_mailbox(struct local_delivery *delivery)
{
	char        *home = arena_text(&delivery->arena, delivery->record.home);
	struct slice name = slice_trim(slice_from(delivery->parameters->home_mailbox));

	if (home == NULL || home[0] != '/')
		local_outcome(delivery, OUTCOME_DEFERRED, "4.3.5",
		              "the user has no home directory");
	else
		deliver(delivery, home, name, NULL);
}
