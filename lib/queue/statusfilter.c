/* statusfilter.c - see statusfilter.h. */
#include "lib/queue/statusfilter.h"

#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/mail/status.h"
#include "lib/table/table.h"

#define TEXT_MOST (64u * 1024)

struct status_filter {
	const char        *parameter;
	struct table_list *tables;
};

struct status_filter *
status_filter_open(const char *parameter, const char *specs, struct error *error)
{
	struct status_filter *filter = calloc(1, sizeof(*filter));

	if (filter == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	filter->parameter = parameter;
	filter->tables = table_list_open(specs, error);
	if (filter->tables != NULL)
		return filter;
	error_prefix(error, "%s", parameter);
	free(filter);
	return NULL;
}

void
status_filter_close(struct status_filter **filter)
{
	if (*filter == NULL)
		return;
	table_list_close(&(*filter)->tables);
	free(*filter);
	*filter = NULL;
}

/* Whether it is a result at all, not one stage of several. */
static bool
is_end(uint32_t action)
{
	return action == OUTCOME_DELIVERED || action == OUTCOME_RELAYED ||
	       action == OUTCOME_RELAYED_DSN || action == OUTCOME_DEFERRED ||
	       action == OUTCOME_FAILED;
}

static void
warn(const struct status_filter *filter, const char *queue_id, const char *what, struct slice value)
{
	struct buf clean = BUF(1000);

	buf_append_printable(&clean, slice_first(value, 200));
	log_warning("%s: %s: %s: \"%s\"", queue_id, filter->parameter, what, buf_text(&clean));
	buf_free(&clean);
}

/* "4.7.1 text" in place of what was. */
static void
take(const struct status_filter *filter, const char *queue_id, struct arena *arena,
     struct slice value, struct msg_outcome *outcome)
{
	bool was_good = outcome->action != OUTCOME_DEFERRED && outcome->action != OUTCOME_FAILED;
	struct enhanced_status status;
	size_t                 length;
	struct buf             clean = BUF(TEXT_MOST);

	if (!enhanced_status_parse(value, &status, &length)) {
		warn(filter, queue_id, "no status in front, not used", value);
		return;
	}
	if (was_good != (status.class == 2)) {
		warn(filter, queue_id, "a success cannot become a failure, or a failure a success",
		     value);
		return;
	}
	struct slice code = arena_copy(arena, slice_first(value, length));
	struct slice text = slice_trim(slice_from_offset(value, length));
	buf_append_printable(&clean, text);
	text = arena_copy(arena, buf_slice(&clean));
	buf_free(&clean);
	if (code.data == NULL || text.data == NULL)
		return;
	outcome->status = code;
	outcome->reason = text;
	if (!was_good)
		outcome->action = status.class == 4 ? OUTCOME_DEFERRED : OUTCOME_FAILED;
}

void
status_filter_apply(struct status_filter *filter, const char *queue_id, struct arena *arena,
                    struct msg_outcome *outcome)
{
	struct buf   key = BUF(TEXT_MOST), value = BUF(TEXT_MOST);
	struct error error = ERROR_NONE;

	if (filter == NULL || table_list_is_empty(filter->tables) || !is_end(outcome->action))
		return;
	buf_append(&key, outcome->status);
	buf_append_byte(&key, ' ');
	buf_append(&key, outcome->reason);
	switch (table_list_lookup(filter->tables, buf_slice(&key), &value, &error)) {
	case LOOKUP_FOUND:
		take(filter, queue_id, arena, slice_trim(buf_slice(&value)), outcome);
		break;
	case LOOKUP_NOT_FOUND: break;
	case LOOKUP_TRY_LATER:
		log_warning("%s: %s: %s", queue_id, filter->parameter, error.text);
		if (outcome->action == OUTCOME_FAILED) {
			outcome->action = OUTCOME_DEFERRED;
			outcome->status = SLICE("4.3.0");
		}
	}
	buf_free(&key);
	buf_free(&value);
}
