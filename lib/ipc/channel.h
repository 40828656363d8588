/*
 * channel.h - typed messages over a Unix stream socket, waiting or not.
 *
 * A worker thread uses ipc_call / ipc_send / ipc_receive, which wait up to a deadline. A room with
 * an event loop uses ipc_fill, ipc_next, ipc_queue and ipc_flush, which never wait. A malformed
 * frame, an unknown type or one above its size ends the channel: every function then fails, and
 * the owner closes it. One thread at a time; no locking inside.
 */
#ifndef DAKIYA_IPC_CHANNEL_H
#define DAKIYA_IPC_CHANNEL_H

#include "lib/base/error.h"
#include "lib/ipc/frame.h"
#include "lib/ipc/messages.h"

struct ipc_pending_descriptors;

struct ipc_channel {
	int                 fd; /* -1 when closed; non-blocking, close-on-exec */
	bool                is_broken;
	struct buf          in;
	size_t              in_used; /* bytes of in that belong to the frame given last */
	struct buf          out;
	struct ipc_encoding encoding;
	int                 received[16]; /* descriptors that came and belong to coming frames */
	size_t              received_count;
	struct ipc_pending_descriptors *pending; /* descriptors to go out with queued frames */
};

/* Takes the descriptor over. */
void ipc_channel_init(struct ipc_channel *channel, int fd);
/* Closes; harmless when closed already. */
void ipc_channel_close(struct ipc_channel *channel);
/* Connects to the listening socket at path (relative to the working directory). */
bool ipc_channel_connect(struct ipc_channel *channel, const char *path, struct error *error);
/* Frees memory that an idle channel does not need. */
void ipc_channel_trim(struct ipc_channel *channel);

/* ---- waiting ---- */

enum ipc_result {
	IPC_OK,
	IPC_CLOSED,  /* the peer is gone, orderly or not */
	IPC_TIMEOUT, /* the deadline passed; the channel is broken, since an answer may still come
	              */
	IPC_MALFORMED,
};

/* deadline_ms is on clock_monotonic_ms. The typed wrappers below are what rooms call. */
enum ipc_result ipc_send_encoding(struct ipc_channel *channel, uint32_t type, int64_t deadline_ms);
/* The frame borrows the channel's memory until the next receive. */
enum ipc_result ipc_receive(struct ipc_channel *channel, int64_t deadline_ms,
                            struct ipc_frame *frame);
const char     *ipc_result_text(enum ipc_result result);

/* ipc_send(channel, intake_hello, &message, deadline): encodes and sends; the result as above. */
#define ipc_send(channel, name, message, deadline_ms)                                              \
	(msg_##name##_encode(&(channel)->encoding, (message))                                      \
	         ? ipc_send_encoding((channel), MSG_##name, (deadline_ms))                         \
	         : IPC_MALFORMED)

/* ---- not waiting ---- */

/* Reads what is there. IPC_OK also when nothing was there. */
enum ipc_result ipc_fill(struct ipc_channel *channel);
/* The next whole frame among what was read; false when there is none (see is_broken). */
bool ipc_next(struct ipc_channel *channel, struct ipc_frame *frame);
bool ipc_queue_encoding(struct ipc_channel *channel, uint32_t type);
/* Appends to what waits to be sent; descriptors are duplicated. False when memory is out. */
#define ipc_queue(channel, name, message)                                                          \
	(msg_##name##_encode(&(channel)->encoding, (message)) &&                                   \
	 ipc_queue_encoding((channel), MSG_##name))
/* Sends what it can; IPC_OK with ipc_has_output when the socket is full. */
enum ipc_result ipc_flush(struct ipc_channel *channel);
bool            ipc_has_output(const struct ipc_channel *channel);
bool            ipc_has_input(const struct ipc_channel *channel); /* bytes of a frame are read */

/* The peer's uid (SO_PEERCRED), for servers that may only serve some; false when unknown. */
bool ipc_peer_uid(int fd, uint32_t *uid);
/* The process that connected; false when unknown. It may have ended since. */
bool ipc_peer_pid(int fd, int *pid);

#endif
