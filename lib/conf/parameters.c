/* parameters.c - the table of rows, made from the .def files; see parameters.h. */
#include "lib/conf/parameters.h"

#include "lib/conf/places.h"

#define PARAMETER_AS(type_, member_, name_, standard_, least_, most_, meaning_)                    \
	{ name_,                                                                                   \
	  PARAMETER_##type_,                                                                       \
	  standard_,                                                                               \
	  least_,                                                                                  \
	  most_,                                                                                   \
	  meaning_,                                                                                \
	  offsetof(struct parameters, member_) },
#define PARAMETER(type_, name_, standard_, least_, most_, meaning_)                                \
	PARAMETER_AS(type_, name_, #name_, standard_, least_, most_, meaning_)
const struct parameter_row parameter_rows[] = {
#include "lib/conf/parameters/all.def"
};
#undef PARAMETER
#undef PARAMETER_AS

const size_t parameter_row_count = sizeof(parameter_rows) / sizeof(parameter_rows[0]);
