/* expand.c - what an alias, a .forward file and the files that they include say. See local.h. */
#include "local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/io/file.h"

#define FORWARD_MOST   (256u * 1024)
#define INCLUDE_MOST   (4u << 20)
#define INCLUDES_MOST  100 /* files, in all, and how deep they may be nested */
#define ADDRESSES_MOST 50000
#define PLACES_MOST    1000

/* A text whose destinations are being read; others wait below it. */
struct text {
	struct slice rest;
	unsigned     origin;
};

struct expansion {
	struct local_delivery *delivery;
	ARRAY(struct text) texts;
	size_t includes;
	bool   includes_are_ours; /* commands and files in them are as good as in the alias */
};

static bool
fail(struct local_delivery *delivery, const char *status, const char *what, const char *why)
{
	local_outcome(delivery, status[0] == '5' ? OUTCOME_FAILED : OUTCOME_DEFERRED, status,
	              "%s%s%s", what, why[0] != '\0' ? ": " : "", why);
	return false;
}

/* "alias list", ".forward of bob": whose text it is, for words. */
static const char *
whose(const struct local_delivery *delivery, char words[120])
{
	snprintf(words, 120, "%s %.*s",
	         delivery->record.kind == LOCAL_ALIAS ? "alias" : ".forward of",
	         SLICE_ARGS(slice_first(delivery->record.name, 80)));
	return words;
}

/* ---- files ---- */

/* Reads a regular file; *status is its. errno is set when it is not to be had. */
static bool
read_regular(const char *path, int flags, size_t most, struct stat *status, struct buf *out,
             struct error *error)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);

	if (fd < 0)
		return error_set_errno(error, "open %.300s", path);
	*out = BUF(most);
	bool ok = fstat(fd, status) == 0 || error_set_errno(error, "stat %.300s", path);
	if (ok && !S_ISREG(status->st_mode))
		ok = error_set(error, "%.300s is no regular file", path);
	ok = ok && file_read_all(fd, out, path, error);
	close(fd);
	return ok;
}

static bool
keep_lines(struct expansion *expansion, struct slice file, unsigned origin, struct error *error)
{
	struct arena *arena = &expansion->delivery->arena;
	struct buf    joined = BUF(file.length * 2 + 16);
	struct slice  kept = { NULL, 0 };

	if (alias_join_lines(file, &joined))
		kept = arena_copy(arena, buf_slice(&joined));
	buf_free(&joined);
	struct text text = { kept, origin };
	if (kept.data == NULL || !ARRAY_PUSH(&expansion->texts, text))
		return error_set(error, "out of memory");
	return true;
}

static bool
push_include(struct expansion *expansion, struct slice path)
{
	struct local_delivery *delivery = expansion->delivery;
	struct error           why = ERROR_NONE;
	struct stat            status;
	struct buf             content = BUF(0);
	char                  *name = arena_text(&delivery->arena, path);

	if (++expansion->includes > INCLUDES_MOST)
		return fail(delivery, "5.4.6", "too many :include: files, or one includes itself",
		            "");
	bool ok = name != NULL && read_regular(name, 0, INCLUDE_MOST, &status, &content, &why);
	if (ok && (status.st_mode & S_IWOTH) != 0)
		ok = error_set(&why, "%.300s is writable by everybody", name);
	if (ok && status.st_uid != 0 && status.st_uid != getuid())
		expansion->includes_are_ours = false;
	ok = ok && keep_lines(expansion, buf_slice(&content), ORIGIN_INCLUDE, &why);
	buf_free(&content);
	return ok ||
	       fail(delivery, "4.3.0", ":include:", name == NULL ? "out of memory" : why.text);
}

/* ---- destinations ---- */

/* The parameter's word for where it stands; the same for commands and files. */
static bool
is_allowed(const char *list, unsigned origin)
{
	struct slice rest = slice_from(list), word;
	const char  *name = origin == ORIGIN_ALIAS     ? "alias"
	                    : origin == ORIGIN_FORWARD ? "forward"
	                                               : "include";

	while (slice_next_word(&rest, " \t\r\n,", &word))
		if (slice_equal_fold(word, slice_from(name)))
			return true;
	return false;
}

/* "bob", "bob@here": the name whose alias or .forward this is. */
static bool
is_own_name(const struct local_delivery *delivery, struct slice address)
{
	struct address parts;

	if (!address_split(address, &parts) ||
	    (parts.domain.length > 0 && !slice_equal_fold(parts.domain, delivery->address.domain) &&
	     !slice_equal_fold(parts.domain, slice_from(delivery->parameters->myorigin))))
		return false;
	return slice_equal_fold(parts.local, delivery->record.name) ||
	       slice_equal_fold(parts.local, delivery->address.local);
}

static bool
add_address(struct expansion *expansion, const struct alias_destination *destination)
{
	struct local_delivery *delivery = expansion->delivery;

	if (is_own_name(delivery, destination->text)) {
		delivery->wants_mailbox = true;
		return true;
	}
	if (delivery->addresses.count >= ADDRESSES_MOST)
		return fail(delivery, "5.4.6", "the alias has too many addresses", "");
	return ARRAY_PUSH(&delivery->addresses, destination->text) ||
	       fail(delivery, "4.3.0", "out of memory", "");
}

static bool
add_place(struct expansion *expansion, const struct alias_destination *destination, unsigned origin)
{
	struct local_delivery *delivery = expansion->delivery;
	bool                   is_command = destination->kind == ALIAS_COMMAND;
	const char            *allowed = is_command ? delivery->parameters->allow_mail_to_commands
	                                            : delivery->parameters->allow_mail_to_files;

	if (!is_allowed(allowed, origin) ||
	    (origin == ORIGIN_INCLUDE && !expansion->includes_are_ours))
		return fail(delivery, "5.7.1",
		            is_command ? "mail to command is restricted"
		                       : "mail to file is restricted",
		            "");
	if (delivery->places.count >= PLACES_MOST)
		return fail(delivery, "5.4.6", "too many commands and files", "");
	return ARRAY_PUSH(&delivery->places, *destination) ||
	       fail(delivery, "4.3.0", "out of memory", "");
}

static bool
add_destination(struct expansion *expansion, const struct alias_destination *destination,
                unsigned origin)
{
	switch (destination->kind) {
	case ALIAS_ADDRESS: return add_address(expansion, destination);
	case ALIAS_COMMAND:
	case ALIAS_FILE: return add_place(expansion, destination, origin);
	case ALIAS_INCLUDE: return push_include(expansion, destination->text);
	}
	return true;
}

/* Until all texts are read; an :include: is read before what stands behind it. */
static bool
expand_texts(struct expansion *expansion)
{
	struct local_delivery   *delivery = expansion->delivery;
	struct alias_destination destination;
	struct error             why = ERROR_NONE;
	char                     words[120];

	while (expansion->texts.count > 0) {
		struct text      *text = &expansion->texts.items[expansion->texts.count - 1];
		unsigned          origin = text->origin;
		enum alias_result result =
			alias_next(&text->rest, &delivery->arena, &destination, &why);

		if (result == ALIAS_MALFORMED)
			return fail(delivery, "4.3.5", whose(delivery, words), why.text);
		if (result == ALIAS_END)
			expansion->texts.count--;
		else if (!add_destination(expansion, &destination, origin))
			return false;
	}
	return true;
}

/* ---- .forward ---- */

/*
 * Reads one candidate. True when it is there and may be used; *is_fatal: it cannot be told whether
 * it is there, so the mail waits. What others may have written is passed over with a warning.
 */
static bool
read_forward(struct expansion *expansion, const char *path, bool *is_fatal)
{
	struct error why = ERROR_NONE;
	struct stat  status = { 0 };
	struct buf   content = BUF(0);
	bool         is_there = false;

	*is_fatal = false;
	if (!read_regular(path, O_NOFOLLOW, FORWARD_MOST, &status, &content, &why)) {
		int reason = why.errno_value;

		*is_fatal = reason != 0 && reason != ENOENT && reason != ENOTDIR &&
		            reason != EACCES && reason != ELOOP;
		if (reason != ENOENT && reason != ENOTDIR && reason != EACCES)
			log_warning("%s", why.text);
		if (*is_fatal)
			fail(expansion->delivery, "4.3.0", why.text, "");
	} else if (status.st_uid != 0 && status.st_uid != getuid()) {
		log_warning("%s: has uid %u, not the user's: not used", path,
		            (unsigned)status.st_uid);
	} else if ((status.st_mode & S_IWOTH) != 0) {
		log_warning("%s: is writable by everybody: not used", path);
	} else {
		is_there = keep_lines(expansion, buf_slice(&content), ORIGIN_FORWARD, &why);
		*is_fatal = !is_there;
		if (*is_fatal)
			fail(expansion->delivery, "4.3.0", why.text, "");
	}
	buf_free(&content);
	return is_there;
}

/* The first file of forward_path that is there. False: the outcome is set. */
static bool
find_forward(struct expansion *expansion)
{
	struct local_delivery   *delivery = expansion->delivery;
	const struct parameters *parameters = delivery->parameters;
	struct buf               path = BUF(4096);
	struct slice             rest = slice_from(parameters->forward_path), item;
	struct error             why = ERROR_NONE;
	bool                     is_fatal = false, is_found = false;

	while (!is_fatal && !is_found && slice_next_word(&rest, " \t\r\n,", &item)) {
		char *text = arena_text(&delivery->arena, item);

		buf_clear(&path);
		if (text == NULL ||
		    !local_expand(delivery, text, parameters->forward_expansion_filter, &path,
		                  &why)) {
			fail(delivery, "4.3.5", "forward_path", why.text);
			is_fatal = true;
		} else if (path.length > 0 && path.data[0] == '/') {
			is_found = read_forward(expansion, buf_text(&path), &is_fatal);
		}
	}
	buf_free(&path);
	return !is_fatal;
}

bool
local_collect(struct local_delivery *delivery)
{
	struct expansion expansion = { .delivery = delivery, .includes_are_ours = true };
	struct text      text = { delivery->record.text, ORIGIN_ALIAS };
	bool             ok;

	if (delivery->record.kind == LOCAL_USER)
		ok = find_forward(&expansion);
	else
		ok = ARRAY_PUSH(&expansion.texts, text) ||
		     fail(delivery, "4.3.0", "out of memory", "");
	ok = ok && expand_texts(&expansion);
	ARRAY_FREE(&expansion.texts);
	bool is_empty = delivery->places.count == 0 && delivery->addresses.count == 0 &&
	                !delivery->wants_mailbox;
	if (ok && is_empty && delivery->record.kind == LOCAL_USER)
		delivery->wants_mailbox = true; /* no .forward, or an empty one */
	else if (ok && is_empty)
		ok = fail(delivery, "4.3.5", "the alias has no destination", "");
	return ok;
}
