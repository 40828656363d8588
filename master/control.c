/* control.c - commands of `dakiya` on public/master. */
#include "master/master.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/daemon/daemon.h"

#define CLIENTS_MOST    20
#define ACCEPT_PAUSE_MS 200
#define REPLY_TEXT_MOST (200u * 1024)

struct control_client {
	struct watch       watch;
	struct list_node   node;
	struct ipc_channel channel;
	uint32_t           uid;
	bool               is_waiting_for_stop;
};

bool
control_open(struct master *master, struct error *error)
{
	/* Whoever may connect may ask for the state; the rest is root's and our own user's. */
	int fd =
		listener_bind_unix("public/master", 0660, geteuid(), master->mail_owner.gid, error);

	if (fd < 0)
		return false;
	master->control = (struct watch){ WATCH_CONTROL_LISTENER, fd };
	return loop_watch(master, &master->control) ||
	       error_set_errno(error, "watch public/master");
}

static void
client_free(struct master *master, struct control_client *client)
{
	loop_unwatch(master, &client->watch);
	list_remove(&client->node);
	ipc_channel_close(&client->channel);
	free(client);
}

/* Clients that connect and say nothing must not keep an admin out. False: there is none. */
static bool
drop_oldest(struct master *master)
{
	LIST_EACH (node, &master->clients) {
		struct control_client *client = CONTAINER_OF(node, struct control_client, node);

		if (client->is_waiting_for_stop)
			continue;
		client_free(master, client);
		return true;
	}
	return false;
}

static void
make_room(struct master *master)
{
	size_t count = 0;

	LIST_EACH (node, &master->clients)
		count++;
	if (count >= CLIENTS_MOST)
		drop_oldest(master);
}

void
control_resume(struct master *master)
{
	if (master->control_again_ms == 0 || clock_monotonic_ms() < master->control_again_ms)
		return;
	master->control_again_ms = 0;
	if (!loop_watch(master, &master->control))
		master->control_again_ms = clock_monotonic_ms() + ACCEPT_PAUSE_MS;
}

/* No descriptor is free: whoever waits comes in when another client has gone, or later. */
static void
accept_later(struct master *master)
{
	int fd = master->control.fd;

	if (drop_oldest(master))
		return;
	loop_unwatch(master, &master->control);
	master->control.fd = fd;
	master->control_again_ms = clock_monotonic_ms() + ACCEPT_PAUSE_MS;
}

void
control_accept(struct master *master)
{
	struct control_client *client;
	int                    fd = daemon_accept(master->control.fd, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			accept_later(master);
		return;
	}
	make_room(master);
	client = calloc(1, sizeof(*client));
	if (client == NULL || !ipc_peer_uid(fd, &client->uid)) {
		free(client);
		close(fd);
		return;
	}
	ipc_channel_init(&client->channel, fd);
	client->watch = (struct watch){ WATCH_CONTROL_CLIENT, fd };
	list_append(&master->clients, &client->node);
	if (!loop_watch(master, &client->watch))
		client_free(master, client);
}

static void
reply(struct control_client *client, uint32_t status, struct slice text)
{
	struct msg_master_reply message = { .status = status, .text = text };

	/* It fits into a new socket's buffer, or the client is no friend: never wait for it. */
	if (!ipc_queue(&client->channel, master_reply, &message) ||
	    ipc_flush(&client->channel) != IPC_OK)
		log_debug("a command's answer was not taken");
}

/* ---- the commands ---- */

static void
show(struct master *master, struct control_client *client,
     bool (*make)(const struct master *master, struct buf *out))
{
	struct buf text = BUF(REPLY_TEXT_MOST);

	if (make(master, &text))
		reply(client, EX_OK, buf_slice(&text));
	else
		reply(client, EX_SOFTWARE, SLICE("the state is too large to show"));
	buf_free(&text);
}

static void
command_status(struct master *master, struct control_client *client)
{
	show(master, client, status_json);
}

static void
command_status_text(struct master *master, struct control_client *client)
{
	show(master, client, status_text);
}

static void
command_reload(struct master *master, struct control_client *client)
{
	struct report report = REPORT_NONE;
	struct buf    text = BUF(REPLY_TEXT_MOST);
	bool          is_ok;

	if (master->state == MASTER_STOPPING) {
		reply(client, EX_TEMPFAIL, SLICE("the mail system is stopping"));
		return;
	}
	notify_state(master, "RELOADING=1");
	is_ok = generation_reload(master, &report);
	notify_state(master, "READY=1");
	report_append(&report, false, &text);
	if (is_ok)
		log_info("reload -- version %s, configuration %s, generation %u",
		         master->generation->configuration.parameters.mail_version,
		         master->config_directory, master->generation->number);
	else
		log_error("reload refused: %zu errors in the configuration; the old one stays",
		          report.error_count);
	reply(client, is_ok ? EX_OK : EX_CONFIG, buf_slice(&text));
	buf_free(&text);
	report_free(&report);
}

static void
command_stop(struct master *master, struct control_client *client)
{
	log_info("stopping the mail system");
	client->is_waiting_for_stop = true;
	supervise_stop(master, false);
}

static void
command_abort(struct master *master, struct control_client *client)
{
	log_info("aborting the mail system");
	client->is_waiting_for_stop = true;
	supervise_stop(master, true);
}

void
control_rotate(struct master *master)
{
	logfile_open(master, &master->generation->configuration.parameters);
	LIST_EACH (node, &master->processes)
		process_send_log(master, CONTAINER_OF(node, struct process, node));
}

static void
command_logrotate(struct master *master, struct control_client *client)
{
	control_rotate(master);
	reply(client, EX_OK, SLICE_EMPTY);
}

static const struct {
	const char *verb;
	bool        for_everybody;
	void (*run)(struct master *master, struct control_client *client);
} commands[] = {
	{ "status", true, command_status },  { "status-text", true, command_status_text },
	{ "reload", false, command_reload }, { "stop", false, command_stop },
	{ "abort", false, command_abort },   { "logrotate", false, command_logrotate },
};

static void
run_command(struct master *master, struct control_client *client, struct slice verb)
{
	bool is_trusted = client->uid == 0 || client->uid == geteuid();

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!slice_equal(verb, slice_from(commands[i].verb)))
			continue;
		if (is_trusted || commands[i].for_everybody)
			commands[i].run(master, client);
		else
			reply(client, EX_NOPERM, SLICE("only the mail system's owner may do that"));
		return;
	}
	reply(client, EX_USAGE, SLICE("there is no such command"));
}

void
control_input(struct master *master, struct watch *watch)
{
	struct control_client    *client = CONTAINER_OF(watch, struct control_client, watch);
	enum ipc_result           result = ipc_fill(&client->channel);
	struct ipc_frame          frame;
	struct msg_master_command command;

	while (ipc_next(&client->channel, &frame)) {
		if (msg_master_command_decode(&frame, &command))
			run_command(master, client, command.verb);
		else
			result = IPC_MALFORMED;
		ipc_frame_close(&frame);
	}
	if (result != IPC_OK || client->channel.is_broken)
		client_free(master, client);
}

void
control_close(struct master *master)
{
	LIST_EACH (node, &master->clients) {
		struct control_client *client = CONTAINER_OF(node, struct control_client, node);

		if (client->is_waiting_for_stop)
			reply(client, EX_OK, SLICE_EMPTY);
		client_free(master, client);
	}
	if (master->control.fd >= 0) {
		int fd = master->control.fd;
		loop_unwatch(master, &master->control);
		close(fd);
		unlink("public/master");
	}
}
