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

/*
 * What a LF that follows no CR means, smtpd_forbid_bare_newline. It is a line end in the content in
 * each case (and CRLF in what is put out), and never part of the end of data. The decoder notes in
 * has_bare_newline that there was one; refusing the message then is the caller's part.
 */
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
 * Takes from input, appends content with CRLF line ends to out (false in *ok when out is full; the
 * decoder then still finds the end, without content), sets *consumed. At most two bytes come out
 * for each byte taken, and two more. DATA_END: the terminating line is consumed, what follows is
 * the next command. A CR that no LF follows comes out as a blank, so that neither end of this host
 * can take it for a line end. NUL stays as it is.
 */
enum data_result data_decode(struct data_decoder *decoder, struct slice input, size_t *consumed,
                             struct buf *out, bool *ok);
/*
 * How many bytes at the start of input are content as they stand, which spares their copy; the
 * decoder has taken them. 0: only data_decode can tell.
 */
size_t data_decode_clean(struct data_decoder *decoder, struct slice input);
/* After the last BDAT chunk: completes a last line that has no line end. */
bool data_decode_end(struct data_decoder *decoder, struct buf *out);

struct data_encoder {
	unsigned state;
	bool     with_dots; /* DATA and RETR; false for BDAT */
};
void data_encoder_init(struct data_encoder *encoder, bool with_dots);
/*
 * Content in any line-end form (CRLF, LF) to the wire's form. A bare CR becomes a blank, as in the
 * decoder, so the octets without stuffing are the content's and one more for each bare LF.
 */
bool data_encode(struct data_encoder *encoder, struct slice content, struct buf *out);
/* Completes the last line and, with dots, appends the final "." CRLF. */
bool data_encode_end(struct data_encoder *encoder, struct buf *out);

#endif
