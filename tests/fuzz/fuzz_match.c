/* Match lists: any text opens or is refused; the client's name and address match or not. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/table/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of((const char *)data, size), name, address;
	struct error error = ERROR_NONE;

	if (size < 3 || size > 5000)
		return 0;
	enum match_kind kind = data[0] % 5;
	rest = slice_from_offset(rest, 1);
	if (!slice_next_part(&rest, '\n', &name) || rest.data == NULL ||
	    !slice_next_part(&rest, '\n', &address) || rest.data == NULL)
		return 0;
	char *items = malloc(rest.length + 1);
	for (size_t i = 0; i < rest.length; i++) {
		bool is_path = rest.data[i] == '/' &&
		               (i + 1 == rest.length || !ascii_is_digit(rest.data[i + 1]));

		items[i] = is_path ? '_' : rest.data[i]; /* no files of this machine */
	}
	items[rest.length] = '\0';
	struct match_list *list = match_list_open(items, kind, &error);
	assert(list != NULL || error.text[0] != '\0');
	if (list != NULL) {
		match_list_name(list, name, &error);
		match_list_client(list, name, address, &error);
	}
	match_list_close(&list);
	free(items);
	return 0;
}
