/*
 * number.h - text to numbers, with bounds, without locale.
 *
 * The whole slice must be the number: no blanks, no sign unless the least value is negative, no
 * leading '+'. The result is untouched when false is returned.
 */
#ifndef DAKIYA_BASE_NUMBER_H
#define DAKIYA_BASE_NUMBER_H

#include <stdint.h>

#include "lib/base/slice.h"

bool number_parse(struct slice text, int64_t least, int64_t most, int64_t *value);
bool number_parse_hex(struct slice text, uint64_t most, uint64_t *value);
/*
 * Digits with an optional unit: s m h d w (seconds), *value in seconds. default_unit is the unit
 * of a bare number. Postfix's time values.
 */
bool number_parse_seconds(struct slice text, char default_unit, int64_t *value);

#endif
