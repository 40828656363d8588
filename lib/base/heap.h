/*
 * heap.h - a priority queue of timers: the earliest first, any one removable.
 *
 * Things embed a struct heap_node; the heap never allocates per node beyond its array. Ties
 * come out in no promised order.
 */
#ifndef DAKIYA_BASE_HEAP_H
#define DAKIYA_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	int64_t when;  /* the key: smallest first */
	size_t  index; /* 1 + position while in a heap, 0 outside */
};

struct heap {
	struct heap_node **nodes;
	size_t             count;
	size_t             capacity;
};

/* Makes room for so many nodes: to insert no more than these does not fail. False: no memory. */
bool heap_reserve(struct heap *heap, size_t count);
/* False when memory is out; the node must not be in a heap. */
bool heap_insert(struct heap *heap, struct heap_node *node, int64_t when);
/* The earliest node, left in place; NULL when empty. */
struct heap_node *heap_first(const struct heap *heap);
void              heap_remove(struct heap *heap, struct heap_node *node);
/* Moves a node that is in the heap to another time. */
void heap_move(struct heap *heap, struct heap_node *node, int64_t when);
void heap_free(struct heap *heap);

static inline bool
heap_contains(const struct heap_node *node)
{
	return node->index != 0;
}

#endif
