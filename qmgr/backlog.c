/* backlog.c - see backlog.h. */
#include "qmgr/backlog.h"

#include <stdlib.h>

#include "lib/base/hash.h"

#define LEAST_SLOTS 256

static struct waiting *const tombstone = (struct waiting *)8;

void
backlog_init(struct backlog *backlog)
{
	*backlog = (struct backlog){ 0 };
	list_init(&backlog->all);
}

void
backlog_free(struct backlog *backlog)
{
	for (size_t i = 0; i < backlog->slot_count; i++)
		if (backlog->slots[i] != NULL && backlog->slots[i] != tombstone)
			free(backlog->slots[i]);
	free(backlog->slots);
	heap_free(&backlog->due);
	backlog_init(backlog);
}

/* The slot that holds id, or the free one where the search for it ends. */
static size_t
slot_find(const struct backlog *backlog, struct slice id)
{
	size_t mask = backlog->slot_count - 1, at = (size_t)hash_bytes(id) & mask;

	while (backlog->slots[at] != NULL) {
		if (backlog->slots[at] != tombstone &&
		    slice_equal(slice_from(backlog->slots[at]->id), id))
			break;
		at = (at + 1) & mask;
	}
	return at;
}

struct waiting *
backlog_find(const struct backlog *backlog, struct slice id)
{
	return backlog->count == 0 ? NULL : backlog->slots[slot_find(backlog, id)];
}

static bool
slots_grow(struct backlog *backlog)
{
	size_t wanted = LEAST_SLOTS;

	while (wanted < backlog->count * 2 + 2)
		wanted *= 2;
	struct waiting **slots = calloc(wanted, sizeof(struct waiting *)), **old = backlog->slots;
	size_t           old_count = backlog->slot_count;
	if (slots == NULL)
		return false;
	backlog->slots = slots;
	backlog->slot_count = wanted;
	backlog->used = backlog->count;
	for (size_t i = 0; i < old_count; i++)
		if (old[i] != NULL && old[i] != tombstone)
			slots[slot_find(backlog, slice_from(old[i]->id))] = old[i];
	free(old);
	return true;
}

static bool
waiting_place(struct backlog *backlog, struct waiting *waiting, int64_t due_us, bool is_on_hold)
{
	if (waiting->is_on_hold != is_on_hold)
		backlog->held = is_on_hold ? backlog->held + 1 : backlog->held - 1;
	waiting->is_on_hold = is_on_hold;
	waiting->is_fetched = false;
	if (is_on_hold) {
		if (heap_contains(&waiting->due))
			heap_remove(&backlog->due, &waiting->due);
		waiting->due.when = due_us; /* for listings */
		return true;
	}
	if (heap_contains(&waiting->due)) {
		heap_move(&backlog->due, &waiting->due, due_us);
		return true;
	}
	return heap_insert(&backlog->due, &waiting->due, due_us);
}

static void
card_forget(struct backlog *backlog, struct waiting *waiting)
{
	if (waiting->card == 0)
		return;
	waiting->card = 0;
	backlog->card_bytes -= waiting->card_bytes;
	backlog->carded--;
}

struct waiting *
backlog_put(struct backlog *backlog, const char *id, int64_t due_us, bool is_on_hold)
{
	struct slice    key = slice_from(id);
	struct waiting *waiting = backlog_find(backlog, key);

	if (waiting != NULL)
		return waiting_place(backlog, waiting, due_us, is_on_hold) ? waiting : NULL;
	if (backlog->used * 4 >= backlog->slot_count * 3 && !slots_grow(backlog))
		return NULL;
	/* Also for one on hold: what is put back later must find its place, or it never is due. */
	if (!heap_reserve(&backlog->due, backlog->count + 1))
		return NULL;
	waiting = calloc(1, sizeof(*waiting) + key.length + 1);
	if (waiting == NULL)
		return NULL;
	memcpy(waiting->id, id, key.length + 1);
	if (!waiting_place(backlog, waiting, due_us, is_on_hold)) {
		free(waiting);
		return NULL;
	}
	list_append(&backlog->all, &waiting->in_all);
	backlog->slots[slot_find(backlog, key)] = waiting;
	backlog->used++;
	backlog->count++;
	return waiting;
}

void
backlog_remove(struct backlog *backlog, struct waiting *waiting)
{
	backlog->slots[slot_find(backlog, slice_from(waiting->id))] = tombstone;
	backlog->count--;
	if (waiting->is_on_hold)
		backlog->held--;
	if (heap_contains(&waiting->due))
		heap_remove(&backlog->due, &waiting->due);
	card_forget(backlog, waiting);
	list_remove(&waiting->in_all);
	free(waiting);
}

struct waiting *
backlog_due(const struct backlog *backlog, int64_t now_us)
{
	struct heap_node *node = heap_first(&backlog->due);

	return node == NULL || node->when > now_us ? NULL : CONTAINER_OF(node, struct waiting, due);
}

int64_t
backlog_next_us(const struct backlog *backlog)
{
	struct heap_node *node = heap_first(&backlog->due);

	return node == NULL ? INT64_MAX : node->when;
}

void
backlog_fetched(struct backlog *backlog, struct waiting *waiting)
{
	if (heap_contains(&waiting->due))
		heap_remove(&backlog->due, &waiting->due);
	waiting->is_fetched = true;
}

bool
backlog_requeue(struct backlog *backlog, struct waiting *waiting, int64_t due_us)
{
	return waiting_place(backlog, waiting, due_us, false);
}

/* ---- cards ---- */

void
backlog_changed(struct backlog *backlog, struct waiting *waiting)
{
	waiting->version++;
	card_forget(backlog, waiting);
}

void
backlog_card(struct backlog *backlog, struct waiting *waiting, uint32_t version, uint64_t card,
             uint32_t bytes)
{
	if (waiting->version != version)
		return;
	card_forget(backlog, waiting);
	if (card == 0)
		return;
	waiting->card = card;
	waiting->card_bytes = bytes;
	backlog->card_bytes += bytes;
	backlog->carded++;
}

/* ---- walks ---- */

/* A mark lies in the list like a message, without an id. */
static bool
is_mark(const struct waiting *waiting)
{
	return waiting->id[0] == '\0';
}

struct waiting *
backlog_walk(struct backlog *backlog)
{
	struct waiting *mark = calloc(1, sizeof(*mark) + 1);

	if (mark != NULL)
		list_prepend(&backlog->all, &mark->in_all);
	return mark;
}

struct waiting *
backlog_walk_next(struct backlog *backlog, struct waiting *mark)
{
	struct list_node *node = mark->in_all.next;
	struct waiting   *found = NULL;

	for (; node != &backlog->all && found == NULL; node = node->next) {
		struct waiting *waiting = CONTAINER_OF(node, struct waiting, in_all);

		if (!is_mark(waiting))
			found = waiting;
	}
	list_remove(&mark->in_all);
	list_insert_before(node, &mark->in_all);
	return found;
}

void
backlog_walk_end(struct waiting **mark)
{
	list_remove(&(*mark)->in_all);
	free(*mark);
	*mark = NULL;
}
