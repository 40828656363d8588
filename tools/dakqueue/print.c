/* print.c - the queue as postqueue -p and -j print it, a message as postcat -q does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/json.h"
#include "lib/mail/address.h"
#include "lib/mail/header.h"
#include "tools/dakqueue/dakqueue.h"

#define REASON_END 76 /* so that the bracket behind it stands in column 78 */

static const char *const state_names[] = { "incoming", "active", "deferred", "hold", "corrupt" };

const char *
state_name(uint32_t state)
{
	return state <= QUEUE_CORRUPT ? state_names[state] : "unknown";
}

/* An address as it is shown; the null sender has Postfix's name. */
static void
address_show(struct buf *out, struct slice address)
{
	struct buf external = BUF(8192);

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
	struct buf text = BUF(8192);

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
	struct buf                 text = BUF(16384);
	struct slice               list = entry->recipients, last = SLICE_EMPTY;
	struct msg_queue_recipient recipient;
	char                       arrival[32], id[40];
	const char                *mark = entry->is_expired              ? "#"
	                                  : entry->state == QUEUE_ACTIVE ? "*"
	                                  : entry->state == QUEUE_HOLD   ? "!"
	                                                                 : "";

	if (printer->count == 0)
		puts("----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------");
	snprintf(id, sizeof(id), "%.*s%s", SLICE_ARGS(entry->queue_id), mark);
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

static void
json_recipient(const struct msg_queue_recipient *recipient, bool is_first)
{
	printf("%s{\"address\": ", is_first ? "" : ", ");
	json_string(recipient->address);
	if (recipient->original.length > 0 && !slice_equal(recipient->original, recipient->address))
		json_member("orig_address", recipient->original);
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
	struct slice list = entry->recipients, reason = SLICE_EMPTY;
	struct slice sender = entry->sender.length == 0 ? SLICE("MAILER-DAEMON") : entry->sender;
	struct msg_queue_recipient recipient;

	printf("{\"queue_name\": \"%s\"", state_name(entry->state));
	json_member("queue_id", entry->queue_id);
	printf(", \"arrival_time\": %lld, \"message_size\": %llu, \"forced_expire\": %s",
	       (long long)(entry->arrival_us / 1000000), (unsigned long long)entry->size,
	       entry->is_expired ? "true" : "false");
	json_member("sender", sender);
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
	struct buf text = BUF(65536);

	buf_append_printable(&text, value);
	printf("%s: %s\n", name, buf_text(&text));
	buf_free(&text);
}

static void
envelope_print(const struct msg_queue_message *message)
{
	struct slice               list = message->envelope;
	struct msg_envelope        envelope = { 0 };
	struct msg_queue_recipient recipient;
	struct buf                 date = BUF(200);

	msg_envelope_next(&list, &envelope);
	printf("message_size: %llu\n",
	       (unsigned long long)(message->file >= 0 ? message->file_length
	                                               : message->content.length));
	date_append(&date, envelope.arrival_us / 1000000);
	printf("message_arrival_time: %s\n", buf_text(&date));
	buf_free(&date);
	record_print("sender", envelope.sender);
	const struct {
		const char  *name;
		struct slice value;
	} attributes[] = { { "client_name", envelope.client_name },
		           { "client_address", envelope.client_address },
		           { "client_port", envelope.client_port },
		           { "helo_name", envelope.client_helo },
		           { "protocol_name", envelope.client_protocol },
		           { "sasl_method", envelope.sasl_method },
		           { "sasl_username", envelope.sasl_username },
		           { "dsn_envid", envelope.dsn_envid } };
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (attributes[i].value.length > 0) {
			printf("named_attribute: ");
			record_print(attributes[i].name, attributes[i].value);
		}
	list = message->recipients;
	while (msg_queue_recipient_next(&list, &recipient)) {
		if (recipient.original.length > 0)
			record_print("original_recipient", recipient.original);
		record_print("recipient", recipient.address);
	}
}

/* Content as it passes: header or body, with the line ends of the machine, as postcat prints. */
struct content {
	unsigned parts;
	bool     is_body;
	bool     is_line_start;
	bool     has_cr; /* seen and not printed yet */
};

static void
content_byte(struct content *content, char byte)
{
	bool is_empty_line = byte == '\n' && content->is_line_start;
	bool is_wanted = (content->parts & (content->is_body ? SHOW_BODY : SHOW_HEADER)) != 0;
	/* The empty line between them is shown where both are. */
	bool is_between = !content->is_body && is_empty_line;

	if (is_wanted && (!is_between || (content->parts & SHOW_BODY) != 0))
		putchar(byte);
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
	if ((parts & SHOW_ENVELOPE) != 0)
		printf("*** %s %s/%.*s ***\n", what, state_name(message->state),
		       SLICE_ARGS(message->queue_id));
}

bool
print_message(const struct msg_queue_message *message, unsigned parts, struct error *error)
{
	struct content content = { .parts = parts, .is_line_start = true };

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
