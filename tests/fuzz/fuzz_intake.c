/*
 * fuzz_intake.c - content in pieces through the steps: what is committed is a well-formed message.
 *
 * The functions of lib/queue/intake.h are the test's own: nothing is sent anywhere.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/base/log.h"
#include "lib/intake/intake.h"
#include "lib/mail/header.h"

#include <fcntl.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
	*fd = memfd_create("spool", MFD_CLOEXEC);
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
	struct slice content = submission->content;

	(void)client;
	(void)timeout_ms;
	(void)error;
	if (submission->is_spooled)
		return INTAKE_OK;
	assert(submission->envelope->size == content.length);
	assert(slice_starts_with(content, SLICE("Received: x\r\n")));
	assert(slice_ends_with(content, SLICE("\r\n")));
	struct header_field field;
	while (header_next(&content, &field))
		assert(!slice_equal_fold(field.name, SLICE("Bcc")));
	assert(slice_starts_with(content, SLICE("\r\n")));
	return INTAKE_OK;
}

static void
run_once(const struct intake_context *context, struct slice content, size_t step)
{
	struct msg_envelope  envelope = { .sender = SLICE("s@example.org") };
	struct msg_recipient recipient = { .address = SLICE("r@example.org") };
	struct arena         arena = ARENA(0);
	struct intake       *intake = intake_begin(context, &envelope, NULL);

	assert(intake != NULL && intake_set_trace(intake, SLICE("Received: x\r\n")));
	assert(intake_add_recipient(intake, &recipient));
	while (content.length > 0) {
		intake_write(intake, slice_first(content, step));
		content = slice_from_offset(content, step);
	}
	struct smtp_reply reply = intake_finish(intake, &arena);
	assert(reply.code == 250 || reply.code == 552 || reply.code == 554);
	intake_end(&intake);
	arena_reset(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct intake_context context;

	if (context.router == NULL) {
		log_open("fuzz", "fuzz", LOG_TO_STREAM, open("/dev/null", O_WRONLY), 0);
		context.snapshot = snapshot_from_text("myhostname = mx.example.org\n"
		                                      "header_size_limit = 1000\n"
		                                      "header_block_size_limit = 4096\n",
		                                      NULL);
		context.parameters = snapshot_parameters(context.snapshot);
		context.router = router_create(context.snapshot, NULL);
	}
	if (size == 0)
		return 0;
	run_once(&context, slice_of((const char *)data + 1, size - 1), (size_t)data[0] + 1);
	run_once(&context, slice_of((const char *)data + 1, size - 1), size);
	return 0;
}
