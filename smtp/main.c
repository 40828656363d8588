/* main.c - smtp, the outbound agent for SMTP and, called as lmtp, for LMTP. */
#include "smtp/smtp.h"

static bool
prepare_as(struct daemon_context *context, bool is_lmtp, struct error *error)
{
	context->room = smtp_agent_create(context, is_lmtp, error);
	return context->room != NULL;
}

static bool
prepare_smtp(struct daemon_context *context, struct error *error)
{
	return prepare_as(context, false, error);
}

static bool
prepare_lmtp(struct daemon_context *context, struct error *error)
{
	return prepare_as(context, true, error);
}

static int
run(struct daemon_context *context)
{
	struct smtp_agent *agent = context->room;
	int                status = smtp_run(agent, context);

	smtp_agent_destroy(&agent);
	return status;
}

static const char *const readable[] = {
	"$smtp_tls_policy_maps",
	"$smtp_sasl_password_maps",
	"$smtp_generic_maps",
	"$lmtp_generic_maps",
	OUTGOING_READABLE,
	"$smtp_reply_filter",
	"$lmtp_reply_filter",
	"$smtp_delivery_status_filter",
	"$lmtp_delivery_status_filter",
	ROUTER_READABLE,
	NULL,
};

static const struct daemon smtp = {
	.name = "smtp",
	.identity = RUNS_AS_NET,
	.doors = DOOR_UNIX_CONNECT | DOOR_INET_CONNECT | DOOR_FILE_READ,
	.readable = readable,
	.prepare = prepare_smtp,
	.run = run,
};

static const struct daemon lmtp = {
	.name = "lmtp",
	.identity = RUNS_AS_NET,
	.doors = DOOR_UNIX_CONNECT | DOOR_INET_CONNECT | DOOR_FILE_READ,
	.readable = readable,
	.prepare = prepare_lmtp,
	.run = run,
};

int
main(int argc, char **argv)
{
	struct slice program = slice_from(argc > 0 ? argv[0] : "smtp");
	bool         is_lmtp =
		slice_equal(program, SLICE("lmtp")) || slice_ends_with(program, SLICE("/lmtp"));

	return daemon_main(is_lmtp ? &lmtp : &smtp, argc, argv);
}
