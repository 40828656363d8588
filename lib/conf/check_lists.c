/*
 * check_lists.c - restriction lists that lose good mail or open a back door: C10, C11, C17; see
 * check.h.
 */
#include "lib/conf/check.h"

#include <string.h>

#include "lib/conf/restrictions.h"

static const char *const list_names[] = {
	"smtpd_client_restrictions", "smtpd_helo_restrictions",      "smtpd_sender_restrictions",
	"smtpd_relay_restrictions",  "smtpd_recipient_restrictions", "smtpd_data_restrictions",
};
#define LIST_COUNT (sizeof(list_names) / sizeof(list_names[0]))

/* ---- C10: restrictions that refuse good mail ---- */

static const struct {
	const char *name;
	const char *what;
} costly[] = {
	{ "reject_unknown_client_hostname",
	  "refuses the many good servers whose names do not lead back to their address; "
	  "reject_unknown_reverse_client_hostname refuses only those without any name" },
	{ "reject_unknown_helo_hostname",
	  "refuses good servers that are wrongly set up; reject_non_fqdn_helo_hostname refuses "
	  "fewer" },
	{ "reject_unverified_recipient",
	  "asks the servers of others about each recipient; only use it for domains whose servers "
	  "are yours" },
	{ "reject_unverified_sender", "asks the servers of others about each sender, and gets this "
	                              "host onto blocklists" },
};

static bool
takes_dns_list(const struct restriction_name *row)
{
	return row != NULL && row->argument == RESTRICTION_TAKES_ZONE;
}

/* A list that answers "you ask too much" has an answer for everybody. */
static void
check_zone(const char *list, const struct restriction_name *row, struct slice zone,
           const char *file, unsigned line, struct report *report)
{
	if (!slice_starts_with(slice_from(row->name), SLICE("reject_")) ||
	    slice_contains_byte(zone, '='))
		return;
	report_add(
		report, PROBLEM_WARNING, file, line,
		"%s: %s %.*s counts every answer, also one that says that this host asks too much "
		"(127.255.255.254), and then refuses all mail: %.*s=127.0.[0..1].[2..254]",
		list, row->name, SLICE_ARGS(slice_first(zone, 200)),
		SLICE_ARGS(slice_first(zone, 200)));
}

static void
check_costly(const struct settings *settings, const char *list, const char *file, unsigned line,
             struct report *report)
{
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word, argument;
	bool         is_warning = false, is_ours = false;

	if (!check_expanded(settings, list, &text))
		buf_clear(&text);
	rest = buf_slice(&text);
	while (restriction_next_word(&rest, &word)) {
		const struct restriction_name *row = restriction_find(word);
		bool                           was_warning = is_warning;

		is_warning = slice_equal_fold(word, SLICE("warn_if_reject"));
		if (takes_dns_list(row) && restriction_next_word(&rest, &argument) && !was_warning)
			check_zone(list, row, argument, file, line, report);
		if (row == NULL || was_warning)
			continue;
		const char *name = row->instead != NULL ? row->instead : row->name;
		is_ours |= slice_equal(slice_from(name), SLICE("reject_unauth_destination")) ||
		           slice_equal(slice_from(name), SLICE("defer_unauth_destination"));
		if (is_ours && slice_equal(slice_from(name), SLICE("reject_unverified_recipient")))
			continue; /* only domains of ours come so far */
		for (size_t i = 0; i < sizeof(costly) / sizeof(costly[0]); i++) {
			if (strcmp(name, costly[i].name) == 0)
				report_add(report, PROBLEM_WARNING, file, line, "%s: %s %s", list,
				           name, costly[i].what);
		}
	}
	buf_free(&text);
}

static bool
has_dns_list(const struct settings *settings)
{
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word;
	bool         has = false;

	for (size_t i = 0; !has && i < LIST_COUNT; i++) {
		if (!check_expanded(settings, list_names[i], &text))
			continue;
		rest = buf_slice(&text);
		while (!has && restriction_next_word(&rest, &word))
			has = takes_dns_list(restriction_find(word));
	}
	buf_free(&text);
	return has;
}

bool
check_uses_dns_lists(const struct configuration *configuration)
{
	const struct master_file *master = &configuration->master;
	bool                      has = has_dns_list(&configuration->settings);

	for (size_t i = 0; !has && i < master->services.count; i++) {
		struct service_view view;

		if (!master->services.items[i].is_run ||
		    master->services.items[i].overrides.list.count == 0 ||
		    !service_view_init(&view, configuration, &master->services.items[i]))
			continue;
		has = has_dns_list(&view.settings);
		service_view_free(&view);
	}
	return has;
}

/* ---- C11: what a client that leaves out HELO is not asked ---- */

static void
check_helo(const struct configuration *configuration, struct report *report)
{
	struct buf  text = BUF(SETTINGS_TEXT_MOST);
	const char *file;
	unsigned    line;

	check_place(&configuration->settings, "smtpd_helo_restrictions", &file, &line);
	if (!configuration->parameters.smtpd_helo_required &&
	    check_expanded(&configuration->settings, "smtpd_helo_restrictions", &text) &&
	    !slice_is_empty(slice_trim(buf_slice(&text))))
		report_add(report, PROBLEM_WARNING, file, line,
		           "smtpd_helo_restrictions have no effect on clients that leave out HELO: "
		           "smtpd_helo_required = yes");
	buf_free(&text);
}

/* ---- C17: the way back from a content filter ---- */

static bool
is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
	       strcmp(host, "localhost") == 0;
}

/* Ports where mail comes from outside: it must be filtered. */
static bool
is_entrance(const struct service *service)
{
	return service->port == 25 || service->port == 587 || service->port == 465;
}

static void
check_filter(const struct configuration *configuration, const struct service *service,
             struct report *report)
{
	const struct conf_value *main_filter =
		values_get(&configuration->values, SLICE("content_filter"));
	const struct conf_value *own = values_get(&service->overrides, SLICE("content_filter"));
	bool is_filtering = main_filter != NULL && !slice_is_empty(slice_from(main_filter->text));
	bool is_way_back = own != NULL && slice_is_empty(slice_from(own->text));

	if (is_way_back && !is_entrance(service) && !is_loopback(service->host))
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "service %s takes mail back from a filter and listens %s%s: mail that "
		           "comes there is not filtered; use 127.0.0.1:%u",
		           service->name, service->host[0] == '\0' ? "on every address" : "on ",
		           service->host, service->port);
	if (is_filtering && own == NULL && !is_entrance(service) && is_loopback(service->host))
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "service %s would send what comes back from the filter to it again: -o "
		           "content_filter=",
		           service->name);
}

void
check_lists(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;
	const char               *file;
	unsigned                  line;

	/* Those of main.cf: services for users have their own, and know who sends. */
	for (size_t i = 0; i < LIST_COUNT; i++) {
		check_place(&configuration->settings, list_names[i], &file, &line);
		if (line > 0)
			check_costly(&configuration->settings, list_names[i], file, line, report);
	}
	check_helo(configuration, report);
	for (size_t i = 0; i < master->services.count; i++) {
		if (master->services.items[i].is_run &&
		    strcmp(master->services.items[i].program->name, "smtpd") == 0)
			check_filter(configuration, &master->services.items[i], report);
	}
}
