/* suspend.c - see suspend.h. */
#include "qmgr/suspend.h"

#include <stdlib.h>

#include "lib/base/number.h"

#define SUSPENSIONS_MOST 1000
#define TEXT_MOST        512

void
suspensions_init(struct suspensions *suspensions)
{
	*suspensions = (struct suspensions){ 0 };
	list_init(&suspensions->all);
}

static void
suspension_free(struct suspension *suspension)
{
	if (suspension == NULL)
		return;
	free(suspension->transport);
	free(suspension->nexthop);
	free(suspension->reason);
	free(suspension);
}

static void
suspension_remove(struct suspensions *suspensions, struct suspension *suspension)
{
	list_remove(&suspension->in_all);
	suspensions->count--;
	suspension_free(suspension);
}

void
suspensions_free(struct suspensions *suspensions)
{
	LIST_EACH (node, &suspensions->all)
		suspension_remove(suspensions, CONTAINER_OF(node, struct suspension, in_all));
}

static struct suspension *
suspension_find(const struct suspensions *suspensions, struct slice transport, struct slice nexthop)
{
	for (struct list_node *node = suspensions->all.next; node != &suspensions->all;
	     node = node->next) {
		struct suspension *one = CONTAINER_OF(node, struct suspension, in_all);

		if (slice_equal(slice_from(one->transport), transport) &&
		    slice_equal_fold(slice_from(one->nexthop), nexthop))
			return one;
	}
	return NULL;
}

static bool
is_plain(struct slice text)
{
	return text.length <= TEXT_MOST && !slice_has_control(text);
}

static struct suspension *
suspension_new(const struct msg_queue_suspension *wanted)
{
	struct suspension *suspension = calloc(1, sizeof(*suspension));

	if (suspension == NULL)
		return NULL;
	list_init(&suspension->in_all);
	suspension->transport = strndup(wanted->transport.data, wanted->transport.length);
	suspension->nexthop = strndup(wanted->nexthop.data, wanted->nexthop.length);
	suspension->reason = strndup(wanted->reason.data, wanted->reason.length);
	suspension->since_us = wanted->since_us;
	suspension->until_us = wanted->until_us;
	if (suspension->transport != NULL && suspension->nexthop != NULL &&
	    suspension->reason != NULL)
		return suspension;
	suspension_free(suspension);
	return NULL;
}

enum suspend_change
suspensions_add(struct suspensions *suspensions, const struct msg_queue_suspension *wanted)
{
	struct suspension *old = suspension_find(suspensions, wanted->transport, wanted->nexthop);

	if (!is_plain(wanted->transport) || !is_plain(wanted->nexthop) ||
	    !is_plain(wanted->reason) ||
	    (wanted->transport.length == 0 && wanted->nexthop.length == 0) ||
	    (old == NULL && suspensions->count >= SUSPENSIONS_MOST))
		return SUSPEND_FAILED;
	struct suspension *made = suspension_new(wanted);
	if (made == NULL)
		return SUSPEND_NO_MEMORY;
	if (old != NULL)
		suspension_remove(suspensions, old);
	list_append(&suspensions->all, &made->in_all);
	suspensions->count++;
	return SUSPEND_DONE;
}

enum suspend_change
suspensions_remove(struct suspensions *suspensions, struct slice transport, struct slice nexthop)
{
	struct suspension *old = suspension_find(suspensions, transport, nexthop);

	if (old == NULL)
		return SUSPEND_UNCHANGED;
	suspension_remove(suspensions, old);
	return SUSPEND_DONE;
}

static bool
is_meant(const struct suspension *one, struct slice transport, struct slice nexthop,
         struct slice domain)
{
	struct slice name = slice_from(one->nexthop);

	if (one->transport[0] == '\0')
		return slice_equal_fold(name, domain);
	return slice_equal(slice_from(one->transport), transport) &&
	       (name.length == 0 || slice_equal_fold(name, nexthop));
}

const struct suspension *
suspensions_find(const struct suspensions *suspensions, struct slice transport,
                 struct slice nexthop, struct slice domain, int64_t now_us)
{
	const struct suspension *last = NULL;

	/* The one that lasts longest: an earlier attempt would only be deferred again. */
	for (const struct list_node *node = suspensions->all.next; node != &suspensions->all;
	     node = node->next) {
		const struct suspension *one = CONTAINER_OF(node, const struct suspension, in_all);

		if ((one->until_us != 0 && one->until_us <= now_us) ||
		    !is_meant(one, transport, nexthop, domain))
			continue;
		if (one->until_us == 0)
			return one;
		if (last == NULL || one->until_us > last->until_us)
			last = one;
	}
	return last;
}

bool
suspensions_expire(struct suspensions *suspensions, int64_t now_us)
{
	bool had_any = false;

	LIST_EACH (node, &suspensions->all) {
		struct suspension *one = CONTAINER_OF(node, struct suspension, in_all);

		if (one->until_us == 0 || one->until_us > now_us)
			continue;
		suspension_remove(suspensions, one);
		had_any = true;
	}
	return had_any;
}

bool
suspension_append(struct buf *list, const struct suspension *suspension)
{
	struct msg_queue_suspension one = { .transport = slice_from(suspension->transport),
		                            .nexthop = slice_from(suspension->nexthop),
		                            .since_us = suspension->since_us,
		                            .until_us = suspension->until_us,
		                            .reason = slice_from(suspension->reason) };

	return msg_queue_suspension_append(list, &one);
}

bool
suspensions_append(const struct suspensions *suspensions, struct buf *list)
{
	for (const struct list_node *node = suspensions->all.next; node != &suspensions->all;
	     node = node->next)
		if (!suspension_append(list, CONTAINER_OF(node, const struct suspension, in_all)))
			return false;
	return true;
}

/* ---- the file ---- */

bool
suspensions_write(const struct suspensions *suspensions, struct buf *text)
{
	for (const struct list_node *node = suspensions->all.next; node != &suspensions->all;
	     node = node->next) {
		const struct suspension *one = CONTAINER_OF(node, const struct suspension, in_all);

		buf_append_format(text, "%lld\t%lld\t%s\t%s\t%s\n", (long long)one->since_us,
		                  (long long)one->until_us, one->transport, one->nexthop,
		                  one->reason);
	}
	return !text->has_failed;
}

bool
suspensions_read(struct suspensions *suspensions, struct slice text)
{
	struct slice line, since, until;

	while (slice_next_part(&text, '\n', &line)) {
		struct msg_queue_suspension one = { 0 };

		if (slice_next_part(&line, '\t', &since) && slice_next_part(&line, '\t', &until) &&
		    slice_next_part(&line, '\t', &one.transport) &&
		    slice_next_part(&line, '\t', &one.nexthop) &&
		    number_parse(since, 0, INT64_MAX, &one.since_us) &&
		    number_parse(until, 0, INT64_MAX, &one.until_us)) {
			one.reason = line.length == 0 ? SLICE_EMPTY : line;
			if (suspensions_add(suspensions, &one) == SUSPEND_NO_MEMORY)
				return false;
		}
	}
	return true;
}
