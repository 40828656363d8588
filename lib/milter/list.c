/* list.c - the filters of a service: smtpd_milters and its kin. See milter.h. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/number.h"
#include "lib/milter/inside.h"

#define MILTERS_MOST 100

static const char *const setting_names[MILTER_STAGES] = {
	[MILTER_CONNECT] = "connect_macros",
	[MILTER_HELO] = "helo_macros",
	[MILTER_MAIL] = "mail_macros",
	[MILTER_RCPT] = "rcpt_macros",
	[MILTER_DATA] = "data_macros",
	[MILTER_END_OF_CONTENT] = "end_of_data_macros",
	[MILTER_END_OF_HEADER] = "end_of_header_macros",
	[MILTER_UNKNOWN] = "unknown_command_macros",
};

static bool
set_text(char **kept, const char **setting, struct slice value, struct error *error)
{
	free(*kept);
	*kept = strndup(value.data, value.length);
	*setting = *kept;
	return *kept != NULL || error_set(error, "out of memory");
}

static bool
is_action(struct slice text)
{
	int64_t code;

	if (slice_equal(text, SLICE("accept")) || slice_equal(text, SLICE("reject")) ||
	    slice_equal(text, SLICE("tempfail")) || slice_equal(text, SLICE("quarantine")) ||
	    slice_equal(text, SLICE("shutdown")))
		return true;
	return text.length >= 3 && number_parse(slice_first(text, 3), 400, 599, &code) &&
	       (text.length == 3 || text.data[3] == ' ');
}

static bool
apply(struct milter *milter, struct slice name, struct slice value, struct error *error)
{
	struct milter_settings *settings = &milter->settings;
	const struct {
		const char *name;
		int64_t    *value;
	} times[] = {
		{ "connect_timeout", &settings->connect_timeout_ms },
		{ "command_timeout", &settings->command_timeout_ms },
		{ "content_timeout", &settings->content_timeout_ms },
	};
	int64_t seconds;

	if (slice_equal(name, SLICE("default_action")))
		return set_text(&milter->default_action, &settings->default_action, value, error);
	if (slice_equal(name, SLICE("macro_defaults")))
		return set_text(&milter->macro_defaults, &settings->macro_defaults, value, error);
	if (slice_equal(name, SLICE("protocol")))
		return number_parse(value, 2, 6, &settings->protocol) ||
		       error_set(error, "%s: protocol is 2, 3, 4 or 6", milter->endpoint.name);
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		if (!slice_equal(name, slice_from(times[i].name)))
			continue;
		if (!number_parse_seconds(value, 's', &seconds))
			return error_set(error, "%s: %s is no time", milter->endpoint.name,
			                 times[i].name);
		*times[i].value = seconds * 1000;
		return true;
	}
	for (size_t i = 0; i < MILTER_STAGES; i++)
		if (slice_equal(name, slice_from(setting_names[i])))
			return set_text(&milter->names[i], &settings->macros[i], value, error);
	return error_set(error, "%s: there is no setting %.*s", milter->endpoint.name,
	                 SLICE_ARGS(slice_first(name, 40)));
}

/* "inet:h:p", or with ", name = value" behind it. */
static bool
parse(struct milter *milter, struct slice text, struct error *error)
{
	struct slice item;

	if (!slice_next_item(&text, ", \t\r\n", &item) ||
	    !endpoint_parse(&milter->endpoint, item, error))
		return error->text[0] != '\0' ? false : error_set(error, "which milter?");
	while (slice_next_item(&text, ",", &item)) {
		size_t equals = slice_find_byte(item, '=');

		if (equals == SLICE_NOT_FOUND)
			return error_set(error, "%s: %.*s: not name = value", milter->endpoint.name,
			                 SLICE_ARGS(slice_first(item, 40)));
		if (!apply(milter, slice_trim(slice_first(item, equals)),
		           slice_trim(slice_from_offset(item, equals + 1)), error))
			return false;
	}
	if (!is_action(slice_from(milter->settings.default_action)))
		return error_set(error,
		                 "%s: default_action is accept, reject, tempfail, quarantine, "
		                 "shutdown or a reply, not \"%.40s\"",
		                 milter->endpoint.name, milter->settings.default_action);
	return true;
}

struct milter_list *
milter_list_create(struct slice text, const struct milter_settings *settings, struct error *error)
{
	struct milter_list *list = calloc(1, sizeof(*list));
	struct slice        item;

	if (list == NULL)
		error_set(error, "out of memory");
	while (list != NULL && slice_next_item(&text, ", \t\r\n", &item)) {
		struct milter *more =
			reallocarray(list->milters, list->count + 1, sizeof(*list->milters));

		if (more == NULL || list->count == MILTERS_MOST) {
			error_set(error, more == NULL ? "out of memory" : "too many milters");
			if (more != NULL)
				list->milters = more;
			milter_list_destroy(&list);
			break;
		}
		list->milters = more;
		struct milter *milter = &list->milters[list->count++];
		*milter = (struct milter){ .settings = *settings };
		if (!parse(milter, item, error))
			milter_list_destroy(&list);
	}
	return list;
}

void
milter_list_destroy(struct milter_list **list)
{
	struct milter_list *gone = *list;

	if (gone == NULL)
		return;
	*list = NULL;
	for (size_t i = 0; i < gone->count; i++) {
		struct milter *milter = &gone->milters[i];

		free(milter->default_action);
		free(milter->macro_defaults);
		for (size_t stage = 0; stage < MILTER_STAGES; stage++)
			free(milter->names[stage]);
	}
	free(gone->milters);
	free(gone);
}

bool
milter_list_is_empty(const struct milter_list *list)
{
	return list == NULL || list->count == 0;
}

bool
milter_list_needs_network(const struct milter_list *list)
{
	for (size_t i = 0; list != NULL && i < list->count; i++)
		if (!list->milters[i].endpoint.is_unix)
			return true;
	return false;
}
