/*
 * owner.h - the identities of net_owner, mail_owner and the like: a user's name, or uid:gid.
 */
#ifndef DAKIYA_CONF_OWNER_H
#define DAKIYA_CONF_OWNER_H

#include <sys/types.h>

#include "lib/base/error.h"

struct owner {
	uid_t uid;
	gid_t gid;
};

/* "dakiya" by getpwnam_r, or "1001:1001". False and *error when there is no such user. */
bool owner_parse(const char *text, struct owner *owner, struct error *error);

#endif
