/*
 * fuzz_intake_checks.c - any content past header and body checks: those that match nothing change
 * nothing, however it is cut; those that act leave a well-formed message.
 *
 * The functions of lib/queue/intake.h are the test's own: nothing is sent anywhere.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/intake/intake.h"
#include "lib/mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf committed = BUF(1u << 24);
static int        spool = -1;

bool
intake_make_id(struct intake_client *client, char id[QUEUE_ID_MOST], struct error *error)
{
	(void)client;
	(void)error;
	snprintf(id, QUEUE_ID_MOST, "FUZZ");
	return true;
}

enum intake_status
intake_open_spool(struct intake_client *client, const char *id, uint64_t size, int *fd,
                  struct error *error)
{
	(void)client;
	(void)id;
	(void)size;
	(void)error;
	spool = memfd_create("spool", MFD_CLOEXEC);
	*fd = dup(spool);
	return *fd < 0 ? INTAKE_TRY_LATER : INTAKE_OK;
}

void
intake_abandon_spool(struct intake_client *client, const char *id)
{
	(void)client;
	(void)id;
}
bool
intake_hold_content(struct intake_client *client)
{
	(void)client;
	return false;
}
void
intake_release_content(struct intake_client *client)
{
	(void)client;
}

enum intake_status
intake_commit(struct intake_client *client, const struct intake_submission *submission,
              int64_t timeout_ms, struct error *error)
{
	(void)client;
	(void)timeout_ms;
	(void)error;
	buf_clear(&committed);
	if (submission->is_spooled) {
		char    piece[4096];
		ssize_t got;

		for (off_t at = 0; (got = pread(spool, piece, sizeof(piece), at)) > 0; at += got)
			buf_append(&committed, slice_of(piece, (size_t)got));
	} else {
		buf_append(&committed, submission->content);
	}
	assert(submission->envelope->size == committed.length);
	assert(slice_ends_with(buf_slice(&committed), SLICE("\r\n")));
	return INTAKE_OK;
}

/* The reply's code; what was committed lies in committed. */
static int
run_once(const struct intake_context *context, struct slice content, size_t step)
{
	struct msg_envelope  envelope = { .sender = SLICE("s@example.org") };
	struct msg_recipient recipient = { .address = SLICE("r@example.org") };
	struct arena         arena = ARENA(0);
	struct intake       *intake = intake_begin(context, &envelope, NULL);

	buf_clear(&committed);
	assert(intake != NULL && intake_set_trace(intake, SLICE("Received: x\r\n")));
	assert(intake_add_recipient(intake, &recipient));
	while (content.length > 0) {
		intake_write(intake, slice_first(content, step));
		content = slice_from_offset(content, step);
	}
	struct smtp_reply reply = intake_finish(intake, &arena);
	intake_end(&intake);
	arena_reset(&arena);
	if (spool >= 0)
		close(spool);
	spool = -1;
	return reply.code;
}

static void
open_context(struct intake_context *context, const char *checks)
{
	char text[2000];

	snprintf(text, sizeof(text),
	         "myhostname = mx.example.org\nheader_size_limit = 1000\n"
	         "header_block_size_limit = 4096\nline_length_limit = 256\n"
	         "mime_nesting_limit = 5\nmessage_drop_headers =\n%s",
	         checks);
	context->snapshot = snapshot_from_text(text, NULL);
	context->parameters = snapshot_parameters(context->snapshot);
	context->router = router_create(context->snapshot, NULL);
	context->checks = checks_create(context->snapshot, NULL);
	assert(context->router != NULL && context->checks != NULL);
}

static void
check(const struct intake_context *plain, const struct intake_context *idle,
      const struct intake_context *acting, struct slice content, size_t step)
{
	struct buf expected = BUF(1u << 24);
	int        code = run_once(plain, content, step);

	buf_append(&expected, buf_slice(&committed));
	int with_checks = run_once(idle, content, step);
	assert(with_checks == code || (code == 250 && with_checks == 550)); /* too deep */
	if (with_checks == 250)
		assert(slice_equal(buf_slice(&committed), buf_slice(&expected)));
	code = run_once(acting, content, step);
	assert(code == 250 || code == 550 || code == 552 || code == 554);
	if (code == 250 && committed.length > 0) {
		struct slice        rest = buf_slice(&committed);
		struct header_field field;

		while (header_next(&rest, &field))
			assert(!slice_starts_with_fold(field.whole, SLICE("X-Gone:")));
		assert(slice_starts_with(rest, SLICE("\r\n")));
	}
	buf_free(&expected);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct intake_context plain, idle, acting;

	if (plain.router == NULL) {
		log_open("fuzz", "fuzz", LOG_TO_STREAM, open("/dev/null", O_WRONLY), 0);
		open_context(&plain, "");
		open_context(&idle, "header_checks = inline:{ {no such field = REJECT} }\n"
		                    "body_checks = inline:{ {no such line = REJECT} }\n");
		open_context(&acting,
		             "header_checks = pcre:{ { /^X-Gone:/ IGNORE },"
		             "{ /^X-New:/ PREPEND X-Old: x }, { /^C(.*)/ REPLACE D: c },"
		             "{ /^Pass/ PASS }, { /^Discard/ DISCARD }, { /^Hold/ HOLD },"
		             "{ /^Bcc/ BCC b@c.example }, { /^Re/ REDIRECT r@c.example } }\n"
		             "mime_header_checks = pcre:{ { /^X/ STRIP } }\n"
		             "nested_header_checks = pcre:{ { /^Y/ REPLACE Z: z } }\n"
		             "body_checks = pcre:{ { /^[xyz]/ IGNORE }, { /^a/ PREPEND b },"
		             "{ /^c/ REPLACE d }, { /reject/ REJECT } }\n");
	}
	if (size == 0)
		return 0;
	check(&plain, &idle, &acting, slice_of((const char *)data + 1, size - 1),
	      (size_t)data[0] + 1);
	check(&plain, &idle, &acting, slice_of((const char *)data + 1, size - 1), size);
	return 0;
}
