/* check_content.c - what stands in tables: C5, C6, C9, C12, C16; see check.h. */
#include <stdio.h>
#include <string.h>

#include "lib/base/number.h"
#include "lib/conf/check.h"
#include "lib/conf/restrictions.h"
#include "lib/intake/intake.h"
#include "tools/dakiya/check.h"

/* Findings of one table; more would hide what matters. */
#define FINDINGS_MOST 10

/* A table that is being looked through. */
struct content {
	struct report           *report;
	const struct conf_value *value; /* which names it */
	struct slice             spec, type;
	struct arena             arena;
	struct hash              keys;           /* key -> line, as a pointer into lines below */
	unsigned                 catch_all_line; /* of a rule that matches everything */
	unsigned                 hidden;         /* rules behind it */
	unsigned                 conditions;     /* open "if"s */
	unsigned                 findings;
	char                     catch_all_file[1000];
};

static void __attribute__((format(printf, 4, 5)))
say(struct content *content, const char *file, unsigned line, const char *format, ...)
{
	struct buf text = BUF(10000);
	va_list    arguments;

	if (content->findings++ >= FINDINGS_MOST)
		return;
	va_start(arguments, format);
	buf_append_vformat(&text, format, arguments);
	va_end(arguments);
	report_add(content->report, PROBLEM_WARNING, file, line, "%s", buf_text(&text));
	buf_free(&text);
}

/* ---- keys ---- */

static bool
looks_like_network(struct slice key)
{
	size_t  slash = slice_find_last_byte(key, '/');
	int64_t bits;

	if (slash == SLICE_NOT_FOUND || slash == 0 ||
	    !number_parse(slice_from_offset(key, slash + 1), 0, 128, &bits))
		return false;
	for (size_t i = 0; i < slash; i++) {
		if (!ascii_is_digit(key.data[i]) && strchr(".:abcdefABCDEF[]", key.data[i]) == NULL)
			return false;
	}
	return true;
}

/* "/^.*@example/": a path like "/var/mail/x" is none. */
static bool
looks_like_pattern(struct slice key)
{
	static const char special[] = "^$*\\[(|+";
	bool              has_special = false;

	for (size_t i = 0; i < sizeof(special) - 1; i++)
		has_special |= slice_contains_byte(key, special[i]);
	return has_special && key.length > 2 && key.data[0] == '/' &&
	       slice_find_last_byte(key, '/') != 0;
}

static bool
has_upper_case(struct slice key)
{
	for (size_t i = 0; i < key.length; i++) {
		if (key.data[i] >= 'A' && key.data[i] <= 'Z')
			return true;
	}
	return false;
}

static void
check_duplicate(struct content *content, const struct check_entry *entry)
{
	struct buf folded = BUF(5000);
	unsigned  *first, *line;

	if (entry->line == 0 || !buf_append_lower(&folded, entry->key)) {
		buf_free(&folded);
		return;
	}
	first = hash_get(&content->keys, buf_slice(&folded));
	if (first != NULL) {
		say(content, entry->file, entry->line,
		    "duplicate key \"%.*s\": line %u has it already, and counts",
		    SLICE_ARGS(slice_first(entry->key, 200)), *first);
	} else if ((line = arena_alloc(&content->arena, sizeof(*line))) != NULL) {
		*line = entry->line;
		(void)hash_put(&content->keys, buf_slice(&folded), line, NULL);
	}
	buf_free(&folded);
}

/* What stands in a table that is asked for whole keys. */
static void
check_key(struct content *content, const struct check_entry *entry)
{
	struct slice key = slice_first(entry->key, 200);

	check_duplicate(content, entry);
	if (looks_like_pattern(entry->key))
		say(content, entry->file, entry->line,
		    "%.*s is a pattern, but a table of type %.*s is asked for this very text; use "
		    "pcre or regexp",
		    SLICE_ARGS(key), SLICE_ARGS(content->type));
	else if (looks_like_network(entry->key))
		say(content, entry->file, entry->line,
		    "%.*s is a network, but a table of type %.*s is asked for addresses and their "
		    "first numbers (192.0.2); use cidr",
		    SLICE_ARGS(key), SLICE_ARGS(content->type));
	else if (!slice_is_ascii(entry->key) && !slice_is_utf8(entry->key))
		say(content, entry->file, entry->line, "%.*s is not UTF-8: it will match nothing",
		    SLICE_ARGS(SLICE("this key")));
	else if (!slice_is_ascii(entry->key) && has_upper_case(entry->key))
		say(content, entry->file, entry->line,
		    "\"%.*s\": only A to Z are folded to lower case, write the other letters in "
		    "lower "
		    "case",
		    SLICE_ARGS(key));
	else if (entry->line == 0 && has_upper_case(entry->key))
		say(content, entry->file, 0,
		    "\"%.*s\" has upper case letters, and keys are looked up in lower case: it is "
		    "never found; make the table with dakmap",
		    SLICE_ARGS(key));
}

static bool
matches_everything(struct slice key)
{
	static const char *const keys[] = { "0.0.0.0/0", "/./", "/.*/", "/^.*/", "/^.*$/", "/^/" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (slice_equal(key, slice_from(keys[i])))
			return true;
	}
	return false;
}

static void
visit_entry(void *context, const struct check_entry *entry)
{
	struct content *content = context;

	if (!entry->is_rule) {
		check_key(content, entry);
	} else if (slice_equal_fold(entry->key, SLICE("if"))) {
		content->conditions++;
	} else if (slice_equal_fold(entry->key, SLICE("endif"))) {
		content->conditions -= content->conditions > 0;
	} else if (content->catch_all_line == 0) {
		/* Between if and endif it is not for every key. */
		if (content->conditions == 0 && matches_everything(entry->key)) {
			content->catch_all_line = entry->line;
			snprintf(content->catch_all_file, sizeof(content->catch_all_file), "%s",
			         entry->file);
		}
	} else if (!slice_equal(content->type, SLICE("cidr")) ||
	           !slice_contains_byte(entry->key, ':')) {
		content->hidden++; /* 0.0.0.0/0 hides no IPv6 */
	}
}

/* ---- one table ---- */

static bool
is_file_type(struct slice type)
{
	static const char *const types[] = { "texthash", "hash",   "btree", "lmdb",  "cdb",
		                             "cidr",     "regexp", "pcre",  "inline" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (slice_equal(type, slice_from(types[i])))
			return true;
	}
	return false;
}

/* A daemon does not start when a table's content is wrong; a missing file is said elsewhere. */
static bool
opens(struct content *content)
{
	struct buf    spec = BUF(10000);
	struct error  error = ERROR_NONE;
	struct table *table = NULL;
	bool          is_wrong;

	if (buf_append(&spec, content->spec))
		table = table_open(buf_text(&spec), false, &error);
	is_wrong = table == NULL && error.errno_value == 0;
	if (is_wrong)
		report_add(content->report, PROBLEM_ERROR, content->value->file,
		           content->value->line, "%s: %s", content->value->name, error.text);
	table_close(&table);
	buf_free(&spec);
	return !is_wrong;
}

static void
check_table(const struct conf_value *value, struct slice spec, bool is_alias, struct report *report)
{
	struct slice      name = SLICE_EMPTY;
	struct content    content = { .report = report,
		                      .value = value,
		                      .spec = spec,
		                      .type = check_table_type(spec, &name),
		                      .arena = ARENA(64u * 1024 * 1024) };
	struct check_wish wish = { .spec = spec, .wants_text = true, .is_alias = is_alias };

	if (is_file_type(content.type) && opens(&content)) {
		(void)check_read_table(&wish, visit_entry, &content);
		if (content.hidden > 0)
			report_add(report, PROBLEM_WARNING, content.catch_all_file,
			           content.catch_all_line,
			           "this rule matches everything: the %u rules behind it are never "
			           "reached",
			           content.hidden);
		if (content.findings > FINDINGS_MOST)
			report_add(report, PROBLEM_WARNING, value->file, value->line,
			           "%s: %u more of this kind in %.*s", value->name,
			           content.findings - FINDINGS_MOST,
			           SLICE_ARGS(slice_first(spec, 300)));
	}
	hash_free(&content.keys, NULL);
	arena_reset(&content.arena);
}

/* ---- all tables ---- */

struct tables {
	const struct configuration *configuration;
	struct report              *report;
	struct hash                 seen; /* each is looked at once, where it is named first */
};

static void
each_table_of(struct tables *tables, const struct settings *settings,
              const struct conf_value *value)
{
	const struct parameter_row *row = settings_row(settings, slice_from(value->name));
	bool is_class = restriction_is_class(settings, slice_from(value->name));
	bool is_alias = strcmp(value->name, "alias_maps") == 0 ||
	                strcmp(value->name, "alias_database") == 0;
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word;

	if ((is_class || (row != NULL && row->type == PARAMETER_STRING)) &&
	    check_expanded(settings, value->name, &text)) {
		rest = buf_slice(&text);
		while (restriction_next_word(&rest, &word)) {
			if (!table_spec_is_known(word) || hash_get(&tables->seen, word) != NULL)
				continue;
			if (hash_put(&tables->seen, word, tables, NULL))
				check_table(value, word, is_alias, tables->report);
		}
	}
	buf_free(&text);
}

/* aliases first: the same file in another list is no reason to read it in another form. */
static void
check_all_tables(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;
	struct tables             tables = { .configuration = configuration, .report = report };
	const struct conf_value  *aliases = values_get(&configuration->values, SLICE("alias_maps"));

	if (aliases != NULL)
		each_table_of(&tables, &configuration->settings, aliases);
	for (size_t i = 0; i < configuration->values.list.count; i++)
		each_table_of(&tables, &configuration->settings,
		              configuration->values.list.items[i]);
	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];
		struct service_view   view;

		if (!service->is_run || service->overrides.list.count == 0 ||
		    !service_view_init(&view, configuration, service))
			continue;
		for (size_t j = 0; j < service->overrides.list.count; j++)
			each_table_of(&tables, &view.settings, service->overrides.list.items[j]);
		service_view_free(&view);
	}
	hash_free(&tables.seen, NULL);
}

/* ---- C9: the password of the relay ---- */

static enum lookup
look_up(struct table_list *list, struct slice key)
{
	struct buf   value = BUF(100000);
	struct error error = ERROR_NONE;
	enum lookup  found = table_list_lookup(list, key, &value, &error);

	buf_free(&value);
	return found;
}

static void
check_relay_password(const struct configuration *configuration, struct report *report)
{
	const struct parameters *parameters = &configuration->parameters;
	struct error             error = ERROR_NONE;
	struct slice relay = slice_trim(slice_from(parameters->relayhost)), host = relay;
	const char  *file;
	unsigned     line;

	if (!parameters->smtp_sasl_auth_enable || relay.length == 0 ||
	    parameters->smtp_sender_dependent_authentication)
		return;
	struct table_list *list = table_list_open(parameters->smtp_sasl_password_maps, &error);
	if (list == NULL || table_list_is_empty(list)) {
		table_list_close(&list);
		return; /* said elsewhere */
	}
	if (relay.data[0] == '[')
		host = slice_of(relay.data + 1,
		                slice_first(relay, slice_find_byte(relay, ']')).length - 1);
	bool is_bracketed = relay.data[0] == '[';
	/* Of a domain the names of its MX hosts are tried, too, which only DNS knows. */
	if (look_up(list, relay) == LOOKUP_NOT_FOUND &&
	    (!is_bracketed || look_up(list, host) == LOOKUP_NOT_FOUND)) {
		check_place(&configuration->settings, "smtp_sasl_password_maps", &file, &line);
		report_add(report, PROBLEM_WARNING, file, line,
		           "smtp_sasl_password_maps has no password for relayhost = %.*s; the key "
		           "must be written like that%s%.*s",
		           SLICE_ARGS(slice_first(relay, 200)),
		           is_bracketed ? ", or be the host's name alone: " : "",
		           SLICE_ARGS(is_bracketed ? slice_first(host, 200) : SLICE_EMPTY));
	}
	table_list_close(&list);
}

/* ---- C5, C12: an address for everybody ---- */

struct catch_all {
	const struct configuration *configuration;
	struct report              *report;
	const char                 *name; /* of the list of tables */
	struct table_list          *aliases;
	unsigned                    told;
};

/* @domain in a list of recipients: all of them exist. */
static void
visit_recipient(void *context, const struct check_entry *entry)
{
	struct catch_all *catch_all = context;

	if (!entry->is_rule && entry->key.length > 1 && entry->key.data[0] == '@' &&
	    catch_all->told++ < FINDINGS_MOST)
		report_add(
			catch_all->report, PROBLEM_WARNING, entry->file, entry->line,
			"%.*s in %s: mail to unknown users in this domain is accepted and bounced "
			"to forged senders",
			SLICE_ARGS(slice_first(entry->key, 200)), catch_all->name);
}

/* A mailbox that gets nothing, because an alias for its whole domain takes its mail. */
static void
visit_mailbox(void *context, const struct check_entry *entry)
{
	struct catch_all *catch_all = context;
	size_t            at = slice_find_last_byte(entry->key, '@');

	if (entry->is_rule || at == SLICE_NOT_FOUND || at == 0 ||
	    look_up(catch_all->aliases, entry->key) != LOOKUP_NOT_FOUND ||
	    look_up(catch_all->aliases, slice_from_offset(entry->key, at)) != LOOKUP_FOUND ||
	    catch_all->told++ >= FINDINGS_MOST)
		return;
	report_add(
		catch_all->report, PROBLEM_WARNING, entry->file, entry->line,
		"%.*s gets no mail: %.*s in virtual_alias_maps takes it; add \"%.*s %.*s\" there",
		SLICE_ARGS(slice_first(entry->key, 200)),
		SLICE_ARGS(slice_first(slice_from_offset(entry->key, at), 200)),
		SLICE_ARGS(slice_first(entry->key, 200)), SLICE_ARGS(slice_first(entry->key, 200)));
}

static void
each_entry_of(struct catch_all *catch_all,
              void (*visit)(void *context, const struct check_entry *entry))
{
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word;

	if (!check_expanded(&catch_all->configuration->settings, catch_all->name, &text))
		buf_clear(&text);
	rest = buf_slice(&text);
	while (restriction_next_word(&rest, &word)) {
		struct check_wish wish = { .spec = word, .wants_text = true };

		(void)check_read_table(&wish, visit, catch_all);
	}
	buf_free(&text);
}

/* Others may answer from far away: they are not asked for each mailbox. */
static bool
are_all_files(const char *specs)
{
	struct slice rest = slice_from(specs), word, name;

	while (restriction_next_word(&rest, &word)) {
		if (!is_file_type(check_table_type(word, &name)))
			return false;
	}
	return true;
}

static void
check_catch_alls(const struct configuration *configuration, struct report *report)
{
	static const char *const recipients[] = { "relay_recipient_maps", "local_recipient_maps" };
	struct catch_all         catch_all = { .configuration = configuration, .report = report };
	struct error             error = ERROR_NONE;

	for (size_t i = 0; i < sizeof(recipients) / sizeof(recipients[0]); i++) {
		catch_all.name = recipients[i];
		each_entry_of(&catch_all, visit_recipient);
	}
	catch_all.told = 0;
	catch_all.name = "virtual_mailbox_maps";
	catch_all.aliases = table_list_open(configuration->parameters.virtual_alias_maps, &error);
	if (catch_all.aliases != NULL && !table_list_is_empty(catch_all.aliases) &&
	    are_all_files(configuration->parameters.virtual_alias_maps))
		each_entry_of(&catch_all, visit_mailbox);
	table_list_close(&catch_all.aliases);
}

/* ---- milters ---- */

/* As smtpd and pickup will read them; who answers there, nobody can know before. */
static void
check_milters(const struct configuration *configuration, struct report *report)
{
	const struct parameters *parameters = &configuration->parameters;
	const struct {
		const char *name, *value;
	} rows[] = {
		{ "smtpd_milters", parameters->smtpd_milters },
		{ "non_smtpd_milters", parameters->non_smtpd_milters },
	};
	struct milter_settings settings = intake_milter_settings(parameters);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error        error = ERROR_NONE;
		const char         *file;
		unsigned            line;
		struct milter_list *list =
			milter_list_create(slice_from(rows[i].value), &settings, &error);

		check_place(&configuration->settings, rows[i].name, &file, &line);
		if (list == NULL)
			report_add(report, PROBLEM_ERROR, file, line, "%s: %s", rows[i].name,
			           error.text);
		milter_list_destroy(&list);
	}
}

void
check_content(const struct configuration *configuration, struct report *report)
{
	check_milters(configuration, report);
	check_all_tables(configuration, report);
	check_relay_password(configuration, report);
	check_catch_alls(configuration, report);
}
