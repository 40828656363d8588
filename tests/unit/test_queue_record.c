/* test_queue_record.c - the queue on disk: whole or not at all, and never the loss of a neighbour.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/queue/crc.h"
#include "lib/queue/siphash.h"
#include "lib/queue/stored.h"

#define SEGMENT_BYTES 4096

static void
crc_is_castagnoli(void **state)
{
	(void)state;
	assert_int_equal(crc32c(0, SLICE("123456789")), 0xe3069283u); /* RFC 3720 B.4's check */
	assert_int_equal(crc32c(crc32c(0, SLICE("1234")), SLICE("56789")), 0xe3069283u);
	assert_int_equal(crc32c(0, SLICE("")), 0);
}

/* A payload as an intake client sends it. */
static void
message_encode(struct ipc_encoding *encoding, const char *id, const char *content)
{
	struct buf           envelope = BUF(4096), recipients = BUF(4096);
	struct msg_envelope  from = { .sender = SLICE("a@x.test"),
		                      .arrival_us = 1000001,
		                      .size = 7 };
	struct msg_recipient to = { .address = SLICE("b@y.test"), .dsn_notify = 2 };

	assert_true(msg_envelope_append(&envelope, &from));
	assert_true(msg_recipient_append(&recipients, &to));
	struct msg_intake_commit commit = { .queue_id = slice_from(id),
		                            .envelope = buf_slice(&envelope),
		                            .recipients = buf_slice(&recipients),
		                            .content = slice_from(content) };
	assert_true(msg_intake_commit_encode(encoding, &commit));
	assert_true(buf_append(&encoding->fields, encoding->tail));
	buf_free(&envelope);
	buf_free(&recipients);
}

static void
message_append(struct buf *out, uint64_t epoch, const char *id, const char *content)
{
	struct ipc_encoding encoding = { .fields = BUF(65536) };

	message_encode(&encoding, id, content);
	assert_true(record_append(out, RECORD_MESSAGE, epoch, buf_slice(&encoding.fields)));
	buf_free(&encoding.fields);
}

static const struct segment_key secret = { { 1, 2 } };

/* Puts the record at the end of a segment's bytes; epoch decides about its key. */
static void
sealed_append(struct buf *out, enum record_type type, uint64_t epoch, struct slice payload)
{
	struct record_place place = { .key = segment_key_make(&secret, epoch),
		                      .epoch = epoch,
		                      .offset = out->length };
	char                header[RECORD_HEADER_BYTES];

	record_header_sealed(header, type, &place, payload);
	assert_true(buf_append(out, slice_of(header, sizeof(header))));
	assert_true(buf_append(out, payload));
	while (out->length % 8 != 0)
		buf_append_byte(out, 0);
}

static void
sealed_message(struct buf *out, uint64_t epoch, const char *id, const char *content)
{
	struct ipc_encoding encoding = { .fields = BUF(65536) };

	message_encode(&encoding, id, content);
	sealed_append(out, RECORD_MESSAGE, epoch, buf_slice(&encoding.fields));
	buf_free(&encoding.fields);
}

static void
sealed_result(struct buf *out, uint64_t epoch, const char *id, uint32_t attempts)
{
	struct ipc_encoding      encoding = { .fields = BUF(65536) };
	struct msg_stored_result result = { .queue_id = slice_from(id), .attempts = attempts };

	assert_true(msg_stored_result_encode(&encoding, &result));
	sealed_append(out, RECORD_RESULT, epoch, buf_slice(&encoding.fields));
	buf_free(&encoding.fields);
}

static void
head_append(struct buf *out, uint64_t epoch, unsigned version)
{
	struct segment_head head = { .epoch = epoch, .tail = epoch - 1, .version = version };
	char                header[SEGMENT_HEADER_BYTES];

	if (version == RECORD_VERSION_SEALED)
		head.key = segment_key_make(&secret, epoch);
	segment_head_write(header, &head);
	assert_true(buf_append(out, slice_of(header, sizeof(header))));
}

static void
result_append(struct buf *out, uint64_t epoch, const char *id, uint32_t attempts)
{
	struct ipc_encoding      encoding = { .fields = BUF(65536) };
	struct msg_stored_result result = { .queue_id = slice_from(id), .attempts = attempts };

	assert_true(msg_stored_result_encode(&encoding, &result));
	assert_true(record_append(out, RECORD_RESULT, epoch, buf_slice(&encoding.fields)));
	buf_free(&encoding.fields);
}

/* If this fails the format on disk has changed: raise RECORD_VERSION and read the old one. */
static void
the_bytes_of_a_message_record_do_not_change(void **state)
{
	static const char expected[] =
		/* header: magic, crc, epoch 5, length 141, type 1, version 1 */
		"446b5231"
		"ffffffff"
		"0500000000000000"
		"8d000000"
		"0100"
		"0100"
		"0000000000000000"
		/* queue id */
		"0a000000"
		"41424344454630313233"
		/* the envelopes: one of 84 bytes; sender, arrival, size, flags, ret, 12 empty texts
	         */
		"58000000"
		"54000000"
		"08000000"
		"614078"
		"2e74657374"
		"41420f0000000000"
		"0700000000000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		"00000000"
		/* the recipients: one of 24 bytes; address, original, orcpt, notify */
		"1c000000"
		"18000000"
		"08000000"
		"624079"
		"2e74657374"
		"00000000"
		"00000000"
		"02000000"
		/* not spooled; the content */
		"00"
		"6869";
	struct buf  out = BUF(4096);
	static char text[1024];
	size_t      length = 0;

	(void)state;
	message_append(&out, 5, "ABCDEF0123", "hi");
	memset(out.data + 4, 0xff, 4); /* the checksum is another test's */
	for (size_t i = 0; i < 32 + 141; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%02x",
		                           (unsigned char)out.data[i]);
	assert_string_equal(text, expected);
	buf_free(&out);
}

/* A segment of three messages and a result, behind it what an earlier use left. */
static struct slice
segment_make(struct buf *bytes)
{
	struct buf old = BUF(4096);

	head_append(bytes, 7, RECORD_VERSION_SEALED);
	sealed_message(bytes, 7, "AAAAAA01", "first");
	sealed_message(bytes, 7, "AAAAAA02", "second");
	sealed_result(bytes, 7, "AAAAAA01", 1);
	sealed_message(bytes, 7, "AAAAAA03", "third");
	for (int i = 0; i < RECORD_HEADER_BYTES; i++)
		buf_append_byte(bytes, 0);
	sealed_message(&old, 6, "AAAAAA99", "of an earlier use");
	assert_true(buf_append(bytes, slice_from_offset(buf_slice(&old), 40)));
	sealed_message(bytes, 6, "AAAAAA98", "of an earlier use, too");
	buf_free(&old);
	assert_true(bytes->length <= SEGMENT_BYTES);
	while (bytes->length < SEGMENT_BYTES)
		buf_append_byte(bytes, 0);
	return buf_slice(bytes);
}

struct found {
	unsigned messages; /* bit n = message AAAAAA0n, sound */
	unsigned results;
	size_t   damaged; /* bytes set aside */
	bool     is_header_damaged;
};

static struct found
segment_read_with(struct slice bytes, const struct segment_key *key)
{
	struct found             found = { 0 };
	struct segment_walk      walk;
	struct record            record;
	struct slice             damage;
	size_t                   offset;
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	uint32_t                 count;
	enum segment_step        step;

	if (!segment_open(bytes, key, &walk, &found.is_header_damaged))
		return found;
	while ((step = segment_next(&walk, &record, &offset, &damage)) != SEGMENT_END) {
		if (step == SEGMENT_DAMAGE)
			found.damaged += damage.length;
		else if (record.type == RECORD_MESSAGE) {
			assert_true(
				stored_message_decode(record.payload, &commit, &envelope, &count));
			assert_int_equal(count, 1);
			int number = commit.queue_id.data[7] - '0';
			assert_in_range(number, 1, 3);
			assert_true(slice_equal(commit.content, number == 1   ? SLICE("first")
			                                        : number == 2 ? SLICE("second")
			                                                      : SLICE("third")));
			found.messages |= 1u << number;
		} else {
			found.results++;
		}
	}
	return found;
}

static struct found
segment_read(struct slice bytes)
{
	return segment_read_with(bytes, &secret);
}

static void
a_segment_ends_where_its_zeros_begin_though_older_records_follow(void **state)
{
	struct buf   bytes = BUF(SEGMENT_BYTES);
	struct found found = segment_read(segment_make(&bytes));

	(void)state;
	assert_int_equal(found.messages, 2 | 4 | 8);
	assert_int_equal(found.results, 1);
	assert_int_equal(found.damaged, 0);
	buf_free(&bytes);
}

static unsigned
bits(unsigned value)
{
	return (unsigned)__builtin_popcount(value);
}

static void
any_flipped_byte_costs_at_most_one_record_which_is_set_aside(void **state)
{
	struct buf   bytes = BUF(SEGMENT_BYTES);
	struct slice whole = segment_make(&bytes);
	size_t       end = 0;

	(void)state;
	/* Up to the zeros that end the segment; what lies behind is nobody's. */
	struct segment_walk walk;
	struct record       record;
	struct slice        damage;
	bool                is_damaged;
	assert_true(segment_open(whole, &secret, &walk, &is_damaged));
	while (segment_next(&walk, &record, &end, &damage) == SEGMENT_RECORD)
		;
	for (size_t i = 0; i < end; i++)
		for (unsigned mask = 1; mask <= 0x80; mask <<= 7) {
			bytes.data[i] ^= (char)mask;
			struct found found = segment_read(whole);
			bytes.data[i] ^= (char)mask;
			unsigned left = bits(found.messages) + found.results;
			assert_in_range(left, 3, 4);
			assert_true(left == 4 || found.damaged > 0);
		}
	buf_free(&bytes);
}

/* The same bytes, written one by one: seal and key must not change either. */
static void
the_bytes_of_a_sealed_record_do_not_change(void **state)
{
	struct buf   out = BUF(4096);
	static char  text[512];
	size_t       length = 0;
	const size_t parts[][2] = { { 0, 48 }, { 64, 32 } };

	(void)state;
	head_append(&out, 5, RECORD_VERSION_SEALED);
	sealed_append(&out, RECORD_NOTICE, 5, SLICE("payload"));
	for (size_t part = 0; part < 2; part++)
		for (size_t i = 0; i < parts[part][1]; i++)
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%02x",
			                           (unsigned char)out.data[parts[part][0] + i]);
	assert_string_equal(text, /* magic, epoch, tail, version, crc, key */
	                    "44616b536567310a"
	                    "0500000000000000"
	                    "0400000000000000"
	                    "02000000"
	                    "9e19143f"
	                    "c7b3e88a86cba644"
	                    "8b4c8ece1789591b"
	                    /* magic, crc, epoch, length, type, version, seal */
	                    "446b5231"
	                    "3a9a6f04"
	                    "0500000000000000"
	                    "07000000"
	                    "0500"
	                    "0200"
	                    "3263aedfd18a2f83");
	buf_free(&out);
}

static void
siphash_is_2_4(void **state)
{
	/* The paper's test vector: key 00..0f, text 00..0e. */
	static const uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	char                  text[15];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)i;
	assert_int_equal(siphash(key, slice_of(text, sizeof(text))), 0xa129ca6149be45e5u);
}

/* Mail may hold a record of any kind: next to damage it must not be taken for one. */
static void
a_record_in_content_is_never_read(void **state)
{
	(void)state;
	for (size_t shift = 0; shift < 16; shift++)
		for (size_t kind = 0; kind < 3; kind++) {
			struct buf bytes = BUF(SEGMENT_BYTES), content = BUF(SEGMENT_BYTES);
			struct buf copy = BUF(SEGMENT_BYTES);

			for (size_t i = 0; i < shift; i++)
				buf_append_byte(&content, 'x');
			/* What may be guessed: the epoch and all but the key; or a true record of
			 * this very segment, at another place. */
			if (kind == 0) {
				message_append(&content, 7, "AAAAAA02", "forged");
			} else {
				head_append(&copy, 7, RECORD_VERSION_SEALED);
				sealed_message(&copy, 7, "AAAAAA02", "forged");
				assert_true(buf_append(
					&content,
					slice_from_offset(buf_slice(&copy), kind == 1 ? 64 : 0)));
			}
			head_append(&bytes, 7, RECORD_VERSION_SEALED);
			sealed_append(&bytes, RECORD_MESSAGE, 7, buf_slice(&content));
			sealed_message(&bytes, 7, "AAAAAA03", "third");
			bytes.data[SEGMENT_HEADER_BYTES + 5] ^= 1; /* the damage */
			struct found found = segment_read(buf_slice(&bytes));
			assert_int_equal(found.messages, 8);
			assert_true(found.damaged > content.length);
			/* Also without the header; and without secret no guess is made. */
			bytes.data[9] ^= 1;
			assert_int_equal(segment_read(buf_slice(&bytes)).messages, 8);
			assert_int_equal(segment_read_with(buf_slice(&bytes), NULL).messages, 0);
			buf_free(&bytes);
			buf_free(&content);
			buf_free(&copy);
		}
}

static void
without_header_and_secret_an_unbroken_row_counts(void **state)
{
	struct buf   bytes = BUF(SEGMENT_BYTES);
	struct slice whole = segment_make(&bytes);

	(void)state;
	bytes.data[33] ^= 1; /* in the key */
	struct found found = segment_read_with(whole, NULL);
	assert_true(found.is_header_damaged);
	assert_int_equal(found.messages, 2 | 4 | 8);
	assert_int_equal(segment_read(whole).messages, 2 | 4 | 8);
	buf_free(&bytes);
}

/* As version 1 wrote it: read after an upgrade. */
static void
a_segment_of_the_first_version_is_read(void **state)
{
	struct buf bytes = BUF(SEGMENT_BYTES);

	(void)state;
	head_append(&bytes, 7, RECORD_VERSION);
	message_append(&bytes, 7, "AAAAAA01", "first");
	message_append(&bytes, 7, "AAAAAA02", "second");
	result_append(&bytes, 7, "AAAAAA01", 1);
	message_append(&bytes, 7, "AAAAAA03", "third");
	struct found found = segment_read(buf_slice(&bytes));
	assert_int_equal(found.messages, 2 | 4 | 8);
	assert_int_equal(found.results, 1);
	bytes.data[SEGMENT_HEADER_BYTES + 40] ^= 1;
	found = segment_read(buf_slice(&bytes));
	assert_int_equal(found.messages, 4 | 8);
	assert_true(found.damaged > 0);
	bytes.data[SEGMENT_HEADER_BYTES + 40] ^= 1;
	bytes.data[1] ^= 1;
	assert_int_equal(segment_read_with(buf_slice(&bytes), NULL).messages, 2 | 4 | 8);
	buf_free(&bytes);
}

static void
a_torn_tail_leaves_what_was_before_it(void **state)
{
	struct buf   bytes = BUF(SEGMENT_BYTES);
	struct slice whole = segment_make(&bytes);
	char        *copy = malloc(SEGMENT_BYTES);

	(void)state;
	assert_non_null(copy);
	for (size_t cut = SEGMENT_HEADER_BYTES; cut < whole.length; cut++) {
		memcpy(copy, whole.data, cut);
		memset(copy + cut, 0, SEGMENT_BYTES - cut);
		struct found found = segment_read(slice_of(copy, SEGMENT_BYTES));
		/* An unbroken row from the first on: 1, then 2, then 3. */
		assert_true(found.messages == 0 || found.messages == 2 || found.messages == 6 ||
		            found.messages == 14);
		/* The same for a file that is too short. */
		found = segment_read(slice_of(copy, cut));
		assert_true(found.messages == 0 || found.messages == 2 || found.messages == 6 ||
		            found.messages == 14);
	}
	free(copy);
	buf_free(&bytes);
}

static void
an_unused_segment_is_no_damage(void **state)
{
	char               *zeros = calloc(1, SEGMENT_BYTES);
	struct segment_walk walk;
	bool                is_damaged;

	(void)state;
	assert_false(segment_open(slice_of(zeros, SEGMENT_BYTES), NULL, &walk, &is_damaged));
	assert_false(is_damaged);
	assert_false(segment_open(SLICE_EMPTY, NULL, &walk, &is_damaged));
	assert_false(is_damaged);
	free(zeros);
}

static void
a_queue_file_is_a_message_and_its_results(void **state)
{
	struct buf               bytes = BUF(SEGMENT_BYTES);
	struct stored_file       file;
	struct msg_stored_result result = { 0 };

	(void)state;
	message_append(&bytes, 0, "AAAAAA01", "first");
	result_append(&bytes, 0, "AAAAAA01", 1);
	result_append(&bytes, 0, "AAAAAA01", 2);
	size_t sound = bytes.length;
	result_append(&bytes, 0, "AAAAAA01", 3);
	bytes.data[bytes.length - 9] ^= 1; /* torn while it was appended */
	assert_true(stored_file_parse(buf_slice(&bytes), &file));
	assert_int_equal(file.valid_bytes, sound);
	assert_int_equal(file.recipient_count, 1);
	struct slice results = file.results;
	while (stored_result_next(&results, &result))
		;
	assert_int_equal(result.attempts, 2);
	buf_free(&bytes);
}

static void
a_queue_file_with_any_flipped_byte_in_its_message_is_refused(void **state)
{
	struct buf         bytes = BUF(SEGMENT_BYTES);
	struct stored_file file;

	(void)state;
	message_append(&bytes, 0, "AAAAAA01", "first");
	for (size_t i = 0; i + 8 < bytes.length; i++) {
		bytes.data[i] ^= 4;
		assert_false(stored_file_parse(buf_slice(&bytes), &file));
		bytes.data[i] ^= 4;
	}
	for (size_t cut = 0; cut < bytes.length; cut++)
		assert_false(stored_file_parse(slice_of(bytes.data, cut), &file));
	assert_true(stored_file_parse(buf_slice(&bytes), &file));
	buf_free(&bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_is_castagnoli),
		cmocka_unit_test(the_bytes_of_a_message_record_do_not_change),
		cmocka_unit_test(the_bytes_of_a_sealed_record_do_not_change),
		cmocka_unit_test(siphash_is_2_4),
		cmocka_unit_test(a_record_in_content_is_never_read),
		cmocka_unit_test(without_header_and_secret_an_unbroken_row_counts),
		cmocka_unit_test(a_segment_of_the_first_version_is_read),
		cmocka_unit_test(a_segment_ends_where_its_zeros_begin_though_older_records_follow),
		cmocka_unit_test(any_flipped_byte_costs_at_most_one_record_which_is_set_aside),
		cmocka_unit_test(a_torn_tail_leaves_what_was_before_it),
		cmocka_unit_test(an_unused_segment_is_no_damage),
		cmocka_unit_test(a_queue_file_is_a_message_and_its_results),
		cmocka_unit_test(a_queue_file_with_any_flipped_byte_in_its_message_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
