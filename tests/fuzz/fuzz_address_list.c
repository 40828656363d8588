/* fuzz_address_list.c - what sendmail -t takes for addresses: any header, any list. */
/* links: tools/sendmail/recipients.c */
#include <assert.h>

#include "lib/mail/address.h"
#include "tools/sendmail/sendmail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct address_list *list)
{
	for (size_t i = 0; i < list->items.count; i++) {
		struct address address;

		assert(list->items.items[i].length > 0);
		assert(address_split(list->items.items[i], &address));
		assert(!slice_has_control(list->items.items[i]));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice        text = slice_of((const char *)data, size), bad = SLICE_EMPTY;
	struct arena        arena = ARENA(0);
	struct address_list list = { 0 };

	(void)address_list_read(text, &arena, &list, &bad);
	check(&list);
	/* What is complained about stands in the text. */
	assert(bad.length == 0 ||
	       (bad.data >= text.data && bad.data + bad.length <= text.data + size));
	ARRAY_FREE(&list.items);
	(void)address_list_read_header(text, &arena, &list, &bad);
	check(&list);
	ARRAY_FREE(&list.items);
	arena_reset(&arena);
	return 0;
}
