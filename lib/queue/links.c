/* links.c - see links.h. */
#include "lib/queue/links.h"

#include <stdlib.h>

#include "lib/io/file.h"

#define IDLE_MOST 64
#define IDLE_PART                                                                                  \
	64 /* no more than this part of all descriptors: the daemon has one for each, too */

void
links_init(struct queue_links *links, const char *path)
{
	*links = (struct queue_links){ .path = path,
		                       .idle_most = file_descriptors_most() / IDLE_PART };
	if (links->idle_most > IDLE_MOST)
		links->idle_most = IDLE_MOST;
	mutex_init(&links->lock);
}

void
link_close(struct queue_link *link)
{
	ipc_channel_close(&link->channel);
	free(link);
}

static struct queue_link *
idle_take(struct queue_links *links)
{
	mutex_lock(&links->lock);
	struct queue_link *link = links->idle;
	if (link != NULL) {
		links->idle = link->next;
		links->idle_count--;
	}
	mutex_unlock(&links->lock);
	return link;
}

void
links_free(struct queue_links *links)
{
	struct queue_link *link;

	while ((link = idle_take(links)) != NULL)
		link_close(link);
	mutex_destroy(&links->lock);
}

struct queue_link *
links_take_idle(struct queue_links *links)
{
	struct queue_link *link;

	while ((link = idle_take(links)) != NULL) {
		if (ipc_fill(&link->channel) == IPC_OK && !ipc_has_input(&link->channel))
			return link;
		link_close(link);
	}
	return NULL;
}

struct queue_link *
links_open(struct queue_links *links, struct error *error)
{
	struct queue_link *link = calloc(1, sizeof(*link));

	if (link == NULL) {
		error_set(error, "connect to %s: out of memory", links->path);
		return NULL;
	}
	link->channel.fd = -1;
	if (!ipc_channel_connect(&link->channel, links->path, error)) {
		free(link);
		return NULL;
	}
	return link;
}

void
links_give_back(struct queue_links *links, struct queue_link *link)
{
	bool is_kept = !link->channel.is_broken;

	if (is_kept) {
		ipc_channel_trim(&link->channel);
		mutex_lock(&links->lock);
		is_kept = links->idle_count < links->idle_most;
		if (is_kept) {
			link->next = links->idle;
			links->idle = link;
			links->idle_count++;
		}
		mutex_unlock(&links->lock);
	}
	if (!is_kept)
		link_close(link);
}
