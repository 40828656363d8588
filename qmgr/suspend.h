/*
 * suspend.h - destinations that an administrator told to wait: in memory, and in state/suspended.
 *
 * A suspension names a transport and a next hop (empty: any of the transport's), or, without a
 * transport, a recipient's domain. Mail for it is deferred until it ends. Few at a time: they are
 * looked through for every recipient.
 */
#ifndef DAKIYA_QMGR_SUSPEND_H
#define DAKIYA_QMGR_SUSPEND_H

#include "lib/base/buf.h"
#include "lib/base/list.h"
#include "lib/ipc/messages.h"

struct suspension {
	struct list_node in_all;
	char            *transport; /* "" = by domain */
	char            *nexthop;
	char            *reason;
	int64_t          since_us, until_us; /* until 0 = until it is resumed */
};
struct suspensions {
	struct list_node all;
	size_t           count;
};

enum suspend_change { SUSPEND_DONE, SUSPEND_UNCHANGED, SUSPEND_FAILED, SUSPEND_NO_MEMORY };

void suspensions_init(struct suspensions *suspensions);
void suspensions_free(struct suspensions *suspensions);
/* Adds or replaces; unchanged never. Failed: too many, or not printable text. */
enum suspend_change suspensions_add(struct suspensions                *suspensions,
                                    const struct msg_queue_suspension *wanted);
/* Unchanged when there was none. */
enum suspend_change suspensions_remove(struct suspensions *suspensions, struct slice transport,
                                       struct slice nexthop);
/* The one that holds mail for this recipient back at now_us; NULL = none. */
const struct suspension *suspensions_find(const struct suspensions *suspensions,
                                          struct slice transport, struct slice nexthop,
                                          struct slice domain, int64_t now_us);
/* Forgets those that are over; true when there were any. */
bool suspensions_expire(struct suspensions *suspensions, int64_t now_us);
/* As records of queue_suspension. */
bool suspension_append(struct buf *list, const struct suspension *suspension);
bool suspensions_append(const struct suspensions *suspensions, struct buf *list);

/* The file's text, a line each; what cannot be read in it is passed over. False: out of memory. */
bool suspensions_write(const struct suspensions *suspensions, struct buf *text);
bool suspensions_read(struct suspensions *suspensions, struct slice text);

#endif
