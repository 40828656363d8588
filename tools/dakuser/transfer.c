/*
 * transfer.c - users from and to Dovecot's passwd-file:
 * user:{SCHEME}hash:uid:gid:gecos:home:shell:extra fields
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/encode.h"
#include "lib/base/number.h"
#include "lib/io/file.h"
#include "tools/dakuser/dakuser.h"

#define FILE_MOST   ((size_t)64 * 1024 * 1024)
#define FIELDS      8
#define EXTRA_FIELD 7

/* ---- passwords of other programs ---- */

static bool
take_clear(struct slice text, const struct call *call, struct user_record *record,
           struct error *error)
{
	return password_is_acceptable(text, 1, error) &&
	       user_record_set_salted_password(
		       record, text, (unsigned)call->parameters->auth_password_cost, error);
}

static bool
take_hash(struct slice text, struct user_record *record, struct error *error)
{
	if (slice_is_empty(text) || text.length >= sizeof(record->password) ||
	    slice_has_control(text))
		return error_set(error, "a hash that is empty or too long");
	memcpy(record->password, text.data, text.length);
	record->password[text.length] = '\0';
	return password_hash_is_known(record->password) ||
	       error_set(error, "a hash of a kind that cannot be verified here");
}

/*
 * ITERATIONS,SALT,STOREDKEY,SERVERKEY; a salt of another length than ours cannot be kept.
 * LIMIT: app passwords that are there already have another salt, and serve PLAIN and LOGIN only.
 */
static bool
take_scram(struct slice text, struct user_record *record, struct error *error)
{
	struct slice part[4];
	struct buf   line = BUF(1000);

	for (size_t i = 0; i < 4; i++)
		if (!slice_next_part(&text, ',', &part[i]))
			part[i] = SLICE_EMPTY;
	buf_append_format(&line, "SCRAM-SHA-256$%.*s:%.*s$%.*s:%.*s", SLICE_ARGS(part[0]),
	                  SLICE_ARGS(part[1]), SLICE_ARGS(part[2]), SLICE_ARGS(part[3]));
	record->has_scram = scram_parse(buf_slice(&line), &record->scram);
	buf_free(&line);
	return record->has_scram || error_set(error, "SCRAM keys that cannot be used here");
}

enum scheme_kind { SCHEME_CLEAR, SCHEME_CRYPT, SCHEME_DIGEST, SCHEME_SCRAM };

static const struct {
	const char      *name;
	enum scheme_kind kind;
} schemes[] = {
	{ "PLAIN", SCHEME_CLEAR },         { "CLEARTEXT", SCHEME_CLEAR },
	{ "CRYPT", SCHEME_CRYPT },         { "SHA256-CRYPT", SCHEME_CRYPT },
	{ "SHA512-CRYPT", SCHEME_CRYPT },  { "BLF-CRYPT", SCHEME_CRYPT },
	{ "MD5-CRYPT", SCHEME_CRYPT },     { "DES-CRYPT", SCHEME_CRYPT },
	{ "SHA", SCHEME_DIGEST },          { "SSHA", SCHEME_DIGEST },
	{ "SHA256", SCHEME_DIGEST },       { "SSHA256", SCHEME_DIGEST },
	{ "SHA512", SCHEME_DIGEST },       { "SSHA512", SCHEME_DIGEST },
	{ "SCRAM-SHA-256", SCHEME_SCRAM },
};

/* "{SCHEME}text"; without a scheme it is a crypt(5) hash. */
static bool
take_password(struct slice field, const struct call *call, struct user_record *record,
              struct error *error)
{
	size_t       end = slice_find_byte(field, '}');
	struct slice scheme, text;

	record->changed_s = clock_wall_s();
	if (field.length == 0 || field.data[0] != '{')
		return take_hash(field, record, error);
	scheme = slice_from_offset(slice_first(field, end), 1);
	text = end == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(field, end + 1);
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (!slice_equal_fold(scheme, slice_from(schemes[i].name)))
			continue;
		switch (schemes[i].kind) {
		case SCHEME_CLEAR: return take_clear(text, call, record, error);
		case SCHEME_CRYPT: return take_hash(text, record, error);
		case SCHEME_DIGEST: return take_hash(field, record, error);
		case SCHEME_SCRAM: return take_scram(text, record, error);
		}
	}
	return error_set(error, "scheme {%.*s} is not known", SLICE_ARGS(slice_first(scheme, 50)));
}

/* ---- import ---- */

struct importing {
	struct store      *store;
	const struct call *call;
	size_t             added, replaced, skipped, failed;
};

/* "*:storage=1G" and "*:bytes=1073741824"; a bare storage is in kilobytes, as Dovecot has it. */
static void
take_quota(struct slice rule, struct user *user)
{
	struct slice word;
	char         text[40];
	int64_t      size;

	while (slice_next_part(&rule, ':', &word)) {
		bool is_storage = slice_starts_with(word, SLICE("storage="));

		if (!is_storage && !slice_starts_with(word, SLICE("bytes=")))
			continue;
		struct slice number = slice_from_offset(word, slice_find_byte(word, '=') + 1);
		bool is_bare = number.length > 0 && ascii_is_digit(number.data[number.length - 1]);
		snprintf(text, sizeof(text), "%.*s%s", SLICE_ARGS(slice_first(number, 30)),
		         is_storage && is_bare ? "K" : "");
		if (size_parse(text, &size))
			user->quota = size;
	}
}

static void
take_extra(struct slice extra, struct user *user, struct user_record *record)
{
	struct slice word;
	struct slice name = SLICE("userdb_quota_rule=");

	while (slice_next_word(&extra, " \t", &word)) {
		if (slice_equal(word, SLICE("nologin")) ||
		    slice_starts_with(word, SLICE("nologin=")))
			record->is_enabled = false;
		else if (slice_starts_with(word, name))
			take_quota(slice_from_offset(word, name.length), user);
	}
}

static bool
put_user(struct importing *importing, const char *name, const struct user_record *record,
         const struct user *from, struct error *error)
{
	struct store *store = importing->store;
	struct buf    text = BUF(USER_RECORD_MOST);
	struct user  *user = store_find(store, name);
	bool          is_new = user == NULL;

	if (is_new)
		user = store_add(store, name);
	if (user == NULL)
		return error_set(error, "out of memory");
	bool is_good =
		user_record_encode(record, &text) &&
		(user->record == NULL || user_apps_copy(slice_from(user->record), NULL, &text)) &&
		(user->record = store_copy(store, buf_text(&text))) != NULL;
	buf_free(&text);
	if (user->mailbox == NULL)
		user->mailbox = mailbox_choose(store, name, NULL);
	if (from->quota > 0)
		user->quota = from->quota;
	importing->added += is_new;
	importing->replaced += !is_new;
	return (is_good && user->mailbox != NULL) || error_set(error, "out of memory");
}

static bool
import_line(struct importing *importing, struct slice line, struct error *error)
{
	struct slice       fields[FIELDS] = { { "", 0 } };
	struct user_record record = { .is_enabled = true };
	struct user        from = { .quota = 0 };
	char               name[USER_NAME_MOST + 1];
	const char        *domain = importing->call->domain;

	for (size_t i = 0; i < FIELDS; i++) {
		/* The last one is the rest of the line: rules have colons, too. */
		if (i == EXTRA_FIELD)
			fields[i] = line.data == NULL ? SLICE_EMPTY : line;
		else if (!slice_next_part(&line, ':', &fields[i]))
			fields[i] = SLICE_EMPTY;
	}
	if (!user_name_canonical(fields[0], domain == NULL ? "" : domain, name, error))
		return false;
	if (store_find_alias(importing->store, name) != NULL)
		return error_set(error, "%s is an alias", name);
	const struct user *there = store_find(importing->store, name);
	if (there != NULL && !importing->call->is_forced) {
		importing->skipped++;
		return true;
	}
	user_salt(slice_from(there == NULL ? NULL : there->record),
	          (uint32_t)importing->call->parameters->auth_scram_iterations, &record.scram);
	take_extra(fields[EXTRA_FIELD], &from, &record);
	bool is_good = take_password(fields[1], importing->call, &record, error) &&
	               put_user(importing, name, &record, &from, error);
	OPENSSL_cleanse(&record, sizeof(record));
	return is_good;
}

/* All lines are looked at; one that is wrong keeps everything as it was. */
static int
import_text(struct importing *importing, const char *path, struct slice text)
{
	struct slice line;

	for (size_t number = 1; slice_next_part(&text, '\n', &line); number++) {
		struct error error = ERROR_NONE;
		struct slice trimmed = slice_trim(line);

		if (slice_is_empty(trimmed) || trimmed.data[0] == '#')
			continue;
		if (import_line(importing, trimmed, &error))
			continue;
		importing->failed++;
		fail(EXIT_BAD_DATA, "%s:%zu: %s", path, number, error.text);
	}
	if (importing->failed > 0)
		return fail(EXIT_BAD_DATA, "nothing was imported");
	return store_save(importing->store);
}

static int
read_input(const char *path, struct buf *text)
{
	struct error error = ERROR_NONE;
	bool         is_stdin = strcmp(path, "-") == 0;
	int          fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		error_set_errno(&error, "open %s", path);
	bool is_good = fd >= 0 && file_read_all(fd, text, path, &error);
	if (fd >= 0 && !is_stdin)
		close(fd);
	if (is_good && slice_contains_byte(buf_slice(text), '\0'))
		is_good = error_set(&error, "%s: has a NUL byte; is it a text file?", path);
	return is_good ? EXIT_DONE : fail(EXIT_NO_INPUT, "%s", error.text);
}

int
command_import(struct call *call)
{
	struct store     store;
	struct importing importing = { .store = &store, .call = call };
	struct buf       text = BUF(FILE_MOST);
	const char      *path = call->arguments[0];
	int              status = read_input(path, &text);

	if (status == EXIT_DONE) {
		status = store_fill(&store, call, true);
		if (status == EXIT_DONE)
			status = import_text(&importing, path, buf_slice(&text));
		store_close(&store);
	}
	if (status == EXIT_DONE)
		printf("%zu users added, %zu replaced, %zu were there already\n", importing.added,
		       importing.replaced, importing.skipped);
	if (text.data != NULL)
		OPENSSL_cleanse(text.data, text.capacity);
	buf_free(&text);
	return status;
}

/* ---- export ---- */

static void
append_scram(const struct scram_keys *keys, struct buf *out)
{
	buf_append_format(out, "{SCRAM-SHA-256}%u,", keys->iterations);
	base64_encode(slice_of((const char *)keys->salt, sizeof(keys->salt)), out);
	buf_append_byte(out, ',');
	base64_encode(slice_of((const char *)keys->stored, sizeof(keys->stored)), out);
	buf_append_byte(out, ',');
	base64_encode(slice_of((const char *)keys->server, sizeof(keys->server)), out);
}

static void
export_user(const struct user *user)
{
	struct user_record record;
	struct buf         line = BUF(USER_RECORD_MOST);

	if (user->record == NULL || !user_record_decode(slice_from(user->record), &record, NULL))
		return;
	buf_append_format(&line, "%s:", user->name);
	if (record.password[0] != '\0')
		buf_append_format(&line, "%s%s", record.password[0] == '{' ? "" : "{CRYPT}",
		                  record.password);
	else if (record.has_scram)
		append_scram(&record.scram, &line);
	buf_append_text(&line, "::::::");
	if (user->quota > 0)
		buf_append_format(&line, "userdb_quota_rule=*:bytes=%lld", (long long)user->quota);
	if (!record.is_enabled)
		buf_append_format(&line, "%snologin", user->quota > 0 ? " " : "");
	puts(buf_text(&line));
	OPENSSL_cleanse(line.data, line.capacity);
	buf_free(&line);
	OPENSSL_cleanse(&record, sizeof(record));
}

int
command_export(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, false);

	for (size_t i = 0; status == EXIT_DONE && i < store.users.count; i++)
		export_user(&store.users.items[i]);
	store_close(&store);
	return status;
}
