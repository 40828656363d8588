/* check_rules.c - services and values that do not go together; see check.h. */
#include "lib/conf/check.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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

/* C1: a domain in two classes. Domains that stand in tables are not seen here. */
static void
check_classes(const struct configuration *configuration, struct report *report)
{
	struct buf   lists[CLASS_COUNT];
	struct slice rest, word;
	const char  *file;
	unsigned     line;

	for (size_t i = 0; i < CLASS_COUNT; i++) {
		lists[i] = BUF(SETTINGS_TEXT_MOST);
		(void)check_expanded(&configuration->settings, class_lists[i], &lists[i]);
	}
	for (size_t i = 0; i < CLASS_COUNT * CLASS_COUNT; i++) {
		size_t first = i / CLASS_COUNT, second = i % CLASS_COUNT;

		if (first >= second)
			continue;
		check_place(&configuration->settings, class_lists[second], &file, &line);
		rest = buf_slice(&lists[second]);
		while (slice_next_word(&rest, ", \t\r\n", &word)) {
			/* Tables may be in several lists. */
			if (slice_find_byte(word, ':') == SLICE_NOT_FOUND && word.data[0] != '/' &&
			    list_has(buf_slice(&lists[first]), word))
				report_add(report, PROBLEM_WARNING, file, line,
				           "%.*s is in %s and in %s: %s wins",
				           SLICE_ARGS(slice_first(word, 200)), class_lists[first],
				           class_lists[second], class_lists[first]);
		}
	}
	for (size_t i = 0; i < CLASS_COUNT; i++)
		buf_free(&lists[i]);
}

/* C7: mail that is accepted and cannot be stored. */
static void
check_sizes(const struct configuration *configuration, struct report *report)
{
	const struct parameters *parameters = &configuration->parameters;
	const char              *file;
	unsigned                 line;

	if (parameters->virtual_mailbox_limit == 0 ||
	    (parameters->message_size_limit != 0 &&
	     parameters->message_size_limit <= parameters->virtual_mailbox_limit))
		return;
	check_place(&configuration->settings, "message_size_limit", &file, &line);
	report_add(report, PROBLEM_WARNING, file, line,
	           "message_size_limit (%lld) is larger than virtual_mailbox_limit (%lld): a "
	           "message between them is accepted and then bounced",
	           (long long)parameters->message_size_limit,
	           (long long)parameters->virtual_mailbox_limit);
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

/* C12: a list of recipients that was emptied by hand makes bounces to innocent senders. */
static void
check_backscatter(const struct configuration *configuration, struct report *report)
{
	static const struct {
		const char *maps, *domains;
	} rows[] = { { "local_recipient_maps", "mydestination" },
		     { "relay_recipient_maps", "relay_domains" } };
	struct buf text = BUF(SETTINGS_TEXT_MOST);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct conf_value *value =
			values_get(&configuration->values, slice_from(rows[i].maps));

		if (value != NULL && value->text[0] == '\0' &&
		    check_expanded(&configuration->settings, rows[i].domains, &text) &&
		    !slice_is_empty(slice_trim(buf_slice(&text))))
			report_add(report, PROBLEM_WARNING, value->file, value->line,
			           "%s is empty: mail to unknown users in %s is accepted and "
			           "bounced to forged senders",
			           rows[i].maps, rows[i].domains);
	}
	buf_free(&text);
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
	check_backscatter(configuration, report);
	for (size_t i = 0; i < master->services.count; i++) {
		if (master->services.items[i].is_run &&
		    strcmp(master->services.items[i].program->name, "smtpd") == 0)
			check_logins(configuration, &master->services.items[i], report);
	}
}
