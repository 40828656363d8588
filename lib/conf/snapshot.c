/* snapshot.c - see snapshot.h. */
#include "lib/conf/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/conf/settings.h"
#include "lib/conf/values.h"

struct snapshot {
	struct values     values;
	struct arena      arena; /* all expanded text */
	struct hash       texts; /* expanded values of what is no text member of the structs */
	struct settings   settings;
	struct parameters normal;
	struct parameters stress;
};

#define ARENA_MOST (64u * 1024 * 1024)

void
snapshot_destroy(struct snapshot **snapshot)
{
	struct snapshot *old = *snapshot;

	if (old == NULL)
		return;
	hash_free(&old->texts, NULL);
	settings_free(&old->settings);
	values_free(&old->values);
	arena_reset(&old->arena);
	free(old);
	*snapshot = NULL;
}

static bool
fill_parameters(struct snapshot *snapshot, bool is_stress, struct parameters *parameters,
                struct error *error)
{
	snapshot->settings.is_stress = is_stress;
	for (size_t i = 0; i < parameter_row_count; i++) {
		if (!settings_store(&snapshot->settings, NULL, &parameter_rows[i], &snapshot->arena,
		                    parameters, error))
			return error_prefix(error, "%s", parameter_rows[i].name);
	}
	return true;
}

static bool
fill_text(struct snapshot *snapshot, const char *name, struct slice text, struct error *error)
{
	struct buf expanded = BUF(SETTINGS_TEXT_MOST);
	bool  is_ok = settings_expand(&snapshot->settings, NULL, slice_from(name), text, &expanded,
	                              error);
	char *copy = NULL;

	if (is_ok)
		copy = arena_text(&snapshot->arena, slice_trim(buf_slice(&expanded)));
	buf_free(&expanded);
	if (!is_ok)
		return error_prefix(error, "%s", name);
	return (copy != NULL && hash_put(&snapshot->texts, slice_from(name), copy, NULL)) ||
	       error_set(error, "out of memory");
}

/*
 * What is no text member of struct parameters: numbers, and names of the admin's own
 * (restriction classes, TRANSPORT_destination_recipient_limit).
 */
static bool
fill_texts(struct snapshot *snapshot, struct error *error)
{
	struct slice text = SLICE_EMPTY;

	snapshot->settings.is_stress =
		false; /* LIMIT: the admin's own names have no stress value */
	for (size_t i = 0; i < parameter_row_count; i++) {
		const struct parameter_row *row = &parameter_rows[i];

		if (row->type != PARAMETER_INTEGER && row->type != PARAMETER_SECONDS)
			continue;
		(void)settings_text(&snapshot->settings, slice_from(row->name), &text);
		if (!fill_text(snapshot, row->name, text, error))
			return false;
	}
	for (size_t i = 0; i < snapshot->values.list.count; i++) {
		const struct conf_value *value = snapshot->values.list.items[i];

		if (settings_row(&snapshot->settings, slice_from(value->name)) == NULL &&
		    !fill_text(snapshot, value->name, slice_from(value->text), error))
			return false;
	}
	return true;
}

/* Expands and checks everything; destroys the snapshot and returns NULL when it is not sound. */
static struct snapshot *
snapshot_finish(struct snapshot *snapshot, struct error *error)
{
	if (!settings_init(&snapshot->settings, &snapshot->values, NULL)) {
		error_set(error, "out of memory");
		snapshot_destroy(&snapshot);
	} else if (!fill_parameters(snapshot, true, &snapshot->stress, error) ||
	           !fill_parameters(snapshot, false, &snapshot->normal, error) ||
	           !fill_texts(snapshot, error)) {
		snapshot_destroy(&snapshot);
	}
	return snapshot;
}

static struct snapshot *
snapshot_new(struct error *error)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (snapshot == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	snapshot->values = VALUES_NONE;
	snapshot->arena = ARENA(ARENA_MOST);
	return snapshot;
}

/* All bytes of the file from its start, wherever its offset is. */
static bool
read_all(int fd, struct buf *bytes, struct error *error)
{
	for (;;) {
		if (!buf_reserve(bytes, 4096))
			return error_set(error, "snapshot: too large");
		ssize_t got = pread(fd, bytes->data + bytes->length,
		                    bytes->capacity - bytes->length > 4096
		                            ? 4096
		                            : bytes->capacity - bytes->length,
		                    (off_t)bytes->length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(error, "read snapshot");
		if (got == 0)
			return true;
		bytes->length += (size_t)got;
	}
}

struct snapshot *
snapshot_open(int fd, struct error *error)
{
	struct buf       bytes = BUF(VALUES_BYTES_MOST + 8192);
	struct snapshot *snapshot = snapshot_new(error);

	if (snapshot != NULL && (!read_all(fd, &bytes, error) ||
	                         !values_decode(&snapshot->values, buf_slice(&bytes), error)))
		snapshot_destroy(&snapshot);
	buf_free(&bytes);
	return snapshot == NULL ? NULL : snapshot_finish(snapshot, error);
}

struct snapshot *
snapshot_from_text(const char *text, struct error *error)
{
	struct snapshot *snapshot = snapshot_new(error);

	if (snapshot != NULL && !values_from_text(&snapshot->values, text, error))
		snapshot_destroy(&snapshot);
	return snapshot == NULL ? NULL : snapshot_finish(snapshot, error);
}

const struct parameters *
snapshot_parameters(const struct snapshot *snapshot)
{
	return &snapshot->normal;
}

const struct parameters *
snapshot_stress_parameters(const struct snapshot *snapshot)
{
	return &snapshot->stress;
}

/* The text of a row whose member holds text, or NULL. */
static const char *
row_text(const struct snapshot *snapshot, const struct parameter_row *row)
{
	const char *const *member = (const void *)((const char *)&snapshot->normal + row->offset);

	switch (row->type) {
	case PARAMETER_STRING:
	case PARAMETER_RAW:
	case PARAMETER_CHOICE: return *member;
	case PARAMETER_BOOLEAN: return *(const bool *)(const void *)member ? "yes" : "no";
	case PARAMETER_INTEGER:
	case PARAMETER_SECONDS: return NULL;
	}
	return NULL;
}

const char *
snapshot_value(const struct snapshot *snapshot, const char *name)
{
	const struct parameter_row *row = settings_row(&snapshot->settings, slice_from(name));
	const char                 *member = row == NULL ? NULL : row_text(snapshot, row);

	return member != NULL ? member : hash_get(&snapshot->texts, slice_from(name));
}

/* The number of a row, or of a set value of the same type as `like`; false when there is none. */
static bool
number_of(const struct snapshot *snapshot, const char *name, const struct parameter_row *like,
          int64_t *number)
{
	const struct parameter_row *row = settings_row(&snapshot->settings, slice_from(name));
	const char                 *text;

	if (row != NULL && (row->type == PARAMETER_INTEGER || row->type == PARAMETER_SECONDS)) {
		const char *member = (const char *)&snapshot->normal + row->offset;
		*number = *(const int64_t *)(const void *)member;
		return true;
	}
	text = snapshot_value(snapshot, name);
	if (text == NULL)
		return false;
	if (like != NULL && like->type == PARAMETER_SECONDS)
		return number_parse_seconds(slice_from(text), parameter_unit(like), number);
	return number_parse(slice_from(text), INT64_MIN, INT64_MAX, number) ||
	       number_parse_seconds(slice_from(text), 's', number);
}

int64_t
snapshot_transport_number(const struct snapshot *snapshot, const char *transport,
                          const char *suffix)
{
	const struct parameter_row *standard;
	char                        name[300], standard_name[300];
	int64_t                     number = 0;

	snprintf(standard_name, sizeof(standard_name), "default%s", suffix);
	standard = settings_row(&snapshot->settings, slice_from(standard_name));
	if ((size_t)snprintf(name, sizeof(name), "%s%s", transport, suffix) < sizeof(name) &&
	    number_of(snapshot, name, standard, &number))
		return number;
	(void)number_of(snapshot, standard_name, standard, &number);
	return number;
}
