/*
 * report.h - what is wrong with a configuration: all of it, each with its place.
 *
 * Readers and checks add problems and go on; whoever asked shows them all. Bounded: behind
 * REPORT_MOST problems only the count grows.
 */
#ifndef DAKIYA_CONF_REPORT_H
#define DAKIYA_CONF_REPORT_H

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/buf.h"

#define REPORT_MOST 500

enum problem_severity { PROBLEM_ERROR, PROBLEM_WARNING, PROBLEM_INFO };

struct problem {
	enum problem_severity severity;
	const char           *file; /* "" when it belongs to none */
	unsigned              line; /* 0 when it belongs to none */
	const char           *text;
};

struct report {
	struct arena arena;
	ARRAY(struct problem) list;
	size_t error_count; /* errors, also those behind REPORT_MOST */
	size_t left_out;
};

#define REPORT_NONE ((struct report){ .arena = ARENA(2u * 1024 * 1024) })

void report_add(struct report *report, enum problem_severity severity, const char *file,
                unsigned line, const char *format, ...) __attribute__((format(printf, 5, 6)));
void report_free(struct report *report);
/* "warning", "error", "info". */
const char *problem_word(enum problem_severity severity);
/* Appends "FILE:LINE: error: TEXT\n" and so on; info only when wanted. */
bool report_append(const struct report *report, bool with_info, struct buf *out);

#endif
