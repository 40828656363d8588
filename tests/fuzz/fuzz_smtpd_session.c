/*
 * fuzz_smtpd_session.c - a whole session over memory. The first byte chooses the configuration;
 * 0xff in the input is where the client stops to listen.
 */
/* links: smtpd/access.c smtpd/answer.c smtpd/blocklists.c smtpd/checks.c smtpd/client.c */
/* links: smtpd/commands.c smtpd/content.c smtpd/dispatch.c smtpd/limits.c smtpd/login.c */
/* links: smtpd/policy.c smtpd/restrictions.c smtpd/room.c smtpd/secure.c smtpd/session.c */
/* links: smtpd/addresses.c smtpd/backup.c smtpd/domains.c smtpd/milters.c */
/* links: smtpd/proxy.c smtpd/etrn.c smtpd/verified.c */
/* links: smtpd/compile.c smtpd/notify.c smtpd/transaction.c smtpd/xclient.c smtpd/xforward.c */
#include <assert.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/smtpd_fakes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char config[] =
	"myhostname = mx.example.test\n"
	"mydestination =\n"
	"mynetworks = 10.0.0.0/8\n"
	"smtpd_error_sleep_time = 0\n"
	"smtpd_hard_error_limit = 50\n"
	"smtpd_sasl_auth_enable = yes\n"
	"message_size_limit = 100000\n"
	"recipient_delimiter = +\n"
	"smtpd_authorized_xclient_hosts = 192.0.2.1\n"
	"smtpd_helo_restrictions = reject_invalid_helo_hostname\n"
	"smtpd_sender_restrictions = reject_sender_login_mismatch, reject_unknown_sender_domain, "
	"check_sender_access inline:{ { a@good.test = PREPEND X-A: b }, { b@good.test = HOLD } }\n"
	"smtpd_sender_login_maps = inline:{ { alice@example.test = alice@example.test } }\n"
	"virtual_mailbox_domains = example.test\n"
	"virtual_mailbox_maps = inline:{ { alice@example.test = example.test/alice/ } }\n"
	"virtual_uid_maps = static:1000\n"
	"virtual_gid_maps = static:1000\n";

static struct room *rooms[4];

static struct room *
room_for(unsigned which)
{
	static const char *const extra[] = { "", "smtpd_tls_security_level = may\n",
		                             "smtpd_forbid_bare_newline = reject\n",
		                             ("smtpd_delay_reject = no\n"
		                              "smtpd_forbid_unauth_pipelining = no\n") };
	struct error             error = ERROR_NONE;
	struct buf               text = BUF(10000);

	if (rooms[which] != NULL)
		return rooms[which];
	log_open("postfix/smtpd", "mx", LOG_TO_STREAM, open("/dev/null", O_WRONLY), 0);
	buf_append_text(&text, config);
	buf_append_text(&text, extra[which]);
	struct snapshot      *snapshot = snapshot_from_text(buf_text(&text), &error);
	struct daemon_context context = { .service = "smtp",
		                          .thread_limit = 10,
		                          .snapshot = snapshot,
		                          .parameters = snapshot_parameters(snapshot) };
	rooms[which] = room_create(&context, &error);
	assert(rooms[which] != NULL);
	buf_free(&text);
	return rooms[which];
}

/* Every reply is of the right shape, whatever the client sent. */
static void
assert_replies(struct slice out)
{
	struct slice line;

	while (out.length > 0) {
		size_t end = slice_find(out, SLICE("\r\n"));
		assert(end != SLICE_NOT_FOUND);
		line = slice_first(out, end);
		assert(line.length >= 3 && line.data[0] >= '2' && line.data[0] <= '5');
		assert(!slice_has_control(line));
		out = slice_from_offset(out, end + 2);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	struct daemon_context context = { .service = "smtp", .thread_limit = 10 };
	struct slice          input = slice_of((const char *)data + 1, size - 1), part;
	struct session_peer   peer = fake_peer("192.0.2.1", "192.0.2.250");
	struct fake_wire      wire = { .from_server = BUF(16u << 20) };
	struct buf            unused = BUF(10);
	enum session_next     next = SESSION_WAIT;

	fake_world = (struct fake_world){ .intake = BUF(1u << 20) };
	context.room = room_for(data[0] % 4);
	struct stream  *stream = fake_stream(&wire, &unused);
	struct session *session = session_begin(&context, stream, &peer);
	while (session != NULL && next == SESSION_WAIT && slice_next_part(&input, '\xff', &part)) {
		wire.to_server = part;
		next = fake_run(session, stream);
		stream_flush(stream);
	}
	if (session != NULL)
		session_end(session, next == SESSION_CLOSE ? SESSION_END_CLOSED : SESSION_END_LOST);
	assert_replies(buf_slice(&wire.from_server));
	stream_destroy(&stream);
	buf_free(&wire.from_server);
	buf_free(&unused);
	buf_free(&fake_world.intake);
	return 0;
}
