/* Records of users.db, SCRAM keys and user names: decoded or refused, and stable when encoded. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sasl/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice       text = slice_of((const char *)data, size);
	struct user_record record, again;
	struct scram_keys  keys;
	char               name[USER_NAME_MOST + 1], twice[USER_NAME_MOST + 1];
	struct buf         out = BUF(USER_RECORD_MOST);

	if (user_record_decode(text, &record, NULL)) {
		assert(user_record_encode(&record, &out));
		assert(user_record_decode(buf_slice(&out), &again, NULL));
		assert(again.is_enabled == record.is_enabled);
		assert(again.has_scram == record.has_scram);
	}
	buf_clear(&out);
	if (scram_parse(text, &keys)) {
		struct scram_keys same;

		assert(scram_append(&keys, &out));
		assert(scram_parse(buf_slice(&out), &same));
		assert(same.iterations == keys.iterations);
		assert(memcmp(same.stored, keys.stored, sizeof(same.stored)) == 0);
	}
	struct slice    rest = text;
	struct user_app app, same_app;
	while (user_app_next(&rest, &app)) {
		buf_clear(&out);
		assert(user_app_append(&app, &out));
		struct slice line = buf_slice(&out);
		assert(user_app_next(&line, &same_app));
		assert(strcmp(app.label, same_app.label) == 0);
	}
	if (user_name_canonical(text, "example.org", name, NULL)) {
		assert(user_name_canonical(slice_from(name), "", twice, NULL));
		assert(strcmp(name, twice) == 0);
	}
	buf_free(&out);
	return 0;
}
