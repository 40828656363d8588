/* fuzz_snapshot.c - a snapshot of any bytes is refused or sound; what is sound survives a copy. */
#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/conf/snapshot.h"
#include "lib/conf/values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error     error = ERROR_NONE;
	struct values    values = VALUES_NONE, again = VALUES_NONE;
	struct buf       bytes = BUF(16u * 1024 * 1024);
	int              fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct snapshot *snapshot = NULL;

	if (fd >= 0 && write(fd, data, size) == (ssize_t)size)
		snapshot = snapshot_open(fd, &error);
	if (snapshot != NULL) {
		assert(snapshot_parameters(snapshot)->myhostname != NULL);
		snapshot_value(snapshot, "x");
		snapshot_transport_number(snapshot, "x", "_destination_rate_delay");
		snapshot_destroy(&snapshot);
	}
	if (values_decode(&values, slice_of((const char *)data, size), NULL)) {
		assert(values_encode(&values, &bytes));
		assert(values_decode(&again, buf_slice(&bytes), &error));
		assert(again.list.count == values.list.count);
	}
	values_free(&values);
	values_free(&again);
	buf_free(&bytes);
	if (fd >= 0)
		close(fd);
	return 0;
}
