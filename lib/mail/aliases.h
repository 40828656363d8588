/*
 * aliases.h - the destinations of an alias, a .forward file or an :include: file.
 *
 * aliases(5), FACTS 2.11: addresses, |command, /file, :include:/file, \name; separated by commas
 * or line ends, quoted where they hold blanks. The text is an admin's or a user's, so anything may
 * stand there: linear time, no recursion, a malformed item is named and nothing is guessed.
 */
#ifndef DAKIYA_MAIL_ALIASES_H
#define DAKIYA_MAIL_ALIASES_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"

enum alias_kind {
	ALIAS_ADDRESS,
	ALIAS_COMMAND, /* text is the command, without '|' */
	ALIAS_FILE,    /* an absolute path; '/' at the end = Maildir */
	ALIAS_INCLUDE, /* an absolute path */
};

struct alias_destination {
	enum alias_kind kind;
	bool            is_literal; /* "\name": no further expansion */
	struct slice    text;       /* an address in internal form (a name alone has no domain) */
};

enum alias_result {
	ALIAS_FOUND,
	ALIAS_END,
	ALIAS_MALFORMED, /* *error says what; *rest is behind it, so that the others may be read */
};

/* The next destination off *rest; its text lies in the arena. */
enum alias_result alias_next(struct slice *rest, struct arena *arena,
                             struct alias_destination *destination, struct error *error);

/*
 * The content of a .forward or :include: file as text for alias_next: lines that begin with '#'
 * and empty ones dropped, lines that begin with a blank joined to the one before. False: no room.
 */
bool alias_join_lines(struct slice file, struct buf *out);

#endif
