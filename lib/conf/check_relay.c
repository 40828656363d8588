/* check_relay.c - see check_relay.h. */
#include "lib/conf/check_relay.h"

#include <stdio.h>
#include <string.h>

#include "lib/conf/check.h"
#include "lib/conf/restrictions.h"

#define DEPTH_MOST 20
#define TEXT_MOST  (64u * 1024)
#define WAYS_MOST  20 /* of them are told; the rest is counted */
/* Words looked at, with classes in classes: behind it the list counts as one that goes on. */
#define WORDS_MOST 1000000

/* Where a walk through a list came to an end. */
enum step {
	STEP_ON,     /* not at all: what follows counts */
	STEP_STOPS,  /* the stranger is refused */
	STEP_PASSES, /* nothing behind it is asked */
};

/* Who can make a table's entry match. */
enum matcher {
	MATCHES_CLAIM,     /* whoever claims the HELO name or sender */
	MATCHES_CLIENT,    /* the client with that name or address */
	MATCHES_RECIPIENT, /* mail to that address or domain */
	MATCHES_NOBODY,    /* only who has logged in */
};

struct walk {
	const struct settings     *settings;
	const struct relay_reader *reader;
	enum matcher               matcher; /* of a table that stands there alone */
	unsigned                   depth;
	size_t                    *words_left;
	struct buf                 ways;  /* through for some strangers */
	size_t                     count; /* of ways */
	struct buf                 where; /* the word at which it ended */
};

static enum step walk_list(struct walk *walk, struct slice text);

/* ---- words and tables ---- */

bool
relay_each_own_entry(struct slice spec,
                     void (*visit)(void *visitor, struct slice key, struct slice value),
                     void *visitor)
{
	struct slice rest, item;

	if (slice_starts_with(spec, SLICE("proxy:")))
		spec = slice_from_offset(spec, 6);
	if (slice_starts_with(spec, SLICE("static:"))) {
		item = slice_trim(slice_from_offset(spec, 7));
		if (item.length >= 2 && item.data[0] == '{')
			item = slice_trim(slice_of(item.data + 1, item.length - 2));
		visit(visitor, SLICE_EMPTY, item);
		return true;
	}
	if (!slice_starts_with(spec, SLICE("inline:{")) || spec.data[spec.length - 1] != '}')
		return false;
	rest = slice_of(spec.data + 8, spec.length - 9);
	while (restriction_next_word(&rest, &item)) {
		if (item.length >= 2 && item.data[0] == '{')
			item = slice_trim(slice_of(item.data + 1, item.length - 2));
		size_t equals = slice_find_byte(item, '=');
		if (equals != SLICE_NOT_FOUND)
			visit(visitor, slice_trim(slice_first(item, equals)),
			      slice_trim(slice_from_offset(item, equals + 1)));
	}
	return true;
}

static bool
list_has(const struct settings *settings, const char *list, bool (*is_it)(struct slice word),
         struct buf *found)
{
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word;
	bool         has = false;

	if (check_expanded(settings, list, &text)) {
		rest = buf_slice(&text);
		while (!has && restriction_next_word(&rest, &word))
			has = is_it(word);
		if (has && found != NULL) {
			buf_append_format(found, "%s has ", list);
			buf_append_printable(found, slice_first(word, 200));
		}
	}
	buf_free(&text);
	return has;
}

static bool
is_all_domains(struct slice word)
{
	return slice_starts_with(word, SLICE("static:")) ||
	       slice_starts_with(word, SLICE("proxy:static:"));
}

static bool
is_all_networks(struct slice word)
{
	return is_all_domains(word) || (word.data[0] != '!' && slice_ends_with(word, SLICE("/0")));
}

static const char *const class_lists[] = { "mydestination", "relay_domains",
	                                   "virtual_mailbox_domains", "virtual_alias_domains" };
#define CLASS_COUNT (sizeof(class_lists) / sizeof(class_lists[0]))

static bool
is_own_domain(const struct walk *walk, struct slice domain)
{
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word;
	bool         is_own =
		walk->reader != NULL &&
		walk->reader->look_up_domain(walk->reader->context, domain) != RELAY_DOMAIN_FOREIGN;

	for (size_t i = 0; !is_own && i < CLASS_COUNT; i++) {
		if (!check_expanded(walk->settings, class_lists[i], &text))
			continue;
		rest = buf_slice(&text);
		while (!is_own && restriction_next_word(&rest, &word))
			is_own = slice_equal_fold(word, domain);
	}
	buf_free(&text);
	return is_own;
}

static void __attribute__((format(printf, 2, 3)))
add_way(struct walk *walk, const char *format, ...)
{
	va_list arguments;

	if (walk->count++ >= WAYS_MOST)
		return;
	buf_append_text(&walk->ways, walk->ways.length == 0 ? "" : "; ");
	va_start(arguments, format);
	buf_append_vformat(&walk->ways, format, arguments);
	va_end(arguments);
}

/* ---- what refuses foreign destinations ---- */

/* reject_unauth_destination stops them, unless every domain is ours. */
static enum step
stop_at_foreign(struct walk *walk, struct slice word)
{
	/* Nobody has these in a list; a pattern or static: answers for them. */
	static const char *const probes[] = { "domain-of-strangers-7f3k.com",
		                              "domain-of-strangers-7f3k.net",
		                              "domain-of-strangers-7f3k.org" };
	const size_t             probe_count = sizeof(probes) / sizeof(probes[0]);
	size_t                   taken = 0;
	struct buf               found = BUF(1000);
	/* Mail for a domain that is delivered here goes no further. */
	bool takes_all = list_has(walk->settings, "relay_domains", is_all_domains, &found);

	for (size_t i = 0; walk->reader != NULL && !takes_all && i < probe_count; i++)
		taken +=
			walk->reader->look_up_domain(walk->reader->context,
		                                     slice_from(probes[i])) == RELAY_DOMAIN_RELAYED;
	if (!takes_all && taken > 0)
		buf_append_text(&found, "a table in relay_domains answers for");
	buf_clear(&walk->where);
	buf_append_printable(&walk->where, word);
	if (takes_all || taken == probe_count)
		buf_append_format(&walk->where, " takes every domain for ours: %s",
		                  buf_text(&found));
	else if (taken > 0)
		add_way(walk, "to some domains: %s domains that are not ours", buf_text(&found));
	buf_free(&found);
	return takes_all || taken == probe_count ? STEP_ON : STEP_STOPS;
}

/* Everybody who has a certificate of an authority that is trusted. */
static enum step
pass_certificates(struct walk *walk)
{
	struct buf asked = BUF(100), required = BUF(100);
	bool       is_asked = check_expanded(walk->settings, "smtpd_tls_ask_ccert", &asked) &&
	                check_expanded(walk->settings, "smtpd_tls_req_ccert", &required) &&
	                (slice_equal_fold(buf_slice(&asked), SLICE("yes")) ||
	                 slice_equal_fold(buf_slice(&required), SLICE("yes")));

	if (is_asked)
		add_way(walk, "permit_tls_all_clientcerts admits whoever has a certificate from an "
		              "authority in smtpd_tls_CAfile or smtpd_tls_CApath");
	buf_free(&asked);
	buf_free(&required);
	return STEP_ON;
}

/* Whoever has a domain can name this host among its mail exchangers. */
static enum step
pass_backup(struct walk *walk)
{
	struct buf networks = BUF(SETTINGS_TEXT_MOST);

	if (!check_expanded(walk->settings, "permit_mx_backup_networks", &networks) ||
	    slice_is_empty(slice_trim(buf_slice(&networks))))
		add_way(walk, "permit_mx_backup admits mail for every domain that names this host "
		              "among its mail exchangers; permit_mx_backup_networks says whose "
		              "domains are meant");
	buf_free(&networks);
	return STEP_ON;
}

/* ---- tables ---- */

struct entries {
	struct walk *walk;
	struct slice restriction; /* "check_sender_access", or empty */
	struct slice spec;
	enum matcher matcher;
	enum step    step; /* of what everybody can have */
};

static enum matcher
matcher_of(const struct walk *walk, struct slice restriction)
{
	static const struct {
		const char  *start;
		enum matcher matcher;
	} rows[] = {
		{ "check_client_", MATCHES_CLIENT },
		{ "check_reverse_client_", MATCHES_CLIENT },
		{ "check_helo_", MATCHES_CLAIM },
		{ "check_sender_", MATCHES_CLAIM },
		{ "check_recipient_", MATCHES_RECIPIENT },
		{ "check_", MATCHES_NOBODY },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (slice_starts_with_fold(restriction, slice_from(rows[i].start)))
			return rows[i].matcher;
	}
	return walk->matcher;
}

static bool
is_all_digits(struct slice word)
{
	for (size_t i = 0; i < word.length; i++) {
		if (!ascii_is_digit(word.data[i]))
			return false;
	}
	return word.length > 0;
}

/* What a result does to the stranger whose entry it is. */
static enum step
step_of_result(struct walk *walk, struct slice value)
{
	static const char *const refusing[] = { "REJECT", "DEFER", "DEFER_IF_PERMIT", "DISCARD" };
	static const char *const neutral[] = { "DUNNO", "DEFER_IF_REJECT", "HOLD",    "FILTER",
		                               "BCC",   "REDIRECT",        "PREPEND", "WARN",
		                               "INFO" };
	struct slice             rest = slice_trim(value), word;

	if (!slice_next_word(&rest, " \t\r\n", &word))
		return STEP_ON;
	if (slice_equal_fold(word, SLICE("OK")))
		return STEP_PASSES;
	if (is_all_digits(word))
		return word.length == 3 && (word.data[0] == '4' || word.data[0] == '5')
		               ? STEP_STOPS
		               : STEP_PASSES;
	for (size_t i = 0; i < sizeof(refusing) / sizeof(refusing[0]); i++) {
		if (slice_equal_fold(word, slice_from(refusing[i])))
			return STEP_STOPS;
	}
	for (size_t i = 0; i < sizeof(neutral) / sizeof(neutral[0]); i++) {
		if (slice_equal_fold(word, slice_from(neutral[i])))
			return STEP_ON;
	}
	/* Restrictions as a result. Their own place in the walk is of no interest. */
	struct walk inner = { .settings = walk->settings,
		              .reader = walk->reader,
		              .matcher = walk->matcher,
		              .depth = walk->depth + 1,
		              .words_left = walk->words_left,
		              .ways = BUF(TEXT_MOST),
		              .where = BUF(TEXT_MOST) };
	enum step   step = inner.depth > DEPTH_MOST ? STEP_ON : walk_list(&inner, value);
	if (step != STEP_PASSES && inner.count > 0)
		add_way(walk, "%s", buf_text(&inner.ways));
	buf_free(&inner.ways);
	buf_free(&inner.where);
	return step;
}

static void
add_entry(struct entries *entries, struct slice key)
{
	struct walk *walk = entries->walk;
	struct buf   shown = BUF(2000);
	size_t       at = slice_find_last_byte(key, '@');
	struct slice domain = at == SLICE_NOT_FOUND ? key : slice_from_offset(key, at + 1);

	if (domain.length > 0 && domain.data[0] == '.')
		domain = slice_from_offset(domain, 1);
	buf_append_printable(&shown, slice_first(key, 200));
	buf_append_text(&shown, " in ");
	buf_append_printable(&shown, slice_first(entries->spec, 300));
	switch (entries->matcher) {
	case MATCHES_NOBODY: break;
	case MATCHES_CLAIM:
		/* The first such entry is hole enough. */
		if (entries->step != STEP_PASSES) {
			buf_clear(&walk->where);
			buf_append_printable(&walk->where, entries->restriction);
			buf_append_format(&walk->where, ", which permits whoever claims %s",
			                  buf_text(&shown));
			entries->step = STEP_PASSES;
		}
		break;
	case MATCHES_CLIENT: add_way(walk, "the client %s", buf_text(&shown)); break;
	case MATCHES_RECIPIENT:
		/* "user@" is that user of every domain. */
		if (domain.length == 0 || !is_own_domain(walk, domain))
			add_way(walk, "everybody to the recipient %s", buf_text(&shown));
		break;
	}
	buf_free(&shown);
}

static bool
is_everybody(struct slice key)
{
	return key.length == 0 || slice_ends_with(key, SLICE("/0")) ||
	       slice_equal(key, SLICE("/./")) || slice_equal(key, SLICE("/.*/")) ||
	       slice_equal(key, SLICE("/^/")) || slice_equal(key, SLICE("//"));
}

static void
visit_entry(void *context, struct slice key, struct slice value)
{
	struct entries *entries = context;
	enum step       step =
                entries->matcher == MATCHES_NOBODY ? STEP_ON : step_of_result(entries->walk, value);

	if (step == STEP_ON || entries->step != STEP_ON)
		return;
	if (is_everybody(key)) {
		entries->step = step;
		buf_clear(&entries->walk->where);
		buf_append_printable(&entries->walk->where, entries->restriction);
		buf_append_text(&entries->walk->where, entries->restriction.length > 0 ? " " : "");
		buf_append_printable(&entries->walk->where, slice_first(entries->spec, 300));
		if (step == STEP_PASSES)
			buf_append_text(&entries->walk->where, ", which permits everybody");
	} else if (step == STEP_PASSES)
		add_entry(entries, key);
}

static enum step
walk_table(struct walk *walk, struct slice restriction, struct slice spec)
{
	struct entries entries = { walk, restriction, spec, matcher_of(walk, restriction),
		                   STEP_ON };

	if (!relay_each_own_entry(spec, visit_entry, &entries) && walk->reader != NULL)
		(void)walk->reader->each_entry(walk->reader->context, spec, visit_entry, &entries);
	return entries.step;
}

/* ---- lists ---- */

static enum step
walk_class(struct walk *walk, struct slice name)
{
	struct buf text = BUF(SETTINGS_TEXT_MOST), name_text = BUF(1000);
	enum step  step = STEP_ON;

	if (walk->depth < DEPTH_MOST && buf_append(&name_text, name) &&
	    check_expanded(walk->settings, buf_text(&name_text), &text)) {
		walk->depth++;
		step = walk_list(walk, buf_slice(&text));
		walk->depth--;
		if (step != STEP_ON)
			buf_append_format(&walk->where, " (class %s)", buf_text(&name_text));
	}
	buf_free(&text);
	buf_free(&name_text);
	return step;
}

/* Restrictions without an argument, other than those that stop foreign destinations. */
static enum step
step_of_word(struct walk *walk, struct slice word)
{
	static const struct {
		const char *word;
		enum step   step;
	} rows[] = {
		{ "permit", STEP_PASSES },
		{ "reject", STEP_STOPS },
		{ "defer", STEP_STOPS },
		{ "defer_if_permit", STEP_STOPS },
	};

	if (slice_equal_fold(word, SLICE("permit_tls_all_clientcerts")))
		return pass_certificates(walk);
	if (slice_equal_fold(word, SLICE("permit_mx_backup")))
		return pass_backup(walk);
	if (slice_equal_fold(word, SLICE("permit_mynetworks"))) {
		struct buf found = BUF(1000);
		bool       is_all = list_has(walk->settings, "mynetworks", is_all_networks, &found);

		if (is_all) {
			buf_clear(&walk->where);
			buf_append_format(&walk->where, "permit_mynetworks, for %s",
			                  buf_text(&found));
		}
		buf_free(&found);
		return is_all ? STEP_PASSES : STEP_ON;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (slice_equal_fold(word, slice_from(rows[i].word))) {
			buf_clear(&walk->where);
			buf_append_text(&walk->where, rows[i].word);
			return rows[i].step;
		}
	}
	return STEP_ON;
}

static enum step
walk_word(struct walk *walk, struct slice word, struct slice *rest)
{
	const struct restriction_name *row = restriction_find(word);
	struct slice                   argument = SLICE_EMPTY;

	if (row != NULL && row->argument != RESTRICTION_TAKES_NONE &&
	    row->argument != RESTRICTION_TAKES_RESTRICTION)
		(void)restriction_next_word(rest, &argument);
	if (row != NULL && row->argument == RESTRICTION_TAKES_TABLE)
		return walk_table(walk, word, argument);
	if (row != NULL && row->argument == RESTRICTION_TAKES_SERVICE)
		add_way(walk, "whoever the policy service %.*s permits",
		        SLICE_ARGS(slice_first(argument, 200)));
	if (row != NULL && row->instead != NULL)
		word = slice_from(row->instead);
	if (slice_equal_fold(word, SLICE("reject_unauth_destination")) ||
	    slice_equal_fold(word, SLICE("defer_unauth_destination")))
		return stop_at_foreign(walk, word);
	if (row != NULL)
		return step_of_word(walk, word);
	if (restriction_is_class(walk->settings, word))
		return walk_class(walk, word);
	return slice_contains_byte(word, ':') ? walk_table(walk, SLICE_EMPTY, word) : STEP_ON;
}

static enum step
walk_list(struct walk *walk, struct slice text)
{
	struct slice rest = text, word;
	enum step    step = STEP_ON;
	bool         is_warning = false;

	while (step == STEP_ON && *walk->words_left > 0 && restriction_next_word(&rest, &word)) {
		(*walk->words_left)--;
		if (slice_equal_fold(word, SLICE("warn_if_reject"))) {
			is_warning = true;
			continue;
		}
		step = walk_word(walk, word, &rest);
		if (is_warning && step == STEP_STOPS) {
			buf_clear(&walk->where);
			step = STEP_ON;
		}
		is_warning = false;
	}
	return step;
}

/* ---- all lists of a service ---- */

/* Those that decide about relaying first: they are named when several refuse. */
static const struct {
	const char  *name;
	enum matcher matcher;
	bool         is_told; /* when strangers pass all of them */
} lists[] = {
	{ "smtpd_relay_restrictions", MATCHES_RECIPIENT, true },
	{ "smtpd_recipient_restrictions", MATCHES_RECIPIENT, true },
	{ "smtpd_client_restrictions", MATCHES_CLIENT, false },
	{ "smtpd_helo_restrictions", MATCHES_CLAIM, false },
	{ "smtpd_sender_restrictions", MATCHES_CLAIM, false },
	{ "smtpd_data_restrictions", MATCHES_RECIPIENT, false },
	{ "smtpd_end_of_data_restrictions", MATCHES_RECIPIENT, false },
};

/* How a stranger fares with one list; *shown is one phrase about it. */
static enum relay_verdict
evaluate_list(const struct settings *settings, const struct relay_reader *reader, size_t index,
              struct buf *shown)
{
	struct buf         text = BUF(SETTINGS_TEXT_MOST);
	size_t             words_left = WORDS_MOST;
	struct walk        walk = { .settings = settings,
		                    .reader = reader,
		                    .matcher = lists[index].matcher,
		                    .words_left = &words_left,
		                    .ways = BUF(TEXT_MOST),
		                    .where = BUF(TEXT_MOST) };
	enum relay_verdict verdict = RELAY_ALL;

	if (!check_expanded(settings, lists[index].name, &text))
		buf_clear(&text); /* an error of its own */
	bool      is_empty = slice_is_empty(slice_trim(buf_slice(&text)));
	enum step step = walk_list(&walk, buf_slice(&text));
	if (step == STEP_STOPS && walk.count == 0) {
		verdict = RELAY_NONE;
		buf_append_format(shown, "%s: %s", lists[index].name, buf_text(&walk.where));
	} else if (step == STEP_STOPS) {
		verdict = RELAY_SOME;
		buf_append_format(shown, "%s: %s", lists[index].name, buf_text(&walk.ways));
		if (walk.count > WAYS_MOST)
			buf_append_format(shown, " and %zu more", walk.count - WAYS_MOST);
	} else if (step == STEP_PASSES)
		buf_append_format(shown, "%s ends at %s", lists[index].name, buf_text(&walk.where));
	else
		buf_append_format(shown, "%s %s%s", lists[index].name,
		                  is_empty                 ? "is empty"
		                  : walk.where.length == 0 ? "refuses nobody"
		                                           : "refuses nobody: ",
		                  is_empty ? "" : buf_text(&walk.where));
	buf_free(&text);
	buf_free(&walk.ways);
	buf_free(&walk.where);
	return verdict;
}

enum relay_verdict
relay_evaluate(const struct settings *settings, const struct relay_reader *reader, struct buf *text)
{
	struct buf         best = BUF(TEXT_MOST), open = BUF(TEXT_MOST);
	enum relay_verdict verdict = RELAY_ALL;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct buf         shown = BUF(TEXT_MOST);
		enum relay_verdict one = evaluate_list(settings, reader, i, &shown);

		if (one < verdict) {
			verdict = one;
			buf_clear(&best);
			buf_append(&best, buf_slice(&shown));
		} else if (one == RELAY_ALL && lists[i].is_told) {
			buf_append_text(&open, open.length == 0 ? "" : ", ");
			buf_append(&open, buf_slice(&shown));
		}
		buf_free(&shown);
	}
	buf_append(text, verdict == RELAY_ALL ? buf_slice(&open) : buf_slice(&best));
	buf_free(&best);
	buf_free(&open);
	return verdict;
}
