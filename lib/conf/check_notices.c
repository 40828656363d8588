/* check_notices.c - what notices are made of: bounce_template_file, notify_classes; see check.h. */
#include "lib/conf/check.h"

#include <string.h>

#include "lib/conf/lines.h"
#include "lib/conf/notice_template.h"

struct place {
	const struct settings *settings;
	struct report         *report;
	const char            *path;
};

static bool
find(void *context, struct slice name, struct slice *text)
{
	return settings_text(((const struct place *)context)->settings, name, text);
}

/* It would be empty in the notice. */
static void
undefined(void *context, struct slice name)
{
	const struct place *place = context;

	report_add(place->report, PROBLEM_WARNING, place->path, 0,
	           "$%.*s is no parameter: notices have nothing in its place", SLICE_ARGS(name));
}

static void
check_texts(struct place *place, const struct notice_templates *templates)
{
	struct expand_source source = { .find = find, .undefined = undefined, .context = place };

	for (int i = 0; i < NOTICE_TEMPLATE_COUNT; i++) {
		struct buf   text = BUF(NOTICE_TEXT_MOST);
		struct error error = ERROR_NONE;

		if (!notice_template_expand(&templates->items[i], &source, &text, &error))
			report_add(place->report, PROBLEM_ERROR, place->path, 0, "%s: %s",
			           notice_template_name((enum notice_template_kind)i), error.text);
		buf_free(&text);
	}
}

static void
check_template_file(const struct settings *settings, struct report *report)
{
	struct notice_templates templates;
	struct buf              path = BUF(4096), file = BUF(LINES_FILE_MOST);
	struct error            error = ERROR_NONE;
	struct place            place = { .settings = settings, .report = report };
	const char             *where;
	unsigned                line;

	check_place(settings, "bounce_template_file", &where, &line);
	if (check_expanded(settings, "bounce_template_file", &path) && path.length > 0) {
		place.path = buf_text(&path);
		notice_templates_default(&templates);
		if (path.data[0] != '/')
			report_add(report, PROBLEM_ERROR, where, line,
			           "bounce_template_file must be an absolute path, not %s",
			           place.path);
		else if (lines_read_file(place.path, &file, report)) {
			if (notice_templates_parse(buf_slice(&file), &templates, &error))
				check_texts(&place, &templates);
			else
				report_add(report, PROBLEM_ERROR, place.path, 0, "%s", error.text);
		}
	}
	buf_free(&path);
	buf_free(&file);
}

static void
check_classes(const struct settings *settings, struct report *report)
{
	static const char known[] = "bounce 2bounce data delay policy protocol resource software";
	struct buf        text = BUF(SETTINGS_TEXT_MOST);
	struct slice      rest = SLICE_EMPTY, word;
	const char       *where;
	unsigned          line;

	check_place(settings, "notify_classes", &where, &line);
	if (check_expanded(settings, "notify_classes", &text))
		rest = buf_slice(&text);
	while (slice_next_word(&rest, " \t\r\n,", &word)) {
		char one[40] = "";

		if (word.length < sizeof(one))
			memcpy(one, word.data, word.length);
		if (!notice_class_is_set(known, one))
			report_add(report, PROBLEM_ERROR, where, line,
			           "notify_classes: \"%.*s\" is no class; there are %s",
			           SLICE_ARGS(slice_first(word, 100)), known);
	}
	buf_free(&text);
}

void
check_notices(const struct configuration *configuration, struct report *report)
{
	check_template_file(&configuration->settings, report);
	check_classes(&configuration->settings, report);
}
