/* environment.c - see environment.h. */
#include "lib/conf/environment.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/slice.h"

#define SAFE_PATH "PATH=/usr/bin:/bin:/usr/sbin:/sbin"

static bool
add(struct environment *environment, struct slice name, struct slice value)
{
	size_t size = name.length + value.length + 2;
	char  *text;

	if (environment->count >= ENVIRONMENT_MOST || (text = malloc(size)) == NULL)
		return false;
	snprintf(text, size, "%.*s=%.*s", SLICE_ARGS(name), SLICE_ARGS(value));
	environment->list[environment->count++] = text;
	environment->list[environment->count] = NULL;
	return true;
}

static bool
add_word(struct environment *environment, struct slice word)
{
	size_t equals = slice_find_byte(word, '=');
	char   name[256];

	if (equals != SLICE_NOT_FOUND)
		return add(environment, slice_first(word, equals),
		           slice_from_offset(word, equals + 1));
	snprintf(name, sizeof(name), "%.*s", SLICE_ARGS(word));
	return getenv(name) == NULL || add(environment, word, slice_from(getenv(name)));
}

bool
environment_make(struct environment *environment, const char *words)
{
	struct slice rest = slice_from(words), word;
	bool         has_path = false;

	*environment = (struct environment){ 0 };
	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		has_path |= slice_equal(slice_first(word, 5), SLICE("PATH=")) ||
		            slice_equal(word, SLICE("PATH"));
		if (!add_word(environment, word))
			return false;
	}
	return has_path || add_word(environment, SLICE(SAFE_PATH));
}

void
environment_free(struct environment *environment)
{
	for (size_t i = 0; i < environment->count; i++)
		free(environment->list[i]);
	*environment = (struct environment){ 0 };
}
