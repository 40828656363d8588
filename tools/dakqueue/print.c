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

#define REASON_END     76 /* so that the bracket behind it stands in column 78 */
#define ARRIVAL_LENGTH 19 /* "Sat Nov 28 12:00:00" */
#define QUARTER_S      900
#define FLUSH_AT       32768
#define TEXT_MOST      (1u << 20)

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
address_show(struct printer *printer, struct slice address)
{
	struct buf *external = &printer->word;

	buf_clear(external);
	if (address.length == 0)
		buf_append_text(&printer->out, "MAILER-DAEMON");
	else if (address_append_external(external, address))
		buf_append_printable(&printer->out, buf_slice(external));
	else
		buf_append_printable(&printer->out, address);
}

/* ---- text ---- */

static void
spaces_append(struct buf *out, size_t count)
{
	static const char spaces[] = "                                                            "
				     "                    ";

	buf_append(out, slice_first(slice_from(spaces), count));
}

/* Filled up with spaces to a width, on the left or on the right. */
static void
column_append(struct buf *out, struct slice text, size_t width, bool is_right)
{
	size_t missing = text.length < width ? width - text.length : 0;

	if (is_right)
		spaces_append(out, missing);
	buf_append(out, text);
	if (!is_right)
		spaces_append(out, missing);
}

static void
two_digits(char at[2], unsigned number)
{
	at[0] = (char)('0' + number / 10 % 10);
	at[1] = (char)('0' + number % 10);
}

/*
 * "Sat Nov 28 12:00:00". Clocks are set by quarters of an hour wherever people live, so one
 * question to the C library serves the messages of that quarter.
 */
static void
arrival_show(struct printer *printer, int64_t arrival_us, char text[32])
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t            when = (time_t)(arrival_us / 1000000), begin = when - when % QUARTER_S;
	struct tm         date = { 0 };

	if (begin != printer->quarter || printer->arrival[0] == '\0') {
		localtime_r(&begin, &date);
		snprintf(printer->arrival, sizeof(printer->arrival), "%s %s %2d %02d:%02d:00",
		         days[date.tm_wday % 7], months[date.tm_mon % 12], date.tm_mday % 100,
		         date.tm_hour % 100, date.tm_min % 100);
		printer->quarter = begin;
		printer->quarter_minute = date.tm_min;
	}
	memcpy(text, printer->arrival, sizeof(printer->arrival));
	if (when < begin) /* before 1970 */
		return;
	two_digits(text + 14, (unsigned)printer->quarter_minute + (unsigned)(when - begin) / 60);
	two_digits(text + 17, (unsigned)(when - begin) % 60);
}

static void
reason_print(struct printer *printer, const struct msg_queue_entry *entry, struct slice reason,
             struct slice *last)
{
	struct buf *text = &printer->word;

	if (reason.length == 0 && entry->state != QUEUE_DEFERRED)
		return;
	if (reason.length == 0)
		reason = SLICE("reason unavailable");
	if (!slice_equal(reason, *last)) {
		buf_clear(text);
		buf_append_printable(text, reason);
		if (text->length < REASON_END)
			spaces_append(&printer->out, REASON_END - text->length);
		buf_append_byte(&printer->out, '(');
		buf_append(&printer->out, buf_slice(text));
		buf_append_text(&printer->out, ")\n");
	}
	*last = reason;
}

static void
entry_print(struct printer *printer, const struct msg_queue_entry *entry)
{
	struct buf                *out = &printer->out, *word = &printer->word;
	struct slice               list = entry->recipients, last = SLICE_EMPTY;
	struct msg_queue_recipient recipient;
	char                       arrival[32];
	const char                *mark = entry->state == QUEUE_ACTIVE ? "*"
	                                  : entry->state == QUEUE_HOLD ? "!"
	                                                               : "";

	if (printer->count == 0)
		buf_append_text(out, "----Queue ID----- --Size-- ---Arrival Time---- "
		                     "--Sender/Recipient------\n");
	buf_clear(word);
	buf_append(word, entry->queue_id);
	buf_append_text(word, mark);
	buf_append_text(word, entry->is_expired ? "#" : "");
	column_append(out, buf_slice(word), 17, false);
	buf_clear(word);
	buf_append_u64(word, entry->size);
	buf_append_byte(out, ' ');
	column_append(out, buf_slice(word), 8, true);
	arrival_show(printer, entry->arrival_us, arrival);
	buf_append_byte(out, ' ');
	buf_append(out, slice_of(arrival, ARRIVAL_LENGTH));
	buf_append_byte(out, ' ');
	address_show(printer, entry->sender);
	buf_append_byte(out, '\n');
	while (msg_queue_recipient_next(&list, &recipient)) {
		reason_print(printer, entry, recipient.reason, &last);
		spaces_append(out, 17 + 1 + 8 + 1 + ARRIVAL_LENGTH + 1);
		address_show(printer, recipient.address);
		buf_append_byte(out, '\n');
	}
	buf_append_byte(out, '\n');
}

/* ---- JSON ---- */

static void
json_member(struct buf *out, const char *name, struct slice value)
{
	buf_append_text(out, ", \"");
	buf_append_text(out, name);
	buf_append_text(out, "\": ");
	json_append_string(out, value);
}

static void
json_number(struct buf *out, const char *name, int64_t value)
{
	buf_append_text(out, ", \"");
	buf_append_text(out, name);
	buf_append_text(out, value < 0 ? "\": -" : "\": ");
	buf_append_u64(out, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* As listings show it: in external form. */
static void
json_address(struct printer *printer, const char *name, struct slice address)
{
	struct buf *external = &printer->word;

	buf_clear(external);
	json_member(&printer->out, name,
	            address_append_external(external, address) ? buf_slice(external) : address);
}

static void
json_recipient(struct printer *printer, const struct msg_queue_recipient *recipient, bool is_first)
{
	struct buf *out = &printer->out, *external = &printer->word;

	buf_clear(external);
	buf_append_text(out, is_first ? "{\"address\": " : ", {\"address\": ");
	json_append_string(out, address_append_external(external, recipient->address)
	                                ? buf_slice(external)
	                                : recipient->address);
	if (recipient->original.length > 0 && !slice_equal(recipient->original, recipient->address))
		json_address(printer, "orig_address", recipient->original);
	if (recipient->reason.length > 0)
		json_member(out, "delay_reason", recipient->reason);
	if (recipient->transport.length > 0)
		json_member(out, "transport", recipient->transport);
	if (recipient->nexthop.length > 0)
		json_member(out, "nexthop", recipient->nexthop);
	buf_append_byte(out, '}');
}

static void
entry_json(struct printer *printer, const struct msg_queue_entry *entry)
{
	struct buf                *out = &printer->out;
	struct slice               list = entry->recipients, reason = SLICE_EMPTY;
	struct msg_queue_recipient recipient;

	buf_append_text(out, "{\"queue_name\": \"");
	buf_append_text(out, state_name(entry->state));
	buf_append_byte(out, '"');
	json_member(out, "queue_id", entry->queue_id);
	json_number(out, "arrival_time", entry->arrival_us / 1000000);
	json_number(out, "message_size", (int64_t)entry->size);
	buf_append_text(out, ", \"forced_expire\": ");
	buf_append_text(out, entry->is_expired ? "true" : "false");
	if (entry->sender.length == 0)
		json_member(out, "sender", SLICE("MAILER-DAEMON"));
	else
		json_address(printer, "sender", entry->sender);
	buf_append_text(out, ", \"recipients\": [");
	for (bool is_first = true; msg_queue_recipient_next(&list, &recipient); is_first = false) {
		json_recipient(printer, &recipient, is_first);
		if (recipient.reason.length > 0)
			reason = recipient.reason;
	}
	buf_append_byte(out, ']');
	json_number(out, "next_attempt", entry->next_attempt_us / 1000000);
	json_number(out, "attempts", entry->attempts);
	json_member(out, "last_reply", reason);
	buf_append_byte(out, '}');
}

void
print_json(const struct msg_queue_entry *entry)
{
	struct printer printer = PRINTER(LIST_JSON);

	entry_json(&printer, entry);
	fwrite(printer.out.data, 1, printer.out.length, stdout);
	print_drop(&printer);
}

bool
print_flush(struct printer *printer)
{
	struct slice out = buf_slice(&printer->out);
	bool         is_good = !printer->out.has_failed &&
	               fwrite(out.data, 1, out.length, stdout) == out.length && fflush(stdout) == 0;

	buf_clear(&printer->out);
	return is_good;
}

void
print_drop(struct printer *printer)
{
	buf_free(&printer->out);
	buf_free(&printer->word);
}

bool
print_entry(struct printer *printer, const struct msg_queue_entry *entry)
{
	if (printer->form == LIST_JSON) {
		entry_json(printer, entry);
		buf_append_byte(&printer->out, '\n');
	} else {
		entry_print(printer, entry);
	}
	printer->count++;
	printer->bytes += entry->size;
	return printer->out.length < FLUSH_AT || print_flush(printer);
}

bool
print_end(struct printer *printer)
{
	bool is_good = print_flush(printer);

	print_drop(printer);
	if (printer->form == LIST_JSON)
		return is_good;
	if (printer->count == 0)
		puts("Mail queue is empty");
	else
		printf("-- %llu Kbytes in %llu Request%s.\n",
		       (unsigned long long)printer->bytes / 1024,
		       (unsigned long long)printer->count, printer->count == 1 ? "" : "s");
	return is_good;
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
	time_t         when = (time_t)(when_us / 1000000);
	struct tm      date = { 0 };
	char           text[32];
	struct printer printer = PRINTER(LIST_TEXT);

	localtime_r(&when, &date);
	arrival_show(&printer, when_us, text);
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

/* ---- for people ---- */

void
text_print(struct slice bytes)
{
	struct buf text = BUF(TEXT_MOST);

	buf_append_printable(&text, bytes);
	fputs(buf_text(&text), stdout);
	buf_free(&text);
}

void
time_print(int64_t when_us)
{
	time_t    when = (time_t)(when_us / 1000000);
	struct tm date;
	char      text[40] = "?";

	if (localtime_r(&when, &date) != NULL)
		strftime(text, sizeof(text), "%b %e %H:%M:%S", &date);
	fputs(text, stdout);
}
