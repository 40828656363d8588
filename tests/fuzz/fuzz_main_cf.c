/* fuzz_main_cf.c - main.cf, a byte 1, master.cf: any bytes are read and checked without harm. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/conf/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct configuration *configuration = calloc(1, sizeof(*configuration));
	struct report         report = REPORT_NONE;
	struct slice          text = slice_of((const char *)data, size);
	size_t                border = slice_find_byte(text, 1);

	if (configuration == NULL)
		return 0;
	configuration->arena = ARENA(VALUES_BYTES_MOST);
	configuration->values = configuration->computed = VALUES_NONE;
	configuration->directory = ".";
	main_file_parse(&configuration->main, "main.cf", slice_first(text, border), &report);
	master_file_parse(&configuration->master, "master.cf",
	                  border == SLICE_NOT_FOUND ? SLICE_EMPTY
	                                            : slice_from_offset(text, border + 1),
	                  &report);
	/* Entries lie in the file, in order, and do not overlap. */
	size_t end = 0;
	for (size_t i = 0; i < configuration->main.entries.count; i++) {
		const struct main_entry *entry = &configuration->main.entries.items[i];
		assert(entry->first_byte >= end && entry->end_byte > entry->first_byte);
		end = entry->end_byte;
		assert(end <= configuration->main.text.length);
	}
	if (main_file_values(&configuration->main, &configuration->values, &report) &&
	    settings_init(&configuration->settings, &configuration->values,
	                  &configuration->computed))
		configuration_check(configuration, &report);
	configuration_free(configuration);
	free(configuration);
	report_free(&report);
	return 0;
}
