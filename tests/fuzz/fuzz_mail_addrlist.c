/* fuzz_mail_addrlist.c - any bytes as a header: replacing addresses by themselves keeps them all.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/base/array.h"
#include "lib/mail/addrlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MOST (ADDRESS_LOCAL_MOST + ADDRESS_DOMAIN_MOST + 3)

/* The addresses of a block, each with a final '\n'. */
static void
collect(struct slice block, struct buf *found)
{
	struct header_field   field;
	struct address_list   list;
	struct listed_address address;

	while (header_next(&block, &field)) {
		if (header_role_of(field.name) == HEADER_NO_ADDRESSES)
			continue;
		address_list_begin(&list, field.value, SIZE_MAX);
		while (address_list_next(&list, &address)) {
			assert(address.local.length > 0 && address.length > 0);
			assert(address.local.length + address.domain.length < TEXT_MOST);
			assert(address.element <= address.start);
			assert(address.start + address.length <= field.value.length);
			assert(!slice_has_control(address.local));
			buf_append(found, address.local);
			buf_append_byte(found, '@');
			buf_append(found, address.domain);
			buf_append_byte(found, '\n');
		}
	}
}

static enum address_fate
keep(void *context, enum header_role role, const struct listed_address *address,
     struct address *replacement)
{
	(void)context;
	(void)role;
	(void)address;
	(void)replacement;
	return ADDRESS_KEPT;
}

/* Every other one with context, so that kept ones stand beside replaced ones. */
static enum address_fate
replace(void *context, enum header_role role, const struct listed_address *address,
        struct address *replacement)
{
	unsigned *count = context;

	(void)role;
	if (count != NULL && ++*count % 2 == 0)
		return ADDRESS_KEPT;
	replacement->local = address->local;
	replacement->domain = address->domain;
	return ADDRESS_REPLACED;
}

static void
check(struct slice block, unsigned *count)
{
	struct buf out = BUF(1u << 24), before = BUF(1u << 24), after = BUF(1u << 24);
	bool       is_changed;

	assert(header_replace_addresses(block, SIZE_MAX, replace, count, &out, &is_changed));
	if (is_changed) {
		collect(block, &before);
		collect(buf_slice(&out), &after);
		assert(slice_equal(buf_slice(&before), buf_slice(&after)));
	}
	buf_free(&out);
	buf_free(&before);
	buf_free(&after);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice block = slice_of((const char *)data, size);
	struct buf   out = BUF(1u << 20);
	unsigned     count = 0;
	bool         is_changed;

	assert(header_replace_addresses(block, SIZE_MAX, keep, NULL, &out, &is_changed));
	assert(!is_changed && out.length == 0);
	check(block, NULL);
	check(block, &count);
	buf_free(&out);
	return 0;
}
