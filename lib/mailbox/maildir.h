/*
 * maildir.h - the directories of one Maildir: opened below the base, made when missing, read.
 *
 * Never leaves the base, never follows a symbolic link. Errors carry errno_value.
 */
#ifndef DAKIYA_MAILBOX_MAILDIR_H
#define DAKIYA_MAILBOX_MAILDIR_H

#include "lib/base/error.h"
#include "lib/base/slice.h"

struct maildir {
	int root, new, tmp; /* -1 = not opened */
};

#define MAILDIR_CLOSED ((struct maildir){ -1, -1, -1 })

/*
 * Opens path (valid, with its final '/') and its new/ and tmp/; makes what is missing, mode 0700,
 * durably. root is opened only when asked for.
 */
bool maildir_open(int base, const char *path, bool want_root, struct maildir *maildir,
                  struct error *error);
void maildir_close(struct maildir *maildir);

/*
 * Calls visit for every entry of the directory `name` below root that may be a message; visit
 * returns false to stop. A missing directory has no entries. False and *error when reading fails
 * or visit stopped.
 */
bool maildir_each(int root, const char *name, bool (*visit)(struct slice name, void *context),
                  void *context, struct error *error);

/* Removes files in tmp/ that a crash left, older than 36 hours as Maildir's rules have it. */
void maildir_clean_tmp(int root);

#endif
