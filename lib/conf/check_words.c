/* check_words.c - lists of words that stand for something: a misspelt one does nothing. */
#include "lib/conf/check.h"
#include "lib/conf/suggest.h"

#define CLASSES "envelope_sender envelope_recipient header_sender header_recipient"

static const struct {
	const char *name;
	const char *words;
} rows[] = {
	{ "canonical_classes", CLASSES },
	{ "sender_canonical_classes", CLASSES },
	{ "recipient_canonical_classes", CLASSES },
	{ "masquerade_classes", CLASSES },
	{ "propagate_unmatched_extensions", "canonical virtual generic alias forward include" },
	{ "receive_override_options",
	  "no_unknown_recipient_checks no_address_mappings no_header_body_checks no_milters" },
};

/* The nearest of the words in the buf, NUL-terminated; false when none is near. */
static bool
find_nearest(struct slice words, struct slice word, struct buf *nearest)
{
	struct slice one;
	size_t       least = 4; /* a slip, not another word */

	buf_clear(nearest);
	while (slice_next_word(&words, " ", &one)) {
		size_t distance = suggest_distance(word, one);

		if (distance >= least)
			continue;
		least = distance;
		buf_clear(nearest);
		buf_append(nearest, one);
	}
	return nearest->length > 0;
}

static void
check_list(const struct settings *settings, const struct values *values, size_t row,
           struct report *report)
{
	const struct conf_value *value = values_get(values, slice_from(rows[row].name));
	struct buf               text = BUF(SETTINGS_TEXT_MOST), nearest = BUF(100);
	struct slice             rest, word, words = slice_from(rows[row].words);

	if (value != NULL && check_expanded(settings, rows[row].name, &text)) {
		rest = buf_slice(&text);
		while (slice_next_word(&rest, " \t\r\n,", &word)) {
			if (slice_list_has(words, word))
				continue;
			if (find_nearest(words, word, &nearest))
				report_add(report, PROBLEM_ERROR, value->file, value->line,
				           "%s: unknown word \"%.*s\"; did you mean %s?",
				           rows[row].name, SLICE_ARGS(slice_first(word, 60)),
				           buf_text(&nearest));
			else
				report_add(report, PROBLEM_ERROR, value->file, value->line,
				           "%s: unknown word \"%.*s\"; there are: %s",
				           rows[row].name, SLICE_ARGS(slice_first(word, 60)),
				           rows[row].words);
		}
	}
	buf_free(&text);
	buf_free(&nearest);
}

void
check_words(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;

	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++)
		check_list(&configuration->settings, &configuration->values, row, report);
	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];
		struct service_view   view;

		if (!service->is_run || service->overrides.list.count == 0 ||
		    !service_view_init(&view, configuration, service))
			continue;
		for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++)
			check_list(&view.settings, &service->overrides, row, report);
		service_view_free(&view);
	}
}
