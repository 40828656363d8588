#include "tools/dakiya/check.h"
bool
check_online(const struct tool *tool, const struct configuration *configuration, struct buf *out)
{
	(void)tool;
	(void)configuration;
	(void)out;
	return true;
}
