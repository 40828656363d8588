/* version.c - see version.h. */
#include "lib/conf/version.h"

#include <stdio.h>
#include <string.h>

#include "lib/conf/parameters.h"

const char *
dakiya_version(void)
{
	for (size_t i = 0; i < parameter_row_count; i++) {
		if (strcmp(parameter_rows[i].name, "mail_version") == 0)
			return parameter_rows[i].standard;
	}
	return "";
}

bool
version_asked(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "--version") != 0)
		return false;
	const char *slash = strrchr(argv[0], '/');
	printf("%s %s\n", slash == NULL ? argv[0] : slash + 1, dakiya_version());
	return true;
}
