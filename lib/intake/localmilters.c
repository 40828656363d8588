/*
 * localmilters.c - mail that came without an SMTP session, shown to milters (non_smtpd_milters).
 *
 * They are told of a client "localhost" that says everything at once, when the content is there.
 */
#include "lib/intake/steps.h"
#include "lib/mail/address.h"

#define NONE ((struct slice){ NULL, 0 })

static struct slice
domain_part(struct slice address)
{
	size_t at = slice_find_last_byte(address, '@');

	return at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(address, at + 1);
}

static struct slice
macro_value(void *context, struct slice name)
{
	const struct local_milters *local = context;
	const struct intake        *intake = local->intake;
	const struct {
		struct slice name, value;
	} rows[] = {
		{ SLICE("i"), slice_from(intake->id) },
		{ SLICE("_"), SLICE("localhost [127.0.0.1]") },
		{ SLICE("client_addr"), SLICE("127.0.0.1") },
		{ SLICE("client_name"), SLICE("localhost") },
		{ SLICE("client_ptr"), SLICE("localhost") },
		{ SLICE("client_port"), SLICE("0") },
		{ SLICE("daemon_addr"), SLICE("127.0.0.1") },
		{ SLICE("mail_addr"), intake->envelope.sender },
		{ SLICE("mail_host"), domain_part(intake->envelope.sender) },
		{ SLICE("mail_mailer"), SLICE("local") },
		{ SLICE("rcpt_addr"), local->recipient },
		{ SLICE("rcpt_host"), domain_part(local->recipient) },
		{ SLICE("rcpt_mailer"), local->recipient.data == NULL ? NONE : SLICE("local") },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (slice_equal(name, rows[i].name))
			return rows[i].value;
	return intake_milter_macro(intake->context->parameters, name);
}

static struct milter_verdict
tell_address(struct local_milters *local, struct slice address,
             struct milter_verdict (*tell)(struct milter_session *, struct slice, struct slice))
{
	struct buf path = BUF(2048);

	buf_append_byte(&path, '<');
	address_append_external(&path, address);
	buf_append_byte(&path, '>');
	struct milter_verdict verdict = tell(local->session, buf_slice(&path), SLICE_EMPTY);
	buf_free(&path);
	return verdict;
}

bool
local_milters_begin(struct local_milters *local, struct intake *intake)
{
	*local = (struct local_milters){ .intake = intake, .recipient = NONE };
	local->session = milter_session_create(intake->context->milters, macro_value, local);
	return local->session != NULL;
}

/* What is to be held is shown nevertheless; lib/milter remembers it. */
static bool
goes_on(const struct milter_verdict *verdict)
{
	return verdict->outcome == MILTER_GO_ON || verdict->outcome == MILTER_HOLD;
}

struct milter_verdict
local_milters_envelope(struct local_milters *local)
{
	struct milter_session *session = local->session;
	const struct intake   *intake = local->intake;
	struct milter_verdict  verdict =
		milter_connect(session, SLICE("localhost"), '4', 0, SLICE("127.0.0.1"));

	if (goes_on(&verdict))
		verdict = milter_helo(session, SLICE("localhost"));
	if (goes_on(&verdict))
		verdict = tell_address(local, intake->envelope.sender, milter_mail);
	for (size_t i = 0; goes_on(&verdict) && i < intake->given.count; i++) {
		local->recipient = intake->given.items[i].address;
		verdict = tell_address(local, local->recipient, milter_rcpt);
	}
	local->recipient = NONE;
	return goes_on(&verdict) ? milter_data(session) : verdict;
}

void
local_milters_end(struct local_milters *local)
{
	milter_session_destroy(&local->session);
}
