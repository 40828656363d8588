/* check_services.c - what the services need from each other and from files; see check.h. */
#include "lib/conf/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/number.h"

static bool
is_run(const struct configuration *configuration, const char *program)
{
	const struct master_file *master = &configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];
		if (service->is_run && strcmp(service->program->name, program) == 0)
			return true;
	}
	return false;
}

/* A service that needs another one, which master.cf lacks. */
static void
check_needs(const struct configuration *configuration, struct report *report)
{
	static const struct {
		const char *program, *needed, *without;
	} rows[] = {
		{ "smtpd", "qmgr", "no mail can be taken in" },
		{ "bounce", "qmgr", "nothing is delivered" },
		{ "smtpd", "resolver", "no name can be looked up" },
		{ "smtp", "resolver", "no MX host can be found" },
		{ "pop3d", "authd", "nobody can log in" },
		{ "qmgr", "bounce", "no sender learns of failures" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (is_run(configuration, rows[i].program) &&
		    !is_run(configuration, rows[i].needed))
			report_add(report, PROBLEM_WARNING, configuration->master.path, 0,
			           "there is no service %s, which %s needs: %s", rows[i].needed,
			           rows[i].program, rows[i].without);
	}
}

/* Files of keys and certificates: a daemon that cannot read them does not start. */
static void
check_key_files(const struct configuration *configuration, struct report *report)
{
	static const char *const names[] = { "smtpd_tls_chain_files", "smtpd_tls_cert_file",
		                             "smtpd_tls_key_file",    "smtpd_tls_eccert_file",
		                             "smtpd_tls_eckey_file",  "smtp_tls_CAfile",
		                             "smtpd_tls_CAfile" };
	struct buf               text = BUF(SETTINGS_TEXT_MOST), path = BUF(4096);
	struct slice             rest, word;
	const char              *file;
	unsigned                 line;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		check_place(&configuration->settings, names[i], &file, &line);
		if (line == 0 || !check_expanded(&configuration->settings, names[i], &text))
			continue;
		rest = buf_slice(&text);
		while (slice_next_word(&rest, ", \t\r\n", &word)) {
			struct error error = ERROR_NONE;

			buf_clear(&path);
			buf_append(&path, word);
			if (word.data[0] != '/' || access(buf_text(&path), R_OK) == 0)
				continue;
			error_set_errno(&error, "%s: %s", names[i], buf_text(&path));
			report_add(report, PROBLEM_ERROR, file, line, "%s", error.text);
		}
	}
	buf_free(&text);
	buf_free(&path);
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

static bool
is_word(const struct settings *settings, const char *name, const char *word)
{
	struct buf text = BUF(SETTINGS_TEXT_MOST);
	bool       is = check_expanded(settings, name, &text) &&
	          slice_equal_fold(slice_trim(buf_slice(&text)), slice_from(word));

	buf_free(&text);
	return is;
}

/* How to begin without a certificate of an authority. */
static void
append_key_command(const struct settings *settings, struct buf *out)
{
	struct buf name = BUF(1024);

	if (!check_expanded(settings, "myhostname", &name))
		buf_clear(&name);
	/* What stands in a command that is going to be copied must be a name. */
	for (size_t i = 0; i < name.length; i++) {
		if (!ascii_is_alnum(name.data[i]) && strchr(".-", name.data[i]) == NULL)
			name.data[i] = 'x';
	}
	buf_append_format(out,
	                  "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
	                  "-nodes -days 365 -subj /CN=%s -addext subjectAltName=DNS:%s",
	                  buf_text(&name), buf_text(&name));
	buf_free(&name);
}

static void
report_no_certificate(const struct configuration *configuration, const struct settings *settings,
                      const struct service *service, bool is_first, struct report *report)
{
	struct buf  hint = BUF(4096);
	const char *directory = configuration->directory;

	if (is_first) {
		buf_append_format(&hint,
		                  ". Put key and certificate into main.cf: smtpd_tls_chain_files = "
		                  "%s/host.key, %s/host.pem and smtpd_tls_security_level = may. "
		                  "To begin with, make them yourself: ",
		                  directory, directory);
		append_key_command(settings, &hint);
		buf_append_format(&hint, " -keyout %s/host.key -out %s/host.pem", directory,
		                  directory);
	}
	report_add(report, PROBLEM_ERROR, service->file, service->line,
	           "service %s needs a certificate for TLS%s", service->name,
	           hint.length > 0 ? buf_text(&hint) : ": smtpd_tls_chain_files");
	buf_free(&hint);
}

/* A service with TLS and no certificate does not start: say so before. */
static void
check_certificate(const struct configuration *configuration, const struct service *service,
                  bool *has_missed, struct report *report)
{
	struct service_view view;

	if (!service_view_init(&view, configuration, service))
		return; /* reported by the types */
	const struct settings *settings = &view.settings;
	bool                   is_pop3 = strcmp(service->program->name, "pop3d") == 0;
	bool                   is_wrapped = is_word(
				  settings, is_pop3 ? "pop3_tls_wrappermode" : "smtpd_tls_wrappermode", "yes");
	bool has_level = has_text(settings, "smtpd_tls_security_level") &&
	                 !is_word(settings, "smtpd_tls_security_level", "none");
	bool has_certificate = has_text(settings, "smtpd_tls_chain_files") ||
	                       has_text(settings, "smtpd_tls_cert_file") ||
	                       has_text(settings, "smtpd_tls_eccert_file");
	if ((is_wrapped || has_level) && !has_certificate) {
		report_no_certificate(configuration, settings, service, !*has_missed, report);
		*has_missed = true;
	} else if (is_pop3 && is_wrapped && !has_level)
		report_add(report, PROBLEM_ERROR, service->file, service->line,
		           "service %s needs TLS: smtpd_tls_security_level = may", service->name);
	service_view_free(&view);
}

static void
check_certificates(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;
	bool                      has_missed = false;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];
		if (service->is_run && service->program->is_inet)
			check_certificate(configuration, service, &has_missed, report);
	}
}

/* The number of static:NUMBER. */
static bool
parse_static(const char *text, int64_t *number)
{
	return text != NULL && strncmp(text, "static:", 7) == 0 &&
	       number_parse(slice_trim(slice_from(text + 7)), 0, INT64_MAX, number);
}

static void
report_base(const struct configuration *configuration, bool is_static, int64_t uid,
            struct report *report)
{
	const struct parameters *parameters = &configuration->parameters;
	struct stat              status;
	const char              *file;
	unsigned                 line;

	check_place(&configuration->settings, "virtual_mailbox_base", &file, &line);
	if (stat(parameters->virtual_mailbox_base, &status) == 0) {
		if (is_static && geteuid() == 0 && (int64_t)status.st_uid != uid)
			report_add(report, PROBLEM_WARNING, file, line,
			           "virtual_mailbox_base %s belongs to uid %u, not to that of "
			           "virtual_uid_maps: chown %lld %s",
			           parameters->virtual_mailbox_base, (unsigned)status.st_uid,
			           (long long)uid, parameters->virtual_mailbox_base);
	} else if (errno == ENOENT && is_static)
		report_add(report, PROBLEM_WARNING, file, line,
		           "virtual_mailbox_base %s does not exist: install -d -o %lld %s",
		           parameters->virtual_mailbox_base, (long long)uid,
		           parameters->virtual_mailbox_base);
	else if (errno == ENOENT)
		report_add(report, PROBLEM_WARNING, file, line,
		           "virtual_mailbox_base %s does not exist: make it, owned by the user of "
		           "virtual_uid_maps (%.100s)",
		           parameters->virtual_mailbox_base, parameters->virtual_uid_maps);
}

/* C18: where mailboxes are to be made, and whose they are. */
static void
check_mailboxes(const struct configuration *configuration, struct report *report)
{
	static const char *const names[] = { "virtual_uid_maps", "virtual_gid_maps" };
	const struct parameters *parameters = &configuration->parameters;
	const char *const maps[] = { parameters->virtual_uid_maps, parameters->virtual_gid_maps };
	const char       *file;
	unsigned          line;
	int64_t           uid = 0, number;

	if (parameters->virtual_mailbox_maps == NULL || parameters->virtual_mailbox_maps[0] == '\0')
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		check_place(&configuration->settings, names[i], &file, &line);
		if (parse_static(maps[i], &number) && number < parameters->virtual_minimum_uid)
			report_add(report, PROBLEM_ERROR, file, line,
			           "%s gives %lld, which is below virtual_minimum_uid (%lld): no "
			           "mailbox could be written to",
			           names[i], (long long)number,
			           (long long)parameters->virtual_minimum_uid);
	}
	if (parameters->virtual_mailbox_base != NULL && parameters->virtual_uid_maps != NULL &&
	    parameters->virtual_uid_maps[0] != '\0') {
		bool is_static = parse_static(parameters->virtual_uid_maps, &uid);

		report_base(configuration, is_static, uid, report);
	}
}

void
check_services(const struct configuration *configuration, struct report *report)
{
	check_needs(configuration, report);
	check_key_files(configuration, report);
	check_certificates(configuration, report);
	check_mailboxes(configuration, report);
}
