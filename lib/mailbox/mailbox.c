/* mailbox.c - see mailbox.h. */
#include "lib/mailbox/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/hash.h"
#include "lib/io/file.h"
#include "lib/mailbox/content.h"
#include "lib/mailbox/maildir.h"
#include "lib/mailbox/name.h"
#include "lib/mailbox/quota.h"
#include "lib/mailbox/uidlist.h"

#define LOCK_NAME     "dakiya.lock"
#define UIDLIST_NAME  "dovecot-uidlist"
#define NAMES_MOST    (256u << 20) /* bytes of names in one mailbox */
#define MESSAGES_MOST 1000000
#define PIECE_BYTES   (64u * 1024)

struct entry {
	const char *name;
	uint64_t    arrival_us;
	uint64_t    size;
	uint32_t    uid; /* from dovecot-uidlist; 0 = none */
	uint16_t    unique_length;
	bool        is_new; /* in new/, otherwise in cur/ */
};

struct mailbox {
	int          root;
	int          lock; /* -1 = not locked */
	uint32_t     validity;
	struct arena arena; /* the names */
	ARRAY(struct entry) entries;
	/* while listing */
	const char *part;
	bool        is_full;
};

static const char *const parts[] = { "cur", "new" };

/* ---- listing ---- */

/* Another IMAP or POP3 program's file without W=: its line ends are counted. */
static bool
measure(const struct mailbox *mailbox, const struct entry *entry, uint64_t *size)
{
	char                 path[MAILDIR_NAME_MOST + 8];
	struct content_count count = { 0 };
	ssize_t              got = -1;
	char                *piece = malloc(PIECE_BYTES);

	snprintf(path, sizeof(path), "%s/%s", entry->is_new ? "new" : "cur", entry->name);
	int fd = file_open_beneath(mailbox->root, path, O_RDONLY | O_NONBLOCK, 0, NULL);
	if (fd >= 0 && piece != NULL)
		while ((got = file_read_at(fd, piece, PIECE_BYTES, (int64_t)count.size)) > 0)
			content_measure(&count, slice_of(piece, (size_t)got));
	if (fd >= 0)
		close(fd);
	free(piece);
	/* A last line without end is sent with one. */
	*size = count.virtual_size + (count.size > 0 && !count.ends_line ? 2 : 0);
	return got == 0;
}

static bool
list_one(struct slice name, void *context)
{
	struct mailbox     *mailbox = context;
	struct maildir_name parsed;
	struct entry        entry = { 0 };

	if (!maildir_name_parse(name, &parsed))
		return true;
	if (mailbox->entries.count == MESSAGES_MOST)
		return true; /* LIMIT: further messages show when these are gone */
	entry.name = arena_text(&mailbox->arena, name);
	entry.arrival_us = parsed.arrival_us;
	entry.size = parsed.virtual_size;
	entry.unique_length = (uint16_t)parsed.unique.length;
	entry.is_new = mailbox->part == parts[1];
	if (entry.name == NULL)
		return false;
	if (!parsed.has_virtual_size && !measure(mailbox, &entry, &entry.size))
		return true; /* unreadable, or just gone */
	return ARRAY_PUSH(&mailbox->entries, entry);
}

static struct slice
entry_unique(const struct entry *entry)
{
	return slice_of(entry->name, entry->unique_length);
}

/* Dovecot's order first, then by arrival. */
static int
entry_compare(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;

	if (a->uid != b->uid)
		return a->uid == 0 ? 1 : b->uid == 0 ? -1 : a->uid < b->uid ? -1 : 1;
	if (a->arrival_us != b->arrival_us)
		return a->arrival_us < b->arrival_us ? -1 : 1;
	return slice_compare(entry_unique(a), entry_unique(b));
}

/* A message moved from new/ to cur/ between the two reads is seen twice: the first stays. */
static void
drop_doubles(struct mailbox *mailbox)
{
	size_t kept = 0;

	for (size_t i = 0; i < mailbox->entries.count; i++) {
		struct entry *entry = &mailbox->entries.items[i];

		if (kept > 0 && slice_equal(entry_unique(entry),
		                            entry_unique(&mailbox->entries.items[kept - 1])))
			continue;
		mailbox->entries.items[kept++] = *entry;
	}
	mailbox->entries.count = kept;
}

static void
take_uids(struct mailbox *mailbox)
{
	struct uidlist list = { 0 };
	struct buf     text = BUF(UIDLIST_BYTES_MOST);
	struct stat    status;
	int fd = file_open_beneath(mailbox->root, UIDLIST_NAME, O_RDONLY | O_NONBLOCK, 0, NULL);

	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	    file_read_all(fd, &text, UIDLIST_NAME, NULL) &&
	    uidlist_parse(buf_slice(&text), &list)) {
		mailbox->validity = list.validity;
		for (size_t i = 0; i < mailbox->entries.count; i++) {
			struct entry *entry = &mailbox->entries.items[i];

			entry->uid = uidlist_get(&list, entry_unique(entry));
		}
	}
	uidlist_free(&list);
	buf_free(&text);
	close(fd);
}

/* new/ first: what a client moves to cur/ meanwhile is then seen twice, not missed. */
static bool
list_all(struct mailbox *mailbox, struct error *error)
{
	for (size_t i = 2; i-- > 0;) {
		mailbox->part = parts[i];
		if (!maildir_each(mailbox->root, parts[i], list_one, mailbox, error))
			return false;
	}
	take_uids(mailbox);
	if (mailbox->entries.count > 0)
		qsort(mailbox->entries.items, mailbox->entries.count, sizeof(struct entry),
		      entry_compare);
	drop_doubles(mailbox);
	return true;
}

/* ---- opening ---- */

static enum mailbox_status
lock_take(struct mailbox *mailbox, struct error *error)
{
	struct error why = ERROR_NONE;

	mailbox->lock = file_open_beneath(mailbox->root, LOCK_NAME, O_RDWR | O_CREAT | O_NONBLOCK,
	                                  0600, error);
	if (mailbox->lock < 0)
		return MAILBOX_TRY_LATER;
	if (file_lock(mailbox->lock, FILE_LOCK_EXCLUSIVE, false, LOCK_NAME, &why))
		return MAILBOX_OK;
	if (why.errno_value == EAGAIN || why.errno_value == EACCES) {
		error_set(error, "another session has the mailbox");
		return MAILBOX_IN_USE;
	}
	error_set(error, "%s", why.text);
	return MAILBOX_TRY_LATER;
}

static bool
root_open(int base, struct slice path, struct mailbox *mailbox, struct error *error)
{
	char           text[MAILBOX_PATH_MOST + 1];
	struct maildir maildir;

	if (!mailbox_path_is_valid(path) || !mailbox_path_is_maildir(path))
		return error_set(error, "not a Maildir below virtual_mailbox_base: %.*s",
		                 SLICE_ARGS(slice_first(path, 200)));
	memcpy(text, path.data, path.length);
	text[path.length] = '\0';
	if (!maildir_open(base, text, true, &maildir, error))
		return false;
	mailbox->root = maildir.root;
	maildir.root = -1;
	maildir_close(&maildir);
	return true;
}

enum mailbox_status
mailbox_open(int base, struct slice path, bool want_lock, struct mailbox **mailbox,
             struct error *error)
{
	struct mailbox     *made = calloc(1, sizeof(*made));
	enum mailbox_status status = MAILBOX_TRY_LATER;

	if (made == NULL) {
		error_set(error, "out of memory");
		return MAILBOX_TRY_LATER;
	}
	*made = (struct mailbox){ .root = -1, .lock = -1, .arena = ARENA(NAMES_MOST) };
	if (root_open(base, path, made, error))
		status = want_lock ? lock_take(made, error) : MAILBOX_OK;
	if (status == MAILBOX_OK && !list_all(made, error))
		status = MAILBOX_TRY_LATER;
	if (status == MAILBOX_OK)
		*mailbox = made;
	else
		mailbox_close(&made);
	return status;
}

void
mailbox_close(struct mailbox **mailbox)
{
	struct mailbox *gone = *mailbox;

	if (gone == NULL)
		return;
	*mailbox = NULL;
	if (gone->lock >= 0)
		close(gone->lock);
	if (gone->root >= 0)
		close(gone->root);
	ARRAY_FREE(&gone->entries);
	arena_reset(&gone->arena);
	free(gone);
}

size_t
mailbox_count(const struct mailbox *mailbox)
{
	return mailbox->entries.count;
}

void
mailbox_item(const struct mailbox *mailbox, size_t index, struct mailbox_item *item)
{
	const struct entry *entry = &mailbox->entries.items[index];

	item->size = entry->size;
	if (entry->uid != 0)
		snprintf(item->uidl, sizeof(item->uidl), "%08x%08x", entry->uid, mailbox->validity);
	else
		maildir_name_uidl(entry_unique(entry), item->uidl);
}

/* ---- messages ---- */

struct search {
	struct mailbox *mailbox;
	struct hash     wanted; /* unique part -> entry whose file is not where it was */
};

static bool
search_one(struct slice name, void *context)
{
	struct search      *search = context;
	struct maildir_name parsed;

	if (!maildir_name_parse(name, &parsed))
		return true;
	struct entry *entry = hash_get(&search->wanted, parsed.unique);
	if (entry == NULL)
		return true;
	const char *copy = arena_text(&search->mailbox->arena, name);
	if (copy == NULL)
		return false;
	entry->name = copy;
	entry->unique_length = (uint16_t)parsed.unique.length;
	entry->is_new = search->mailbox->part == parts[1];
	return true;
}

/* Other clients set flags and move messages to cur/: finds the new names of those wanted. */
static bool
search_again(struct search *search, struct error *error)
{
	bool is_good = true;

	for (size_t i = 2; i-- > 0 && is_good;) {
		search->mailbox->part = parts[i];
		is_good = maildir_each(search->mailbox->root, parts[i], search_one, search, error);
	}
	return is_good;
}

static int
entry_open(const struct mailbox *mailbox, const struct entry *entry, struct error *error)
{
	char path[MAILDIR_NAME_MOST + 8];

	snprintf(path, sizeof(path), "%s/%s", entry->is_new ? "new" : "cur", entry->name);
	return file_open_beneath(mailbox->root, path, O_RDONLY | O_NONBLOCK, 0, error);
}

enum mailbox_status
mailbox_fetch(struct mailbox *mailbox, size_t index, int *fd, uint64_t *length, struct error *error)
{
	struct error  why = ERROR_NONE;
	struct entry *entry = &mailbox->entries.items[index];
	struct stat   status;
	int           opened = entry_open(mailbox, entry, &why);

	if (opened < 0 && why.errno_value == ENOENT) {
		struct search search = { .mailbox = mailbox };

		if (hash_put(&search.wanted, entry_unique(entry), entry, NULL))
			(void)search_again(&search, NULL);
		hash_free(&search.wanted, NULL);
		opened = entry_open(mailbox, entry, &why);
	}
	if (opened < 0) {
		error_set(error, "%s", why.text);
		return why.errno_value == ENOENT ? MAILBOX_GONE : MAILBOX_TRY_LATER;
	}
	if (fstat(opened, &status) != 0 || !S_ISREG(status.st_mode)) {
		error_set(error, "message %zu is not a regular file", index + 1);
		close(opened);
		return MAILBOX_TRY_LATER;
	}
	*fd = opened;
	*length = (uint64_t)status.st_size;
	return MAILBOX_OK;
}

struct removal {
	int      directories[2]; /* cur, new; -1 = not opened */
	bool     is_touched[2];
	uint64_t count;
	int64_t  bytes;
};

/* False with errno ENOENT when it is not where it was. */
static bool
entry_remove(struct mailbox *mailbox, const struct entry *entry, struct removal *removal)
{
	struct stat status;
	size_t      part = entry->is_new ? 1 : 0;
	int         directory = removal->directories[part];

	(void)mailbox;
	int64_t size = fstatat(directory, entry->name, &status, AT_SYMLINK_NOFOLLOW) == 0
	                       ? status.st_size
	                       : 0;
	if (unlinkat(directory, entry->name, 0) != 0)
		return false;
	removal->is_touched[part] = true;
	removal->count++;
	removal->bytes += size;
	return true;
}

static bool
is_marked(struct slice marks, size_t index)
{
	return index < marks.length && marks.data[index] == 1;
}

/* The first round over all that are marked; those not found go into the search. */
static bool
remove_marked(struct mailbox *mailbox, struct slice marks, struct removal *removal,
              struct search *search, struct error *error)
{
	for (size_t i = 0; i < mailbox->entries.count; i++) {
		struct entry *entry = &mailbox->entries.items[i];

		if (!is_marked(marks, i) || entry_remove(mailbox, entry, removal))
			continue;
		if (errno != ENOENT)
			return error_set_errno(error, "remove message %zu", i + 1);
		if (!hash_put(&search->wanted, entry_unique(entry), entry, NULL))
			return error_set(error, "out of memory");
	}
	return true;
}

struct second_round {
	struct mailbox *mailbox;
	struct removal *removal;
	struct error   *error;
	bool            is_good;
};

static void
remove_found(struct slice key, void *value, void *context)
{
	struct second_round *round = context;

	(void)key;
	if (!entry_remove(round->mailbox, value, round->removal) && errno != ENOENT)
		round->is_good = error_set_errno(round->error, "remove a message");
}

static bool
remove_all(struct mailbox *mailbox, struct slice marks, struct removal *removal,
           struct error *error)
{
	struct search search = { .mailbox = mailbox };
	bool          is_good = true;

	for (size_t i = 0; i < 2 && is_good; i++) {
		removal->directories[i] = file_open_beneath(mailbox->root, parts[i],
		                                            O_RDONLY | O_DIRECTORY, 0, error);
		is_good = removal->directories[i] >= 0;
	}
	is_good = is_good && remove_marked(mailbox, marks, removal, &search, error);
	if (is_good && search.wanted.count > 0) {
		struct second_round round = { mailbox, removal, error, true };

		is_good = search_again(&search, error);
		if (is_good)
			hash_each(&search.wanted, remove_found, &round);
		is_good = is_good && round.is_good;
	}
	hash_free(&search.wanted, NULL);
	return is_good;
}

enum mailbox_status
mailbox_remove(struct mailbox *mailbox, struct slice marks, uint64_t *removed, struct error *error)
{
	struct removal removal = { .directories = { -1, -1 } };
	bool           is_good = remove_all(mailbox, marks, &removal, error);

	for (size_t i = 0; i < 2; i++) {
		if (removal.directories[i] < 0)
			continue;
		if (removal.is_touched[i] &&
		    !file_sync_directory(removal.directories[i], parts[i], is_good ? error : NULL))
			is_good = false;
		close(removal.directories[i]);
	}
	if (removal.count > 0)
		quota_note(mailbox->root, -removal.bytes, -(int64_t)removal.count);
	*removed = removal.count;
	return is_good ? MAILBOX_OK : MAILBOX_TRY_LATER;
}
