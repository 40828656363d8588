/*
 * intake.h (lib/intake) - from envelope and content to a committed message: the content steps.
 *
 * The ordered table of steps: limits, header and body checks, Received count, addresses rewritten,
 * missing header fields, copies, virtual aliases, trace field. Used by smtpd, pickup and bounce
 * alike. Content arrives in pieces with CRLF; what is larger than INLINE_CONTENT_MOST moves to a
 * spool file by itself.
 */
#ifndef DAKIYA_INTAKE_INTAKE_H
#define DAKIYA_INTAKE_INTAKE_H

#include "lib/base/arena.h"
#include "lib/conf/snapshot.h"
#include "lib/intake/checks.h"
#include "lib/milter/milter.h"
#include "lib/queue/intake.h"
#include "lib/route/route.h"
#include "lib/smtp/reply.h"

struct intake; /* one message on its way in */

struct intake_context {
	const struct snapshot   *snapshot;
	const struct parameters *parameters;
	struct intake_client    *queue;
	struct router           *router;
	struct rules            *checks; /* NULL: content is not looked at */
	/* That see mail for which nobody has called intake_set_milters; NULL: none. */
	const struct milter_list *milters;
};

/*
 * Begins; the id is made here. NULL and *error when qmgr cannot be reached. context and what
 * envelope's slices point to are borrowed until intake_end; envelope itself is copied. Its flags
 * say what the client asked for (SMTPUTF8); size is what it declared, 0 when it did not.
 */
struct intake *intake_begin(const struct intake_context *context,
                            const struct msg_envelope *envelope, struct error *error);
const char    *intake_id(const struct intake *intake);
/* Original and addresses as in msg_recipient; aliases are expanded at finish. Copied. False: no
 * memory, or intake_is_full. */
bool intake_add_recipient(struct intake *intake, const struct msg_recipient *recipient);
/* Whether it has as many recipients as one message can have (200,000 of usual length). */
bool intake_is_full(const struct intake *intake);
/*
 * Received and other fields of ours with their CRLF, in front of the content; before the first
 * intake_write. Not calling it means none. False: no room.
 */
bool intake_set_trace(struct intake *intake, struct slice fields);
/* The sender's name for a From field that is missing; copied. False: no room. */
bool intake_set_full_name(struct intake *intake, struct slice name);
/*
 * What access restrictions decided after intake_begin, up to intake_finish: flags to add
 * (ENVELOPE_HOLD), and a filter (borrowed; empty = as it was).
 */
void intake_amend(struct intake *intake, uint32_t flags, struct slice filter);
/* Filters of others, which see the content at its end and may change it; borrowed. */
void intake_set_milters(struct intake *intake, struct milter_session *milters);
/* The parameters milter_*, for milter_list_create; borrows them. */
struct milter_settings intake_milter_settings(const struct parameters *parameters);
/* The macros that are the same for every message: j, v, {daemon_name}. data NULL: another one. */
struct slice intake_milter_macro(const struct parameters *parameters, struct slice name);
/*
 * Content as it comes, cut anywhere. False when a limit or a write failed; the reason comes with
 * intake_finish, more content may be given and is ignored.
 */
bool intake_write(struct intake *intake, struct slice content);
/* Only bounce: what the message settles; borrowed until intake_end. */
void intake_set_settles(struct intake *intake, const struct intake_settles *settles);
/*
 * Runs the steps, commits (waits for the shared sync) and says what to answer: 250 "Ok: queued as
 * ID" or 4xx/5xx. What is not 250 has been logged here ("ID: reject: END-OF-MESSAGE from ...").
 */
struct smtp_reply intake_finish(struct intake *intake, struct arena *arena);
/* Ends it, committed or not; an uncommitted message is forgotten. */
void intake_end(struct intake **intake);

#endif
