/*
 * masterfile.h - master.cf: the services, one struct each (FACTS: master.cf).
 *
 * The parser knows Postfix's whole syntax; what this suite does not use (chroot, wakeup, socket
 * types other than inet and unix) is taken in and remarked upon, never silently changed.
 */
#ifndef DAKIYA_CONF_MASTERFILE_H
#define DAKIYA_CONF_MASTERFILE_H

#include <stdint.h>

#include "lib/conf/programs.h"
#include "lib/conf/report.h"
#include "lib/conf/values.h"

enum service_type {
	SERVICE_INET,
	SERVICE_UNIX,
	SERVICE_UNIX_DATAGRAM,
	SERVICE_FIFO,
	SERVICE_PASS,
};

#define MASTER_COLUMNS 8

struct service {
	const char           *name; /* as written: "smtp", "127.0.0.1:2525", "[::1]:smtp" */
	const char           *columns[MASTER_COLUMNS]; /* as written, for showing */
	enum service_type     type;
	const char           *host; /* inet: without brackets; "" = every inet_interfaces address */
	uint16_t              port; /* inet */
	bool                  is_private;
	int64_t               process_limit; /* 0 = unlimited; -1 = default_process_limit */
	const struct program *program;       /* kind PROGRAM_OURS, or not run */
	bool                  is_verbose;    /* -v */
	const char           *arguments;     /* behind the program's name, as written */
	const char           *own_arguments; /* of them, what the program itself reads; "" = none */
	struct values         overrides;     /* -o name=value, unexpanded */
	const char           *file;
	unsigned              line;
	bool                  is_run;      /* one of our daemons: to be started */
	bool                  is_screened; /* an smtpd in the place of postscreen */
};

/* Most services, and most words of one. */
#define MASTER_SERVICES_MOST  500
#define MASTER_WORDS_MOST     500
#define MASTER_OVERRIDES_MOST (256u * 1024)

struct master_file {
	const char  *path;
	struct arena arena;
	ARRAY(struct service) services;
};

bool master_file_read(struct master_file *file, const char *path, struct report *report);
/* Parses text, for tests and fuzzing; path only for the report. */
void master_file_parse(struct master_file *file, const char *path, struct slice text,
                       struct report *report);
/*
 * A service that the file does not have, as a line of it: for what every system of ours needs and
 * another's master.cf cannot know. Its line is 0.
 */
void master_file_add(struct master_file *file, const char *text, struct report *report);
void master_file_free(struct master_file *file);

/*
 * Cuts the next word off *rest; { text } is one word, without its braces and the blanks inside
 * them. False when there is none. *is_unclosed: a } is missing.
 */
bool master_word_take(struct slice *rest, struct slice *word, bool *is_unclosed);
/* "inet", "unix" ... as in the file. */
const char *service_type_word(enum service_type type);
/* A port number or a name from services(5); false when it is neither. */
bool service_port_parse(struct slice text, uint16_t *port);

#endif
