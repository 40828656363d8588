/*
 * data.c - message content between its stored form and the wire, both ways.
 *
 * Content nearly always consists of clean lines. clean_run finds how far that goes with memchr,
 * and that part is copied in one piece; only at a dot that begins a line, a bare CR or LF, and
 * where input was cut does the machine go byte by byte.
 */
#include "lib/smtp/data.h"

/* Where in a line the machine is. Those above AT_TEXT hold back bytes that they have taken. */
enum line_state {
	AT_START,            /* before the first byte of a line that follows CRLF, or of all */
	AT_START_AFTER_BARE, /* the same after a bare LF */
	AT_TEXT,
	AT_RETURN, /* CR taken */
	AT_DOT,    /* a dot at the start of a line taken */
	AT_DOT_AFTER_BARE,
	AT_DOT_RETURN, /* dot and CR taken */
	AT_DOT_RETURN_AFTER_BARE,
};

static const struct slice line_end = { "\r\n", 2 };
static const struct slice lone_dot = { ".\r\n", 3 };

/*
 * How many bytes from data on can be copied as they are: whole CRLF lines and the beginning of the
 * next, up to what needs a look (a dot at a line start when stops_at_dot, a bare CR or LF, a CR at
 * the end). *is_at_start holds before and after whether a line begins there.
 */
static size_t
clean_run(const char *data, size_t length, bool stops_at_dot, bool *is_at_start)
{
	const char *at = data;
	const char *end = data + length;

	while (at < end) {
		if (*is_at_start && stops_at_dot && *at == '.')
			break;
		size_t      left = (size_t)(end - at);
		const char *newline = memchr(at, '\n', left);
		size_t      line = newline != NULL ? (size_t)(newline - at) : left;
		const char *carriage = memchr(at, '\r', line);
		bool is_clean = newline != NULL && carriage != NULL && carriage + 1 == newline;

		if (!is_clean) {
			const char *stop = carriage != NULL ? carriage : at + line;
			if (stop > at)
				*is_at_start = false;
			return (size_t)(stop - data);
		}
		at = newline + 1;
		*is_at_start = true;
	}
	return (size_t)(at - data);
}

void
data_decoder_init(struct data_decoder *decoder, enum bare_newline bare_newline, bool is_bdat)
{
	*decoder = (struct data_decoder){
		.bare_newline = bare_newline,
		.is_bdat = is_bdat,
		.state = AT_START,
	};
}

/* The bare LF that ends a line of which nothing is held back. */
static void
put_bare_newline(struct data_decoder *decoder, struct buf *out)
{
	decoder->has_bare_newline = true;
	buf_append(out, line_end);
	decoder->state = AT_START_AFTER_BARE;
}

/* A CR was taken and something else than LF follows: it was no line end. */
static void
put_bare_return(struct data_decoder *decoder, struct buf *out)
{
	decoder->has_bare_return = true;
	buf_append_byte(out, ' ');
	decoder->state = AT_TEXT;
}

/* One byte where nothing is held back. */
static void
decode_in_line(struct data_decoder *decoder, char byte, struct buf *out)
{
	bool is_start = decoder->state != AT_TEXT;

	if (byte == '\r') {
		decoder->state = AT_RETURN;
	} else if (byte == '\n') {
		put_bare_newline(decoder, out);
	} else if (byte == '.' && is_start && !decoder->is_bdat) {
		decoder->state = decoder->state == AT_START ? AT_DOT : AT_DOT_AFTER_BARE;
	} else {
		buf_append_byte(out, byte);
		decoder->state = AT_TEXT;
	}
}

/*
 * One byte in any state. A dot that begins a line is dropped (RFC 5321 4.5.2) unless the line is
 * that dot alone and one of the two line ends around it is not CRLF: then it is a line of content.
 */
static enum data_result
decode_byte(struct data_decoder *decoder, char byte, struct buf *out)
{
	switch ((enum line_state)decoder->state) {
	case AT_START:
	case AT_START_AFTER_BARE:
	case AT_TEXT: decode_in_line(decoder, byte, out); return DATA_MORE;
	case AT_RETURN:
		if (byte == '\n') {
			buf_append(out, line_end);
			decoder->state = AT_START;
			return DATA_MORE;
		}
		put_bare_return(decoder, out);
		decode_in_line(decoder, byte, out);
		return DATA_MORE;
	case AT_DOT:
	case AT_DOT_AFTER_BARE:
		if (byte == '\r') {
			decoder->state =
				decoder->state == AT_DOT ? AT_DOT_RETURN : AT_DOT_RETURN_AFTER_BARE;
			return DATA_MORE;
		}
		if (byte == '\n')
			buf_append_byte(out, '.');
		decoder->state = AT_TEXT;
		decode_in_line(decoder, byte, out);
		return DATA_MORE;
	case AT_DOT_RETURN:
		if (byte == '\n') {
			decoder->state = AT_START;
			return DATA_END;
		}
		put_bare_return(decoder, out);
		decode_in_line(decoder, byte, out);
		return DATA_MORE;
	case AT_DOT_RETURN_AFTER_BARE:
		if (byte == '\n') {
			buf_append(out, lone_dot);
			decoder->state = AT_START;
			return DATA_MORE;
		}
		put_bare_return(decoder, out);
		decode_in_line(decoder, byte, out);
		return DATA_MORE;
	}
	return DATA_MORE;
}

static void
note_nul(struct data_decoder *decoder, struct slice taken)
{
	if (!decoder->has_nul && taken.length > 0 && memchr(taken.data, '\0', taken.length) != NULL)
		decoder->has_nul = true;
}

size_t
data_decode_clean(struct data_decoder *decoder, struct slice input)
{
	bool is_at_start = decoder->state != AT_TEXT;

	if (decoder->state > AT_TEXT || input.length == 0)
		return 0;
	size_t run = clean_run(input.data, input.length, !decoder->is_bdat, &is_at_start);
	if (run > 0)
		decoder->state = is_at_start ? AT_START : AT_TEXT;
	note_nul(decoder, slice_first(input, run));
	return run;
}

enum data_result
data_decode(struct data_decoder *decoder, struct slice input, size_t *consumed, struct buf *out,
            bool *ok)
{
	enum data_result result = DATA_MORE;
	size_t           at = 0;

	while (at < input.length && result == DATA_MORE) {
		if (decoder->state <= AT_TEXT) {
			bool   is_at_start = decoder->state != AT_TEXT;
			size_t run = clean_run(input.data + at, input.length - at,
			                       !decoder->is_bdat, &is_at_start);
			if (run > 0) {
				buf_append(out, slice_of(input.data + at, run));
				decoder->state = is_at_start ? AT_START : AT_TEXT;
				at += run;
				continue;
			}
		}
		result = decode_byte(decoder, input.data[at++], out);
	}
	note_nul(decoder, slice_first(input, at));
	*consumed = at;
	*ok = !out->has_failed;
	return result;
}

bool
data_decode_end(struct data_decoder *decoder, struct buf *out)
{
	if (decoder->state == AT_RETURN)
		put_bare_return(decoder, out);
	if (decoder->state == AT_TEXT)
		buf_append(out, line_end);
	decoder->state = AT_START;
	return !out->has_failed;
}

void
data_encoder_init(struct data_encoder *encoder, bool with_dots)
{
	*encoder = (struct data_encoder){ .state = AT_START, .with_dots = with_dots };
}

static void
encode_byte(struct data_encoder *encoder, char byte, struct buf *out)
{
	if (byte == '\n') {
		buf_append(out, line_end);
		encoder->state = AT_START;
		return;
	}
	if (encoder->state == AT_RETURN)
		buf_append_byte(out, ' ');
	if (byte == '\r') {
		encoder->state = AT_RETURN;
		return;
	}
	if (byte == '.' && encoder->state == AT_START && encoder->with_dots)
		buf_append_byte(out, '.');
	buf_append_byte(out, byte);
	encoder->state = AT_TEXT;
}

bool
data_encode(struct data_encoder *encoder, struct slice content, struct buf *out)
{
	size_t at = 0;

	while (at < content.length) {
		if (encoder->state <= AT_TEXT) {
			bool   is_at_start = encoder->state == AT_START;
			size_t run = clean_run(content.data + at, content.length - at,
			                       encoder->with_dots, &is_at_start);
			if (run > 0) {
				buf_append(out, slice_of(content.data + at, run));
				encoder->state = is_at_start ? AT_START : AT_TEXT;
				at += run;
				continue;
			}
		}
		encode_byte(encoder, content.data[at++], out);
	}
	return !out->has_failed;
}

bool
data_encode_end(struct data_encoder *encoder, struct buf *out)
{
	if (encoder->state == AT_RETURN)
		buf_append_byte(out, ' ');
	if (encoder->state != AT_START)
		buf_append(out, line_end);
	if (encoder->with_dots)
		buf_append(out, lone_dot);
	encoder->state = AT_START;
	return !out->has_failed;
}
