/*
 * places.h - the directories of the queue, and where in them a message's files lie.
 *
 * deferred/x/ID and hold/ID hold messages at rest, spool/ID large bodies, corrupt/ what was
 * damaged, tmp/ID what is being written.
 */
#ifndef DAKIYA_QMGR_PLACES_H
#define DAKIYA_QMGR_PLACES_H

#include "lib/base/error.h"
#include "lib/queue/id.h"

enum place { PLACE_DEFERRED, PLACE_HOLD };
enum place other_place(enum place place);

#define PLACE_PATH_MOST 64
#define QUEUE_FILE_MOST (1024u << 20) /* a message, and what is known of its recipients */

/* "deferred/A/ID", "hold/ID" */
void queue_file_path(char path[PLACE_PATH_MOST], enum place place, const char *id);
/* "spool/ID" */
void spool_path(char path[PLACE_PATH_MOST], const char *id);
/* "tmp/ID" */
void tmp_path(char path[PLACE_PATH_MOST], const char *id);

/* Directories that messages and bodies get names in, by number: deferred/0 to deferred/F first. */
#define DIRECTORY_HOLD    16
#define DIRECTORY_SPOOL   17
#define DIRECTORY_CORRUPT 18
#define DIRECTORY_COUNT   19

/* That of queue_file_path. */
size_t directory_of(enum place place, const char *id);
bool   directory_sync(int queue_fd, size_t directory, struct error *error);

/* Makes the directories that are missing, and syncs all. */
bool places_prepare(int queue_fd, struct error *error);
/* Syncs those that hold messages. */
bool places_sync(int queue_fd, struct error *error);

/* Reads a file whole: malloc'ed bytes. */
bool queue_file_read(int queue_fd, const char *path, char **bytes, size_t *length,
                     struct error *error);

#endif
