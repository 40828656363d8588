/*
 * xclient.c - XCLIENT: an authorised proxy or test says who the client is (Postfix XCLIENT_README).
 */
#include <arpa/inet.h>

#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/base/number.h"
#include "smtpd/session.h"

#define VALUE_MOST 255

struct claim {
	struct client client;
	struct slice  helo;  /* data NULL = not said */
	struct slice  login; /* the same; empty = none */
	struct slice  server_address, server_port;
	int           is_esmtp; /* -1 = not said */
};

/* A decoded value: SLICE_EMPTY stands for "[UNAVAILABLE]" and "[TEMPUNAVAIL]". */
typedef bool claim_taker(struct claim *claim, struct slice value, bool is_trouble);

static bool
is_address(struct slice text)
{
	unsigned char binary[16];
	char          copy[64];

	if (text.length >= sizeof(copy))
		return false;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	return inet_pton(AF_INET, copy, binary) == 1 || inet_pton(AF_INET6, copy, binary) == 1;
}

static bool
take_name(struct claim *claim, struct slice value, bool is_trouble)
{
	if (value.length > 0 && !hostname_is_valid(value, false))
		return false;
	claim->client.name = value.length > 0 ? value : SLICE("unknown");
	claim->client.is_name_known = true;
	claim->client.is_name_trouble = is_trouble;
	return true;
}

static bool
take_reverse_name(struct claim *claim, struct slice value, bool is_trouble)
{
	if (value.length > 0 && !hostname_is_valid(value, false))
		return false;
	claim->client.reverse_name = value.length > 0 ? value : SLICE("unknown");
	claim->client.is_reverse_trouble = is_trouble;
	return true;
}

static bool
take_addr(struct claim *claim, struct slice value, bool is_trouble)
{
	(void)is_trouble;
	if (slice_starts_with_fold(value, SLICE("IPv6:")))
		value = slice_from_offset(value, 5);
	if (value.length > 0 && !is_address(value))
		return false;
	claim->client.address = value.length > 0 ? value : SLICE("unknown");
	return true;
}

static bool
take_port_into(struct slice *port, struct slice value)
{
	int64_t number;

	if (value.length > 0 && !number_parse(value, 0, 65535, &number))
		return false;
	*port = value.length > 0 ? value : SLICE("unknown");
	return true;
}

static bool
take_port(struct claim *claim, struct slice value, bool is_trouble)
{
	(void)is_trouble;
	return take_port_into(&claim->client.port, value);
}

static bool
take_destport(struct claim *claim, struct slice value, bool is_trouble)
{
	(void)is_trouble;
	return take_port_into(&claim->server_port, value);
}

static bool
take_destaddr(struct claim *claim, struct slice value, bool is_trouble)
{
	(void)is_trouble;
	if (slice_starts_with_fold(value, SLICE("IPv6:")))
		value = slice_from_offset(value, 5);
	if (value.length > 0 && !is_address(value))
		return false;
	claim->server_address = value;
	return true;
}

static bool
take_helo(struct claim *claim, struct slice value, bool is_trouble)
{
	(void)is_trouble;
	claim->helo = value;
	return true;
}

static bool
take_login(struct claim *claim, struct slice value, bool is_trouble)
{
	(void)is_trouble;
	claim->login = value;
	return true;
}

static bool
take_proto(struct claim *claim, struct slice value, bool is_trouble)
{
	(void)is_trouble;
	claim->is_esmtp = slice_equal_fold(value, SLICE("ESMTP"));
	return claim->is_esmtp != 0 || slice_equal_fold(value, SLICE("SMTP"));
}

static const struct {
	const char  *name;
	claim_taker *take;
} claim_rows[] = {
	{ "NAME", take_name },         { "REVERSE_NAME", take_reverse_name },
	{ "ADDR", take_addr },         { "PORT", take_port },
	{ "HELO", take_helo },         { "LOGIN", take_login },
	{ "PROTO", take_proto },       { "DESTADDR", take_destaddr },
	{ "DESTPORT", take_destport },
};

bool
xattribute_decode(struct slice raw, struct arena *arena, struct slice *value, bool *is_trouble)
{
	struct buf decoded = BUF(VALUE_MOST);

	*value = SLICE_EMPTY;
	*is_trouble = slice_equal_fold(raw, SLICE("[TEMPUNAVAIL]"));
	if (*is_trouble || slice_equal_fold(raw, SLICE("[UNAVAILABLE]")))
		return true;
	arena->has_failed |= !buf_reserve_some(&decoded, raw.length);
	bool is_good = xtext_decode(raw, &decoded) && !slice_has_control(buf_slice(&decoded));
	if (is_good)
		*value = arena_copy(arena, buf_slice(&decoded));
	buf_free(&decoded);
	return is_good && value->data != NULL;
}

/* One NAME=value word. */
static bool
claim_take(struct session *session, struct claim *claim, struct slice word)
{
	size_t equals = slice_find_byte(word, '=');

	if (equals == SLICE_NOT_FOUND)
		return false;
	struct slice name = slice_first(word, equals);
	struct slice raw = slice_from_offset(word, equals + 1);
	struct slice value;
	bool         is_trouble;
	if (!xattribute_decode(raw, &session->arena, &value, &is_trouble))
		return false;
	for (size_t i = 0; i < sizeof(claim_rows) / sizeof(claim_rows[0]); i++)
		if (slice_equal_fold(name, slice_from(claim_rows[i].name)))
			return claim_rows[i].take(claim, value, is_trouble);
	return false;
}

/* All or nothing: a bad word leaves the session as it was. */
static bool
claim_parse(struct session *session, struct slice words, struct claim *claim)
{
	struct slice word;

	if (words.length == 0)
		return false;
	while (slice_next_word(&words, " \t", &word))
		if (!claim_take(session, claim, word))
			return false;
	return true;
}

void
command_xclient(struct session *session, const struct smtp_command *command)
{
	struct claim claim = { .client = session->client,
		               .helo = slice_of(NULL, 0),
		               .login = slice_of(NULL, 0),
		               .server_address = session->server_address,
		               .server_port = session->server_port,
		               .is_esmtp = -1 };

	/* By who the client is now: behind a proxy that has told us, its client speaks. */
	enum lookup may = client_find_in(session, session->room->xclient_hosts);
	if (may == LOOKUP_TRY_LATER) {
		answer(session, 451, "4.3.0", "Temporary lookup failure");
		return;
	}
	if (may == LOOKUP_NOT_FOUND) {
		log_warning("XCLIENT command from unauthorized client %s", client_label(session));
		answer(session, 550, "5.7.0", "Error: insufficient authorization");
		return;
	}
	session->arena.has_failed = false;
	if (!claim_parse(session, command->arguments, &claim)) {
		if (session->arena.has_failed)
			answer(session, 452, "4.3.1", "Insufficient system storage");
		else
			answer(session, 501, "5.5.4", "Error: bad XCLIENT attribute or value");
		return;
	}
	session_forget(session);
	session->client = claim.client;
	session->client.label = NULL;
	session->is_mynetworks_known = false;
	session->server_address = claim.server_address;
	session->server_port = claim.server_port;
	if (claim.login.length > 0) {
		session->sasl_user = claim.login;
		session->sasl_method = SLICE("XCLIENT");
	}
	if (claim.is_esmtp >= 0)
		session->is_esmtp = claim.is_esmtp != 0;
	if (claim.helo.length > 0) {
		buf_clear(&session->helo_text);
		buf_append_printable(&session->helo_text, claim.helo);
		session->helo = buf_slice(&session->helo_text);
	}
	/* The session starts over, with the greeting (which may now be a refusal). */
	session_greet(session);
}
