/*
 * user.h - users.db: what is stored of a user, as dakuser writes and authd reads it.
 *
 * A record is lines of "name value" behind the line "dakiya-user 1"; unknown names are passed
 * over, so that an older program reads a newer record. Keys are user names in canonical form. The
 * key "*secret" (no user name) holds random bytes for the salts of users that do not exist.
 *
 * App passwords are lines of their own, one each: they are made at random by dakuser, begin with
 * an id that is stored in clear, and count for some protocols only. The id says which hash a
 * password is to be compared with, so that any login costs one hash however many there are.
 * All SCRAM keys of a user have one salt and one count of iterations, which the server must name
 * before it can know with which of them the client will come.
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
/* Hashes and derives everything that is stored of this password, under a new salt. */
bool user_record_set_password(struct user_record *record, struct slice password, unsigned cost,
                              uint32_t scram_iterations, struct error *error);
/* The same under the salt and iterations that record->scram holds. */
bool user_record_set_salted_password(struct user_record *record, struct slice password,
                                     unsigned cost, struct error *error);

/* ---- app passwords ---- */

#define USER_APPS_MOST      16 /* so many fit into a record */
#define USER_APP_ID_BYTES   4
#define USER_APP_LABEL_MOST 64
#define USER_APP_PASSWORD   25 /* bytes of one, with the NUL: "abcd-efgh-ijkm-npqr-stuv" */

enum user_protocol { USER_PROTOCOL_SMTP = 1, USER_PROTOCOL_POP3 = 2, USER_PROTOCOL_ANY = 3 };

struct user_app {
	char              id[USER_APP_ID_BYTES + 1];
	unsigned          protocols; /* USER_PROTOCOL_* */
	int64_t           created_s;
	char              password[PASSWORD_HASH_SIZE];
	bool              has_scram;
	struct scram_keys scram;
	char              label[USER_APP_LABEL_MOST + 1]; /* for people; UTF-8 */
};

/* The next app password of a record's text; start with *rest the whole text. */
bool user_app_next(struct slice *rest, struct user_app *app);
/* Appends its line behind a record's other lines. */
bool user_app_append(const struct user_app *app, struct buf *record);
/* Copies the lines of all app passwords of a record but the one with this id (NULL: all). */
bool user_apps_copy(struct slice record, const char *but_id, struct buf *out);
/*
 * A new one, and its password for the person; its keys have the salt and iterations that app->scram
 * holds (user_salt). False and *error when it cannot be hashed.
 */
bool user_app_make(struct user_app *app, unsigned cost, char password[USER_APP_PASSWORD],
                   struct error *error);
/* Salt and iterations of the SCRAM keys in a record; new ones when it has none. */
void user_salt(struct slice record, uint32_t scram_iterations, struct scram_keys *keys);
/* Whether a password may be the one with this id. */
bool user_app_fits(const struct user_app *app, struct slice password);
/* "smtp" and "pop3"; 0 for other words. */
unsigned user_protocol_parse(struct slice word);
bool     user_label_is_sound(struct slice label);

/*
 * The canonical form: lower case. name must be user@domain (no extension is cut off) with sound
 * syntax; a name without @ gets "@" and default_domain when that is not empty.
 */
bool user_name_canonical(struct slice name, const char *default_domain,
                         char canonical[USER_NAME_MOST + 1], struct error *error);

#endif
