/* print.c - the queue as postqueue -p and -j print it, a message as postcat -q does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/json.h"
#include "lib/mail/address.h"
#include "lib/queue/envelope.h"
#include "lib/queue/id.h"
#include "tools/dakqueue/dakqueue.h"

#define REASON_END 76 /* so that the bracket behind it stands in column 78 */
#define TEXT_MOST  (1u << 20)

static const char *const state_names[QUEUE_STATES] = { "incoming", "active",  "deferred",
	                                               "hold",     "corrupt", "maildrop" };

const char *
state_name(uint32_t state)
{
	return state < QUEUE_STATES ? state_names[state] : "unknown";
}

bool
state_parse(struct slice name, unsigned *states)
{
	unsigned state = 0;

	while (state < QUEUE_STATES && !slice_equal(slice_from(state_names[state]), name))
		state++;
	if (state == QUEUE_STATES)
		return false;
	*states |= 1u << state;
	return true;
}

/* An address as it is shown; the null sender has Postfix's name. */
static void
address_show(struct buf *out, struct slice address)
{
	struct buf external = BUF(TEXT_MOST);

	if (address.length == 0)
		buf_append_text(out, "MAILER-DAEMON");
	else if (address_append_external(&external, address))
		buf_append_printable(out, buf_slice(&external));
	else
		buf_append_printable(out, address);
	buf_free(&external);
}

/* ---- text ---- */

static void
arrival_show(int64_t arrival_us, char text[32])
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t            when = (time_t)(arrival_us / 1000000);
	struct tm         date = { 0 };

	localtime_r(&when, &date);
	snprintf(text, 32, "%s %s %2d %02d:%02d:%02d", days[date.tm_wday % 7],
	         months[date.tm_mon % 12], date.tm_mday % 100, date.tm_hour % 100,
	         date.tm_min % 100, date.tm_sec % 100);
}

static void
reason_print(const struct msg_queue_entry *entry, struct slice reason, struct slice *last)
{
	struct buf text = BUF(TEXT_MOST);

	if (reason.length == 0 && entry->state != QUEUE_DEFERRED)
		return;
	if (reason.length == 0)
		reason = SLICE("reason unavailable");
	if (!slice_equal(reason, *last)) {
		buf_append_printable(&text, reason);
		int indent = text.length >= REASON_END ? 0 : REASON_END - (int)text.length;
		printf("%*s(%s)\n", indent, "", buf_text(&text));
	}
	*last = reason;
	buf_free(&text);
}

static void
entry_print(const struct printer *printer, const struct msg_queue_entry *entry)
{
	struct buf                 text = BUF(TEXT_MOST);
	struct slice               list = entry->recipients, last = SLICE_EMPTY;
	struct msg_queue_recipient recipient;
	char                       arrival[32], id[40];
	const char                *mark = entry->state == QUEUE_ACTIVE ? "*"
	                                  : entry->state == QUEUE_HOLD ? "!"
	                                                               : "";

	if (printer->count == 0)
		puts("----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------");
	snprintf(id, sizeof(id), "%.*s%s%s", SLICE_ARGS(entry->queue_id), mark,
	         entry->is_expired ? "#" : "");
	arrival_show(entry->arrival_us, arrival);
	address_show(&text, entry->sender);
	printf("%-17s %8llu %19.19s %s\n", id, (unsigned long long)entry->size, arrival,
	       buf_text(&text));
	while (msg_queue_recipient_next(&list, &recipient)) {
		reason_print(entry, recipient.reason, &last);
		buf_clear(&text);
		address_show(&text, recipient.address);
		printf("%-17s %8s %19s %s\n", "", "", "", buf_text(&text));
	}
	putchar('\n');
	buf_free(&text);
}

/* ---- JSON ---- */

static void
json_string(struct slice bytes)
{
	struct buf text = BUF(6 * bytes.length + 3);

	json_append_string(&text, bytes);
	fwrite(text.data, 1, text.length, stdout);
	buf_free(&text);
}

static void
json_member(const char *name, struct slice value)
{
	printf(", \"%s\": ", name);
	json_string(value);
}

/* As listings show it: in external form. */
static void
json_address(struct slice address)
{
	struct buf text = BUF(TEXT_MOST);

	json_string(address_append_external(&text, address) ? buf_slice(&text) : address);
	buf_free(&text);
}

static void
json_recipient(const struct msg_queue_recipient *recipient, bool is_first)
{
	printf("%s{\"address\": ", is_first ? "" : ", ");
	json_address(recipient->address);
	if (recipient->original.length > 0 &&
	    !slice_equal(recipient->original, recipient->address)) {
		printf(", \"orig_address\": ");
		json_address(recipient->original);
	}
	if (recipient->reason.length > 0)
		json_member("delay_reason", recipient->reason);
	if (recipient->transport.length > 0)
		json_member("transport", recipient->transport);
	if (recipient->nexthop.length > 0)
		json_member("nexthop", recipient->nexthop);
	putchar('}');
}

void
print_json(const struct msg_queue_entry *entry)
{
	struct slice               list = entry->recipients, reason = SLICE_EMPTY;
	struct msg_queue_recipient recipient;

	printf("{\"queue_name\": \"%s\"", state_name(entry->state));
	json_member("queue_id", entry->queue_id);
	printf(", \"arrival_time\": %lld, \"message_size\": %llu, \"forced_expire\": %s",
	       (long long)(entry->arrival_us / 1000000), (unsigned long long)entry->size,
	       entry->is_expired ? "true" : "false");
	printf(", \"sender\": ");
	if (entry->sender.length == 0)
		json_string(SLICE("MAILER-DAEMON"));
	else
		json_address(entry->sender);
	printf(", \"recipients\": [");
	for (bool is_first = true; msg_queue_recipient_next(&list, &recipient); is_first = false) {
		json_recipient(&recipient, is_first);
		if (recipient.reason.length > 0)
			reason = recipient.reason;
	}
	printf("], \"next_attempt\": %lld, \"attempts\": %u",
	       (long long)(entry->next_attempt_us / 1000000), (unsigned)entry->attempts);
	json_member("last_reply", reason);
	putchar('}');
}

void
print_entry(struct printer *printer, const struct msg_queue_entry *entry)
{
	if (printer->form == LIST_JSON) {
		print_json(entry);
		putchar('\n');
	} else {
		entry_print(printer, entry);
	}
	printer->count++;
	printer->bytes += entry->size;
}

void
print_end(const struct printer *printer)
{
	if (printer->form == LIST_JSON)
		return;
	if (printer->count == 0)
		puts("Mail queue is empty");
	else
		printf("-- %llu Kbytes in %llu Request%s.\n",
		       (unsigned long long)printer->bytes / 1024,
		       (unsigned long long)printer->count, printer->count == 1 ? "" : "s");
}

/* ---- a message ---- */

static void
record_print(const char *name, struct slice value)
{
	struct buf text = BUF(TEXT_MOST);

	buf_append_printable(&text, value);
	printf("%s%s\n", name, buf_text(&text));
	buf_free(&text);
}

/* "Sat Nov 28 12:10:46 2026" */
static void
times_print(int64_t when_us)
{
	time_t    when = (time_t)(when_us / 1000000);
	struct tm date = { 0 };
	char      text[32];

	localtime_r(&when, &date);
	arrival_show(when_us, text);
	printf("message_arrival_time: %s %d\n", text, date.tm_year + 1900);
}

static void
attributes_print(const struct msg_envelope *envelope)
{
	bool is_8bit = (envelope->flags & (ENVELOPE_8BIT | ENVELOPE_SMTPUTF8)) != 0;
	const struct {
		const char  *name;
		struct slice value;
	} attributes[] = {
		{ "envelope_id", envelope->dsn_envid },
		{ "ret_flags", slice_from(envelope->dsn_ret == 0   ? ""
		                          : envelope->dsn_ret == 1 ? "1"
		                                                   : "2") },
		{ "encoding", is_8bit ? SLICE("8bit") : SLICE("7bit") },
		{ "client_name", envelope->client_name },
		{ "client_address", envelope->client_address },
		{ "client_port", envelope->client_port },
		{ "helo_name", envelope->client_helo },
		{ "protocol_name", envelope->client_protocol },
		{ "sasl_method", envelope->sasl_method },
		{ "sasl_username", envelope->sasl_username },
		{ "sasl_sender", envelope->sasl_sender },
	};
	char name[64];

	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		if (attributes[i].value.length == 0)
			continue;
		snprintf(name, sizeof(name), "named_attribute: %s=", attributes[i].name);
		record_print(name, attributes[i].value);
	}
}

/* The lines that scripts read out of postcat's answer; addresses are not quoted there. */
static void
envelope_print(const struct msg_queue_message *message)
{
	struct slice               list = message->envelope;
	struct msg_envelope        envelope = { 0 };
	struct msg_queue_recipient recipient;
	unsigned                   count = 0;

	msg_envelope_next(&list, &envelope);
	for (list = message->recipients; msg_queue_recipient_next(&list, &recipient);)
		count++;
	unsigned long long size =
		message->file >= 0 ? message->file_length : message->content.length;
	/* Size, where the content begins, recipients, flags, size, SMTPUTF8. */
	printf("message_size: %15llu %15d %15u %15d %15llu %15d\n", size, 0, count, 0, size,
	       (envelope.flags & ENVELOPE_SMTPUTF8) != 0);
	times_print(envelope.arrival_us);
	if (envelope.filter.length > 0)
		record_print("content_filter: ", envelope.filter);
	record_print("sender: ", envelope.sender);
	attributes_print(&envelope);
	list = message->recipients;
	while (msg_queue_recipient_next(&list, &recipient)) {
		bool is_rewritten = recipient.original.length > 0;

		record_print("original_recipient: ",
		             is_rewritten ? recipient.original : recipient.address);
		record_print("recipient: ", recipient.address);
	}
}

/* Content as it passes: header or body, with the line ends of the machine, as postcat prints. */
struct content {
	unsigned parts;
	bool     is_body;
	bool     is_line_start;
	bool     has_cr; /* seen and not printed yet */
	bool     is_terminal;
	char     last; /* byte that was printed */
};

/* What strangers wrote does not move anybody's terminal: C0 and, in UTF-8, C1 controls. */
static void
content_put(struct content *content, char byte)
{
	bool is_c1 = (unsigned char)content->last == 0xc2 && ((unsigned char)byte & 0xe0) == 0x80;
	bool is_bad = is_c1 || (ascii_is_control(byte) && byte != '\n' && byte != '\t');

	putchar(content->is_terminal && is_bad ? '?' : byte);
	content->last = byte;
}

static void
content_byte(struct content *content, char byte)
{
	bool is_empty_line = byte == '\n' && content->is_line_start;
	bool is_wanted = (content->parts & (content->is_body ? SHOW_BODY : SHOW_HEADER)) != 0;
	/* The empty line between them is shown where both are. */
	bool is_between = !content->is_body && is_empty_line;

	if (is_between)
		is_wanted = (content->parts & SHOW_BODY) != 0 &&
		            (content->parts & (SHOW_HEADER | SHOW_EMPTY_LINE)) != 0;
	if (is_wanted)
		content_put(content, byte);
	content->is_body |= is_between;
	content->is_line_start = byte == '\n';
}

static void
content_print(struct content *content, struct slice bytes)
{
	for (size_t i = 0; i < bytes.length; i++) {
		char byte = bytes.data[i];

		if (content->has_cr && byte != '\n')
			content_byte(content, '\r');
		content->has_cr = byte == '\r';
		if (!content->has_cr)
			content_byte(content, byte);
	}
}

static bool
file_print(const struct msg_queue_message *message, struct content *content, struct error *error)
{
	char     piece[4096];
	uint64_t at = 0;

	while (at < message->file_length) {
		ssize_t got = pread(message->file, piece, sizeof(piece),
		                    (off_t)(message->file_offset + at));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(error, "read the body");
		if (got == 0)
			break;
		content_print(content, slice_of(piece, (size_t)got));
		at += (uint64_t)got;
	}
	return true;
}

static void
separator_print(const struct msg_queue_message *message, unsigned parts, const char *what)
{
	char subdirectory[3] = "";

	if ((parts & SHOW_ENVELOPE) == 0)
		return;
	if (message->state == QUEUE_DEFERRED)
		snprintf(subdirectory, sizeof(subdirectory), "%c/",
		         queue_id_subdirectory(message->queue_id));
	printf("*** %s %s/%s%.*s ***\n", what, state_name(message->state), subdirectory,
	       SLICE_ARGS(message->queue_id));
}

bool
print_message(const struct msg_queue_message *message, unsigned parts, struct error *error)
{
	struct content content = { .parts = parts,
		                   .is_line_start = true,
		                   .is_terminal = isatty(STDOUT_FILENO) != 0 };

	separator_print(message, parts, "ENVELOPE RECORDS");
	if ((parts & SHOW_ENVELOPE) != 0)
		envelope_print(message);
	separator_print(message, parts, "MESSAGE CONTENTS");
	if (message->file < 0)
		content_print(&content, message->content);
	else if (!file_print(message, &content, error))
		return false;
	separator_print(message, parts, "HEADER EXTRACTED");
	separator_print(message, parts, "MESSAGE FILE END");
	return true;
}
