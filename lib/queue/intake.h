/*
 * intake.h - handing a message to qmgr, for smtpd, pickup and bounce.
 *
 * A queue id is made here without asking (wall clock in microseconds, 'z', the channel's instance
 * number: base-52 long form, FACTS 2.8, never recurs). INTAKE_OK means that the message would
 * survive a power cut. Safe from several threads: a pool of channels is shared.
 */
#ifndef DAKIYA_QUEUE_INTAKE_H
#define DAKIYA_QUEUE_INTAKE_H

#include "lib/base/error.h"
#include "lib/queue/envelope.h"
#include "lib/queue/id.h"

struct intake_client;
struct intake_client *intake_client_create(const char *path, const char *service);
void                  intake_client_destroy(struct intake_client **client);

/* A new id; false when qmgr cannot be reached and no instance number is known yet. */
bool intake_make_id(struct intake_client *client, char id[QUEUE_ID_MOST], struct error *error);
/* A file for a large body, for intake_submit.spool_fd; the caller closes it. */
enum intake_status intake_open_spool(struct intake_client *client, const char *id, uint64_t size,
                                     int *fd, struct error *error);
/*
 * Whether a message may keep HELD_CONTENT_MOST bytes in memory: true for as many at a time as fit
 * a few megabytes for all of the client's threads. intake_release_content gives the place back.
 */
bool intake_hold_content(struct intake_client *client);
void intake_release_content(struct intake_client *client);
void intake_abandon_spool(struct intake_client *client, const char *id);
/*
 * Whether this service's message of that id was taken in before, also when it is delivered by now:
 * INTAKE_OK, INTAKE_REFUSED (it was not), INTAKE_TRY_LATER (not known yet, or qmgr is away).
 */
enum intake_status intake_ask_known(struct intake_client *client, const char *id,
                                    struct error *error);

/*
 * What a notice settles: recipients of a job that this process holds have been told of when it is
 * committed, in one with it. Refused with INTAKE_TRY_LATER when the job is not ours any more.
 */
struct intake_settles {
	uint64_t     job;
	struct slice about;      /* queue id of the job's message */
	struct slice recipients; /* a list of msg_settled_recipient */
};
struct intake_submission {
	const char                  *id;
	const struct msg_envelope   *envelope;
	struct slice                 recipients; /* a list of msg_recipient */
	bool                         is_spooled; /* content was written to the spool file */
	struct slice                 content;    /* otherwise */
	const struct intake_settles *settles;    /* NULL: nothing */
};
/* Waits for the shared sync. */
enum intake_status intake_commit(struct intake_client           *client,
                                 const struct intake_submission *submission, int64_t timeout_ms,
                                 struct error *error);

#endif
