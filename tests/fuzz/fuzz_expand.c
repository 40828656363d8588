/* fuzz_expand.c - expansion of any text, with names that refer to each other. */
#include <stdint.h>

#include "lib/conf/expand.h"
#include "lib/conf/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	struct slice whole;
};

/* a, b, c ... are the parts of the input between zero bytes. */
static bool
find(void *context, struct slice name, struct slice *text)
{
	const struct input *input = context;
	struct slice        rest = input->whole;

	if (name.length != 1 || name.data[0] < 'a')
		return false;
	for (char c = 'a'; slice_next_part(&rest, '\0', text); c++) {
		if (c == name.data[0])
			return true;
	}
	return false;
}

static void
visit(void *context, const struct name_reference *reference)
{
	size_t *count = context;

	*count += reference->name.length;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input         input = { slice_of((const char *)data, size) };
	struct expand_source source = { .find = find, .context = &input };
	struct buf           out = BUF(10000);
	struct error         error = ERROR_NONE;
	struct slice         first = SLICE_EMPTY, rest = input.whole;
	size_t               count = 0;

	if (slice_next_part(&rest, '\0', &first)) {
		expand(&source, SLICE("a"), first, &out, &error);
		name_each_reference(first, visit, &count);
	}
	buf_free(&out);
	return 0;
}
