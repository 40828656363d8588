/* store.c - users.db, mailboxes.db, domains.db and quotas.db: read, changed, written anew. */
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

static bool
read_domain(struct slice key, struct slice value, void *context)
{
	struct reading *reading = context;
	const char     *domain = arena_text(&reading->store->arena, key);

	(void)value;
	reading->has_failed = domain == NULL || !ARRAY_PUSH(&reading->store->domains, domain);
	return !reading->has_failed;
}

static const struct store_file {
	const char *name;
	bool (*read)(struct slice key, struct slice value, void *context);
} files[] = {
	{ "users.db", read_record },
	{ "mailboxes.db", read_mailbox },
	{ "quotas.db", read_quota },
	{ "domains.db", read_domain },
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
	return true;
}

void
store_close(struct store *store)
{
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	ARRAY_FREE(&store->users);
	ARRAY_FREE(&store->domains);
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

/* Domains follow from the mailboxes. */
static bool
fill_domains(const struct store *store, struct table_build *build, struct error *error)
{
	bool is_good = true;

	for (size_t i = 0; is_good && i < store->users.count; i++)
		if (store->users.items[i].mailbox != NULL)
			is_good = add_text(build, strchr(store->users.items[i].name, '@') + 1,
			                   "dakuser", error);
	return is_good;
}

/* In this order a crash leaves no address that takes mail without all that it needs. */
static const struct {
	const char *name;
	bool        is_secret;
	bool (*fill)(const struct store *store, struct table_build *build, struct error *error);
} outputs[] = {
	{ "users.db", true, fill_users },
	{ "quotas.db", false, fill_quotas },
	{ "mailboxes.db", false, fill_mailboxes },
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

bool
store_write(struct store *store, struct error *error)
{
	if (store->secret[0] == '\0')
		secret_make(store);
	for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++)
		if (!output_write(store, i, error))
			return false;
	return true;
}
