/* deliver.c - see deliver.h. */
#include "lib/mailbox/deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/io/file.h"
#include "lib/mailbox/content.h"
#include "lib/mailbox/maildir.h"
#include "lib/mailbox/mbox.h"
#include "lib/mailbox/name.h"
#include "lib/mailbox/quota.h"

#define FILE_MODE     0600
#define HEAD_MOST     (256u * 1024) /* searched for Delivered-To */
#define PIECE_BYTES   (64u * 1024)
#define CONTENT_MOST  (32u << 20) /* inline content and its fields; frames are smaller */
#define ARENA_MOST    (64u << 20)
#define LOCK_WAIT_MS  20000  /* deliver_lock_attempts times deliver_lock_delay */
#define LOCK_STALE_MS 500000 /* stale_lock_time */

/* A mailbox that one or more deliveries of the batch go to. */
struct slot {
	struct slot     *next;
	const char      *path;
	bool             is_mbox; /* then only this and is_busy are used */
	bool             is_busy;
	struct maildir   maildir;
	bool             is_same_device;
	struct error     failure; /* why it is not open */
	struct hash      there;   /* unique parts of the names in new/ and cur/ */
	bool             knows_there;
	struct quota_use use; /* with what this batch adds */
	bool             knows_use;
	int64_t          noted_bytes, noted_messages;
	bool             has_new;
};

struct item {
	struct mailbox_delivery *delivery;
	const char              *base_name; /* store.base_name */
	struct slot             *slot;
	char                    *unique;
	char                    *tmp_name;
	char                    *final_name;
	struct content_count     count;
	int                      fd; /* written, not yet synced; -1 otherwise */
	bool                     is_done;
	bool                     is_renamed;
};

struct batch {
	struct mailbox_store *store;
	struct arena          arena;
	struct hash           by_path;
	struct slot          *slots;
	struct item          *items;
	size_t                count;
	int                  *fds; /* scratch for syncing */
	struct buf            out;
	char                 *piece; /* PIECE_BYTES, when a file is read */
};

/* ---- results ---- */

static void
item_end(struct item *item, enum mailbox_outcome outcome, const char *status)
{
	item->is_done = true;
	item->delivery->outcome = outcome;
	item->delivery->status = status;
}

/* What an errno means for the message. All of them may go away by themselves. */
static void
item_fail(struct item *item, const struct error *why)
{
	const char *base = item->base_name;
	static const struct {
		int         errno_value;
		const char *status;
	} rows[] = {
		{ EDQUOT, "4.2.2" }, { ENOSPC, "4.3.1" },  { EACCES, "4.2.0" },
		{ EPERM, "4.2.0" },  { EXDEV, "4.2.0" },   { ELOOP, "4.2.0" },
		{ EROFS, "4.2.0" },  { ENOTDIR, "4.2.0" }, { EIO, "4.3.0" },
	};
	const char *status = "4.3.0";

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].errno_value == why->errno_value)
			status = rows[i].status;
	item->delivery->reason = *why;
	if (base != NULL && (why->errno_value == EACCES || why->errno_value == EPERM))
		error_set(&item->delivery->reason,
		          "%.300s (%s and all below must belong to uid %u: chown)", why->text, base,
		          (unsigned)getuid());
	if (item->slot != NULL && item->slot->is_mbox)
		error_prefix(&item->delivery->reason, "cannot update mailbox %.300s",
		             item->slot->path);
	else
		error_prefix(&item->delivery->reason, "maildir delivery failed");
	item_end(item, MAILBOX_DEFERRED, status);
}

static void
item_refuse(struct item *item, const char *status, const char *reason)
{
	error_set(&item->delivery->reason, "%s", reason);
	item_end(item, MAILBOX_REFUSED, status);
}

static void
item_delivered(struct item *item)
{
	error_set(&item->delivery->reason, "delivered to %s%s",
	          item->slot->is_mbox ? "mailbox" : "maildir",
	          item->delivery->was_there ? " before" : "");
	item_end(item, MAILBOX_DELIVERED, "2.0.0");
}

static void
item_fail_memory(struct item *item)
{
	struct error why = { ENOMEM, "out of memory" };

	item_fail(item, &why);
}

/* ---- mailboxes of the batch ---- */

static struct slot *
slot_get(struct batch *batch, struct slice path)
{
	struct slot *slot = hash_get(&batch->by_path, path);
	struct stat  status;

	if (slot != NULL)
		return slot;
	slot = arena_alloc(&batch->arena, sizeof(*slot));
	if (slot == NULL)
		return NULL;
	slot->maildir = MAILDIR_CLOSED;
	slot->path = arena_text(&batch->arena, path);
	if (slot->path == NULL || !hash_put(&batch->by_path, path, slot, NULL))
		return NULL;
	slot->next = batch->slots;
	batch->slots = slot;
	slot->is_mbox = !mailbox_path_is_maildir(path);
	if (slot->is_mbox)
		return slot;
	if (!maildir_open(batch->store->base, slot->path, false, &slot->maildir, &slot->failure)) {
		if (slot->failure.text[0] == '\0')
			error_set(&slot->failure, "open %.300s", slot->path);
		return slot;
	}
	slot->is_same_device = fstat(slot->maildir.new, &status) == 0 &&
	                       status.st_dev == batch->store->sync.device;
	return slot;
}

static bool
slot_open_root(struct batch *batch, struct slot *slot, struct error *error)
{
	if (slot->maildir.root < 0)
		slot->maildir.root = file_open_beneath(batch->store->base, slot->path,
		                                       O_RDONLY | O_DIRECTORY, 0, error);
	return slot->maildir.root >= 0;
}

static bool
there_add(struct slice name, void *context)
{
	struct slot        *slot = context;
	struct maildir_name parsed;

	return !maildir_name_parse(name, &parsed) ||
	       hash_put(&slot->there, parsed.unique, slot, NULL);
}

/* Reads the names of all messages; done once a batch, and only when a repeat is possible. */
static bool
slot_learn_names(struct batch *batch, struct slot *slot, struct error *error)
{
	if (slot->knows_there)
		return true;
	if (!slot_open_root(batch, slot, error) ||
	    !maildir_each(slot->maildir.root, "cur", there_add, slot, error) ||
	    !maildir_each(slot->maildir.root, "new", there_add, slot, error))
		return false;
	maildir_clean_tmp(slot->maildir.root);
	slot->knows_there = true;
	return true;
}

static void
slots_free(struct batch *batch)
{
	for (struct slot *slot = batch->slots; slot != NULL; slot = slot->next) {
		maildir_close(&slot->maildir);
		hash_free(&slot->there, NULL);
	}
	hash_free(&batch->by_path, NULL);
}

/* ---- checks before anything is written ---- */

static uint64_t
message_size(const struct mailbox_message *message)
{
	return message->file >= 0 ? message->file_length : message->content.length;
}

/* The first part of the content, where the header is; in batch->out when it lies in a file. */
static bool
message_head(struct batch *batch, const struct mailbox_message *message, struct slice *head)
{
	if (message->file < 0) {
		*head = message->content;
		return true;
	}
	size_t size = message->file_length > HEAD_MOST ? HEAD_MOST : (size_t)message->file_length;
	buf_clear(&batch->out);
	if (!buf_reserve(&batch->out, size))
		return false;
	ssize_t got =
		file_read_at(message->file, batch->out.data, size, (int64_t)message->file_offset);
	if (got < 0)
		return false;
	*head = slice_of(batch->out.data, (size_t)got);
	return true;
}

static bool
check_limits(struct batch *batch, struct item *item)
{
	const struct mailbox_message *message = item->delivery->message;
	uint64_t                      size = message_size(message);
	struct slice                  head;
	char                          words[120];

	if (batch->store->message_limit > 0 && size > batch->store->message_limit) {
		snprintf(words, sizeof(words), "message size %llu exceeds %s %llu",
		         (unsigned long long)size, batch->store->limit_name,
		         (unsigned long long)batch->store->message_limit);
		item_refuse(item, "5.2.3", words);
		return false;
	}
	if (!message_head(batch, message, &head)) {
		item_fail_memory(item);
		return false;
	}
	if (content_was_delivered_to(head, item->delivery->recipient)) {
		error_set(&item->delivery->reason, "mail forwarding loop for %.*s",
		          SLICE_ARGS(slice_first(item->delivery->recipient, 300)));
		item_end(item, MAILBOX_REFUSED, "5.4.6");
		return false;
	}
	return true;
}

static void
item_full(const struct batch *batch, struct item *item, uint64_t quota)
{
	error_set(&item->delivery->reason, "mailbox full (quota of %llu bytes exceeded)",
	          (unsigned long long)quota);
	if (batch->store->defer_over_quota)
		item_end(item, MAILBOX_DEFERRED, "4.2.2");
	else
		item_end(item, MAILBOX_REFUSED, "5.2.2");
}

/* Original recipient and Delivered-To for the fields in front of the message. */
static struct slice
original_of(const struct mailbox_delivery *delivery)
{
	return delivery->original.length > 0 ? delivery->original : delivery->recipient;
}

static struct slice
delivered_to(const struct mailbox_delivery *delivery)
{
	return delivery->without_delivered_to ? SLICE_EMPTY : delivery->recipient;
}

static bool
check_quota(struct batch *batch, struct item *item)
{
	struct slot *slot = item->slot;
	int64_t      quota = (int64_t)item->delivery->quota;
	int64_t      size = (int64_t)message_size(item->delivery->message);
	struct error why = ERROR_NONE;

	if (quota <= 0)
		return true;
	bool is_known =
		slot_open_root(batch, slot, &why) &&
		(slot->knows_use || quota_read(slot->maildir.root, quota, &slot->use, &why));
	if (is_known && slot->use.bytes > quota - size)
		is_known = quota_recount(slot->maildir.root, quota, &slot->use, &why);
	if (!is_known) {
		item_fail(item, &why);
		return false;
	}
	slot->knows_use = true;
	if (size > quota || slot->use.bytes > quota - size) {
		item_full(batch, item, (uint64_t)quota);
		return false;
	}
	slot->use.bytes += size;
	slot->use.messages++;
	return true;
}

static bool
make_names(struct batch *batch, struct item *item)
{
	const struct mailbox_delivery *delivery = item->delivery;
	uint64_t                       serial = atomic_fetch_add(&batch->store->serial, 1);
	struct buf                     name = BUF(MAILDIR_NAME_MOST);

	maildir_name_append_unique(&name, delivery->message->arrival_us,
	                           delivery->message->queue_id, delivery->recipient,
	                           delivery->original, slice_from(batch->store->host));
	item->unique = name.has_failed ? NULL : arena_text(&batch->arena, buf_slice(&name));
	if (item->unique != NULL)
		item->tmp_name = arena_format(&batch->arena, "%s.%d.%llu", item->unique,
		                              (int)getpid(), (unsigned long long)serial);
	buf_free(&name);
	return item->tmp_name != NULL;
}

/* Recognises what was delivered before; true when the item is still to be done. */
static bool
check_repeat(struct batch *batch, struct item *item)
{
	struct error why = ERROR_NONE;

	if (!item->delivery->message->may_be_repeat)
		return true;
	if (!slot_learn_names(batch, item->slot, &why)) {
		item_fail(item, &why);
		return false;
	}
	if (hash_get(&item->slot->there, slice_from(item->unique)) == NULL)
		return true;
	/* It may be there without being durable: its directory is synced with the others. */
	item->delivery->was_there = true;
	item->is_renamed = true;
	item->slot->has_new = true;
	return false;
}

static bool
item_prepare(struct batch *batch, struct item *item)
{
	struct mailbox_delivery *delivery = item->delivery;

	if (!mailbox_path_is_valid(delivery->mailbox)) {
		error_set(&delivery->reason, "not a path below virtual_mailbox_base: %.*s",
		          SLICE_ARGS(slice_first(delivery->mailbox, 200)));
		item_end(item, MAILBOX_DEFERRED, "4.3.5");
		return false;
	}
	if (!check_limits(batch, item))
		return false;
	item->slot = slot_get(batch, delivery->mailbox);
	if (item->slot != NULL && item->slot->is_mbox)
		return false; /* not yet */
	if (item->slot == NULL || !make_names(batch, item)) {
		item_fail_memory(item);
		return false;
	}
	if (item->slot->maildir.new < 0) {
		item_fail(item, &item->slot->failure);
		return false;
	}
	return check_repeat(batch, item) && check_quota(batch, item);
}

/* ---- writing ---- */

static bool
write_out(struct batch *batch, struct item *item, struct error *why)
{
	bool is_good = file_write_all(item->fd, buf_slice(&batch->out), item->slot->path, why);

	buf_clear(&batch->out);
	return is_good;
}

static bool
write_inline(struct batch *batch, struct item *item, struct error *why)
{
	if (!content_convert(&item->count, item->delivery->message->content, &batch->out) ||
	    !content_finish(&item->count, &batch->out))
		return error_set(why, "out of memory");
	return write_out(batch, item, why);
}

static bool
write_file(struct batch *batch, struct item *item, struct error *why)
{
	const struct mailbox_message *message = item->delivery->message;
	uint64_t                      done = 0;

	if (batch->piece == NULL)
		batch->piece = malloc(PIECE_BYTES);
	if (batch->piece == NULL)
		return error_set(why, "out of memory");
	while (done < message->file_length) {
		uint64_t left = message->file_length - done;
		size_t   size = left > PIECE_BYTES ? PIECE_BYTES : (size_t)left;
		ssize_t  got = file_read_at(message->file, batch->piece, size,
		                            (int64_t)(message->file_offset + done));

		if (got < 0)
			return error_set_errno(why, "read the message from the queue");
		if ((size_t)got < size)
			return error_set(why, "the message in the queue ends too early");
		if (!content_convert(&item->count, slice_of(batch->piece, size), &batch->out))
			return error_set(why, "out of memory");
		if (!write_out(batch, item, why))
			return false;
		done += size;
	}
	if (!content_finish(&item->count, &batch->out))
		return error_set(why, "out of memory");
	return write_out(batch, item, why);
}

static bool
name_finally(struct batch *batch, struct item *item)
{
	struct buf name = BUF(MAILDIR_NAME_MOST);

	buf_append_text(&name, item->unique);
	if (maildir_name_append_sizes(&name, item->count.size, item->count.virtual_size))
		item->final_name = arena_text(&batch->arena, buf_slice(&name));
	buf_free(&name);
	return item->final_name != NULL;
}

/* Gives up what was begun. */
static void
item_undo(struct item *item, const struct error *why)
{
	if (item->fd >= 0) {
		close(item->fd);
		item->fd = -1;
		unlinkat(item->slot->maildir.tmp, item->tmp_name, 0);
	}
	item_fail(item, why);
}

static void
item_write(struct batch *batch, struct item *item)
{
	struct mailbox_delivery *delivery = item->delivery;
	struct error             why = ERROR_NONE;

	item->fd = openat(item->slot->maildir.tmp, item->tmp_name,
	                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
	if (item->fd < 0) {
		error_set_errno(&why, "create %.250stmp/%.200s", item->slot->path, item->tmp_name);
		item_fail(item, &why);
		return;
	}
	buf_clear(&batch->out);
	if (!content_append_fields(&batch->out, delivery->message->sender, original_of(delivery),
	                           delivered_to(delivery))) {
		error_set(&why, "an address holds a control character");
		item_undo(item, &why);
		return;
	}
	content_measure(&item->count, buf_slice(&batch->out));
	bool is_written = delivery->message->file >= 0 ? write_file(batch, item, &why)
	                                               : write_inline(batch, item, &why);
	if (is_written && !name_finally(batch, item))
		is_written = error_set(&why, "out of memory");
	if (!is_written)
		item_undo(item, &why);
}

/* ---- syncing and renaming ---- */

static void
sync_files(struct batch *batch)
{
	struct error why = ERROR_NONE;
	size_t       count = 0;
	bool         is_same_device = true;

	for (size_t i = 0; i < batch->count; i++)
		if (batch->items[i].fd >= 0) {
			batch->fds[count++] = batch->items[i].fd;
			is_same_device = is_same_device && batch->items[i].slot->is_same_device;
		}
	bool is_synced = count == 0 || mailbox_sync_all(&batch->store->sync, batch->fds, count,
	                                                is_same_device, &why);
	for (size_t i = 0; i < batch->count; i++) {
		struct item *item = &batch->items[i];

		if (item->fd < 0)
			continue;
		if (!is_synced) {
			item_undo(item, &why);
			continue;
		}
		/* Only NFS tells of a failed write that late. */
		int result = close(item->fd);
		item->fd = -1;
		if (result != 0) {
			error_set_errno(&why, "close %s", item->slot->path);
			unlinkat(item->slot->maildir.tmp, item->tmp_name, 0);
			item_fail(item, &why);
		}
	}
}

/* Never replaces: a file of that name is this very delivery, done before. */
static int
rename_into_new(const struct item *item)
{
	const struct maildir *maildir = &item->slot->maildir;

	if (renameat2(maildir->tmp, item->tmp_name, maildir->new, item->final_name,
	              RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (linkat(maildir->tmp, item->tmp_name, maildir->new, item->final_name, 0) != 0)
		return -1;
	unlinkat(maildir->tmp, item->tmp_name, 0);
	return 0;
}

static void
item_rename(struct item *item)
{
	struct error why = ERROR_NONE;

	if (rename_into_new(item) != 0) {
		int reason = errno;

		unlinkat(item->slot->maildir.tmp, item->tmp_name, 0);
		if (reason != EEXIST) {
			errno = reason;
			error_set_errno(&why, "rename to %.250snew/%.200s", item->slot->path,
			                item->final_name);
			item_fail(item, &why);
			return;
		}
		item->delivery->was_there = true;
	} else {
		item->slot->noted_bytes += (int64_t)item->count.size;
		item->slot->noted_messages++;
	}
	item->is_renamed = true;
	item->slot->has_new = true;
}

static void
sync_directories(struct batch *batch)
{
	struct error why = ERROR_NONE;
	size_t       count = 0;
	bool         is_same_device = true;

	for (struct slot *slot = batch->slots; slot != NULL; slot = slot->next)
		if (slot->has_new) {
			batch->fds[count++] = slot->maildir.new;
			is_same_device = is_same_device && slot->is_same_device;
		}
	bool is_synced = count == 0 || mailbox_sync_all(&batch->store->sync, batch->fds, count,
	                                                is_same_device, &why);
	for (size_t i = 0; i < batch->count; i++) {
		struct item *item = &batch->items[i];

		if (!item->is_renamed)
			continue;
		if (is_synced)
			item_delivered(item);
		else /* it stays there: the next attempt finds it */
			item_fail(item, &why);
	}
}

static void
note_quotas(struct batch *batch)
{
	for (struct slot *slot = batch->slots; slot != NULL; slot = slot->next)
		if (slot->knows_use && slot->noted_messages > 0)
			quota_note(slot->maildir.root, slot->noted_bytes, slot->noted_messages);
}

/* ---- one-file mailboxes ---- */

static uint64_t
mbox_limit(const struct batch *batch, const struct item *item)
{
	uint64_t limit = batch->store->message_limit, quota = item->delivery->quota;

	return limit == 0 || (quota > 0 && quota < limit) ? quota : limit;
}

static void
mbox_settle(struct batch *batch, struct item *item, const struct mbox_entry *entry)
{
	switch (entry->result) {
	case MBOX_APPENDED: item_delivered(item); return;
	case MBOX_FULL: item_full(batch, item, entry->limit); return;
	case MBOX_FAILED: item_fail(item, &entry->reason); return;
	}
}

/* All that the batch has for one file; false when others hold its lock, and *why says so. */
static bool
mbox_slot_run(struct batch *batch, struct slot *slot, int64_t until_ms, struct error *why)
{
	struct mbox_entry *entries = calloc(batch->count, sizeof(*entries));
	size_t             count = 0;
	bool               is_done = false;

	if (entries == NULL)
		return error_set(why, "out of memory");
	for (size_t i = 0; i < batch->count; i++) {
		struct item *item = &batch->items[i];

		if (item->slot == slot && !item->is_done)
			entries[count++] =
				(struct mbox_entry){ .message = item->delivery->message,
				                     .recipient = delivered_to(item->delivery),
				                     .original = original_of(item->delivery),
				                     .limit = mbox_limit(batch, item) };
	}
	is_done = count == 0 || mbox_append(batch->store->base, slot->path, &batch->store->lock,
	                                    until_ms, entries, count, why);
	count = 0;
	for (size_t i = 0; is_done && i < batch->count; i++)
		if (batch->items[i].slot == slot && !batch->items[i].is_done)
			mbox_settle(batch, &batch->items[i], &entries[count++]);
	free(entries);
	return is_done;
}

static void
mbox_slot_fail(struct batch *batch, const struct slot *slot, const struct error *why)
{
	for (size_t i = 0; i < batch->count; i++)
		if (batch->items[i].slot == slot && !batch->items[i].is_done)
			item_fail(&batch->items[i], why);
}

/* First those that are free; then one wait for all that others hold. */
static void
mbox_slots_run(struct batch *batch)
{
	struct error why = ERROR_NONE;

	for (struct slot *slot = batch->slots; slot != NULL; slot = slot->next)
		slot->is_busy = slot->is_mbox && !mbox_slot_run(batch, slot, 0, &why);
	int64_t until_ms = clock_monotonic_ms() + batch->store->lock.wait_ms;
	for (struct slot *slot = batch->slots; slot != NULL; slot = slot->next) {
		why = ERROR_NONE;
		if (slot->is_busy && !mbox_slot_run(batch, slot, until_ms, &why))
			mbox_slot_fail(batch, slot, &why);
	}
}

/* ---- public ---- */

void
mailbox_store_init(struct mailbox_store *store, int base, const char *host)
{
	*store = (struct mailbox_store){
		.base = base,
		.base_name = "virtual_mailbox_base",
		.host = host,
		.limit_name = "virtual_mailbox_limit",
		.lock = { .methods = MAILFILE_FCNTL | MAILFILE_DOTLOCK,
		          .wait_ms = LOCK_WAIT_MS,
		          .stale_ms = LOCK_STALE_MS },
	};
	mailbox_sync_init(&store->sync, base);
	atomic_init(&store->serial, 0);
}

static void
batch_run(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++)
		if (item_prepare(batch, &batch->items[i]))
			item_write(batch, &batch->items[i]);
	sync_files(batch);
	for (size_t i = 0; i < batch->count; i++)
		if (batch->items[i].final_name != NULL && !batch->items[i].is_done)
			item_rename(&batch->items[i]);
	sync_directories(batch);
	note_quotas(batch);
	mbox_slots_run(batch);
}

void
mailbox_deliver(struct mailbox_store *store, struct mailbox_delivery *deliveries, size_t count)
{
	struct batch batch = {
		.store = store, .arena = ARENA(ARENA_MOST), .count = count, .out = BUF(CONTENT_MOST)
	};

	batch.items = calloc(count + 1, sizeof(*batch.items));
	batch.fds = calloc(count + 1, sizeof(*batch.fds));
	for (size_t i = 0; i < count; i++) {
		struct item one = { .delivery = &deliveries[i],
			            .base_name = store->base_name,
			            .fd = -1 };

		deliveries[i].reason = ERROR_NONE;
		deliveries[i].was_there = false;
		if (batch.items == NULL || batch.fds == NULL)
			item_fail_memory(&one);
		else
			batch.items[i] = one;
	}
	if (batch.items != NULL && batch.fds != NULL)
		batch_run(&batch);
	slots_free(&batch);
	buf_free(&batch.out);
	free(batch.piece);
	free(batch.items);
	free(batch.fds);
	arena_reset(&batch.arena);
}
