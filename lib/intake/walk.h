/*
 * walk.h - a message's body line by line: text here, header fields of parts and of attached
 * messages there, each handed to the rules (rules.h) on its way to where content goes.
 *
 * Nothing is held back but the line or field at hand, whatever the message's size.
 */
#ifndef DAKIYA_INTAKE_WALK_H
#define DAKIYA_INTAKE_WALK_H

#include "lib/conf/snapshot.h"
#include "lib/intake/rules.h"

enum walk_failure { WALK_TOO_DEEP, WALK_NO_MEMORY };

/* Whose walk it is. All functions get context; a false ends the walk. */
struct walk_user {
	bool (*store)(void *context, struct slice bytes);
	enum check_fate (*check_text)(void *context, struct slice text, struct buf *out);
	enum check_fate (*check_field)(void *context, enum check_class place,
	                               const struct header_field *field, struct buf *out);
	/* Always false. */
	bool (*fail)(void *context, enum walk_failure failure);
};

struct body_walk;
/*
 * text_most: so many bytes at the beginning of each part's text are checked. *user is borrowed.
 * NULL: no memory.
 */
struct body_walk *body_walk_create(const struct parameters *parameters, uint64_t text_most,
                                   const struct walk_user *user, void *context);
void              body_walk_destroy(struct body_walk **walk);
/* A field of the message's own header, which Content-Type is looked for in. */
void body_walk_field(struct body_walk *walk, const struct header_field *field);
/* The header of the message has ended; its empty line is the caller's. */
bool body_walk_begin(struct body_walk *walk);
bool body_walk_take(struct body_walk *walk, struct slice bytes);
/* The last line, when it has no end. */
bool body_walk_end(struct body_walk *walk);

#endif
