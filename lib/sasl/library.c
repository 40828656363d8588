/* library.c - see library.h. */
#include "lib/sasl/library.h"

#include <sasl/sasl.h>
#include <stdlib.h>

#include "lib/base/mutex.h"

static void *
mutex_make(void)
{
	struct mutex *mutex = malloc(sizeof(*mutex));

	if (mutex != NULL)
		mutex_init(mutex);
	return mutex;
}

static int
mutex_take(void *mutex)
{
	mutex_lock(mutex);
	return SASL_OK;
}

static int
mutex_give(void *mutex)
{
	mutex_unlock(mutex);
	return SASL_OK;
}

static void
mutex_drop(void *mutex)
{
	mutex_destroy(mutex);
	free(mutex);
}

void
sasl_library_use_mutexes(void)
{
	sasl_set_mutex(mutex_make, mutex_take, mutex_give, mutex_drop);
}
