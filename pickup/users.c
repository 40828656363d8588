/* users.c - see users.h. */
#include "pickup/users.h"

#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/mutex.h"

struct users {
	size_t       limit;
	struct mutex lock;   /* guards everything below */
	struct hash  counts; /* uid -> size_t */
};

struct users *
users_create(size_t limit)
{
	struct users *users = calloc(1, sizeof(*users));

	if (users == NULL)
		return NULL;
	users->limit = limit;
	mutex_init(&users->lock);
	return users;
}

void
users_destroy(struct users **users)
{
	if (*users == NULL)
		return;
	hash_free(&(*users)->counts, free);
	mutex_destroy(&(*users)->lock);
	free(*users);
	*users = NULL;
}

static struct slice
key_of(const uint32_t *uid)
{
	return slice_of((const char *)uid, sizeof(*uid));
}

static bool
enter_locked(struct users *users, uint32_t uid)
{
	size_t *count = hash_get(&users->counts, key_of(&uid));

	if (count == NULL) {
		count = calloc(1, sizeof(*count));
		if (count == NULL || !hash_put(&users->counts, key_of(&uid), count, NULL)) {
			free(count);
			return false;
		}
	}
	if (*count >= users->limit)
		return false;
	(*count)++;
	return true;
}

bool
users_enter(struct users *users, uint32_t uid)
{
	mutex_lock(&users->lock);
	bool may = enter_locked(users, uid);
	mutex_unlock(&users->lock);
	return may;
}

void
users_leave(struct users *users, uint32_t uid)
{
	mutex_lock(&users->lock);
	size_t *count = hash_get(&users->counts, key_of(&uid));
	if (count != NULL && --*count == 0) {
		hash_remove(&users->counts, key_of(&uid));
		free(count);
	}
	mutex_unlock(&users->lock);
}
