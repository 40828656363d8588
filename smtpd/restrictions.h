/*
 * restrictions.h - access restrictions: lists of main.cf compiled once, evaluated per stage.
 *
 * One row a restriction (lib/conf/restrictions.def names them, checks*.c carry them
 * out). Three answers everywhere: what a lookup could not tell becomes 4xx, never yes or no.
 */
#ifndef DAKIYA_SMTPD_RESTRICTIONS_H
#define DAKIYA_SMTPD_RESTRICTIONS_H

#include "lib/base/error.h"
#include "lib/conf/snapshot.h"
#include "lib/smtp/reply.h"

struct room;
struct session;
struct restrictions;
struct recipient;

/* Opens every table that the lists name. NULL and *error for a name or table that cannot work. */
struct restrictions *restrictions_create(const struct snapshot *snapshot, struct error *error);
void                 restrictions_destroy(struct restrictions **restrictions);
/* Whether a policy server is asked by TCP. */
bool restrictions_need_network(const struct restrictions *restrictions);

enum restriction_stage {
	STAGE_CLIENT,
	STAGE_HELO,
	STAGE_SENDER,
	STAGE_RECIPIENT, /* relay restrictions included */
	STAGE_DATA,
	STAGE_END_OF_DATA,
	STAGE_ETRN,
	STAGE_VRFY,
};

/*
 * Evaluates what stands at this stage. True: go on. False: *reply refuses, is logged already and
 * its text lives in the transaction's arena. recipient is NULL except at STAGE_RECIPIENT and
 * STAGE_VRFY. helo and sender are given since they are checked before they are kept.
 */
struct restriction_question {
	enum restriction_stage  stage;
	struct slice            helo; /* empty: not known */
	bool                    has_sender;
	struct slice            sender; /* with a domain, if has_sender */
	struct slice            sender_as_given;
	const struct recipient *recipient; /* NULL: not known */
	struct slice            recipient_as_given;
	struct slice            etrn; /* the domain at STAGE_ETRN */
};
bool restrictions_evaluate(struct session *session, const struct restriction_question *question,
                           struct smtp_reply *reply);

#endif
