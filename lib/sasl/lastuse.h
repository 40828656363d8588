/*
 * lastuse.h - when each credential was used last: one file of fixed slots, written in place.
 *
 * authd may not make files where dakuser (root) keeps the databases, so dakuser makes this one and
 * authd writes into it. A slot is found by a digest of user and credential; in a full set of eight
 * the one that was used longest ago is forgotten. A credential costs at most one small write a
 * minute, without a sync: after a power cut the last half minute may be missing.
 */
#ifndef DAKIYA_SASL_LASTUSE_H
#define DAKIYA_SASL_LASTUSE_H

#include <stdint.h>
#include <sys/types.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

#define LAST_USE_NAME "last-use" /* in data_directory */

struct last_use;

/* Makes the file when it is not there; the ids as for chown. */
bool last_use_create(const char *path, uid_t uid, gid_t gid, struct error *error);
/* NULL and *error when it cannot be opened; errno_value ENOENT when there is none. */
struct last_use *last_use_open(const char *path, bool to_write, struct error *error);
void             last_use_close(struct last_use **last_use);

/* credential: an app password's id, "" for the user's own password. Safe from any thread. */
void last_use_note(struct last_use *last_use, const char *user, const char *credential,
                   int64_t now_s);
/* Seconds since 1970; 0 when nothing is known. */
int64_t last_use_get(struct last_use *last_use, const char *user, const char *credential);

#endif
