/*
 * entries.h - master.cf word by word, for showing and for editing.
 *
 * lib/conf's reader says what a service means here; this one keeps what was written, also of
 * services that this suite does not run, and where it stands in the file.
 */
#ifndef DAKIYA_DAKCONF_ENTRIES_H
#define DAKIYA_DAKCONF_ENTRIES_H

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/conf/values.h"

enum entry_field {
	FIELD_SERVICE,
	FIELD_TYPE,
	FIELD_PRIVATE,
	FIELD_UNPRIVILEGED,
	FIELD_CHROOT,
	FIELD_WAKEUP,
	FIELD_PROCESS_LIMIT,
	FIELD_COMMAND, /* the program alone; its arguments stand beside it */
	FIELD_COUNT,
};

struct entry {
	const char *fields[FIELD_COUNT];
	ARRAY(const char *) arguments; /* -o and its name=value are two; braces are taken off */
	size_t option_count;           /* of them, those in front: -o name=value, -v, -D */
	size_t first_byte, end_byte;
};

struct master_text {
	const char  *path;
	struct arena arena;
	ARRAY(struct entry) entries;
	struct buf remarks; /* what is odd in it: one line each */
};

/* The names of the fields, as -F has them. */
extern const char *const entry_field_names[FIELD_COUNT];

/* False and *error for text that is no master.cf. Free it in any case. */
bool master_text_parse(struct master_text *master, const char *path, struct slice text,
                       struct error *error);
void master_text_free(struct master_text *master);

/* One entry from its logical line; remarks may be NULL. Release with entry_free. */
bool entry_parse(struct slice line, struct arena *arena, struct entry *entry, struct buf *remarks,
                 struct error *error);
/* Whether text may stand in this field. *error: `invalid type field "x" in "LINE"'. */
bool entry_field_is_sound(enum entry_field field, struct slice text, struct slice line,
                          struct error *error);
/* Splits "program arguments" and takes the place of the entry's command. */
bool entry_set_command(struct entry *entry, struct slice text, struct arena *arena,
                       struct error *error);
void entry_free(struct entry *entry);

/* Whether argument number at is -o with a sound name=value behind it. */
bool entry_override(const struct entry *entry, size_t at, struct slice *name, struct slice *value);
/* All of them; the last one of a name wins. */
bool entry_overrides(const struct entry *entry, struct values *values);
/* The same with service_name and process_name: what $names in it may be. */
bool entry_scope(const struct entry *entry, struct values *values);
/* service and type; "*" fits any. An empty type fits any, too. */
bool entry_matches(const struct entry *entry, struct slice service, struct slice type);

/* Appends program and arguments; folded, lines of up to 79 columns, the first begun at column. */
void entry_append_command(const struct entry *entry, bool is_folded, size_t column,
                          struct buf *out);
/* Appends the whole entry in postconf's columns, with its line end. */
void entry_append(const struct entry *entry, bool is_folded, struct buf *out);

#endif
