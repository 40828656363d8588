/*
 * store.h - what store.c, rest.c and fetch.c share: records that qmgr writes of its own accord, and
 * waiting for better times.
 */
#ifndef DAKIYA_QMGR_STORE_H
#define DAKIYA_QMGR_STORE_H

#include "qmgr/qmgr.h"
#include "qmgr/retry.h"

#define STORE_RETRY_US (30 * INT64_C(1000000)) /* when a file cannot be written or read */
#define STORE_LEAST_US INT64_C(1000000)

/* A record that holds its own payload. */
struct owned_write {
	struct journal_write write;
	struct message      *message; /* waits for it, or NULL */
	struct barrier      *barrier; /* likewise */
	struct buf           payload;
	char                 id[QUEUE_ID_MOST];       /* RESULT: of the message */
	char                 spool_id[QUEUE_ID_MOST]; /* to be removed afterwards; "" = none */
};
/* A DONE or GONE record for the id; NULL when memory is out. */
struct owned_write *done_write_new(const char *id, enum record_type type);
/* write.task.done frees it when it is not set. */
void owned_write_give(struct qmgr *qmgr, struct owned_write *owned);

/* When it is looked at again; without memory for that, soon. */
void message_wake_at(struct qmgr *qmgr, struct message *message, int64_t when_us);

struct active_count active_count_now(const struct qmgr *qmgr);

#endif
