/* test_smtp_data.c - content on the wire: what ends DATA, what never does, and the way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/smtp/data.h"

#define T(literal) SLICE(literal)

/* Decodes all of input in pieces of step bytes; gives what is left behind the end. */
static enum data_result
decode_all(struct data_decoder *decoder, struct slice input, size_t step, struct buf *out,
           struct slice *rest)
{
	enum data_result result = DATA_MORE;

	while (input.length > 0 && result == DATA_MORE) {
		size_t consumed = 0;
		bool   ok = false;
		size_t clean = step % 2 == 0 ? data_decode_clean(decoder, slice_first(input, step))
		                             : 0; /* both ways give the same */
		buf_append(out, slice_first(input, clean));
		input = slice_from_offset(input, clean);
		if (clean == step || input.length == 0)
			continue;
		result =
			data_decode(decoder, slice_first(input, step - clean), &consumed, out, &ok);
		assert_true(ok);
		assert_true(consumed > 0);
		input = slice_from_offset(input, consumed);
	}
	*rest = input;
	return result;
}

static void
expect_decoded(struct slice input, enum data_result result, struct slice content, struct slice left)
{
	for (size_t step = 1; step <= input.length; step++) {
		struct data_decoder decoder;
		struct buf          out = BUF(100000);
		struct slice        rest;

		data_decoder_init(&decoder, BARE_NEWLINE_NORMALIZE, false);
		assert_int_equal(decode_all(&decoder, input, step, &out, &rest), result);
		if (!slice_equal(buf_slice(&out), content))
			fail_msg("step %zu: got \"%s\"", step, buf_text(&out));
		assert_true(slice_equal(rest, left));
		buf_free(&out);
	}
}

static void
what_is_content_as_it_stands_is_told_at_once(void **state)
{
	static const struct {
		const char *input;
		size_t      clean;
	} rows[] = {
		{ "a\r\nb\r\n.\r\nQUIT", 6 },
		{ "a\r\n..b", 3 },
		{ ".\r\n", 0 },
		{ "a\nb", 1 },
		{ "a\rb", 1 },
		{ "a\r", 1 },
		{ "abc", 3 },
		{ "\r\n", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct data_decoder decoder;

		data_decoder_init(&decoder, BARE_NEWLINE_NORMALIZE, false);
		assert_int_equal(data_decode_clean(&decoder, slice_from(rows[i].input)),
		                 rows[i].clean);
	}
}

static void
crlf_dot_crlf_ends_data(void **state)
{
	(void)state;
	expect_decoded(T("a\r\nb\r\n.\r\nQUIT\r\n"), DATA_END, T("a\r\nb\r\n"), T("QUIT\r\n"));
	expect_decoded(T(".\r\n"), DATA_END, T(""), T(""));
	expect_decoded(T("\r\n.\r\nX"), DATA_END, T("\r\n"), T("X"));
}

static void
stuffed_dots_are_dropped(void **state)
{
	(void)state;
	expect_decoded(T("..\r\n.a\r\na.b\r\n...\r\n.\r\n"), DATA_END, T(".\r\na\r\na.b\r\n..\r\n"),
	               T(""));
	expect_decoded(T("a\n..b\r\n.\r\n"), DATA_END, T("a\r\n.b\r\n"), T(""));
}

static void
nothing_else_ends_data(void **state)
{
	(void)state;
	expect_decoded(T("a\n.\nb"), DATA_MORE, T("a\r\n.\r\nb"), T(""));
	expect_decoded(T("a\n.\r\nb"), DATA_MORE, T("a\r\n.\r\nb"), T(""));
	expect_decoded(T("a\r\n.\nb"), DATA_MORE, T("a\r\n.\r\nb"), T(""));
	expect_decoded(T("a\r\n.\r\r\nb"), DATA_MORE, T("a\r\n \r\nb"), T(""));
	expect_decoded(T("a\r.\rb"), DATA_MORE, T("a . b"), T(""));
	expect_decoded(T("a\r.\r\nb"), DATA_MORE, T("a .\r\nb"), T(""));
	expect_decoded(T("a\r\n.\rb"), DATA_MORE, T("a\r\n b"), T(""));
	expect_decoded(T("a\n\r.\r\nb"), DATA_MORE, T("a\r\n .\r\nb"), T(""));
	expect_decoded(T("a\r\r\n.b\r\n"), DATA_MORE, T("a \r\nb\r\n"), T(""));
	expect_decoded(T("a\r\n\0.\r\nb"), DATA_MORE, T("a\r\n\0.\r\nb"), T(""));
	expect_decoded(T("a\r\n.\0\r\nb"), DATA_MORE, T("a\r\n\0\r\nb"), T(""));
	expect_decoded(T("a\r\n. \r\nb"), DATA_MORE, T("a\r\n \r\nb"), T(""));
}

static void
an_end_after_a_look_alike_still_ends(void **state)
{
	(void)state;
	expect_decoded(T("a\n.\r\n.\r\nQ"), DATA_END, T("a\r\n.\r\n"), T("Q"));
	expect_decoded(T("a\n.\n\r\n.\r\nQ"), DATA_END, T("a\r\n.\r\n\r\n"), T("Q"));
}

static void
what_was_seen_is_noted(void **state)
{
	struct data_decoder decoder;
	struct buf          out = BUF(1000);
	struct slice        rest;
	(void)state;

	data_decoder_init(&decoder, BARE_NEWLINE_REJECT, false);
	decode_all(&decoder, T("clean\r\nlines\r\n"), 3, &out, &rest);
	assert_false(decoder.has_bare_newline || decoder.has_bare_return || decoder.has_nul);
	decode_all(&decoder, T("x\n"), 1, &out, &rest);
	assert_true(decoder.has_bare_newline);
	assert_false(decoder.has_bare_return);
	decode_all(&decoder, T("x\ry"), 1, &out, &rest);
	assert_true(decoder.has_bare_return);
	decode_all(&decoder, T("\0"), 1, &out, &rest);
	assert_true(decoder.has_nul);
	buf_free(&out);
}

static void
a_chunk_has_neither_dots_nor_end(void **state)
{
	struct data_decoder decoder;
	struct buf          out = BUF(1000);
	struct slice        rest;
	(void)state;

	data_decoder_init(&decoder, BARE_NEWLINE_NORMALIZE, true);
	assert_int_equal(decode_all(&decoder, T("a\r\n.\r\n..\r\nb\n.\nc\r"), 2, &out, &rest),
	                 DATA_MORE);
	/* The next chunk goes on where this one ended, inside a line end. */
	decode_all(&decoder, T("\nd"), 1, &out, &rest);
	assert_true(data_decode_end(&decoder, &out));
	assert_true(slice_equal(buf_slice(&out), T("a\r\n.\r\n..\r\nb\r\n.\r\nc\r\nd\r\n")));
	buf_free(&out);
}

static void
the_end_is_found_when_out_is_full(void **state)
{
	struct data_decoder decoder;
	struct buf          out = BUF(4);
	size_t              consumed;
	bool                ok;
	(void)state;

	data_decoder_init(&decoder, BARE_NEWLINE_NORMALIZE, false);
	assert_int_equal(
		data_decode(&decoder, T("too long\r\nfor it\r\n.\r\nQUIT"), &consumed, &out, &ok),
		DATA_END);
	assert_int_equal(consumed, 21);
	assert_false(ok);
	buf_free(&out);
}

static void
expect_encoded(struct slice content, bool with_dots, struct slice wire)
{
	for (size_t step = 1; step <= content.length + 1; step++) {
		struct data_encoder encoder;
		struct buf          out = BUF(100000);
		struct slice        rest = content;

		data_encoder_init(&encoder, with_dots);
		while (rest.length > 0) {
			assert_true(data_encode(&encoder, slice_first(rest, step), &out));
			rest = slice_from_offset(rest, step);
		}
		assert_true(data_encode_end(&encoder, &out));
		if (!slice_equal(buf_slice(&out), wire))
			fail_msg("step %zu: got \"%s\"", step, buf_text(&out));
		buf_free(&out);
	}
}

static void
dots_are_stuffed_and_lines_completed(void **state)
{
	(void)state;
	expect_encoded(T("a\r\n.\r\n.b\r\n"), true, T("a\r\n..\r\n..b\r\n.\r\n"));
	expect_encoded(T(""), true, T(".\r\n"));
	expect_encoded(T("."), true, T("..\r\n.\r\n"));
	expect_encoded(T("no end"), true, T("no end\r\n.\r\n"));
	expect_encoded(T(".\r\nno end"), false, T(".\r\nno end\r\n"));
}

static void
nothing_bare_goes_out(void **state)
{
	(void)state;
	expect_encoded(T("a\n.\nb"), true, T("a\r\n..\r\nb\r\n.\r\n"));
	expect_encoded(T("a\r.\rb"), true, T("a . b\r\n.\r\n"));
	expect_encoded(T("a\r\n.\r\r\nb\r"), true, T("a\r\n.. \r\nb \r\n.\r\n"));
}

/* Random content of the dangerous bytes: decode(encode(x)) is x with its line ends made CRLF. */
static void
decoding_what_was_encoded_gives_the_content(void **state)
{
	static const char bytes[] = { '\r', '\n', '.', 'a', '\0' };
	(void)state;

	for (int round = 0; round < 20000; round++) {
		char                content[24];
		size_t              length = random_below(sizeof(content));
		struct data_encoder encoder;
		struct data_decoder decoder;
		struct buf          wire = BUF(1000), back = BUF(1000), plain = BUF(1000);
		struct slice        rest;

		for (size_t i = 0; i < length; i++)
			content[i] = bytes[random_below(sizeof(bytes))];
		data_encoder_init(&encoder, false);
		data_encode(&encoder, slice_of(content, length), &plain);
		data_encode_end(&encoder, &plain);
		data_encoder_init(&encoder, true);
		data_encode(&encoder, slice_of(content, length), &wire);
		data_encode_end(&encoder, &wire);
		data_decoder_init(&decoder, BARE_NEWLINE_REJECT, false);
		assert_int_equal(
			decode_all(&decoder, buf_slice(&wire), 1 + random_below(9), &back, &rest),
			DATA_END);
		assert_int_equal(rest.length, 0);
		assert_true(slice_equal(buf_slice(&back), buf_slice(&plain)));
		assert_false(decoder.has_bare_newline || decoder.has_bare_return);
		buf_free(&wire);
		buf_free(&back);
		buf_free(&plain);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_content_as_it_stands_is_told_at_once),
		cmocka_unit_test(crlf_dot_crlf_ends_data),
		cmocka_unit_test(stuffed_dots_are_dropped),
		cmocka_unit_test(nothing_else_ends_data),
		cmocka_unit_test(an_end_after_a_look_alike_still_ends),
		cmocka_unit_test(what_was_seen_is_noted),
		cmocka_unit_test(a_chunk_has_neither_dots_nor_end),
		cmocka_unit_test(the_end_is_found_when_out_is_full),
		cmocka_unit_test(dots_are_stuffed_and_lines_completed),
		cmocka_unit_test(nothing_bare_goes_out),
		cmocka_unit_test(decoding_what_was_encoded_gives_the_content),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
