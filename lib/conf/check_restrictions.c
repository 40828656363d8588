/* check_restrictions.c - restriction lists: names, arguments, classes; see check.h. */
#include "lib/conf/check.h"

void
check_restrictions(const struct configuration *configuration, struct report *report)
{
	(void)configuration;
	(void)report;
}
