/*
 * dakuser.h - the parts of dakuser: the configuration it needs, the store, the passwords' way in.
 *
 * The store is users.db and the three public tables, read whole into memory, changed there, and
 * written aside and renamed under a lock. What is wrong is said once, by main.
 */
#ifndef DAKIYA_DAKUSER_H
#define DAKIYA_DAKUSER_H

#include <sys/types.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/conf/snapshot.h"
#include "lib/sasl/user.h"

/* sysexits.h, with names that tell. */
enum {
	EXIT_DONE = 0,
	EXIT_FOUND_FAULTS = 1, /* check */
	EXIT_WRONG_USAGE = 64,
	EXIT_BAD_DATA = 65, /* address or password not acceptable */
	EXIT_NO_USER = 67,  /* there is none of that name */
	EXIT_TROUBLE = 71,  /* the system's: memory, terminal */
	EXIT_NOT_MADE = 73, /* there is one already, or files cannot be written */
	EXIT_NO_CONFIG = 78,
};

/* The parameters of the configuration in directory; NULL and *error. Destroy the snapshot. */
struct snapshot *config_read(const char *directory, struct error *error);
/* "name" or "uid:gid". */
bool owner_parse(const char *text, uid_t *uid, gid_t *gid, struct error *error);

/* ---- passwords ---- */

/* From the terminal, twice and without echo, or a line of standard input. Wipe it after use. */
bool password_read(bool from_stdin, char password[PASSWORD_MOST + 1], struct error *error);

/* ---- the store ---- */

struct user {
	const char *name;    /* user@domain, lower case */
	const char *record;  /* users.db; NULL: has a mailbox only */
	const char *mailbox; /* mailboxes.db; NULL: has credentials only */
	int64_t     quota;   /* bytes, 0 = none */
};

struct store {
	const struct parameters *parameters;
	int                      lock_fd;
	struct arena             arena;
	char                     secret[65]; /* hexadecimal; see USER_SECRET_KEY */
	ARRAY(struct user) users;            /* sorted by name */
	ARRAY(const char *) domains; /* sorted; those of users, and others found in domains.db */
};

/* Locks (when it is to change) and reads; a store that is not there yet is empty. */
bool store_open(struct store *store, const struct parameters *parameters, bool to_change,
                struct error *error);
/* NULL when there is none. */
struct user *store_find(struct store *store, const char *name);
/* Adds in its place; false when memory is out. name and texts are copied. */
struct user *store_add(struct store *store, const char *name);
void         store_remove(struct store *store, struct user *user);
char        *store_copy(struct store *store, const char *text);
/* Writes all four files; false and *error. */
bool store_write(struct store *store, struct error *error);
void store_close(struct store *store);

#endif
