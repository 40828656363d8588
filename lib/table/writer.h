/*
 * writer.h - inside lib/table: how each kind of database file is written, for build.c.
 *
 * A writer makes one new file. Keys and values get a NUL at their end when asked for.
 */
#ifndef DAKIYA_TABLE_WRITER_H
#define DAKIYA_TABLE_WRITER_H

#include "lib/table/table.h"

struct writer {
	/* The file must not exist; mode 0600. */
	void *(*create)(const char *path, bool has_nul, struct error *error);
	/* LOOKUP_FOUND: the key was there already; its value was replaced if asked for. */
	enum lookup (*put)(void *state, struct slice key, struct slice value, bool replaces,
	                   struct error *error);
	/* Writes what is left and frees; false and *error when that failed. */
	bool (*finish)(void *state, struct error *error);
};

extern const struct writer writer_hash, writer_btree, writer_lmdb, writer_cdb;

/* The bytes with a NUL behind them; copy keeps them. False when memory is out. */
bool writer_terminate(struct slice *bytes, bool has_nul, struct buf *copy);

#endif
