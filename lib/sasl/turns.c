/* turns.c - see turns.h. */
#include "lib/sasl/turns.h"

#define WAITING_MOST 1000  /* sessions that wait; more are told to try later at once */
#define WAIT_MOST_MS 30000 /* as long as clients certainly wait for an answer */
#define PAUSE_MS     20    /* about what a hash takes */

void
auth_turns_init(struct auth_turns *turns, size_t thread_limit)
{
	*turns = (struct auth_turns){ .limit = thread_limit > 1 ? thread_limit / 2 : 1 };
	mutex_init(&turns->lock);
}

void
auth_turns_destroy(struct auth_turns *turns)
{
	mutex_destroy(&turns->lock);
}

static void
turn_stop_waiting_locked(struct auth_turns *turns, struct auth_turn *turn)
{
	turns->waiting -= turn->is_waiting;
	turn->is_waiting = false;
}

static enum auth_turn_answer
turn_wait_locked(struct auth_turns *turns, struct auth_turn *turn, int64_t now_ms,
                 int64_t *pause_ms)
{
	if (turn->is_waiting && now_ms - turn->since_ms > WAIT_MOST_MS)
		return AUTH_TURN_NEVER;
	if (!turn->is_waiting && turns->waiting >= WAITING_MOST)
		return AUTH_TURN_NEVER;
	if (!turn->is_waiting) {
		turn->is_waiting = true;
		turn->since_ms = now_ms;
		turns->waiting++;
	}
	/* All that wait together look some thousand times a second at most. */
	*pause_ms = PAUSE_MS + (int64_t)turns->waiting;
	return AUTH_TURN_WAIT;
}

enum auth_turn_answer
auth_turn_take(struct auth_turns *turns, struct auth_turn *turn, int64_t now_ms, int64_t *pause_ms)
{
	enum auth_turn_answer answer = AUTH_TURN_TAKEN;

	mutex_lock(&turns->lock);
	if (turns->limit > 0 && turns->asking >= turns->limit)
		answer = turn_wait_locked(turns, turn, now_ms, pause_ms);
	if (answer != AUTH_TURN_WAIT)
		turn_stop_waiting_locked(turns, turn);
	turn->is_taken = answer == AUTH_TURN_TAKEN;
	turns->asking += turn->is_taken;
	mutex_unlock(&turns->lock);
	return answer;
}

void
auth_turn_end(struct auth_turns *turns, struct auth_turn *turn)
{
	if (!turn->is_taken && !turn->is_waiting)
		return;
	mutex_lock(&turns->lock);
	turn_stop_waiting_locked(turns, turn);
	turns->asking -= turn->is_taken;
	turn->is_taken = false;
	mutex_unlock(&turns->lock);
}
