/*
 * parameters.h - every main.cf parameter is one row; this makes the struct of their values.
 *
 * Rows stand in lib/conf/parameters/ROOM.def, listed in lib/conf/parameters/all.def:
 *
 *   PARAMETER(type, name, default, least, most, "Meaning, as main.cf(5) prints it.")
 *   PARAMETER_AS(type, member, "name", ...) for a name that C does not take (2bounce_...)
 *
 *   STRING   const char *, fully expanded; least and most are NULL
 *   RAW      const char *, not expanded (${recipient} and the like are filled in later)
 *   BOOLEAN  bool, "yes" or "no"
 *   INTEGER  int64_t
 *   SECONDS  int64_t in seconds; a bare number takes the unit of the default ("300s", "5d")
 *   CHOICE   const char *, one of the words in `least`, separated by blanks; `most`, when given, is
 *            the word that an empty value stands for
 *
 * Defaults are main.cf text and may use $other and ${stress?{x}:{y}}. The checked values for one
 * service (its -o overrides applied) are a `const struct parameters`; nobody changes one.
 */
#ifndef DAKIYA_CONF_PARAMETERS_H
#define DAKIYA_CONF_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAMETER_C_STRING  const char *
#define PARAMETER_C_RAW     const char *
#define PARAMETER_C_CHOICE  const char *
#define PARAMETER_C_BOOLEAN bool
#define PARAMETER_C_INTEGER int64_t
#define PARAMETER_C_SECONDS int64_t

struct parameters {
#define PARAMETER(type, name, standard, least, most, meaning)            PARAMETER_C_##type name;
#define PARAMETER_AS(type, member, name, standard, least, most, meaning) PARAMETER_C_##type member;
#include "lib/conf/parameters/all.def"
#undef PARAMETER
#undef PARAMETER_AS
};

enum parameter_type {
	PARAMETER_STRING,
	PARAMETER_RAW,
	PARAMETER_CHOICE,
	PARAMETER_BOOLEAN,
	PARAMETER_INTEGER,
	PARAMETER_SECONDS,
};

struct parameter_row {
	const char         *name;
	enum parameter_type type;
	const char         *standard; /* the default, as main.cf text */
	const char         *least;
	const char         *most;
	const char         *meaning;
	size_t              offset; /* of the member in struct parameters */
};

extern const struct parameter_row parameter_rows[];
extern const size_t               parameter_row_count;

#endif
