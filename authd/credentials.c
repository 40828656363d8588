/* credentials.c - whether a password is right; see authd.h. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#include "authd/authd.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

#define SLOT_WAIT_MS   30000
#define MEMORY_WAIT_MS 5000 /* for others to give back what a hash takes */
#define MEMORY_LOOK_MS 50
#define MEMORY_BESIDE  (INT64_C(1) << 20)

/* ---- users ---- */

/*
 * Keys for a user who is not there: the salt is always the same for a name, as a real one would
 * be, and nothing fits the rest (RFC 5802 does not say; user names would be told otherwise).
 * LIMIT: the iterations are the parameter's. Users whose password was set under another value of
 * auth_scram_iterations can be told from names that nobody has.
 */
static void
scram_make_up(struct authd *authd, struct slice secret, const char *canonical,
              struct scram_keys *keys)
{
	unsigned char digest[3][32];
	unsigned      length = 32;

	if (slice_is_empty(secret))
		secret = slice_of((const char *)authd->fallback_secret,
		                  sizeof(authd->fallback_secret));
	for (size_t i = 0; i < 3; i++) {
		unsigned char input[USER_NAME_MOST + 2];
		size_t        size = strlen(canonical);

		input[0] = (unsigned char)i;
		memcpy(input + 1, canonical, size);
		HMAC(EVP_sha256(), secret.data, (int)secret.length, input, size + 1, digest[i],
		     &length);
	}
	keys->iterations = (uint32_t)authd->parameters->auth_scram_iterations;
	memcpy(keys->salt, digest[0], sizeof(keys->salt));
	memcpy(keys->stored, digest[1], sizeof(keys->stored));
	memcpy(keys->server, digest[2], sizeof(keys->server));
	OPENSSL_cleanse(digest, sizeof(digest));
}

/* Which app password is meant: by its id, or for SCRAM the last one of the service. */
static void
app_choose(struct slice text, const struct login_name *login, struct slice password,
           struct credentials *credentials)
{
	unsigned        protocol = user_protocol_parse(slice_from(login->service));
	bool            is_scram = password.data == NULL;
	struct user_app app;

	while (user_app_next(&text, &app)) {
		if (is_scram ? (app.protocols & protocol) != 0 && app.has_scram
		             : user_app_fits(&app, password))
			credentials->app = app;
	}
	OPENSSL_cleanse(&app, sizeof(app));
}

static enum lookup
record_find(struct authd *authd, const struct login_name *login, struct slice password,
            struct credentials *credentials, struct error *error)
{
	struct buf  text = BUF(USER_RECORD_MOST);
	enum lookup answer =
		login->canonical[0] == '\0'
			? LOOKUP_NOT_FOUND
			: table_lookup(authd->users, slice_from(login->canonical), &text, error);

	if (answer == LOOKUP_FOUND &&
	    !user_record_decode(buf_slice(&text), &credentials->record, error)) {
		error_prefix(error, "user %s", login->canonical);
		answer = LOOKUP_TRY_LATER;
	}
	if (answer == LOOKUP_FOUND)
		app_choose(buf_slice(&text), login, password, credentials);
	if (text.data != NULL)
		OPENSSL_cleanse(text.data, text.capacity);
	buf_free(&text);
	return answer;
}

enum lookup
credentials_find(struct authd *authd, struct login_name *login, struct slice password,
                 struct credentials *credentials, struct error *error)
{
	struct buf secret = BUF(USER_RECORD_MOST);

	*credentials = (struct credentials){ .is_known = false };
	login->credential[0] = '\0';
	enum lookup answer = table_lookup(authd->users, SLICE(USER_SECRET_KEY), &secret, error);
	if (answer != LOOKUP_TRY_LATER) {
		scram_make_up(authd, buf_slice(&secret), login->canonical, &credentials->scram);
		answer = record_find(authd, login, password, credentials, error);
	}
	buf_free(&secret);
	if (answer != LOOKUP_FOUND)
		return answer;
	credentials->is_known = credentials->record.is_enabled;
	if (credentials->is_known && credentials->record.has_scram) {
		credentials->scram = credentials->record.scram;
	} else if (credentials->is_known && credentials->app.has_scram) {
		credentials->scram = credentials->app.scram;
		memcpy(login->credential, credentials->app.id, sizeof(login->credential));
	}
	return LOOKUP_FOUND;
}

/* ---- hashes ---- */

/* What has been taken may not show yet, and what has begun elsewhere takes more meanwhile. */
static bool
has_memory_locked(struct authd *authd, int64_t bytes)
{
	return memory_allows(authd->memory, authd->slots.taken_bytes + bytes + MEMORY_BESIDE);
}

/* NULL, or why there is none. */
static const char *
slot_take(struct authd *authd, int64_t bytes)
{
	struct hash_slots *slots = &authd->slots;
	int64_t            begin_ms = clock_monotonic_ms(), now_ms = begin_ms;
	const char        *reason = "too many logins at a time";
	bool               has_slot = false;

	mutex_lock(&slots->lock);
	slots->waiting++;
	for (; now_ms - begin_ms < SLOT_WAIT_MS; now_ms = clock_monotonic_ms()) {
		bool is_busy = slots->running >= slots->limit;

		has_slot = !is_busy && has_memory_locked(authd, bytes);
		if (!has_slot && !is_busy)
			reason = "no memory for the password's hash (see auth_password_cost)";
		if (has_slot || (!is_busy && now_ms - begin_ms >= MEMORY_WAIT_MS) ||
		    bytes > memory_limit(authd->memory))
			break;
		condition_wait_until(&slots->freed, &slots->lock,
		                     is_busy ? begin_ms + SLOT_WAIT_MS : now_ms + MEMORY_LOOK_MS);
	}
	slots->waiting--;
	if (has_slot) {
		slots->running++;
		slots->taken_bytes += bytes;
	}
	mutex_unlock(&slots->lock);
	return has_slot ? NULL : reason;
}

static void
slot_give_back(struct hash_slots *slots, int64_t bytes)
{
	mutex_lock(&slots->lock);
	slots->running--;
	slots->taken_bytes -= bytes;
	condition_signal(&slots->freed);
	mutex_unlock(&slots->lock);
}

bool
hash_is_crowded(struct authd *authd)
{
	mutex_lock(&authd->slots.lock);
	bool is_crowded = authd->slots.waiting >= authd->waiting_most;
	mutex_unlock(&authd->slots.lock);
	return is_crowded;
}

/* One hash, computed when it is this one's turn. */
static enum verdict
hash_check(struct authd *authd, struct slice password, const char *hash, const char **reason)
{
	int64_t     bytes = password_verify_bytes(hash);
	const char *refusal = slot_take(authd, bytes);

	if (refusal != NULL) {
		*reason = refusal;
		return VERDICT_TRY_LATER;
	}
	enum password_answer answer = password_verify(password, hash);
	slot_give_back(&authd->slots, bytes);
	switch (answer) {
	case PASSWORD_RIGHT: return VERDICT_RIGHT;
	case PASSWORD_WRONG: return VERDICT_WRONG;
	case PASSWORD_UNKNOWN: *reason = "the password's hash cannot be computed"; break;
	}
	return VERDICT_TRY_LATER;
}

/* The app password that it says it is; without one, or when it is not, the user's own. */
static enum verdict
credentials_check(struct authd *authd, struct login_name *login,
                  const struct credentials *credentials, struct slice password, const char **reason)
{
	const struct user_app *app = &credentials->app;

	if (credentials->is_known && app->id[0] != '\0') {
		enum verdict verdict = hash_check(authd, password, app->password, reason);
		unsigned     protocol = user_protocol_parse(slice_from(login->service));

		if (verdict == VERDICT_RIGHT && (app->protocols & protocol) == 0) {
			*reason = "the app password is for another protocol";
			return VERDICT_WRONG;
		}
		memcpy(login->credential, app->id, sizeof(login->credential));
		if (verdict != VERDICT_WRONG)
			return verdict;
	}
	login->credential[0] = '\0';
	bool         is_real = credentials->is_known && credentials->record.password[0] != '\0';
	enum verdict verdict =
		hash_check(authd, password,
	                   is_real ? credentials->record.password : authd->dummy_hash, reason);
	return verdict == VERDICT_RIGHT && !is_real ? VERDICT_WRONG : verdict;
}

enum verdict
password_check(struct authd *authd, struct login_name *login, struct slice password,
               const char **reason)
{
	uint64_t           generation = table_refresh(authd->users);
	struct credentials credentials;
	struct error       error = ERROR_NONE;
	char               key[USER_NAME_MOST + 40];

	*reason = "authentication failure";
	/* Whoever is in the cache was right under this very version of the database. */
	snprintf(key, sizeof(key), "%s\n%.32s", login->canonical, login->service);
	bool is_cached = login->canonical[0] != '\0' && generation != 0;
	if (is_cached && password_cache_has(authd->cache, slice_from(key), password, generation,
	                                    clock_monotonic_ms(), login->credential))
		return VERDICT_RIGHT;
	if (credentials_find(authd, login, password, &credentials, &error) == LOOKUP_TRY_LATER) {
		log_warning("%s", error.text);
		*reason = "the user database cannot be read";
		return VERDICT_TRY_LATER;
	}
	enum verdict verdict = credentials_check(authd, login, &credentials, password, reason);
	OPENSSL_cleanse(&credentials, sizeof(credentials));
	if (verdict == VERDICT_TRY_LATER)
		log_warning("user %s: %s", login->canonical, *reason);
	if (verdict == VERDICT_RIGHT && is_cached)
		password_cache_add(authd->cache, slice_from(key), password, login->credential,
		                   generation, clock_monotonic_ms());
	return verdict;
}
