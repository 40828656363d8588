/* recent.c - see recent.h. */
#include "qmgr/recent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/io/file.h"

#define FILE_NAME "recent"
#define FILE_MOST (RECENT_MOST * QUEUE_ID_MOST)

void
recent_note(struct recent *recent, struct slice service, const char *id)
{
	if (!slice_equal(service, SLICE("pickup")))
		return;
	if (recent->ring == NULL)
		recent->ring = calloc(RECENT_MOST, sizeof(*recent->ring));
	if (recent->ring == NULL || hash_get(&recent->ids, slice_from(id)) != NULL)
		return;
	char *slot = recent->ring[recent->next];
	if (slot[0] != '\0')
		hash_remove(&recent->ids, slice_from(slot));
	memcpy(slot, id, strlen(id) + 1);
	if (!hash_put(&recent->ids, slice_from(slot), slot, NULL)) {
		slot[0] = '\0';
		return;
	}
	recent->next = (recent->next + 1) % RECENT_MOST;
}

bool
recent_has(const struct recent *recent, struct slice id)
{
	return hash_get(&recent->ids, id) != NULL;
}

void
recent_load(struct recent *recent, int state_fd)
{
	int          fd = openat(state_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct buf   text = BUF(FILE_MOST);
	struct slice rest, line;
	char         id[QUEUE_ID_MOST];

	if (fd < 0)
		return;
	rest = file_read_all(fd, &text, FILE_NAME, NULL) ? buf_slice(&text) : SLICE_EMPTY;
	while (slice_next_part(&rest, '\n', &line)) {
		if (!queue_id_is_valid(line))
			continue;
		memcpy(id, line.data, line.length);
		id[line.length] = '\0';
		recent_note(recent, SLICE("pickup"), id);
	}
	buf_free(&text);
	close(fd);
}

bool
recent_save(const struct recent *recent, int state_fd, struct error *error)
{
	struct buf text = BUF(FILE_MOST);

	/* The oldest first, as they are noted again. */
	for (size_t i = 0; recent->ring != NULL && i < RECENT_MOST; i++) {
		const char *id = recent->ring[(recent->next + i) % RECENT_MOST];

		if (id[0] != '\0') {
			buf_append_text(&text, id);
			buf_append_byte(&text, '\n');
		}
	}
	bool is_kept = text.length == 0 ||
	               file_replace(state_fd, FILE_NAME, buf_slice(&text), 0600, error);
	buf_free(&text);
	return is_kept;
}

void
recent_free(struct recent *recent)
{
	hash_free(&recent->ids, NULL);
	free(recent->ring);
	*recent = (struct recent){ 0 };
}
