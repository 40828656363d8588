/*
 * cf files and their templates: the first line is a key, the second a result, the rest the file.
 * A template that passes the check expands or is not sent; nothing else.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/table/hosts.h"
#include "lib/table/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_rules(const struct cf *cf, const struct query_parts *key, struct slice value)
{
	struct query_rules rules;
	struct error       error = ERROR_NONE;
	struct buf         out = BUF(100000);

	/* Only lists without tables: opening those is for fuzz_table. */
	if (slice_contains_byte(slice_from(cf_get(cf, "domain", "")), ':') ||
	    slice_contains_byte(slice_from(cf_get(cf, "domain", "")), '/'))
		return;
	if (query_rules_read(cf, &rules, &error)) {
		struct query_result result = { .rules = &rules, .key = key, .value = &out };

		query_rules_allow(&rules, key, &error);
		query_result_add(&result, value);
		query_result_add(&result, value);
	} else {
		assert(error.text[0] != '\0');
	}
	query_rules_free(&rules);
	buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice       rest = slice_of((const char *)data, size), key, value;
	struct query_parts parts;
	struct error       error = ERROR_NONE;

	if (size > 20000 || !slice_next_part(&rest, '\n', &key) ||
	    !slice_next_part(&rest, '\n', &value) || rest.data == NULL)
		return 0;
	struct cf *cf = cf_parse("fuzz", rest, &error);
	if (cf == NULL) {
		assert(error.text[0] != '\0');
		return 0;
	}
	query_parts_of(key, &parts);
	for (size_t i = 0; i < cf_count(cf); i++) {
		const char *text = cf_value_at(cf, i);
		struct buf  out = BUF(1 << 20);

		host_list_needs(text);
		if (query_check("x", text, &error) && query_suits(text, &parts))
			assert(query_expand(text, &parts, NULL, NULL, &out) || out.has_failed);
		buf_free(&out);
	}
	try_rules(cf, &parts, value);
	cf_free(cf);
	return 0;
}
