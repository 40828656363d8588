/* summary.c - how many recipients wait for which domain, by age: a table as qshape(1) prints it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/number.h"
#include "lib/queue/filter.h"
#include "tools/dakqueue/dakqueue.h"

#define BUCKETS_MOST 30
#define MINUTE_US    INT64_C(60000000)
#define NULL_SENDER  SLICE("MAILER-DAEMON")
#define NAME_LEAST   18 /* columns for a name, however wide the rest is */
#define NUMBER_LEAST 2  /* columns for a number */

struct row {
	const char *name;
	uint64_t    buckets[BUCKETS_MOST];
	uint64_t    total;
	uint64_t    subdomains; /* of a parent domain */
	bool        is_parent;
};

struct summary {
	const struct summary_options *how;
	int64_t                       now_us;
	struct row                    total;
	struct hash                   rows;
	struct row                  **sorted;
	size_t                        count;
};

/* ---- counting ---- */

static size_t
bucket_of(const struct summary *summary, int64_t arrival_us)
{
	int64_t limit = summary->how->first_minutes;
	int64_t age = (summary->now_us - arrival_us) / MINUTE_US;
	size_t  bucket = 0;

	for (; bucket + 1 < summary->how->buckets && age >= limit; bucket++)
		limit = summary->how->is_linear ? limit + summary->how->first_minutes : limit * 2;
	return bucket;
}

static void
row_count(struct row *row, size_t bucket)
{
	row->buckets[bucket]++;
	row->total++;
}

static struct row *
row_of(struct summary *summary, struct slice domain, bool is_parent, bool *is_new)
{
	struct buf  name = BUF(1024);
	struct row *row;

	if (is_parent)
		buf_append_byte(&name, '.');
	bool is_sender = slice_equal(domain, NULL_SENDER);
	if (!(is_sender ? buf_append : buf_append_lower)(&name, slice_first(domain, 1000)))
		return NULL;
	row = hash_get(&summary->rows, buf_slice(&name));
	*is_new = row == NULL;
	if (row == NULL && (row = calloc(1, sizeof(*row))) != NULL) {
		struct buf shown = BUF(1024);

		buf_append_printable(&shown, buf_slice(&name));
		row->name = strdup(buf_text(&shown));
		row->is_parent = is_parent;
		buf_free(&shown);
		if (row->name == NULL || !hash_put(&summary->rows, buf_slice(&name), row, NULL)) {
			free((void *)(uintptr_t)row->name);
			free(row);
			row = NULL;
		}
	}
	buf_free(&name);
	return row;
}

/* Every domain above it, but the top level. What stands directly below one is its subdomain. */
static void
parents_count(struct summary *summary, struct slice domain, size_t bucket, bool is_new)
{
	size_t dot;

	while ((dot = slice_find_byte(domain, '.')) != SLICE_NOT_FOUND) {
		bool is_new_parent = false;

		domain = slice_from_offset(domain, dot + 1);
		if (!slice_contains_byte(domain, '.'))
			return;
		struct row *row = row_of(summary, domain, true, &is_new_parent);
		if (row == NULL)
			return;
		row_count(row, bucket);
		row->subdomains += is_new;
		is_new = is_new_parent;
	}
}

/* What an address counts for: without a domain the whole of it. */
static struct slice
domain_of(struct slice address)
{
	struct slice domain = address_domain(address);

	while (domain.length > 1 && domain.data[domain.length - 1] == '.')
		domain = slice_first(domain, domain.length - 1);
	return domain.length == 0 ? address : domain;
}

static bool
domain_count(struct summary *summary, struct slice domain, size_t bucket)
{
	bool        is_new;
	struct row *row = row_of(summary, domain, false, &is_new);

	if (row == NULL)
		return false;
	row_count(row, bucket);
	row_count(&summary->total, bucket);
	if (summary->how->has_parents)
		parents_count(summary, domain, bucket, is_new);
	return true;
}

static bool
visit_count(void *context, const struct msg_queue_entry *entry)
{
	struct summary            *summary = context;
	struct slice               list = entry->recipients;
	size_t                     bucket = bucket_of(summary, entry->arrival_us);
	struct msg_queue_recipient one;

	if (summary->how->by_sender)
		return domain_count(
			summary, entry->sender.length == 0 ? NULL_SENDER : domain_of(entry->sender),
			bucket);
	while (msg_queue_recipient_next(&list, &one))
		if (!domain_count(summary, domain_of(one.address), bucket))
			return false;
	return true;
}

/* ---- the table ---- */

static void
row_visit(struct slice key, void *value, void *context)
{
	struct summary *summary = context;
	struct row     *row = value;

	(void)key;
	if (!row->is_parent || row->subdomains >= summary->how->least_subdomains)
		summary->sorted[summary->count++] = row;
}

static int
row_compare(const void *a, const void *b)
{
	const struct row *first = *(const struct row *const *)a;
	const struct row *second = *(const struct row *const *)b;

	if (first->total != second->total)
		return first->total < second->total ? 1 : -1;
	size_t length = strlen(first->name), other = strlen(second->name);
	return length != other ? (length < other ? -1 : 1) : strcmp(first->name, second->name);
}

static void
header_text(const struct summary *summary, size_t bucket, char text[24])
{
	int64_t limit = summary->how->first_minutes;
	size_t  last = summary->how->buckets - 1;

	for (size_t i = 0; i < (bucket < last ? bucket : last - 1); i++)
		limit = summary->how->is_linear ? limit + summary->how->first_minutes : limit * 2;
	snprintf(text, 24, "%" PRId64 "%s", limit, bucket == last ? "+" : "");
}

struct columns {
	int name;
	int total;
	int buckets[BUCKETS_MOST];
};

static int
number_width(uint64_t number)
{
	int width = snprintf(NULL, 0, "%" PRIu64, number);

	return width < NUMBER_LEAST ? NUMBER_LEAST : width;
}

static void
columns_measure(const struct summary *summary, struct columns *columns)
{
	char text[24];
	int  rest = summary->how->width;

	columns->total = number_width(summary->total.total);
	rest -= columns->total + 1;
	for (size_t i = 0; i < summary->how->buckets; i++) {
		int number = number_width(summary->total.buckets[i]);

		header_text(summary, i, text);
		columns->buckets[i] = (int)strlen(text) > number ? (int)strlen(text) : number;
		rest -= columns->buckets[i] + 1;
	}
	columns->name = rest < NAME_LEAST ? NAME_LEAST : rest;
}

static bool
is_continuation(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

static void
name_print(const struct row *row, const struct columns *columns)
{
	const char *mark = row->is_parent ? ".+" : "+", *name = row->name;
	size_t      length = 0, width = (size_t)columns->name;

	for (const char *at = name; *at != '\0'; at++)
		length += !is_continuation(*at);
	if (length <= width) {
		printf("%*s%s", (int)(width - length), "", name);
		return;
	}
	/* Of a name that is too long its end says more. */
	for (size_t skipped = length + strlen(mark) - width; skipped > 0; skipped--)
		while (is_continuation(*++name))
			;
	printf("%s%s", mark, name);
}

static void
row_print(const struct summary *summary, const struct row *row, const struct columns *columns)
{
	name_print(row, columns);
	printf(" %*" PRIu64, columns->total, row->total);
	for (size_t i = 0; i < summary->how->buckets; i++)
		printf(" %*" PRIu64, columns->buckets[i], row->buckets[i]);
	putchar('\n');
}

static void
summary_print(struct summary *summary)
{
	struct columns columns;
	char           text[24];
	size_t         most = summary->count;

	columns_measure(summary, &columns);
	printf("%*s %*s", columns.name, "", columns.total, "T");
	for (size_t i = 0; i < summary->how->buckets; i++) {
		header_text(summary, i, text);
		printf(" %*s", columns.buckets[i], text);
	}
	putchar('\n');
	row_print(summary, &summary->total, &columns);
	if (isatty(STDOUT_FILENO) && most > summary->how->top_domains)
		most = summary->how->top_domains;
	for (size_t i = 0; i < most; i++)
		row_print(summary, summary->sorted[i], &columns);
}

/* ---- the same for programs ---- */

/* {"domain": "a.test", "parent": false, "total": 3, "ages": {"5": 2, ..., "1280+": 1}} */
static void
row_json(const struct summary *summary, const struct row *row, const char *name)
{
	struct buf domain = BUF(8192);
	char       text[24];

	json_append_string(&domain, slice_from(name));
	printf("{\"domain\": %s, \"parent\": %s, \"total\": %" PRIu64 ", \"ages\": {",
	       name == NULL ? "null" : buf_text(&domain), row->is_parent ? "true" : "false",
	       row->total);
	for (size_t i = 0; i < summary->how->buckets; i++) {
		header_text(summary, i, text);
		printf("%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", text, row->buckets[i]);
	}
	puts("}}");
	buf_free(&domain);
}

static void
summary_json(const struct summary *summary)
{
	row_json(summary, &summary->total, NULL);
	for (size_t i = 0; i < summary->count; i++)
		row_json(summary, summary->sorted[i], summary->sorted[i]->name);
}

static void
row_free(void *value)
{
	struct row *row = value;

	free((void *)(uintptr_t)row->name);
	free(row);
}

int
summary_run(struct tool *tool, const struct arguments *arguments, entries_run *entries)
{
	struct summary summary = { .how = &arguments->summary,
		                   .now_us = clock_wall_us(),
		                   .total = { .name = "TOTAL" } };
	int            code = entries(tool, arguments, visit_count, &summary);

	summary.sorted = calloc(summary.rows.count + 1, sizeof(struct row *));
	if (code == EX_OK && summary.sorted != NULL) {
		hash_each(&summary.rows, row_visit, &summary);
		qsort(summary.sorted, summary.count, sizeof(struct row *), row_compare);
		if (arguments->form == LIST_JSON)
			summary_json(&summary);
		else
			summary_print(&summary);
	}
	free(summary.sorted);
	hash_free(&summary.rows, row_free);
	return code;
}

/* ---- options ---- */

static bool
number_take(const char *text, int64_t least, int64_t most, int64_t *number)
{
	return number_parse(slice_from(text), least, most, number);
}

bool
summary_read(struct arguments *arguments, int argc, char **argv, unsigned states)
{
	struct summary_options *how = &arguments->summary;
	int64_t                 number = 0;
	int                     option;
	bool                    is_good = true;

	while (is_good && (option = getopt(argc, argv, SUMMARY_OPTIONS)) != -1)
		switch (option) {
		case 'c': arguments->config_directory = optarg; break;
		case 'j': arguments->form = LIST_JSON; break;
		case 's': how->by_sender = true; break;
		case 'p': how->has_parents = true; break;
		case 'l': how->is_linear = true; break;
		case 'm':
			is_good = number_take(optarg, 0, 1000000, &number);
			how->least_subdomains = (uint64_t)number;
			break;
		case 'b':
			is_good = number_take(optarg, 2, BUCKETS_MOST, &number);
			how->buckets = (size_t)number;
			break;
		case 't': is_good = number_take(optarg, 1, 1000000, &how->first_minutes); break;
		case 'w':
			is_good = number_take(optarg, 20, 1000, &number);
			how->width = (int)number;
			break;
		case 'n':
			is_good = number_take(optarg, 1, 1000000, &number);
			how->top_domains = (size_t)number;
			break;
		case 'N': /* intermediate results: there is no time for any */
		case 'v': break;
		default: is_good = false; break;
		}
	for (int i = optind; is_good && i < argc; i++)
		is_good = state_parse(slice_from(argv[i]), &arguments->filter.states);
	if (arguments->filter.states == 0)
		arguments->filter.states = states;
	return is_good;
}
