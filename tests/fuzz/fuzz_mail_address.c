/* fuzz_mail_address.c - paths of MAIL and RCPT: what is read can be written and read again. */
#include <assert.h>
#include <stdint.h>

#include "lib/mail/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_again(const struct address *address)
{
	struct buf     path = BUF(1u << 16);
	struct arena   arena = ARENA(0);
	struct address again;
	struct slice   rest;

	assert(!slice_has_control(address->local) && !slice_has_control(address->domain));
	buf_append_byte(&path, '<');
	address_append(&path, address);
	buf_append_byte(&path, '>');
	assert(address_parse_path(buf_slice(&path), true, false, &arena, &again, &rest));
	assert(slice_equal(address->local, again.local));
	assert(slice_equal(address->domain, again.domain) && rest.length == 0);
	arena_reset(&arena);
	buf_free(&path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice   text = slice_of((const char *)data, size), rest, user, extension;
	struct address address;

	for (int mode = 0; mode < 4; mode++) {
		struct arena arena = ARENA(0);

		if (address_parse_path(text, (mode & 1) != 0, (mode & 2) != 0, &arena, &address,
		                       &rest)) {
			assert(rest.length <= size);
			assert((mode & 1) != 0 || slice_is_ascii(address.local));
			if (address.local.length > 0 || address.domain.length > 0)
				check_again(&address);
		}
		arena_reset(&arena);
	}
	if (address_split(text, &address))
		assert(!slice_has_control(address.local));
	if (address_split_extension(text, "+-", &user, &extension))
		assert(user.length > 0 && user.length + 1 + extension.length == size);
	(void)hostname_is_valid(text, true);
	(void)hostname_is_fqdn(text);
	(void)address_literal_is_valid(text);
	return 0;
}
