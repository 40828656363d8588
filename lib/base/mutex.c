/* mutex.c - see mutex.h. */
#include "lib/base/mutex.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define STACK_BYTES (256u * 1024)

static void
must(int result)
{
	if (result != 0)
		abort();
}

void
mutex_init(struct mutex *mutex)
{
	must(pthread_mutex_init(&mutex->lock, NULL));
}

void
mutex_destroy(struct mutex *mutex)
{
	pthread_mutex_destroy(&mutex->lock);
}

void
mutex_lock(struct mutex *mutex)
{
	must(pthread_mutex_lock(&mutex->lock));
}

void
mutex_unlock(struct mutex *mutex)
{
	must(pthread_mutex_unlock(&mutex->lock));
}

void
condition_init(struct condition *condition)
{
	pthread_condattr_t attributes;

	must(pthread_condattr_init(&attributes));
	must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
	must(pthread_cond_init(&condition->cond, &attributes));
	pthread_condattr_destroy(&attributes);
}

void
condition_destroy(struct condition *condition)
{
	pthread_cond_destroy(&condition->cond);
}

void
condition_wait(struct condition *condition, struct mutex *mutex)
{
	must(pthread_cond_wait(&condition->cond, &mutex->lock));
}

bool
condition_wait_until(struct condition *condition, struct mutex *mutex, int64_t deadline_ms)
{
	struct timespec until = { .tv_sec = deadline_ms / 1000,
		                  .tv_nsec = (deadline_ms % 1000) * 1000000 };
	int             result = pthread_cond_timedwait(&condition->cond, &mutex->lock, &until);

	if (result != 0 && result != ETIMEDOUT)
		abort();
	return result == 0;
}

void
condition_signal(struct condition *condition)
{
	must(pthread_cond_signal(&condition->cond));
}

void
condition_broadcast(struct condition *condition)
{
	must(pthread_cond_broadcast(&condition->cond));
}

int
thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument)
{
	pthread_attr_t attributes;
	sigset_t       all, before;

	sigfillset(&all);
	int result = pthread_attr_init(&attributes);
	if (result != 0)
		return result;
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(thread, &attributes, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return result;
}
