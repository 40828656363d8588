/* net.c - see net.h. */
#include "lib/table/net.h"

#include <arpa/inet.h>

#include "lib/base/number.h"

static const unsigned char mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool
brackets_strip(struct slice *text)
{
	if (text->length < 2 || text->data[0] != '[' || text->data[text->length - 1] != ']')
		return false;
	*text = slice_of(text->data + 1, text->length - 2);
	return true;
}

static bool
address_read(struct slice text, struct net *net)
{
	char copy[INET6_ADDRSTRLEN];

	brackets_strip(&text);
	if (slice_starts_with_fold(text, SLICE("IPv6:")))
		text = slice_from_offset(text, 5);
	if (slice_is_empty(text) || text.length >= sizeof(copy) || slice_has_control(text))
		return false;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	*net = (struct net){ .family = AF_INET, .bits = 32 };
	if (inet_pton(AF_INET, copy, net->bytes) == 1)
		return true;
	*net = (struct net){ .family = AF_INET6, .bits = 128 };
	return inet_pton(AF_INET6, copy, net->bytes) == 1;
}

/* ::ffff:192.0.2.0/120 is 192.0.2.0/24. */
static void
unmap(struct net *net)
{
	if (net->family != AF_INET6 || net->bits < 96 ||
	    memcmp(net->bytes, mapped_prefix, sizeof(mapped_prefix)) != 0)
		return;
	memmove(net->bytes, net->bytes + 12, 4);
	memset(net->bytes + 4, 0, 12);
	net->family = AF_INET;
	net->bits -= 96;
}

bool
net_parse_address(struct slice text, struct net *net)
{
	struct net parsed;

	if (!address_read(text, &parsed))
		return false;
	unmap(&parsed);
	*net = parsed;
	return true;
}

static bool
has_bits_behind_prefix(const struct net *net)
{
	for (unsigned bit = net->bits; bit < (net->family == AF_INET ? 32u : 128u); bit++)
		if ((net->bytes[bit / 8] & (0x80u >> (bit % 8))) != 0)
			return true;
	return false;
}

static void
prefix_apply(struct net *net)
{
	for (unsigned bit = net->bits; bit < 128; bit++)
		net->bytes[bit / 8] &= (unsigned char)~(0x80u >> (bit % 8));
}

/* Brackets may stand around the address or around the whole: [::1]/128, [::1/128]. */
bool
net_parse(struct slice text, struct net *net, struct error *error)
{
	struct net   parsed;
	struct slice whole = text;
	int64_t      bits;

	brackets_strip(&text);
	size_t slash = slice_find_byte(text, '/');
	if (!address_read(slice_first(text, slash), &parsed))
		return error_set(error, "\"%.*s\" is no IP address or network", SLICE_ARGS(whole));
	if (slash != SLICE_NOT_FOUND) {
		if (!number_parse(slice_from_offset(text, slash + 1), 0, parsed.bits, &bits))
			return error_set(error, "bad prefix length in \"%.*s\"", SLICE_ARGS(whole));
		parsed.bits = (unsigned)bits;
	}
	if (has_bits_behind_prefix(&parsed)) {
		char right[INET6_ADDRSTRLEN] = "?";

		prefix_apply(&parsed);
		inet_ntop(parsed.family, parsed.bytes, right, sizeof(right));
		return error_set(error,
		                 "\"%.*s\" has bits set behind the prefix length; did you mean "
		                 "%s/%u?",
		                 SLICE_ARGS(whole), right, parsed.bits);
	}
	unmap(&parsed);
	*net = parsed;
	return true;
}

bool
net_looks_like(struct slice text)
{
	struct slice address = slice_first(text, slice_find_byte(text, '/'));

	if (slice_is_empty(address))
		return false;
	if (address.data[0] == '[' || slice_contains_byte(address, ':'))
		return true;
	for (size_t i = 0; i < address.length; i++)
		if (!ascii_is_digit(address.data[i]) && address.data[i] != '.')
			return false;
	return true;
}

bool
net_contains(const struct net *net, const struct net *address)
{
	unsigned whole = net->bits / 8, part = net->bits % 8;

	if (net->family != address->family || memcmp(net->bytes, address->bytes, whole) != 0)
		return false;
	return part == 0 || ((net->bytes[whole] ^ address->bytes[whole]) >> (8 - part)) == 0;
}
