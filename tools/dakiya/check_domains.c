/* check_domains.c - C1: a domain in two classes, when one stands in a table; see check.h. */
#include <stdio.h>
#include <string.h>

#include "lib/conf/check.h"
#include "lib/conf/restrictions.h"
#include "tools/dakiya/check.h"

static const char *const class_lists[] = { "mydestination", "virtual_alias_domains",
	                                   "virtual_mailbox_domains", "relay_domains" };
#define CLASS_COUNT (sizeof(class_lists) / sizeof(class_lists[0]))

struct domain {
	size_t class;
	const char *file;
	unsigned    line;
	bool        is_of_table;
};

struct domains {
	const struct configuration *configuration;
	struct report              *report;
	struct arena                arena;
	struct hash                 by_name; /* to struct domain */
	size_t class;                        /* being read */
};

static bool
is_harmless(size_t first, size_t second)
{
	return strcmp(class_lists[first], "mydestination") == 0 &&
	       strcmp(class_lists[second], "relay_domains") == 0;
}

static void
add_domain(struct domains *domains, struct slice name, const char *file, unsigned line,
           bool is_of_table)
{
	struct buf     lower = BUF(1000);
	struct domain *known, *domain;

	if (name.length == 0 || slice_contains_byte(name, '@') || !buf_append_lower(&lower, name)) {
		buf_free(&lower);
		return;
	}
	known = hash_get(&domains->by_name, buf_slice(&lower));
	domain = known == NULL ? arena_alloc(&domains->arena, sizeof(*domain)) : NULL;
	if (domain != NULL) {
		*domain = (struct domain){ domains->class,
			                   arena_text(&domains->arena, slice_from(file)), line,
			                   is_of_table };
		(void)hash_put(&domains->by_name, buf_slice(&lower), domain, NULL);
	} else if (known != NULL && known->class != domains->class &&
	           /* Both in main.cf: said by lib/conf. */
	           (known->is_of_table || is_of_table) &&
	           !is_harmless(known->class, domains->class))
		report_add(
			domains->report, PROBLEM_ERROR, file, line,
			"%.*s is in %s and in %s (%s%s%.0u): a domain belongs to one class only; "
			"take it out of one, or it would count for %s",
			SLICE_ARGS(slice_first(name, 200)), class_lists[domains->class],
			class_lists[known->class], known->file == NULL ? "" : known->file,
			known->line > 0 ? ":" : "", known->line, class_lists[known->class]);
	buf_free(&lower);
}

static void
visit_key(void *context, const struct check_entry *entry)
{
	struct domains *domains = context;

	if (!entry->is_rule)
		add_domain(domains, entry->key, entry->file, entry->line, true);
}

static void
read_list(struct domains *domains)
{
	const struct settings *settings = &domains->configuration->settings;
	const char            *name = class_lists[domains->class], *file;
	struct buf             text = BUF(SETTINGS_TEXT_MOST);
	struct slice           rest, word;
	unsigned               line;

	check_place(settings, name, &file, &line);
	if (!check_expanded(settings, name, &text))
		buf_clear(&text);
	rest = buf_slice(&text);
	while (restriction_next_word(&rest, &word)) {
		struct check_wish wish = { .spec = word, .wants_text = true };

		if (slice_contains_byte(word, ':'))
			(void)check_read_table(&wish, visit_key, domains);
		else if (word.data[0] != '/' && word.data[0] != '!')
			add_domain(domains, word, file, line, false);
	}
	buf_free(&text);
}

void
check_domains(const struct configuration *configuration, struct report *report)
{
	struct domains domains = { .configuration = configuration,
		                   .report = report,
		                   .arena = ARENA(64u * 1024 * 1024) };

	for (domains.class = 0; domains.class < CLASS_COUNT; domains.class ++)
		read_list(&domains);
	hash_free(&domains.by_name, NULL);
	arena_reset(&domains.arena);
}
