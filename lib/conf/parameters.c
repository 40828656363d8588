/* parameters.c - the table of rows, made from the .def files; see parameters.h. */
#include "lib/conf/parameters.h"

#define PARAMETER(type_, name_, standard_, least_, most_, meaning_)                                \
	{ #name_,                                                                                  \
	  PARAMETER_##type_,                                                                       \
	  standard_,                                                                               \
	  least_,                                                                                  \
	  most_,                                                                                   \
	  meaning_,                                                                                \
	  offsetof(struct parameters, name_) },
const struct parameter_row parameter_rows[] = {
#include "lib/conf/parameters/all.def"
};
#undef PARAMETER

const size_t parameter_row_count = sizeof(parameter_rows) / sizeof(parameter_rows[0]);
