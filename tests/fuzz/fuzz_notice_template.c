/* fuzz_notice_template.c - a template file: what is taken holds to its rules, also filled in. */
#include <assert.h>
#include <stdint.h>

#include "lib/conf/notice_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
find(void *context, struct slice name, struct slice *text)
{
	(void)context;
	*text = SLICE("5d $$ and more");
	return !slice_equal(name, SLICE("nonesuch"));
}

static void
check_header(struct slice value)
{
	assert(value.length > 0 && slice_is_ascii(value) && !slice_has_control(value));
}

static void
check_template(const struct notice_template *template)
{
	struct expand_source source = { .find = find };
	struct slice         rest = template->text, line;
	struct buf           out = BUF(NOTICE_TEXT_MOST);

	check_header(template->charset);
	check_header(template->from);
	check_header(template->subject);
	assert(!slice_contains_byte(rest, '\0'));
	assert(rest.length == 0 || slice_ends_with(rest, SLICE("\n")));
	if (slice_equal_fold(template->charset, SLICE("us-ascii")))
		assert(slice_is_ascii(rest));
	while (slice_next_part(&rest, '\n', &line))
		assert(line.length <= NOTICE_LINE_MOST + 1);
	notice_template_expand(template, &source, &out, NULL);
	buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct notice_templates templates;
	struct error            error = ERROR_NONE;
	struct slice            file = slice_of((const char *)data, size);

	notice_templates_default(&templates);
	if (!notice_templates_parse(file, &templates, &error))
		assert(error.text[0] != '\0');
	for (int i = 0; i < NOTICE_TEMPLATE_COUNT; i++)
		check_template(&templates.items[i]);
	return 0;
}
