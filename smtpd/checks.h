/*
 * checks.h - inside the restriction engine: what a check is given and may say.
 *
 * A check returns DUNNO to go on, PERMIT to end the list, REFUSE (through refuse()) to end it all.
 * A lookup that failed for now is put down with tempfail(): the request is deferred unless
 * something later refuses it for good (reject_tempfail_action).
 */
#ifndef DAKIYA_SMTPD_CHECKS_H
#define DAKIYA_SMTPD_CHECKS_H

#include "smtpd/session.h"

enum verdict { VERDICT_DUNNO, VERDICT_PERMIT, VERDICT_REFUSE };

struct policy_service;
struct entry;
struct entry_list;
struct check;
typedef enum verdict check_function(struct check *check, const struct entry *entry);

/* One restriction as it stands in a list. */
struct entry {
	check_function        *function;
	const char            *name;
	const char            *text;  /* argument as written */
	const char            *order; /* search_order of check_ccert_access; NULL: the usual one */
	int64_t                number;
	struct table          *table;
	struct policy_service *policy;
	const struct entry_list *list;       /* of a restriction class */
	bool                     is_warning; /* warn_if_reject stood before it */
};

struct held_reply {
	bool              is_set;
	struct smtp_reply reply;
};

/* One evaluation. */
struct check {
	struct session                    *session;
	const struct parameters           *parameters;
	const struct restriction_question *question;
	struct restrictions               *restrictions;
	/* of the list at hand, for texts: "<subject>: class rejected: ..." */
	struct slice subject;
	const char *class;
	enum restriction_stage list_stage;
	bool                   is_warning;
	bool                   is_recipient_checked; /* reject_unlisted_recipient has been asked */
	bool                   is_sender_checked;
	unsigned               depth;
	struct smtp_reply      reply; /* set by refuse() */
	struct held_reply      defer_if_permit, defer_if_reject;
};

/* Sets the reply ("%d status text"); under warn_if_reject it is logged and DUNNO comes back. */
enum verdict refuse(struct check *check, int64_t code, const char *status, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
enum verdict refuse_with(struct check *check, const struct smtp_reply *reply);
/* A lookup failed for now: action is "defer" or "defer_if_permit". */
enum verdict tempfail(struct check *check, const char *action, const char *status,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Remembers a deferral for the end of the stage. */
void hold_reply(struct check *check, struct held_reply *held, int code, const char *status,
                const char *format, ...) __attribute__((format(printf, 5, 6)));
/* What the log calls this place: the command, CONNECT or END-OF-MESSAGE. */
const char *check_place_word(const struct check *check);
/* A line about something that was not refused: "hold", "warn", "reject_warning" ... */
void         check_log(struct check *check, const char *action, const char *text);
enum verdict evaluate_list(struct check *check, const struct entry_list *list);
/* Restriction names as the result of an access table. */
enum verdict evaluate_names(struct check *check, struct slice names);
/* The text of an arena format as a slice; "(no memory)" when there is no room. */
struct slice check_text(struct check *check, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Without the local part; empty when there is none. */
struct slice domain_of(struct slice address);

/* "192.0.2.1" of an A or AAAA record. */
bool address_from_record(const struct dns_record *record, char *text, size_t size);
/* What is known of a mail domain. */
enum domain_state { DOMAIN_GOOD, DOMAIN_NOT_FOUND, DOMAIN_NULL_MX, DOMAIN_TRY_LATER };
/* MX, else an address (RFC 5321 5.1); RFC 7505 for the null MX. */
enum domain_state look_up_domain(struct session *session, struct slice domain);

/* policy.c: NULL and *error for a service that cannot be. */
struct policy_service *policy_open(const struct parameters *parameters, struct slice text,
                                   struct error *error);
/* access.c */
enum verdict access_result(struct check *check, const char *table, struct slice value,
                           struct slice subject, const char *class);
/* addresses.c, for the parameters smtpd_reject_unlisted_* */
check_function check_reject_unlisted_recipient, check_reject_unlisted_sender;
/* One of the two addresses, with its words. */
struct party {
	struct slice address, as_given;
	const char *class;
	const char *not_found_status, *null_mx_status, *unlisted_status;
	int64_t     null_mx_code;
};
/* False: the question has no such address, or it is the null sender. */
bool sender_party(const struct check *check, struct party *party);
bool recipient_party(const struct check *check, struct party *party);
/* "<address>: class rejected: why" */
enum verdict refuse_party(struct check *check, const struct party *party, int64_t code,
                          const char *status, const char *why);
/* A table or DNS has no answer now: logged, and the client comes again. */
enum verdict lookup_failed(struct check *check, struct slice address, const struct error *error);
/* Found: ours to take. A local part with routing in it ("user%other", "a!b") is not relayed on. */
enum lookup recipient_is_ours(struct check *check, struct error *error);
bool        address_has_routing(struct slice address);

#define RESTRICTION(name, needs, argument) check_function check_##name;
#define RESTRICTION_ALIAS(old, name)
#define RESTRICTION_GONE(name, instead)
#include "lib/conf/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_ALIAS
#undef RESTRICTION_GONE

#endif
