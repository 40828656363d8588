/* name.c - see name.h. */
#include "lib/dns/name.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdio.h>

#define LABEL_MOST 63

/* Punctuation that no name in mail needs and that other formats give a meaning. */
static bool
is_name_byte(char c)
{
	return (unsigned char)c > 32 && (unsigned char)c < 127 && c != '\\' && c != '"' &&
	       c != '(' && c != ')' && c != ';' && c != '@' && c != ',' && c != '<' && c != '>';
}

bool
dns_name_is_normal(struct slice name)
{
	size_t label = 0;

	if (name.length == 0)
		return true;
	if (name.length > DNS_NAME_MOST)
		return false;
	for (size_t i = 0; i < name.length; i++) {
		char c = name.data[i];

		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!is_name_byte(c) || ascii_lower(c) != c || ++label > LABEL_MOST)
			return false;
	}
	return label > 0;
}

static bool
to_ascii(struct slice name, struct arena *arena, struct slice *made)
{
	char *text = arena_text(arena, name);
	char *ascii = NULL;

	if (text == NULL || strlen(text) != name.length)
		return false;
	if (idn2_to_ascii_8z(text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return false;
	*made = arena_copy(arena, slice_from(ascii));
	idn2_free(ascii);
	return made->data != NULL;
}

bool
dns_name_normalise(struct slice name, struct arena *arena, struct slice *normal)
{
	struct slice made;

	if (name.length > 1024)
		return false;
	if (!slice_is_ascii(name)) {
		if (!to_ascii(name, arena, &name))
			return false;
	}
	if (name.length > 0 && name.data[name.length - 1] == '.')
		name.length--;
	char *text = arena_alloc(arena, name.length + 1);
	if (text == NULL)
		return false;
	for (size_t i = 0; i < name.length; i++)
		text[i] = ascii_lower(name.data[i]);
	made = slice_of(text, name.length);
	if (!dns_name_is_normal(made))
		return false;
	*normal = made;
	return true;
}

size_t
dns_address_parse(struct slice text, unsigned char bytes[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	char                       copy[INET6_ADDRSTRLEN];
	unsigned char              parsed[16];

	if (text.length == 0 || text.length >= sizeof(copy))
		return 0;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	if (strlen(copy) != text.length)
		return 0;
	if (inet_pton(AF_INET, copy, bytes) == 1)
		return 4;
	if (inet_pton(AF_INET6, copy, parsed) != 1)
		return 0;
	if (memcmp(parsed, mapped, sizeof(mapped)) == 0) {
		memcpy(bytes, parsed + 12, 4);
		return 4;
	}
	memcpy(bytes, parsed, 16);
	return 16;
}

bool
dns_name_reverse(struct slice address, struct arena *arena, struct slice *name)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char     bytes[16];
	char              text[80];
	size_t            length = dns_address_parse(address, bytes), at = 0;
	struct slice      made;

	if (length == 0)
		return false;
	if (length == 4) {
		char *four = arena_format(arena, "%u.%u.%u.%u.in-addr.arpa", bytes[3], bytes[2],
		                          bytes[1], bytes[0]);
		if (four == NULL)
			return false;
		*name = slice_from(four);
		return true;
	}
	for (size_t i = 16; i-- > 0;) {
		text[at++] = digits[bytes[i] & 15];
		text[at++] = '.';
		text[at++] = digits[bytes[i] >> 4];
		text[at++] = '.';
	}
	memcpy(text + at, "ip6.arpa", 8);
	made = arena_copy(arena, slice_of(text, at + 8));
	if (made.data == NULL)
		return false;
	*name = made;
	return true;
}

static const struct {
	enum dns_type type;
	const char   *name;
} type_rows[] = {
	{ DNS_A, "A" },     { DNS_NS, "NS" },     { DNS_CNAME, "CNAME" }, { DNS_SOA, "SOA" },
	{ DNS_PTR, "PTR" }, { DNS_MX, "MX" },     { DNS_TXT, "TXT" },     { DNS_AAAA, "AAAA" },
	{ DNS_SRV, "SRV" }, { DNS_TLSA, "TLSA" }, { DNS_CAA, "CAA" },
};

const char *
dns_type_name(enum dns_type type, char unknown[16])
{
	for (size_t i = 0; i < sizeof(type_rows) / sizeof(type_rows[0]); i++)
		if (type_rows[i].type == type)
			return type_rows[i].name;
	snprintf(unknown, 16, "TYPE%u", (unsigned)type & 0xffff);
	return unknown;
}
