/*
 * certificates.c - the keys and certificates of a daemon that serves TLS come from master.
 *
 * Master may open the files, now and when they are replaced; a daemon behind its closed doors may
 * not. It gets their bytes, says what it makes of them, and master keeps what was sound for the
 * next one to start.
 *
 * Only a room that calls daemon_tls_server is linked with this file, and so with OpenSSL, which
 * costs each process 0.5 MB before it has done anything.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "lib/daemon/core.h"
#include "lib/io/file.h"
#include "lib/tls/tls.h"
#include "lib/tls/tls_files.h"

#define SERVES_MOST (4u * 1024 * 1024)

/* The descriptor's position is shared with other daemons: read from the start, not from there. */
static bool
bundle_read(int fd, struct buf *bundle, struct error *error)
{
	struct stat status;

	if (fstat(fd, &status) != 0 || status.st_size < 0 ||
	    !buf_reserve(bundle, (size_t)status.st_size))
		return error_set(error, "keys and certificates cannot be read");
	ssize_t count = file_read_at(fd, bundle->data, (size_t)status.st_size, 0);
	if (count != status.st_size)
		return error_set(error, "keys and certificates cannot be read");
	bundle->length = (size_t)count;
	return true;
}

/* What is served now, and what of the last bundle was refused. */
static void
tell(struct daemon_core *core, const struct error *problem)
{
	struct buf               list = BUF(SERVES_MOST);
	struct msg_daemon_serves serves = { .number = core->certificates_number,
		                            .problem = slice_from(problem->text) };

	if (!tls_server_describe(core->tls_server, &list))
		buf_truncate(&list, 0);
	serves.certificates = buf_slice(&list);
	if (!ipc_queue(&core->control, daemon_serves, &serves))
		log_warning("master cannot be told about the certificates");
	ipc_flush(&core->control);
	buf_free(&list);
}

static void
tell_first(struct daemon_core *core)
{
	struct error problem = ERROR_NONE;

	tls_server_problem(core->tls_server, &problem);
	tell(core, &problem);
}

static void
replace(struct daemon_core *core, struct ipc_frame *frame)
{
	struct msg_daemon_certificates message = msg_daemon_certificates_clear();
	struct buf                     bundle = BUF(TLS_BUNDLE_MOST);
	struct error                   problem = ERROR_NONE;

	if (!msg_daemon_certificates_decode(frame, &message) || message.bundle < 0)
		return;
	core->certificates_number = message.number;
	if (bundle_read(message.bundle, &bundle, &problem))
		tls_server_replace(core->tls_server, buf_slice(&bundle), &problem);
	tls_bundle_free(&bundle);
	tell(core, &problem);
	close(message.bundle);
}

struct tls_server *
daemon_tls_server(const struct daemon_context *context, struct error *error)
{
	static const struct certificate_calls calls = { tell_first, replace };
	struct daemon_core                   *core = context->core;
	struct buf                            bundle = BUF(TLS_BUNDLE_MOST);

	*error = ERROR_NONE;
	if (core == NULL || core->certificates_fd < 0)
		return tls_server_create(context->parameters, error);
	if (bundle_read(core->certificates_fd, &bundle, error))
		core->tls_server =
			tls_server_create_from(context->parameters, buf_slice(&bundle), error);
	tls_bundle_free(&bundle);
	close(core->certificates_fd);
	core->certificates_fd = -1;
	if (core->tls_server != NULL)
		core->certificates = &calls;
	return core->tls_server;
}
