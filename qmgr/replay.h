/* replay.h - the start: what the last run left in the journal and the spool directory. */
#ifndef DAKIYA_QMGR_REPLAY_H
#define DAKIYA_QMGR_REPLAY_H

#include "qmgr/qmgr.h"

/* Reads the journal, starts the syncer, begins a round for every message that is left. */
bool replay_journal(struct qmgr *qmgr, struct error *error);
/* Removes bodies that no message refers to; after replay_journal. */
void spools_sweep(struct qmgr *qmgr);
/* Keeps damaged bytes in corrupt/. */
void corrupt_save(struct qmgr *qmgr, const char *what, size_t offset, struct slice bytes);

#endif
