/* check.c - dakiya check: everything that is wrong, at once; see check.h. */
#include "tools/dakiya/check.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "lib/base/json.h"
#include "lib/conf/check.h"

bool
tool_examine(const struct configuration *configuration, struct report *report)
{
	check_domains(configuration, report);
	check_content(configuration, report);
	check_all_strangers(configuration, report);
	tool_check_health(configuration, report);
	return report->error_count == 0;
}

bool
tool_load_and_examine(const struct tool *tool, struct configuration *configuration,
                      struct report *report)
{
	/* Files are opened when it is known which. */
	return configuration_load(configuration, tool->config_directory, report) &&
	       tool_examine(configuration, report);
}

static size_t
count_of(const struct report *report, enum problem_severity severity)
{
	size_t count = 0;

	for (size_t i = 0; i < report->list.count; i++)
		count += report->list.items[i].severity == severity;
	return severity == PROBLEM_ERROR ? report->error_count : count;
}

/* ---- for a person ---- */

static bool
is_entrance(const struct service *service)
{
	return service->is_run && strcmp(service->program->name, "smtpd") == 0;
}

/* One line a service: may strangers relay, and which rule decides. */
static void
print_strangers(const struct configuration *configuration)
{
	static const char *const words[] = { "may not relay", "may relay in part", "may relay" };

	for (size_t i = 0; i < configuration->master.services.count; i++) {
		const struct service *service = &configuration->master.services.items[i];
		struct buf            how = BUF(SETTINGS_TEXT_MOST);

		if (is_entrance(service)) {
			enum relay_verdict verdict = check_strangers(configuration, service, &how);

			printf("service %s: strangers %s (%s)\n", service->name, words[verdict],
			       buf_text(&how));
		}
		buf_free(&how);
	}
}

/* ---- for programs ---- */

static void
append_problems(const struct report *report, struct buf *out)
{
	for (size_t i = 0; i < report->list.count; i++) {
		const struct problem *problem = &report->list.items[i];

		buf_append_format(out, "%s\n  {\"severity\": \"%s\", \"file\": ", i == 0 ? "" : ",",
		                  problem_word(problem->severity));
		json_append_string(out, slice_from(problem->file));
		buf_append_format(out, ", \"line\": %u, \"text\": ", problem->line);
		json_append_string(out, slice_from(problem->text));
		buf_append_byte(out, '}');
	}
}

static void
append_strangers(const struct configuration *configuration, struct buf *out)
{
	static const char *const words[] = { "none", "some", "all" };
	bool                     is_first = true;

	for (size_t i = 0; i < configuration->master.services.count; i++) {
		const struct service *service = &configuration->master.services.items[i];
		struct buf            how = BUF(SETTINGS_TEXT_MOST);

		if (is_entrance(service)) {
			enum relay_verdict verdict = check_strangers(configuration, service, &how);

			buf_append_format(out, "%s\n  {\"service\": ", is_first ? "" : ",");
			json_append_string(out, slice_from(service->name));
			buf_append_format(out, ", \"relay_for_strangers\": \"%s\", \"how\": ",
			                  words[verdict]);
			json_append_string(out, slice_from(buf_text(&how)));
			buf_append_byte(out, '}');
			is_first = false;
		}
		buf_free(&how);
	}
}

static void
print_json(const struct configuration *configuration, const struct report *report,
           bool has_services, const struct buf *online)
{
	struct buf out = BUF(16u * 1024 * 1024);

	buf_append_format(&out, "{\"errors\": %zu, \"warnings\": %zu, \"problems\": [",
	                  count_of(report, PROBLEM_ERROR), count_of(report, PROBLEM_WARNING));
	append_problems(report, &out);
	buf_append_text(&out, "],\n \"services\": [");
	if (has_services)
		append_strangers(configuration, &out);
	buf_append_text(&out, "]");
	if (online != NULL) {
		buf_append_text(&out, ",\n \"online\": ");
		buf_append(&out, buf_slice(online));
	}
	buf_append_text(&out, "}\n");
	fwrite(out.data, 1, out.length, stdout);
	buf_free(&out);
}

int
tool_check(struct tool *tool)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;
	struct buf            online = BUF(4u * 1024 * 1024);
	bool                  is_ok, is_reachable = true;

	if (configuration == NULL)
		return EX_OSERR;
	is_ok = tool_load_and_examine(tool, configuration, &report);
	/* A configuration with errors names what is not there. */
	if (tool->wants_online && is_ok)
		is_reachable = check_online(tool, configuration, &online);
	if (tool->wants_json) {
		print_json(configuration, &report, is_ok,
		           tool->wants_online && is_ok ? &online : NULL);
	} else {
		tool_print(tool, &report);
		fflush(stderr);
		/* `postfix check' says nothing when nothing is wrong. */
		if (is_ok && !tool->is_postfix)
			print_strangers(configuration);
		printf("%s", buf_text(&online));
		if (!tool->is_postfix)
			printf("%s: %zu errors, %zu warnings\n", tool->config_directory,
			       count_of(&report, PROBLEM_ERROR),
			       count_of(&report, PROBLEM_WARNING));
	}
	buf_free(&online);
	configuration_destroy(&configuration);
	report_free(&report);
	return !is_ok ? EX_CONFIG : is_reachable ? EX_OK : EX_UNAVAILABLE;
}
