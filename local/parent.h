/*
 * parent.h - local's parent: the one process that may become any mailbox's user.
 *
 * It takes mailbox_attach messages from qmgr and authd and hands their descriptors to a child that
 * runs as the uid named; it starts that child when there is none. It is root, single-threaded,
 * under 300 lines (parent.c and spawn.c), and reads no mail, no user's file, no table.
 */
#ifndef DAKIYA_LOCAL_PARENT_H
#define DAKIYA_LOCAL_PARENT_H

#include <sys/types.h>

#include "lib/daemon/daemon.h"

int parent_run(struct daemon_context *context);

/*
 * Starts this program in worker mode as uid:gid, with control as its descriptor 3 and nothing else.
 * -1 and *error when that fails. (spawn.c)
 */
pid_t spawn_worker(const struct daemon_context *context, uid_t uid, gid_t gid, int control,
                   struct error *error);

#endif
