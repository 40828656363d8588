/* user.c - see user.h. */
#include "lib/sasl/user.h"

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/base/random.h"
#include "lib/mail/address.h"

#define VERSION_LINE "dakiya-user 1"

bool
user_record_encode(const struct user_record *record, struct buf *out)
{
	buf_append_text(out, VERSION_LINE "\n");
	buf_append_format(out, "enabled %s\n", record->is_enabled ? "yes" : "no");
	if (record->password[0] != '\0')
		buf_append_format(out, "password %s\n", record->password);
	if (record->has_scram) {
		buf_append_text(out, "scram ");
		scram_append(&record->scram, out);
		buf_append_byte(out, '\n');
	}
	return buf_append_format(out, "changed %lld\n", (long long)record->changed_s);
}

/* One row a field of a record; what a row does not know is passed over. */
static bool
read_enabled(struct slice value, struct user_record *record)
{
	record->is_enabled = slice_equal(value, SLICE("yes"));
	return record->is_enabled || slice_equal(value, SLICE("no"));
}

static bool
read_password(struct slice value, struct user_record *record)
{
	if (slice_is_empty(value) || value.length >= sizeof(record->password) ||
	    slice_has_control(value))
		return false;
	memcpy(record->password, value.data, value.length);
	record->password[value.length] = '\0';
	return true;
}

static bool
read_scram(struct slice value, struct user_record *record)
{
	record->has_scram = scram_parse(value, &record->scram);
	return record->has_scram;
}

static bool
read_changed(struct slice value, struct user_record *record)
{
	return number_parse(value, 0, INT64_MAX, &record->changed_s);
}

static const struct {
	const char *name;
	bool (*read)(struct slice value, struct user_record *record);
} fields[] = {
	{ "enabled", read_enabled },
	{ "password", read_password },
	{ "scram", read_scram },
	{ "changed", read_changed },
};

static bool
line_read(struct slice line, struct user_record *record)
{
	size_t       blank = slice_find_byte(line, ' ');
	struct slice name = slice_first(line, blank);

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (slice_equal(name, slice_from(fields[i].name)))
			return blank != SLICE_NOT_FOUND &&
			       fields[i].read(slice_from_offset(line, blank + 1), record);
	return true;
}

bool
user_record_decode(struct slice text, struct user_record *record, struct error *error)
{
	struct user_record read = { .is_enabled = false };
	struct slice       line;

	if (text.length > USER_RECORD_MOST || !slice_next_part(&text, '\n', &line) ||
	    !slice_equal(line, SLICE(VERSION_LINE)))
		return error_set(error, "no user record of a version that is known");
	while (slice_next_part(&text, '\n', &line))
		if (!line_read(line, &read))
			return error_set(error, "malformed user record");
	*record = read;
	return true;
}

bool
user_record_set_salted_password(struct user_record *record, struct slice password, unsigned cost,
                                struct error *error)
{
	struct scram_keys keys = record->scram;
	char              hash[PASSWORD_HASH_SIZE];

	if (!password_hash(password, cost, hash, error) || !scram_derive(password, &keys, error))
		return false;
	memcpy(record->password, hash, sizeof(hash));
	record->scram = keys;
	record->has_scram = true;
	record->changed_s = clock_wall_s();
	return true;
}

bool
user_record_set_password(struct user_record *record, struct slice password, unsigned cost,
                         uint32_t scram_iterations, struct error *error)
{
	record->scram.iterations = scram_iterations;
	random_bytes(record->scram.salt, sizeof(record->scram.salt));
	return user_record_set_salted_password(record, password, cost, error);
}

static bool
local_part_is_sound(struct slice local)
{
	if (slice_is_empty(local) || local.length > ADDRESS_LOCAL_MOST || local.data[0] == '.' ||
	    local.data[local.length - 1] == '.' ||
	    slice_find(local, SLICE("..")) != SLICE_NOT_FOUND)
		return false;
	for (size_t i = 0; i < local.length; i++) {
		char c = local.data[i];

		/* RFC 5321 atext and dots, no '/' since the name becomes a path; UTF-8 (6531). */
		if (!ascii_is_alnum(c) && (unsigned char)c < 128 &&
		    !slice_contains_byte(SLICE("!#$%&'*+-=?^_`{|}~."), c))
			return false;
	}
	return true;
}

bool
user_name_canonical(struct slice name, const char *default_domain,
                    char canonical[USER_NAME_MOST + 1], struct error *error)
{
	size_t       at = slice_find_byte(name, '@');
	struct slice local = slice_first(name, at);
	struct slice domain = at == SLICE_NOT_FOUND ? slice_from(default_domain)
	                                            : slice_from_offset(name, at + 1);

	if (!slice_is_utf8(name) || slice_has_control(name) ||
	    local.length + 1 + domain.length > USER_NAME_MOST)
		return error_set(error, "not a user name");
	if (slice_is_empty(domain))
		return error_set(error, "want user@domain");
	if (!local_part_is_sound(local) || !hostname_is_valid(domain, true))
		return error_set(error, "malformed address");
	size_t length = 0;
	for (size_t i = 0; i < local.length; i++)
		canonical[length++] = ascii_lower(local.data[i]);
	canonical[length++] = '@';
	for (size_t i = 0; i < domain.length; i++)
		canonical[length++] = ascii_lower(domain.data[i]);
	canonical[length] = '\0';
	return true;
}
