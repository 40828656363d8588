/*
 * data.h - the one encoder and decoder of message content on the wire.
 *
 * RFC 5321 4.5.2 (dot stuffing), 2.3.8 (CRLF is the only line end), 3030 (BDAT). Only CRLF.CRLF
 * ends DATA. Incremental: input may be cut anywhere. Used by smtpd, smtp, pop3d and bounce alike.
 */
#ifndef DAKIYA_SMTP_DATA_H
#define DAKIYA_SMTP_DATA_H

#include <stdint.h>

#include "lib/base/buf.h"

/* What to do with a LF that follows no CR, smtpd_forbid_bare_newline. */
enum bare_newline {
	BARE_NEWLINE_NORMALIZE,
	BARE_NEWLINE_REJECT,
	BARE_NEWLINE_NOTE,
	BARE_NEWLINE_ALLOW
};

enum data_result { DATA_MORE, DATA_END };

struct data_decoder {
	enum bare_newline bare_newline;
	bool              is_bdat; /* chunk data: no dots, no end */
	unsigned          state;   /* of the line-end machine */
	bool              has_bare_newline, has_bare_return, has_nul; /* what was seen */
};

void data_decoder_init(struct data_decoder *decoder, enum bare_newline bare_newline, bool is_bdat);
/*
 * Takes from input, appends content with CRLF line ends to out (false in *ok when out is full),
 * sets *consumed. DATA_END: the terminating line is consumed, what follows is the next command.
 */
enum data_result data_decode(struct data_decoder *decoder, struct slice input, size_t *consumed,
                             struct buf *out, bool *ok);

struct data_encoder {
	unsigned state;
	bool     with_dots; /* DATA and RETR; false for BDAT */
};
void data_encoder_init(struct data_encoder *encoder, bool with_dots);
/* Content in any line-end form (CRLF, LF; a bare CR becomes CRLF) to the wire's form. */
bool data_encode(struct data_encoder *encoder, struct slice content, struct buf *out);
/* Completes the last line and, with dots, appends the final "." CRLF. */
bool data_encode_end(struct data_encoder *encoder, struct buf *out);

#endif
