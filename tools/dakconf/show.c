/* show.c - prints parameters and services as postconf does. */
#include "tools/dakconf/dakconf.h"

#include <stdlib.h>
#include <string.h>

static int
compare_rows(const void *left, const void *right)
{
	const struct parameter_row *const *a = left, *const *b = right;

	return strcmp((*a)->name, (*b)->name);
}

static int
compare_values(const void *left, const void *right)
{
	const struct conf_value *const *a = left, *const *b = right;

	return strcmp((*a)->name, (*b)->name);
}

const struct parameter_row **
sorted_rows(void)
{
	const struct parameter_row **rows = calloc(parameter_row_count, sizeof(*rows));

	if (rows == NULL) {
		fprintf(stderr, "dakconf: out of memory\n");
		exit(EXIT_FAILURE);
	}
	for (size_t i = 0; i < parameter_row_count; i++)
		rows[i] = &parameter_rows[i];
	qsort(rows, parameter_row_count, sizeof(*rows), compare_rows);
	return rows;
}

static void
print_value(const struct show *show, const char *name, struct slice text)
{
	if (show->without_name)
		printf("%.*s\n", SLICE_ARGS(text));
	else
		printf("%s =%s%.*s\n", name, text.length > 0 ? " " : "", SLICE_ARGS(text));
}

static void
print_expanded(const struct show *show, const char *name, struct slice text)
{
	const struct settings      *settings = &show->configuration->settings;
	const struct parameter_row *row = settings_row(settings, slice_from(name));
	struct buf                  out = BUF(SETTINGS_TEXT_MOST);
	struct error                error = ERROR_NONE;

	if (row != NULL && row->type == PARAMETER_RAW)
		print_value(show, name, text);
	else if (settings_expand(settings, NULL, slice_from(name), text, &out, &error))
		print_value(show, name, slice_trim(buf_slice(&out)));
	else
		fprintf(stderr, "dakconf: %s: %s\n", name, error.text);
	buf_free(&out);
}

bool
show_name(const struct show *show, const char *name)
{
	const struct settings *settings = &show->configuration->settings;
	struct slice           text;
	bool                   is_known;

	if (show->only_set && values_get(settings->values, slice_from(name)) == NULL)
		return settings_row(settings, slice_from(name)) != NULL;
	is_known = show->defaults ? settings_default(settings, slice_from(name), &text)
	                          : settings_text(settings, slice_from(name), &text);
	if (!is_known)
		return false;
	if (show->expanded)
		print_expanded(show, name, text);
	else
		print_value(show, name, text);
	return true;
}

static void
show_set(const struct show *show)
{
	const struct values      *values = show->configuration->settings.values;
	const struct conf_value **list = calloc(values->list.count + 1, sizeof(*list));

	if (list == NULL)
		return;
	for (size_t i = 0; i < values->list.count; i++)
		list[i] = values->list.items[i];
	qsort(list, values->list.count, sizeof(*list), compare_values);
	for (size_t i = 0; i < values->list.count; i++)
		show_name(show, list[i]->name);
	free(list);
}

void
show_all(const struct show *show)
{
	const struct parameter_row **rows;

	if (show->only_set) {
		show_set(show);
		return;
	}
	rows = sorted_rows();
	for (size_t i = 0; i < parameter_row_count; i++)
		show_name(show, rows[i]->name);
	free(rows);
}

static void
print_service(const struct service *service)
{
	printf("%-10s %-5s %-7s %-7s %-7s %-7s %-7s %s", service->columns[0], service->columns[1],
	       service->columns[2], service->columns[3], service->columns[4], service->columns[5],
	       service->columns[6], service->columns[7]);
	/* What is not known to us is shown as it was written. */
	if (service->overrides.list.count == 0 && service->arguments[0] != '\0')
		printf(" %s", service->arguments);
	else if (service->is_verbose)
		printf(" -v");
	printf("\n");
	for (size_t i = 0; i < service->overrides.list.count; i++) {
		const struct conf_value *value = service->overrides.list.items[i];

		if (strpbrk(value->text, " \t") != NULL)
			printf("    -o { %s = %s }\n", value->name, value->text);
		else
			printf("    -o %s=%s\n", value->name, value->text);
	}
}

bool
show_services(const struct master_file *file, const char *service)
{
	bool is_found = service == NULL;

	for (size_t i = 0; i < file->services.count; i++) {
		if (service != NULL && strcmp(service, file->services.items[i].name) != 0)
			continue;
		print_service(&file->services.items[i]);
		is_found = true;
	}
	return is_found;
}
