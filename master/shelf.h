/*
 * shelf.h - open files that are kept without a descriptor each.
 *
 * Where few descriptors are allowed, master cannot spend one on every listening socket. Files on a
 * shelf lie as messages in the queue of a pair of sockets (SCM_RIGHTS): the kernel keeps them open,
 * and connections wait in their backlog. Whoever needs one takes a descriptor of it for a moment.
 * All go when the shelf's two descriptors do, so also when master is killed.
 */
#ifndef DAKIYA_MASTER_SHELF_H
#define DAKIYA_MASTER_SHELF_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/array.h"

struct shelf {
	int sender; /* -1 = there is none */
	int keeper;
	ARRAY(unsigned) tickets; /* of what lies there, in the order of the queue */
	unsigned last;
};

#define SHELF_NONE ((struct shelf){ .sender = -1, .keeper = -1 })

/* False when there can be none; everything is kept by hand then. */
bool shelf_open(struct shelf *shelf);
void shelf_close(struct shelf *shelf);
/* Puts the file there; fd stays the caller's. 0 when it cannot be, otherwise its ticket. */
unsigned shelf_put(struct shelf *shelf, int fd);
/* A descriptor of it, which is the caller's to close; -1 when none is free. */
int shelf_get(const struct shelf *shelf, unsigned ticket);
/* Takes it away. False, and nothing changed, when that cannot be done now. */
bool shelf_remove(struct shelf *shelf, unsigned ticket);

#endif
