/*
 * check.h - inside `dakiya check': what is read beyond main.cf and master.cf.
 *
 * lib/conf finds what the two files alone show; the parts here open tables, certificates and, when
 * asked to, the network. All of them add to one report.
 */
#ifndef DAKIYA_TOOL_CHECK_H
#define DAKIYA_TOOL_CHECK_H

#include "lib/conf/check.h"
#include "lib/conf/check_relay.h"
#include "lib/route/route.h"
#include "lib/table/table.h"
#include "tools/dakiya/dakiya.h"

/* ---- check_reader.c: the content of tables ---- */

/* One entry of a table's text, or of its database when there is no text. */
struct check_entry {
	struct slice key, value;
	const char  *file;    /* of the text; the database's path otherwise */
	unsigned     line;    /* 0 in a database */
	bool         is_rule; /* of cidr, regexp, pcre: tried in order */
};

enum check_read {
	CHECK_READ,      /* all entries were visited */
	CHECK_NOT_READ,  /* a file that is missing or not to be read; a type without a file */
	CHECK_TOO_LARGE, /* more than CHECK_ENTRIES_MOST */
};
#define CHECK_ENTRIES_MOST 200000

/*
 * Visits the entries of "type:name", also of inline:; wants_text prefers the text that a database
 * was made of. is_alias: the text is in the form of aliases(5).
 */
struct check_wish {
	struct slice spec;
	bool         wants_text;
	bool         is_alias;
};
enum check_read check_read_table(const struct check_wish *wish,
                                 void (*visit)(void *context, const struct check_entry *entry),
                                 void *context);

/* The type of "type:name" behind any proxy:, and its name. */
struct slice check_table_type(struct slice spec, struct slice *name);

/* A service's values as its daemon would see them; NULL when they cannot be had. */
struct snapshot *check_snapshot(const struct configuration *configuration,
                                const struct service       *service);

/* ---- what is checked ---- */

/* C5, C6, C9, C12, C16: what stands in tables (check_content.c). */
void check_content(const struct configuration *configuration, struct report *report);
/* C1: domains of two classes, also in tables (check_domains.c). */
void check_domains(const struct configuration *configuration, struct report *report);

/* Queue files in lost+found (check_lost.c). */
void check_lost(const struct configuration *configuration, struct report *report);

/* C3: the open-relay test of one smtpd service, with the tables read (check_strangers.c). */
enum relay_verdict check_strangers(const struct configuration *configuration,
                                   const struct service *service, struct buf *how);
/* Reports what strangers may do in each service. */
void check_all_strangers(const struct configuration *configuration, struct report *report);

/* ---- what the network says (online.c) ---- */

/* Appends lines for a person to *out, or with wants_json a JSON array; false = something is wrong.
 */
bool check_online(const struct tool *tool, const struct configuration *configuration,
                  struct buf *out);

#endif
