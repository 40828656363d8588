/* app.c - app passwords; see user.h. */
#include <openssl/crypto.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/base/random.h"
#include "lib/sasl/user.h"

/* Without letters and digits that are taken for each other; 32 of them: five bits each. */
static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
_Static_assert(sizeof(alphabet) - 1 == 32, "a random byte picks one without bias");

#define LINE_BEGIN "app "

static const struct {
	const char *word;
	unsigned    protocols;
} protocol_words[] = {
	{ "any", USER_PROTOCOL_ANY },
	{ "smtp", USER_PROTOCOL_SMTP },
	{ "pop3", USER_PROTOCOL_POP3 },
};
#define PROTOCOL_COUNT (sizeof(protocol_words) / sizeof(protocol_words[0]))

unsigned
user_protocol_parse(struct slice word)
{
	for (size_t i = 0; i < PROTOCOL_COUNT; i++)
		if (slice_equal(word, slice_from(protocol_words[i].word)))
			return protocol_words[i].protocols;
	return 0;
}

static const char *
protocol_word(unsigned protocols)
{
	for (size_t i = 0; i < PROTOCOL_COUNT; i++)
		if (protocols == protocol_words[i].protocols)
			return protocol_words[i].word;
	return "any";
}

bool
user_label_is_sound(struct slice label)
{
	return label.length > 0 && label.length <= USER_APP_LABEL_MOST && slice_is_utf8(label) &&
	       !slice_has_control(label);
}

/* ---- lines ---- */

static bool
copy_text(struct slice text, char *to, size_t size)
{
	if (slice_is_empty(text) || text.length >= size || slice_has_control(text))
		return false;
	memcpy(to, text.data, text.length);
	to[text.length] = '\0';
	return true;
}

/* ID PROTOCOL CREATED HASH KEYS LABEL; keys are "-" when there are none. */
static bool
parse_line(struct slice line, struct user_app *app)
{
	struct slice id, protocol, created, hash, keys;

	*app = (struct user_app){ .protocols = 0 };
	if (!slice_next_part(&line, ' ', &id) || !slice_next_part(&line, ' ', &protocol) ||
	    !slice_next_part(&line, ' ', &created) || !slice_next_part(&line, ' ', &hash) ||
	    !slice_next_part(&line, ' ', &keys) || line.data == NULL)
		return false;
	app->protocols = user_protocol_parse(protocol);
	app->has_scram = scram_parse(keys, &app->scram);
	return id.length == USER_APP_ID_BYTES && copy_text(id, app->id, sizeof(app->id)) &&
	       app->protocols != 0 && number_parse(created, 0, INT64_MAX, &app->created_s) &&
	       copy_text(hash, app->password, sizeof(app->password)) &&
	       (app->has_scram || slice_equal(keys, SLICE("-"))) &&
	       copy_text(line, app->label, sizeof(app->label));
}

bool
user_app_next(struct slice *rest, struct user_app *app)
{
	struct slice line;

	/* A line of a later version that cannot be read is no login, and no error either. */
	while (slice_next_part(rest, '\n', &line))
		if (slice_starts_with(line, SLICE(LINE_BEGIN)) &&
		    parse_line(slice_from_offset(line, sizeof(LINE_BEGIN) - 1), app))
			return true;
	return false;
}

bool
user_app_append(const struct user_app *app, struct buf *record)
{
	buf_append_format(record, LINE_BEGIN "%s %s %lld %s ", app->id,
	                  protocol_word(app->protocols), (long long)app->created_s, app->password);
	if (app->has_scram)
		scram_append(&app->scram, record);
	else
		buf_append_byte(record, '-');
	return buf_append_format(record, " %s\n", app->label);
}

bool
user_apps_copy(struct slice record, const char *but_id, struct buf *out)
{
	struct slice line;

	while (slice_next_part(&record, '\n', &line)) {
		struct slice id = slice_from_offset(line, sizeof(LINE_BEGIN) - 1);

		if (!slice_starts_with(line, SLICE(LINE_BEGIN)))
			continue;
		id = slice_first(id, slice_find_byte(id, ' '));
		if (but_id != NULL && slice_equal(id, slice_from(but_id)))
			continue;
		buf_append(out, line);
		buf_append_byte(out, '\n');
	}
	return !out->has_failed;
}

/* ---- passwords ---- */

/* Five groups of four: 100 bits, of which the first 20 are the id and no secret. */
static void
password_make(char password[USER_APP_PASSWORD])
{
	unsigned char bytes[USER_APP_PASSWORD - 1];

	random_bytes(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		password[i] = i % 5 == 4 ? '-' : alphabet[bytes[i] % 32];
	password[sizeof(bytes)] = '\0';
	OPENSSL_cleanse(bytes, sizeof(bytes));
}

bool
user_app_make(struct user_app *app, unsigned cost, char password[USER_APP_PASSWORD],
              struct error *error)
{
	password_make(password);
	memcpy(app->id, password, USER_APP_ID_BYTES);
	app->id[USER_APP_ID_BYTES] = '\0';
	app->created_s = clock_wall_s();
	app->has_scram = true;
	return password_hash(slice_from(password), cost, app->password, error) &&
	       scram_derive(slice_from(password), &app->scram, error);
}

void
user_salt(struct slice record, uint32_t scram_iterations, struct scram_keys *keys)
{
	struct user_record own;
	struct user_app    app;
	struct slice       rest = record;

	*keys = (struct scram_keys){ .iterations = scram_iterations };
	random_bytes(keys->salt, sizeof(keys->salt));
	/* The app passwords' goes first: without them the user's own may get a new one. */
	while (user_app_next(&rest, &app)) {
		if (!app.has_scram)
			continue;
		*keys = app.scram;
		return;
	}
	if (user_record_decode(record, &own, NULL) && own.has_scram)
		*keys = own.scram;
}

bool
user_app_fits(const struct user_app *app, struct slice password)
{
	return password.length == USER_APP_PASSWORD - 1 &&
	       slice_starts_with(password, slice_from(app->id));
}
