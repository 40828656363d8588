/* store.c - users.db and the public tables beside it: read, changed, written anew. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/encode.h"
#include "lib/base/number.h"
#include "lib/base/random.h"
#include "lib/io/file.h"
#include "lib/table/build.h"
#include "tools/dakuser/dakuser.h"

#define MEMORY_MOST ((size_t)1 << 30)

/* The values in domains.db: a domain made by itself, or with its users. */
#define DOMAIN_OWN   "dakuser domain"
#define DOMAIN_USERS "dakuser"

static bool
path_make(const struct store *store, const char *name, char *path, size_t size, struct error *error)
{
	int length = snprintf(path, size, "%s/%s", store->parameters->data_directory, name);

	return (length > 0 && (size_t)length < size) ||
	       error_set(error, "data_directory: the path is too long");
}

char *
store_copy(struct store *store, const char *text)
{
	return arena_text(&store->arena, slice_from(text));
}

/* Index of name, or where it would stand. */
static size_t
store_place(const struct store *store, const char *name)
{
	size_t low = 0, high = store->users.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(store->users.items[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct user *
store_find(struct store *store, const char *name)
{
	size_t place = store_place(store, name);

	if (place == store->users.count || strcmp(store->users.items[place].name, name) != 0)
		return NULL;
	return &store->users.items[place];
}

struct user *
store_add(struct store *store, const char *name)
{
	struct user *there = store_find(store, name);
	struct user  fresh = { .name = store_copy(store, name) };

	if (there != NULL)
		return there;
	if (fresh.name == NULL || !ARRAY_PUSH(&store->users, fresh))
		return NULL;
	size_t       place = store->users.count - 1, wanted;
	struct user *items = store->users.items;
	store->users.count--;
	wanted = store_place(store, name);
	store->users.count++;
	memmove(items + wanted + 1, items + wanted, (place - wanted) * sizeof(*items));
	items[wanted] = fresh;
	return &items[wanted];
}

void
store_remove(struct store *store, struct user *user)
{
	size_t place = (size_t)(user - store->users.items);

	memmove(user, user + 1, (store->users.count - place - 1) * sizeof(*user));
	store->users.count--;
}

struct domain *
store_find_domain(struct store *store, const char *name)
{
	for (size_t i = 0; i < store->domains.count; i++)
		if (strcmp(store->domains.items[i].name, name) == 0)
			return &store->domains.items[i];
	return NULL;
}

struct alias *
store_find_alias(struct store *store, const char *name)
{
	for (size_t i = 0; i < store->aliases.count; i++)
		if (strcmp(store->aliases.items[i].name, name) == 0)
			return &store->aliases.items[i];
	return NULL;
}

struct last_use *
store_last_use(const struct store *store)
{
	char path[4096];

	if (!path_make(store, LAST_USE_NAME, path, sizeof(path), NULL))
		return NULL;
	return last_use_open(path, false, NULL);
}

/* ---- reading ---- */

/* What reads one file's entries into the store. */
struct reading {
	struct store *store;
	struct error *error;
	bool          has_failed;
};

static struct user *
reading_user(struct reading *reading, struct slice key)
{
	char name[USER_NAME_MOST + 1];

	if (key.length > USER_NAME_MOST || memchr(key.data, 0, key.length) != NULL)
		return NULL;
	memcpy(name, key.data, key.length);
	name[key.length] = '\0';
	return store_add(reading->store, name);
}

static bool
read_record(struct slice key, struct slice value, void *context)
{
	struct reading *reading = context;
	struct store   *store = reading->store;

	if (slice_equal(key, SLICE(USER_SECRET_KEY))) {
		if (value.length == sizeof(store->secret) - 1)
			memcpy(store->secret, value.data, value.length);
		return true;
	}
	struct user *user = reading_user(reading, key);
	if (user != NULL)
		user->record = arena_text(&store->arena, value);
	reading->has_failed = user == NULL || user->record == NULL;
	return !reading->has_failed;
}

static bool
read_mailbox(struct slice key, struct slice value, void *context)
{
	struct reading *reading = context;
	struct user    *user = reading_user(reading, key);

	if (user != NULL)
		user->mailbox = arena_text(&reading->store->arena, value);
	reading->has_failed = user == NULL || user->mailbox == NULL;
	return !reading->has_failed;
}

static bool
read_quota(struct slice key, struct slice value, void *context)
{
	struct reading *reading = context;
	struct user    *user = reading_user(reading, key);

	reading->has_failed = user == NULL || !number_parse(value, 0, INT64_MAX, &user->quota);
	return !reading->has_failed;
}

/* A domain that was made with users has no life of its own. */
static bool
read_domain(struct slice key, struct slice value, void *context)
{
	struct reading *reading = context;
	struct domain   domain = { .name = arena_text(&reading->store->arena, key),
		                   .is_own = slice_equal(value, SLICE(DOMAIN_OWN)) };

	reading->has_failed = domain.name == NULL || !ARRAY_PUSH(&reading->store->domains, domain);
	return !reading->has_failed;
}

static bool
read_alias(struct slice key, struct slice value, void *context)
{
	struct reading *reading = context;
	struct arena   *arena = &reading->store->arena;
	struct alias    alias = { arena_text(arena, key), arena_text(arena, value) };

	if (slice_equal(key, value))
		return true; /* see fill_aliases */
	reading->has_failed = alias.name == NULL || alias.targets == NULL ||
	                      !ARRAY_PUSH(&reading->store->aliases, alias);
	return !reading->has_failed;
}

static const struct store_file {
	const char *name;
	bool (*read)(struct slice key, struct slice value, void *context);
} files[] = {
	{ "users.db", read_record },  { "mailboxes.db", read_mailbox },
	{ "quotas.db", read_quota },  { "domains.db", read_domain },
	{ "aliases.db", read_alias },
};
#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

static bool
file_load(struct store *store, const struct store_file *file, struct error *error)
{
	struct reading reading = { .store = store, .error = error };
	char           path[4096];

	if (!path_make(store, file->name, path, sizeof(path), error))
		return false;
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return true;
	struct database *database = database_open(path, error);
	if (database == NULL)
		return false;
	bool is_good = database_each(database, file->read, &reading, error);
	database_close(&database, NULL);
	if (is_good && reading.has_failed)
		return error_set(error, "%s: malformed, or memory is out", path);
	return is_good;
}

/*
 * The database library follows names and trusts what it finds; in a directory that another may
 * write to, it would do so with root's rights (CVE-2017-10140).
 */
static bool
directory_is_safe(const char *path, struct error *error)
{
	struct stat status;

	if (stat(path, &status) != 0)
		return error_set_errno(error, "data_directory %s", path);
	if (geteuid() == 0 && (status.st_uid != 0 || (status.st_mode & 0022) != 0))
		return error_set(error,
		                 "data_directory %s must belong to root and be writable by nobody "
		                 "else",
		                 path);
	return true;
}

static bool
store_lock(struct store *store, struct error *error)
{
	char path[4096];

	if (!path_make(store, "users.lock", path, sizeof(path), error))
		return false;
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock_fd < 0)
		return error_set_errno(error, "open %s", path);
	return file_lock(store->lock_fd, FILE_LOCK_EXCLUSIVE, true, path, error);
}

/* In the order in which lists are shown. */
static int
compare_domains(const void *left, const void *right)
{
	const struct domain *a = left, *b = right;

	return strcmp(a->name, b->name);
}

static int
compare_aliases(const void *left, const void *right)
{
	const struct alias *a = left, *b = right;

	return strcmp(a->name, b->name);
}

static void
store_sort(struct store *store)
{
	if (store->domains.count > 0)
		qsort(store->domains.items, store->domains.count, sizeof(struct domain),
		      compare_domains);
	if (store->aliases.count > 0)
		qsort(store->aliases.items, store->aliases.count, sizeof(struct alias),
		      compare_aliases);
}

bool
store_open(struct store *store, const struct parameters *parameters, bool to_change,
           struct error *error)
{
	*store = (struct store){ .parameters = parameters,
		                 .lock_fd = -1,
		                 .arena = ARENA(MEMORY_MOST) };
	/* The first user may be made before the first start. */
	if (to_change && mkdir(parameters->data_directory, 0755) == 0)
		chmod(parameters->data_directory, 0755); /* whatever the umask */
	if (!directory_is_safe(parameters->data_directory, error) ||
	    (to_change && !store_lock(store, error)))
		return false;
	for (size_t i = 0; i < FILE_COUNT; i++)
		if (!file_load(store, &files[i], error))
			return false;
	store_sort(store);
	return true;
}

void
store_close(struct store *store)
{
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	ARRAY_FREE(&store->users);
	ARRAY_FREE(&store->domains);
	ARRAY_FREE(&store->aliases);
	arena_reset(&store->arena);
}

/* ---- writing ---- */

static bool
add_text(struct table_build *build, const char *key, const char *value, struct error *error)
{
	return table_build_replace(build, slice_from(key), slice_from(value), error);
}

static bool
fill_users(const struct store *store, struct table_build *build, struct error *error)
{
	bool is_good = add_text(build, USER_SECRET_KEY, store->secret, error);

	for (size_t i = 0; is_good && i < store->users.count; i++)
		if (store->users.items[i].record != NULL)
			is_good = add_text(build, store->users.items[i].name,
			                   store->users.items[i].record, error);
	return is_good;
}

static bool
fill_mailboxes(const struct store *store, struct table_build *build, struct error *error)
{
	bool is_good = true;

	for (size_t i = 0; is_good && i < store->users.count; i++)
		if (store->users.items[i].mailbox != NULL)
			is_good = add_text(build, store->users.items[i].name,
			                   store->users.items[i].mailbox, error);
	return is_good;
}

static bool
fill_quotas(const struct store *store, struct table_build *build, struct error *error)
{
	bool is_good = true;
	char number[24];

	for (size_t i = 0; is_good && i < store->users.count; i++) {
		if (store->users.items[i].quota == 0)
			continue;
		snprintf(number, sizeof(number), "%lld", (long long)store->users.items[i].quota);
		is_good = add_text(build, store->users.items[i].name, number, error);
	}
	return is_good;
}

/* Domains follow from the mailboxes, beside those that were made by themselves. */
static bool
fill_domains(const struct store *store, struct table_build *build, struct error *error)
{
	bool is_good = true;

	for (size_t i = 0; is_good && i < store->users.count; i++)
		if (store->users.items[i].mailbox != NULL)
			is_good = add_text(build, strchr(store->users.items[i].name, '@') + 1,
			                   DOMAIN_USERS, error);
	for (size_t i = 0; is_good && i < store->domains.count; i++)
		if (store->domains.items[i].is_own)
			is_good = add_text(build, store->domains.items[i].name, DOMAIN_OWN, error);
	return is_good;
}

/*
 * A domain's catch-all would take the mail of its users, too, as an alias comes before a mailbox:
 * they get an entry that leads to themselves.
 */
static bool
fill_aliases(const struct store *store, struct table_build *build, struct error *error)
{
	struct store *mutable = (struct store *)(uintptr_t)store;
	bool is_good = true;

	for (size_t i = 0; is_good && i < store->users.count; i++) {
		const char *name = store->users.items[i].name;
		const char *domain = strchr(name, '@');

		if (domain != NULL && store_find_alias(mutable, domain) != NULL)
			is_good = add_text(build, name, name, error);
	}
	for (size_t i = 0; is_good && i < store->aliases.count; i++)
		is_good = add_text(build, store->aliases.items[i].name,
		                   store->aliases.items[i].targets, error);
	return is_good;
}

/* In this order a crash leaves no address that takes mail without all that it needs. */
static const struct {
	const char *name;
	bool        is_secret;
	bool (*fill)(const struct store *store, struct table_build *build, struct error *error);
} outputs[] = {
	{ "users.db", true, fill_users },          { "quotas.db", false, fill_quotas },
	{ "mailboxes.db", false, fill_mailboxes }, { "aliases.db", false, fill_aliases },
	{ "domains.db", false, fill_domains },
};

static void
secret_make(struct store *store)
{
	unsigned char bytes[32];
	struct buf    text = BUF(64);

	random_bytes(bytes, sizeof(bytes));
	if (hex_encode(slice_of((const char *)bytes, sizeof(bytes)), &text))
		memcpy(store->secret, text.data, 64);
	buf_free(&text);
}

static bool
output_write(const struct store *store, size_t index, struct error *error)
{
	struct build_target target = { .kind = DATABASE_HASH,
		                       .mode = outputs[index].is_secret ? 0600 : 0644,
		                       .uid = (uid_t)-1,
		                       .gid = (gid_t)-1 };
	char                path[4096];

	if (!path_make(store, outputs[index].name, path, sizeof(path), error))
		return false;
	target.path = path;
	if (outputs[index].is_secret && geteuid() == 0 &&
	    !owner_parse(store->parameters->auth_owner, &target.uid, &target.gid, error))
		return error_prefix(error, "auth_owner");
	struct table_build *build = table_build_start(&target, error);
	if (build == NULL)
		return false;
	if (outputs[index].fill(store, build, error))
		return table_build_commit(&build, error);
	table_build_abandon(&build);
	return false;
}

/* Where authd notes logins; it may make no files here itself. */
static bool
make_last_use(const struct store *store, struct error *error)
{
	char  path[4096];
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;

	if (!path_make(store, LAST_USE_NAME, path, sizeof(path), error))
		return false;
	if (geteuid() == 0 && !owner_parse(store->parameters->auth_owner, &uid, &gid, error))
		return error_prefix(error, "auth_owner");
	return last_use_create(path, uid, gid, error);
}

bool
store_write(struct store *store, struct error *error)
{
	if (!make_last_use(store, error))
		return false;
	if (store->secret[0] == '\0')
		secret_make(store);
	for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++)
		if (!output_write(store, i, error))
			return false;
	return true;
}
