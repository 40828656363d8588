/*
 * file.h - file operations that survive short writes, symbolic links and power cuts.
 *
 * Paths are relative to a directory descriptor and never leave it: no "..", no symbolic link in
 * any component (openat2, RESOLVE_BENEATH and NO_SYMLINKS; the same by hand on older kernels).
 * Every descriptor opened here is close-on-exec. Errors are worded with the path.
 */
#ifndef DAKIYA_IO_FILE_H
#define DAKIYA_IO_FILE_H

#include <sys/types.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

/* Descriptor, or -1 and *error. flags as for open; mode is used with O_CREAT, less the umask (077
 * in daemons). The other functions set modes exactly. */
int file_open_beneath(int directory, const char *path, int flags, mode_t mode, struct error *error);
/* The directory at path (which may be absolute: for configured paths), for use with the others. */
int file_open_directory(const char *path, struct error *error);
/* Makes the directories of path that are missing, one below the other. */
bool file_make_directories(int directory, const char *path, mode_t mode, struct error *error);

/*
 * For programs that people call: standard streams that the caller has closed become /dev/null.
 * The next file or socket would take their place otherwise, and be written to.
 */
bool file_open_standard(void);

/* All bytes, or false and *error. path is for the words. */
bool file_write_all(int fd, struct slice bytes, const char *path, struct error *error);
bool file_write_all_at(int fd, struct slice bytes, int64_t offset, const char *path,
                       struct error *error);
/* Appends the rest of the file to out; false when it is longer than out's limit allows. */
bool file_read_all(int fd, struct buf *out, const char *path, struct error *error);
/* Up to size bytes at offset, fewer only at the end of the file; -1 on failure. */
ssize_t file_read_at(int fd, char *data, size_t size, int64_t offset);

bool file_sync(int fd, const char *path, struct error *error); /* data and metadata */
/* Makes names in the directory durable. */
bool file_sync_directory(int directory, const char *path, struct error *error);
/*
 * Replaces or creates the file called name in directory: written aside, synced, renamed, and the
 * directory synced. Readers see the old or the new bytes, also after a power cut.
 */
bool file_replace(int directory, const char *name, struct slice bytes, mode_t mode,
                  struct error *error);

/* How many descriptors the process may have. */
size_t file_descriptors_most(void);

enum file_lock { FILE_LOCK_SHARED, FILE_LOCK_EXCLUSIVE };
/*
 * Locks the open file description (F_OFD_SETLK): it excludes threads, too, and goes with its last
 * descriptor. Without wait, false with errno_value EAGAIN when another holds it.
 */
bool file_lock(int fd, enum file_lock kind, bool wait, const char *path, struct error *error);

#endif
