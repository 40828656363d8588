/* clients.c - whose incomplete headers are completed: local_header_rewrite_clients. See route.h. */
#include "lib/route/router.h"

static enum lookup
ask_table(struct router *router, struct slice address, struct error *error)
{
	struct buf  value = BUF(ROUTER_VALUE_MOST);
	enum lookup found = table_list_lookup(router->rewrite_clients, address, &value, error);

	buf_free(&value);
	return found;
}

enum lookup
route_client_is_local(struct router *router, const struct route_client *client, struct error *error)
{
	struct slice rest = slice_from(router->parameters->local_header_rewrite_clients), word;

	if (client->address.length == 0)
		return LOOKUP_FOUND; /* sendmail(1), notices */
	while (slice_next_word(&rest, " \t\r\n,", &word)) {
		enum lookup found = LOOKUP_NOT_FOUND;

		if (slice_equal_fold(word, SLICE("permit_inet_interfaces")))
			found = match_list_client(router->own_addresses, SLICE_EMPTY,
			                          client->address, error);
		else if (slice_equal_fold(word, SLICE("permit_mynetworks")))
			found = match_list_client(router->networks, SLICE_EMPTY, client->address,
			                          error);
		else if (slice_equal_fold(word, SLICE("permit_sasl_authenticated")))
			found = client->is_authenticated ? LOOKUP_FOUND : LOOKUP_NOT_FOUND;
		else if (slice_equal_fold(word, SLICE("check_address_map")))
			found = ask_table(router, client->address, error);
		if (found != LOOKUP_NOT_FOUND)
			return found;
	}
	return LOOKUP_NOT_FOUND;
}
