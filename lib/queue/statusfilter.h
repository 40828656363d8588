/*
 * statusfilter.h - smtp_delivery_status_filter and its kin: the admin's word on what a delivery's
 * result means. A table turns "5.7.1 host said ..." into "4.7.1 ...", and the message waits.
 *
 * A success stays one and a failure stays one, whatever the table says. Many threads may ask.
 */
#ifndef DAKIYA_QUEUE_STATUSFILTER_H
#define DAKIYA_QUEUE_STATUSFILTER_H

#include "lib/base/arena.h"
#include "lib/queue/job.h"

struct status_filter;
/* specs: lists of tables; NULL and *error when one cannot be opened. parameter is borrowed. */
struct status_filter *status_filter_open(const char *parameter, const char *specs,
                                         struct error *error);
void                  status_filter_close(struct status_filter **filter);
/*
 * Changes status, reason and, between failed and deferred, action; what is new lives in arena. A
 * table that cannot answer makes a final failure wait. What cannot be done is logged and left out.
 * filter may be NULL.
 */
void status_filter_apply(struct status_filter *filter, const char *queue_id, struct arena *arena,
                         struct msg_outcome *outcome);

#endif
