/* stored.c - see stored.h. */
#include "lib/queue/stored.h"

bool
stored_file_parse(struct slice bytes, struct stored_file *file)
{
	struct record      first, record;
	struct stored_file parsed;
	size_t             at;

	if (!record_parse(bytes, &first) || first.type != RECORD_MESSAGE)
		return false;
	parsed.message = first.payload;
	if (!stored_message_decode(first.payload, &parsed.commit, &parsed.envelope,
	                           &parsed.recipient_count))
		return false;
	at = first.size;
	while (record_parse(slice_from_offset(bytes, at), &record))
		at += record.size;
	parsed.results = slice_of(bytes.data + first.size, at - first.size);
	parsed.valid_bytes = at;
	*file = parsed;
	return true;
}

bool
stored_result_next(struct slice *results, struct msg_stored_result *result)
{
	struct record record;

	while (record_parse(*results, &record)) {
		*results = slice_from_offset(*results, record.size);
		if (record.type == RECORD_RESULT && stored_result_decode(record.payload, result))
			return true;
	}
	return false;
}
