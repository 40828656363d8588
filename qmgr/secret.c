/*
 * secret.c - the queue's secret, state/secret: the keys of segments are made from it.
 *
 * When its file is lost a new one will do, since the segments' headers hold their keys. Without
 * room for it on the disk it lives as long as this process; so does one that stands in for a file
 * that cannot be read now.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/io/file.h"
#include "qmgr/replay.h"

bool
secret_open(struct qmgr *qmgr, struct segment_key *secret)
{
	int          fd = openat(qmgr->state_fd, "secret", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct buf   text = BUF(256), bytes = BUF(64);
	struct error error = ERROR_NONE;
	bool         is_known = false, is_unread = fd < 0 && errno != ENOENT;

	if (fd >= 0) {
		is_unread = !file_read_all(fd, &text, "secret", &error);
		is_known = !is_unread && hex_decode(slice_trim(buf_slice(&text)), &bytes) &&
		           bytes.length == sizeof(*secret);
		close(fd);
	}
	if (is_known) {
		memcpy(secret, bytes.data, sizeof(*secret));
	} else {
		buf_clear(&text);
		random_bytes(secret, sizeof(*secret));
		hex_encode(slice_of((const char *)secret, sizeof(*secret)), &text);
		buf_append_byte(&text, '\n');
		if (is_unread)
			log_warning("state/secret: cannot be read%s%s",
			            error.text[0] == '\0' ? "" : ": ", error.text);
		else if (!file_replace(qmgr->state_fd, "secret", buf_slice(&text), 0600, &error))
			log_warning("%s", error.text);
	}
	buf_free(&text);
	buf_free(&bytes);
	return is_known;
}
