/*
 * restrictions.c - the engine: compile lists of names, evaluate them by stage, word and log
 * refusals.
 */
#include "smtpd/restrictions.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/array.h"
#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/policy/policy.h"
#include "smtpd/checks.h"

/* Classes within classes, and names that an access table gives. */
#define DEPTH_MOST 20

enum needs { NEEDS_CLIENT, NEEDS_HELO, NEEDS_SENDER, NEEDS_RECIPIENT, NEEDS_ETRN };
enum argument { WITH_NONE, WITH_TABLE, WITH_ZONE, WITH_NUMBER, WITH_SERVICE, WITH_RESTRICTION };

struct restriction_row {
	const char     *name;
	enum needs      needs;
	enum argument   argument;
	check_function *function; /* NULL: not carried out here */
};

static const struct restriction_row restriction_rows[] = {
#define RESTRICTION(name, needs, argument)  { #name, NEEDS_##needs, WITH_##argument, check_##name },
#define RESTRICTION_MISSING(name, argument) { #name, NEEDS_CLIENT, WITH_##argument, NULL },
#define RESTRICTION_ALIAS(old, name)
#define RESTRICTION_GONE(name, instead)
#include "lib/conf/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_MISSING
#undef RESTRICTION_ALIAS
#undef RESTRICTION_GONE
};

static const struct {
	const char *old, *name;
} restriction_aliases[] = {
#define RESTRICTION(name, needs, argument)
#define RESTRICTION_MISSING(name, argument)
#define RESTRICTION_ALIAS(old, name) { #old, #name },
#define RESTRICTION_GONE(name, instead)
#include "lib/conf/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_MISSING
#undef RESTRICTION_ALIAS
#undef RESTRICTION_GONE
};

struct entry_list {
	struct entry_list *next; /* of all lists, to free them */
	const char        *name; /* of the class; "" for a parameter's list */
	ARRAY(struct entry) entries;
};

struct open_table {
	struct open_table *next;
	struct table      *table;
};

struct open_policy {
	struct open_policy    *next;
	const char            *text;
	struct policy_service *service;
};

struct restrictions {
	const struct snapshot   *snapshot;
	const struct parameters *parameters;
	struct arena             arena; /* names and arguments */
	struct open_table       *tables;
	struct open_policy      *policies;
	struct entry_list       *lists;
	struct entry_list *client, *helo, *sender, *relay, *recipient, *data, *end_of_data, *etrn;
};

/* ---- compiling ---- */

static const struct restriction_row *
find_row(struct slice name)
{
	for (size_t i = 0; i < sizeof(restriction_aliases) / sizeof(restriction_aliases[0]); i++)
		if (slice_equal_fold(name, slice_from(restriction_aliases[i].old)))
			name = slice_from(restriction_aliases[i].name);
	for (size_t i = 0; i < sizeof(restriction_rows) / sizeof(restriction_rows[0]); i++)
		if (slice_equal_fold(name, slice_from(restriction_rows[i].name)))
			return &restriction_rows[i];
	return NULL;
}

static struct table *
find_table(const struct restrictions *restrictions, struct slice spec)
{
	for (struct open_table *open = restrictions->tables; open != NULL; open = open->next)
		if (slice_equal(slice_from(table_spec(open->table)), spec))
			return open->table;
	return NULL;
}

static struct table *
open_table(struct restrictions *restrictions, struct slice spec, struct error *error)
{
	struct table *table = find_table(restrictions, spec);
	const char   *text = arena_text(&restrictions->arena, spec);

	if (table != NULL || text == NULL)
		return table;
	table = table_open(text, true, error);
	struct open_table *open = table != NULL ? calloc(1, sizeof(*open)) : NULL;
	if (open == NULL) {
		table_close(&table);
		return NULL;
	}
	open->table = table;
	open->next = restrictions->tables;
	restrictions->tables = open;
	return table;
}

/* Lists that name the same server share its connections. */
static struct policy_service *
open_policy(struct restrictions *restrictions, const char *text, struct error *error)
{
	struct open_policy *open = restrictions->policies;

	while (open != NULL && strcmp(open->text, text) != 0)
		open = open->next;
	if (open != NULL)
		return open->service;
	struct policy_service *service =
		policy_open(restrictions->parameters, slice_from(text), error);
	open = service != NULL ? calloc(1, sizeof(*open)) : NULL;
	if (open == NULL) {
		policy_service_destroy(&service);
		return NULL;
	}
	*open = (struct open_policy){ restrictions->policies, text, service };
	restrictions->policies = open;
	return service;
}

static struct entry_list *compile_list(struct restrictions *restrictions, const char *name,
                                       const char *text, unsigned depth, struct error *error);

static struct entry_list *
find_class(struct restrictions *restrictions, struct slice name, unsigned depth,
           struct error *error)
{
	struct slice rest = slice_from(restrictions->parameters->smtpd_restriction_classes);
	struct slice one;

	for (struct entry_list *list = restrictions->lists; list != NULL; list = list->next)
		if (slice_equal(slice_from(list->name), name))
			return list;
	while (slice_next_word(&rest, " \t\r\n,", &one)) {
		if (!slice_equal(one, name))
			continue;
		const char *class = arena_text(&restrictions->arena, name);
		const char *value =
			class != NULL ? snapshot_value(restrictions->snapshot, class) : NULL;
		if (value == NULL) {
			error_set(error, "restriction class %.*s is not defined", SLICE_ARGS(name));
			return NULL;
		}
		return compile_list(restrictions, class, value, depth + 1, error);
	}
	return NULL;
}

/* One item at the front of *rest: a word, or what stands in { }. */
static bool
next_item(struct slice *rest, struct slice *item)
{
	while (rest->length > 0 && (ascii_is_space(rest->data[0]) || rest->data[0] == ','))
		*rest = slice_from_offset(*rest, 1);
	if (rest->length == 0)
		return false;
	if (rest->data[0] == '{') {
		unsigned depth = 0;
		size_t   at = 0;
		do {
			depth += rest->data[at] == '{';
			depth -= rest->data[at] == '}';
			at++;
		} while (at < rest->length && depth > 0);
		*item = slice_trim(slice_of(rest->data + 1, at - (depth == 0 ? 2 : 1)));
		*rest = slice_from_offset(*rest, at);
		return true;
	}
	size_t at = 0;
	/* "inline:{ a b }" is one word. */
	for (unsigned depth = 0; at < rest->length; at++) {
		char c = rest->data[at];
		depth += c == '{';
		if (depth == 0 && (ascii_is_space(c) || c == ','))
			break;
		depth -= c == '}' && depth > 0;
	}
	*item = slice_first(*rest, at);
	*rest = slice_from_offset(*rest, at);
	return true;
}

static bool
compile_argument(struct restrictions *restrictions, const struct restriction_row *row,
                 struct slice *rest, struct entry *entry, struct error *error)
{
	struct slice item;

	if (row->argument == WITH_NONE || row->argument == WITH_RESTRICTION)
		return true;
	if (!next_item(rest, &item))
		return error_set(error, "%s needs an argument", row->name);
	entry->text = arena_text(&restrictions->arena, item);
	if (entry->text == NULL)
		return error_set(error, "out of memory");
	if (row->argument == WITH_TABLE) {
		entry->table = open_table(restrictions, item, error);
		return entry->table != NULL;
	}
	if (row->argument == WITH_SERVICE) {
		entry->policy = open_policy(restrictions, entry->text, error);
		return entry->policy != NULL;
	}
	if (row->argument == WITH_NUMBER && !number_parse_seconds(item, 's', &entry->number))
		return error_set(error, "%s: %s is no time", row->name, entry->text);
	return true;
}

/* A bare table stands for the check of the list's own stage: the row's name from the list's. */
static const struct restriction_row *
bare_table_row(const struct entry_list *list, const char *parameter)
{
	static const struct {
		const char *parameter, *row;
	} rows[] = {
		{ "smtpd_client_restrictions", "check_client_access" },
		{ "smtpd_helo_restrictions", "check_helo_access" },
		{ "smtpd_sender_restrictions", "check_sender_access" },
		{ "smtpd_relay_restrictions", "check_recipient_access" },
		{ "smtpd_recipient_restrictions", "check_recipient_access" },
	};

	(void)list;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (slice_equal(slice_from(parameter), slice_from(rows[i].parameter)))
			return find_row(slice_from(rows[i].row));
	return NULL;
}

/* Fills *entry from the item; what belongs to it is taken off *rest. */
static bool
compile_entry(struct restrictions *restrictions, struct entry_list *list, const char *parameter,
              struct slice item, struct slice *rest, unsigned depth, struct entry *entry,
              struct error *error)
{
	const struct restriction_row *row = find_row(item);

	if (row == NULL && slice_contains_byte(item, ':')) {
		row = bare_table_row(list, parameter);
		if (row == NULL)
			return error_set(error, "a table without check_*_access: %.*s",
			                 SLICE_ARGS(item));
		entry->name = row->name;
		entry->function = row->function;
		return compile_argument(restrictions, row, &item, entry, error);
	}
	if (row == NULL) {
		entry->list = find_class(restrictions, item, depth, error);
		entry->name = entry->list != NULL ? entry->list->name : NULL;
		if (entry->list == NULL && error->text[0] == '\0')
			error_set(error, "unknown restriction: %.*s", SLICE_ARGS(item));
		return entry->list != NULL;
	}
	if (row->function == NULL)
		return error_set(error, "%s is not supported yet", row->name);
	entry->name = row->name;
	entry->function = row->function;
	return compile_argument(restrictions, row, rest, entry, error);
}

static struct entry_list *
compile_list(struct restrictions *restrictions, const char *name, const char *text, unsigned depth,
             struct error *error)
{
	bool is_class = name[0] != '\0' && !slice_starts_with(slice_from(name), SLICE("smtpd_"));
	struct entry_list *list = calloc(1, sizeof(*list));
	struct slice       rest = slice_from(text), item;
	bool               is_warning = false;

	if (list == NULL || depth > DEPTH_MOST) {
		free(list);
		error_set(error, depth > DEPTH_MOST ? "restriction classes are nested too deep"
		                                    : "out of memory");
		return NULL;
	}
	list->name = is_class ? name : "";
	list->next = restrictions->lists;
	restrictions->lists = list;
	while (next_item(&rest, &item)) {
		struct entry entry = { .is_warning = is_warning };
		if (slice_equal_fold(item, SLICE("warn_if_reject"))) {
			is_warning = true;
			continue;
		}
		is_warning = false;
		if (!compile_entry(restrictions, list, name, item, &rest, depth, &entry, error) ||
		    !ARRAY_PUSH(&list->entries, entry)) {
			error_prefix(error, "%s", name);
			return NULL;
		}
	}
	return list;
}

/* Whether something in the list refuses strangers' mail for elsewhere. */
static bool
list_guards_relay(const struct entry_list *list, unsigned depth)
{
	static check_function *const guards[] = { check_reject, check_defer, check_defer_if_permit,
		                                  check_reject_unauth_destination,
		                                  check_defer_unauth_destination };

	if (depth > DEPTH_MOST)
		return false;
	for (size_t i = 0; i < list->entries.count; i++) {
		const struct entry *entry = &list->entries.items[i];

		if (entry->is_warning)
			continue;
		if (entry->list != NULL && list_guards_relay(entry->list, depth + 1))
			return true;
		for (size_t j = 0; j < sizeof(guards) / sizeof(guards[0]); j++)
			if (entry->function == guards[j])
				return true;
		if (entry->function == check_permit)
			return false;
	}
	return false;
}

struct restrictions *
restrictions_create(const struct snapshot *snapshot, struct error *error)
{
	const struct parameters *parameters = snapshot_parameters(snapshot);
	struct restrictions     *made = calloc(1, sizeof(*made));
	struct {
		struct entry_list **list;
		const char         *name, *text;
	} parts[] = {
		{ &made->client, "smtpd_client_restrictions",
		  parameters->smtpd_client_restrictions },
		{ &made->helo, "smtpd_helo_restrictions", parameters->smtpd_helo_restrictions },
		{ &made->sender, "smtpd_sender_restrictions",
		  parameters->smtpd_sender_restrictions },
		{ &made->relay, "smtpd_relay_restrictions", parameters->smtpd_relay_restrictions },
		{ &made->recipient, "smtpd_recipient_restrictions",
		  parameters->smtpd_recipient_restrictions },
		{ &made->data, "smtpd_data_restrictions", parameters->smtpd_data_restrictions },
		{ &made->end_of_data, "smtpd_end_of_data_restrictions",
		  parameters->smtpd_end_of_data_restrictions },
		{ &made->etrn, "smtpd_etrn_restrictions", parameters->smtpd_etrn_restrictions },
	};

	if (made == NULL)
		return NULL;
	made->snapshot = snapshot;
	made->parameters = parameters;
	bool is_good = true;
	for (size_t i = 0; is_good && i < sizeof(parts) / sizeof(parts[0]); i++) {
		*parts[i].list = compile_list(made, parts[i].name, parts[i].text, 0, error);
		is_good = *parts[i].list != NULL;
	}
	/* Also those that only access tables name: their tables cannot be opened later. */
	struct slice classes = slice_from(parameters->smtpd_restriction_classes), class;
	while (is_good && slice_next_word(&classes, " \t\r\n,", &class))
		is_good = find_class(made, class, 0, error) != NULL;
	if (is_good && !list_guards_relay(made->relay, 0) &&
	    !list_guards_relay(made->recipient, 0)) {
		error_set(error,
		          "in parameter smtpd_relay_restrictions or "
		          "smtpd_recipient_restrictions, specify at least one working "
		          "instance of: reject_unauth_destination, defer_unauth_destination, "
		          "reject, defer, defer_if_permit");
		is_good = false;
	}
	if (!is_good)
		restrictions_destroy(&made);
	return made;
}

void
restrictions_destroy(struct restrictions **pointer)
{
	struct restrictions *restrictions = *pointer;

	if (restrictions == NULL)
		return;
	*pointer = NULL;
	while (restrictions->tables != NULL) {
		struct open_table *open = restrictions->tables;
		restrictions->tables = open->next;
		table_close(&open->table);
		free(open);
	}
	while (restrictions->policies != NULL) {
		struct open_policy *open = restrictions->policies;
		restrictions->policies = open->next;
		policy_service_destroy(&open->service);
		free(open);
	}
	while (restrictions->lists != NULL) {
		struct entry_list *list = restrictions->lists;
		restrictions->lists = list->next;
		ARRAY_FREE(&list->entries);
		free(list);
	}
	arena_reset(&restrictions->arena);
	free(restrictions);
}

bool
restrictions_need_network(const struct restrictions *restrictions)
{
	for (const struct open_policy *open = restrictions->policies; open != NULL;
	     open = open->next)
		if (!policy_service_is_unix(open->service))
			return true;
	return false;
}

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
	while (verdict == VERDICT_DUNNO && next_item(&names, &item)) {
		const struct restriction_row *row = find_row(item);
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
		bool is_good = row != NULL && row->function != NULL;
		if (is_good && row->argument != WITH_NONE) {
			/* Tables are open already, or they cannot be: the doors are closed. */
			is_good = next_item(&names, &argument) && row->argument == WITH_TABLE &&
			          (entry.table = find_table(restrictions, argument)) != NULL;
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
	case STAGE_ETRN:
		verdict =
			stage_named(&check, restrictions->etrn, STAGE_ETRN, "ETRN", "Etrn command");
		break;
	}
	if (verdict != VERDICT_REFUSE)
		return true;
	log_reply(&check, "reject", &check.reply);
	*reply = check.reply;
	return false;
}
