/* userlist.c - see userlist.h. */
#include "lib/table/userlist.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRY_MOST (1u << 20) /* bytes of one row of the password database */

/* 0 or an errno; *found is NULL when there is no such user. */
static int
entry_read(uid_t uid, size_t size, char name[USER_TEXT_MOST], bool *is_found)
{
	struct passwd entry, *found = NULL;
	char         *text = malloc(size);

	if (text == NULL)
		return ENOMEM;
	int result = getpwuid_r(uid, &entry, text, size, &found);
	*is_found = result == 0 && found != NULL;
	if (*is_found)
		snprintf(name, USER_TEXT_MOST, "%s", entry.pw_name);
	free(text);
	return result;
}

enum lookup
user_name_find(uint32_t uid, char name[USER_TEXT_MOST], struct error *error)
{
	bool is_found = false;
	int  result = ERANGE;

	snprintf(name, USER_TEXT_MOST, "unknown");
	for (size_t size = 4096; result == ERANGE && size <= ENTRY_MOST; size *= 4)
		result = entry_read((uid_t)uid, size, name, &is_found);
	if (is_found)
		return LOOKUP_FOUND;
	/* What other systems say when there is no such row; see getpwnam_r(3). */
	if (result == 0 || result == ENOENT || result == ESRCH || result == EBADF ||
	    result == EPERM)
		return LOOKUP_NOT_FOUND;
	errno = result;
	error_set_errno(error, "look up the user with uid %u", (unsigned)uid);
	return LOOKUP_TRY_LATER;
}

enum lookup
user_list_has(struct match_list *list, uint32_t uid, struct error *error)
{
	char name[USER_TEXT_MOST];

	if (user_name_find(uid, name, error) == LOOKUP_TRY_LATER)
		return LOOKUP_TRY_LATER;
	return match_list_name(list, slice_from(name), error);
}
