/* handshake.c - TLS for sessions; rooms that never ask for it are not linked with OpenSSL. */
#include "lib/daemon/sessions.h"
#include "lib/tls/tls.h"

void
session_start_tls(void *session, struct stream *stream, struct tls_server *server)
{
	static const struct handshake calls = { tls_server_start, tls_handshake };
	struct seat                  *seat = stream_owner(stream);

	(void)session;
	if (seat == NULL)
		return;
	seat->tls = server;
	seat->handshake = &calls;
}
