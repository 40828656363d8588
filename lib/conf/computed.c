/* computed.c - see computed.h. */
#include "lib/conf/computed.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

bool
computed_hostname(struct buf *out)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) < 0 || name[0] == '\0')
		return buf_append_text(out, "localhost.localdomain");
	buf_append_lower(out, slice_from(name));
	if (strchr(name, '.') == NULL)
		buf_append_text(out, ".localdomain");
	return !out->has_failed;
}

static unsigned
class_prefix(const struct interface_address *address)
{
	if (address->family != AF_INET)
		return address->prefix;
	if (address->bytes[0] < 128)
		return 8;
	return address->bytes[0] < 192 ? 16 : 24;
}

bool
computed_network(const struct interface_address *address, enum network_style style, struct buf *out)
{
	bool     is_v6 = address->family == AF_INET6;
	unsigned bits = is_v6 ? 128 : 32, prefix = bits;
	uint8_t  bytes[16];
	char     text[INET6_ADDRSTRLEN];

	if (style == NETWORK_SUBNET)
		prefix = address->prefix > bits ? bits : address->prefix;
	else if (style == NETWORK_CLASS)
		prefix = class_prefix(address);
	memcpy(bytes, address->bytes, sizeof(bytes));
	for (unsigned bit = prefix; bit < bits; bit++)
		bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
	if (inet_ntop(address->family, bytes, text, sizeof(text)) == NULL)
		return false;
	return buf_append_format(out, is_v6 ? "[%s]/%u" : "%s/%u", text, prefix);
}

static unsigned
mask_bits(const uint8_t *mask, size_t length)
{
	unsigned bits = 0;

	for (size_t i = 0; i < length; i++)
		bits += (unsigned)__builtin_popcount(mask[i]);
	return bits;
}

static bool
read_interface(const struct ifaddrs *from, struct interface_address *address)
{
	*address = (struct interface_address){ 0 };
	if (from->ifa_addr == NULL || from->ifa_netmask == NULL)
		return false;
	address->family = from->ifa_addr->sa_family;
	if (address->family == AF_INET) {
		const struct sockaddr_in *in = (const void *)from->ifa_addr;
		const struct sockaddr_in *mask = (const void *)from->ifa_netmask;

		memcpy(address->bytes, &in->sin_addr, 4);
		address->prefix = mask_bits((const void *)&mask->sin_addr, 4);
		return true;
	}
	if (address->family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)from->ifa_addr;
		const struct sockaddr_in6 *mask = (const void *)from->ifa_netmask;

		memcpy(address->bytes, &in->sin6_addr, 16);
		address->prefix = mask_bits((const void *)&mask->sin6_addr, 16);
		return true;
	}
	return false;
}

static bool
is_listed(const struct interface_address *address, const char *list)
{
	struct slice rest = slice_from(list), word;
	char         text[INET6_ADDRSTRLEN];

	if (inet_ntop(address->family, address->bytes, text, sizeof(text)) == NULL)
		return false;
	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		if (word.length > 2 && word.data[0] == '[')
			word = slice_of(word.data + 1, word.length - 2);
		if (slice_equal_fold(word, slice_from(text)))
			return true;
	}
	return false;
}

static bool
has_word(const char *list, const char *wanted)
{
	struct slice rest = slice_from(list), word;

	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		if (slice_equal_fold(word, slice_from(wanted)))
			return true;
	}
	return false;
}

static bool
is_wanted(const struct ifaddrs *interface, const struct interface_address *address,
          const char *inet_interfaces, const char *inet_protocols)
{
	const char *protocol = address->family == AF_INET6 ? "ipv6" : "ipv4";

	if (!has_word(inet_protocols, "all") && !has_word(inet_protocols, protocol))
		return false;
	/* Loopback clients are always ours. */
	return (interface->ifa_flags & IFF_LOOPBACK) != 0 || has_word(inet_interfaces, "all") ||
	       is_listed(address, inet_interfaces);
}

bool
computed_networks(const char *inet_interfaces, const char *inet_protocols, enum network_style style,
                  struct buf *out)
{
	struct ifaddrs *list = NULL;
	size_t          begin = out->length;

	if (getifaddrs(&list) < 0)
		list = NULL;
	for (const struct ifaddrs *entry = list; entry != NULL; entry = entry->ifa_next) {
		struct interface_address address;
		struct buf               one = BUF(100);

		if (read_interface(entry, &address) &&
		    is_wanted(entry, &address, inet_interfaces, inet_protocols) &&
		    computed_network(&address, style, &one) &&
		    slice_find(slice_from_offset(buf_slice(out), begin), buf_slice(&one)) ==
		            SLICE_NOT_FOUND) {
			buf_append_text(out, out->length > begin ? " " : "");
			buf_append(out, buf_slice(&one));
		}
		buf_free(&one);
	}
	if (list != NULL)
		freeifaddrs(list);
	if (out->length == begin)
		buf_append_text(out, "127.0.0.0/8 [::1]/128");
	return !out->has_failed;
}

static bool
set_expanded(const struct settings *settings, const char *name, struct buf *out)
{
	struct slice text;

	return settings_text(settings, slice_from(name), &text) &&
	       settings_expand(settings, NULL, slice_from(name), text, out, NULL);
}

static enum network_style
style_of(struct slice word)
{
	if (slice_equal(word, SLICE("subnet")))
		return NETWORK_SUBNET;
	return slice_equal(word, SLICE("class")) ? NETWORK_CLASS : NETWORK_HOST;
}

static bool
compute_networks(const struct values *values, struct values *computed, struct buf *out)
{
	struct settings settings;
	struct buf      interfaces = BUF(10000), protocols = BUF(1000), style = BUF(1000);
	bool            is_ok = settings_init(&settings, values, computed);

	if (!is_ok)
		return false;
	/* A value that does not expand is reported by the check; the default will do until then. */
	if (!set_expanded(&settings, "inet_interfaces", &interfaces) ||
	    !set_expanded(&settings, "inet_protocols", &protocols) ||
	    !set_expanded(&settings, "mynetworks_style", &style)) {
		buf_clear(&interfaces);
		buf_clear(&protocols);
		buf_append_text(&protocols, "all");
	}
	is_ok = computed_networks(buf_text(&interfaces), buf_text(&protocols),
	                          style_of(slice_trim(buf_slice(&style))), out);
	buf_free(&interfaces);
	buf_free(&protocols);
	buf_free(&style);
	settings_free(&settings);
	return is_ok;
}

bool
computed_defaults(const struct values *values, struct values *computed)
{
	struct buf text = BUF(SETTINGS_TEXT_MOST);
	bool       is_ok = computed_hostname(&text) &&
	             values_set(computed, SLICE("myhostname"), buf_slice(&text), NULL, 0, false);

	buf_clear(&text);
	is_ok = is_ok && compute_networks(values, computed, &text) &&
	        values_set(computed, SLICE("mynetworks"), buf_slice(&text), NULL, 0, false);
	buf_free(&text);
	return is_ok;
}
