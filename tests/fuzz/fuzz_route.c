/* fuzz_route.c - any bytes as an address: every answer is complete, whatever the tables do to it.
 */
#include <assert.h>
#include <stdint.h>

#include "lib/mail/address.h"
#include "lib/route/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char settings[] =
	"myhostname = mail.example.org\n"
	"inet_interfaces = 192.0.2.1\n"
	"recipient_delimiter = +-\n"
	"virtual_alias_domains = alias.example\n"
	"virtual_mailbox_domains = box.example\n"
	"virtual_mailbox_maps = inline:{ a@box.example=a/, @box.example=all/ }\n"
	"virtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\n"
	"virtual_alias_maps = inline:{ { a@alias.example = b, \"c d\"@far.example },"
	"{ @alias.example = @box.example }, b=c, c=a@alias.example } "
	"pcre:{ { /^(.{1,20})\\.x@/ $$1@alias.example } }\n"
	"transport_maps = inline:{ .far.example=smtp:[gate.example], gone.example=error:no, *=: "
	"}\n";

static void
check(struct router *router, struct slice address)
{
	struct arena           arena = ARENA(0);
	struct error           error = ERROR_NONE;
	struct route_addresses addresses = { NULL, 0 };
	struct route           route;
	const char            *reason = NULL;
	struct address         parts;

	if (route_recipient_exists(router, address, &arena, &reason, &error) == LOOKUP_NOT_FOUND)
		assert(reason != NULL);
	if (route_expand(router, address, &arena, &addresses, &error) == LOOKUP_FOUND) {
		assert(addresses.count > 0 && addresses.count <= 1000);
		for (size_t i = 0; i < addresses.count; i++) {
			assert(address_split(addresses.items[i], &parts));
			assert(parts.domain.length > 0 && parts.local.length > 0);
		}
	} else {
		assert(error.text[0] != '\0');
	}
	if (route_resolve(router, address, address, &arena, &route, &error) == LOOKUP_FOUND) {
		assert(route.transport.length > 0 && route.nexthop.length > 0);
		assert(!slice_equal(route.transport, SLICE("virtual")) || route.mailbox.length > 0);
	}
	arena_reset(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct router *router;

	if (router == NULL)
		router = router_create(snapshot_from_text(settings, NULL), NULL);
	assert(router != NULL);
	check(router, slice_of((const char *)data, size));
	return 0;
}
