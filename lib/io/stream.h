/*
 * stream.h - a conversation's bytes in both directions: a socket, TLS over it, or memory.
 *
 * Input is buffered up to a limit and looked at in place; output is buffered and flushed. Reading
 * and writing wait up to the stream's timeout and never beyond its deadline; a server session,
 * which must not wait for input, looks at stream_input and returns to its event loop instead.
 * Memory streams run the same session code in unit tests and fuzzers. One thread at a time.
 */
#ifndef DAKIYA_IO_STREAM_H
#define DAKIYA_IO_STREAM_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

struct stream;

enum stream_result {
	STREAM_OK,
	STREAM_AGAIN,   /* nothing there now (only from stream_fill_now and transports) */
	STREAM_EOF,     /* the peer closed in an orderly way */
	STREAM_TIMEOUT, /* no byte within the timeout, or the deadline passed, or below the rate */
	STREAM_FULL,    /* the input buffer's limit is reached without what the caller looks for */
	STREAM_ERROR,   /* reset, TLS failure; stream_error tells */
};

/*
 * What carries the bytes. lib/io has plain sockets, lib/tls adds TLS. Both functions never wait:
 * STREAM_AGAIN sets *wants (POLLIN or POLLOUT), which may be the other direction under TLS.
 */
struct stream_transport {
	enum stream_result (*read)(void *state, int fd, char *data, size_t size, size_t *got,
	                           short *wants, struct error *error);
	enum stream_result (*write)(void *state, int fd, struct slice bytes, size_t *sent,
	                            short *wants, struct error *error);
	/* Whether bytes are already here (in TLS's own buffer), so that poll would not tell. */
	bool (*has_pending)(void *state);
	/* Says goodbye if that can be done at once, frees state; the fd is closed by the stream. */
	void (*close)(void *state, int fd);
};

/* Over a connected socket, taken over and made non-blocking. NULL when memory is out. */
struct stream *stream_from_socket(int fd);
/*
 * Over memory: input is what the peer will have sent (borrowed), given in pieces of at most
 * step bytes (0 = all at once), then EOF; output is collected in *output (borrowed).
 */
struct stream *stream_from_memory(struct slice input, size_t step, struct buf *output);
/* Flushes nothing; closes the socket; clears the caller's pointer. */
void stream_destroy(struct stream **stream);

int  stream_fd(const struct stream *stream); /* -1 over memory */
void stream_set_transport(struct stream *stream, const struct stream_transport *transport,
                          void *state);
/* The state given with stream_set_transport when this transport is in use, else NULL. */
void *stream_transport_state(const struct stream *stream, const struct stream_transport *transport);

void stream_set_timeout(struct stream *stream, int64_t timeout_ms);   /* per wait; default 300 s */
void stream_set_deadline(struct stream *stream, int64_t deadline_ms); /* monotonic; 0 = none */
void stream_set_input_limit(struct stream *stream, size_t bytes);     /* default 64 KB */

/* ---- input ---- */

/* What is buffered; valid, also when consumed, until the next fill or trim. */
struct slice stream_input(const struct stream *stream);
void         stream_consume(struct stream *stream, size_t count);
/* Reads more, waiting for at least one byte. */
enum stream_result stream_fill(struct stream *stream);
/* Reads what is there without waiting; STREAM_AGAIN when nothing was. */
enum stream_result stream_fill_now(struct stream *stream);
/* Whether TLS or the buffer holds bytes that poll on the socket would not announce. */
bool stream_has_pending(const struct stream *stream);
/* The same without the buffer: only what the transport holds. */
bool stream_transport_has_pending(const struct stream *stream);
/*
 * Waits for a whole line and gives it without its line end (LF, or CRLF); *ending says how long
 * that was (1 or 2). The line is consumed and stays valid until the next read. For clients: servers
 * parse stream_input themselves.
 */
enum stream_result stream_read_line(struct stream *stream, struct slice *line, size_t *ending);
/*
 * Waits for the socket itself (POLLIN or POLLOUT), up to timeout and deadline: for transports
 * that have a handshake of their own.
 */
enum stream_result stream_wait(struct stream *stream, short events);
/* Drops buffered input; true when there was any (STARTTLS injection). */
bool stream_drop_input(struct stream *stream);

/* ---- output ---- */

/*
 * Buffers; flushes by itself, waiting, when more than 32 KB are held. Without memory for some of
 * it nothing that follows is taken or sent any more, whether the caller looks at the result or
 * not: the peer sees half a line and the end, never a reply with a hole.
 */
enum stream_result stream_write(struct stream *stream, struct slice bytes);
/* The same, for much at once: sent from where it lies, not copied, waiting as often as it takes. */
enum stream_result stream_send(struct stream *stream, struct slice bytes);
enum stream_result stream_write_text(struct stream *stream, const char *text);
/* Sends all that is buffered, waiting. */
enum stream_result stream_flush(struct stream *stream);
/* Sends what can be sent without waiting; STREAM_AGAIN when some is left (see stream_wants). */
enum stream_result stream_flush_now(struct stream *stream);
bool               stream_has_output(const struct stream *stream);
bool               stream_has_lost_output(const struct stream *stream); /* for want of memory */
/* Bytes written and not yet sent. */
size_t stream_output_held(const struct stream *stream);
/* POLLIN or POLLOUT: what the last STREAM_AGAIN waits for. */
short stream_wants(const struct stream *stream);

/* Frees buffers that are empty: called before a session is parked. */
void stream_trim(struct stream *stream);
/* Ends the conversation from another thread: later reads and writes fail. */
void stream_shutdown(struct stream *stream);
/* For whoever drives the stream: a pointer of its own, and a reason worded outside. */
void  stream_set_owner(struct stream *stream, void *owner);
void *stream_owner(const struct stream *stream);
void  stream_set_error(struct stream *stream, const struct error *error);
/* Why the last STREAM_ERROR happened. */
const char *stream_error(const struct stream *stream);
const char *stream_result_text(enum stream_result result);

#endif
