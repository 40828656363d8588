/*
 * check.h - everything that is wrong with a configuration, found before it takes effect.
 *
 * Called by configuration_load; the parts are separate so that tests can reach them. Every check
 * goes on behind an error: an admin sees all of them at once.
 */
#ifndef DAKIYA_CONF_CHECK_H
#define DAKIYA_CONF_CHECK_H

#include "lib/conf/configuration.h"

/* All of what follows; fills configuration->parameters. */
void configuration_check(struct configuration *configuration, struct report *report);

/* Names that are unknown, used and not defined, or defined and not used. */
void check_names(const struct configuration *configuration, struct report *report);
/* Types and bounds, of main.cf and of each service's overrides. */
void check_types(struct configuration *configuration, struct report *report);
/* Restriction lists: names, arguments, classes; that strangers cannot relay. */
void check_restrictions(const struct configuration *configuration, struct report *report);
/* Tables that main.cf names: known types, files that are there and not out of date. */
void check_tables(const struct configuration *configuration, struct report *report);
/* Services and values that do not go together (FACTS: what check must catch). */
void check_rules(const struct configuration *configuration, struct report *report);

/* Parameters of Postfix's that must not be ignored in silence; transports that nobody serves. */
void check_missing(const struct configuration *configuration, struct report *report);
/* Lists of words that stand for something, such as canonical_classes. */
void check_words(const struct configuration *configuration, struct report *report);
/* Services that deliver to commands. Those whose user does not exist are not run. */
void check_pipe(struct configuration *configuration, struct report *report);
/* Whether check_missing has the word about a name. */
bool check_is_missing(struct slice name);

/* Services that need others, files of keys, mailboxes. */
void check_services(const struct configuration *configuration, struct report *report);
/* Who is trusted, where mail is sent, whom the resolver asks. */
void check_networks(const struct configuration *configuration, struct report *report);
/* Restriction lists that lose good mail or have a back door. */
void check_lists(const struct configuration *configuration, struct report *report);
/* The host itself: clock, disk. */
void check_host(const struct configuration *configuration, struct report *report);

/* bounce_template_file and notify_classes. */
void check_notices(const struct configuration *configuration, struct report *report);

/* ---- helpers of the parts ---- */

/* One service's view: main.cf with its overrides. */
struct service_view {
	struct values   values;
	struct settings settings;
};
bool service_view_init(struct service_view *view, const struct configuration *configuration,
                       const struct service *service);
void service_view_free(struct service_view *view);

/* The expanded text of a name, in the buf (cleared first); false when it does not expand. */
bool check_expanded(const struct settings *settings, const char *name, struct buf *out);
/* Where a name is set, for the report; "" and 0 when it has its default. */
void check_place(const struct settings *settings, const char *name, const char **file,
                 unsigned *line);
/* Whether some service asks DNS lists of clients or senders. */
bool check_uses_dns_lists(const struct configuration *configuration);
/* Appends the resolver that everybody may use, when resolver_forwarders names one. */
bool check_public_resolver(const struct settings *settings, struct buf *out);

#endif
