/* cards.c - see cards.h. A card is u32 length, u32 CRC-32C and a queue_entry payload. */
#include "qmgr/cards.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/ipc/frame.h"
#include "lib/queue/crc.h"

#define HEAD_BYTES   8
#define WINDOW_BYTES (128u * 1024) /* more than a card */
#define TRIM_LEAST   (64u << 20)

void
cards_open(struct cards *cards, int queue_fd)
{
	mutex_init(&cards->lock);
	cards->fd = openat(queue_fd, "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	cards->base = cards->end = 1;
}

void
cards_close(struct cards *cards)
{
	if (cards->fd >= 0)
		close(cards->fd);
	cards->fd = -1;
	mutex_destroy(&cards->lock);
}

/* ---- writing ---- */

bool
card_append(struct buf *out, struct ipc_encoding *encoding, const struct msg_queue_entry *entry)
{
	if (!msg_queue_entry_encode(encoding, entry))
		return false;
	struct slice payload = buf_slice(&encoding->fields);
	uint32_t     head[2] = { (uint32_t)payload.length, crc32c(0, payload) };

	return buf_reserve(out, HEAD_BYTES + payload.length) &&
	       buf_append(out, slice_of((const char *)head, HEAD_BYTES)) &&
	       buf_append(out, payload);
}

/* Without the lock: a card that another thread reads meanwhile has a wrong sum, which is fine. */
static void
cards_forget(struct cards *cards)
{
	mutex_lock(&cards->lock);
	cards->base = cards->end;
	mutex_unlock(&cards->lock);
	/* Room for mail is worth more; what fails here is tried again with the next trim. */
	int result = ftruncate(cards->fd, 0);
	(void)result;
}

uint64_t
cards_write(struct cards *cards, struct slice made)
{
	if (cards->fd < 0 || made.length == 0)
		return 0;
	mutex_lock(&cards->lock);
	uint64_t card = cards->end, base = cards->base;
	cards->end += made.length;
	mutex_unlock(&cards->lock);
	for (uint64_t at = card - base; made.length > 0;) {
		ssize_t put = pwrite(cards->fd, made.data, made.length, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			cards_forget(cards); /* a full disk is not ours to fill */
			return 0;
		}
		at += (uint64_t)put;
		made = slice_from_offset(made, (size_t)put);
	}
	return card;
}

void
cards_trim(struct cards *cards, uint64_t live_bytes)
{
	mutex_lock(&cards->lock);
	bool is_stale = cards->end - cards->base > TRIM_LEAST + 2 * live_bytes;
	mutex_unlock(&cards->lock);
	if (is_stale)
		cards_forget(cards);
}

/* ---- reading ---- */

/* The bytes from there on that the window holds. */
static struct slice
window_from(const struct cards_window *window, uint64_t card)
{
	if (card < window->at || card - window->at >= window->bytes.length)
		return SLICE_EMPTY;
	return slice_from_offset(buf_slice(&window->bytes), (size_t)(card - window->at));
}

/* The card at the front of bytes, or an empty slice. */
static struct slice
card_payload(struct slice bytes)
{
	uint32_t head[2];

	if (bytes.length < HEAD_BYTES)
		return SLICE_EMPTY;
	memcpy(head, bytes.data, HEAD_BYTES);
	bytes = slice_from_offset(bytes, HEAD_BYTES);
	if (head[0] > bytes.length || crc32c(0, slice_first(bytes, head[0])) != head[1])
		return SLICE_EMPTY;
	return slice_first(bytes, head[0]);
}

static void
window_read(struct cards *cards, struct cards_window *window, uint64_t card)
{
	ssize_t got = -1;

	mutex_lock(&cards->lock);
	uint64_t base = cards->base;
	mutex_unlock(&cards->lock);
	buf_clear(&window->bytes);
	window->at = card;
	if (card < base || !buf_reserve(&window->bytes, WINDOW_BYTES))
		return;
	do
		got = pread(cards->fd, window->bytes.data, WINDOW_BYTES, (off_t)(card - base));
	while (got < 0 && errno == EINTR);
	window->bytes.length = got > 0 ? (size_t)got : 0;
}

bool
cards_read(struct cards *cards, struct cards_window *window, uint64_t card, struct slice id,
           struct msg_queue_entry *entry)
{
	struct ipc_frame frame = { .type = MSG_queue_entry };

	if (cards->fd < 0)
		return false;
	frame.payload = card_payload(window_from(window, card));
	if (frame.payload.length == 0) {
		window_read(cards, window, card);
		frame.payload = card_payload(window_from(window, card));
	}
	return frame.payload.length > 0 && msg_queue_entry_decode(&frame, entry) &&
	       slice_equal(entry->queue_id, id);
}
