/*
 * verp.h - variable envelope return paths: each recipient gets a sender of its own,
 * list+user=example.org@lists.example.net, so that a bounce tells whose address does not work.
 *
 * The wish stands in the envelope's flags, with its two delimiters; qmgr makes the address when it
 * gives out a job, which has one recipient then. No I/O, no state.
 */
#ifndef DAKIYA_QUEUE_VERP_H
#define DAKIYA_QUEUE_VERP_H

#include "lib/queue/envelope.h"

/* Two characters, both in verp_delimiter_filter. */
bool verp_delimiters_are_good(struct slice delimiters, const char *filter);
/* ENVELOPE_VERP with good delimiters; empty: for verp_complete to say. */
uint32_t verp_flags(struct slice delimiters);
/* The same flags; where they ask for VERP without delimiters, with those. */
uint32_t verp_complete(uint32_t flags, struct slice delimiters);
/*
 * The sender for one recipient. False: there is none, since it is not asked for, or the sender or
 * the recipient has no domain. out may have failed.
 */
bool verp_sender(uint32_t flags, struct slice sender, struct slice recipient, struct buf *out);

#endif
