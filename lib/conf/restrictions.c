/* restrictions.c - see restrictions.h. */
#include "lib/conf/restrictions.h"

static const struct restriction_name names[] = {
#define RESTRICTION(name, needs, argument) { #name, RESTRICTION_TAKES_##argument, NULL, NULL },
#define RESTRICTION_ALIAS(old, name)       { #old, RESTRICTION_TAKES_NONE, #name, NULL },
#define RESTRICTION_GONE(name, instead)    { #name, RESTRICTION_TAKES_NONE, NULL, instead },
#include "lib/conf/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_ALIAS
#undef RESTRICTION_GONE
};
#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

const struct restriction_name *
restriction_find(struct slice name)
{
	for (size_t i = 0; i < NAME_COUNT; i++) {
		if (slice_equal_fold(name, slice_from(names[i].name)))
			return &names[i];
	}
	return NULL;
}

void
restriction_suggest(struct suggestion *suggestion)
{
	for (size_t i = 0; i < NAME_COUNT; i++) {
		if (names[i].gone == NULL)
			suggest_offer(suggestion, names[i].name);
	}
}

bool
restriction_next_word(struct slice *rest, struct slice *word)
{
	size_t level = 0, length = 0;

	while (rest->length > 0 && (ascii_is_space(rest->data[0]) || rest->data[0] == ','))
		*rest = slice_from_offset(*rest, 1);
	for (; length < rest->length; length++) {
		char c = rest->data[length];

		if (c == '{')
			level++;
		else if (c == '}' && level > 0)
			level--;
		else if (level == 0 && (ascii_is_space(c) || c == ','))
			break;
	}
	*word = slice_first(*rest, length);
	*rest = slice_from_offset(*rest, length);
	return length > 0;
}

bool
restriction_is_class(const struct settings *settings, struct slice word)
{
	struct buf   classes = BUF(SETTINGS_TEXT_MOST);
	struct slice name = SLICE("smtpd_restriction_classes"), text, rest, one;
	bool         is_found = false;

	if (settings_text(settings, name, &text) &&
	    settings_expand(settings, NULL, name, text, &classes, NULL)) {
		rest = buf_slice(&classes);
		while (!is_found && restriction_next_word(&rest, &one))
			is_found = slice_equal(one, word);
	}
	buf_free(&classes);
	return is_found;
}
