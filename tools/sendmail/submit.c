/*
 * submit.c - a letter to pickup, once and not twice.
 *
 * pickup tells the queue id before anything is committed. When it dies before its answer, that id
 * is asked for at the next one: what was taken is not sent again, what was not is.
 */
#include <errno.h>
#include <stdio.h>
#include <sysexits.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/ipc/channel.h"
#include "tools/sendmail/sendmail.h"

#define ATTEMPTS_MS    30000  /* how long it is tried to get it taken at all */
#define UNSURE_MS      120000 /* and to find out whether it was: otherwise it may be sent twice */
#define SEND_MS        60000  /* for one frame */
#define ANSWER_MS      310000 /* the commit's own limit and a bit */
#define PAUSE_LEAST_MS 20
#define PAUSE_MOST_MS  500

enum talk {
	TALK_DONE,   /* pickup has answered */
	TALK_NOBODY, /* the system is down */
	TALK_AGAIN,  /* not taken, and may be tried again */
	TALK_UNSURE, /* perhaps taken: ask */
	TALK_UNABLE, /* the letter cannot be sent */
};

struct talker {
	struct tool           *tool;
	const struct letter   *letter;
	struct answer         *answer;
	struct ipc_channel     channel;
	struct msg_submit_done done; /* its slices are gone: status only */
	bool                   is_sent;
};

static void
pause_ms(int64_t ms)
{
	struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L };

	nanosleep(&pause, NULL);
}

static enum talk
talk_connect(struct talker *talker)
{
	struct error error = ERROR_NONE;

	if (ipc_channel_connect(&talker->channel, SUBMIT_SOCKET, &error))
		return TALK_DONE;
	if (error.errno_value == EAGAIN)
		return TALK_AGAIN; /* many come at once */
	return TALK_NOBODY;
}

static bool
frame_send(void *context, uint32_t type, struct ipc_encoding *encoding)
{
	struct talker       *talker = context;
	struct ipc_encoding *own = &talker->channel.encoding;
	bool                 is_good;

	buf_clear(&own->fields);
	is_good = buf_append(&own->fields, buf_slice(&encoding->fields));
	own->tail = encoding->tail;
	own->descriptor_count = 0;
	is_good = is_good && ipc_send_encoding(&talker->channel, type,
	                                       clock_monotonic_ms() + SEND_MS) == IPC_OK;
	talker->is_sent = is_good && type == MSG_submit_end;
	return is_good;
}

static void
text_keep(char *to, size_t size, struct slice text)
{
	snprintf(to, size, "%.*s", SLICE_ARGS(text));
}

/* One answer: submit_started notes the id, submit_done is the end of it. */
static enum talk
talk_receive(struct talker *talker)
{
	struct msg_submit_started started;
	struct msg_submit_done    done;
	struct ipc_frame          frame;

	for (;;) {
		if (ipc_receive(&talker->channel, clock_monotonic_ms() + ANSWER_MS, &frame) !=
		    IPC_OK)
			return talker->answer->queue_id[0] == '\0' ? TALK_AGAIN : TALK_UNSURE;
		if (msg_submit_started_decode(&frame, &started)) {
			text_keep(talker->answer->queue_id, sizeof(talker->answer->queue_id),
			          started.queue_id);
			ipc_frame_close(&frame);
			continue;
		}
		bool is_done = msg_submit_done_decode(&frame, &done);
		if (is_done) {
			talker->done.status = done.status;
			text_keep(talker->answer->reason, sizeof(talker->answer->reason),
			          done.reason);
		}
		ipc_frame_close(&frame);
		return is_done ? TALK_DONE : TALK_AGAIN;
	}
}

static enum talk
talk_once(struct talker *talker)
{
	enum talk result = talk_connect(talker);

	if (result != TALK_DONE)
		return result;
	talker->is_sent = false;
	talker->answer->queue_id[0] = '\0';
	bool is_encoded = letter_encode(talker->letter, frame_send, talker);
	if (!is_encoded && !talker->channel.is_broken)
		result = TALK_UNABLE;
	else
		result = talk_receive(talker); /* also why it was closed on us */
	/* Without its last frame it cannot have been taken. */
	if (result == TALK_UNSURE && !talker->is_sent)
		result = TALK_AGAIN;
	ipc_channel_close(&talker->channel);
	return result;
}

/* Was it taken? */
static enum talk
talk_ask(struct talker *talker)
{
	struct msg_submit_ask ask = { .queue_id = slice_from(talker->answer->queue_id) };
	enum talk             result = talk_connect(talker);

	if (result != TALK_DONE)
		return TALK_UNSURE;
	result = ipc_send(&talker->channel, submit_ask, &ask, clock_monotonic_ms() + SEND_MS) ==
	                         IPC_OK
	                 ? talk_receive(talker)
	                 : TALK_UNSURE;
	ipc_channel_close(&talker->channel);
	if (result != TALK_DONE || talker->done.status == SUBMIT_TRY_LATER)
		return TALK_UNSURE;
	return talker->done.status == SUBMIT_UNKNOWN ? TALK_AGAIN : TALK_DONE;
}

/*
 * "Try later" behind the whole message may mean that the queue died over it: then it may have been
 * taken all the same.
 */
static bool
may_be_taken(const struct talker *talker)
{
	return talker->done.status == SUBMIT_TRY_LATER && talker->answer->queue_id[0] != '\0';
}

/* Until it is known what became of it. */
static enum talk
talk(struct talker *talker)
{
	int64_t until_ms = clock_monotonic_ms() + ATTEMPTS_MS, pause = PAUSE_LEAST_MS;
	bool    is_unsure = false, is_later = false;

	for (;;) {
		enum talk result = is_unsure ? talk_ask(talker) : talk_once(talker);

		/* It was not taken, and trying again at once is of no use. */
		if (is_later && result == TALK_AGAIN) {
			talker->done.status = SUBMIT_TRY_LATER;
			return TALK_DONE;
		}
		if (!is_unsure && result == TALK_DONE && may_be_taken(talker)) {
			is_later = true;
			result = TALK_UNSURE;
		}
		if (result == TALK_DONE && talker->done.status == SUBMIT_BUSY)
			result = TALK_AGAIN;
		else if (result == TALK_DONE || result == TALK_NOBODY || result == TALK_UNABLE)
			return result;
		if (clock_monotonic_ms() >= until_ms + (result == TALK_UNSURE ? UNSURE_MS : 0))
			return talker->done.status == SUBMIT_BUSY ? TALK_DONE : result;
		is_unsure = result == TALK_UNSURE;
		/* Not all of a crowd at the same moment. */
		pause_ms(pause + (int64_t)random_below((uint32_t)pause));
		pause = pause < PAUSE_MOST_MS ? pause * 2 : PAUSE_MOST_MS;
	}
}

static void
answer_set(struct answer *answer, int code, const char *reason)
{
	answer->code = code;
	snprintf(answer->reason, sizeof(answer->reason), "%s", reason);
}

static void
answer_drop(struct talker *talker)
{
	struct error error = ERROR_NONE;

	talker->answer->queue_id[0] = '\0';
	if (letter_drop(talker->tool, talker->letter, &error))
		answer_set(talker->answer, EX_OK, "");
	else
		answer_set(talker->answer, EX_TEMPFAIL, error.text);
}

static void
answer_done(struct talker *talker)
{
	struct answer *answer = talker->answer;

	switch ((enum submit_status)talker->done.status) {
	case SUBMIT_OK: answer->code = EX_OK; return;
	case SUBMIT_TRY_LATER: answer_drop(talker); return;
	case SUBMIT_NO_SPACE:
	case SUBMIT_BUSY: answer->code = EX_TEMPFAIL; return;
	case SUBMIT_NOT_ALLOWED: answer->code = EX_NOPERM; return;
	case SUBMIT_BAD_DATA: answer->code = EX_DATAERR; return;
	case SUBMIT_REFUSED: answer->code = EX_UNAVAILABLE; return;
	case SUBMIT_UNKNOWN: break;
	}
	answer_set(answer, EX_SOFTWARE, "pickup gives an answer that is not known");
}

void
letter_submit(struct tool *tool, const struct letter *letter, struct answer *answer)
{
	struct talker talker = {
		.tool = tool, .letter = letter, .answer = answer, .channel.fd = -1
	};

	*answer = (struct answer){ .code = EX_TEMPFAIL };
	switch (talk(&talker)) {
	case TALK_DONE: answer_done(&talker); return;
	case TALK_NOBODY:
	case TALK_AGAIN: answer_drop(&talker); return;
	case TALK_UNSURE:
		answer_set(answer, EX_TEMPFAIL, "the mail system stopped before its answer");
		return;
	case TALK_UNABLE: answer_set(answer, EX_OSERR, "the message cannot be read again"); return;
	}
}
