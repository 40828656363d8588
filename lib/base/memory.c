/* memory.c - see memory.h. */
#include "lib/base/memory.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"

#define PLENTY_MS     100 /* how old a figure may be while there is plenty, */
#define SCARCE_MS     10  /* and when there is not */
#define PLENTY        8   /* reserves */
#define RESERVE_PART  16
#define RESERVE_LEAST (INT64_C(1) << 20)
#define RESERVE_MOST  (INT64_C(16) << 20)
#define UNLIMITED     (INT64_C(1) << 50) /* version 1 writes some 2^63 for none */
#define FILE_MOST     4096
#define NUMBER_MOST   64
#define PATH_MOST     600

/* The files of a version of control groups, below its mount point. */
struct layout {
	const char *mount;
	const char *marker; /* of its line in /proc/self/cgroup, between the first two colons */
	const char *limit;
	const char *usage;
	/* Of memory.stat, what the kernel gives back: the page cache, and what it knows of files.
	 */
	const char *free_words[3];
	const char *swap_limit;
	const char *swap_usage;
};
static const struct layout layouts[] = {
	{ "/sys/fs/cgroup",
	  "",
	  "memory.max",
	  "memory.current",
	  { "\ninactive_file ", "\nactive_file ", "\nslab_reclaimable " },
	  "memory.swap.max",
	  "memory.swap.current" },
	{ "/sys/fs/cgroup/memory",
	  "memory",
	  "memory.limit_in_bytes",
	  "memory.usage_in_bytes",
	  { "\ntotal_inactive_file ", "\ntotal_active_file " },
	  NULL,
	  NULL },
};

struct memory {
	int64_t              limit;
	const struct layout *layout; /* of the group that limits; NULL = the machine does */
	int                  usage_fd;
	int                  stat_fd; /* or /proc/meminfo */
	int                  swap_fd; /* -1 = the group may not swap */
	_Atomic int64_t      left;
	_Atomic int64_t      stale_ms; /* when it is to be read again */
};

/* ---- files ---- */

/* The text of a file behind a line end, so that every line can be looked for with one before it. */
static bool
text_read(int fd, char *text, size_t size)
{
	ssize_t length = fd < 0 ? -1 : pread(fd, text + 1, size - 2, 0);

	if (length <= 0)
		return false;
	text[0] = '\n';
	text[length + 1] = '\0';
	return true;
}

/* The number behind word; -1 when there is none ("max"). */
static int64_t
number_behind(const char *text, const char *word)
{
	const char *found = strstr(text, word);
	int64_t     value;

	if (found == NULL)
		return -1;
	found += strlen(word);
	found += strspn(found, " ");
	struct slice digits = slice_of(found, strspn(found, "0123456789"));
	/* What does not fit is as good as unlimited. */
	if (digits.length > 18)
		return UNLIMITED;
	return number_parse(digits, 0, INT64_MAX, &value) ? value : -1;
}

static int64_t
number_in(int fd)
{
	char text[NUMBER_MOST];

	return text_read(fd, text, sizeof(text)) ? number_behind(text, "\n") : -1;
}

static int
file_of(const char *directory, const char *name)
{
	char path[PATH_MOST + 100];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int64_t
number_of(const char *directory, const char *name)
{
	int     fd = file_of(directory, name);
	int64_t value = number_in(fd);

	if (fd >= 0)
		close(fd);
	return value;
}

/* ---- the start ---- */

/* Our group of this version: its path in /proc/self/cgroup, "3:memory:/a/b" or "0::/a/b". */
static bool
group_find(const char *groups, const char *marker, struct slice *path)
{
	struct slice rest = slice_from(groups), line, part;

	while (slice_next_part(&rest, '\n', &line)) {
		if (!slice_next_part(&line, ':', &part) || !slice_next_part(&line, ':', &part) ||
		    !slice_equal(part, slice_from(marker)) || line.length == 0)
			continue;
		*path = line;
		return true;
	}
	return false;
}

/* What the group may have, with swap; -1 when this level sets no limit. */
static int64_t
level_limit(const struct layout *layout, const char *directory, int64_t swap_all)
{
	int64_t limit = number_of(directory, layout->limit);

	if (limit < 0 || limit >= UNLIMITED)
		return -1;
	if (layout->swap_limit == NULL || swap_all <= 0)
		return limit;
	int64_t swap = number_of(directory, layout->swap_limit);
	return limit + (swap < 0 || swap > swap_all ? swap_all : swap);
}

/* The lowest limit from our group up to the mount point, and its files. */
static void
group_open(struct memory *memory, const char *root, const struct layout *layout, struct slice path,
           int64_t swap_all)
{
	char   directory[PATH_MOST], lowest[PATH_MOST] = "";
	int    length = snprintf(directory, sizeof(directory), "%s%s%.*s", root, layout->mount,
	                         SLICE_ARGS(path));
	size_t least = strlen(root) + strlen(layout->mount);

	if (length <= 0 || (size_t)length >= sizeof(directory))
		return;
	for (;;) {
		int64_t limit = level_limit(layout, directory, swap_all);

		if (limit >= 0 && limit < memory->limit) {
			memory->limit = limit;
			memcpy(lowest, directory, strlen(directory) + 1);
		}
		char *slash = strrchr(directory, '/');
		if (slash == NULL || (size_t)(slash - directory) < least)
			break;
		*slash = '\0';
	}
	if (lowest[0] == '\0')
		return;
	memory->layout = layout;
	memory->usage_fd = file_of(lowest, layout->usage);
	memory->stat_fd = file_of(lowest, "memory.stat");
	if (layout->swap_usage != NULL && swap_all > 0)
		memory->swap_fd = file_of(lowest, layout->swap_usage);
}

static bool
text_of(const char *root, const char *name, char text[FILE_MOST])
{
	int  fd = file_of(root, name);
	bool is_good = text_read(fd, text, FILE_MOST);

	if (fd >= 0)
		close(fd);
	return is_good;
}

/* The group that limits us, or the machine; text is room for a file. */
static void
limit_find(struct memory *memory, const char *root, char text[FILE_MOST])
{
	struct slice path;
	int64_t      swap_kb = 0, machine_kb = 0;

	if (text_of(root, "/proc/meminfo", text)) {
		machine_kb = number_behind(text, "\nMemTotal:");
		swap_kb = number_behind(text, "\nSwapTotal:");
		if (swap_kb < 0)
			swap_kb = 0;
	}
	if (text_of(root, "/proc/self/cgroup", text)) {
		for (size_t i = 0; i < 2 && memory->layout == NULL; i++)
			if (group_find(text, layouts[i].marker, &path))
				group_open(memory, root, &layouts[i], path, swap_kb * 1024);
	}
	if (memory->layout == NULL && machine_kb > 0) {
		memory->limit = (machine_kb + swap_kb) * 1024;
		memory->stat_fd = file_of(root, "/proc/meminfo");
	}
}

struct memory *
memory_open(const char *root)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	char          *text = malloc(FILE_MOST);

	if (memory != NULL) {
		memory->usage_fd = memory->stat_fd = memory->swap_fd = -1;
		memory->limit = INT64_MAX;
		memory->left = INT64_MAX;
	}
	if (memory != NULL && text != NULL)
		limit_find(memory, root, text);
	free(text);
	return memory;
}

void
memory_close(struct memory **pointer)
{
	struct memory *memory = *pointer;

	if (memory == NULL)
		return;
	*pointer = NULL;
	if (memory->usage_fd >= 0)
		close(memory->usage_fd);
	if (memory->stat_fd >= 0)
		close(memory->stat_fd);
	if (memory->swap_fd >= 0)
		close(memory->swap_fd);
	free(memory);
}

/* ---- questions ---- */

int64_t
memory_limit(const struct memory *memory)
{
	return memory == NULL ? INT64_MAX : memory->limit;
}

bool
memory_is_little(const struct memory *memory)
{
	return memory_limit(memory) < MEMORY_LITTLE;
}

int64_t
memory_reserve(const struct memory *memory)
{
	int64_t part = memory_limit(memory) / RESERVE_PART;

	if (part < RESERVE_LEAST)
		return RESERVE_LEAST;
	return part > RESERVE_MOST ? RESERVE_MOST : part;
}

/* Usage counts the page cache; how much that is takes longer to find out. */
static int64_t
group_left(const struct memory *memory)
{
	int64_t usage = number_in(memory->usage_fd);
	int64_t swapped = memory->swap_fd >= 0 ? number_in(memory->swap_fd) : 0;
	char    text[FILE_MOST];

	if (usage < 0)
		return INT64_MAX;
	int64_t left = memory->limit - usage - (swapped > 0 ? swapped : 0);
	if (left >= PLENTY * memory_reserve(memory) ||
	    !text_read(memory->stat_fd, text, sizeof(text)))
		return left;
	for (size_t i = 0; i < 3 && memory->layout->free_words[i] != NULL; i++) {
		int64_t bytes = number_behind(text, memory->layout->free_words[i]);

		left += bytes > 0 ? bytes : 0;
	}
	return left;
}

static int64_t
machine_left(const struct memory *memory)
{
	char text[FILE_MOST];

	if (!text_read(memory->stat_fd, text, sizeof(text)))
		return INT64_MAX;
	int64_t available_kb = number_behind(text, "\nMemAvailable:");
	int64_t swap_kb = number_behind(text, "\nSwapFree:");
	return available_kb < 0 ? INT64_MAX : (available_kb + (swap_kb > 0 ? swap_kb : 0)) * 1024;
}

int64_t
memory_left(struct memory *memory)
{
	int64_t now = clock_monotonic_ms();

	if (memory == NULL || memory->stat_fd < 0)
		return INT64_MAX;
	int64_t stale_ms = atomic_load(&memory->stale_ms);
	/* Whoever finds it stale reads it; others take the old figure meanwhile. */
	if (now < stale_ms ||
	    !atomic_compare_exchange_strong(&memory->stale_ms, &stale_ms, now + SCARCE_MS))
		return atomic_load(&memory->left);
	int64_t left = memory->layout != NULL ? group_left(memory) : machine_left(memory);
	atomic_store(&memory->left, left);
	if (left >= PLENTY * memory_reserve(memory))
		atomic_store(&memory->stale_ms, now + PLENTY_MS);
	return left;
}

bool
memory_allows(struct memory *memory, int64_t bytes)
{
	return memory_left(memory) - memory_reserve(memory) >= bytes;
}

bool
memory_is_short(struct memory *memory)
{
	int64_t least =
		memory_is_little(memory) ? memory_limit(memory) / 4 : 2 * memory_reserve(memory);

	return memory_left(memory) < least;
}
