/*
 * lists.h - inside the restriction engine: compiled lists, shared by who compiles and who
 * evaluates.
 */
#ifndef DAKIYA_SMTPD_LISTS_H
#define DAKIYA_SMTPD_LISTS_H

#include "lib/base/array.h"
#include "smtpd/checks.h"

/* Classes within classes, and names that an access table gives. */
#define DEPTH_MOST 20

enum needs { NEEDS_CLIENT, NEEDS_HELO, NEEDS_SENDER, NEEDS_RECIPIENT, NEEDS_ETRN };
enum argument { WITH_NONE, WITH_TABLE, WITH_ZONE, WITH_NUMBER, WITH_SERVICE, WITH_RESTRICTION };

struct restriction_row {
	const char     *name;
	enum needs      needs;
	enum argument   argument;
	check_function *function; /* NULL: not carried out here */
};

struct entry_list {
	struct entry_list *next; /* of all lists, to free them */
	const char        *name; /* of the class; "" for a parameter's list */
	ARRAY(struct entry) entries;
};

struct open_table {
	struct open_table *next;
	struct table      *table;
};

struct open_policy {
	struct open_policy    *next;
	const char            *text;
	struct policy_service *service;
};

struct restrictions {
	const struct snapshot   *snapshot;
	const struct parameters *parameters;
	struct arena             arena; /* names and arguments */
	struct open_table       *tables;
	struct open_policy      *policies;
	struct entry_list       *lists;
	struct entry_list *client, *helo, *sender, *relay, *recipient, *data, *end_of_data, *etrn;
};

/* NULL when there is no such restriction. */
const struct restriction_row *restriction_row_find(struct slice name);
/* One that was opened at the start; NULL for any other: the doors are closed. */
struct table *restriction_table_find(const struct restrictions *restrictions, struct slice spec);
/* One item at the front of *rest: a word, or what stands in { }. */
bool restriction_next_item(struct slice *rest, struct slice *item);

#endif
