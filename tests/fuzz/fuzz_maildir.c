/* fuzz_maildir.c - what lies in a Maildir: names, maildirsize, dovecot-uidlist, content. */
#include <stdlib.h>

#include "lib/mailbox/content.h"
#include "lib/mailbox/name.h"
#include "lib/mailbox/quota.h"
#include "lib/mailbox/uidlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
convert(struct slice input, size_t step, struct buf *out, struct content_count *count)
{
	while (input.length > 0) {
		if (!content_convert(count, slice_first(input, step), out))
			abort();
		input = slice_from_offset(input, step);
	}
	if (!content_finish(count, out))
		abort();
}

/* In pieces or at once: the same bytes, the same counts, and no CRLF left. */
static void
check_content(struct slice input)
{
	struct buf           whole = BUF(1u << 20), pieces = BUF(1u << 20);
	struct content_count one = { 0 }, two = { 0 }, three = { 0 };

	convert(input, input.length + 1, &whole, &one);
	convert(input, 3, &pieces, &two);
	content_measure(&three, buf_slice(&whole));
	if (!slice_equal(buf_slice(&whole), buf_slice(&pieces)) || one.size != whole.length ||
	    one.virtual_size != two.virtual_size || one.virtual_size != three.virtual_size ||
	    one.virtual_size < one.size)
		abort();
	buf_free(&whole);
	buf_free(&pieces);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice        input = slice_of((const char *)data, size);
	struct maildir_name name;
	struct quota_use    use;
	struct uidlist      list;
	int64_t             limit;

	if (maildir_name_parse(input, &name) && name.unique.length == 0)
		abort();
	if (mailbox_path_is_valid(input) &&
	    (size == 0 || input.data[0] == '/' || slice_equal(input, SLICE(".."))))
		abort();
	if (quota_parse(input, &limit, &use) && (use.bytes < 0 || use.messages < 0))
		abort();
	(void)uidlist_parse(input, &list);
	uidlist_free(&list);
	if (size < 60000)
		check_content(input);
	return 0;
}
