/* tls_files.c - see tls_files.h. */
#include "lib/tls/tls_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/encode.h"
#include "lib/base/hash.h"
#include "lib/io/file.h"
#include "lib/ipc/messages.h"

#define WORDS        ", \t\r\n"
#define FILE_MOST    (1024u * 1024) /* a file of chains */
#define MEMBERS_MOST 10000          /* files and directories in a directory */

bool
tls_server_is_wanted(const struct parameters *parameters)
{
	const char *level = parameters->smtpd_tls_security_level;

	return parameters->smtpd_tls_wrappermode ||
	       (level[0] != '\0' && strcmp(level, "none") != 0);
}

/* ---- which files ---- */

/* "role parameter path\n" each. */
static bool
name_file(struct buf *out, enum tls_file_role role, const char *parameter, struct slice path)
{
	return buf_append_format(out, "%d %s %.*s\n", role, parameter, SLICE_ARGS(path));
}

static bool
name_pair(struct buf *out, const char *parameter, const char *certificate, const char *key)
{
	if (certificate[0] == '\0' || strcmp(certificate, "none") == 0)
		return true;
	return name_file(out, TLS_FILE_CERTIFICATE, parameter, slice_from(certificate)) &&
	       name_file(out, TLS_FILE_KEY, parameter, slice_from(key));
}

static bool
name_chains(struct buf *out, const char *parameter, const char *files)
{
	struct slice rest = slice_from(files), word;

	while (slice_next_word(&rest, WORDS, &word))
		if (!name_file(out, TLS_FILE_CHAIN, parameter, word))
			return false;
	return true;
}

bool
tls_files_named(const struct parameters *parameters, struct buf *out)
{
	const char *tables = parameters->tls_server_sni_maps;

	if (tables[0] != '\0' && strchr(tables, '\n') == NULL &&
	    !name_file(out, TLS_FILE_MAP, "tls_server_sni_maps", slice_from(tables)))
		return false;
	if (parameters->smtpd_tls_chain_files[0] != '\0')
		return name_chains(out, "smtpd_tls_chain_files", parameters->smtpd_tls_chain_files);
	return name_pair(out, "smtpd_tls_cert_file", parameters->smtpd_tls_cert_file,
	                 parameters->smtpd_tls_key_file) &&
	       name_pair(out, "smtpd_tls_eccert_file", parameters->smtpd_tls_eccert_file,
	                 parameters->smtpd_tls_eckey_file);
}

bool
tls_client_files_named(const struct parameters *parameters, struct buf *out)
{
	if (parameters->smtp_tls_chain_files[0] != '\0')
		return name_chains(out, "smtp_tls_chain_files", parameters->smtp_tls_chain_files);
	return name_pair(out, "smtp_tls_cert_file", parameters->smtp_tls_cert_file,
	                 parameters->smtp_tls_key_file);
}

/* ---- walking through them ---- */

struct walk {
	enum tls_file_role role;
	struct slice       parameter;
	struct slice       server_name; /* of a table's row; empty = none */
	const char        *directory;   /* "" = none */
	/* Called for each file, and for each directory itself with is_directory. */
	bool (*visit)(const struct walk *walk, const char *path, bool is_directory);
	/* Called with the content that a table's row holds itself. */
	bool (*visit_content)(const struct walk *walk, struct slice content);
	tls_map_reader *reader;
	struct buf     *out;
	struct error   *error;
};

static bool walk_path(const struct walk *walk, const char *path, unsigned depth);

static int
is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static bool
walk_directory(const struct walk *walk, const char *path, unsigned depth)
{
	struct dirent **entries = NULL;
	struct walk     inside = *walk;
	int             count = scandir(path, &entries, is_visible, alphasort);
	bool            is_ok = true;

	inside.role = TLS_FILE_MEMBER;
	inside.directory = path;
	for (int i = 0; i < count; i++) {
		char member[4096];

		if (is_ok && i < MEMBERS_MOST &&
		    (size_t)snprintf(member, sizeof(member), "%s/%s", path, entries[i]->d_name) <
		            sizeof(member))
			is_ok = walk_path(&inside, member, depth + 1);
		free(entries[i]);
	}
	free(entries);
	return is_ok;
}

/* A directory in a directory (one for each name: what ACME clients make) is looked into, too. */
static bool
walk_path(const struct walk *walk, const char *path, unsigned depth)
{
	struct stat status;
	bool        is_there = stat(path, &status) == 0;

	if (is_there && S_ISDIR(status.st_mode) && depth < 2 &&
	    (walk->role == TLS_FILE_CHAIN || walk->role == TLS_FILE_MEMBER))
		return walk->visit(walk, path, true) && walk_directory(walk, path, depth);
	if (walk->role == TLS_FILE_MEMBER && (!is_there || !S_ISREG(status.st_mode)))
		return true;
	return walk->visit(walk, path, false);
}

/* A row of a table: what dakmap -F made of the files, or their names. */
static bool
walk_row(struct slice name, struct slice value, void *context)
{
	struct walk row = *(const struct walk *)context;
	struct buf  content = BUF(FILE_MOST);
	bool        is_ok = true;

	row.role = TLS_FILE_CHAIN;
	row.server_name = name;
	bool is_content = base64_decode(value, &content) &&
	                  slice_find(buf_slice(&content), SLICE("-----BEGIN ")) != SLICE_NOT_FOUND;
	if (is_content)
		is_ok = row.visit_content(&row, buf_slice(&content));
	tls_bundle_free(&content);
	for (struct slice word; !is_content && is_ok && slice_next_word(&value, WORDS, &word);) {
		char path[4096];

		snprintf(path, sizeof(path), "%.*s",
		         SLICE_ARGS(slice_first(word, sizeof(path) - 1)));
		is_ok = walk_path(&row, path, 0);
	}
	return is_ok;
}

static bool
walk_named(struct walk *walk, const char *path)
{
	if (walk->role != TLS_FILE_MAP)
		return walk_path(walk, path, 0);
	return walk->reader == NULL || walk->reader(path, walk_row, walk, walk->error) ||
	       error_prefix(walk->error, "tls_server_sni_maps");
}

static bool
walk_all(struct slice named, struct walk *walk)
{
	struct slice line, role;

	while (slice_next_part(&named, '\n', &line)) {
		char path[4096];

		if (!slice_next_part(&line, ' ', &role) ||
		    !slice_next_part(&line, ' ', &walk->parameter))
			continue;
		walk->role = (enum tls_file_role)(role.data[0] - '0');
		walk->directory = "";
		snprintf(path, sizeof(path), "%.*s",
		         SLICE_ARGS(slice_first(line, sizeof(path) - 1)));
		walk->server_name = SLICE_EMPTY;
		if (walk_named(walk, path))
			continue;
		return walk->error->text[0] == '\0'
		               ? error_set(walk->error, "the files with keys and certificates "
		                                        "are too large")
		               : false;
	}
	return true;
}

/* ---- a change ---- */

static bool
visit_stat(const struct walk *walk, const char *path, bool is_directory)
{
	struct stat status;

	if (stat(path, &status) != 0)
		return buf_append_format(walk->out, "%s -\n", path);
	/* What is in a directory is visited by itself; its own times change with any file. */
	if (is_directory)
		return buf_append_format(walk->out, "%s/\n", path);
	return buf_append_format(
		walk->out, "%s %llx:%llx %llx %lld.%09ld %lld.%09ld\n", path,
		(unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
		(unsigned long long)status.st_size, (long long)status.st_mtim.tv_sec,
		status.st_mtim.tv_nsec, (long long)status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
}

/* The hash is the process's own; what is compared is, too. */
static bool
visit_content_stat(const struct walk *walk, struct slice content)
{
	return buf_append_format(walk->out, "%.*s %zx:%llx\n", SLICE_ARGS(walk->server_name),
	                         content.length, (unsigned long long)hash_bytes(content));
}

bool
tls_files_fingerprint(struct slice named, tls_map_reader *reader, struct buf *out,
                      struct error *error)
{
	struct walk walk = { .visit = visit_stat,
		             .visit_content = visit_content_stat,
		             .reader = reader,
		             .out = out,
		             .error = error };

	return walk_all(named, &walk);
}

/* ---- the bytes ---- */

static bool
read_file(const char *path, struct buf *content, struct error *error)
{
	struct stat status;
	/* Not waiting: somebody may have put a pipe there. */
	int  fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool is_ok;

	if (fd < 0)
		return error_set_errno(error, "cannot open %s", path);
	is_ok = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
	if (!is_ok)
		error_set(error, "%s: is no file", path);
	else if (status.st_size > (off_t)FILE_MOST)
		is_ok = error_set(error, "%s: is too large for keys and certificates", path);
	else
		is_ok = file_read_all(fd, content, path, error);
	close(fd);
	return is_ok;
}

static bool
visit_read(const struct walk *walk, const char *path, bool is_directory)
{
	struct error error = ERROR_NONE;
	struct buf   content = BUF(FILE_MOST);
	bool         is_ok;

	if (is_directory)
		return true;
	bool is_read = read_file(path, &content, &error);
	/* README files and the like in a directory are nobody's business. */
	if (is_read && walk->role == TLS_FILE_MEMBER &&
	    slice_find(buf_slice(&content), SLICE("-----BEGIN ")) == SLICE_NOT_FOUND) {
		tls_bundle_free(&content);
		return true;
	}
	struct msg_tls_file file = { .role = walk->role,
		                     .parameter = walk->parameter,
		                     .server_name = walk->server_name,
		                     .directory = slice_from(walk->directory),
		                     .path = slice_from(path),
		                     .content = is_read ? buf_slice(&content) : SLICE_EMPTY,
		                     .problem = is_read ? SLICE_EMPTY : slice_from(error.text) };
	is_ok = msg_tls_file_append(walk->out, &file);
	tls_bundle_free(&content);
	return is_ok;
}

/* A row has no path: it is called after its name. */
static bool
visit_content_read(const struct walk *walk, struct slice content)
{
	struct buf          path = BUF(4096);
	struct msg_tls_file file = { .role = TLS_FILE_CHAIN,
		                     .parameter = walk->parameter,
		                     .server_name = walk->server_name,
		                     .content = content };
	bool is_ok = buf_append_format(&path, "%.*s of %.*s", SLICE_ARGS(walk->server_name),
	                               SLICE_ARGS(walk->parameter));

	file.path = buf_slice(&path);
	is_ok = is_ok && msg_tls_file_append(walk->out, &file);
	buf_free(&path);
	return is_ok;
}

bool
tls_files_read(struct slice named, tls_map_reader *reader, struct buf *bundle, struct error *error)
{
	struct walk walk = { .visit = visit_read,
		             .visit_content = visit_content_read,
		             .reader = reader,
		             .out = bundle,
		             .error = error };

	return walk_all(named, &walk);
}

void
tls_bundle_free(struct buf *bundle)
{
	if (bundle->data != NULL)
		explicit_bzero(bundle->data, bundle->capacity);
	buf_free(bundle);
}
