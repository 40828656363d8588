/*
 * mutex.h - a lock whose failure modes are our mistakes, so it cannot fail.
 *
 * What a mutex guards is declared below it in the same struct. No lock is held across I/O, DNS,
 * a table lookup or another lock.
 */
#ifndef DAKIYA_BASE_MUTEX_H
#define DAKIYA_BASE_MUTEX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
	pthread_mutex_t lock;
};
struct condition {
	pthread_cond_t cond;
};

#define MUTEX_INIT                                                                                 \
	{                                                                                          \
		PTHREAD_MUTEX_INITIALIZER                                                          \
	}

void mutex_init(struct mutex *mutex);
void mutex_destroy(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);
void condition_init(struct condition *condition); /* waits run on the monotonic clock */
void condition_destroy(struct condition *condition);
void condition_wait(struct condition *condition, struct mutex *mutex);
/* False when deadline_ms (clock_monotonic_ms) has passed. */
bool condition_wait_until(struct condition *condition, struct mutex *mutex, int64_t deadline_ms);
void condition_signal(struct condition *condition);
void condition_broadcast(struct condition *condition);

/*
 * Starts a joinable thread with a 256 KB stack and all signals blocked.
 * Returns 0 or an errno value.
 */
int thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
