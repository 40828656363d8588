/*
 * posix.h - POSIX regular expressions written in PCRE2's syntax, for tables of type regexp.
 */
#ifndef DAKIYA_TABLE_POSIX_H
#define DAKIYA_TABLE_POSIX_H

#include "lib/base/buf.h"

/*
 * Appends the pattern in PCRE2's syntax: backslashes inside [...] are literal in POSIX, \< and \>
 * are ends of words in glibc, and in basic syntax it is \( that groups and ( that is literal. False
 * when out is full.
 */
bool posix_rewrite(struct slice pattern, bool is_basic, struct buf *out);

#endif
