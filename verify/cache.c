/* cache.c - see cache.h. */
#include "verify/cache.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/number.h"

void
cache_init(struct cache *cache, const struct cache_settings *settings)
{
	*cache = (struct cache){ .settings = *settings };
	for (size_t i = 0; i < LINE_COUNT; i++)
		list_init(&cache->lines[i]);
}

static void
known_free(void *value)
{
	struct known *known = value;

	free(known->text);
	free(known);
}

void
cache_free(struct cache *cache)
{
	hash_free(&cache->known, known_free);
}

/* ---- lines ---- */

/* To the end of the line that it belongs to. */
static void
known_line_up(struct cache *cache, struct known *known)
{
	enum cache_line line = known->is_probed               ? LINE_PROBED
	                       : known->status == VERIFY_GOOD ? LINE_GOOD
	                                                      : LINE_OTHER;

	list_remove(&known->in_line);
	list_append(&cache->lines[line], &known->in_line);
}

static void
known_drop(struct cache *cache, struct known *known)
{
	hash_remove(&cache->known, slice_of(known->address, known->length));
	list_remove(&known->in_line);
	cache->changes++;
	known_free(known);
}

/* Room for one more; what is being looked at stays. */
static bool
room_make(struct cache *cache)
{
	if (cache->known.count < cache->settings.limit)
		return true;
	struct list_node *oldest = list_first(&cache->lines[LINE_OTHER]);
	if (oldest == NULL)
		oldest = list_first(&cache->lines[LINE_GOOD]);
	if (oldest == NULL)
		return false;
	known_drop(cache, CONTAINER_OF(oldest, struct known, in_line));
	return true;
}

static struct known *
known_make(struct cache *cache, struct slice address)
{
	struct known *known;

	if (address.length == 0 || address.length > VERIFY_ADDRESS_MOST || !room_make(cache))
		return NULL;
	known = calloc(1, sizeof(*known) + address.length);
	if (known == NULL)
		return NULL;
	known->status = VERIFY_UNKNOWN;
	known->length = address.length;
	memcpy(known->address, address.data, address.length);
	list_init(&known->in_line);
	list_init(&known->questions);
	if (!hash_put(&cache->known, address, known, NULL)) {
		free(known);
		return NULL;
	}
	return known;
}

/* ---- times ---- */

/* Never negative: the clock may have been set back. */
static int64_t
age(int64_t then_s, int64_t now_s)
{
	return now_s > then_s ? now_s - then_s : 0;
}

static bool
has_expired(const struct cache *cache, const struct known *known, int64_t now_s)
{
	const struct cache_settings *settings = &cache->settings;

	switch (known->status) {
	case VERIFY_GOOD: return age(known->updated_s, now_s) >= settings->positive_expire_s;
	case VERIFY_BAD:
	case VERIFY_LATER: return age(known->updated_s, now_s) >= settings->negative_expire_s;
	case VERIFY_UNKNOWN: break;
	}
	return false;
}

static bool
is_due(const struct cache *cache, const struct known *known, int64_t now_s)
{
	const struct cache_settings *settings = &cache->settings;
	int64_t                      refresh_s = 0;

	switch (known->status) {
	case VERIFY_GOOD: refresh_s = settings->positive_refresh_s; break;
	case VERIFY_BAD: refresh_s = settings->negative_refresh_s; break;
	case VERIFY_LATER: refresh_s = settings->later_refresh_s; break;
	case VERIFY_UNKNOWN: return true;
	}
	/* The last probe may have been no news. */
	return age(known->updated_s, now_s) >= refresh_s &&
	       (known->probed_s == 0 || age(known->probed_s, now_s) >= settings->later_refresh_s);
}

/* ---- asking and learning ---- */

static void
text_set(struct known *known, struct slice text)
{
	struct buf shown = BUF(VERIFY_TEXT_MOST + 1);

	free(known->text);
	known->text = NULL;
	/* Cut before it is made printable, so that half a character becomes a '?'. */
	if (buf_append_printable(&shown, slice_first(text, VERIFY_TEXT_MOST)) && shown.length > 0)
		known->text = strdup(buf_text(&shown)); /* without memory: no text */
	buf_free(&shown);
}

struct known *
cache_ask(struct cache *cache, struct slice address, int64_t now_s, bool *wants_probe)
{
	bool          may_probe = cache->pending < cache->settings.pending_limit;
	struct known *known = hash_get(&cache->known, address);

	*wants_probe = false;
	if (known == NULL)
		known = may_probe ? known_make(cache, address) : NULL;
	if (known == NULL)
		return NULL;
	if (has_expired(cache, known, now_s)) {
		known->status = VERIFY_UNKNOWN;
		text_set(known, SLICE_EMPTY);
	}
	if (known->is_probed)
		return known;
	if (is_due(cache, known, now_s) && may_probe) {
		known->is_probed = *wants_probe = true;
		known->probed_s = now_s;
		known->id[0] = '\0';
		cache->pending++;
	}
	known_line_up(cache, known);
	if (known->status != VERIFY_UNKNOWN || known->is_probed)
		return known;
	known_drop(cache, known);
	return NULL;
}

bool
cache_learn(struct cache *cache, struct known *known, enum verify_status status, struct slice text,
            int64_t now_s)
{
	bool is_kept = known->status != VERIFY_UNKNOWN && !has_expired(cache, known, now_s);

	known->is_probed = false;
	cache->pending--;
	if ((known->status == VERIFY_GOOD && is_kept && status != VERIFY_GOOD) ||
	    (known->status == VERIFY_BAD && is_kept && status == VERIFY_LATER)) {
		known_line_up(cache, known);
		return false;
	}
	known->status = status;
	known->updated_s = now_s;
	text_set(known, text);
	cache->changes++;
	if (status == VERIFY_UNKNOWN || (status != VERIFY_GOOD && !cache->settings.keeps_negative))
		known_drop(cache, known);
	else
		known_line_up(cache, known);
	return true;
}

size_t
cache_clean(struct cache *cache, int64_t now_s)
{
	size_t count = 0;

	for (size_t i = 0; i < LINE_PROBED; i++)
		LIST_EACH (node, &cache->lines[i]) {
			struct known *known = CONTAINER_OF(node, struct known, in_line);

			if (!has_expired(cache, known, now_s))
				continue;
			known_drop(cache, known);
			count++;
		}
	return count;
}

/* ---- in a file ---- */

bool
known_append_value(const struct known *known, struct buf *value)
{
	if (known->status != VERIFY_GOOD && known->status != VERIFY_BAD)
		return false;
	return buf_append_format(value, "%d:%lld:%lld:%s", (int)known->status,
	                         (long long)known->probed_s, (long long)known->updated_s,
	                         known->text == NULL ? "" : known->text);
}

bool
cache_take(struct cache *cache, struct slice address, struct slice value, int64_t now_s)
{
	struct slice  rest = value, status_text, probed_text, updated_text;
	int64_t       status, probed_s, updated_s;
	struct known  trial = { 0 };
	struct known *known;

	if (!slice_next_part(&rest, ':', &status_text) ||
	    !slice_next_part(&rest, ':', &probed_text) ||
	    !slice_next_part(&rest, ':', &updated_text) || rest.data == NULL ||
	    !number_parse(status_text, VERIFY_GOOD, VERIFY_UNKNOWN, &status) ||
	    !number_parse(probed_text, 0, INT64_MAX, &probed_s) ||
	    !number_parse(updated_text, 0, INT64_MAX, &updated_s))
		return false;
	trial.status = (enum verify_status)status;
	trial.updated_s = updated_s < now_s ? updated_s : now_s;
	if ((status != VERIFY_GOOD && (status != VERIFY_BAD || !cache->settings.keeps_negative)) ||
	    has_expired(cache, &trial, now_s) || hash_get(&cache->known, address) != NULL ||
	    cache->known.count >= cache->settings.limit)
		return false;
	known = known_make(cache, address);
	if (known == NULL)
		return false;
	known->status = trial.status;
	known->updated_s = trial.updated_s;
	known->probed_s = probed_s < now_s ? probed_s : now_s;
	text_set(known, rest);
	known_line_up(cache, known);
	return true;
}
