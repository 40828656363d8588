/*
 * proxy.c - smtpd_proxy_filter: a filter that sees mail before it is taken in, and answers for us.
 *
 * Postfix SMTPD_PROXY_README. The transaction is said again to the filter over SMTP, with XFORWARD
 * when it takes that; what it accepts it sends on to a second smtpd, so nothing is queued here and
 * the client's answer to the end of data is the filter's. Without smtpd_proxy_options the filter
 * hears each command as it comes, from the first good recipient on; with speed_adjust it is
 * connected to when the whole message is there, so that slow clients hold no filter.
 *
 * LIMIT: a worker thread waits for the filter's answers, as with milters.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/io/endpoint.h"
#include "lib/smtp/compose.h"
#include "smtpd/session.h"

#define LINE_MOST    4096
#define REPLIES_MOST (64u * 1024)
#define TEXT_MOST    2000         /* of a reply that is passed on */
#define CONTENT_MOST (64u * 1024) /* in memory, with speed_adjust; the rest in a file of qmgr's */

enum filter_offer {
	FILTER_SIZE = 1 << 0,
	FILTER_8BITMIME = 1 << 1,
	FILTER_DSN = 1 << 2,
	FILTER_XFORWARD = 1 << 3,
};

struct proxy {
	struct session     *session;
	struct stream      *stream; /* NULL: not connected (yet) */
	unsigned            offers;
	char                attributes[256]; /* that XFORWARD takes there */
	struct arena        words;           /* of the reply in hand */
	struct data_encoder encoder;
	bool                has_failed;   /* the filter is lost to this message */
	bool                has_mail;     /* MAIL was said, and answered: */
	struct smtp_reply   mail_refusal; /* code 0 = none */
	size_t              said;         /* recipients of the transaction */
	bool                is_in_data;   /* the end of content is still to come */
	/* speed_adjust */
	struct buf content; /* that is not in the file */
	int        file;    /* -1 = none */
	uint64_t   stored;  /* bytes in the file */
	char       id[QUEUE_ID_MOST];
};

/* ---- one command out, one reply in ---- */

static struct smtp_reply
filter_is_lost(void)
{
	return (struct smtp_reply){ 451, status_from("4.3.0"),
		                    SLICE("Error: queue file write error") };
}

static bool
fail(struct proxy *proxy, const char *why)
{
	if (!proxy->has_failed)
		log_warning("%s: proxy filter %s: %s", client_label(proxy->session),
		            proxy->session->parameters->smtpd_proxy_filter, why);
	proxy->has_failed = true;
	if (proxy->stream != NULL)
		stream_destroy(&proxy->stream);
	return false;
}

static bool
hear(struct proxy *proxy, struct smtp_reply *reply)
{
	int64_t            timeout_ms = proxy->session->parameters->smtpd_proxy_timeout * 1000;
	enum stream_result result;
	size_t             consumed;

	arena_reset(&proxy->words);
	stream_set_deadline(proxy->stream, clock_monotonic_ms() + timeout_ms);
	for (result = stream_flush(proxy->stream); result == STREAM_OK;
	     result = stream_fill(proxy->stream)) {
		enum smtp_parse parsed = smtp_reply_parse(stream_input(proxy->stream),
		                                          &proxy->words, reply, &consumed);

		if (parsed == SMTP_PARSE_MALFORMED)
			return fail(proxy, "a reply that cannot be understood");
		if (parsed == SMTP_PARSE_DONE) {
			stream_consume(proxy->stream, consumed);
			return true;
		}
	}
	return fail(proxy, stream_result_text(result));
}

static bool
say(struct proxy *proxy, struct slice line, struct smtp_reply *reply)
{
	if (slice_has_control(line))
		return fail(proxy, "a command would hold a control character");
	if (stream_write(proxy->stream, line) != STREAM_OK ||
	    stream_write(proxy->stream, SLICE("\r\n")) != STREAM_OK)
		return fail(proxy, "lost connection");
	return hear(proxy, reply);
}

/* What the client gets to hear of it: the filter cannot end our session, or ask for more. */
static struct smtp_reply
for_client(struct proxy *proxy, const struct smtp_reply *reply)
{
	struct smtp_reply passed = *reply;
	int class = reply->code / 100;

	if (class != 2 && class != 4 && class != 5)
		return filter_is_lost();
	if (reply->code == 421)
		passed.code = 451;
	if (reply->code == 521)
		passed.code = 550;
	if (passed.status.class == 0)
		passed.status = (struct enhanced_status){ (unsigned char)class, 0, 0 };
	passed.text = arena_copy(&proxy->session->mail.arena, slice_first(reply->text, TEXT_MOST));
	return passed.text.data != NULL ? passed : filter_is_lost();
}

/* ---- the session with the filter, up to MAIL ---- */

static void
take_offers(struct proxy *proxy, struct slice text)
{
	static const struct {
		const char *keyword;
		unsigned    offer;
	} rows[] = { { "SIZE", FILTER_SIZE },
		     { "8BITMIME", FILTER_8BITMIME },
		     { "DSN", FILTER_DSN },
		     { "XFORWARD", FILTER_XFORWARD } };
	struct slice line, keyword = SLICE_EMPTY;

	while (slice_next_part(&text, '\n', &line)) {
		slice_next_word(&line, " \t", &keyword);
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			if (slice_equal_fold(keyword, slice_from(rows[i].keyword)))
				proxy->offers |= rows[i].offer;
		if (slice_equal_fold(keyword, SLICE("XFORWARD")))
			snprintf(proxy->attributes, sizeof(proxy->attributes), "%.*s",
			         SLICE_ARGS(slice_first(line, sizeof(proxy->attributes) - 1)));
	}
}

static bool
greet(struct proxy *proxy)
{
	struct smtp_reply reply;
	struct buf        line = BUF(LINE_MOST);
	bool              ok;

	if (!hear(proxy, &reply))
		return false;
	if (reply.code / 100 != 2)
		return fail(proxy, "it refused to talk to us");
	buf_append_format(&line, "EHLO %s", proxy->session->parameters->smtpd_proxy_ehlo);
	ok = say(proxy, buf_slice(&line), &reply);
	if (ok && reply.code / 100 == 2) {
		take_offers(proxy, reply.text);
	} else if (ok) {
		buf_clear(&line);
		buf_append_format(&line, "HELO %s", proxy->session->parameters->smtpd_proxy_ehlo);
		ok = say(proxy, buf_slice(&line), &reply) &&
		     (reply.code / 100 == 2 || fail(proxy, "it refused EHLO and HELO"));
	}
	buf_free(&line);
	return ok;
}

/* Whose message it is: as we know it, or as we were told ourselves. */
static bool
forward(struct proxy *proxy)
{
	const struct session           *session = proxy->session;
	const struct forwarded         *told = &session->forwarded;
	bool                            is_told = told->is_set;
	const struct xforward_attribute attributes[] = {
		{ "NAME", is_told ? told->name : session->client.name },
		{ "ADDR", is_told ? told->address : session->client.address },
		{ "PORT", is_told ? told->port : session->client.port },
		{ "PROTO", is_told ? told->protocol : slice_from(session_protocol(session)) },
		{ "HELO", is_told ? told->helo : session->helo },
		{ "IDENT", is_told ? told->ident : SLICE_EMPTY },
		{ "SOURCE", SLICE("REMOTE") },
	};
	size_t            count = sizeof(attributes) / sizeof(attributes[0]), at = 0;
	struct buf        line = BUF(LINE_MOST);
	struct smtp_reply reply;
	bool              ok = true;

	while (ok && (proxy->offers & FILTER_XFORWARD) != 0 &&
	       compose_xforward(&line, slice_from(proxy->attributes), attributes, count, &at)) {
		ok = say(proxy, buf_slice(&line), &reply);
		if (ok && reply.code / 100 != 2)
			log_warning("proxy filter %s said: %d (in reply to XFORWARD command)",
			            session->parameters->smtpd_proxy_filter, reply.code);
	}
	buf_free(&line);
	return ok;
}

static bool
say_mail(struct proxy *proxy)
{
	const struct transaction *mail = &proxy->session->mail;
	struct buf                line = BUF(LINE_MOST);
	struct smtp_reply         reply;

	bool ok = compose_path(&line, "MAIL FROM:", mail->sender);
	if ((proxy->offers & FILTER_SIZE) != 0 && mail->mail.size > 0)
		buf_append_format(&line, " SIZE=%lld", (long long)mail->mail.size);
	if ((proxy->offers & FILTER_8BITMIME) != 0 && mail->mail.body == SMTP_BODY_8BITMIME)
		buf_append_text(&line, " BODY=8BITMIME");
	/* Said without an offer, too: a filter that cannot do it refuses for us. */
	if (mail->mail.is_smtputf8)
		buf_append_text(&line, " SMTPUTF8");
	if ((proxy->offers & FILTER_DSN) != 0 && mail->mail.ret != DSN_RET_NONE)
		buf_append_text(&line, mail->mail.ret == DSN_RET_FULL ? " RET=FULL" : " RET=HDRS");
	if ((proxy->offers & FILTER_DSN) != 0 && mail->mail.envid.length > 0) {
		buf_append_text(&line, " ENVID=");
		xtext_encode(mail->mail.envid, &line);
	}
	ok = ok && !line.has_failed;
	ok = ok ? say(proxy, buf_slice(&line), &reply)
	        : fail(proxy, "the sender's address has no form on the wire");
	buf_free(&line);
	if (!ok)
		return false;
	proxy->has_mail = true;
	if (reply.code / 100 != 2)
		proxy->mail_refusal = for_client(proxy, &reply);
	return true;
}

/* Connects and says all up to MAIL. False: *refusal. */
static bool
begin(struct proxy *proxy, struct smtp_reply *refusal)
{
	struct session *session = proxy->session;
	int64_t         timeout_ms = session->parameters->smtpd_proxy_timeout * 1000;
	struct error    error = ERROR_NONE;

	*refusal = filter_is_lost();
	if (!proxy->has_mail && !proxy->has_failed) {
		int fd = endpoint_connect(session->room->proxy_filter,
		                          clock_monotonic_ms() + timeout_ms, &error);

		proxy->stream = fd >= 0 ? stream_from_socket(fd) : NULL;
		if (proxy->stream == NULL)
			return fail(proxy, fd >= 0 ? "out of memory" : error.text);
		stream_set_timeout(proxy->stream, timeout_ms);
		if (!greet(proxy) || !forward(proxy) || !say_mail(proxy))
			return false;
	}
	if (proxy->has_failed)
		return false;
	if (proxy->mail_refusal.code != 0)
		*refusal = proxy->mail_refusal;
	return proxy->mail_refusal.code == 0;
}

static bool
say_rcpt(struct proxy *proxy, const struct recipient *recipient, struct smtp_reply *refusal)
{
	struct buf        line = BUF(LINE_MOST);
	struct smtp_reply reply;

	*refusal = filter_is_lost();
	bool ok = compose_path(&line, "RCPT TO:", recipient->address);
	if ((proxy->offers & FILTER_DSN) != 0) {
		compose_notify(&line, recipient->is_bcc ? DSN_NOTIFY_NEVER : recipient->notify);
		compose_orcpt(&line, recipient->orcpt);
	}
	ok = ok && !line.has_failed;
	ok = ok ? say(proxy, buf_slice(&line), &reply)
	        : fail(proxy, "a recipient's address has no form on the wire");
	buf_free(&line);
	if (!ok)
		return false;
	if (reply.code / 100 != 2)
		*refusal = for_client(proxy, &reply);
	return reply.code / 100 == 2;
}

/*
 * The recipients that were not said yet. What is added by access tables may be refused, the last
 * one, which is the client's, may not: then it counts as not said. False: *refusal.
 */
static bool
say_recipients(struct proxy *proxy, struct smtp_reply *refusal)
{
	const struct transaction *mail = &proxy->session->mail;

	for (; proxy->said < mail->recipient_count; proxy->said++) {
		const struct recipient *recipient = &mail->recipients[proxy->said];

		if (say_rcpt(proxy, recipient, refusal))
			continue;
		if (proxy->has_failed || !recipient->is_bcc)
			return false;
		log_warning("proxy filter %s refused a recipient that an access table added: %d",
		            proxy->session->parameters->smtpd_proxy_filter, refusal->code);
	}
	return true;
}

static bool
say_data(struct proxy *proxy, struct smtp_reply *refusal)
{
	struct smtp_reply reply;

	*refusal = filter_is_lost();
	if (!say(proxy, SLICE("DATA"), &reply))
		return false;
	if (reply.code != 354) {
		*refusal = for_client(proxy, &reply);
		/* A good answer here says nothing about the message. */
		if (reply.code / 100 == 2)
			*refusal = filter_is_lost();
		return false;
	}
	data_encoder_init(&proxy->encoder, true);
	proxy->is_in_data = true;
	return true;
}

static bool
send_content(struct proxy *proxy, struct slice content)
{
	struct buf out = BUF(2 * content.length + 16);
	bool       ok = data_encode(&proxy->encoder, content, &out);

	stream_set_deadline(proxy->stream, 0);
	if (!ok)
		fail(proxy, "out of memory");
	else if (stream_send(proxy->stream, buf_slice(&out)) != STREAM_OK)
		ok = fail(proxy, "lost connection while sending content");
	buf_free(&out);
	return ok;
}

/* ---- speed_adjust: content is kept until all of it is there ---- */

static bool
is_adjusting(const struct session *session)
{
	return slice_list_has(slice_from(session->parameters->smtpd_proxy_options),
	                      SLICE("speed_adjust"));
}

static bool
write_file(struct proxy *proxy)
{
	struct slice rest = buf_slice(&proxy->content);

	while (rest.length > 0) {
		ssize_t written = write(proxy->file, rest.data, rest.length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		proxy->stored += (uint64_t)written;
		rest = slice_from_offset(rest, (size_t)written);
	}
	buf_clear(&proxy->content);
	return true;
}

static void
keep_content(struct proxy *proxy, struct slice content)
{
	struct intake_client *queue = proxy->session->room->intake.queue;
	struct error          error = ERROR_NONE;

	while (content.length > 0 && !proxy->has_failed) {
		size_t room = CONTENT_MOST - proxy->content.length;

		if (!buf_append(&proxy->content, slice_first(content, room))) {
			fail(proxy, "out of memory");
			return;
		}
		content = slice_from_offset(content, room);
		if (proxy->content.length < CONTENT_MOST)
			return;
		if (proxy->file < 0 &&
		    (!intake_make_id(queue, proxy->id, &error) ||
		     intake_open_spool(queue, proxy->id, (uint64_t)proxy->session->mail.mail.size,
		                       &proxy->file, &error) != INTAKE_OK)) {
			fail(proxy, error.text);
			return;
		}
		if (!write_file(proxy))
			fail(proxy, "content cannot be kept");
	}
}

static bool
send_file(struct proxy *proxy)
{
	struct buf piece = BUF(CONTENT_MOST);
	uint64_t   done = 0;
	bool       ok = buf_reserve(&piece, CONTENT_MOST) || fail(proxy, "out of memory");

	while (ok && done < proxy->stored) {
		ssize_t got = pread(proxy->file, piece.data, CONTENT_MOST, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		ok = got > 0 ? send_content(proxy, slice_of(piece.data, (size_t)got))
		             : fail(proxy, "kept content cannot be read");
		done += got > 0 ? (uint64_t)got : 0;
	}
	buf_free(&piece);
	return ok;
}

/* All that was said, said to the filter now. The first refusal is that of the message. */
static bool
replay(struct proxy *proxy, struct smtp_reply *refusal)
{
	if (!begin(proxy, refusal) || !say_recipients(proxy, refusal) || !say_data(proxy, refusal))
		return false;
	*refusal = filter_is_lost();
	return send_file(proxy) && send_content(proxy, buf_slice(&proxy->content));
}

/* ---- what the transaction calls ---- */

/* Words of smtpd_proxy_options are few: a wrong one is no option. */
bool
proxy_configure(struct room *room, struct error *error)
{
	struct slice filter = slice_trim(slice_from(room->parameters->smtpd_proxy_filter));
	struct slice options = slice_from(room->parameters->smtpd_proxy_options), word;

	while (slice_next_word(&options, " \t\r\n,", &word))
		if (!slice_equal(word, SLICE("speed_adjust")))
			return error_set(error, "smtpd_proxy_options: unknown option \"%.*s\"",
			                 SLICE_ARGS(slice_first(word, 40)));
	if (filter.length == 0)
		return true;
	room->proxy_filter = calloc(1, sizeof(*room->proxy_filter));
	if (room->proxy_filter == NULL)
		return error_set(error, "out of memory");
	return endpoint_parse(room->proxy_filter, filter, error) ||
	       error_prefix(error, "smtpd_proxy_filter");
}

bool
proxy_open(struct session *session)
{
	struct proxy *proxy = calloc(1, sizeof(*proxy));

	if (proxy == NULL)
		return false;
	proxy->session = session;
	proxy->words = ARENA(REPLIES_MOST);
	proxy->content = BUF(CONTENT_MOST);
	proxy->file = -1;
	session->mail.proxy = proxy;
	return true;
}

bool
proxy_recipient(struct session *session, struct smtp_reply *refusal)
{
	struct proxy *proxy = session->mail.proxy;

	if (is_adjusting(session))
		return true;
	return begin(proxy, refusal) && say_recipients(proxy, refusal);
}

/* What is not carried out here must not be lost without a word. */
static bool
is_possible(const struct session *session)
{
	const struct transaction *mail = &session->mail;
	const char               *what = mail->is_held               ? "HOLD"
	                                 : mail->filter.length > 0   ? "FILTER"
	                                 : mail->redirect.length > 0 ? "REDIRECT"
	                                                             : NULL;

	if (what != NULL)
		log_warning("access tables ask for %s, which smtpd_proxy_filter makes impossible: "
		            "use it in the smtpd that the filter sends to",
		            what);
	return what == NULL;
}

bool
proxy_begin_content(struct session *session, struct slice trace, struct smtp_reply *refusal)
{
	struct proxy *proxy = session->mail.proxy;

	if (!is_possible(session)) {
		*refusal = (struct smtp_reply){ 451, status_from("4.3.5"),
			                        SLICE("Server configuration error") };
		return false;
	}
	if (session->mail.is_discarded)
		return true;
	*refusal = filter_is_lost();
	if (is_adjusting(session)) {
		keep_content(proxy, trace);
		return !proxy->has_failed;
	}
	return !proxy->has_failed && say_recipients(proxy, refusal) && say_data(proxy, refusal) &&
	       send_content(proxy, trace);
}

void
proxy_write(struct session *session, struct slice content)
{
	struct proxy *proxy = session->mail.proxy;

	if (proxy->has_failed)
		return; /* told at the end */
	if (is_adjusting(session))
		keep_content(proxy, content);
	else
		send_content(proxy, content);
}

/* "NOQUEUE: proxy-accept: END-OF-MESSAGE from h[a]: 250 ...; from=<> to=<> proto= helo=<>". */
static void
log_end(struct session *session, const struct smtp_reply *reply)
{
	const struct transaction *mail = &session->mail;
	struct buf                line = BUF(8192);

	buf_append_format(&line, "NOQUEUE: %s: END-OF-MESSAGE from %s: %d ",
	                  reply->code / 100 == 2 ? "proxy-accept" : "proxy-reject",
	                  client_label(session), reply->code);
	enhanced_status_append(&line, reply->status);
	buf_append_byte(&line, ' ');
	buf_append_printable(&line, slice_first(reply->text, 1000));
	buf_append_text(&line, "; from=<");
	address_append_external(&line, mail->sender);
	buf_append_byte(&line, '>');
	if (mail->recipient_count > 0) {
		buf_append_text(&line, " to=<");
		address_append_external(&line, mail->recipients[0].address);
		buf_append_byte(&line, '>');
	}
	buf_append_format(&line, " proto=%s helo=<", session_protocol(session));
	buf_append_printable(&line, session->helo);
	buf_append_byte(&line, '>');
	log_info("%s", buf_text(&line));
	buf_free(&line);
}

struct smtp_reply
proxy_finish(struct session *session)
{
	struct proxy     *proxy = session->mail.proxy;
	struct smtp_reply reply = filter_is_lost(), given;
	struct buf        end = BUF(16);

	bool ok = !proxy->has_failed && (!is_adjusting(session) || replay(proxy, &reply));
	if (ok) {
		data_encode_end(&proxy->encoder, &end);
		ok = stream_send(proxy->stream, buf_slice(&end)) == STREAM_OK ||
		     fail(proxy, "lost connection while sending the end of content");
		proxy->is_in_data = false;
	}
	if (ok && hear(proxy, &given))
		reply = for_client(proxy, &given);
	buf_free(&end);
	log_end(session, &reply);
	return reply;
}

void
proxy_close(struct session *session)
{
	struct proxy *proxy = session->mail.proxy;

	if (proxy == NULL)
		return;
	session->mail.proxy = NULL;
	if (proxy->stream != NULL) {
		if (!proxy->is_in_data &&
		    stream_write(proxy->stream, SLICE("QUIT\r\n")) == STREAM_OK)
			stream_flush_now(proxy->stream);
		stream_destroy(&proxy->stream);
	}
	if (proxy->file >= 0) {
		close(proxy->file);
		intake_abandon_spool(session->room->intake.queue, proxy->id);
	}
	buf_free(&proxy->content);
	arena_reset(&proxy->words);
	free(proxy);
}
