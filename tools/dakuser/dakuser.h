/*
 * dakuser.h - the parts of dakuser: the configuration it needs, the store, the passwords' way in.
 *
 * The store is users.db and the public tables, read whole into memory, changed there, and
 * written aside and renamed under a lock. What is wrong is said once, by the command.
 */
#ifndef DAKIYA_DAKUSER_H
#define DAKIYA_DAKUSER_H

#include <sys/types.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/conf/snapshot.h"
#include "lib/sasl/lastuse.h"
#include "lib/sasl/user.h"

/* sysexits.h, with names that tell. */
enum {
	EXIT_DONE = 0,
	EXIT_FOUND_FAULTS = 1, /* check */
	EXIT_WRONG_USAGE = 64,
	EXIT_BAD_DATA = 65, /* address or password not acceptable */
	EXIT_NO_INPUT = 66, /* import: the file cannot be read */
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

struct domain {
	const char *name;
	bool        is_own; /* made by itself: it stays when its last user goes */
};

struct alias {
	const char *name;    /* address, or "@domain" for all that is not there otherwise */
	const char *targets; /* separated by ", " */
};

struct store {
	const struct parameters *parameters;
	int                      lock_fd;
	struct arena             arena;
	char                     secret[65]; /* hexadecimal; see USER_SECRET_KEY */
	ARRAY(struct user) users;            /* sorted by name */
	ARRAY(struct domain) domains;        /* sorted; as found in domains.db */
	ARRAY(struct alias) aliases;         /* sorted */
};

/* Locks (when it is to change) and reads; a store that is not there yet is empty. */
bool store_open(struct store *store, const struct parameters *parameters, bool to_change,
                struct error *error);
/* NULL when there is none. */
struct user *store_find(struct store *store, const char *name);
/* Adds in its place; NULL when memory is out. name and texts are copied. */
struct user *store_add(struct store *store, const char *name);
void         store_remove(struct store *store, struct user *user);
char        *store_copy(struct store *store, const char *text);
/* Writes all files; false and *error. */
bool store_write(struct store *store, struct error *error);
void store_close(struct store *store);
/* NULL when there is none: neither by itself nor with users. */
struct domain *store_find_domain(struct store *store, const char *name);
struct alias  *store_find_alias(struct store *store, const char *name);
/* When the user's own password ("") or an app password was used last, for lists. */
struct last_use *store_last_use(const struct store *store);

/* ---- commands ---- */

struct call {
	const struct parameters *parameters;
	char                   **arguments; /* behind the command's name */
	size_t                   count;
	const char              *mailbox;  /* --mailbox */
	const char              *quota;    /* --quota */
	const char              *protocol; /* --protocol */
	const char              *domain;   /* --domain */
	bool                     from_stdin;
	bool                     as_json;
	bool                     is_forced;
	bool                     with_counts; /* domain list, not domains */
	char                     name[USER_NAME_MOST +
                  1]; /* the first argument in canonical form, for commands on users */
};

/* Prints "dakuser: ..." and returns status. */
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* store_open and store_write, failures said. */
int store_fill(struct store *store, const struct call *call, bool to_change);
int store_save(struct store *store);
/* "1G", "500M", "0"; powers of 1024. */
bool size_parse(const char *text, int64_t *size);
/* A path below virtual_mailbox_base and nowhere else. */
bool mailbox_is_sound(struct slice path);
/* "user@domain" or, when allowed, "@domain", in canonical form; false and *error. */
bool address_canonical(const char *text, bool may_be_domain, char name[USER_NAME_MOST + 1],
                       struct error *error);
/* "domain/user/", or what was asked for; NULL when memory is out. */
char *mailbox_choose(struct store *store, const char *name, const char *wanted);
/* Prints a JSON string to standard output. */
void print_json(const char *text);
/* "2026-11-24 09:15", or "never". */
void print_time(int64_t time_s);
/* Changes a user who must be there, under the lock. */
int change_user(struct call *call,
                int (*change)(struct store *store, struct user *user, struct call *call));

/* users.c */
int command_add(struct call *call);
int command_delete(struct call *call);
int command_rename(struct call *call);
int command_password(struct call *call);
int command_quota(struct call *call);
int command_enable(struct call *call);
int command_disable(struct call *call);
/* list.c */
int command_list(struct call *call);
int command_check(struct call *call);
/* apps.c */
int command_app_add(struct call *call);
int command_app_delete(struct call *call);
int command_app_list(struct call *call);
/* domains.c */
int command_domain_add(struct call *call);
int command_domain_remove(struct call *call);
int command_domain_list(struct call *call);
int command_alias_add(struct call *call);
int command_alias_delete(struct call *call);
int command_alias_list(struct call *call);
/* transfer.c */
int command_import(struct call *call);
int command_export(struct call *call);

#endif
