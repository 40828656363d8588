/* check_rules.c - services and values that do not go together; see check.h. */
#include "lib/conf/check.h"

#include <errno.h>
#include <unistd.h>

#include "lib/conf/owner.h"

/* Each daemon that is to run must be there. */
static void
check_executables(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;
	struct buf                directory = BUF(4096), path = BUF(8192);
	struct error              error = ERROR_NONE;

	if (!check_expanded(&configuration->settings, "daemon_directory", &directory))
		return;
	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		if (!service->is_run)
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
			report_add(report, PROBLEM_ERROR, file, line, "%s: %s", names[i],
			           error.text);
		else if (owner.uid == 0)
			report_add(report, PROBLEM_ERROR, file, line,
			           "%s must not be root: the daemons give their rights away by it",
			           names[i]);
	}
	buf_free(&text);
}

void
check_rules(const struct configuration *configuration, struct report *report)
{
	check_executables(configuration, report);
	check_owners(configuration, report);
}
