/* report.c - see report.h. */
#include "lib/conf/report.h"

#include <stdarg.h>
#include <stdio.h>

void
report_add(struct report *report, enum problem_severity severity, const char *file, unsigned line,
           const char *format, ...)
{
	char    text[1500];
	va_list arguments;

	if (severity == PROBLEM_ERROR)
		report->error_count++;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);

	struct problem problem = { severity, arena_text(&report->arena, slice_from(file)), line,
		                   arena_text(&report->arena, slice_from(text)) };
	if (report->list.count >= REPORT_MOST || problem.file == NULL || problem.text == NULL ||
	    !ARRAY_PUSH(&report->list, problem))
		report->left_out++;
}

void
report_free(struct report *report)
{
	ARRAY_FREE(&report->list);
	arena_reset(&report->arena);
	*report = REPORT_NONE;
}

const char *
problem_word(enum problem_severity severity)
{
	switch (severity) {
	case PROBLEM_ERROR: return "error";
	case PROBLEM_WARNING: return "warning";
	case PROBLEM_INFO: return "info";
	}
	return "error";
}

bool
report_append(const struct report *report, bool with_info, struct buf *out)
{
	for (size_t i = 0; i < report->list.count; i++) {
		const struct problem *problem = &report->list.items[i];

		if (problem->severity == PROBLEM_INFO && !with_info)
			continue;
		if (problem->file[0] != '\0')
			buf_append_printable(out, slice_from(problem->file));
		if (problem->line > 0)
			buf_append_format(out, ":%u", problem->line);
		if (problem->file[0] != '\0')
			buf_append_text(out, ": ");
		buf_append_format(out, "%s: ", problem_word(problem->severity));
		buf_append_printable(out, slice_from(problem->text));
		buf_append_byte(out, '\n');
	}
	if (report->left_out > 0)
		buf_append_format(out, "error: %zu more problems are not shown\n",
		                  report->left_out);
	return !out->has_failed;
}
