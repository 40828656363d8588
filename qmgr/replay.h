/* replay.h - the start: what the last run left in the journal and the spool directory. */
#ifndef DAKIYA_QMGR_REPLAY_H
#define DAKIYA_QMGR_REPLAY_H

#include "qmgr/qmgr.h"

/* Reads the journal, starts the syncer, begins a round for every message that is left. */
bool replay_journal(struct qmgr *qmgr, struct error *error);
/* Removes bodies that no message refers to; after replay_journal. */
void spools_sweep(struct qmgr *qmgr);
/* ---- notes.c ---- */

/* RESULT, GONE, and the result in a NOTICE: perhaps of a message in a file. */
struct note {
	enum record_type type;
	uint64_t         epoch;
	struct slice     payload; /* a stored_done or stored_result; mapped */
};

struct notes {
	ARRAY(struct note) all;
};
/* Brings the files up to date with it, after messages_resume; payloads are borrowed. */
bool notes_give(struct qmgr *qmgr, const struct notes *notes, struct error *error);

/* ---- secret.c ---- */

/* Reads the secret, or makes a new one: then false. */
bool secret_open(struct qmgr *qmgr, struct segment_key *secret);

/* Keeps damaged bytes in corrupt/. */
void corrupt_save(struct qmgr *qmgr, const char *what, size_t offset, struct slice bytes);

#endif
