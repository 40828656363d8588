/*
 * user.h - users.db: what is stored of a user, as dakuser writes and authd reads it.
 *
 * A record is lines of "name value" behind the line "dakiya-user 1"; unknown names are passed
 * over, so that an older program reads a newer record. Keys are user names in canonical form. The
 * key "*secret" (no user name) holds random bytes for the salts of users that do not exist.
 */
#ifndef DAKIYA_SASL_USER_H
#define DAKIYA_SASL_USER_H

#include "lib/sasl/password.h"

#define USER_NAME_MOST   255
#define USER_RECORD_MOST 8192
#define USER_SECRET_KEY  "*secret"

struct user_record {
	bool              is_enabled;
	char              password[PASSWORD_HASH_SIZE]; /* "" = none: no PLAIN, no LOGIN */
	bool              has_scram;
	struct scram_keys scram;
	int64_t           changed_s; /* when the password was set, seconds since 1970 */
};

bool user_record_encode(const struct user_record *record, struct buf *out);
/* False and *error when it is no record, or one of a version that is not known. */
bool user_record_decode(struct slice text, struct user_record *record, struct error *error);
/* Hashes and derives everything that is stored of this password. */
bool user_record_set_password(struct user_record *record, struct slice password, unsigned cost,
                              uint32_t scram_iterations, struct error *error);

/*
 * The canonical form: lower case. name must be user@domain (no extension is cut off) with sound
 * syntax; a name without @ gets "@" and default_domain when that is not empty.
 */
bool user_name_canonical(struct slice name, const char *default_domain,
                         char canonical[USER_NAME_MOST + 1], struct error *error);

#endif
