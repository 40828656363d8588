/*
 * list.h - intrusive doubly linked lists: no allocation, removal in constant time.
 *
 * A list is a struct list_node that links to itself when empty. CONTAINER_OF gets from the
 * embedded node back to the thing.
 */
#ifndef DAKIYA_BASE_LIST_H
#define DAKIYA_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define CONTAINER_OF(pointer, type, member)                                                        \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct list_node {
	struct list_node *next;
	struct list_node *previous;
};

static inline void
list_init(struct list_node *list)
{
	list->next = list->previous = list;
}
static inline bool
list_is_empty(const struct list_node *list)
{
	return list->next == list;
}
static inline void
list_insert_before(struct list_node *at, struct list_node *node)
{
	node->previous = at->previous;
	node->next = at;
	at->previous->next = node;
	at->previous = node;
}
static inline void
list_append(struct list_node *list, struct list_node *node)
{
	list_insert_before(list, node);
}
static inline void
list_prepend(struct list_node *list, struct list_node *node)
{
	list_insert_before(list->next, node);
}
/* Takes the node out of its list and leaves it linked to itself: removing twice is harmless. */
static inline void
list_remove(struct list_node *node)
{
	node->previous->next = node->next;
	node->next->previous = node->previous;
	list_init(node);
}
/* The first node, or NULL when empty. */
static inline struct list_node *
list_first(struct list_node *list)
{
	return list_is_empty(list) ? NULL : list->next;
}

#define LIST_EACH(node, list)                                                                      \
	for (struct list_node *node = (list)->next, *node##_next = node->next; node != (list);     \
	     node = node##_next, node##_next = node->next)

#endif
