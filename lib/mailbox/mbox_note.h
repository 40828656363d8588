/* mbox_note.h - the note of an append that is under way; see mbox.h. */
#ifndef DAKIYA_MAILBOX_MBOX_NOTE_H
#define DAKIYA_MAILBOX_MBOX_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/slice.h"

/* Writes the note: end is 0 until the message is written. from_line: its first line. */
void mbox_note_set(int fd, uint64_t start, uint64_t end, struct slice from_line);
void mbox_note_clear(int fd);

/*
 * Takes out what a killed process left at the end of the locked file, which has *size bytes; true
 * when it did, *size is then less.
 */
bool mbox_recover(int fd, uint64_t *size);

#endif
