/*
 * submission.h - one user's message, frame by frame, until it is committed.
 *
 * The frames come from a socket or a file that any user may write: each is checked, their order,
 * too. What a user may not send is a result with its reason, for him; it changes nothing else.
 */
#ifndef DAKIYA_PICKUP_SUBMISSION_H
#define DAKIYA_PICKUP_SUBMISSION_H

#include "lib/intake/intake.h"
#include "lib/ipc/frame.h"
#include "lib/queue/submit.h"
#include "lib/smtp/data.h"

enum submission_state {
	SUBMISSION_IDLE, /* for submit_begin */
	SUBMISSION_ENVELOPE,
	SUBMISSION_CONTENT,
};

struct submission {
	const struct intake_context *context;
	uint32_t                     uid;
	enum submission_state        state;
	struct arena                 arena;
	struct intake               *intake;
	struct data_encoder          encoder; /* any line ends to CRLF */
	uint64_t                     content_bytes;
	size_t                       recipient_count;
	enum submit_status           failure; /* SUBMIT_OK = none; the first one counts */
	const char                  *reason;  /* of the failure, in the arena or a constant */
	const char                  *refusal; /* submission_return; NULL = an ordinary message */
	char                         id[QUEUE_ID_MOST]; /* "" until submit_begin was good */
};

/* uid is who sends it. The context is borrowed. */
void submission_init(struct submission *submission, const struct intake_context *context,
                     uint32_t uid);
/* Forgets what is not committed; it may begin anew. */
void submission_reset(struct submission *submission);
/* It will not be taken; what still comes of it is read and ignored. */
void submission_fail(struct submission *submission, enum submit_status status, const char *reason);

/*
 * Before submit_begin: what comes was refused before, for that reason (borrowed), when nobody was
 * there any more to be told. In its place a few lines are committed that fail for all its
 * recipients, so that its sender gets a notice.
 */
void submission_return(struct submission *submission, const char *refusal);

enum submission_step {
	SUBMISSION_GOES_ON,
	SUBMISSION_ENDED,     /* submit_end: call submission_commit */
	SUBMISSION_MALFORMED, /* whoever sent this does not keep to the protocol */
};
enum submission_step submission_take(struct submission *submission, struct ipc_frame *frame);

struct submission_result {
	enum submit_status status;
	const char        *reason; /* valid until submission_reset */
};
/* Waits for the shared sync. A message that was taken has been logged. */
struct submission_result submission_commit(struct submission *submission);

#endif
