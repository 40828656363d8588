/* store.c - see store.h. */
#include "verify/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mutex.h"
#include "lib/table/build.h"

#define PAUSE_MS        10000 /* between two times that it is written */
#define FAILED_PAUSE_MS 300000
#define SHARE           20 /* of the time at most goes into writing it: one part of so many */
#define COPY_MOST       (4ull << 30)
#define TICK_MOST_MS    (3600 * 1000)

struct store {
	char              *spec;
	char              *path; /* of the file */
	enum database_kind kind;
	uint64_t           written; /* cache.changes that the file has, or will have */
	int64_t            not_before_ms;
	/* what the thread works on */
	bool        is_running;
	pthread_t   thread;
	struct buf  copy; /* length, length, address, value; and so on */
	atomic_bool is_done;
	bool        has_failed;
	int64_t     took_ms;
};

struct store *
store_create(const char *spec, struct error *error)
{
	const char   *colon = strchr(spec, ':');
	struct store *store = calloc(1, sizeof(*store));
	char         *type = colon == NULL ? NULL : strndup(spec, (size_t)(colon - spec));
	const char   *suffix;

	if (store == NULL || colon == NULL || colon[1] != '/' || type == NULL ||
	    !table_build_kind(type, &store->kind, &suffix)) {
		error_set(error,
		          "%s is no type:/path of a type that can be written (btree, hash, "
		          "lmdb, cdb)",
		          spec);
		free(store);
		free(type);
		return NULL;
	}
	free(type);
	store->copy = BUF(COPY_MOST);
	store->spec = strdup(spec);
	store->path = malloc(strlen(colon + 1) + strlen(suffix) + 1);
	if (store->spec == NULL || store->path == NULL) {
		error_set(error, "out of memory");
		free(store->spec);
		free(store->path);
		free(store);
		return NULL;
	}
	memcpy(store->path, colon + 1, strlen(colon + 1));
	memcpy(store->path + strlen(colon + 1), suffix, strlen(suffix) + 1);
	return store;
}

/* ---- reading ---- */

struct loading {
	struct cache *cache;
	int64_t       now_s;
	size_t        count;
};

static bool
take(struct slice key, struct slice value, void *context)
{
	struct loading *loading = context;

	loading->count += cache_take(loading->cache, key, value, loading->now_s);
	return loading->cache->known.count < loading->cache->settings.limit;
}

bool
store_load(struct store *store, struct cache *cache, int64_t now_s, size_t *count,
           struct error *error)
{
	struct loading loading = { .cache = cache, .now_s = now_s };

	*count = 0;
	if (access(store->path, F_OK) != 0)
		return true;
	struct table *table = table_open(store->spec, true, error);
	bool          is_read = table != NULL && table_each(table, take, &loading, error);
	table_close(&table);
	*count = loading.count;
	store->written = cache->changes;
	return is_read;
}

/* ---- writing ---- */

static void
append_length(struct buf *out, size_t length)
{
	buf_append(out, slice_of((const char *)&length, sizeof(length)));
}

static struct slice
next_part(struct slice *rest, size_t length)
{
	struct slice part = slice_first(*rest, length);

	*rest = slice_from_offset(*rest, length);
	return part;
}

static bool
build(struct store *store, struct error *error)
{
	struct build_target target = { .path = store->path,
		                       .kind = store->kind,
		                       .mode = 0600,
		                       .uid = (uid_t)-1,
		                       .gid = (gid_t)-1 };
	struct table_build *build = table_build_start(&target, error);
	struct slice        rest = buf_slice(&store->copy);
	bool                is_good = build != NULL;

	while (is_good && rest.length > 0) {
		size_t key_length, value_length;

		memcpy(&key_length, rest.data, sizeof(size_t));
		memcpy(&value_length, rest.data + sizeof(size_t), sizeof(size_t));
		rest = slice_from_offset(rest, 2 * sizeof(size_t));
		struct slice key = next_part(&rest, key_length);
		is_good = table_build_replace(build, key, next_part(&rest, value_length), error);
	}
	if (is_good)
		return table_build_commit(&build, error);
	table_build_abandon(&build);
	return false;
}

static void *
store_run(void *argument)
{
	struct store *store = argument;
	struct error  error = ERROR_NONE;
	int64_t       begin_ms = clock_monotonic_ms();

	store->has_failed = !build(store, &error);
	if (store->has_failed)
		log_warning("address_verify_map: %s: what is learnt is kept in memory only",
		            error.text);
	store->took_ms = clock_monotonic_ms() - begin_ms;
	atomic_store(&store->is_done, true);
	return NULL;
}

/* What is in the cache, for the thread. */
static bool
copy_make(struct store *store, const struct cache *cache)
{
	struct buf value = BUF(VERIFY_TEXT_MOST + 100);

	buf_clear(&store->copy);
	for (size_t i = 0; i < LINE_COUNT; i++)
		for (const struct list_node *node = cache->lines[i].next; node != &cache->lines[i];
		     node = node->next) {
			const struct known *known = CONTAINER_OF(node, struct known, in_line);

			buf_clear(&value);
			if (!known_append_value(known, &value))
				continue;
			append_length(&store->copy, known->length);
			append_length(&store->copy, value.length);
			buf_append(&store->copy, slice_of(known->address, known->length));
			buf_append(&store->copy, buf_slice(&value));
		}
	buf_free(&value);
	return !store->copy.has_failed;
}

static void
finish(struct store *store, int64_t now_ms)
{
	pthread_join(store->thread, NULL);
	store->is_running = false;
	buf_free(&store->copy);
	store->copy = BUF(COPY_MOST);
	int64_t pause_ms = store->took_ms * SHARE;
	store->not_before_ms = now_ms + (store->has_failed     ? FAILED_PAUSE_MS
	                                 : pause_ms > PAUSE_MS ? pause_ms
	                                                       : PAUSE_MS);
}

static void
start(struct store *store, const struct cache *cache, int64_t now_ms)
{
	store->not_before_ms = now_ms + PAUSE_MS; /* without memory or threads: later */
	atomic_store(&store->is_done, false);
	if (!copy_make(store, cache))
		return;
	if (thread_start(&store->thread, store_run, store) != 0)
		return;
	store->is_running = true;
	store->written = cache->changes;
}

int64_t
store_tick(struct store *store, const struct cache *cache, int64_t now_ms)
{
	if (store->is_running) {
		if (!atomic_load(&store->is_done))
			return 1000;
		finish(store, now_ms);
	}
	if (store->written == cache->changes) {
		/* What comes after a quiet time is written together with what follows it. */
		if (store->not_before_ms < now_ms + PAUSE_MS / 2)
			store->not_before_ms = now_ms + PAUSE_MS / 2;
		return TICK_MOST_MS;
	}
	if (now_ms < store->not_before_ms)
		return store->not_before_ms - now_ms;
	start(store, cache, now_ms);
	return 1000;
}

void
store_destroy(struct store **store, const struct cache *cache)
{
	struct store *gone = *store;

	if (gone == NULL)
		return;
	if (gone->is_running)
		finish(gone, clock_monotonic_ms());
	if (gone->written != cache->changes && copy_make(gone, cache))
		store_run(gone);
	buf_free(&gone->copy);
	free(gone->spec);
	free(gone->path);
	free(gone);
	*store = NULL;
}
