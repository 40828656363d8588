/*
 * restrictions.h - the names in smtpd_*_restrictions and what each takes, from restrictions.def.
 */
#ifndef DAKIYA_CONF_RESTRICTIONS_H
#define DAKIYA_CONF_RESTRICTIONS_H

#include "lib/conf/settings.h"
#include "lib/conf/suggest.h"

enum restriction_argument {
	RESTRICTION_TAKES_NONE,
	RESTRICTION_TAKES_TABLE,       /* type:name */
	RESTRICTION_TAKES_ZONE,        /* domain, domain=filter */
	RESTRICTION_TAKES_NUMBER,      /* seconds */
	RESTRICTION_TAKES_SERVICE,     /* unix:path, inet:host:port, { ... } */
	RESTRICTION_TAKES_RESTRICTION, /* a prefix before another */
};

struct restriction_name {
	const char               *name;
	enum restriction_argument argument;
	const char               *instead; /* the new spelling of an old one, or NULL */
	const char               *gone;    /* what to write in place of it, or NULL */
};

/* NULL when there is no such restriction. */
const struct restriction_name *restriction_find(struct slice name);
/* Offers all names that smtpd carries out. */
void restriction_suggest(struct suggestion *suggestion);

/* The next word of a list, separated by blanks or commas; { text } is one word, with its braces. */
bool restriction_next_word(struct slice *rest, struct slice *word);
/* Whether smtpd_restriction_classes names it. */
bool restriction_is_class(const struct settings *settings, struct slice word);

#endif
