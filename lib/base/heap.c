/* heap.c - see heap.h. A binary heap that keeps each node's position in the node. */
#include "lib/base/heap.h"

#include <stdlib.h>

#include "lib/base/array.h"

static void
place(struct heap *heap, size_t at, struct heap_node *node)
{
	heap->nodes[at] = node;
	node->index = at + 1;
}

static void
sift_up(struct heap *heap, size_t at, struct heap_node *node)
{
	while (at > 0 && heap->nodes[(at - 1) / 2]->when > node->when) {
		place(heap, at, heap->nodes[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(heap, at, node);
}

static void
sift_down(struct heap *heap, size_t at, struct heap_node *node)
{
	for (;;) {
		size_t child = at * 2 + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap->nodes[child + 1]->when < heap->nodes[child]->when)
			child++;
		if (heap->nodes[child]->when >= node->when)
			break;
		place(heap, at, heap->nodes[child]);
		at = child;
	}
	place(heap, at, node);
}

bool
heap_reserve(struct heap *heap, size_t count)
{
	return count == 0 ||
	       array_grow((void **)&heap->nodes, count - 1, &heap->capacity, sizeof(*heap->nodes));
}

bool
heap_insert(struct heap *heap, struct heap_node *node, int64_t when)
{
	if (!array_grow((void **)&heap->nodes, heap->count, &heap->capacity, sizeof(*heap->nodes)))
		return false;
	node->when = when;
	sift_up(heap, heap->count++, node);
	return true;
}

struct heap_node *
heap_first(const struct heap *heap)
{
	return heap->count == 0 ? NULL : heap->nodes[0];
}

void
heap_remove(struct heap *heap, struct heap_node *node)
{
	size_t at = node->index - 1;

	node->index = 0;
	struct heap_node *last = heap->nodes[--heap->count];
	if (last == node)
		return;
	if (at > 0 && heap->nodes[(at - 1) / 2]->when > last->when)
		sift_up(heap, at, last);
	else
		sift_down(heap, at, last);
}

void
heap_move(struct heap *heap, struct heap_node *node, int64_t when)
{
	size_t at = node->index - 1;
	bool   is_earlier = when < node->when;

	node->when = when;
	if (is_earlier)
		sift_up(heap, at, node);
	else
		sift_down(heap, at, node);
}

void
heap_free(struct heap *heap)
{
	free(heap->nodes);
	*heap = (struct heap){ 0 };
}
