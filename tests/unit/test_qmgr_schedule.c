/* test_qmgr_schedule.c - whose turn it is, on a simulated clock. */
/* links: qmgr/schedule.c qmgr/turns.c qmgr/answers.c qmgr/settings.c qmgr/feedback.c */
/* links: qmgr/backlog.c qmgr/retry.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "qmgr/backlog.h"
#include "qmgr/retry.h"
#include "qmgr/schedule.h"

struct world {
	struct snapshot *snapshot;
	struct schedule  schedule;
	struct lane      lanes[200];
	int64_t          now_ms;
};

static struct world *
world_make(const char *text)
{
	struct world *world = calloc(1, sizeof(*world));
	struct error  error = ERROR_NONE;

	world->snapshot = snapshot_from_text(text, &error);
	if (world->snapshot == NULL)
		fail_msg("%s", error.text);
	schedule_init(&world->schedule, world->snapshot);
	world->now_ms = 1000;
	return world;
}

static void
world_free(struct world *world)
{
	schedule_free(&world->schedule);
	snapshot_destroy(&world->snapshot);
	free(world);
}

static struct destination *
destination(struct world *world, const char *transport, const char *key)
{
	struct transport *way = schedule_transport(&world->schedule, slice_from(transport));

	if (way->room == 0)
		way->room = 100; /* agents */
	return schedule_destination(way, slice_from(key));
}

static struct lane *
lane(struct world *world, size_t index, struct destination *where, bool is_fresh)
{
	struct lane *one = &world->lanes[index];

	list_init(&one->in_destination);
	list_init(&one->in_message);
	one->destination = where;
	one->is_fresh = is_fresh;
	one->waiting = 1000;
	lane_enter(one);
	return one;
}

/* ---- feedback ---- */

static void
feedback_rules_are_numbers_or_parts_of_the_window(void **state)
{
	static const struct {
		const char      *text;
		double           number;
		enum feedback_by by;
	} good[] = { { "1", 1, FEEDBACK_FIXED },
		     { "0.25", 0.25, FEEDBACK_FIXED },
		     { "1/5", 0.2, FEEDBACK_FIXED },
		     { "1/concurrency", 1, FEEDBACK_BY_WINDOW },
		     { " 0.5 / sqrt_concurrency ", 0.5, FEEDBACK_BY_ROOT } };
	static const char *const bad[] = {
		"", "x", "1/", "1/0", "2", "-1", "1/window", "1.2345678"
	};
	struct feedback_rule rule;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(feedback_parse(slice_from(good[i].text), &rule));
		assert_true(rule.number == good[i].number && rule.by == good[i].by);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(feedback_parse(slice_from(bad[i]), &rule));
}

static struct feedback_config
config(void)
{
	return (struct feedback_config){ .positive = { 1, FEEDBACK_FIXED },
		                         .negative = { 1, FEEDBACK_FIXED },
		                         .initial = 5,
		                         .limit = 20,
		                         .failed_cohort_limit = 1 };
}

static void
a_window_that_is_used_grows_with_each_success_up_to_the_limit(void **state)
{
	struct feedback_config how = config();
	struct feedback        feedback;

	(void)state;
	feedback_init(&feedback, &how);
	assert_int_equal(feedback.window, 5);
	for (int expected = 6; expected <= 20; expected++) {
		feedback_success(&feedback, &how, feedback.window);
		assert_int_equal(feedback.window, expected);
	}
	feedback_success(&feedback, &how, 20);
	assert_int_equal(feedback.window, 20);
}

static void
a_window_that_is_not_used_does_not_grow(void **state)
{
	struct feedback_config how = config();
	struct feedback        feedback;

	(void)state;
	feedback_init(&feedback, &how);
	for (int i = 0; i < 50; i++)
		feedback_success(&feedback, &how, 1);
	assert_int_equal(feedback.window, 6); /* one in use and initial_destination_concurrency */
}

static void
a_window_full_of_failures_kills_a_destination_and_a_success_between_saves_it(void **state)
{
	struct feedback_config how = config();
	struct feedback        feedback;
	int                    failures = 0;

	(void)state;
	feedback_init(&feedback, &how);
	while (!feedback_failure(&feedback, &how))
		failures++;
	/* 1/5 + 1/4 + 1/3 + 1/2 = 1.28: the fourth failure completes a cohort */
	assert_int_equal(failures, 3);
	assert_int_equal(feedback.window, 0);

	feedback_init(&feedback, &how);
	for (int i = 0; i < 50; i++) {
		assert_false(feedback_failure(&feedback, &how));
		feedback_success(&feedback, &how, feedback.window);
	}
	how.failed_cohort_limit = 0;
	for (int i = 0; i < 50; i++)
		assert_false(feedback_failure(&feedback, &how));
	assert_int_equal(feedback.window, 1);
}

static void
a_higher_cohort_limit_forgives_more_windows_of_failures(void **state)
{
	struct feedback_config how = config();
	struct feedback        feedback;
	int                    failures = 1;

	(void)state;
	how.failed_cohort_limit = 3;
	feedback_init(&feedback, &how);
	while (!feedback_failure(&feedback, &how))
		failures++;
	/* 1/5 + 1/4 + 1/3 + 1/2 = 1.28, then 1 each at a window of 1: 2.28, 3.28 */
	assert_int_equal(failures, 6);
}

static void
feedback_by_window_needs_a_window_full_for_a_step(void **state)
{
	struct feedback_config how = config();
	struct feedback        feedback;

	(void)state;
	how.positive = (struct feedback_rule){ 1, FEEDBACK_BY_WINDOW };
	feedback_init(&feedback, &how);
	for (int i = 0; i < 4; i++)
		feedback_success(&feedback, &how, feedback.window);
	assert_int_equal(feedback.window, 5); /* 4/5 */
	feedback_success(&feedback, &how, feedback.window);
	assert_int_equal(feedback.window, 6);
}

/* ---- turns ---- */

static void
destinations_take_turns(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	struct destination *b = destination(world, "smtp", "b.test");
	struct transport   *smtp = a->transport;

	(void)state;
	lane(world, 0, a, true);
	lane(world, 1, b, true);
	for (int i = 0; i < 4; i++) {
		struct destination *next = transport_next(smtp);

		assert_ptr_equal(next, i % 2 == 0 ? a : b);
		destination_job_begun(next, world->now_ms);
	}
	world_free(world);
}

static void
a_destination_gets_no_more_than_its_window(void **state)
{
	struct world       *world = world_make("initial_destination_concurrency = 3\n");
	struct destination *a = destination(world, "smtp", "a.test");

	(void)state;
	lane(world, 0, a, true);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(transport_next(a->transport), a);
		destination_job_begun(a, world->now_ms);
	}
	assert_null(transport_next(a->transport));
	destination_job_ended(a, DESTINATION_NEUTRAL, SLICE_EMPTY, world->now_ms);
	assert_ptr_equal(transport_next(a->transport), a);
	world_free(world);
}

static void
messages_take_turns_so_that_a_list_holds_up_nobody(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	struct lane        *list = lane(world, 0, a, true);
	struct lane        *letter;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_ptr_equal(destination_next_lane(a), list);
	letter = lane(world, 1, a, true);
	struct lane *first = destination_next_lane(a), *second = destination_next_lane(a);
	assert_true((first == list && second == letter) || (first == letter && second == list));
	world_free(world);
}

static void
fresh_mail_goes_before_a_backlog_and_does_not_starve_it(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	int                 fresh = 0, retried = 0;

	(void)state;
	for (size_t i = 0; i < 100; i++)
		lane(world, i, a, false);
	lane(world, 100, a, true);
	assert_true(destination_next_lane(a)->is_fresh);
	for (int i = 0; i < 50; i++)
		(*(destination_next_lane(a)->is_fresh ? &fresh : &retried))++;
	assert_int_equal(fresh, 40);
	assert_int_equal(retried, 10);
	world_free(world);
}

static struct destination *
numbered(struct world *world, const char *transport, size_t number)
{
	char key[32];

	snprintf(key, sizeof(key), "d%zu.test", number);
	return destination(world, transport, key);
}

/* Gives the next job; NULL when nobody may have one. */
static struct destination *
begin(struct world *world, struct transport *transport)
{
	struct destination *next = transport_next(transport);

	if (next != NULL)
		destination_job_begun(next, world->now_ms);
	return next;
}

static void
a_letter_to_a_new_destination_overtakes_a_list_to_many(void **state)
{
	struct world     *world = world_make("");
	struct transport *smtp = schedule_transport(&world->schedule, SLICE("smtp"));
	struct destination *new;
	int jobs = 0;

	(void)state;
	for (size_t i = 0; i < 150; i++) {
		struct lane *one = &world->lanes[i];

		one->is_list = true;
		lane(world, i, numbered(world, "smtp", i), true);
	}
	for (size_t i = 0; i < 20; i++)
		assert_non_null(begin(world, smtp));
	new = destination(world, "smtp", "new.test");
	lane(world, 150, new, true);
	for (; begin(world, smtp) != new; jobs++)
		assert_true(jobs < 2);
	world_free(world);
}

static void
a_list_is_not_starved_by_letters(void **state)
{
	struct world       *world = world_make("");
	struct destination *list = destination(world, "smtp", "list.test");
	struct destination *letters = destination(world, "smtp", "letters.test");
	int                 to_list = 0;

	(void)state;
	world->lanes[0].is_list = true;
	lane(world, 0, list, true);
	lane(world, 1, letters, true);
	for (int i = 0; i < 100; i++) {
		struct destination *next = begin(world, list->transport);

		to_list += next == list;
		destination_job_ended(next, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	}
	assert_int_equal(to_list, 20);
	world_free(world);
}

static void
fresh_mail_to_a_new_destination_overtakes_a_flushed_backlog(void **state)
{
	struct world     *world = world_make("");
	struct transport *smtp = schedule_transport(&world->schedule, SLICE("smtp"));
	struct destination *new;
	int jobs = 0;

	(void)state;
	smtp->room = 1000;
	for (size_t i = 0; i < 150; i++)
		lane(world, i, numbered(world, "smtp", i), false);
	for (size_t i = 0; i < 20; i++)
		assert_non_null(begin(world, smtp));
	new = destination(world, "smtp", "new.test");
	lane(world, 150, new, true);
	for (; begin(world, smtp) != new; jobs++)
		assert_true(jobs < 2);
	world_free(world);
}

/* Postfix's delivery slots want the same: that a short message does not wait for a long one. */
static void
a_letter_waits_for_one_job_of_each_message_in_line(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	struct lane        *letter;
	int                 jobs = 1;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		lane(world, i, a, true); /* 1000 recipients each: 20 jobs */
	for (int i = 0; i < 13; i++)
		destination_next_lane(a);
	letter = lane(world, 5, a, true);
	for (; destination_next_lane(a) != letter; jobs++)
		assert_true(jobs <= 5);
	world_free(world);
}

/* ---- the dead and the living ---- */

/* A destination that has answered. */
static struct destination *
proven(struct world *world, const char *key)
{
	struct destination *one = destination(world, "smtp", key);

	destination_job_begun(one, world->now_ms);
	destination_job_ended(one, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	return one;
}

static void
half_of_the_agents_is_for_destinations_that_have_answered(void **state)
{
	static const struct {
		size_t agents;
		int    probes;
	} rows[] = { { 1, 1 }, { 3, 3 }, { 4, 3 }, { 5, 4 }, { 11, 7 }, { 100, 51 }, { 150, 100 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world       *world = world_make("");
		struct destination *alive = proven(world, "alive.test");
		struct transport   *smtp = alive->transport;
		int                 probes = 0;

		smtp->room = rows[i].agents;
		for (size_t j = 0; j < 199; j++) /* fresh mail or not */
			lane(world, j, numbered(world, "smtp", j), j % 2 == 0);
		while (begin(world, smtp) != NULL)
			probes++;
		assert_int_equal(probes, rows[i].probes);
		lane(world, 199, alive, false);
		int most = alive->feedback.window;
		if (rows[i].agents < (size_t)most)
			most = (int)rows[i].agents;
		for (int job = 0; job < most; job++)
			assert_ptr_equal(begin(world, smtp), alive);
		assert_null(begin(world, smtp));
		world_free(world);
	}
}

static void
agents_that_are_lent_bring_no_destination_more_than_the_limit(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = proven(world, "a.test"), *b = proven(world, "b.test");
	struct transport   *smtp = a->transport;

	(void)state;
	smtp->room = 35;
	smtp->lent = 30;
	a->feedback.window = b->feedback.window = 20;
	for (size_t i = 0; i < 20; i++)
		lane(world, i, a, true);
	for (int job = 0; job < 5; job++)
		assert_ptr_equal(begin(world, smtp), a);
	assert_null(begin(world, smtp));
	lane(world, 20, b, true); /* what one may not have, the next one gets */
	assert_ptr_equal(begin(world, smtp), b);
	destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	smtp->turn = 0;
	bool is_next = false;
	for (int job = 0; job < 5; job++)
		is_next |= begin(world, smtp) == a;
	assert_true(is_next);
	world_free(world);
}

static void
a_new_destination_gets_its_window_while_agents_are_plenty(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	struct destination *b = destination(world, "smtp", "b.test");

	(void)state;
	lane(world, 0, a, true);
	for (int i = 0; i < 5; i++) /* initial_destination_concurrency */
		assert_ptr_equal(begin(world, a->transport), a);
	assert_null(begin(world, a->transport));
	a->transport->room = 10; /* six may probe, and the first probe there comes first */
	lane_leave(&world->lanes[0]);
	destination_job_ended(a, DESTINATION_NEUTRAL, SLICE_EMPTY, world->now_ms);
	lane_enter(&world->lanes[0]);
	lane(world, 1, b, true);
	assert_ptr_equal(begin(world, a->transport), b);
	assert_ptr_equal(begin(world, a->transport), a);
	assert_null(begin(world, a->transport));
	world_free(world);
}

static void
a_first_probe_comes_before_a_second_one_elsewhere(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	struct destination *b = destination(world, "smtp", "b.test");

	(void)state;
	lane(world, 0, a, true);
	assert_ptr_equal(begin(world, a->transport), a);
	lane(world, 1, b, false);
	assert_ptr_equal(begin(world, a->transport), b);
	assert_ptr_equal(begin(world, a->transport), a);
	world_free(world);
}

static void
a_destination_that_answers_is_probed_no_more(void **state)
{
	struct world       *world = world_make("");
	struct transport   *smtp = schedule_transport(&world->schedule, SLICE("smtp"));
	struct destination *alive = destination(world, "smtp", "alive.test");
	struct destination *next;
	int                 jobs = 0;

	(void)state;
	smtp->room = 10;
	lane(world, 0, alive, false);
	assert_ptr_equal(begin(world, smtp), alive);
	assert_int_equal(smtp->probes, 1);
	for (size_t i = 1; i < 100; i++)
		lane(world, i, numbered(world, "smtp", i), false);
	while (begin(world, smtp) != NULL)
		continue;
	assert_int_equal(smtp->probes, 6);
	destination_job_ended(alive, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	while ((next = begin(world, smtp)) != NULL)
		jobs += next == alive;
	assert_int_equal(alive->busy, alive->feedback.window); /* its whole window */
	assert_true(jobs >= 4);
	assert_int_equal(smtp->probes, 6);
	world_free(world);
}

/* One job there fails; a cohort of failures is not complete. */
static struct destination *
suspect(struct world *world, const char *key)
{
	struct destination *one = destination(world, "smtp", key);

	destination_job_begun(one, world->now_ms);
	destination_job_ended(one, DESTINATION_FAILED, SLICE("x"), world->now_ms);
	assert_true(one->is_suspect);
	assert_false(destination_is_dead(one));
	return one;
}

static void
suspects_come_last_one_job_each_and_leave_agents_to_the_unknown(void **state)
{
	struct world     *world = world_make("");
	struct transport *smtp = schedule_transport(&world->schedule, SLICE("smtp"));
	char              key[32];
	int               unknown = 0;

	(void)state;
	smtp->room = 20; /* 11 for probes; 8 of them for suspects, or 2 when others wait */
	for (size_t i = 0; i < 50; i++) {
		snprintf(key, sizeof(key), "s%zu.test", i);
		lane(world, i, suspect(world, key), true); /* fresh mail, too */
	}
	for (int i = 0; i < 8; i++)
		assert_int_equal(begin(world, smtp)->busy, 1);
	assert_null(begin(world, smtp));
	destination_job_ended(destination(world, "smtp", "s0.test"), DESTINATION_NEUTRAL,
	                      SLICE_EMPTY, world->now_ms);
	for (size_t i = 50; i < 150; i++)
		lane(world, i, numbered(world, "smtp", i), false);
	for (struct destination *next; (next = begin(world, smtp)) != NULL; unknown++)
		assert_false(next->is_suspect);
	assert_int_equal(unknown, 4);
	world_free(world);
}

static void
probes_are_counted_as_they_end(void **state)
{
	struct world       *world = world_make("initial_destination_concurrency = 2\n");
	struct transport   *smtp = schedule_transport(&world->schedule, SLICE("smtp"));
	struct destination *a = destination(world, "smtp", "a.test");

	(void)state;
	smtp->room = 1;
	lane(world, 0, a, false);
	for (int i = 0; i < 2; i++) {
		assert_ptr_equal(begin(world, smtp), a);
		assert_null(begin(world, smtp)); /* no more probes */
		assert_int_equal(smtp->probes, 1);
		destination_job_ended(a, DESTINATION_FAILED, SLICE("x"), world->now_ms);
		assert_int_equal(smtp->probes, 0);
	}
	assert_true(destination_is_dead(a));
	world_free(world);
}

static void
patience_ends_when_many_wait_for_an_answer_and_doubles_with_each_silence(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	struct destination *alive = proven(world, "alive.test");
	struct transport   *smtp = a->transport;

	(void)state;
	smtp->room = 20;
	lane(world, 0, a, true);
	for (size_t i = 1; i < 4; i++) {
		struct destination *other = numbered(world, "smtp", i);

		destination_job_begun(other, world->now_ms);
		assert_int_equal(destination_patience(other), 0);
	}
	destination_job_begun(numbered(world, "smtp", 4), world->now_ms);
	for (int64_t patience = 2000; patience <= 64000; patience *= 2) {
		assert_ptr_equal(begin(world, smtp), a); /* the fifth of twenty */
		assert_int_equal(destination_patience(a), patience);
		destination_job_ended(a, DESTINATION_SILENT, SLICE_EMPTY, world->now_ms);
		assert_false(destination_is_dead(a));
		assert_int_equal(a->feedback.window, 1);
	}
	destination_job_begun(alive, world->now_ms);
	assert_int_equal(destination_patience(alive), 0);
	assert_ptr_equal(begin(world, smtp), a);
	destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	assert_false(a->is_suspect);
	assert_int_equal(a->silences, 0);
	assert_true(a->feedback.window >= 5);
	world_free(world);
}

static void
a_suspect_is_dead_after_one_failure_more(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");

	(void)state;
	destination_suspect(a, world->now_ms); /* its mail says so, after a restart */
	lane(world, 0, a, false);
	assert_ptr_equal(begin(world, a->transport), a);
	destination_job_ended(a, DESTINATION_FAILED, SLICE("x"), world->now_ms);
	assert_true(destination_is_dead(a));
	schedule_wake(&world->schedule, world->now_ms + 300000);
	assert_false(destination_is_dead(a));
	assert_true(a->is_suspect);
	assert_int_equal(a->feedback.window, 1);
	world_free(world);
}

static void
that_nobody_answered_is_remembered_for_maximal_backoff_time_and_over_a_flush(void **state)
{
	struct world       *world = world_make("maximal_backoff_time = 1000s\n");
	struct destination *a = suspect(world, "a.test");
	struct transport   *smtp = a->transport;

	(void)state;
	destination_rest(a);
	schedule_wake(&world->schedule, world->now_ms + 999999);
	schedule_revive(&world->schedule);
	assert_ptr_equal(hash_get(&smtp->destinations, SLICE("a.test")), a);
	assert_true(a->is_suspect);
	schedule_wake(&world->schedule, world->now_ms + 1000000);
	assert_null(hash_get(&smtp->destinations, SLICE("a.test")));
	world_free(world);
}

static void
mail_for_suspects_fills_half_of_the_room_for_what_is_tried_again(void **state)
{
	struct world       *world = world_make("qmgr_message_active_limit = 200\n");
	struct destination *a = suspect(world, "a.test"), *b = suspect(world, "b.test");

	(void)state;
	for (size_t i = 0; i < 74; i++)
		lane(world, i, a, false);
	assert_false(destination_is_crowded(a));
	lane(world, 74, a, false);
	assert_true(destination_is_crowded(a));
	assert_false(destination_is_crowded(b)); /* one must be there, or it is never probed */
	assert_false(destination_is_crowded(proven(world, "alive.test")));
	lane_leave(&world->lanes[0]);
	assert_false(destination_is_crowded(a));
	lane_enter(&world->lanes[0]);
	destination_job_begun(a, world->now_ms);
	destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	assert_int_equal(world->schedule.suspect_lanes, 0);
	world_free(world);
}

/* ---- a whole transport with agents, simulated ---- */

#define BASE_MOST 100
#define LEND_MS   200 /* smtp/silence.c */
#define LIVE_MS   20  /* a delivery */
#define SILENT_MS 30000

struct simulation {
	struct world     *world;
	struct transport *smtp;
	size_t            base;                    /* the process limit */
	size_t            lent_most, lent, silent; /* as in smtp/worker.c */
	size_t            taken, taken_most;       /* places, and how many at a time */
	int               busy_most;               /* at one destination */
	struct list_node  waiting;                 /* jobs that wait for a place */
	size_t            live, dead, mails;       /* destinations, messages for each */
	struct lane      *lanes;
	struct heap       events;
	size_t            delivered;
	int64_t           done_ms; /* the last of the living had its last message */
};
struct simulated_job {
	struct heap_node    node;
	struct list_node    in_waiting;
	struct destination *where;
	int64_t             end_ms, patience_ms;
	bool                is_dead, has_patience;
};

/* It connects: who answers waits for a place, of those that do not it is noticed after a while. */
static void
simulated_connect(struct simulation *sim, struct simulated_job *job)
{
	int64_t now_ms = sim->world->now_ms;

	if (!job->is_dead) {
		list_append(&sim->waiting, &job->in_waiting);
		return;
	}
	job->end_ms = now_ms + (job->has_patience ? job->patience_ms : SILENT_MS);
	heap_insert(&sim->events, &job->node, now_ms + LEND_MS);
}

static void
simulated_begin(struct simulation *sim, struct destination *where)
{
	struct simulated_job *job = calloc(1, sizeof(*job));
	struct lane          *mail = destination_next_lane(where);

	job->where = where;
	destination_job_begun(where, sim->world->now_ms);
	if (where->busy > sim->busy_most)
		sim->busy_most = where->busy;
	if (--mail->waiting == 0)
		lane_leave(mail);
	job->is_dead = where->key[0] == 's';
	job->patience_ms = destination_patience(where);
	job->has_patience = job->is_dead && job->patience_ms > 0 && job->patience_ms < SILENT_MS;
	list_init(&job->in_waiting);
	simulated_connect(sim, job);
}

static void
simulated_places(struct simulation *sim)
{
	struct list_node *node;

	while (sim->taken < sim->base && (node = list_first(&sim->waiting)) != NULL) {
		struct simulated_job *job = CONTAINER_OF(node, struct simulated_job, in_waiting);

		list_remove(node);
		job->end_ms = sim->world->now_ms + LIVE_MS;
		heap_insert(&sim->events, &job->node, job->end_ms);
		if (++sim->taken > sim->taken_most)
			sim->taken_most = sim->taken;
	}
}

static void
simulated_event(struct simulation *sim, struct simulated_job *job)
{
	struct destination *where = job->where;
	int64_t             now_ms = sim->world->now_ms;

	if (job->end_ms > now_ms) {
		if (sim->lent < ++sim->silent && sim->lent < sim->lent_most)
			sim->lent++;
		sim->smtp->lent = sim->lent;
		sim->smtp->room = sim->base + sim->lent;
		heap_insert(&sim->events, &job->node, job->end_ms);
		return;
	}
	sim->silent -= job->is_dead;
	sim->taken -= !job->is_dead;
	if (sim->lent > sim->silent + sim->base / 2)
		sim->lent--;
	sim->smtp->lent = sim->lent;
	sim->smtp->room = sim->base + sim->lent;
	if (!job->is_dead && ++sim->delivered == sim->live * sim->mails)
		sim->done_ms = now_ms;
	if (job->has_patience) { /* the message is back in its line */
		struct lane *mail = &sim->lanes[strtoul(where->key + 1, NULL, 10)];

		mail->waiting++;
		lane_enter(mail);
	}
	destination_job_ended(where,
	                      !job->is_dead       ? DESTINATION_OK
	                      : job->has_patience ? DESTINATION_SILENT
	                                          : DESTINATION_FAILED,
	                      SLICE("x"), now_ms);
	free(job);
}

static void
simulation_begin(struct simulation *sim, bool is_fresh)
{
	char key[32];

	list_init(&sim->waiting);
	sim->lanes = calloc(sim->live + sim->dead, sizeof(*sim->lanes));
	sim->smtp = schedule_transport(&sim->world->schedule, SLICE("smtp"));
	sim->smtp->room = sim->base;
	for (size_t i = 0, all = sim->live + sim->dead; i < all; i++) {
		struct lane *mail = &sim->lanes[i];
		bool         is_dead = i * sim->live / all == (i + 1) * sim->live / all;

		snprintf(key, sizeof(key), "%c%zu", is_dead ? 's' : 'l', i);
		list_init(&mail->in_destination);
		list_init(&mail->in_message);
		mail->destination = destination(sim->world, "smtp", key);
		mail->is_fresh = is_fresh;
		mail->waiting = (uint32_t)sim->mails;
		lane_enter(mail);
	}
}

static void
simulation_end(struct simulation *sim)
{
	struct list_node *waiting;
	struct heap_node *node;

	while ((node = heap_first(&sim->events)) != NULL) {
		heap_remove(&sim->events, node);
		free(CONTAINER_OF(node, struct simulated_job, node));
	}
	while ((waiting = list_first(&sim->waiting)) != NULL) {
		list_remove(waiting);
		free(CONTAINER_OF(waiting, struct simulated_job, in_waiting));
	}
	heap_free(&sim->events);
	free(sim->lanes);
	world_free(sim->world);
}

/* Seconds until the mail for all living destinations is delivered. */
static double
simulate(struct simulation sim, bool is_fresh)
{
	struct heap_node *node;
	size_t            busy = 0;

	sim.world = world_make("");
	simulation_begin(&sim, is_fresh);
	while (sim.done_ms == 0) {
		struct destination *next;

		while (busy < sim.smtp->room && (next = transport_next(sim.smtp)) != NULL) {
			simulated_begin(&sim, next);
			busy++;
		}
		simulated_places(&sim);
		node = heap_first(&sim.events);
		if (node == NULL)
			break;
		sim.world->now_ms = node->when;
		heap_remove(&sim.events, node);
		struct simulated_job *job = CONTAINER_OF(node, struct simulated_job, node);
		busy -= job->end_ms <= node->when;
		simulated_event(&sim, job);
	}
	assert_true(sim.taken_most <= sim.base);
	assert_true((size_t)sim.busy_most <= sim.base);
	double seconds = (double)(sim.done_ms - 1000) / 1000;
	simulation_end(&sim);
	return seconds;
}

static void
the_living_keep_their_speed_however_many_are_dead(void **state)
{
	static const struct {
		size_t base, live, dead, mails, lent;
		double more_s; /* than without the dead: what finding out who lives takes */
	} rows[] = {
		{ BASE_MOST, 100, 100, 500, 900, 0.5 },
		{ BASE_MOST, 1000, 1000, 50, 900, 5 },
		{ BASE_MOST, 10000, 10000, 10, 900, 25 },
		{ BASE_MOST, 1, 10000, 10, 900, 35 },
		{ BASE_MOST, 19000, 1000, 10, 900, 5 },
		{ BASE_MOST, 100, 100, 500, 0, 12 },
		{ BASE_MOST, 1000, 1000, 50, 0, 60 },
		/* limits of the service's own */
		{ 50, 100, 100, 250, 900, 1 },
		{ 20, 100, 100, 100, 900, 2 },
		{ 20, 1000, 1000, 10, 900, 20 },
		{ 5, 100, 100, 25, 900, 7 },
		{ 2, 20, 20, 25, 900, 5 },
		{ 1, 20, 20, 10, 900, 6 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int is_fresh = 0; is_fresh < 2; is_fresh++) {
			struct simulation sim = { .base = rows[i].base,
				                  .lent_most = rows[i].lent,
				                  .live = rows[i].live,
				                  .mails = rows[i].mails };
			double            alone = simulate(sim, is_fresh);
			sim.dead = rows[i].dead;
			double beside = simulate(sim, is_fresh);

			if (beside > alone + rows[i].more_s)
				fail_msg("row %zu: %.2f s, alone %.2f s", i, beside, alone);
		}
}

static void
that_a_destination_answers_is_remembered_for_a_minute(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");
	struct transport   *smtp = a->transport;

	(void)state;
	lane(world, 0, a, false);
	assert_ptr_equal(begin(world, smtp), a);
	lane_leave(&world->lanes[0]);
	destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	destination_rest(a);
	schedule_wake(&world->schedule, world->now_ms + 59999);
	assert_ptr_equal(hash_get(&smtp->destinations, SLICE("a.test")), a);
	schedule_wake(&world->schedule, world->now_ms + 60000);
	assert_null(hash_get(&smtp->destinations, SLICE("a.test")));
	world_free(world);
}

static void
a_transport_with_one_agent_still_tries(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");

	(void)state;
	a->transport->room = 1;
	lane(world, 0, a, false);
	assert_ptr_equal(begin(world, a->transport), a);
	world_free(world);
}

static void
mail_that_nobody_serves_waits_for_transport_retry_time(void **state)
{
	struct world     *world = world_make("transport_retry_time = 60s\n");
	struct transport *uucp = schedule_transport(&world->schedule, SLICE("uucp"));

	(void)state;
	assert_false(transport_is_given_up(uucp, 1000000)); /* nothing waits */
	uucp->was_served = true;
	lane(world, 0, destination(world, "uucp", "a.test"), true);
	assert_false(transport_is_given_up(uucp, 1000000));
	assert_false(transport_is_given_up(uucp, 1059999));
	assert_true(transport_is_given_up(uucp, 1060000));
	assert_false(transport_is_given_up(uucp, 1119999));
	assert_true(transport_is_given_up(uucp, 1120000));
	uucp->agents = 1;
	assert_false(transport_is_given_up(uucp, 9000000));
	world_free(world);
}

/* A small active limit is no reason to refuse mail; Postfix leaves it in incoming. */
static void
an_active_limit_refuses_no_mail_below_what_memory_allows(void **state)
{
	static const struct {
		const char *settings;
		size_t      most;
	} rows[] = { { "", 200000 },
		     { "qmgr_message_active_limit = 1\n", 200000 },
		     { "qmgr_message_active_limit = 50000\n", 500000 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world *world = world_make(rows[i].settings);

		assert_int_equal(retry_memory_most(world->schedule.parameters), rows[i].most);
		world_free(world);
	}
}

static void
a_worker_keeps_to_a_rate_delay(void **state)
{
	struct world       *world = world_make("virtual_destination_rate_delay = 1s\n");
	struct destination *user = destination(world, "virtual", "1000:1000");

	(void)state;
	user->is_worker = true;
	lane(world, 0, user, true);
	assert_true(destination_is_ready(user));
	destination_job_begun(user, world->now_ms);
	assert_false(destination_is_ready(user));
	destination_job_ended(user, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
	assert_false(destination_is_ready(user));
	schedule_wake(&world->schedule, world->now_ms + 1000);
	assert_true(destination_is_ready(user));
	world_free(world);
}

/* What a table names and master.cf does not: its mail must not wait a minute to say so. */
static void
mail_for_a_transport_that_was_never_served_is_deferred_soon(void **state)
{
	struct world     *world = world_make("");
	struct transport *none = schedule_transport(&world->schedule, SLICE("none"));

	(void)state;
	lane(world, 0, destination(world, "none", "a.test"), true);
	assert_false(transport_is_given_up(none, 1000000));
	assert_false(transport_is_given_up(none, 1009999));
	assert_true(transport_is_given_up(none, 1010000));
	world_free(world);
	world = world_make("transport_retry_time = 3s\n");
	none = schedule_transport(&world->schedule, SLICE("none"));
	lane(world, 0, destination(world, "none", "a.test"), true);
	assert_false(transport_is_given_up(none, 1000000));
	assert_true(transport_is_given_up(none, 1003000));
	world_free(world);
}

/* A host that refuses with 421 4.7.0 and one that cannot be connected to are told apart. */
static void
what_waits_for_the_dead_has_the_status_of_the_failure(void **state)
{
	struct world       *world = world_make("");
	struct destination *a = destination(world, "smtp", "a.test");

	(void)state;
	assert_true(slice_equal(destination_dead_status(a), SLICE("4.4.1")));
	destination_note_status(a, SLICE("4.7.0"));
	assert_true(slice_equal(destination_dead_status(a), SLICE("4.7.0")));
	destination_note_status(a, SLICE("5.7.1")); /* the mail that waits has not failed */
	assert_true(slice_equal(destination_dead_status(a), SLICE("4.7.0")));
	world_free(world);
}

/* ---- again, and no more ---- */

#define S INT64_C(1000000)

static void
backoff_is_the_age_within_its_bounds(void **state)
{
	static const struct {
		int64_t age_s, pause_s;
	} rows[] = { { 0, 300 },     { 299, 300 },   { 300, 300 },   { 301, 301 },
		     { 3999, 3999 }, { 4000, 4000 }, { 4001, 4000 }, { 432000, 4000 } };
	struct world            *world = world_make("");
	const struct parameters *p = world->schedule.parameters;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(retry_next_us(p, 7 * S, (7 + rows[i].age_s) * S),
		                 (7 + rows[i].age_s + rows[i].pause_s) * S);
	/* A clock that went back. */
	assert_int_equal(retry_next_us(p, 1000 * S, 10 * S), 310 * S);
	world_free(world);
}

static void
a_message_is_tried_twenty_times_a_day_and_given_up_after_five(void **state)
{
	struct world            *world = world_make("");
	const struct parameters *p = world->schedule.parameters;
	int64_t                  now_us = 0;
	int                      attempts = 1;

	(void)state;
	while (!retry_is_over(p, false, 0, now_us)) {
		now_us = retry_next_us(p, 0, now_us);
		attempts++;
	}
	/* 0, 300, 600, 1200, 2400, 4800, then each 4000 s up to 432000 s */
	assert_int_equal(attempts, 6 + (432000 - 4800 + 3999) / 4000);
	world_free(world);
}

static void
lifetimes_differ_for_the_null_sender(void **state)
{
	struct world *world =
		world_make("maximal_queue_lifetime = 2d\nbounce_queue_lifetime = 1h\n");
	const struct parameters *p = world->schedule.parameters;

	(void)state;
	assert_false(retry_is_over(p, false, S, 172800 * S));
	assert_true(retry_is_over(p, false, S, 172801 * S));
	assert_false(retry_is_over(p, true, S, 3600 * S));
	assert_true(retry_is_over(p, true, S, 3601 * S));
	world_free(world);
}

static void
a_lifetime_of_nothing_is_one_attempt(void **state)
{
	struct world *world = world_make("maximal_queue_lifetime = 0\n");

	(void)state;
	assert_true(retry_is_over(world->schedule.parameters, false, 5 * S, 5 * S));
	world_free(world);
}

static void
the_sender_is_warned_after_delay_warning_time(void **state)
{
	struct world *off = world_make(""), *on = world_make("delay_warning_time = 4h\n");

	(void)state;
	assert_false(retry_is_late(off->schedule.parameters, 0, 1000000 * S));
	assert_false(retry_is_late(on->schedule.parameters, 0, 14399 * S));
	assert_true(retry_is_late(on->schedule.parameters, 0, 14400 * S));
	world_free(off);
	world_free(on);
}

static void
recipients_have_a_limit_and_a_giant_passes_it(void **state)
{
	static const struct {
		struct active_count active;
		bool                has_room, is_overfull;
	} rows[] = {
		{ { 300, 300, 0, 999 }, true, false },      { { 300, 300, 0, 1000 }, false, false },
		{ { 300, 190, 9, 1000000 }, true, true }, /* or it would wait for ever */
		{ { 300, 190, 10, 1000000 }, false, true }, { { 300, 199, 0, 10000 }, true, false },
		{ { 300, 200, 0, 10001 }, false, true },    { { 1001, 20, 0, 1001 }, false, true },
	};
	struct world *world = world_make("qmgr_message_recipient_limit = 1000\n"
	                                 "qmgr_message_active_limit = 1000\n");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (retry_has_room(world->schedule.parameters, &rows[i].active) !=
		            rows[i].has_room ||
		    retry_is_overfull(world->schedule.parameters, &rows[i].active) !=
		            rows[i].is_overfull)
			fail_msg("row %zu", i);
	world_free(world);
}

static void
a_quarter_of_the_active_queue_is_for_fresh_mail(void **state)
{
	static const struct {
		struct active_count active;
		bool                has_room;
	} rows[] = {
		{ { 0, 0, 0, 0 }, true },
		{ { 749, 749, 0, 749 }, true },
		{ { 750, 750, 0, 750 }, false },
		{ { 700, 700, 49, 700 }, true },
		{ { 700, 700, 50, 700 }, false },
		{ { 999, 100, 0, 999 }, true },
		{ { 1000, 100, 0, 1000 }, false },
		{ { 0, 0, 500, 0 }, false }, /* not all of them from the disk at once */
	};
	struct world *world = world_make("qmgr_message_active_limit = 1000\n");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (retry_has_room(world->schedule.parameters, &rows[i].active) != rows[i].has_room)
			fail_msg("row %zu", i);
	world_free(world);
}

/* ---- pauses ---- */

static void
a_dead_destination_is_left_alone_for_minimal_backoff_time(void **state)
{
	struct world *world =
		world_make("minimal_backoff_time = 300s\ninitial_destination_concurrency = 1\n");
	struct destination *a = destination(world, "smtp", "a.test");

	(void)state;
	lane(world, 0, a, true);
	destination_job_begun(a, world->now_ms);
	destination_job_ended(a, DESTINATION_FAILED, SLICE("connect: refused"), world->now_ms);
	assert_true(destination_is_dead(a));
	assert_string_equal(a->dead_reason, "connect: refused");
	assert_null(transport_next(a->transport));
	assert_int_equal(schedule_next_wake(&world->schedule), world->now_ms + 300000);
	schedule_wake(&world->schedule, world->now_ms + 299999);
	assert_true(destination_is_dead(a));
	schedule_wake(&world->schedule, world->now_ms + 300000);
	assert_false(destination_is_dead(a));
	assert_ptr_equal(transport_next(a->transport), a);
	world_free(world);
}

static void
a_flush_revives_the_dead(void **state)
{
	struct world       *world = world_make("initial_destination_concurrency = 1\n");
	struct destination *a = destination(world, "smtp", "a.test");

	(void)state;
	lane(world, 0, a, true);
	destination_job_begun(a, world->now_ms);
	destination_job_ended(a, DESTINATION_FAILED, SLICE("x"), world->now_ms);
	schedule_revive(&world->schedule);
	assert_ptr_equal(transport_next(a->transport), a);
	world_free(world);
}

static void
a_destination_rate_delay_means_one_at_a_time_with_pauses(void **state)
{
	struct world       *world = world_make("slow_destination_rate_delay = 2s\n");
	struct destination *a = destination(world, "slow", "a.test");
	struct destination *b = destination(world, "slow", "b.test");

	(void)state;
	lane(world, 0, a, true);
	destination_job_begun(a, world->now_ms);
	assert_null(transport_next(a->transport));
	destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms + 500);
	assert_null(transport_next(a->transport));
	lane(world, 1, b, true); /* another destination is not held up */
	assert_ptr_equal(transport_next(b->transport), b);
	lane_leave(&world->lanes[1]);
	schedule_wake(&world->schedule, world->now_ms + 2499);
	assert_null(transport_next(a->transport));
	schedule_wake(&world->schedule, world->now_ms + 2500);
	assert_ptr_equal(transport_next(a->transport), a);
	world_free(world);
}

/* postconf(5): all deliveries of the transport happen one at a time, with the delay in between. */
static void
a_transport_rate_delay_means_one_at_a_time_for_all_its_destinations(void **state)
{
	struct world       *world = world_make("slow_transport_rate_delay = 1s\n");
	struct destination *a = destination(world, "slow", "a.test");

	(void)state;
	lane(world, 0, a, true);
	lane(world, 1, destination(world, "slow", "b.test"), true);
	destination_job_begun(a, world->now_ms);
	assert_null(transport_next(a->transport));
	schedule_wake(&world->schedule, world->now_ms + 1500); /* the delivery goes on */
	assert_null(transport_next(a->transport));
	destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms + 1500);
	assert_null(transport_next(a->transport));
	schedule_wake(&world->schedule, world->now_ms + 2499);
	assert_null(transport_next(a->transport));
	schedule_wake(&world->schedule, world->now_ms + 2500);
	assert_non_null(transport_next(a->transport));
	world_free(world);
}

/* postconf(5): a recipient limit of 1 makes limits per destination limits per recipient. */
static void
with_a_recipient_limit_of_one_each_recipient_is_a_destination(void **state)
{
	struct world       *world = world_make("one_destination_recipient_limit = 1\n"
	                                             "one_destination_concurrency_limit = 1\n"
	                                             "one_destination_rate_delay = 5s\n");
	struct transport   *one = schedule_transport(&world->schedule, SLICE("one"));
	struct transport   *many = schedule_transport(&world->schedule, SLICE("many"));
	struct buf          key = BUF(1000);
	struct destination *a, *b;

	(void)state;
	one->room = 100;
	assert_true(schedule_key(one, SLICE("[hub]:24"), SLICE("a@x.test"), &key));
	a = schedule_destination(one, buf_slice(&key));
	assert_true(schedule_key(one, SLICE("[hub]:24"), SLICE("b@x.test"), &key));
	b = schedule_destination(one, buf_slice(&key));
	assert_ptr_not_equal(a, b);
	assert_true(slice_equal(a->nexthop, SLICE("[hub]:24")));
	assert_true(slice_equal(b->nexthop, SLICE("[hub]:24")));
	lane(world, 0, a, true);
	lane(world, 1, b, true);
	destination_job_begun(a, world->now_ms);
	assert_ptr_equal(transport_next(one), b); /* neither the limit nor the delay is b's */
	assert_true(schedule_key(one, SLICE("[hub]:24"), SLICE("a@x.test"), &key));
	assert_ptr_equal(schedule_destination(one, buf_slice(&key)), a);
	assert_true(schedule_key(many, SLICE("[hub]:24"), SLICE("a@x.test"), &key));
	assert_true(slice_equal(buf_slice(&key), SLICE("[hub]:24")));
	buf_free(&key);
	world_free(world);
}

/* Every parameter of FACTS 2.2 that belongs to a transport, as default_ and as NAME_. */
static void
each_parameter_has_a_default_and_a_form_for_one_transport(void **state)
{
	static const struct {
		const char *text; /* @ is default or smtp */
		int         initial, limit, cohorts;
		uint32_t    recipients;
		int64_t     destination_s, transport_s;
	} rows[] = {
		{ "", 5, 20, 1, 50, 0, 0 },
		{ "@_destination_concurrency_limit = 7", 5, 7, 1, 50, 0, 0 },
		{ "@_destination_concurrency_limit = 0", 5, 0, 1, 50, 0, 0 },
		{ "@_destination_concurrency_failed_cohort_limit = 3", 5, 20, 3, 50, 0, 0 },
		{ "@_destination_recipient_limit = 2", 5, 20, 1, 2, 0, 0 },
		{ "@_destination_recipient_limit = 0", 5, 20, 1, 0, 0, 0 },
		{ "@_destination_rate_delay = 3m", 1, 1, 1, 50, 180, 0 },
		{ "@_destination_rate_delay = 100d", 1, 1, 1, 50, 8640000, 0 },
		{ "@_transport_rate_delay = 2s", 5, 20, 1, 50, 0, 2 },
	};
	char text[300], word[16], other[16];

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		bool        is_default = i % 2 == 0;
		const char *rest = rows[i / 2].text;

		snprintf(word, sizeof(word), "%s", is_default ? "default" : "smtp");
		snprintf(other, sizeof(other), "%s", is_default ? "relay" : "smtp");
		snprintf(text, sizeof(text), "%s%s\n", *rest == '@' ? word : "",
		         *rest == '@' ? rest + 1 : rest);
		struct world     *world = world_make(text);
		struct transport *way = schedule_transport(&world->schedule, slice_from(other));

		if (way->feedback.initial != rows[i / 2].initial ||
		    way->feedback.limit != rows[i / 2].limit ||
		    way->feedback.failed_cohort_limit != rows[i / 2].cohorts ||
		    way->recipient_limit != rows[i / 2].recipients ||
		    way->destination_delay_ms != rows[i / 2].destination_s * 1000 ||
		    way->transport_delay_ms != rows[i / 2].transport_s * 1000)
			fail_msg("%s", text);
		/* What is said of smtp is not said of others. */
		way = schedule_transport(&world->schedule, SLICE("other"));
		if (!is_default && way->feedback.limit != 20)
			fail_msg("%s: of another transport", text);
		world_free(world);
	}
}

static void
local_delivers_two_at_a_time_one_recipient_each(void **state)
{
	struct world     *world = world_make("");
	struct transport *local = schedule_transport(&world->schedule, SLICE("local"));

	(void)state;
	assert_int_equal(local->feedback.limit, 2);
	assert_int_equal(local->recipient_limit, 1);
	world_free(world);
}

/* Begins what may be begun there; how many are under way then. */
static int
fill(struct world *world, struct destination *where)
{
	while (begin(world, where->transport) != NULL)
		continue;
	return where->busy;
}

static void
the_window_follows_positive_feedback_up_to_the_limit(void **state)
{
	static const struct {
		const char *rule;
		int         successes; /* that widen a window of 4 to 5 */
	} rows[] = { { "1", 1 },
		     { "0.5", 2 },
		     { "1/3", 3 },
		     { "1/concurrency", 4 },
		     { "1/sqrt_concurrency", 2 } };
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text),
		         "initial_destination_concurrency = 4\nsmtp_destination_concurrency_limit "
		         "= 6\n"
		         "smtp_destination_concurrency_positive_feedback = %s\n",
		         rows[i].rule);
		struct world       *world = world_make(text);
		struct destination *a = destination(world, "smtp", "a.test");

		lane(world, 0, a, true);
		for (int done = 0; done < rows[i].successes; done++) {
			assert_int_equal(fill(world, a), 4);
			destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
		}
		assert_int_equal(fill(world, a), 5);
		for (int done = 0; done < 50; done++) {
			destination_job_ended(a, DESTINATION_OK, SLICE_EMPTY, world->now_ms);
			assert_true(fill(world, a) <= 6);
		}
		assert_int_equal(a->busy, 6);
		world_free(world);
	}
}

static void
the_window_follows_negative_feedback_and_cohorts_kill(void **state)
{
	static const struct {
		const char *rule, *cohorts;
		int         failures; /* that narrow a window of 4 to 3 */
		int         deadly;   /* failures in a row until it is dead */
	} rows[] = {
		{ "1", "1", 1, 3 },             /* 1/4 + 1/3 + 1/2 */
		{ "0.5", "1", 2, 4 },           /* 1/4 + 1/4 + 1/3 + 1/3 */
		{ "1/concurrency", "1", 4, 4 }, /* the window is as wide as at first when it dies */
		{ "1", "2", 1, 4 },             /* 1/4 + 1/3 + 1/2 + 1 */
		{ "1", "3", 1, 5 },
		{ "1", "0", 1, 0 }, /* never */
	};
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text),
		         "initial_destination_concurrency = 4\n"
		         "smtp_destination_concurrency_negative_feedback = %s\n"
		         "smtp_destination_concurrency_failed_cohort_limit = %s\n",
		         rows[i].rule, rows[i].cohorts);
		struct world       *world = world_make(text);
		struct destination *a = proven(world, "a.test");
		int                 failures = 0;

		feedback_init(&a->feedback, &a->transport->feedback);
		lane(world, 0, a, true);
		while (!destination_is_dead(a) && failures < 30) {
			if (failures == rows[i].failures && a->feedback.window != 3)
				fail_msg("row %zu: a window of %d", i, a->feedback.window);
			fill(world, a);
			destination_job_ended(a, DESTINATION_FAILED, SLICE("x"), world->now_ms);
			failures++;
		}
		if (failures != (rows[i].deadly == 0 ? 30 : rows[i].deadly))
			fail_msg("row %zu: %d failures", i, failures);
		world_free(world);
	}
}

static void
a_transport_has_settings_of_its_own(void **state)
{
	struct world     *world = world_make("default_destination_recipient_limit = 50\n"
	                                         "lmtp_destination_recipient_limit = 1\n"
	                                         "lmtp_initial_destination_concurrency = 2\n"
	                                         "defer_transports = uucp, lmtp\n");
	struct transport *lmtp = schedule_transport(&world->schedule, SLICE("lmtp"));
	struct transport *smtp = schedule_transport(&world->schedule, SLICE("smtp"));

	(void)state;
	assert_int_equal(lmtp->recipient_limit, 1);
	assert_int_equal(smtp->recipient_limit, 50);
	assert_int_equal(lmtp->feedback.initial, 2);
	assert_int_equal(smtp->feedback.initial, 5);
	assert_true(lmtp->is_deferred);
	assert_false(smtp->is_deferred);
	world_free(world);
}

/* ---- what waits in files ---- */

static void
the_backlog_gives_what_is_due_in_its_order(void **state)
{
	struct backlog backlog;
	char           id[32];

	(void)state;
	backlog_init(&backlog);
	for (int i = 0; i < 10000; i++) {
		snprintf(id, sizeof(id), "message%05d", i);
		assert_non_null(backlog_put(&backlog, id, (i * 7919) % 10000, i % 10 == 0));
	}
	assert_int_equal(backlog.count, 10000);
	assert_int_equal(backlog.held, 1000);
	assert_null(backlog_due(&backlog, -1));
	int64_t         last = -1;
	struct waiting *waiting;
	size_t          count = 0;
	while ((waiting = backlog_due(&backlog, 10000)) != NULL) {
		assert_true(waiting->due.when > last);
		last = waiting->due.when;
		backlog_remove(&backlog, waiting);
		count++;
	}
	assert_int_equal(count, 9000);
	assert_int_equal(backlog.count, 1000);
	assert_null(backlog_find(&backlog, SLICE("message00001")));
	assert_non_null(backlog_find(&backlog, SLICE("message00010")));
	backlog_free(&backlog);
}

static void
a_held_message_is_never_due(void **state)
{
	struct backlog backlog;

	(void)state;
	backlog_init(&backlog);
	backlog_put(&backlog, "message1", 5, false);
	backlog_put(&backlog, "message1", 5, true);
	assert_null(backlog_due(&backlog, 100));
	backlog_put(&backlog, "message1", 7, false);
	assert_non_null(backlog_due(&backlog, 100));
	assert_int_equal(backlog.held, 0);
	assert_int_equal(backlog.count, 1);
	backlog_free(&backlog);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(feedback_rules_are_numbers_or_parts_of_the_window),
		cmocka_unit_test(a_window_that_is_used_grows_with_each_success_up_to_the_limit),
		cmocka_unit_test(a_window_that_is_not_used_does_not_grow),
		cmocka_unit_test(
			a_window_full_of_failures_kills_a_destination_and_a_success_between_saves_it),
		cmocka_unit_test(a_higher_cohort_limit_forgives_more_windows_of_failures),
		cmocka_unit_test(feedback_by_window_needs_a_window_full_for_a_step),
		cmocka_unit_test(destinations_take_turns),
		cmocka_unit_test(a_destination_gets_no_more_than_its_window),
		cmocka_unit_test(messages_take_turns_so_that_a_list_holds_up_nobody),
		cmocka_unit_test(fresh_mail_goes_before_a_backlog_and_does_not_starve_it),
		cmocka_unit_test(a_letter_to_a_new_destination_overtakes_a_list_to_many),
		cmocka_unit_test(a_list_is_not_starved_by_letters),
		cmocka_unit_test(fresh_mail_to_a_new_destination_overtakes_a_flushed_backlog),
		cmocka_unit_test(a_letter_waits_for_one_job_of_each_message_in_line),
		cmocka_unit_test(half_of_the_agents_is_for_destinations_that_have_answered),
		cmocka_unit_test(agents_that_are_lent_bring_no_destination_more_than_the_limit),
		cmocka_unit_test(a_new_destination_gets_its_window_while_agents_are_plenty),
		cmocka_unit_test(a_first_probe_comes_before_a_second_one_elsewhere),
		cmocka_unit_test(suspects_come_last_one_job_each_and_leave_agents_to_the_unknown),
		cmocka_unit_test(
			patience_ends_when_many_wait_for_an_answer_and_doubles_with_each_silence),
		cmocka_unit_test(a_suspect_is_dead_after_one_failure_more),
		cmocka_unit_test(
			that_nobody_answered_is_remembered_for_maximal_backoff_time_and_over_a_flush),
		cmocka_unit_test(mail_for_suspects_fills_half_of_the_room_for_what_is_tried_again),
		cmocka_unit_test(the_living_keep_their_speed_however_many_are_dead),
		cmocka_unit_test(a_destination_that_answers_is_probed_no_more),
		cmocka_unit_test(probes_are_counted_as_they_end),
		cmocka_unit_test(that_a_destination_answers_is_remembered_for_a_minute),
		cmocka_unit_test(a_transport_with_one_agent_still_tries),
		cmocka_unit_test(mail_that_nobody_serves_waits_for_transport_retry_time),
		cmocka_unit_test(backoff_is_the_age_within_its_bounds),
		cmocka_unit_test(a_message_is_tried_twenty_times_a_day_and_given_up_after_five),
		cmocka_unit_test(lifetimes_differ_for_the_null_sender),
		cmocka_unit_test(a_lifetime_of_nothing_is_one_attempt),
		cmocka_unit_test(the_sender_is_warned_after_delay_warning_time),
		cmocka_unit_test(a_quarter_of_the_active_queue_is_for_fresh_mail),
		cmocka_unit_test(recipients_have_a_limit_and_a_giant_passes_it),
		cmocka_unit_test(mail_for_a_transport_that_was_never_served_is_deferred_soon),
		cmocka_unit_test(an_active_limit_refuses_no_mail_below_what_memory_allows),
		cmocka_unit_test(a_worker_keeps_to_a_rate_delay),
		cmocka_unit_test(what_waits_for_the_dead_has_the_status_of_the_failure),
		cmocka_unit_test(a_dead_destination_is_left_alone_for_minimal_backoff_time),
		cmocka_unit_test(a_flush_revives_the_dead),
		cmocka_unit_test(a_destination_rate_delay_means_one_at_a_time_with_pauses),
		cmocka_unit_test(
			a_transport_rate_delay_means_one_at_a_time_for_all_its_destinations),
		cmocka_unit_test(with_a_recipient_limit_of_one_each_recipient_is_a_destination),
		cmocka_unit_test(each_parameter_has_a_default_and_a_form_for_one_transport),
		cmocka_unit_test(local_delivers_two_at_a_time_one_recipient_each),
		cmocka_unit_test(the_window_follows_positive_feedback_up_to_the_limit),
		cmocka_unit_test(the_window_follows_negative_feedback_and_cohorts_kill),
		cmocka_unit_test(a_transport_has_settings_of_its_own),
		cmocka_unit_test(the_backlog_gives_what_is_due_in_its_order),
		cmocka_unit_test(a_held_message_is_never_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
