/* owner.c - see owner.h. */
#include "lib/conf/owner.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>

#include "lib/base/number.h"

/* The most that a uid may be: (uid_t)-1 means "no change" to the kernel. */
#define ID_MOST 4294967294

static bool
parse_numbers(struct slice text, struct owner *owner)
{
	size_t  colon = slice_find_byte(text, ':');
	int64_t uid, gid;

	if (colon == SLICE_NOT_FOUND || !number_parse(slice_first(text, colon), 0, ID_MOST, &uid) ||
	    !number_parse(slice_from_offset(text, colon + 1), 0, ID_MOST, &gid))
		return false;
	*owner = (struct owner){ (uid_t)uid, (gid_t)gid };
	return true;
}

bool
owner_parse(const char *text, struct owner *owner, struct error *error)
{
	struct passwd entry, *found = NULL;
	size_t        size = 64u * 1024;
	char         *memory;

	if (parse_numbers(slice_from(text), owner))
		return true;
	memory = malloc(size);
	if (memory == NULL)
		return error_set(error, "out of memory");
	errno = getpwnam_r(text, &entry, memory, size, &found);
	if (found != NULL)
		*owner = (struct owner){ found->pw_uid, found->pw_gid };
	else if (errno != 0)
		error_set_errno(error, "look up user \"%s\"", text);
	else
		error_set(error, "there is no user \"%s\"", text);
	free(memory);
	return found != NULL;
}
