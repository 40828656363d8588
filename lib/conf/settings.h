/*
 * settings.h - what is set, seen through the parameter table: defaults, expansion, types.
 *
 * The one place where a parameter's value comes from, for snapshots, checks and dakconf alike.
 * Borrows the values; nothing here is written after settings_init, so threads may share it.
 */
#ifndef DAKIYA_CONF_SETTINGS_H
#define DAKIYA_CONF_SETTINGS_H

#include "lib/conf/parameters.h"
#include "lib/conf/values.h"

/* Longest expanded value. */
#define SETTINGS_TEXT_MOST (256u * 1024)

struct settings {
	const struct values *values;
	const struct values *computed; /* defaults found on this host; may be NULL */
	bool                 is_stress;
	struct hash          rows; /* name -> struct parameter_row */
	char                 mydomain[256];
};

/* False when memory is out. */
bool settings_init(struct settings *settings, const struct values *values,
                   const struct values *computed);
void settings_free(struct settings *settings);

/* NULL when the table does not know the name. */
const struct parameter_row *settings_row(const struct settings *settings, struct slice name);
/* The unexpanded text: set, computed or the row's default; false when there is none. */
bool settings_text(const struct settings *settings, struct slice name, struct slice *text);
/* The unexpanded default: computed or the row's; false when there is none. */
bool settings_default(const struct settings *settings, struct slice name, struct slice *text);

/* Told of names that are used and defined nowhere; may be NULL in the calls below. */
struct settings_watch {
	void (*undefined)(void *context, struct slice name);
	void *context;
};
/* Appends the expansion of any text, or of a name's value. */
bool settings_expand(const struct settings *settings, const struct settings_watch *watch,
                     struct slice name, struct slice text, struct buf *out, struct error *error);

/* The unit of a bare number for a SECONDS row, from its default: 's' 'm' 'h' 'd' 'w'. */
char parameter_unit(const struct parameter_row *row);
/*
 * Checks an expanded value against its row and stores it in *parameters. False and *error
 * ("must be between 1 and 100, not 0") otherwise. text must live as long as *parameters.
 */
bool parameter_store(const struct parameter_row *row, const char *text,
                     struct parameters *parameters, struct error *error);
/*
 * Expands, checks and stores one row. *error is not prefixed. Strings live in the arena, or where
 * the text came from: the values, and settings itself.
 */
bool settings_store(const struct settings *settings, const struct settings_watch *watch,
                    const struct parameter_row *row, struct arena *arena,
                    struct parameters *parameters, struct error *error);

#endif
