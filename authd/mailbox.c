/* mailbox.c - a login for retrieval yields a descriptor that speaks for one mailbox. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "authd/authd.h"
#include "lib/base/clock.h"
#include "lib/ipc/channel.h"
#include "lib/mailbox/client.h"

#define SEND_TIMEOUT_MS 5000
#define ROUTE_MEMORY    ((size_t)64 * 1024)

static bool
attach_send(struct authd *authd, const struct route *route, int end, struct error *error)
{
	struct ipc_channel        channel;
	struct msg_mailbox_attach attach = msg_mailbox_attach_clear();

	if (!ipc_channel_connect(&channel, authd->mailbox_path, error))
		return false;
	attach.kind = ATTACH_MAILBOX;
	attach.uid = route->uid;
	attach.gid = route->gid;
	attach.mailbox = route->mailbox;
	attach.channel = end;
	enum ipc_result result =
		ipc_send(&channel, mailbox_attach, &attach, clock_monotonic_ms() + SEND_TIMEOUT_MS);
	ipc_channel_close(&channel);
	return result == IPC_OK ||
	       error_set(error, "%s: %s", authd->mailbox_path, ipc_result_text(result));
}

int
mailbox_attach(struct authd *authd, const char *canonical, struct error *error)
{
	struct arena arena = ARENA(ROUTE_MEMORY);
	struct route route = { .uid = 0 };
	int          ends[2] = { -1, -1 };

	switch (route_mailbox(authd->router, slice_from(canonical), &arena, &route, error)) {
	case LOOKUP_FOUND: break;
	case LOOKUP_NOT_FOUND: error_set(error, "the user has no mailbox"); goto out;
	case LOOKUP_TRY_LATER: goto out;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		error_set_errno(error, "socketpair");
		ends[0] = -1;
		goto out;
	}
	bool is_sent = attach_send(authd, &route, ends[1], error);
	close(ends[1]);
	if (!is_sent) {
		close(ends[0]);
		ends[0] = -1;
	}
out:
	arena_reset(&arena);
	return ends[0];
}
