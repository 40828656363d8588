/* room.c - what authd holds while it runs; see authd.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "authd/authd.h"
#include "lib/base/log.h"
#include "lib/base/random.h"

#define MAILBOX_PATH "private/virtual"
#define CLIENTS_MOST 20000

static struct client_rules
client_rules_of(const struct parameters *parameters)
{
	return (struct client_rules){
		.delay_ms = parameters->auth_failure_delay * 1000,
		.delay_limit_ms = parameters->auth_failure_delay_limit * 1000,
		.forget_ms = parameters->auth_failure_forget_time * 1000,
		.held_limit = (size_t)parameters->auth_client_held_limit,
		.entry_limit = CLIENTS_MOST,
	};
}

static struct table *
users_open(const struct parameters *parameters, struct error *error)
{
	char spec[4096];

	if (snprintf(spec, sizeof(spec), "hash:%s/users", parameters->data_directory) >=
	    (int)sizeof(spec)) {
		error_set(error, "data_directory: the path is too long");
		return NULL;
	}
	return table_open(spec, true, error);
}

/* dakuser makes the file; without it nobody is told when a login was. */
static struct last_use *
last_use_find(const struct parameters *parameters)
{
	char         path[4096];
	struct error error = ERROR_NONE;

	if (snprintf(path, sizeof(path), "%s/" LAST_USE_NAME, parameters->data_directory) >=
	    (int)sizeof(path))
		return NULL;
	struct last_use *last_use = last_use_open(path, true, &error);
	if (last_use == NULL && error.errno_value != ENOENT)
		log_warning("when logins were is not kept: %s", error.text);
	return last_use;
}

static bool
room_fill(struct authd *authd, const struct snapshot *snapshot, size_t thread_limit,
          struct error *error)
{
	const struct parameters *parameters = snapshot_parameters(snapshot);
	struct client_rules      rules = client_rules_of(parameters);
	long                     processors = sysconf(_SC_NPROCESSORS_ONLN);

	authd->parameters = parameters;
	authd->mailbox_path = MAILBOX_PATH;
	authd->slots.limit = parameters->auth_hash_concurrency > 0
	                             ? (size_t)parameters->auth_hash_concurrency
	                     : processors > 0 ? (size_t)processors
	                                      : 1;
	/* A quarter of the threads is left for what needs no hash. */
	authd->waiting_most = thread_limit * 3 / 4 > 0 ? thread_limit * 3 / 4 : 1;
	random_bytes(authd->fallback_secret, sizeof(authd->fallback_secret));
	if (!password_hash_of_nobody((unsigned)parameters->auth_password_cost, authd->dummy_hash,
	                             error))
		return false;
	authd->users = users_open(parameters, error);
	authd->router = authd->users == NULL ? NULL : router_create(snapshot, error);
	if (authd->router == NULL)
		return false;
	authd->last_use = last_use_find(parameters);
	authd->cache = password_cache_create(parameters->auth_cache_ttl * 1000);
	authd->clients = client_table_create(&rules);
	return (authd->cache != NULL && authd->clients != NULL) ||
	       error_set(error, "out of memory");
}

struct authd *
authd_create(const struct snapshot *snapshot, size_t thread_limit, struct memory *memory,
             struct error *error)
{
	struct authd *authd = calloc(1, sizeof(*authd));

	if (authd == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	authd->memory = memory;
	mutex_init(&authd->slots.lock);
	condition_init(&authd->slots.freed);
	if (!room_fill(authd, snapshot, thread_limit, error))
		authd_destroy(&authd);
	return authd;
}

void
authd_destroy(struct authd **authd)
{
	struct authd *gone = *authd;

	if (gone == NULL)
		return;
	*authd = NULL;
	table_close(&gone->users);
	router_destroy(&gone->router);
	password_cache_destroy(&gone->cache);
	client_table_destroy(&gone->clients);
	last_use_close(&gone->last_use);
	condition_destroy(&gone->slots.freed);
	mutex_destroy(&gone->slots.lock);
	free(gone);
}
