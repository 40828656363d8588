/*
 * restrictions.c - the engine: evaluates compiled lists by stage, words and logs refusals.
 */
#include <stdio.h>

#include "lib/base/log.h"
#include "smtpd/lists.h"

/* ---- words and log ---- */

struct slice
check_text(struct check *check, const char *format, ...)
{
	struct buf text = BUF(3000);
	va_list    arguments;

	va_start(arguments, format);
	buf_append_vformat(&text, format, arguments);
	va_end(arguments);
	struct slice copy = arena_copy(&check->session->mail.arena, buf_slice(&text));
	buf_free(&text);
	return copy.data != NULL ? copy : SLICE("(no memory)");
}

struct slice
domain_of(struct slice address)
{
	size_t at = slice_find_last_byte(address, '@');

	return at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(address, at + 1);
}

const char *
check_place_word(const struct check *check)
{
	const struct session *session = check->session;

	if (check->question->stage == STAGE_END_OF_DATA)
		return "END-OF-MESSAGE";
	return session->has_command ? smtp_verb_name(session->verb) : "CONNECT";
}

void
check_log(struct check *check, const char *action, const char *text)
{
	const struct restriction_question *question = check->question;
	struct session                    *session = check->session;
	struct buf                         line = BUF(8000);

	buf_append_format(&line, "%s: %s: %s from %s: %s;", transaction_id(session), action,
	                  check_place_word(check), client_label(session), text);
	if (question->has_sender) {
		buf_append_text(&line, " from=<");
		address_append_external(&line, question->sender_as_given);
		buf_append_byte(&line, '>');
	}
	if (question->recipient != NULL) {
		buf_append_text(&line, " to=<");
		address_append_external(&line, question->recipient->address);
		buf_append_byte(&line, '>');
	}
	buf_append_format(&line, " proto=%s", session_protocol(session));
	if (question->helo.length > 0) {
		buf_append_text(&line, " helo=<");
		buf_append_printable(&line, question->helo);
		buf_append_byte(&line, '>');
	}
	if (session->sasl_user.length > 0) {
		buf_append_text(&line, " sasl_username=<");
		buf_append_printable(&line, session->sasl_user);
		buf_append_byte(&line, '>');
	}
	log_info("%s", buf_text(&line));
	buf_free(&line);
}

static void
log_reply(struct check *check, const char *action, const struct smtp_reply *reply)
{
	struct buf text = BUF(4000);

	buf_append_format(&text, "%d ", reply->code);
	if (reply->status.class != 0) {
		enhanced_status_append(&text, reply->status);
		buf_append_byte(&text, ' ');
	}
	buf_append_printable(&text, reply->text);
	check_log(check, action, buf_text(&text));
	buf_free(&text);
}

enum verdict
refuse_with(struct check *check, const struct smtp_reply *reply)
{
	check->reply = *reply;
	/* The classes of code and status agree, whatever the tables and parameters say. */
	if (check->reply.status.class != 0 && check->reply.code >= 400)
		check->reply.status.class = (unsigned char)(check->reply.code / 100);
	if (check->is_warning) {
		log_reply(check, "reject_warning", &check->reply);
		return VERDICT_DUNNO;
	}
	return VERDICT_REFUSE;
}

static struct smtp_reply
make_reply(struct check *check, int64_t code, const char *status, const char *format,
           va_list arguments)
{
	struct buf text = BUF(3000);

	buf_append_vformat(&text, format, arguments);
	struct slice copy = arena_copy(&check->session->mail.arena, buf_slice(&text));
	buf_free(&text);
	if (copy.data == NULL)
		return (struct smtp_reply){ 452,
			                    { 4, 3, 1 },
			                    SLICE("Insufficient system storage") };
	return (struct smtp_reply){ (int)code, status_from(status), copy };
}

enum verdict
refuse(struct check *check, int64_t code, const char *status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	struct smtp_reply reply = make_reply(check, code, status, format, arguments);
	va_end(arguments);
	return refuse_with(check, &reply);
}

void
hold_reply(struct check *check, struct held_reply *held, int code, const char *status,
           const char *format, ...)
{
	va_list arguments;

	if (held->is_set || check->is_warning)
		return;
	va_start(arguments, format);
	held->reply = make_reply(check, code, status, format, arguments);
	va_end(arguments);
	held->is_set = true;
}

enum verdict
tempfail(struct check *check, const char *action, const char *status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	struct smtp_reply reply = make_reply(check, 450, status, format, arguments);
	va_end(arguments);
	if (slice_equal(slice_from(action), SLICE("defer")))
		return refuse_with(check, &reply);
	if (!check->defer_if_permit.is_set && !check->is_warning)
		check->defer_if_permit = (struct held_reply){ true, reply };
	return VERDICT_DUNNO;
}

/* ---- evaluating ---- */

enum verdict
evaluate_list(struct check *check, const struct entry_list *list)
{
	enum verdict verdict = VERDICT_DUNNO;
	bool         was_warning = check->is_warning;

	if (++check->depth > DEPTH_MOST) {
		log_warning("restriction lists are nested too deep");
		check->depth--;
		return refuse(check, 451, "4.3.5", "Server configuration error");
	}
	for (size_t i = 0; verdict == VERDICT_DUNNO && i < list->entries.count; i++) {
		const struct entry *entry = &list->entries.items[i];

		check->is_warning = was_warning || entry->is_warning;
		verdict = entry->list != NULL ? evaluate_list(check, entry->list)
		                              : entry->function(check, entry);
	}
	check->is_warning = was_warning;
	check->depth--;
	return verdict;
}

enum verdict
evaluate_names(struct check *check, struct slice names)
{
	struct restrictions *restrictions = check->restrictions;
	enum verdict         verdict = VERDICT_DUNNO;
	struct slice         item, argument;
	bool                 was_warning = check->is_warning;

	if (++check->depth > DEPTH_MOST) {
		check->depth--;
		return refuse(check, 451, "4.3.5", "Server configuration error");
	}
	while (verdict == VERDICT_DUNNO && restriction_next_item(&names, &item)) {
		const struct restriction_row *row = restriction_row_find(item);
		if (row != NULL && row->function == check_warn_if_reject) {
			check->is_warning = true;
			continue;
		}
		struct entry entry = { .text = "" };
		struct entry_list *class = restrictions->lists;

		while (class != NULL && !slice_equal(slice_from(class->name), item))
			class = class->next;
		if (class != NULL && item.length > 0) {
			verdict = evaluate_list(check, class);
			check->is_warning = was_warning;
			continue;
		}
		bool is_good = row != NULL;
		if (is_good && row->argument != WITH_NONE) {
			/* Tables are open already, or they cannot be: the doors are closed. */
			is_good = restriction_next_item(&names, &argument) &&
			          row->argument == WITH_TABLE &&
			          (entry.table = restriction_table_find(restrictions, argument)) !=
			                  NULL;
		}
		if (!is_good) {
			log_warning("access table result: unknown or impossible: %.*s",
			            SLICE_ARGS(item));
			verdict = refuse(check, 451, "4.3.5", "Server configuration error");
			break;
		}
		entry.name = row->name;
		verdict = row->function(check, &entry);
		check->is_warning = was_warning;
	}
	check->is_warning = was_warning;
	check->depth--;
	return verdict;
}

/* One list of main.cf with its words. */
static enum verdict
run_list(struct check *check, const struct entry_list *list, enum restriction_stage stage,
         struct slice subject, const char *class)
{
	check->list_stage = stage;
	check->subject = subject;
	check->class = class;
	return list->entries.count == 0 ? VERDICT_DUNNO : evaluate_list(check, list);
}

/* The end of a stage: deferrals that waited for the lists' verdict. */
static enum verdict
settle(struct check *check, enum verdict verdict)
{
	if (verdict == VERDICT_REFUSE && check->reply.code >= 500 && check->defer_if_reject.is_set)
		check->reply = check->defer_if_reject.reply;
	if (verdict != VERDICT_REFUSE && check->defer_if_permit.is_set) {
		check->reply = check->defer_if_permit.reply;
		verdict = VERDICT_REFUSE;
	}
	return verdict;
}

static enum verdict
stage_client(struct check *check)
{
	return settle(check, run_list(check, check->restrictions->client, STAGE_CLIENT,
	                              slice_from(client_label(check->session)), "Client host"));
}

static enum verdict
stage_helo(struct check *check)
{
	return settle(check, run_list(check, check->restrictions->helo, STAGE_HELO,
	                              check->question->helo, "Helo command"));
}

static enum verdict
stage_sender(struct check *check)
{
	enum verdict verdict = run_list(check, check->restrictions->sender, STAGE_SENDER,
	                                check->question->sender_as_given, "Sender address");
	verdict = settle(check, verdict);
	if (verdict != VERDICT_REFUSE && check->parameters->smtpd_reject_unlisted_sender &&
	    !check->is_sender_checked)
		verdict = check_reject_unlisted_sender(check, NULL);
	return verdict;
}

static enum verdict
stage_recipient(struct check *check)
{
	const struct entry_list *first = check->restrictions->relay;
	const struct entry_list *second = check->restrictions->recipient;
	struct slice             subject = check->question->recipient_as_given;
	enum verdict             verdict;

	if (!check->parameters->smtpd_relay_before_recipient_restrictions) {
		first = check->restrictions->recipient;
		second = check->restrictions->relay;
	}
	verdict = run_list(check, first, STAGE_RECIPIENT, subject, "Recipient address");
	if (verdict != VERDICT_REFUSE)
		verdict = run_list(check, second, STAGE_RECIPIENT, subject, "Recipient address");
	verdict = settle(check, verdict);
	if (verdict != VERDICT_REFUSE && check->parameters->smtpd_reject_unlisted_recipient &&
	    !check->is_recipient_checked && !check->session->mail.is_discarded)
		verdict = check_reject_unlisted_recipient(check, NULL);
	return verdict;
}

/* RCPT, VRFY: with smtpd_delay_reject everything before is asked now. */
static enum verdict
stage_with_delayed(struct check *check)
{
	enum verdict verdict = VERDICT_DUNNO;

	if (check->parameters->smtpd_delay_reject) {
		verdict = stage_client(check);
		if (verdict != VERDICT_REFUSE && check->question->helo.length > 0)
			verdict = stage_helo(check);
		if (verdict != VERDICT_REFUSE && check->question->has_sender)
			verdict = stage_sender(check);
	}
	return verdict == VERDICT_REFUSE ? verdict : stage_recipient(check);
}

static enum verdict
stage_named(struct check *check, const struct entry_list *list, enum restriction_stage stage,
            const char *subject, const char *class)
{
	return settle(check, run_list(check, list, stage, slice_from(subject), class));
}

/* With smtpd_delay_reject, what would have refused the client already does now. */
static enum verdict
stage_etrn(struct check *check)
{
	enum verdict verdict = VERDICT_DUNNO;

	if (check->parameters->smtpd_delay_reject) {
		verdict = stage_client(check);
		if (verdict != VERDICT_REFUSE && check->question->helo.length > 0)
			verdict = stage_helo(check);
	}
	if (verdict == VERDICT_REFUSE)
		return verdict;
	return settle(check, run_list(check, check->restrictions->etrn, STAGE_ETRN,
	                              check->question->etrn, "Etrn command"));
}

bool
restrictions_evaluate(struct session *session, const struct restriction_question *question,
                      struct smtp_reply *reply)
{
	struct restrictions *restrictions = session->room->restrictions;
	struct check         check = {
			.session = session,
			.parameters = session->parameters,
			.question = question,
			.restrictions = restrictions,
	};
	enum verdict verdict = VERDICT_DUNNO;

	switch (question->stage) {
	case STAGE_CLIENT: verdict = stage_client(&check); break;
	case STAGE_HELO: verdict = stage_helo(&check); break;
	case STAGE_SENDER: verdict = stage_sender(&check); break;
	case STAGE_RECIPIENT:
	case STAGE_VRFY: verdict = stage_with_delayed(&check); break;
	case STAGE_DATA:
		verdict =
			stage_named(&check, restrictions->data, STAGE_DATA, "DATA", "Data command");
		break;
	case STAGE_END_OF_DATA:
		verdict = stage_named(&check, restrictions->end_of_data, STAGE_END_OF_DATA,
		                      "END-OF-MESSAGE", "End-of-data");
		break;
	case STAGE_ETRN: verdict = stage_etrn(&check); break;
	}
	if (verdict != VERDICT_REFUSE)
		return true;
	log_reply(&check, "reject", &check.reply);
	*reply = check.reply;
	return false;
}
