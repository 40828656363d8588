/*
 * checks.h - header_checks and body_checks: tables that look at content while it comes in.
 *
 * FACTS 2.5. One logical header field at a time, folded as it stands ('\n' between its lines), and
 * one body line at a time; nothing is decoded.
 */
#ifndef DAKIYA_INTAKE_CHECKS_H
#define DAKIYA_INTAKE_CHECKS_H

#include "lib/conf/snapshot.h"
#include "lib/intake/rules.h"

/* For struct daemon.readable. */
#define CHECKS_READABLE                                                                            \
	"$header_checks", "$mime_header_checks", "$nested_header_checks", "$body_checks",          \
		"$milter_header_checks"

/*
 * The tables that the parameters name; none with no_header_body_checks in
 * receive_override_options. NULL and *error when one cannot be opened.
 */
struct rules *checks_create(const struct snapshot *snapshot, struct error *error);

#endif
