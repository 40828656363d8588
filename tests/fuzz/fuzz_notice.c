/*
 * fuzz_notice.c - notices about any message to any recipients: a well-formed report comes out.
 *
 * The functions of lib/queue/intake.h are the test's own, what is committed is looked at. Input:
 * a byte of kind, a byte of flags, a line each for sender, recipient, ORCPT, ENVID, Message-Id, the
 * reason and the remote host's reply, then the message.
 */
/* links: bounce/kind.c bounce/report.c bounce/returned.c bounce/send.c */
/* links: bounce/template.c bounce/text.c */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include "bounce/notice.h"
#include "lib/base/log.h"
#include "lib/mail/header.h"

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

/* The lines that are the boundary's: three parts at most and the end. */
static unsigned
count_boundaries(struct slice content, struct slice boundary)
{
	struct slice line;
	unsigned     count = 0;

	while (content.length > 0 && slice_next_part(&content, '\n', &line))
		if (slice_starts_with(line, SLICE("--")) &&
		    slice_starts_with(slice_from_offset(line, 2), boundary))
			count++;
	return count;
}

/* Header fields of ours alone, and the boundary between the parts. */
static void
check_notice(struct slice content, bool is_utf8)
{
	static const char *const ours[] = { "Received",
		                            "Date",
		                            "From",
		                            "Subject",
		                            "To",
		                            "Message-Id",
		                            "References",
		                            "Auto-Submitted",
		                            "In-Reply-To",
		                            "TLS-Required",
		                            "MIME-Version",
		                            "Content-Type",
		                            "Content-Transfer-Encoding" };
	struct slice             whole = content, boundary = SLICE_EMPTY;
	struct header_field      field;

	while (header_next(&content, &field)) {
		size_t row = 0;

		while (row < sizeof(ours) / sizeof(ours[0]) &&
		       !slice_equal(field.name, slice_from(ours[row])))
			row++;
		assert(row < sizeof(ours) / sizeof(ours[0]));
		assert(is_utf8 || slice_is_ascii(field.value));
		size_t at = slice_find(field.value, SLICE("boundary=\""));
		if (at != SLICE_NOT_FOUND)
			boundary = slice_first(slice_from_offset(field.value, at + 10), 34);
	}
	assert(boundary.length == 34 && slice_starts_with(content, SLICE("\r\n")));
	unsigned count = count_boundaries(whole, boundary);
	assert(count == 3 || count == 4);
}

enum intake_status
intake_commit(struct intake_client *client, const struct intake_submission *submission,
              int64_t timeout_ms, struct error *error)
{
	(void)client;
	(void)timeout_ms;
	(void)error;
	if (!submission->is_spooled)
		check_notice(submission->content,
		             (submission->envelope->flags & ENVELOPE_SMTPUTF8) != 0);
	return INTAKE_OK;
}

static struct slice
take_line(struct slice *rest)
{
	struct slice line;

	if (rest->length == 0 || !slice_next_part(rest, '\n', &line))
		return SLICE_EMPTY;
	return line;
}

static void
run_once(const struct notice_room *room, unsigned kind, unsigned flags, struct slice rest)
{
	struct agent_job         job = { .message = msg_job_clear() };
	struct msg_job_recipient recipient = { .dsn_notify = flags >> 3 & 15 };
	struct msg_outcome       outcome = { .action = kind >> 2 & 7, .status = SLICE("5.1.1") };
	struct buf               outcomes = BUF(1u << 20), recipients = BUF(1u << 20);
	struct error             error = ERROR_NONE;

	job.message.kind = JOB_NOTICE_FAILURE + kind % 3;
	job.message.queue_id = SLICE("ORIGINAL");
	job.envelope.flags = (flags & 1 ? ENVELOPE_SMTPUTF8 : 0) | (flags & 2 ? ENVELOPE_8BIT : 0);
	job.envelope.dsn_ret = flags & 4 ? DSN_RET_HDRS : DSN_RET_FULL;
	job.envelope.sender = take_line(&rest);
	recipient.address = take_line(&rest);
	recipient.dsn_orcpt = take_line(&rest);
	job.envelope.dsn_envid = take_line(&rest);
	job.envelope.message_id = take_line(&rest);
	outcome.reason = take_line(&rest);
	outcome.diagnostic = take_line(&rest);
	job.message.content = rest;
	/* smtpd's rule: UTF-8 comes with SMTPUTF8 alone. */
	if (!slice_is_ascii(job.envelope.sender))
		job.envelope.flags |= ENVELOPE_SMTPUTF8;
	assert(msg_outcome_append(&outcomes, &outcome));
	recipient.outcome = buf_slice(&outcomes);
	assert(msg_job_recipient_append(&recipients, &recipient));
	job.message.recipients = buf_slice(&recipients);
	notice_send(room, &job, &error);
	buf_free(&outcomes);
	buf_free(&recipients);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct notice_room room;

	if (room.intake.router == NULL) {
		log_open("fuzz", "fuzz", LOG_TO_STREAM, open("/dev/null", O_WRONLY), 0);
		room.intake.snapshot =
			snapshot_from_text("myhostname = mx.example.org\n"
		                           "enable_threaded_bounces = yes\n"
		                           "notify_classes = bounce, delay\nalias_maps =\n"
		                           "bounce_size_limit = 20000\n",
		                           NULL);
		room.intake.parameters = snapshot_parameters(room.intake.snapshot);
		room.intake.router = router_create(room.intake.snapshot, NULL);
		assert(notice_room_init(&room, room.intake.snapshot, NULL));
	}
	if (size > 2)
		run_once(&room, data[0], data[1], slice_of((const char *)data + 2, size - 2));
	return 0;
}
