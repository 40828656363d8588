/*
 * old_names.h - parameters under names that they had once, and the lmtp_ twins of smtp_ parameters.
 *
 * An old name whose meaning did not change is taken for its new one, with a warning, so that a
 * main.cf that is fifteen years old goes on working. One that is used by nothing stands in
 * postfix_names.def.
 */
#ifndef DAKIYA_CONF_OLD_NAMES_H
#define DAKIYA_CONF_OLD_NAMES_H

#include "lib/conf/report.h"
#include "lib/conf/values.h"

/* Sets the new names beside the old ones; what is set under its new name stays as it is. */
void old_names_translate(struct values *values, struct report *report);
/* Whether old_names_translate has the word about a name. */
bool old_name_is_known(struct slice name);

/*
 * A service lmtp reads smtp_ parameters; lmtp_X stands there for smtp_X. Appends the latter;
 * false when name is no such twin, or has a row of its own.
 */
bool old_name_lmtp_twin(struct slice name, struct buf *out);
/* Gives values its smtp_ parameters from the lmtp_ ones in `from`. False when memory is out. */
bool old_names_for_lmtp(struct values *values, const struct values *from);

#endif
