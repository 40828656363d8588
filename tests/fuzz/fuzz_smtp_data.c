/*
 * fuzz_smtp_data.c - content on the wire. decode(encode(x)) is x with CRLF line ends; nothing bare
 * leaves; and what a decoder took as one message, a strict receiver of our encoding takes as one.
 */
#include <assert.h>
#include <stdint.h>

#include "lib/smtp/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No CR without LF, no LF without CR. */
static void
assert_clean(struct slice wire)
{
	for (size_t i = 0; i < wire.length; i++) {
		if (wire.data[i] == '\n')
			assert(i > 0 && wire.data[i - 1] == '\r');
		if (wire.data[i] == '\r')
			assert(i + 1 < wire.length && wire.data[i + 1] == '\n');
	}
}

static void
assert_round_trip(struct slice content, size_t step)
{
	struct data_encoder encoder;
	struct data_decoder decoder;
	struct buf          plain = BUF(1u << 20), wire = BUF(1u << 20), back = BUF(1u << 20);
	size_t              consumed, at = 0;
	bool                ok;

	data_encoder_init(&encoder, false);
	assert(data_encode(&encoder, content, &plain) && data_encode_end(&encoder, &plain));
	data_encoder_init(&encoder, true);
	for (size_t i = 0; i < content.length; i += step)
		assert(data_encode(&encoder, slice_first(slice_from_offset(content, i), step),
		                   &wire));
	assert(data_encode_end(&encoder, &wire));
	assert_clean(buf_slice(&wire));
	/* The first CRLF.CRLF is at the end. */
	size_t end = slice_find(buf_slice(&wire), SLICE("\r\n.\r\n"));
	assert(end == SLICE_NOT_FOUND ? wire.length == 3 : end + 5 == wire.length);
	data_decoder_init(&decoder, BARE_NEWLINE_REJECT, false);
	enum data_result result = DATA_MORE;
	while (at < wire.length && result == DATA_MORE) {
		result = data_decode(&decoder,
		                     slice_first(slice_from_offset(buf_slice(&wire), at), step),
		                     &consumed, &back, &ok);
		assert(ok && consumed > 0);
		at += consumed;
	}
	assert(result == DATA_END && at == wire.length);
	assert(slice_equal(buf_slice(&back), buf_slice(&plain)));
	buf_free(&plain);
	buf_free(&wire);
	buf_free(&back);
}

/* What comes in from a stranger; cutting it differently changes nothing. */
static void
assert_decoding(struct slice input, size_t step, bool is_bdat)
{
	struct data_decoder one, other;
	struct buf          a = BUF(1u << 20), b = BUF(1u << 20);
	size_t              consumed = 0, at = 0;
	bool                ok;

	data_decoder_init(&one, BARE_NEWLINE_NORMALIZE, is_bdat);
	enum data_result result = data_decode(&one, input, &consumed, &a, &ok);
	assert(ok && a.length <= 2 * input.length + 2);
	if (result == DATA_END) {
		assert(!is_bdat);
		struct slice taken = slice_first(input, consumed);
		assert(slice_ends_with(taken, SLICE("\r\n.\r\n")) ||
		       slice_equal(taken, SLICE(".\r\n")));
	}
	data_decoder_init(&other, BARE_NEWLINE_NORMALIZE, is_bdat);
	enum data_result piecewise = DATA_MORE;
	while (at < input.length && piecewise == DATA_MORE) {
		struct slice piece = slice_first(slice_from_offset(input, at), step);
		size_t       clean = data_decode_clean(&other, piece), taken;

		assert(buf_append(&b, slice_first(piece, clean)));
		piecewise = data_decode(&other, slice_from_offset(piece, clean), &taken, &b, &ok);
		at += clean + taken;
	}
	assert(piecewise == result && at == consumed);
	assert(slice_equal(buf_slice(&a), buf_slice(&b)));
	assert(data_decode_end(&one, &a));
	assert_clean(buf_slice(&a));
	buf_free(&a);
	buf_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	struct slice input = slice_of((const char *)data + 1, size - 1);
	size_t       step = 1 + data[0] % 16;

	assert_round_trip(input, step);
	assert_decoding(input, step, false);
	assert_decoding(input, step, true);
	return 0;
}
