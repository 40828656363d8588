/*
 * table.h - lookup tables: "hash:/etc/dakiya/users" and its kin, one row a type.
 *
 * A lookup has three answers. A table that cannot be read answers "try later", never "not found".
 * Tables may be used by several threads at once and notice when their file is replaced.
 */
#ifndef DAKIYA_TABLE_TABLE_H
#define DAKIYA_TABLE_TABLE_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

enum lookup {
	LOOKUP_FOUND,
	LOOKUP_NOT_FOUND,
	LOOKUP_TRY_LATER, /* *error says why */
};

struct table;

/*
 * Opens "type:name"; files are named by absolute paths. NULL and *error for an unknown type or bad
 * syntax (with file and line). A missing file is no error here when may_be_missing: each lookup
 * then answers LOOKUP_TRY_LATER until it is there.
 */
struct table *table_open(const char *spec, bool may_be_missing, struct error *error);
void          table_close(struct table **table);
/*
 * The value is put into *value (cleared first). Keys are folded to lower case where the type does.
 * A changed file is noticed within a tenth of a second; one with bad syntax is warned about and
 * the content of before goes on.
 */
enum lookup table_lookup(struct table *table, struct slice key, struct buf *value,
                         struct error *error);
/*
 * Looks at the file now, not within a tenth of a second. The number of the content in use, another
 * one after each change; 0 when it cannot be read.
 */
uint64_t table_refresh(struct table *table);
/* Whether the type matches patterns: then only whole keys are tried, never parts of addresses. */
bool table_has_patterns(const struct table *table);
/* Keys are looked for as they are given, not in lower case: dakmap -f. */
void        table_keep_case(struct table *table);
const char *table_spec(const struct table *table); /* "hash:/etc/dakiya/users" */

/*
 * Calls visit for each entry, in no particular order, until it returns false. False and *error when
 * the type has no entries to list, or reading failed.
 */
typedef bool table_visit(struct slice key, struct slice value, void *context);
bool table_each(struct table *table, table_visit *visit, void *context, struct error *error);

/* Whether text looks like "type:name" with a type that there is (proxy:type:name, too). */
bool table_spec_is_known(struct slice text);
/* The types, NULL-terminated, for `dakmap -m`, `dakconf -m` and error messages. */
const char *const *table_type_names(void);

/*
 * Cuts the next item off a list separated by blanks or commas; "{ }" protects both. The braces
 * stay. False at the end.
 */
bool table_next_item(struct slice *rest, struct slice *item);

/*
 * Calls visit for the directory of each file that text names as type:/path or /path, wherever it
 * stands (lists, restrictions, nested braces); once for each mention. Also for the files that a cf
 * file names. For the sandbox.
 */
void table_each_directory(const char *text, void (*visit)(const char *directory, void *context),
                          void       *context);
/*
 * What the tables that text names must be let do by a sandbox, beside reading files: TABLE_NEEDS_*.
 * Depends on what is in cf files now. Tables load libraries when they are opened, never later.
 */
#define TABLE_NEEDS_UNIX (1u << 0) /* connect to Unix sockets */
#define TABLE_NEEDS_INET (1u << 1) /* connect by TCP */
unsigned table_text_needs(const char *text);

/* ---- lists of tables, as in virtual_alias_maps ---- */

struct table_list;
/*
 * "hash:a, pcre:b"; an empty list answers "not found". A missing file answers "try later"
 * until it is there.
 */
struct table_list *table_list_open(const char *specs, struct error *error);
void               table_list_close(struct table_list **list);
bool               table_list_is_empty(const struct table_list *list);
size_t             table_list_count(const struct table_list *list);
struct table      *table_list_get(const struct table_list *list, size_t index); /* borrowed */
enum lookup        table_list_lookup(struct table_list *list, struct slice key, struct buf *value,
                                     struct error *error);
/*
 * An address by the search order of virtual_alias_maps and others (FACTS 2.4): user+ext@dom,
 * user@dom, user+ext and user (only when is_own_domain), @dom. Pattern tables see only the whole
 * address. *extension (may be NULL) is set to the "+ext" that the match ignored, for propagation.
 */
struct address_lookup {
	struct slice address;
	const char  *delimiters;    /* recipient_delimiter */
	bool         is_own_domain; /* also try the bare local part */
	bool         without_catch_all;
	bool         splits_owner_request; /* owner_request_special = no */
};
enum lookup table_list_lookup_address(struct table_list *list, const struct address_lookup *what,
                                      struct buf *value, struct slice *extension,
                                      struct error *error);

#endif
