/* control.c - public/queue: what administrators ask. */
#include "qmgr/qmgr.h"
struct control *control_start(struct qmgr *q, int l, struct error *e) { (void)l; (void)e; return (struct control *)q; }
void control_stop(struct control **c) { *c = NULL; }
