/*
 * fuzz_milter.c - whatever a milter answers: a session survives it, and what reaches the message
 * is within bounds. The first byte chooses what was agreed on.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/milter/inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice
macro(void *context, struct slice name)
{
	(void)context;
	return name.length == 1 ? SLICE("value") : (struct slice){ NULL, 0 };
}

static struct slice
header(void *context)
{
	(void)context;
	return SLICE("Subject: one\r\n two\r\nX-Empty:\r\n");
}

static ssize_t
body(void *context, uint64_t offset, char *into, size_t size, struct error *error)
{
	(void)context;
	(void)error;
	assert(size > 0);
	if (offset >= 3 * size)
		return 0;
	memset(into, 'b', size);
	return (ssize_t)size;
}

static bool
edit(void *context, const struct milter_edit *change, struct error *error)
{
	size_t *seen = context;

	(void)error;
	assert(change->kind <= MILTER_QUARANTINE);
	for (size_t i = 0; i < change->name.length; i++)
		*seen += (unsigned char)change->name.data[i];
	for (size_t i = 0; i < change->value.length; i++)
		*seen += (unsigned char)change->value.data[i];
	return true;
}

static void
talk(struct milter_session *session)
{
	size_t                seen = 0;
	struct milter_content content = { &seen, header, body, edit };
	struct milter_verdict verdict = milter_helo(session, SLICE("client.test"));

	for (int i = 0; i < 2; i++) {
		verdict = milter_mail(session, SLICE("<a@b>"), SLICE("SIZE=1 BODY=8BITMIME"));
		verdict = milter_rcpt(session, SLICE("<c@d>"), SLICE_EMPTY);
		verdict = milter_data(session);
		verdict = milter_message(session, &content);
		if (verdict.outcome == MILTER_REFUSED) {
			assert(verdict.code >= 400 && verdict.code <= 599);
			assert(verdict.status.class == verdict.code / 100);
			assert(slice_find_byte(verdict.text, '\r') == SLICE_NOT_FOUND);
			assert(slice_find_byte(verdict.text, '\0') == SLICE_NOT_FOUND);
		}
		milter_message_end(session);
	}
	verdict = milter_unknown(session, SLICE("FROB"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct milter_settings settings = { .connect_timeout_ms = 1000,
		                                         .command_timeout_ms = 1000,
		                                         .content_timeout_ms = 1000,
		                                         .default_action = "tempfail",
		                                         .protocol = 6,
		                                         .macros = { [MILTER_MAIL] = "i {x}" },
		                                         .macro_defaults = "x = {y}" };
	struct error                        error = ERROR_NONE;
	struct buf                          said = BUF(64u * 1024 * 1024);

	if (size < 1)
		return 0;
	struct milter_list *list = milter_list_create(SLICE("unix:m"), &settings, &error);
	assert(list != NULL);
	struct milter_session *session = milter_session_create(list, macro, NULL);
	assert(session != NULL);
	struct channel *channel = &session->channels[0];
	channel->state = CHANNEL_OPEN;
	channel->may = (data[0] & 1) != 0 ? 0x1ff : 0;
	channel->wants = ((data[0] & 2) != 0 ? KNOWS_SKIP : 0) |
	                 ((data[0] & 4) != 0 ? QUIET_BODY | QUIET_HEADERS : 0) |
	                 ((data[0] & 8) != 0 ? KEEPS_SPACE : 0) |
	                 ((data[0] & 16) != 0 ? QUIET_MAIL | QUIET_RCPT | QUIET_HELO : 0);
	channel->stream = stream_from_memory(slice_of((const char *)data + 1, size - 1),
	                                     (size_t)data[0] >> 5, &said);
	assert(channel->stream != NULL);
	talk(session);
	milter_session_destroy(&session);
	milter_list_destroy(&list);
	buf_free(&said);
	return 0;
}
