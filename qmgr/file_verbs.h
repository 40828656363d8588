/*
 * file_verbs.h - what the file threads do for each verb: file_verb_begin up to where a sync is
 * needed, file_verb_sync the rest but for the directories. Which of these are to be synced is
 * noted.
 */
#ifndef DAKIYA_QMGR_FILE_VERBS_H
#define DAKIYA_QMGR_FILE_VERBS_H

#include "qmgr/files.h"

struct directories {
	int queue_fd;
	/* That got a name, or lost one to another directory, and are not synced yet. A name must be
	 * safe where it came before it is gone where it was. */
	bool has_gained[DIRECTORY_COUNT], has_lost[DIRECTORY_COUNT];
	/* Names removed, which nobody waits for until there is a barrier. */
	bool has_removed[DIRECTORY_COUNT];
};

/* Failures are told in task->error. */
void file_verb_begin(struct directories *directories, struct file_task *task);
void file_verb_sync(struct directories *directories, struct file_task *task);
/* After a STORE, its directory's sync included: one that failed leaves no name, or a stray. */
void file_verb_store_end(struct directories *directories, struct file_task *task);

#endif
