/*
 * userlist.h - which of this host's users may do something: authorized_submit_users and its kin.
 *
 * The names come from the password database (any source of nsswitch.conf). A uid without a name is
 * "unknown". Safe from several threads.
 */
#ifndef DAKIYA_TABLE_USERLIST_H
#define DAKIYA_TABLE_USERLIST_H

#include "lib/table/match.h"

#define USER_TEXT_MOST 256

/*
 * The login name of uid, cut to size - 1 bytes: LOOKUP_NOT_FOUND when it has none (name is
 * "unknown"), LOOKUP_TRY_LATER when the database cannot be asked.
 */
enum lookup user_name_find(uint32_t uid, char name[USER_TEXT_MOST], struct error *error);

/* Whether the list has the user: a match list of names, as in match.h. */
enum lookup user_list_has(struct match_list *list, uint32_t uid, struct error *error);

#endif
