/* users.h - how many submissions of each user are under way. Safe from several threads. */
#ifndef DAKIYA_PICKUP_USERS_H
#define DAKIYA_PICKUP_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct users;
struct users *users_create(size_t limit); /* most at a time for one user */
void          users_destroy(struct users **users);
/* False: the user has as many as it may. Each true is followed by one users_leave. */
bool users_enter(struct users *users, uint32_t uid);
void users_leave(struct users *users, uint32_t uid);

#endif
