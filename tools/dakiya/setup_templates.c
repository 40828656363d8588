/* setup_templates.c - conf/main.cf and conf/master.cf as they are shipped, inside the program. */
#include <string.h>

#include "tools/dakiya/setup.h"

/* Assembled into the read-only data; the Makefile names the files as prerequisites. */
#define TEMPLATE(symbol, file)                                                                     \
	__asm__(".pushsection .rodata\n" #symbol ":\n.incbin \"" file "\"\n" #symbol               \
	        "_end:\n.byte 0\n.popsection\n");                                                  \
	extern const char symbol[], symbol##_end[]
TEMPLATE(template_main, "conf/main.cf");
TEMPLATE(template_master, "conf/master.cf");

struct slice
setup_template(const char *name)
{
	if (strcmp(name, "main.cf") == 0)
		return slice_of(template_main, (size_t)(template_main_end - template_main));
	return slice_of(template_master, (size_t)(template_master_end - template_master));
}
