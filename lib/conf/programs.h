/*
 * programs.h - the programs that master.cf may name: which are ours, and what each listens on.
 *
 * One row a name. Postfix's helpers that this suite does not need are known, so that a
 * master.cf from Postfix works with a remark instead of an error.
 */
#ifndef DAKIYA_CONF_PROGRAMS_H
#define DAKIYA_CONF_PROGRAMS_H

#include "lib/base/slice.h"

enum program_kind {
	PROGRAM_OURS,
	PROGRAM_NOT_NEEDED, /* its work is done elsewhere: ignored, with a remark */
	PROGRAM_MISSING,    /* a thing that this version cannot do: ignored, with a warning */
};

/* In which order daemons are drained at a stop: the lower first. */
enum program_stage { STAGE_NET, STAGE_AGENT, STAGE_SERVER, STAGE_QUEUE, STAGE_COUNT };

#define PROGRAM_SOCKETS_MOST 3

struct program {
	const char        *name; /* as in master.cf */
	enum program_kind  kind;
	const char        *executable; /* in daemon_directory; it sees `name` as argv[0] */
	enum program_stage stage;
	bool               is_inet;         /* listens on the network; otherwise of type unix */
	bool               is_singleton;    /* the new one starts when the old one has ended */
	bool               takes_arguments; /* of its own, behind -o and -v */
	/* Unix sockets below queue_directory; "private/%s" stands for the service's name. */
	const char *sockets[PROGRAM_SOCKETS_MOST];
	const char *only_service; /* other services of this program are not needed; NULL = any */
	const char *remark;       /* why it is not needed, or what is missing */
};

/* NULL when no such program is known. */
const struct program       *program_find(struct slice name);
extern const struct program programs[];
extern const size_t         program_count;

#endif
