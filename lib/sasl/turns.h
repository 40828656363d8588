/*
 * turns.h - how many of a daemon's threads may ask authd at a time.
 *
 * A login occupies a thread of smtpd or pop3d until authd answers, and authd computes few hashes
 * at once: under a flood of logins all threads would stand there. So only some may ask; sessions
 * beyond wait parked, their line still unread, and look again after a pause. No thread waits here.
 */
#ifndef DAKIYA_SASL_TURNS_H
#define DAKIYA_SASL_TURNS_H

#include <stddef.h>

#include "lib/base/mutex.h"

struct auth_turns {
	struct mutex lock;   /* guards what is below, but the limit */
	size_t       limit;  /* logins that ask at a time; 0 = any number */
	size_t       asking; /* never above limit */
	size_t       waiting;
};

/* A session's; all zero at first. */
struct auth_turn {
	bool    is_taken;
	bool    is_waiting;
	int64_t since_ms; /* when the waiting began */
};

enum auth_turn_answer {
	AUTH_TURN_TAKEN, /* ask now; then auth_turn_end */
	AUTH_TURN_WAIT,  /* come again after *pause_ms */
	AUTH_TURN_NEVER, /* too many wait, or this one has waited too long: answer "try later" */
};

/* Half of the threads may ask, so that the others serve everybody else. */
void                  auth_turns_init(struct auth_turns *turns, size_t thread_limit);
void                  auth_turns_destroy(struct auth_turns *turns);
enum auth_turn_answer auth_turn_take(struct auth_turns *turns, struct auth_turn *turn,
                                     int64_t now_ms, int64_t *pause_ms);
/* Whatever it was doing, it is over; harmless when it was nothing. */
void auth_turn_end(struct auth_turns *turns, struct auth_turn *turn);

#endif
