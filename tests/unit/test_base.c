/* test_base.c - slices, buffers, arenas, arrays, hashes, heaps, numbers, encodings, errors, log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/buf.h"
#include "lib/base/encode.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/heap.h"
#include "lib/base/json.h"
#include "lib/base/list.h"
#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/base/random.h"

static void
assert_slice(struct slice got, const char *expected)
{
	assert_int_equal(got.length, strlen(expected));
	assert_memory_equal(got.data, expected, got.length);
}

/* ---- slice ---- */

static void
comparing_looks_at_lengths_and_folds_ascii_only(void **unused)
{
	(void)unused;
	assert_true(slice_equal(SLICE("a\0b"), SLICE("a\0b")));
	assert_false(slice_equal(SLICE("a\0b"), SLICE("a\0c")));
	assert_false(slice_equal(SLICE("ab"), SLICE("abc")));
	assert_true(slice_equal_fold(SLICE("MAIL from"), SLICE("mail FROM")));
	assert_false(slice_equal_fold(SLICE("\xc3\x84"), SLICE("\xc3\xa4")));
	assert_false(slice_equal_fold(SLICE("["), SLICE("{"))); /* 0x5b and 0x7b */
	assert_true(slice_starts_with(SLICE("abc"), SLICE("")));
	assert_true(slice_starts_with_fold(SLICE("ABC"), SLICE("ab")));
	assert_false(slice_starts_with(SLICE("a"), SLICE("ab")));
	assert_true(slice_ends_with(SLICE("abc"), SLICE("bc")));
	assert_false(slice_ends_with(SLICE("c"), SLICE("bc")));
	assert_true(slice_ends_with_fold(SLICE("aBC"), SLICE("bc")));
	assert_true(slice_compare(SLICE("a"), SLICE("ab")) < 0);
	assert_true(slice_compare(SLICE("b"), SLICE("ab")) > 0);
	assert_true(slice_compare(SLICE("\xff"), SLICE("a")) > 0);
	assert_int_equal(slice_compare(SLICE(""), SLICE("")), 0);
}

static void
finding_never_reads_beyond_the_length(void **unused)
{
	(void)unused;
	assert_int_equal(slice_find_byte(SLICE("abcb"), 'b'), 1);
	assert_int_equal(slice_find_last_byte(SLICE("abcb"), 'b'), 3);
	assert_int_equal(slice_find_byte(slice_of("abc", 2), 'c'), SLICE_NOT_FOUND);
	assert_int_equal(slice_find_byte(slice_of(NULL, 0), 'c'), SLICE_NOT_FOUND);
	assert_int_equal(slice_find_last_byte(slice_of(NULL, 0), 'c'), SLICE_NOT_FOUND);
	assert_int_equal(slice_find(SLICE("aaab"), SLICE("aab")), 1);
	assert_int_equal(slice_find(slice_of("aab", 2), SLICE("aab")), SLICE_NOT_FOUND);
	assert_int_equal(slice_find(SLICE("abc"), SLICE("")), 0);
	assert_true(slice_contains_byte(SLICE("a\0b"), '\0'));
}

static void
parts_and_words_are_cut_at_separators(void **unused)
{
	static const char *const parts[] = { "a", "", "b", "" };
	static const char *const words[] = { "one", "two", "three" };
	struct slice             rest = SLICE("a,,b,"), part;
	size_t                   count = 0;

	(void)unused;
	while (slice_next_part(&rest, ',', &part))
		assert_slice(part, parts[count++]);
	assert_int_equal(count, 4);
	rest = SLICE("");
	assert_true(slice_next_part(&rest, ',', &part));
	assert_false(slice_next_part(&rest, ',', &part));
	count = 0;
	rest = SLICE(", one,\ttwo ,,three ");
	while (slice_next_word(&rest, ", \t", &part))
		assert_slice(part, words[count++]);
	assert_int_equal(count, 3);
	rest = SLICE(" ,, ");
	assert_false(slice_next_word(&rest, ", ", &part));
	assert_slice(slice_trim(SLICE(" \t\r\n a b \n")), "a b");
	assert_slice(slice_trim(SLICE(" \t ")), "");
	assert_slice(slice_first(SLICE("abc"), 9), "abc");
	assert_slice(slice_from_offset(SLICE("abc"), 3), "");
	assert_slice(slice_from_offset(SLICE("abc"), 1), "bc");
}

static void
utf8_is_well_formed_or_not(void **unused)
{
	static const char *const good[] = { "",
		                            "abc",
		                            "\xc3\xa4",
		                            "\xe2\x82\xac",
		                            "\xf0\x9f\x93\xac",
		                            "\xed\x9f\xbf",
		                            "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "\x80",
		                           "\xc3",
		                           "\xc0\xaf",
		                           "\xc1\xbf",
		                           "\xe0\x80\xaf",
		                           "\xed\xa0\x80",
		                           "\xf0\x80\x80\xaf",
		                           "\xf4\x90\x80\x80",
		                           "\xf8\x88\x80\x80\x80",
		                           "\xe2\x82",
		                           "a\xff" };

	(void)unused;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(slice_is_utf8(slice_from(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(slice_is_utf8(slice_from(bad[i])));
	assert_true(slice_has_control(SLICE("a\x7f")));
	assert_true(slice_has_control(SLICE("a\0")));
	assert_false(slice_has_control(SLICE("a b\xc3\xa4")));
	assert_false(slice_is_ascii(SLICE("\xc3\xa4")));
}

/* ---- buf ---- */

static void
a_write_beyond_the_limit_changes_nothing_and_is_remembered(void **unused)
{
	struct buf buf = BUF(5);

	(void)unused;
	assert_true(buf_append(&buf, SLICE("12345")));
	assert_false(buf_append_byte(&buf, '6'));
	assert_slice(buf_slice(&buf), "12345");
	assert_false(buf_append(&buf, SLICE("")));
	assert_string_equal(buf_text(&buf), "");
	buf_clear(&buf);
	assert_true(buf_append_text(&buf, "abc"));
	assert_string_equal(buf_text(&buf), "abc");
	assert_false(buf_append_format(&buf, "%d", 1000));
	assert_slice(buf_slice(&buf), "abc");
	buf_free(&buf);
	assert_int_equal(buf.limit, 5);
}

static void
buffers_grow_in_any_steps_and_keep_their_bytes(void **unused)
{
	(void)unused;
	for (size_t limit = 1; limit < 300; limit++) {
		struct buf buf = BUF(limit);

		for (size_t i = 0; i < limit; i++)
			assert_true(buf_append_byte(&buf, (char)i));
		assert_false(buf_append_byte(&buf, 'x'));
		for (size_t i = 0; i < limit; i++)
			assert_int_equal((unsigned char)buf.data[i], (unsigned char)i);
		buf_free(&buf);
	}
}

static void
numbers_case_and_strange_bytes_are_written_as_documented(void **unused)
{
	struct buf buf = BUF(1000);

	(void)unused;
	buf_append_u64(&buf, 0);
	buf_append_byte(&buf, ' ');
	buf_append_u64(&buf, UINT64_MAX);
	assert_string_equal(buf_text(&buf), "0 18446744073709551615");
	buf_clear(&buf);
	buf_append_lower(&buf, SLICE("AbZ[\xc3\x84"));
	assert_string_equal(buf_text(&buf), "abz[\xc3\x84");
	buf_clear(&buf);
	buf_append_printable(&buf, SLICE("a\r\n\0\x1b\x7f\xc3\xa4"));
	assert_string_equal(buf_text(&buf), "a?????\xc3\xa4");
	buf_clear(&buf);
	buf_append_printable(&buf, SLICE("caf\xe9"));
	assert_string_equal(buf_text(&buf), "caf?");
	buf_clear(&buf);
	buf_append_printable(&buf, SLICE("\xc2\x9b"
	                                 "1m")); /* C1 control in UTF-8: terminals obey it */
	assert_null(strchr(buf_text(&buf), '\x9b'));
	buf_clear(&buf);
	buf_append_text(&buf, "abcdef");
	buf_consume(&buf, 2);
	assert_string_equal(buf_text(&buf), "cdef");
	buf_truncate(&buf, 9);
	buf_truncate(&buf, 1);
	assert_string_equal(buf_text(&buf), "c");
	buf_consume(&buf, 9);
	assert_int_equal(buf.length, 0);
	buf_free(&buf);
}

/* ---- arena, array ---- */

static void
an_arena_gives_zeroed_aligned_memory_up_to_its_limit(void **unused)
{
	struct arena arena = ARENA(100000);
	size_t       total = 0;

	(void)unused;
	for (size_t size = 1; size < 200; size++) {
		unsigned char *memory = arena_alloc(&arena, size);

		assert_non_null(memory);
		assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(memory[i], 0);
		memset(memory, 0xff, size);
		total += size;
	}
	assert_true(arena.used >= total && arena.used <= 100000);
	assert_null(arena_alloc(&arena, 100000));
	assert_null(arena_alloc(&arena, SIZE_MAX - 5));
	assert_null(arena_alloc_array(&arena, SIZE_MAX / 2, 3));
	assert_non_null(arena_alloc(&arena, 10));
	assert_null(arena_copy(&arena, slice_of("x", SIZE_MAX - 1)).data);
	arena_reset(&arena);
	assert_int_equal(arena.used, 0);
	assert_non_null(arena_alloc(&arena, 90000));
	arena_reset(&arena);
}

static void
an_arena_copies_text(void **unused)
{
	struct arena arena = ARENA(0);

	(void)unused;
	assert_slice(arena_copy(&arena, SLICE("abc")), "abc");
	assert_string_equal(arena_text(&arena, slice_of("abcdef", 3)), "abc");
	assert_string_equal(arena_format(&arena, "%s=%d", "x", 5), "x=5");
	assert_slice(arena_copy(&arena, SLICE_EMPTY), "");
	arena_reset(&arena);
}

static void
arrays_grow_and_refuse_to_overflow(void **unused)
{
	ARRAY(int) numbers = { 0 };
	void  *items = NULL;
	size_t capacity = SIZE_MAX / 4;

	(void)unused;
	for (int i = 0; i < 1000; i++)
		assert_true(ARRAY_PUSH(&numbers, i));
	for (int i = 0; i < 1000; i++)
		assert_int_equal(numbers.items[i], i);
	ARRAY_FREE(&numbers);
	assert_null(numbers.items);
	assert_false(array_grow(&items, capacity, &capacity, 16));
	assert_int_equal(capacity, SIZE_MAX / 4);
}

/* ---- hash ---- */

static void
count_visit(struct slice key, void *value, void *context)
{
	(void)key;
	*(uintptr_t *)context += (uintptr_t)value;
}

static void
a_hash_holds_many_keys_of_any_bytes(void **unused)
{
	struct hash hash = { 0 };
	char        key[8];
	void       *old = &hash;
	uintptr_t   sum = 0;

	(void)unused;
	assert_null(hash_get(&hash, SLICE("x")));
	assert_null(hash_remove(&hash, SLICE("x")));
	for (uintptr_t i = 1; i <= 5000; i++) {
		memcpy(key, &i, sizeof(i));
		assert_true(hash_put(&hash, slice_of(key, 8), (void *)i, &old));
		assert_null(old);
	}
	assert_int_equal(hash.count, 5000);
	for (uintptr_t i = 1; i <= 5000; i++) {
		memcpy(key, &i, sizeof(i));
		assert_int_equal((uintptr_t)hash_get(&hash, slice_of(key, 8)), i);
	}
	for (uintptr_t i = 1; i <= 5000; i += 2) {
		memcpy(key, &i, sizeof(i));
		assert_int_equal((uintptr_t)hash_remove(&hash, slice_of(key, 8)), i);
		assert_null(hash_get(&hash, slice_of(key, 8)));
	}
	hash_each(&hash, count_visit, &sum);
	assert_int_equal(sum, 2500 * 2501);
	uintptr_t two = 2;
	memcpy(key, &two, sizeof(two));
	assert_true(hash_put(&hash, slice_of(key, 8), (void *)7, &old));
	assert_int_equal((uintptr_t)old, 2);
	assert_int_equal(hash.count, 2500);
	assert_true(hash_put(&hash, SLICE(""), (void *)9, NULL));
	assert_int_equal((uintptr_t)hash_get(&hash, SLICE("")), 9);
	hash_free(&hash, NULL);
	assert_int_equal(hash.count, 0);
}

static void
a_hash_frees_its_values_when_told(void **unused)
{
	struct hash hash = { 0 };

	(void)unused;
	for (int i = 0; i < 100; i++) {
		char key[20];

		snprintf(key, sizeof(key), "key %d", i);
		assert_true(hash_put(&hash, slice_from(key), malloc(10), NULL));
	}
	hash_free(&hash, free); /* a leak otherwise, which the sanitizer build reports */
	assert_null(hash_get(&hash, SLICE("key 1")));
}

/* ---- heap, list ---- */

static void
a_heap_gives_the_earliest_first_whatever_was_moved_or_removed(void **unused)
{
	static struct heap_node nodes[500];
	struct heap             heap = { 0 };
	int64_t                 last = INT64_MIN;
	size_t                  left = 500;

	(void)unused;
	for (size_t i = 0; i < 500; i++)
		assert_true(heap_insert(&heap, &nodes[i], (int64_t)random_below(1000)));
	for (size_t i = 0; i < 500; i += 3)
		heap_move(&heap, &nodes[i], (int64_t)random_below(2000) - 500);
	for (size_t i = 0; i < 500; i += 7) {
		assert_true(heap_contains(&nodes[i]));
		heap_remove(&heap, &nodes[i]);
		assert_false(heap_contains(&nodes[i]));
		left--;
	}
	for (; left > 0; left--) {
		struct heap_node *first = heap_first(&heap);

		assert_non_null(first);
		assert_true(first->when >= last);
		last = first->when;
		heap_remove(&heap, first);
	}
	assert_null(heap_first(&heap));
	heap_free(&heap);
}

struct thing {
	int              number;
	struct list_node link;
};

static void
a_list_keeps_its_order_and_lets_a_loop_remove(void **unused)
{
	struct list_node list;
	struct thing     things[5];
	int              sum = 0;

	(void)unused;
	list_init(&list);
	assert_null(list_first(&list));
	for (int i = 0; i < 5; i++) {
		things[i].number = i;
		list_append(&list, &things[i].link);
	}
	LIST_EACH (node, &list) {
		struct thing *thing = CONTAINER_OF(node, struct thing, link);

		sum = sum * 10 + thing->number;
		if (thing->number % 2 == 1)
			list_remove(node);
	}
	assert_int_equal(sum, 1234);
	list_remove(&things[1].link);
	list_prepend(&list, &things[1].link);
	assert_ptr_equal(list_first(&list), &things[1].link);
}

/* ---- number, encode ---- */

static void
numbers_are_whole_bounded_and_without_blanks(void **unused)
{
	static const char *const bad[] = { "",    " 1",  "1 ",
		                           "+1",  "-1",  "1a",
		                           "0x1", "101", "9999999999999999999999",
		                           "1.0", "--1" };
	int64_t                  value = 77;
	uint64_t                 hex = 77;

	(void)unused;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(number_parse(slice_from(bad[i]), 0, 100, &value));
	assert_false(number_parse(SLICE("1\0"), 0, 100, &value));
	assert_int_equal(value, 77);
	assert_true(number_parse(SLICE("100"), 0, 100, &value) && value == 100);
	assert_true(number_parse(SLICE("007"), 0, 100, &value) && value == 7);
	assert_true(number_parse(SLICE("-5"), -5, 5, &value) && value == -5);
	assert_true(number_parse(SLICE("9223372036854775807"), 0, INT64_MAX, &value));
	assert_true(value == INT64_MAX);
	assert_false(number_parse(SLICE("9223372036854775808"), 0, INT64_MAX, &value));
	assert_true(number_parse(SLICE("-9223372036854775808"), INT64_MIN, 0, &value));
	assert_true(value == INT64_MIN);
	assert_true(number_parse_hex(SLICE("fF"), 255, &hex) && hex == 255);
	assert_false(number_parse_hex(SLICE("100"), 255, &hex));
	assert_false(number_parse_hex(SLICE("10000000000000000"), UINT64_MAX, &hex));
	assert_true(number_parse_hex(SLICE("ffffffffffffffff"), UINT64_MAX, &hex));
	assert_false(number_parse_hex(SLICE(""), 255, &hex));
}

static void
times_have_units(void **unused)
{
	static const struct {
		const char *text;
		char        unit;
		int64_t     seconds;
	} good[] = { { "5", 's', 5 },      { "5", 'd', 432000 }, { "2m", 's', 120 },
		     { "3h", 's', 10800 }, { "1D", 's', 86400 }, { "1w", 's', 604800 },
		     { "0s", 'h', 0 } };
	static const char *const bad[] = {
		"", "s", "5x", "5 s", "-5s", "5ms", "999999999999999999w"
	};
	int64_t value = 77;

	(void)unused;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(number_parse_seconds(slice_from(good[i].text), good[i].unit, &value));
		assert_int_equal(value, good[i].seconds);
	}
	value = 77;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(number_parse_seconds(slice_from(bad[i]), 's', &value));
	assert_int_equal(value, 77);
}

static void
base64_is_rfc_4648_and_nothing_else(void **unused)
{
	static const char *const pairs[][2] = { { "", "" },
		                                { "f", "Zg==" },
		                                { "fo", "Zm8=" },
		                                { "foo", "Zm9v" },
		                                { "foob", "Zm9vYg==" },
		                                { "fooba", "Zm9vYmE=" },
		                                { "foobar", "Zm9vYmFy" },
		                                { "\xff\xfe\xfd", "//79" } };
	static const char *const bad[] = { "Z",    "Zg",   "Zg=",      "Zg===", "Zh==",
		                           "Zm9=", "=Zg=", "Zg==Zg==", "Zm 9v", "Zm9v\n",
		                           "Zm9*", "====", "Zm-_" };
	struct buf               out = BUF(100);

	(void)unused;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		buf_clear(&out);
		assert_true(base64_encode(slice_from(pairs[i][0]), &out));
		assert_string_equal(buf_text(&out), pairs[i][1]);
		buf_clear(&out);
		assert_true(base64_decode(slice_from(pairs[i][1]), &out));
		assert_string_equal(buf_text(&out), pairs[i][0]);
	}
	buf_clear(&out);
	buf_append_text(&out, "kept");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(base64_decode(slice_from(bad[i]), &out));
	assert_false(base64_decode(SLICE("Zm\09v"), &out));
	assert_string_equal(buf_text(&out), "kept");
	buf_free(&out);
}

static void
an_encoder_does_not_pass_the_outputs_limit(void **unused)
{
	struct buf out = BUF(7);

	(void)unused;
	assert_false(base64_encode(SLICE("foobar"), &out));
	assert_int_equal(out.length, 0);
	buf_clear(&out);
	assert_false(hex_encode(SLICE("1234"), &out));
	buf_free(&out);
}

/* RFC 2045 6.7, wherever the pieces are cut. */
static void
quoted_printable_keeps_lines_and_loses_nothing(void **unused)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "a=b\r\n", "a=3Db\r\n" },
		{ "\xc3\xbc \r\n\t\r\nx ", "=C3=BC=20\r\n=09\r\nx=20" },
		{ "a  b\r\n.\r\n", "a  b\r\n.\r\n" },
		{ "a\rb\nc\r", "a=0Db=0Ac=0D" },
		{ "a \r\r\n", "a=20=0D\r\n" },
		{ "123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456",
		  "123456789 123456789 123456789 123456789 123456789 123456789 123456789 "
		  "12345=\r\n6" },
		{ "123456789 123456789 123456789 123456789 123456789 123456789 123456789 123=\r\n",
		  "123456789 123456789 123456789 123456789 123456789 123456789 123456789 123=\r\n"
		  "=3D\r\n" },
		{ "", "" },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 100; piece += 33) {
			struct slice  rest = slice_from(cases[i].text);
			struct quoted quoted = { 0 };
			struct buf    out = BUF(500);

			for (; rest.length > 0; rest = slice_from_offset(rest, piece))
				assert_true(quoted_encode(&quoted, slice_first(rest, piece), &out));
			assert_true(quoted_end(&quoted, &out));
			assert_string_equal(buf_text(&out), cases[i].expected);
			buf_free(&out);
		}
}

static void
hexadecimal_and_xtext_go_there_and_back(void **unused)
{
	struct buf out = BUF(100);

	(void)unused;
	assert_true(hex_encode(SLICE("\x00\xff\x1a"), &out));
	assert_string_equal(buf_text(&out), "00ff1a");
	buf_clear(&out);
	assert_true(hex_decode(SLICE("00FF1a"), &out));
	assert_int_equal(out.length, 3);
	assert_memory_equal(out.data, "\x00\xff\x1a", 3);
	assert_false(hex_decode(SLICE("0"), &out));
	assert_false(hex_decode(SLICE("0g"), &out));
	assert_int_equal(out.length, 3);
	buf_clear(&out);
	/* RFC 3461 section 4: '+' and '=' and all outside 33..126 as "+" and two capitals. */
	assert_true(xtext_encode(SLICE("a+b=c d\x7f"), &out));
	assert_string_equal(buf_text(&out), "a+2Bb+3Dc+20d+7F");
	buf_clear(&out);
	assert_true(xtext_decode(SLICE("a+2Bb+3Dc"), &out));
	assert_string_equal(buf_text(&out), "a+b=c");
	buf_clear(&out);
	assert_false(xtext_decode(SLICE("a+2"), &out));
	assert_false(xtext_decode(SLICE("a+GG"), &out));
	assert_false(xtext_decode(SLICE("a b"), &out));
	assert_int_equal(out.length, 0);
	/* Clients that rewrite senders (SRS0=...) leave '=' as it is: no reason to refuse mail. */
	assert_true(xtext_decode(SLICE("SRS0=a"), &out));
	assert_string_equal(buf_text(&out), "SRS0=a");
	buf_free(&out);
}

/* ---- error, log ---- */

static void
errors_carry_context_and_the_systems_words(void **unused)
{
	struct error error = ERROR_NONE;

	(void)unused;
	errno = ENOSPC;
	assert_false(error_set_errno(&error, "open %s", "queue/3"));
	assert_string_equal(error.text, "open queue/3: No space left on device");
	assert_int_equal(error.errno_value, ENOSPC);
	assert_false(error_prefix(&error, "intake"));
	assert_string_equal(error.text, "intake: open queue/3: No space left on device");
	assert_int_equal(error.errno_value, ENOSPC);
	assert_false(error_set(&error, "%0600d", 1));
	assert_true(strlen(error.text) < sizeof(error.text));
	assert_false(error_prefix(&error, "%0600d", 1));
	assert_true(strlen(error.text) < sizeof(error.text));
	assert_false(error_set(NULL, "nobody asks"));
	assert_false(error_prefix(NULL, "nobody asks"));
}

static void
a_log_line_is_one_line_and_names_the_session(void **unused)
{
	int        ends[2];
	char       text[6000];
	struct buf much = BUF(20000);

	(void)unused;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_open("postfix/smtpd", "mail", LOG_TO_STREAM, ends[1], 0);
	log_set_session(4711);
	log_warning("from=<%s>", "a\nb\r\x1b[1m\xc2\x9b");
	ssize_t length = read(ends[0], text, sizeof(text) - 1);
	assert_true(length > 0);
	text[length] = '\0';
	assert_non_null(strstr(text, " mail postfix/smtpd[4711]: warning: from=<a?b??[1m"));
	assert_ptr_equal(strchr(text, '\n'), text + length - 1);
	assert_null(strchr(text, '\x1b'));
	log_last_problem(text, 13);
	assert_string_equal(text, "from=<a?b??["); /* cut */
	log_set_session(0);
	while (much.length < 15000)
		buf_append_text(&much, "abcdefghij");
	log_info("%s", buf_text(&much));
	length = read(ends[0], text, sizeof(text));
	char kept[6];
	log_last_problem(kept, sizeof(kept));
	assert_string_equal(kept, "from="); /* what is no problem changes nothing */
	assert_in_range(length, 3000, 4300);
	assert_int_equal(text[length - 1], '\n');
	log_set_verbose(false);
	log_debug("not written");
	log_set_verbose(true);
	log_debug("written");
	length = read(ends[0], text, sizeof(text) - 1);
	text[length] = '\0';
	assert_null(strstr(text, "not written"));
	log_set_verbose(false);
	log_open("test", "", LOG_TO_STREAM, 2, 0);
	close(ends[0]);
	close(ends[1]);
	buf_free(&much);
}

static size_t
lines_count(const char *text, const char *words)
{
	size_t count = 0;

	while ((text = strstr(text, words)) != NULL) {
		text += strlen(words);
		count++;
	}
	return count;
}

static void
trouble_is_logged_a_few_times_a_second_and_the_rest_counted(void **state)
{
	int     ends[2];
	char    text[4000];
	ssize_t length;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_open("test", "", LOG_TO_STREAM, ends[1], 0);
	/* Up to three seconds begin meanwhile. */
	for (int i = 0; i < 200; i++)
		log_trouble("disk full");
	length = read(ends[0], text, sizeof(text) - 1);
	text[length] = '\0';
	size_t written = lines_count(text, "warning: disk full\n");
	assert_in_range(written, 5, 15);
	/* Any line of a later second tells what was left out. */
	poll(NULL, 0, 1001);
	log_info("something else");
	log_info("and more");
	length = read(ends[0], text, sizeof(text) - 1);
	text[length] = '\0';
	assert_int_equal(lines_count(text, "more warnings like those before were left out\n"), 1);
	assert_int_equal(lines_count(text, "\n"), 3);
	log_open("test", "", LOG_TO_STREAM, 2, 0);
	close(ends[0]);
	close(ends[1]);
}

static void
any_bytes_become_valid_json(void **state)
{
	struct buf out = BUF(100);

	(void)state;
	assert_true(json_append_member(&out, "a", SLICE("x\"y\\\n\x01\xc3\xa4\x7f")));
	assert_slice(buf_slice(&out), "\"a\":\"x\\\"y\\\\\\u000a\\u0001\xc3\xa4\\u007f\"");
	buf_clear(&out);
	assert_true(json_append_string(&out, SLICE("\xff\xc3\xa4")));
	assert_slice(buf_slice(&out), "\"???\"");
	buf_clear(&out);
	/* C1 controls move terminals; U+00A0 is the first that does not. */
	assert_true(json_append_string(&out, SLICE("\xc2\x9b\xc2\x80\xc2\xa0")));
	assert_slice(buf_slice(&out), "\"\\u009b\\u0080\xc2\xa0\"");
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comparing_looks_at_lengths_and_folds_ascii_only),
		cmocka_unit_test(finding_never_reads_beyond_the_length),
		cmocka_unit_test(parts_and_words_are_cut_at_separators),
		cmocka_unit_test(utf8_is_well_formed_or_not),
		cmocka_unit_test(a_write_beyond_the_limit_changes_nothing_and_is_remembered),
		cmocka_unit_test(buffers_grow_in_any_steps_and_keep_their_bytes),
		cmocka_unit_test(numbers_case_and_strange_bytes_are_written_as_documented),
		cmocka_unit_test(an_arena_gives_zeroed_aligned_memory_up_to_its_limit),
		cmocka_unit_test(an_arena_copies_text),
		cmocka_unit_test(arrays_grow_and_refuse_to_overflow),
		cmocka_unit_test(a_hash_holds_many_keys_of_any_bytes),
		cmocka_unit_test(a_hash_frees_its_values_when_told),
		cmocka_unit_test(a_heap_gives_the_earliest_first_whatever_was_moved_or_removed),
		cmocka_unit_test(a_list_keeps_its_order_and_lets_a_loop_remove),
		cmocka_unit_test(numbers_are_whole_bounded_and_without_blanks),
		cmocka_unit_test(times_have_units),
		cmocka_unit_test(base64_is_rfc_4648_and_nothing_else),
		cmocka_unit_test(an_encoder_does_not_pass_the_outputs_limit),
		cmocka_unit_test(quoted_printable_keeps_lines_and_loses_nothing),
		cmocka_unit_test(hexadecimal_and_xtext_go_there_and_back),
		cmocka_unit_test(any_bytes_become_valid_json),
		cmocka_unit_test(errors_carry_context_and_the_systems_words),
		cmocka_unit_test(a_log_line_is_one_line_and_names_the_session),
		cmocka_unit_test(trouble_is_logged_a_few_times_a_second_and_the_rest_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
