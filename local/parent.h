/*
 * parent.h - local's parent: the one process that may become any mailbox's user.
 *
 * It takes mailbox_attach messages from qmgr and authd and hands their descriptors to a child that
 * runs as the uid named, started when there is none. Single-threaded, it reads no mail, no user's
 * file, no table. scripts/lint keeps what runs as root here under 300 lines, all files counted.
 */
#ifndef DAKIYA_LOCAL_PARENT_H
#define DAKIYA_LOCAL_PARENT_H

#include "lib/daemon/daemon.h"

int parent_run(struct daemon_context *context);

#endif
