/*
 * rules.h - header_checks, body_checks and their kin: the tables, what is looked up in them, and
 * the actions that change text.
 *
 * FACTS 2.5. The same for mail that comes in (checks.c) and mail that leaves (smtp/checks.c); who
 * asks adds actions of its own and says how a match is logged. The tables are opened before the
 * doors close; many threads may ask at a time.
 */
#ifndef DAKIYA_INTAKE_RULES_H
#define DAKIYA_INTAKE_RULES_H

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/mail/header.h"

enum check_class {
	CHECK_HEADER,
	CHECK_MIME,
	CHECK_NESTED,
	CHECK_BODY,
	CHECK_MILTER, /* fields that milters add */
	CHECK_COUNT,
};
enum check_fate {
	CHECK_KEPT,
	CHECK_REPLACED, /* *out stands for it, which may be nothing */
	CHECK_FAILED,   /* rule_user.fail has been called */
};

/* ---- tables ---- */

struct rules;
struct rules_source {
	const char *parameter; /* NULL: the class has no tables here */
	const char *specs;
};
/* NULL and *error when a table cannot be opened. */
struct rules *rules_open(const struct rules_source sources[CHECK_COUNT], struct error *error);
void          rules_close(struct rules **rules);
/* Whether a class has tables, or any (CHECK_COUNT). rules may be NULL. */
bool rules_have(const struct rules *rules, enum check_class class);

/* ---- matches ---- */

struct rule_match {
	const struct rule_user *user;
	void                   *context; /* the user's */
	enum check_class class;
	const char  *parameter; /* that named the table */
	struct slice text;      /* the field or line */
	struct slice argument;  /* of the action */
	struct buf  *out;
};
struct rule_action {
	struct slice word;
	enum check_fate (*act)(struct rule_match *match);
};
enum rule_failure {
	RULE_MISTAKEN, /* an action that cannot be carried out: mail must not pass by it */
	RULE_LOOKUP,   /* the table cannot answer now */
	RULE_NO_MEMORY,
};
struct rule_user {
	const struct rule_action
		*actions; /* beside DUNNO IGNORE INFO OK PREPEND REPLACE STRIP WARN */
	size_t   count;
	void (*log)(const struct rule_match *match, const char *action, struct slice text);
	/* *error begins with the parameter. */
	void (*fail)(const struct rule_match *match, enum rule_failure failure,
	             const struct error *error);
};

/* Calls fail; always CHECK_FAILED. For actions. */
enum check_fate rules_fail(const struct rule_match *match, enum rule_failure failure,
                           const char *why);
/* "header", "body" or "milter-header", for the log. */
const char *rules_class_word(enum check_class class);

struct rule_question {
	const struct rules     *rules;
	const struct rule_user *user;
	void                   *context;
};
/* Looks one field or line up and does what its table says. *out is empty before. */
enum check_fate rules_text(const struct rule_question *question, enum check_class class,
                           struct slice text, struct buf *out);
/*
 * A whole field with its line ends; place: CHECK_HEADER, CHECK_MIME or CHECK_NESTED, of which a
 * MIME field is CHECK_MIME everywhere.
 */
enum check_fate rules_field(const struct rule_question *question, enum check_class place,
                            const struct header_field *field, struct buf *out);

#endif
