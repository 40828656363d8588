/* test_queue_filter.c - which messages dakqueue's conditions mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/queue/filter.h"

static void
a_pattern_is_part_of_the_text_or_with_wildcards_all_of_it(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool        matches;
	} rows[] = {
		{ "", "anything", true },
		{ "thing", "anyTHING", true },
		{ "thing", "anythin", false },
		{ "a*g", "anything", true },
		{ "a*g", "banything", false },
		{ "*", "", true },
		{ "?", "", false },
		{ "a?c", "abc", true },
		{ "a?c", "ac", false },
		{ "*timed out*", "x timed out y", true },
		{ "*a*b*c", "xxaxxbxxcxxc", true },
		{ "*a*b*c", "xxaxxbxxcxxd", false },
		{ "longer", "long", false },
		{ "ab*", "ab", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (pattern_matches(slice_from(rows[i].pattern), slice_from(rows[i].text)) !=
		    rows[i].matches)
			fail_msg("\"%s\" against \"%s\"", rows[i].pattern, rows[i].text);
}

static void
many_stars_do_not_take_for_ever(void **state)
{
	static char text[20000];

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_false(pattern_matches(SLICE("*a*a*a*a*a*a*a*a*a*b"), slice_of(text, sizeof(text))));
}

struct scene {
	struct buf             list;
	struct msg_queue_entry entry;
};

static struct scene
scene(void)
{
	struct scene               made = { .list = BUF(4096) };
	struct msg_queue_recipient one = { .address = SLICE("bob@One.test"),
		                           .reason = SLICE("Connection refused"),
		                           .transport = SLICE("smtp"),
		                           .nexthop = SLICE("one.test") };
	struct msg_queue_recipient two = { .address = SLICE("carol@two.test"),
		                           .reason = SLICE("mailbox full"),
		                           .transport = SLICE("virtual") };

	msg_queue_recipient_append(&made.list, &one);
	msg_queue_recipient_append(&made.list, &two);
	made.entry = (struct msg_queue_entry){ .state = QUEUE_DEFERRED,
		                               .arrival_us = 5000,
		                               .size = 1000,
		                               .sender = SLICE("alice@example.org") };
	made.entry.recipients = buf_slice(&made.list);
	return made;
}

static void
every_condition_must_hold(void **state)
{
	static const struct {
		struct msg_queue_filter filter;
		bool                    matches;
	} rows[] = {
		{ { .states = 0 }, true },
		{ { .sender = SLICE("ALICE@") }, true },
		{ { .sender = SLICE("bob") }, false },
		{ { .sender = SLICE("<>") }, false },
		{ { .recipient = SLICE("carol") }, true },
		{ { .domain = SLICE("one.TEST") }, true },
		{ { .domain = SLICE("ne.test") }, false },
		{ { .domain = SLICE("*.test") }, true },
		{ { .reason = SLICE("full") }, true },
		{ { .transport = SLICE("virtual") }, true },
		{ { .transport = SLICE("vir") }, false },
		{ { .nexthop = SLICE("one.test") }, true },
		{ { .states = 1u << QUEUE_DEFERRED }, true },
		{ { .states = 1u << QUEUE_HOLD }, false },
		{ { .arrived_from_us = 5000, .arrived_until_us = 5000 }, true },
		{ { .arrived_from_us = 5001 }, false },
		{ { .arrived_until_us = 4999 }, false },
		{ { .size_least = 1000, .size_most = 1000 }, true },
		{ { .size_least = 1001 }, false },
		{ { .size_most = 999 }, false },
		{ { .sender = SLICE("alice"), .size_most = 999 }, false },
		/* All that concerns recipients must hold for the same one. */
		{ { .domain = SLICE("one.test"), .reason = SLICE("refused") }, true },
		{ { .domain = SLICE("one.test"), .reason = SLICE("full") }, false },
	};
	struct scene made = scene();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (queue_filter_matches(&rows[i].filter, &made.entry) != rows[i].matches)
			fail_msg("row %zu", i);
	buf_free(&made.list);
}

static void
a_null_sender_is_asked_for_with_its_brackets(void **state)
{
	struct msg_queue_filter filter = { .sender = SLICE("<>") };
	struct scene            made = scene();

	(void)state;
	made.entry.sender = SLICE_EMPTY;
	assert_true(queue_filter_matches(&filter, &made.entry));
	/* By its name in listings, too, which no other sender has. */
	filter.sender = SLICE("Mailer-Daemon");
	assert_true(queue_filter_matches(&filter, &made.entry));
	made.entry.sender = SLICE("alice@example.org");
	assert_false(queue_filter_matches(&filter, &made.entry));
	made.entry.sender = SLICE("mailer-daemon@example.org");
	assert_true(queue_filter_matches(&filter, &made.entry));
	buf_free(&made.list);
}

static void
an_address_is_found_as_it_is_and_as_listings_quote_it(void **state)
{
	static const struct {
		const char *pattern, *sender;
		bool        matches;
	} rows[] = {
		{ "two words@one.test", "two words@one.test", true },
		{ "\"two words\"@one.test", "two words@one.test", true },
		{ "\"TWO*", "two words@one.test", true },
		{ "\"a\\\"b\"@one.test", "a\"b@one.test", true },
		{ "a\"b", "a\"b@one.test", true },
		{ "\"alice\"@one.test", "alice@one.test", false },
	};
	struct scene made = scene();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct msg_queue_filter filter = { .sender = slice_from(rows[i].pattern) };

		made.entry.sender = slice_from(rows[i].sender);
		if (queue_filter_matches(&filter, &made.entry) != rows[i].matches)
			fail_msg("row %zu", i);
	}
	buf_free(&made.list);
}

static void
only_a_condition_on_the_queue_needs_no_look_into_a_message(void **state)
{
	struct msg_queue_filter states = { .states = 1u << QUEUE_HOLD }, size = { .size_most = 5 };

	(void)state;
	assert_false(queue_filter_needs_entry(&states));
	assert_true(queue_filter_needs_entry(&size));
	assert_true(queue_filter_has_state(&states, QUEUE_HOLD));
	assert_false(queue_filter_has_state(&states, QUEUE_DEFERRED));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pattern_is_part_of_the_text_or_with_wildcards_all_of_it),
		cmocka_unit_test(many_stars_do_not_take_for_ever),
		cmocka_unit_test(every_condition_must_hold),
		cmocka_unit_test(a_null_sender_is_asked_for_with_its_brackets),
		cmocka_unit_test(an_address_is_found_as_it_is_and_as_listings_quote_it),
		cmocka_unit_test(only_a_condition_on_the_queue_needs_no_look_into_a_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
