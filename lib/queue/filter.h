/*
 * filter.h - which messages of the queue are meant: the conditions of dakqueue(1).
 *
 * A pattern without * and ? is looked for anywhere in the text; with them it stands for the whole
 * text. ASCII letters match in either case. Addresses match as they are and, when the pattern has
 * a quote, as listings show them. "<>" and "MAILER-DAEMON" as a sender are the null sender. A
 * domain without wildcards is the whole domain. No I/O, no state.
 */
#ifndef DAKIYA_QUEUE_FILTER_H
#define DAKIYA_QUEUE_FILTER_H

#include "lib/queue/control.h"
#include "lib/ipc/messages.h"

bool pattern_matches(struct slice pattern, struct slice text);

/* Whether the entry, with its recipients, is meant. */
bool queue_filter_matches(const struct msg_queue_filter *filter,
                          const struct msg_queue_entry  *entry);
/* Whether more than the name of a file and where it lies must be known to tell. */
bool queue_filter_needs_entry(const struct msg_queue_filter *filter);
bool queue_filter_has_state(const struct msg_queue_filter *filter, enum queue_state state);
/* What is behind the last @; empty when there is none. */
struct slice address_domain(struct slice address);

#endif
