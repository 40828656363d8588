/* rows.c - what waits in files, a few hundred at a time for listings; in the scheduler. */
#include "qmgr/control.h"

#define LOOK_MOST 5000 /* messages looked at in one answer */

static void
row_add(struct rows *rows, const struct waiting *waiting)
{
	struct row *row = &rows->items[rows->count++];

	*row = (struct row){ .due_us = waiting->due.when,
		             .card = waiting->card,
		             .card_bytes = waiting->card_bytes,
		             .version = waiting->version,
		             .is_on_hold = waiting->is_on_hold,
		             .is_expired = waiting->is_expired };
	memcpy(row->id, waiting->id, strlen(waiting->id) + 1);
}

static void
cards_note(struct backlog *backlog, const struct rows *rows)
{
	for (size_t i = 0; i < rows->count; i++) {
		const struct row *row = &rows->items[i];
		struct waiting   *waiting = NULL;

		if (row->has_new_card)
			waiting = backlog_find(backlog, slice_from(row->id));
		if (waiting != NULL)
			backlog_card(backlog, waiting, row->version, row->card, row->card_bytes);
	}
}

/* True when the walk came to its end. */
static bool
rows_walk(struct backlog *backlog, struct rows *rows)
{
	struct waiting *waiting;

	for (size_t i = 0; i < LOOK_MOST && rows->count < ROWS_AT_ONCE; i++) {
		waiting = backlog_walk_next(backlog, rows->mark);
		if (waiting == NULL)
			return true;
		if (!rows->wants_cardless || waiting->card == 0)
			row_add(rows, waiting);
	}
	return false;
}

/* What the scan of the start has not come to yet is waited for. */
void
ask_rows(struct qmgr *qmgr, struct ask *ask)
{
	struct backlog *backlog = &qmgr->backlog;
	struct rows    *rows = ask->rows;
	struct waiting *one = NULL;

	cards_note(backlog, rows);
	rows->count = 0;
	if (rows->is_given_up || (rows->wants_cardless && backlog->carded == backlog->count)) {
		rows->is_over = true;
	} else if (rows->only.length > 0) {
		one = backlog_find(backlog, rows->only);
		if (one != NULL)
			row_add(rows, one);
		rows->is_over = one != NULL || qmgr->is_scanned;
	} else {
		if (rows->mark == NULL)
			rows->mark = backlog_walk(backlog);
		rows->is_over =
			rows->mark == NULL || (rows_walk(backlog, rows) && qmgr->is_scanned);
	}
	if (rows->is_over && rows->mark != NULL)
		backlog_walk_end(&rows->mark);
	rows->card_bytes = backlog->card_bytes;
}
