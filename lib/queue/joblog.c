/* joblog.c - the log line of one recipient's outcome. See job.h. */
#include "lib/queue/job.h"

#include "lib/base/log.h"
#include "lib/mail/address.h"

/*
 * Seconds with two significant digits and at most two decimals, zeros at the end dropped, as
 * delay_logging_resolution_limit = 2 prints: 0.04, 0.6, 1.2, 12, 345; under 5 ms is 0.
 */
static bool
append_seconds(struct buf *out, int64_t us)
{
	int64_t hundredths = us <= 0 ? 0 : us / 10000 + (us % 10000 >= 5000);

	if (hundredths >= 995) /* rounds to 10 s or more: whole seconds */
		return buf_append_u64(out, (uint64_t)((hundredths + 50) / 100));
	if (hundredths >= 100) /* one decimal */
		hundredths = (hundredths + 5) / 10 * 10;
	buf_append_u64(out, (uint64_t)(hundredths / 100));
	if (hundredths % 100 != 0)
		buf_append_format(out, ".%02d", (int)(hundredths % 100));
	if (hundredths % 100 != 0 && hundredths % 10 == 0)
		buf_truncate(out, out->length - 1);
	return !out->has_failed;
}

static const char *
status_word(uint32_t action, bool is_verify)
{
	if (is_verify)
		return action == OUTCOME_FAILED || action == OUTCOME_DEFERRED ? "undeliverable"
		                                                              : "deliverable";
	switch ((enum outcome_action)action) {
	case OUTCOME_DELIVERED:
	case OUTCOME_RELAYED:
	case OUTCOME_RELAYED_DSN:
	case OUTCOME_EXPANDED:
	case OUTCOME_PASS:
	case OUTCOME_FORWARD: return "sent";
	case OUTCOME_FAILED: return "bounced";
	case OUTCOME_DEFERRED: break;
	}
	return "deferred";
}

static void
append_delays(struct buf *out, const struct delivery_times *times)
{
	int64_t ready_us = times->connected_us != 0 ? times->connected_us : times->begin_us;

	buf_append_text(out, "delay=");
	append_seconds(out, times->done_us - times->arrival_us);
	buf_append_text(out, ", delays=");
	append_seconds(out, times->active_us - times->arrival_us);
	buf_append_byte(out, '/');
	append_seconds(out, times->begin_us - times->active_us);
	buf_append_byte(out, '/');
	append_seconds(out, ready_us - times->begin_us);
	buf_append_byte(out, '/');
	append_seconds(out, times->done_us - ready_us);
}

bool
job_outcome_append(struct buf *out, const struct msg_job_recipient *recipient,
                   const struct msg_outcome *outcome, const struct delivery_times *times,
                   unsigned connection_use)
{
	buf_append_text(out, "to=<");
	address_append_external(out, recipient->address);
	buf_append_text(out, ">, ");
	if (recipient->original.length > 0 &&
	    !slice_equal_fold(recipient->original, recipient->address)) {
		buf_append_text(out, "orig_to=<");
		address_append_external(out, recipient->original);
		buf_append_text(out, ">, ");
	}
	buf_append_text(out, "relay=");
	buf_append(out, outcome->relay.length > 0 ? outcome->relay : SLICE("none"));
	buf_append_text(out, ", ");
	if (connection_use > 1)
		buf_append_format(out, "conn_use=%u, ", connection_use);
	append_delays(out, times);
	/* Postfix's word for what would have bounced. */
	bool is_softened = times->is_soft && outcome->action == OUTCOME_FAILED;
	buf_append_text(out, ", dsn=");
	if (is_softened && slice_starts_with(outcome->status, SLICE("5")))
		buf_append_format(out, "4%.*s", SLICE_ARGS(slice_from_offset(outcome->status, 1)));
	else
		buf_append(out, outcome->status);
	buf_append_text(out, ", status=");
	buf_append_text(out, is_softened ? "SOFTBOUNCE"
	                                 : status_word(outcome->action, times->is_verify));
	buf_append_text(out, " (");
	buf_append(out, outcome->reason);
	return buf_append_byte(out, ')');
}

void
job_log_outcome(const char *queue_id, const struct msg_job_recipient *recipient,
                const struct msg_outcome *outcome, const struct delivery_times *times,
                unsigned connection_use)
{
	struct buf line = BUF(4096);

	if (!job_outcome_append(&line, recipient, outcome, times, connection_use)) {
		/* Longer than a log line may be: what matters most comes first anyway. */
		line.has_failed = false;
	}
	log_info("%s: %.*s", queue_id, SLICE_ARGS(buf_slice(&line)));
	buf_free(&line);
}
