/*
 * notice_template.h - the words of notices: bounce_template_file, and those that stand without it.
 *
 * bounce(5). A file holds any of four templates between "NAME = <<WORD" and WORD: a few header
 * fields and a text in which $name and ${name} mean parameters. Used by bounce, by check and by
 * dakconf -b and -t. Pure: files are read by the caller.
 */
#ifndef DAKIYA_CONF_NOTICE_TEMPLATE_H
#define DAKIYA_CONF_NOTICE_TEMPLATE_H

#include "lib/base/arena.h"
#include "lib/conf/expand.h"

#define NOTICE_FILE_MOST (1u << 20)
#define NOTICE_TEXT_MOST (256u * 1024) /* of one template, before and after expansion */
#define NOTICE_LINE_MOST 900           /* bytes of a line: RFC 5322 2.1.1 allows 998 */

enum notice_template_kind {
	NOTICE_TEMPLATE_FAILURE,
	NOTICE_TEMPLATE_DELAY,
	NOTICE_TEMPLATE_SUCCESS,
	NOTICE_TEMPLATE_VERIFY, /* the report of sendmail -bv and -v */
	NOTICE_TEMPLATE_COUNT,
};

struct notice_template {
	struct slice charset;
	struct slice from; /* an address without a domain gets myorigin's */
	struct slice subject;
	struct slice postmaster_subject; /* of the postmaster's copy; empty: none is made */
	struct slice text;               /* lines, each with its '\n' */
};

struct notice_templates {
	struct notice_template items[NOTICE_TEMPLATE_COUNT];
};

/* "failure_template" and so on. */
const char *notice_template_name(enum notice_template_kind kind);
/* Those that stand without a file. */
void notice_templates_default(struct notice_templates *templates);
/*
 * Puts what the file says in place of what is there; the slices borrow the file. False and *error
 * ("line 3: ..."), with *templates untouched, when anything in it is malformed.
 */
bool notice_templates_parse(struct slice file, struct notice_templates *templates,
                            struct error *error);
/*
 * Appends the text with its names filled in, beside the parameters delay_warning_time_hours and
 * the like: bounce_queue_lifetime, delay_warning_time and maximal_queue_lifetime in _seconds,
 * _minutes, _hours, _days and _weeks, rounded down. False and *error when it is malformed.
 */
bool notice_template_expand(const struct notice_template *template,
                            const struct expand_source *source, struct buf *out,
                            struct error *error);

/* Whether notice_classes has the word, in any case. */
bool notice_class_is_set(const char *notify_classes, const char *word);

#endif
