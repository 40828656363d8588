/* name.c - see name.h. */
#include "lib/mailbox/name.h"

#include "lib/base/number.h"
#include "lib/base/sha256.h"

#define HOST_MOST 64

static uint64_t
digits_take(struct slice *text, size_t most)
{
	uint64_t number = 0;
	size_t   at = 0;

	while (at < text->length && at < most && ascii_is_digit(text->data[at]))
		number = number * 10 + (uint64_t)(text->data[at++] - '0');
	*text = slice_from_offset(*text, at);
	return number;
}

/* "1700000000.M123456P42.host": the microseconds where the name has them. */
static uint64_t
arrival_parse(struct slice unique)
{
	uint64_t arrival_us = digits_take(&unique, 12) * 1000000;

	if (unique.length == 0 || unique.data[0] != '.')
		return 0;
	size_t at = slice_find_byte(unique, 'M');
	if (at == SLICE_NOT_FOUND)
		return arrival_us;
	unique = slice_from_offset(unique, at + 1);
	return arrival_us + digits_take(&unique, 6);
}

bool
maildir_name_parse(struct slice name, struct maildir_name *parsed)
{
	struct maildir_name made = { .flags = SLICE_EMPTY };
	struct slice        rest, part;
	int64_t             number;

	if (name.length == 0 || name.length > MAILDIR_NAME_MOST || name.data[0] == '.')
		return false;
	size_t colon = slice_find_byte(name, ':');
	if (colon != SLICE_NOT_FOUND) {
		struct slice info = slice_from_offset(name, colon + 1);

		if (slice_starts_with(info, SLICE("2,")))
			made.flags = slice_from_offset(info, 2);
		name = slice_first(name, colon);
	}
	rest = name;
	if (!slice_next_part(&rest, ',', &made.unique) || made.unique.length == 0)
		return false;
	while (slice_next_part(&rest, ',', &part)) {
		struct slice value = slice_from_offset(part, 2);

		if (!number_parse(value, 0, INT64_MAX, &number))
			continue;
		if (slice_starts_with(part, SLICE("S="))) {
			made.has_size = true;
			made.size = (uint64_t)number;
		} else if (slice_starts_with(part, SLICE("W="))) {
			made.has_virtual_size = true;
			made.virtual_size = (uint64_t)number;
		}
	}
	made.arrival_us = arrival_parse(made.unique);
	*parsed = made;
	return true;
}

/* FNV-1a: the same on every host and in every year, which a seeded hash is not. */
static uint64_t
stable_hash(uint64_t hash, struct slice bytes)
{
	for (size_t i = 0; i < bytes.length; i++)
		hash = (hash ^ (unsigned char)bytes.data[i]) * 0x100000001b3ULL;
	return hash;
}

bool
maildir_name_append_unique(struct buf *out, int64_t arrival_us, struct slice queue_id,
                           struct slice recipient, struct slice original, struct slice host)
{
	uint64_t hash = stable_hash(0xcbf29ce484222325ULL, recipient);

	if (arrival_us < 0)
		arrival_us = 0;
	hash = stable_hash(stable_hash(hash, slice_of("", 1)), original);
	buf_append_format(out, "%lld.M%06lldQ", (long long)(arrival_us / 1000000),
	                  (long long)(arrival_us % 1000000));
	buf_append(out, queue_id);
	buf_append_format(out, "R%016llx.", (unsigned long long)hash);
	host = slice_first(host, HOST_MOST);
	for (size_t i = 0; i < host.length; i++) {
		char c = host.data[i];

		buf_append_byte(out, ascii_is_alnum(c) || c == '.' || c == '-' ? c : '_');
	}
	return !out->has_failed;
}

bool
maildir_name_append_sizes(struct buf *out, uint64_t size, uint64_t virtual_size)
{
	return buf_append_format(out, ",S=%llu,W=%llu", (unsigned long long)size,
	                         (unsigned long long)virtual_size);
}

void
maildir_name_uidl(struct slice unique, char uidl[33])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char     digest[SHA256_BYTES];

	sha256(unique, digest);
	for (size_t i = 0; i < 16; i++) {
		uidl[2 * i] = digits[digest[i] >> 4];
		uidl[2 * i + 1] = digits[digest[i] & 15];
	}
	uidl[32] = '\0';
}

bool
mailbox_path_is_valid(struct slice path)
{
	struct slice rest = path, part;

	if (path.length == 0 || path.length > MAILBOX_PATH_MOST || slice_has_control(path))
		return false;
	if (mailbox_path_is_maildir(path))
		rest.length--;
	if (rest.length == 0 || rest.data[rest.length - 1] == '/')
		return false;
	while (slice_next_part(&rest, '/', &part))
		if (part.length == 0 || part.length > MAILDIR_NAME_MOST ||
		    slice_equal(part, SLICE(".")) || slice_equal(part, SLICE("..")))
			return false;
	return true;
}

bool
mailbox_path_is_maildir(struct slice path)
{
	return path.length > 0 && path.data[path.length - 1] == '/';
}
