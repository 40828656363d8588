/* restrictions.c - see restrictions.h. */
#include "lib/conf/restrictions.h"

static const struct restriction_name names[] = {
#define RESTRICTION(name, needs, argument)                                                         \
	{ #name, RESTRICTION_TAKES_##argument, false, NULL, NULL },
#define RESTRICTION_MISSING(name, argument)                                                        \
	{ #name, RESTRICTION_TAKES_##argument, true, NULL, NULL },
#define RESTRICTION_ALIAS(old, name)    { #old, RESTRICTION_TAKES_NONE, false, #name, NULL },
#define RESTRICTION_GONE(name, instead) { #name, RESTRICTION_TAKES_NONE, false, NULL, instead },
#include "lib/conf/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_MISSING
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
		if (!names[i].is_missing && names[i].gone == NULL)
			suggest_offer(suggestion, names[i].name);
	}
}
