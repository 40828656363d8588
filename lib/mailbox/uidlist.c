/* uidlist.c - see uidlist.h. */
#include "lib/mailbox/uidlist.h"

#include "lib/base/number.h"
#include "lib/mailbox/name.h"

static bool
parse_u32(struct slice text, uint32_t *value)
{
	int64_t number;

	if (!number_parse(text, 1, UINT32_MAX, &number))
		return false;
	*value = (uint32_t)number;
	return true;
}

/* "3 V1275660208 N25022 G..." or "1 1275660208 25022". */
static bool
parse_header(struct slice line, bool *is_version_3, uint32_t *validity)
{
	struct slice word;

	if (!slice_next_word(&line, " \r", &word))
		return false;
	*is_version_3 = slice_equal(word, SLICE("3"));
	if (!*is_version_3 && !slice_equal(word, SLICE("1")))
		return false;
	while (slice_next_word(&line, " \r", &word)) {
		if (!*is_version_3)
			return parse_u32(word, validity);
		if (word.data[0] == 'V')
			return parse_u32(slice_from_offset(word, 1), validity);
	}
	return false;
}

static void
parse_line(struct slice line, bool is_version_3, struct uidlist *list)
{
	struct maildir_name name;
	struct slice        word;
	uint32_t            uid;

	if (!slice_next_word(&line, " \r", &word) || !parse_u32(word, &uid))
		return;
	if (is_version_3) {
		size_t colon =
			slice_starts_with(line, SLICE(":")) ? 0 : slice_find(line, SLICE(" :"));

		if (colon == SLICE_NOT_FOUND)
			return;
		line = slice_from_offset(line, colon + (colon == 0 && line.data[0] == ':' ? 1 : 2));
	}
	if (maildir_name_parse(slice_trim(line), &name))
		(void)hash_put(&list->uids, name.unique, (void *)(uintptr_t)uid, NULL);
}

bool
uidlist_parse(struct slice text, struct uidlist *list)
{
	struct slice line;
	bool         is_version_3;

	*list = (struct uidlist){ 0 };
	if (!slice_next_part(&text, '\n', &line) ||
	    !parse_header(line, &is_version_3, &list->validity))
		return false;
	while (slice_next_part(&text, '\n', &line))
		parse_line(line, is_version_3, list);
	return true;
}

uint32_t
uidlist_get(const struct uidlist *list, struct slice unique)
{
	return (uint32_t)(uintptr_t)hash_get(&list->uids, unique);
}

void
uidlist_free(struct uidlist *list)
{
	hash_free(&list->uids, NULL);
}
