/* check_rules.c - services and values that do not go together; see check.h. */
#include "lib/conf/check.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/conf/owner.h"

/* Whether an earlier service has the same executable: each one is missed once. */
static bool
is_seen_before(const struct master_file *master, size_t index)
{
	const char *executable = master->services.items[index].program->executable;

	for (size_t i = 0; i < index; i++) {
		if (master->services.items[i].is_run &&
		    strcmp(master->services.items[i].program->executable, executable) == 0)
			return true;
	}
	return false;
}

/* Each daemon that is to run must be there. */
static void
check_executables(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;
	struct buf                directory = BUF(4096), path = BUF(8192);
	struct error              error = ERROR_NONE;
	const char               *file;
	unsigned                  line;
	bool is_known = check_expanded(&configuration->settings, "daemon_directory", &directory);

	if (is_known && access(buf_text(&directory), X_OK) < 0) {
		check_place(&configuration->settings, "daemon_directory", &file, &line);
		error_set_errno(&error, "daemon_directory %s", buf_text(&directory));
		report_add(report, PROBLEM_ERROR, file, line,
		           "%s: set daemon_directory to where smtpd, qmgr and the other daemons "
		           "are",
		           error.text);
		is_known = false;
	}
	for (size_t i = 0; is_known && i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		if (!service->is_run || is_seen_before(master, i))
			continue;
		buf_clear(&path);
		buf_append_format(&path, "%s/%s", buf_text(&directory),
		                  service->program->executable);
		if (access(buf_text(&path), X_OK) < 0) {
			error_set_errno(&error, "daemon %s", buf_text(&path));
			report_add(report, PROBLEM_ERROR, service->file, service->line, "%s",
			           error.text);
		}
	}
	buf_free(&directory);
	buf_free(&path);
}

/* What makes the account, for somebody who has not done it before. All share mail_owner's group. */
static void
append_account_command(const struct configuration *configuration, const char *user, struct buf *out)
{
	struct buf   group = BUF(1024);
	struct owner owner;
	struct error error = ERROR_NONE;

	if (!check_expanded(&configuration->settings, "mail_owner", &group) ||
	    strchr(user, ':') != NULL || user[0] == '-' || user[0] == '\0') {
		buf_append_text(out, "specify a user's name or numbers as uid:gid");
	} else if (strcmp(user, buf_text(&group)) == 0) {
		buf_append_format(out,
		                  "make it: useradd --system --user-group --no-create-home "
		                  "--home-dir /nonexistent --shell /usr/sbin/nologin %s",
		                  user);
	} else {
		/* A mail_owner in numbers has a group that may have no name. */
		if (owner_parse(buf_text(&group), &owner, &error)) {
			buf_clear(&group);
			buf_append_format(&group, "%u", (unsigned)owner.gid);
		}
		buf_append_format(out,
		                  "make it: useradd --system --gid %s --no-create-home "
		                  "--home-dir /nonexistent --shell /usr/sbin/nologin %s",
		                  buf_text(&group), user);
	}
	buf_free(&group);
}

static void
report_owner(const struct configuration *configuration, const char *name, const char *user,
             const char *why, struct report *report)
{
	struct buf  command = BUF(4096);
	const char *file;
	unsigned    line;

	check_place(&configuration->settings, name, &file, &line);
	append_account_command(configuration, user, &command);
	report_add(report, PROBLEM_ERROR, file, line, "%s: %s; %s", name, why, buf_text(&command));
	buf_free(&command);
}

/* Without root nothing changes identity, and nobody needs to exist. */
static void
check_owners(const struct configuration *configuration, struct report *report)
{
	static const char *const names[] = { "mail_owner", "net_owner", "auth_owner", "dns_owner" };
	struct buf               text = BUF(1024);
	const char              *file;
	unsigned                 line;

	if (geteuid() != 0)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct error error = ERROR_NONE;
		struct owner owner;

		check_place(&configuration->settings, names[i], &file, &line);
		if (!check_expanded(&configuration->settings, names[i], &text))
			continue;
		if (!owner_parse(buf_text(&text), &owner, &error))
			report_owner(configuration, names[i], buf_text(&text), error.text, report);
		else if (owner.uid == 0)
			report_add(report, PROBLEM_ERROR, file, line,
			           "%s must not be root: the daemons give their rights away by it",
			           names[i]);
	}
	buf_free(&text);
}

/* ---- values that do not go together ---- */

/* The lists of the address classes, the first of which wins. */
static const char *const class_lists[] = { "mydestination", "virtual_alias_domains",
	                                   "virtual_mailbox_domains", "relay_domains" };
#define CLASS_COUNT (sizeof(class_lists) / sizeof(class_lists[0]))

static bool
list_has(struct slice list, struct slice domain)
{
	struct slice word;

	while (slice_next_word(&list, ", \t\r\n", &word)) {
		if (slice_equal_fold(word, domain))
			return true;
	}
	return false;
}

/* Where something is set, for the middle of a sentence. */
static void
append_place(const struct settings *settings, const char *name, struct buf *out)
{
	const char *file;
	unsigned    line;

	check_place(settings, name, &file, &line);
	if (line == 0)
		buf_append_format(out, "%s (its default)", name);
	else
		buf_append_format(out, "%s (line %u)", name, line);
}

/* A list that says relay_domains = $mydestination is as old as it is harmless. */
static void
report_double(const struct configuration *configuration, size_t first, size_t second,
              struct slice domain, struct report *report)
{
	bool is_harmless = strcmp(class_lists[first], "mydestination") == 0 &&
	                   strcmp(class_lists[second], "relay_domains") == 0;
	struct buf  where = BUF(1000);
	const char *file;
	unsigned    line;

	check_place(&configuration->settings, class_lists[second], &file, &line);
	append_place(&configuration->settings, class_lists[first], &where);
	report_add(report, is_harmless ? PROBLEM_WARNING : PROBLEM_ERROR, file, line,
	           "%.*s is in %s and in %s: a domain belongs to one class only%s%s",
	           SLICE_ARGS(slice_first(domain, 200)), buf_text(&where), class_lists[second],
	           is_harmless ? "; it counts for "
	                       : "; take it out of one, or it would count for ",
	           class_lists[first]);
	buf_free(&where);
}

/* C1: a domain in two classes. Domains that stand in tables are seen by `dakiya check'. */
static void
check_classes(const struct configuration *configuration, struct report *report)
{
	struct buf   lists[CLASS_COUNT];
	struct slice rest, word;

	for (size_t i = 0; i < CLASS_COUNT; i++) {
		lists[i] = BUF(SETTINGS_TEXT_MOST);
		(void)check_expanded(&configuration->settings, class_lists[i], &lists[i]);
	}
	for (size_t i = 0; i < CLASS_COUNT * CLASS_COUNT; i++) {
		size_t first = i / CLASS_COUNT, second = i % CLASS_COUNT;

		if (first >= second)
			continue;
		rest = buf_slice(&lists[second]);
		while (slice_next_word(&rest, ", \t\r\n", &word)) {
			/* Tables may be in several lists. */
			if (slice_find_byte(word, ':') == SLICE_NOT_FOUND && word.data[0] != '/' &&
			    list_has(buf_slice(&lists[first]), word))
				report_double(configuration, first, second, word, report);
		}
	}
	for (size_t i = 0; i < CLASS_COUNT; i++)
		buf_free(&lists[i]);
}

static bool
number_of(const struct settings *settings, const char *name, int64_t *number)
{
	struct buf text = BUF(1000);
	bool       is_number = check_expanded(settings, name, &text) &&
	                 number_parse(slice_trim(buf_slice(&text)), 0, INT64_MAX, number);

	buf_free(&text);
	return is_number;
}

/* C7: mail that is accepted and cannot be stored. */
static void
check_sizes(const struct configuration *configuration, struct report *report)
{
	static const char *const limits[] = { "virtual_mailbox_limit", "mailbox_size_limit" };
	const struct settings   *settings = &configuration->settings;
	const char              *file;
	unsigned                 line;
	int64_t                  message, mailbox;
	struct buf               domains = BUF(SETTINGS_TEXT_MOST);

	bool has_local = check_expanded(settings, "mydestination", &domains) &&
	                 slice_trim(buf_slice(&domains)).length > 0;
	buf_free(&domains);
	if (!number_of(settings, "message_size_limit", &message))
		return; /* an error of its own */
	check_place(settings, "message_size_limit", &file, &line);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		/* Either may be 0, for no limit; the second is of no use without local domains. */
		if ((i == 1 && !has_local) ||
		    settings_row(settings, slice_from(limits[i])) == NULL ||
		    !number_of(settings, limits[i], &mailbox) || mailbox == 0 ||
		    (message != 0 && message <= mailbox))
			continue;
		if (line == 0)
			check_place(settings, limits[i], &file, &line);
		report_add(report, PROBLEM_WARNING, file, line,
		           "message_size_limit (%lld) is larger than %s (%lld): a message between "
		           "them is accepted and then bounced",
		           (long long)message, limits[i], (long long)mailbox);
	}
}

/* How mailbox files are locked: words that local's workers know. */
static void
check_locks(const struct configuration *configuration, const char *name, struct report *report)
{
	struct buf   text = BUF(1000);
	struct slice rest, word;
	const char  *file;
	unsigned     line;
	size_t       count = 0;

	if (!check_expanded(&configuration->settings, name, &text)) {
		buf_free(&text);
		return; /* reported by the types */
	}
	rest = buf_slice(&text);
	check_place(&configuration->settings, name, &file, &line);
	for (; slice_next_word(&rest, ", \t\r\n", &word); count++)
		if (!slice_equal(word, SLICE("fcntl")) && !slice_equal(word, SLICE("flock")) &&
		    !slice_equal(word, SLICE("dotlock")))
			report_add(report, PROBLEM_ERROR, file, line,
			           "%s: \"%.*s\" is none of fcntl, flock, dotlock", name,
			           SLICE_ARGS(slice_first(word, 100)));
	if (count == 0)
		report_add(report, PROBLEM_ERROR, file, line,
		           "%s is empty: two deliveries at once would mix their lines; the "
		           "default is fcntl, dotlock",
		           name);
	buf_free(&text);
}

static bool
is_yes(const struct settings *settings, const char *name)
{
	struct buf text = BUF(1000);
	bool       is_set = check_expanded(settings, name, &text) &&
	              slice_equal_fold(slice_trim(buf_slice(&text)), SLICE("yes"));

	buf_free(&text);
	return is_set;
}

/* C8: logins in clear text, and logins where only servers should be. */
static void
check_logins(const struct configuration *configuration, const struct service *service,
             struct report *report)
{
	struct service_view view;
	struct buf          level = BUF(1000);

	if (!service_view_init(&view, configuration, service))
		return; /* reported by the types */
	bool has_auth = is_yes(&view.settings, "smtpd_sasl_auth_enable");
	bool is_wrapped = is_yes(&view.settings, "smtpd_tls_wrappermode");
	bool is_forced = is_wrapped || is_yes(&view.settings, "smtpd_tls_auth_only") ||
	                 (check_expanded(&view.settings, "smtpd_tls_security_level", &level) &&
	                  slice_equal(buf_slice(&level), SLICE("encrypt")));
	if (has_auth && !is_forced)
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "service %s takes passwords without TLS: smtpd_tls_auth_only = yes",
		           service->name);
	if (has_auth && service->port == 25)
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "service %s offers logins on port 25, where only servers call: use "
		           "submission and submissions",
		           service->name);
	if ((service->port == 587 || service->port == 465) && !has_auth)
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "service %s is for users, but smtpd_sasl_auth_enable is no",
		           service->name);
	buf_free(&level);
	service_view_free(&view);
}

static bool
has_option(const struct settings *settings, const char *name, const char *option)
{
	struct buf text = BUF(1000);
	bool       has = check_expanded(settings, name, &text) &&
	           list_has(buf_slice(&text), slice_from(option));

	buf_free(&text);
	return has;
}

static bool
has_text(const struct settings *settings, const char *name)
{
	struct buf text = BUF(SETTINGS_TEXT_MOST);
	bool       has = check_expanded(settings, name, &text) &&
	           !slice_is_empty(slice_trim(buf_slice(&text)));

	buf_free(&text);
	return has;
}

/* C9: a password for the relay that is never sent, or sent for everybody to read. */
static void
check_relay_login(const struct configuration *configuration, struct report *report)
{
	const struct settings *settings = &configuration->settings;
	bool                   is_on = is_yes(settings, "smtp_sasl_auth_enable");
	bool                   has_maps = has_text(settings, "smtp_sasl_password_maps");
	bool        is_plain = !has_option(settings, "smtp_sasl_security_options", "noplaintext");
	struct buf  level = BUF(1000);
	const char *file;
	unsigned    line;

	check_place(settings, is_on ? "smtp_sasl_auth_enable" : "smtp_sasl_password_maps", &file,
	            &line);
	if (is_on != has_maps && line > 0)
		report_add(report, PROBLEM_WARNING, file, line, "%s has no effect without %s",
		           is_on ? "smtp_sasl_auth_enable" : "smtp_sasl_password_maps",
		           is_on ? "smtp_sasl_password_maps" : "smtp_sasl_auth_enable = yes");
	if (is_on && has_maps) {
		if (has_option(settings, "smtp_sasl_tls_security_options", "noplaintext"))
			report_add(
				report, PROBLEM_WARNING, file, line,
				"smtp_sasl_tls_security_options has noplaintext: PLAIN and LOGIN, "
				"all that most servers offer, are not used; "
				"smtp_sasl_tls_security_options = noanonymous");
		if (is_plain && check_expanded(settings, "smtp_tls_security_level", &level) &&
		    (list_has(buf_slice(&level), SLICE("may")) ||
		     list_has(buf_slice(&level), SLICE("none")) ||
		     list_has(buf_slice(&level), SLICE("dane"))))
			report_add(report, PROBLEM_WARNING, file, line,
			           "smtp_sasl_security_options without noplaintext sends the "
			           "password in clear to a server without TLS: "
			           "smtp_tls_security_level = encrypt");
	}
	buf_free(&level);
}

/* C12: without a list of recipients mail to unknown ones is bounced to innocent senders. */
static void
check_backscatter(const struct configuration *configuration, struct report *report)
{
	static const struct {
		const char *maps, *domains;
		bool        is_empty_by_default;
	} rows[] = { { "local_recipient_maps", "mydestination", false },
		     { "relay_recipient_maps", "relay_domains", true } };
	const struct settings *settings = &configuration->settings;
	const char            *file;
	unsigned               line;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct conf_value *value =
			values_get(&configuration->values, slice_from(rows[i].maps));
		bool is_for_all = value != NULL && strncmp(value->text, "static:", 7) == 0;
		bool is_emptied = value != NULL ? value->text[0] == '\0'
		                                : rows[i].is_empty_by_default &&
		                                          !has_text(settings, rows[i].maps);

		if ((!is_emptied && !is_for_all) || !has_text(settings, rows[i].domains))
			continue;
		check_place(settings, value != NULL ? rows[i].maps : rows[i].domains, &file, &line);
		report_add(report, PROBLEM_WARNING, file, line,
		           "%s %s: mail to unknown users in %s is accepted and bounced to forged "
		           "senders",
		           rows[i].maps, is_emptied ? "is empty" : "knows everybody",
		           rows[i].domains);
	}
}

void
check_rules(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;

	check_executables(configuration, report);
	check_owners(configuration, report);
	check_classes(configuration, report);
	check_sizes(configuration, report);
	check_locks(configuration, "virtual_mailbox_lock", report);
	check_locks(configuration, "mailbox_delivery_lock", report);
	check_relay_login(configuration, report);
	check_backscatter(configuration, report);
	for (size_t i = 0; i < master->services.count; i++) {
		if (master->services.items[i].is_run &&
		    strcmp(master->services.items[i].program->name, "smtpd") == 0)
			check_logins(configuration, &master->services.items[i], report);
	}
}
