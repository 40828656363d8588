/*
 * xforward.c - XFORWARD: an authorised content filter says whose message comes next (Postfix
 * XFORWARD_README). For the log and what goes on with the message; it permits nothing.
 */
#include "lib/base/log.h"
#include "smtpd/session.h"

/* Fits all attributes of one message, sent in several commands. */
#define FORWARDED_MOST 16384

static const struct {
	const char *name;
	size_t      offset; /* in struct forwarded; 0 = known and not used */
} forward_rows[] = {
	{ "NAME", offsetof(struct forwarded, name) },
	{ "ADDR", offsetof(struct forwarded, address) },
	{ "PORT", offsetof(struct forwarded, port) },
	{ "HELO", offsetof(struct forwarded, helo) },
	{ "PROTO", offsetof(struct forwarded, protocol) },
	{ "IDENT", offsetof(struct forwarded, ident) },
	{ "SOURCE", 0 },
};

static bool
take(struct forwarded *forwarded, struct slice word)
{
	size_t       equals = slice_find_byte(word, '=');
	struct slice value;
	bool         is_trouble;

	if (equals == SLICE_NOT_FOUND || !xattribute_decode(slice_from_offset(word, equals + 1),
	                                                    &forwarded->arena, &value, &is_trouble))
		return false;
	for (size_t i = 0; i < sizeof(forward_rows) / sizeof(forward_rows[0]); i++) {
		if (!slice_equal_fold(slice_first(word, equals), slice_from(forward_rows[i].name)))
			continue;
		if (forward_rows[i].offset != 0)
			*(struct slice *)((char *)forwarded + forward_rows[i].offset) = value;
		return true;
	}
	return false;
}

/* All or nothing: a bad word leaves what was told before. */
void
command_xforward(struct session *session, const struct smtp_command *command)
{
	struct slice     words = command->arguments, word;
	struct forwarded told = session->forwarded;
	bool             is_good = words.length > 0;

	enum lookup may = client_find_in(session, session->room->xforward_hosts);
	if (may == LOOKUP_TRY_LATER) {
		answer(session, 451, "4.3.0", "Temporary lookup failure");
		return;
	}
	if (may == LOOKUP_NOT_FOUND) {
		log_warning("XFORWARD command from unauthorized client %s", client_label(session));
		answer(session, 550, "5.7.0", "Error: insufficient authorization");
		return;
	}
	told.arena.limit = FORWARDED_MOST;
	while (is_good && slice_next_word(&words, " \t", &word))
		is_good = take(&told, word);
	/* Chunks that a bad word took stay in the arena, which ends with the transaction. */
	session->forwarded.arena = told.arena;
	if (!is_good && told.arena.has_failed) {
		answer(session, 452, "4.3.1", "Insufficient system storage");
		return;
	}
	if (!is_good) {
		answer(session, 501, "5.5.4", "Error: bad XFORWARD attribute or value");
		return;
	}
	told.is_set = true;
	session->forwarded = told;
	answer(session, 250, "2.0.0", "Ok");
}
