/*
 * connect.h - a connected stream socket within a time limit; also inside modules.
 */
#ifndef DAKIYA_TABLE_CONNECT_H
#define DAKIYA_TABLE_CONNECT_H

#include "lib/table/driver.h"

/* A blocking, close-on-exec socket; -1 and *error. host must have an address, or be Unix. */
int table_connect(const struct driver_host *host, int64_t timeout_ms, struct error *error);

#endif
