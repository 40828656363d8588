/*
 * fuzz_submission.c - a file in maildrop/, or what a user sends to pickup: any bytes.
 *
 * The functions of lib/queue/intake.h are the test's own: what would be committed is looked at.
 */
/* links: pickup/submission.c */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/mail/address.h"
#include "pickup/submission.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

bool
intake_make_id(struct intake_client *client, char id[QUEUE_ID_MOST], struct error *error)
{
	(void)client;
	(void)error;
	snprintf(id, QUEUE_ID_MOST, "FUZZED");
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

/* Whatever came in, what would be stored is a message like any other. */
enum intake_status
intake_commit(struct intake_client *client, const struct intake_submission *submission,
              int64_t timeout_ms, struct error *error)
{
	const struct msg_envelope *envelope = submission->envelope;
	struct slice               list = submission->recipients, content = submission->content;
	struct msg_recipient       recipient;
	struct address             address;
	size_t                     count = 0;

	(void)client;
	(void)timeout_ms;
	(void)error;
	assert(envelope->sender.length == 0 || address_split(envelope->sender, &address));
	assert(!slice_has_control(envelope->sender) && !slice_has_control(envelope->dsn_envid));
	assert((envelope->flags & ~(unsigned)SUBMIT_FLAGS) == 0);
	for (; msg_recipient_next(&list, &recipient); count++)
		assert(recipient.address.length > 0 && !slice_has_control(recipient.address) &&
		       !slice_has_control(recipient.dsn_orcpt));
	assert(count > 0 && list.data != NULL);
	if (submission->is_spooled)
		return INTAKE_OK;
	assert(slice_starts_with(content, SLICE("Received: by ")));
	assert(slice_ends_with(content, SLICE("\r\n")));
	for (size_t i = 0; i < content.length; i++) {
		if (content.data[i] == '\n')
			assert(i > 0 && content.data[i - 1] == '\r');
		if (content.data[i] == '\r')
			assert(i + 1 < content.length && content.data[i + 1] == '\n');
	}
	return INTAKE_OK;
}

static const struct intake_context *
context_make(void)
{
	static struct intake_context context;
	struct error                 error = ERROR_NONE;

	if (context.snapshot != NULL)
		return &context;
	log_open("postfix/pickup", "mx", LOG_TO_STREAM, open("/dev/null", O_WRONLY), 0);
	struct snapshot *snapshot = snapshot_from_text("myhostname = mx.example.test\n"
	                                               "mydestination =\n"
	                                               "message_size_limit = 100000\n",
	                                               &error);
	context.snapshot = snapshot;
	context.parameters = snapshot_parameters(snapshot);
	context.router = router_create(snapshot, &error);
	assert(context.router != NULL);
	return &context;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice         rest = slice_of((const char *)data, size);
	struct submission    submission;
	struct ipc_frame     frame;
	size_t               whole;
	enum submission_step step = SUBMISSION_GOES_ON;

	submission_init(&submission, context_make(), 1000);
	while (step != SUBMISSION_MALFORMED &&
	       ipc_frame_read(rest, &frame, &whole) == IPC_FRAME_WHOLE) {
		step = submission_take(&submission, &frame);
		if (step == SUBMISSION_ENDED) {
			(void)submission_commit(&submission);
			submission_reset(&submission);
		}
		rest = slice_from_offset(rest, whole);
	}
	submission_reset(&submission);
	return 0;
}
