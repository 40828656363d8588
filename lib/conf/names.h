/*
 * names.h - what may be the name of something in main.cf beside the parameter table.
 */
#ifndef DAKIYA_CONF_NAMES_H
#define DAKIYA_CONF_NAMES_H

#include "lib/conf/masterfile.h"
#include "lib/conf/suggest.h"

/* A parameter of Postfix's, used here or not. */
bool name_is_postfix(struct slice name);
/* Why it is not used here, for a warning; "" when it is, NULL when Postfix has no such name. */
const char *name_postfix_why(struct slice name);
void        name_each_postfix(void (*visit)(void *context, const char *name, const char *why),
                              void *context);
/* Offers all of them. */
void name_suggest_postfix(struct suggestion *suggestion);

/* The per-transport form TRANSPORT_destination_concurrency_limit and the like, taken apart. */
struct per_transport {
	struct slice transport;
	const char  *suffix;
	const char  *why_unused; /* NULL when it is used */
};
/* False when the name ends in none of the suffixes. */
bool name_is_per_transport(struct slice name, struct per_transport *found);
/* mua_client_restrictions and its kin: not in Postfix, but in the services that its master.cf
 * shows. */
bool name_is_suggested(struct slice name);
/* Names that have a value only inside a service: service_name, process_name. */
bool name_is_service_word(struct slice name);

/* Calls visit for each $name, ${name ...} and $(name) in text, nested ones included. */
struct name_reference {
	struct slice name;
	bool         is_tested; /* ${name?..} or ${name:..}: it may be undefined */
};
void name_each_reference(struct slice text,
                         void (*visit)(void *context, const struct name_reference *reference),
                         void *context);

#endif
