/* tls_served.c - see tls_served.h. */
#include "lib/tls/tls_served.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "lib/ipc/messages.h"
#include "lib/tls/tls_internal.h"

#define NAMES_MOST      (64u * 1024) /* of one certificate */
#define NAMES_TOLD_MOST 400

/* The first chain of a kind stays, unless it is over and this one is not. */
static void
choice_add(struct tls_choice *choice, const struct tls_chain *chain)
{
	for (size_t i = 0; i < choice->count; i++) {
		if (EVP_PKEY_get_id(choice->chains[i]->key) != EVP_PKEY_get_id(chain->key))
			continue;
		if (!tls_chain_is_current(choice->chains[i]) && tls_chain_is_current(chain))
			choice->chains[i] = chain;
		return;
	}
	if (choice->count < TLS_KINDS_MOST)
		choice->chains[choice->count++] = chain;
}

static bool
index_name(struct hash *names, struct slice name, const struct tls_chain *chain)
{
	struct tls_choice *choice = hash_get(names, name);

	if (choice == NULL) {
		choice = calloc(1, sizeof(*choice));
		if (choice == NULL || !hash_put(names, name, choice, NULL)) {
			free(choice);
			return false;
		}
	}
	choice_add(choice, chain);
	return true;
}

static bool
index_chain(struct tls_served *served, const struct tls_chain *chain)
{
	struct buf   names = BUF(NAMES_MOST);
	struct slice rest, name;
	bool         is_ok;

	if (chain->server_name != NULL) {
		is_ok = buf_append_lower(&names, slice_from(chain->server_name)) &&
		        index_name(&served->mapped, buf_slice(&names), chain);
		buf_free(&names);
		return is_ok;
	}
	is_ok = tls_chain_names(chain, &names);
	rest = buf_slice(&names);
	while (is_ok && slice_next_word(&rest, " ", &name))
		is_ok = index_name(&served->names, name, chain);
	buf_free(&names);
	return is_ok;
}

/* The first that is for its own names; one of a table when there is no other. */
static const struct tls_chain *
first_chain(const struct tls_served *served)
{
	for (size_t i = 0; i < served->chains.list.count; i++)
		if (served->chains.list.items[i].server_name == NULL)
			return &served->chains.list.items[i];
	return &served->chains.list.items[0];
}

/* What goes with the first chain under its own names, then whatever else there is of other kinds.
 */
static void
choose_first(struct tls_served *served)
{
	const struct tls_chain *first = first_chain(served);
	struct buf              names = BUF(NAMES_MOST);
	struct slice            rest, name;

	choice_add(&served->first, first);
	if (tls_chain_names(first, &names)) {
		rest = buf_slice(&names);
		while (slice_next_word(&rest, " ", &name)) {
			const struct tls_choice *choice = hash_get(&served->names, name);

			for (size_t i = 0; choice != NULL && i < choice->count; i++)
				choice_add(&served->first, choice->chains[i]);
		}
	}
	for (size_t i = 0; i < served->chains.list.count; i++)
		if (served->chains.list.items[i].server_name == NULL)
			choice_add(&served->first, &served->chains.list.items[i]);
	buf_free(&names);
}

struct tls_served *
tls_served_create(struct slice bundle, const struct tls_served *older, struct error *error)
{
	struct tls_served *served = calloc(1, sizeof(*served));
	bool               is_ok;

	if (served == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	served->references = 1;
	served->chains = TLS_CHAINS_NONE;
	is_ok = tls_chains_read(bundle, older == NULL ? NULL : &older->chains, &served->chains,
	                        error);
	for (size_t i = 0; is_ok && i < served->chains.list.count; i++)
		if (!index_chain(served, &served->chains.list.items[i]))
			is_ok = error_set(error, "out of memory");
	if (!is_ok) {
		tls_served_release(served);
		return NULL;
	}
	choose_first(served);
	return served;
}

struct tls_served *
tls_served_hold(struct tls_served *served)
{
	atomic_fetch_add(&served->references, 1);
	return served;
}

void
tls_served_release(struct tls_served *served)
{
	if (served == NULL || atomic_fetch_sub(&served->references, 1) != 1)
		return;
	hash_free(&served->names, free);
	hash_free(&served->mapped, free);
	tls_chains_free(&served->chains);
	free(served);
}

/* The name in the tables, then .its.parents. */
static const struct tls_choice *
choose_mapped(const struct tls_served *served, struct slice name)
{
	const struct tls_choice *found = hash_get(&served->mapped, name);
	size_t                   dot;

	if (served->mapped.count == 0)
		return NULL;
	while (found == NULL && (dot = slice_find_byte(name, '.')) != SLICE_NOT_FOUND) {
		found = dot > 0 ? hash_get(&served->mapped, slice_from_offset(name, dot)) : NULL;
		name = slice_from_offset(name, dot + 1);
	}
	return found;
}

const struct tls_choice *
tls_served_choose(const struct tls_served *served, const char *name)
{
	char   key[256];
	size_t length = name == NULL ? 0 : strlen(name);

	if (length > 0 && name[length - 1] == '.')
		length--;
	if (length == 0 || length >= sizeof(key))
		return &served->first;
	for (size_t i = 0; i < length; i++)
		key[i] = ascii_lower(name[i]);

	const struct tls_choice *found = choose_mapped(served, slice_of(key, length));
	if (found != NULL)
		return found;
	found = hash_get(&served->names, slice_of(key, length));
	size_t dot = slice_find_byte(slice_of(key, length), '.');
	/* A star stands for one whole label. */
	if (found == NULL && dot != SLICE_NOT_FOUND && dot > 0) {
		key[dot - 1] = '*';
		found = hash_get(&served->names, slice_of(key + dot - 1, length - dot + 1));
	}
	return found == NULL ? &served->first : found;
}

static int64_t
end_of(const X509 *certificate)
{
	struct tm end;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1)
		return 0;
	return (int64_t)timegm(&end);
}

/* Whole names, as many as there is room for. */
static struct slice
names_told(const struct buf *names)
{
	struct slice all = buf_slice(names);

	if (all.length <= NAMES_TOLD_MOST)
		return all;
	size_t end = slice_find_last_byte(slice_first(all, NAMES_TOLD_MOST), ' ');
	return slice_first(all, end == SLICE_NOT_FOUND ? 0 : end);
}

bool
tls_served_describe(const struct tls_served *served, struct buf *list)
{
	bool is_ok = true;

	for (size_t i = 0; is_ok && i < served->chains.list.count; i++) {
		const struct tls_chain *chain = &served->chains.list.items[i];
		struct buf              names = BUF(NAMES_MOST);

		is_ok = tls_chain_names(chain, &names);
		struct msg_served_certificate record = {
			.file = slice_from(chain->certificate_file),
			.names = names_told(&names),
			.kind = slice_from(tls_chain_kind(chain)),
			.not_after_s = end_of(chain->certificate),
		};
		is_ok = is_ok && msg_served_certificate_append(list, &record);
		buf_free(&names);
	}
	return is_ok;
}
