/* prober.c - see prober.h. */
#include "verify/prober.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/queue/job.h"
#include "lib/route/route.h"

#define INTAKE_SOCKET "private/intake"
#define RETRY_MS      500

void
prober_init(struct prober *prober, const struct parameters *parameters, struct cache *cache,
            probe_report *report, void *context)
{
	*prober = (struct prober){ .parameters = parameters,
		                   .cache = cache,
		                   .report = report,
		                   .context = context,
		                   .channel = { .fd = -1 } };
}

/* ---- sending ---- */

static void
flush(struct prober *prober)
{
	/* What does not fit now is sent at the next tick: qmgr reads all the time. */
	if (prober->is_open && ipc_flush(&prober->channel) != IPC_OK)
		prober_close(prober);
}

void
prober_send(struct prober *prober, struct known *known)
{
	struct buf              sender = BUF(2000);
	struct msg_intake_probe probe = { .address = slice_of(known->address, known->length) };
	int64_t                 now_us = clock_wall_us();

	if (!prober->has_greeted)
		return; /* with all others, when qmgr has answered */
	if (now_us <= prober->last_us)
		now_us = prober->last_us + 1;
	prober->last_us = now_us;
	queue_id_format(known->id, now_us, prober->instance);
	probe.queue_id = slice_from(known->id);
	bool is_good = route_probe_sender(prober->parameters, now_us / 1000000, &sender) &&
	               hash_put(&prober->asked, probe.queue_id, known, NULL);
	probe.sender = buf_slice(&sender);
	if (!is_good || !ipc_queue(&prober->channel, intake_probe, &probe)) {
		hash_remove(&prober->asked, probe.queue_id);
		prober->report(prober->context, known, VERIFY_LATER, SLICE("out of memory"));
	}
	buf_free(&sender);
	flush(prober);
}

/* Those that this qmgr does not know of. */
static void
send_all(struct prober *prober)
{
	LIST_EACH (node, &prober->cache->lines[LINE_PROBED]) {
		struct known *known = CONTAINER_OF(node, struct known, in_line);

		if (known->id[0] == '\0')
			prober_send(prober, known);
		if (!prober->has_greeted)
			return;
	}
}

/* ---- reading ---- */

static bool
take_probed(struct prober *prober, struct ipc_frame *frame)
{
	struct msg_intake_probed probed;
	struct buf               text = BUF(4000);

	if (!msg_intake_probed_decode(frame, &probed))
		return false;
	struct known *known = hash_remove(&prober->asked, probed.queue_id);
	if (known == NULL)
		return true; /* given up meanwhile */
	buf_append(&text, probed.reason);
	prober->report(prober->context, known,
	               probed.action == OUTCOME_DELIVERED ? VERIFY_GOOD
	               : probed.action == OUTCOME_FAILED  ? VERIFY_BAD
	                                                  : VERIFY_LATER,
	               buf_slice(&text));
	buf_free(&text);
	return true;
}

static bool
take_frame(struct prober *prober, struct ipc_frame *frame)
{
	struct msg_intake_welcome welcome;

	if (frame->type == MSG_intake_probed)
		return take_probed(prober, frame);
	if (prober->has_greeted || !msg_intake_welcome_decode(frame, &welcome))
		return false;
	prober->instance = welcome.instance;
	prober->has_greeted = true;
	prober->has_complained = false;
	send_all(prober);
	return true;
}

void
prober_read(struct prober *prober)
{
	struct ipc_frame frame;
	bool             is_good = prober->is_open && ipc_fill(&prober->channel) == IPC_OK;

	while (is_good && prober->is_open && ipc_next(&prober->channel, &frame)) {
		is_good = take_frame(prober, &frame);
		if (!is_good)
			log_warning("malformed message (%s) from qmgr", msg_name(frame.type));
		ipc_frame_close(&frame);
	}
	if (prober->is_open && (!is_good || prober->channel.is_broken))
		prober_close(prober);
}

/* ---- the connection ---- */

void
prober_close(struct prober *prober)
{
	if (!prober->is_open)
		return;
	ipc_channel_close(&prober->channel);
	prober->is_open = prober->has_greeted = prober->is_new = false;
	hash_free(&prober->asked, NULL);
	prober->asked = (struct hash){ 0 };
	LIST_EACH (node, &prober->cache->lines[LINE_PROBED])
		CONTAINER_OF(node, struct known, in_line)->id[0] = '\0';
}

static void
connect_again(struct prober *prober, int64_t now_ms)
{
	struct msg_intake_hello hello = { .service = SLICE("verify") };
	struct error            error = ERROR_NONE;

	prober->retry_ms = now_ms + RETRY_MS;
	prober->channel = (struct ipc_channel){ .fd = -1 };
	if (!ipc_channel_connect(&prober->channel, INTAKE_SOCKET, &error)) {
		if (!prober->has_complained)
			log_warning("%s", error.text);
		prober->has_complained = true;
		return;
	}
	prober->is_open = prober->is_new = true;
	if (!ipc_queue(&prober->channel, intake_hello, &hello))
		prober_close(prober);
	flush(prober);
}

/* What qmgr has not answered in so long a time. They stand in the order in which they began. */
static void
give_up(struct prober *prober)
{
	int64_t now_s = clock_wall_us() / 1000000;

	LIST_EACH (node, &prober->cache->lines[LINE_PROBED]) {
		struct known *known = CONTAINER_OF(node, struct known, in_line);

		if (now_s - known->probed_s < VERIFY_PROBE_S)
			return;
		if (known->id[0] != '\0')
			hash_remove(&prober->asked, slice_from(known->id));
		prober->report(prober->context, known, VERIFY_LATER,
		               SLICE("no answer was found in time"));
	}
}

void
prober_tick(struct prober *prober, int64_t now_ms)
{
	if (!prober->is_open && now_ms >= prober->retry_ms)
		connect_again(prober, now_ms);
	if (prober->is_open && ipc_has_output(&prober->channel))
		flush(prober);
	give_up(prober);
}

int
prober_fd(const struct prober *prober)
{
	return prober->is_open ? prober->channel.fd : -1;
}

bool
prober_is_new(struct prober *prober)
{
	bool is_new = prober->is_new;

	prober->is_new = false;
	return is_new;
}
