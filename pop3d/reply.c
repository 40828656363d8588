/* reply.c - the two kinds of answers. */
#include "pop3d/pop3d.h"

void
pop3_ok(struct pop3_session *session, const char *text)
{
	stream_write_text(session->stream, text != NULL ? "+OK " : "+OK");
	stream_write_text(session->stream, text != NULL ? text : "");
	stream_write_text(session->stream, "\r\n");
}

void
pop3_error(struct pop3_session *session, const char *code, const char *text)
{
	stream_write_text(session->stream, "-ERR ");
	if (code != NULL) {
		stream_write_text(session->stream, "[");
		stream_write_text(session->stream, code);
		stream_write_text(session->stream, "] ");
	}
	stream_write_text(session->stream, text);
	stream_write_text(session->stream, "\r\n");
}
