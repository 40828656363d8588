/* Tests of lib/base/memory: what is left, from files as both versions of control groups have them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/memory.h"

#define MIB (INT64_C(1) << 20)
#define MEMINFO                                                                                    \
	"MemTotal:        4194304 kB\nMemFree:  100 kB\nMemAvailable:    1048576 kB\n"             \
	"SwapTotal:             0 kB\nSwapFree:              0 kB\n"

struct place {
	char root[64];
};

static void
put(const struct place *place, const char *path, const char *text)
{
	char whole[300];

	snprintf(whole, sizeof(whole), "%s%s", place->root, path);
	for (char *slash = strchr(whole + strlen(place->root) + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(whole, 0700);
		*slash = '/';
	}
	FILE *file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void
pause_ms(long ms)
{
	struct timespec time = { .tv_nsec = ms * 1000000 };

	nanosleep(&time, NULL);
}

static int
place_make(void **state)
{
	static struct place place;

	snprintf(place.root, sizeof(place.root), "/tmp/test_memory_left.XXXXXX");
	if (mkdtemp(place.root) == NULL)
		return -1;
	put(&place, "/proc/meminfo", MEMINFO);
	*state = &place;
	return 0;
}

static int
place_remove(void **state)
{
	const struct place *place = *state;
	char                command[100];

	snprintf(command, sizeof(command), "rm -r %s", place->root);
	return system(command);
}

static void
version_2_counts_what_the_kernel_caches_as_free(void **state)
{
	const struct place *place = *state;

	put(place, "/proc/self/cgroup", "0::/mail.slice/mail\n");
	put(place, "/sys/fs/cgroup/mail.slice/mail/memory.max", "33554432\n");
	put(place, "/sys/fs/cgroup/mail.slice/mail/memory.current", "31457280\n");
	put(place, "/sys/fs/cgroup/mail.slice/mail/memory.stat",
	    "anon 20000000\nfile 6291456\nshmem 1\ninactive_anon 7\nactive_anon 9\n"
	    "inactive_file 4194304\nactive_file 1000000\nslab_reclaimable 48576\nslab 77\n");
	struct memory *memory = memory_open(place->root);
	assert_int_equal(memory_limit(memory), 32 * MIB);
	assert_true(memory_is_little(memory));
	assert_int_equal(memory_left(memory), (2 + 4 + 1) * MIB);
	assert_int_equal(memory_reserve(memory), 2 * MIB);
	assert_true(memory_allows(memory, 5 * MIB));
	assert_false(memory_allows(memory, 5 * MIB + 1));
	assert_true(memory_is_short(memory)); /* 7 MB of 32 */
	memory_close(&memory);
	assert_null(memory);
}

static void
the_lowest_limit_above_us_counts(void **state)
{
	const struct place *place = *state;

	put(place, "/proc/self/cgroup", "0::/mail.slice/mail\n");
	put(place, "/sys/fs/cgroup/mail.slice/mail/memory.max", "max\n");
	put(place, "/sys/fs/cgroup/mail.slice/mail/memory.current", "1\n");
	put(place, "/sys/fs/cgroup/mail.slice/memory.max", "1073741824\n");
	put(place, "/sys/fs/cgroup/mail.slice/memory.current", "1073741824\n");
	put(place, "/sys/fs/cgroup/mail.slice/memory.stat", "anon 5\ninactive_file 3\n");
	struct memory *memory = memory_open(place->root);
	assert_int_equal(memory_limit(memory), 1024 * MIB);
	assert_false(memory_is_little(memory));
	assert_int_equal(memory_left(memory), 3);
	assert_int_equal(memory_reserve(memory), 16 * MIB);
	assert_false(memory_allows(memory, 0));
	memory_close(&memory);
}

static void
version_1_is_read_as_well(void **state)
{
	const struct place *place = *state;

	put(place, "/proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/mail\n0::/\n");
	put(place, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put(place, "/sys/fs/cgroup/memory/mail/memory.limit_in_bytes", "16777216\n");
	put(place, "/sys/fs/cgroup/memory/mail/memory.usage_in_bytes", "15728640\n");
	put(place, "/sys/fs/cgroup/memory/mail/memory.stat",
	    "cache 9\ninactive_file 11\nactive_file 13\ntotal_inactive_file 1048576\n"
	    "total_active_file 100\n");
	struct memory *memory = memory_open(place->root);
	assert_int_equal(memory_limit(memory), 16 * MIB);
	assert_int_equal(memory_left(memory), 2 * MIB + 100);
	assert_int_equal(memory_reserve(memory), MIB);
	memory_close(&memory);
}

static void
swap_that_the_group_may_use_counts(void **state)
{
	const struct place *place = *state;

	put(place, "/proc/meminfo",
	    "MemTotal: 4194304 kB\nSwapTotal: 8192 kB\nSwapFree: 8192 kB\n");
	put(place, "/proc/self/cgroup", "0::/mail\n");
	put(place, "/sys/fs/cgroup/mail/memory.max", "33554432\n");
	put(place, "/sys/fs/cgroup/mail/memory.swap.max", "max\n");
	put(place, "/sys/fs/cgroup/mail/memory.swap.current", "1048576\n");
	put(place, "/sys/fs/cgroup/mail/memory.current", "33554432\n");
	put(place, "/sys/fs/cgroup/mail/memory.stat", "inactive_file 0\n");
	struct memory *memory = memory_open(place->root);
	assert_int_equal(memory_limit(memory), 40 * MIB);
	assert_int_equal(memory_left(memory), 7 * MIB);
	memory_close(&memory);
}

static void
without_a_limit_the_machine_counts(void **state)
{
	const struct place *place = *state;

	put(place, "/proc/self/cgroup", "4:memory:/mail\n0::/\n");
	struct memory *memory = memory_open(place->root);
	assert_int_equal(memory_limit(memory), 4096 * MIB);
	assert_int_equal(memory_left(memory), 1024 * MIB);
	memory_close(&memory);
}

static void
what_cannot_be_read_says_plenty(void **state)
{
	(void)state;
	struct memory *memory = memory_open("/nowhere");
	assert_true(memory_allows(memory, INT64_C(1) << 40));
	assert_false(memory_is_little(memory));
	memory_close(&memory);
	assert_true(memory_allows(NULL, INT64_C(1) << 40));
}

static void
a_figure_is_used_for_a_moment_only(void **state)
{
	const struct place *place = *state;

	put(place, "/proc/self/cgroup", "0::/mail\n");
	put(place, "/sys/fs/cgroup/mail/memory.max", "33554432\n");
	put(place, "/sys/fs/cgroup/mail/memory.current", "33554432\n");
	put(place, "/sys/fs/cgroup/mail/memory.stat", "inactive_file 0\n");
	struct memory *memory = memory_open(place->root);
	assert_int_equal(memory_left(memory), 0);
	put(place, "/sys/fs/cgroup/mail/memory.current", "1048576\n");
	pause_ms(30);
	assert_int_equal(memory_left(memory), 31 * MIB);
	assert_false(memory_is_short(memory));
	put(place, "/sys/fs/cgroup/mail/memory.current", "33554432\n");
	pause_ms(130);
	assert_int_equal(memory_left(memory), 0);
	memory_close(&memory);
}

int
main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)
	const struct CMUnitTest tests[] = {
		IN_PLACE(version_2_counts_what_the_kernel_caches_as_free),
		IN_PLACE(the_lowest_limit_above_us_counts),
		IN_PLACE(version_1_is_read_as_well),
		IN_PLACE(swap_that_the_group_may_use_counts),
		IN_PLACE(without_a_limit_the_machine_counts),
		IN_PLACE(what_cannot_be_read_says_plenty),
		IN_PLACE(a_figure_is_used_for_a_moment_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
