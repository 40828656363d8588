/* main.c - verify: which addresses would be taken, and the cache of them. See verify(8). */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "verify/service.h"

struct room {
	struct cache  cache;
	struct store *store; /* NULL: in memory only */
};

static struct cache_settings
settings_of(const struct parameters *parameters)
{
	int64_t later_s = parameters->minimal_backoff_time;

	if (parameters->address_verify_negative_refresh_time < later_s)
		later_s = parameters->address_verify_negative_refresh_time;
	return (struct cache_settings){
		.positive_expire_s = parameters->address_verify_positive_expire_time,
		.positive_refresh_s = parameters->address_verify_positive_refresh_time,
		.negative_expire_s = parameters->address_verify_negative_expire_time,
		.negative_refresh_s = parameters->address_verify_negative_refresh_time,
		.later_refresh_s = later_s,
		.keeps_negative = parameters->address_verify_negative_cache,
		.limit = (size_t)parameters->address_verify_cache_limit,
		.pending_limit = (size_t)parameters->address_verify_pending_request_limit,
	};
}

static bool
verify_prepare(struct daemon_context *context, struct error *error)
{
	const char           *spec = context->parameters->address_verify_map;
	struct room          *room = calloc(1, sizeof(*room));
	struct cache_settings settings = settings_of(context->parameters);

	if (room == NULL)
		return error_set(error, "out of memory");
	context->room = room;
	cache_init(&room->cache, &settings);
	if (slice_trim(slice_from(spec)).length == 0)
		return true;
	room->store = store_create(spec, error);
	return room->store != NULL || error_prefix(error, "address_verify_map");
}

static int
verify_run(struct daemon_context *context)
{
	struct room *room = context->room;
	struct error error = ERROR_NONE;
	size_t       count;

	/* A file that cannot be read is no reason not to start: all can be learnt again. */
	if (room->store != NULL &&
	    !store_load(room->store, &room->cache, clock_wall_us() / 1000000, &count, &error))
		log_warning("address_verify_map: %s", error.text);
	else if (room->store != NULL)
		log_info("%zu addresses are known", count);
	int status = service_run(context, &room->cache, room->store);
	store_destroy(&room->store, &room->cache);
	cache_free(&room->cache);
	return status;
}

static const char *const places[] = { "$address_verify_map", NULL };

int
main(int argc, char **argv)
{
	static const struct daemon verify = {
		.name = "verify",
		.identity = RUNS_AS_MAIL,
		.doors = DOOR_ACCEPT | DOOR_UNIX_CONNECT | DOOR_FILE_READ | DOOR_FILE_WRITE,
		.readable = places,
		.writable = places,
		.prepare = verify_prepare,
		.run = verify_run,
	};

	return daemon_main(&verify, argc, argv);
}
