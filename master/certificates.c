/*
 * certificates.c - the files with keys and certificates: read for the daemons, and again when they
 * are replaced.
 *
 * Master reads bytes and compares what stat says; only daemons look into them. A set is what one
 * or more services name. Its newest bundle is given to the daemons that run; the last one that a
 * daemon found sound is what the next one starts with, so that a half-written file stops nobody.
 */
#include "master/master.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/conf/snapshot.h"
#include "lib/tls/tls_files.h"

#define STILL_MS      1000 /* a file that is being written is left in peace so long */
#define WARN_DAYS     14
#define WARN_EVERY_MS (24 * 3600 * INT64_C(1000))
#define DAY_S         86400

struct certificate { /* as a daemon told it */
	char   *file;
	char   *names;
	char    kind[16];
	int64_t not_after_s;
};

struct certificate_set {
	struct list_node node;        /* master.certificates */
	struct buf       named;       /* which files */
	struct buf       fingerprint; /* of the newest */
	struct buf       seen;        /* another one, that has to stay so for a while */
	uint32_t         number;      /* of the newest */
	int              newest_fd;
	uint32_t         good_number;
	int              good_fd; /* -1 = none yet */
	int64_t          look_ms;
	int64_t          warn_ms;
	char             problem[400]; /* of the newest, as logged */
	ARRAY(struct certificate) certificates;
};

/* ---- sets ---- */

static void
certificates_forget(struct certificate_set *set)
{
	for (size_t i = 0; i < set->certificates.count; i++) {
		free(set->certificates.items[i].file);
		free(set->certificates.items[i].names);
	}
	ARRAY_FREE(&set->certificates);
}

static void
set_free(struct certificate_set *set)
{
	list_remove(&set->node);
	if (set->newest_fd >= 0)
		close(set->newest_fd);
	if (set->good_fd >= 0 && set->good_fd != set->newest_fd)
		close(set->good_fd);
	certificates_forget(set);
	buf_free(&set->named);
	buf_free(&set->fingerprint);
	buf_free(&set->seen);
	free(set);
}

/* Another bundle is the newest; the good one stays at hand. */
static void
set_newest(struct certificate_set *set, int fd)
{
	if (set->newest_fd >= 0 && set->newest_fd != set->good_fd)
		close(set->newest_fd);
	set->newest_fd = fd;
	set->number++;
}

/* The files' state is taken before their bytes: what changes in between is seen at the next look.
 */
static bool
set_read(struct certificate_set *set, struct error *error)
{
	struct buf bundle = BUF(TLS_BUNDLE_MOST);
	int        fd = -1;

	buf_clear(&set->fingerprint);
	buf_clear(&set->seen);
	if (tls_files_fingerprint(buf_slice(&set->named), sni_read, &set->fingerprint, error) &&
	    tls_files_read(buf_slice(&set->named), sni_read, &bundle, error))
		fd = generation_sealed_file(buf_slice(&bundle), error);
	tls_bundle_free(&bundle);
	if (fd >= 0)
		set_newest(set, fd);
	return fd >= 0;
}

static struct certificate_set *
set_find(struct master *master, struct slice named)
{
	LIST_EACH (node, &master->certificates) {
		struct certificate_set *set = CONTAINER_OF(node, struct certificate_set, node);
		if (slice_equal(buf_slice(&set->named), named))
			return set;
	}
	return NULL;
}

static struct certificate_set *
set_new(struct master *master, struct buf *named, struct error *error)
{
	struct certificate_set *set = calloc(1, sizeof(*set));

	if (set == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	list_append(&master->certificates, &set->node);
	set->named = *named;
	*named = BUF(0);
	set->fingerprint = set->seen = BUF(TLS_BUNDLE_MOST);
	set->newest_fd = set->good_fd = -1;
	if (set_read(set, error))
		return set;
	set_free(set);
	return NULL;
}

bool
certificates_of_run(struct master *master, struct service_run *run, int snapshot_fd,
                    struct error *error)
{
	struct snapshot *snapshot;
	struct buf       named = BUF(TLS_NAMED_MOST);
	bool             is_ok = true;

	if (!run->service->program->is_inet)
		return true;
	snapshot = snapshot_open(snapshot_fd, error);
	if (snapshot == NULL)
		return false;
	const struct parameters *parameters = snapshot_parameters(snapshot);
	if (tls_server_is_wanted(parameters) && tls_files_named(parameters, &named) &&
	    named.length > 0) {
		run->certificates = set_find(master, buf_slice(&named));
		if (run->certificates == NULL)
			run->certificates = set_new(master, &named, error);
		is_ok = run->certificates != NULL;
	}
	buf_free(&named);
	snapshot_destroy(&snapshot);
	return is_ok;
}

size_t
certificates_files(const struct master *master)
{
	size_t count = 0;

	/* The newest and the last sound one: two while a replaced file is not known to be sound. */
	LIST_EACH (node, &master->certificates)
		count += 2;
	return count;
}

void
certificates_sweep(struct master *master)
{
	LIST_EACH (node, &master->certificates) {
		struct certificate_set *set = CONTAINER_OF(node, struct certificate_set, node);
		bool                    is_used = false;

		for (size_t i = 0; i < master->generation->runs.count; i++)
			is_used |= master->generation->runs.items[i]->certificates == set;
		if (!is_used)
			set_free(set);
	}
}

/* ---- what daemons get ---- */

static bool
queue_bundle(struct process *process, uint32_t number, int fd)
{
	struct msg_daemon_certificates message = { .number = number, .bundle = fd };

	return ipc_queue(&process->channel, daemon_certificates, &message);
}

bool
certificates_queue_first(struct process *process)
{
	const struct certificate_set *set = process->run->certificates;

	if (set == NULL)
		return true;
	return set->good_fd >= 0 ? queue_bundle(process, set->good_number, set->good_fd)
	                         : queue_bundle(process, set->number, set->newest_fd);
}

bool
certificates_queue_newest(struct process *process)
{
	const struct certificate_set *set = process->run->certificates;

	if (set == NULL || set->good_fd < 0 || set->good_fd == set->newest_fd)
		return true;
	return queue_bundle(process, set->number, set->newest_fd);
}

static void
give_newest(struct master *master, const struct certificate_set *set)
{
	LIST_EACH (node, &master->processes) {
		struct process *process = CONTAINER_OF(node, struct process, node);

		if (process->run == NULL || process->run->certificates != set ||
		    process->state == PROCESS_DRAINING)
			continue;
		if (!queue_bundle(process, set->number, set->newest_fd) ||
		    ipc_flush(&process->channel) != IPC_OK)
			log_warning("%s[%d] did not take the new certificates", process->name,
			            (int)process->pid);
	}
}

/* ---- what they say ---- */

static int64_t
days_left(const struct certificate *certificate)
{
	int64_t left_s = certificate->not_after_s - (int64_t)time(NULL);

	return left_s >= 0 ? left_s / DAY_S : -((-left_s + DAY_S - 1) / DAY_S);
}

static void
warn_of_ends(struct certificate_set *set)
{
	set->warn_ms = clock_monotonic_ms() + WARN_EVERY_MS;
	for (size_t i = 0; i < set->certificates.count; i++) {
		const struct certificate *one = &set->certificates.items[i];
		int64_t                   days = days_left(one);

		if (days < 0)
			log_warning("certificate %s (%s, %s) has expired: clients refuse it",
			            one->file, one->kind, one->names);
		else if (days < WARN_DAYS)
			log_warning("certificate %s (%s, %s) expires in %lld days", one->file,
			            one->kind, one->names, (long long)days);
	}
}

static char *
printable_copy(struct slice text)
{
	struct buf printable = BUF(8192);
	char      *copy = NULL;

	if (buf_append_printable(&printable, text))
		copy = strdup(buf_text(&printable));
	buf_free(&printable);
	return copy;
}

static void
take_certificates(struct certificate_set *set, struct slice list)
{
	struct msg_served_certificate told;

	certificates_forget(set);
	while (msg_served_certificate_next(&list, &told)) {
		struct certificate one = { .file = printable_copy(told.file),
			                   .names = printable_copy(told.names),
			                   .not_after_s = told.not_after_s };

		snprintf(one.kind, sizeof(one.kind), "%.*s",
		         SLICE_ARGS(slice_first(told.kind, sizeof(one.kind) - 1)));
		if (one.file != NULL && one.names != NULL && ARRAY_PUSH(&set->certificates, one))
			continue;
		free(one.file);
		free(one.names);
		return;
	}
}

/* Logged once. */
static void
refuse(struct certificate_set *set, const char *problem)
{
	if (strncmp(problem, set->problem, sizeof(set->problem) - 1) == 0)
		return;
	log_warning("certificates: %s%s", problem,
	            set->number > 1 || set->good_fd >= 0 ? "; what was served before stays" : "");
	snprintf(set->problem, sizeof(set->problem), "%s", problem);
}

/* The first daemon that tells of a bundle is believed, and all is logged once. */
void
certificates_told(struct process *process, struct ipc_frame *frame)
{
	struct msg_daemon_serves serves;
	struct certificate_set  *set = process->run == NULL ? NULL : process->run->certificates;

	if (!msg_daemon_serves_decode(frame, &serves)) {
		log_warning("%s[%d] sent a malformed message", process->name, (int)process->pid);
		return;
	}
	if (set == NULL || serves.number != set->number)
		return;
	if (serves.problem.length > 0) {
		char problem[sizeof(set->problem)];

		snprintf(problem, sizeof(problem), "%.*s",
		         SLICE_ARGS(slice_first(serves.problem, sizeof(problem) - 1)));
		if (strcmp(problem, set->problem) == 0)
			return;
		refuse(set, problem);
	} else if (set->good_fd != set->newest_fd) {
		if (set->good_fd >= 0)
			close(set->good_fd);
		set->good_fd = set->newest_fd;
		set->good_number = set->number;
		set->problem[0] = '\0';
		if (set->number > 1)
			log_info("certificates: the replaced files are in use");
	} else {
		return; /* told by another daemon before */
	}
	take_certificates(set, serves.certificates);
	warn_of_ends(set);
}

/* ---- looking for changes ---- */

static int64_t
interval_ms(const struct master *master)
{
	return master->generation->configuration.parameters.tls_certificate_check_interval * 1000;
}

/* A change counts when it is the same at two looks: nobody is still writing. */
static void
look(struct master *master, struct certificate_set *set, int64_t now)
{
	struct buf   print = BUF(TLS_BUNDLE_MOST);
	struct error error = ERROR_NONE;
	bool is_read = tls_files_fingerprint(buf_slice(&set->named), sni_read, &print, &error);

	set->look_ms = now + interval_ms(master);
	if (!is_read) {
		refuse(set, error.text);
	} else if (slice_equal(buf_slice(&print), buf_slice(&set->fingerprint))) {
		buf_clear(&set->seen);
		if (set->good_fd == set->newest_fd)
			set->problem[0] = '\0'; /* a table was away, and is back */
	} else if (!slice_equal(buf_slice(&print), buf_slice(&set->seen))) {
		buf_free(&set->seen);
		set->seen = print;
		print = BUF(0);
		set->look_ms = now + STILL_MS;
	} else if (set_read(set, &error)) {
		give_newest(master, set);
	} else {
		refuse(set, error.text);
	}
	buf_free(&print);
}

void
certificates_due(struct master *master, int64_t now)
{
	LIST_EACH (node, &master->certificates) {
		struct certificate_set *set = CONTAINER_OF(node, struct certificate_set, node);

		if (set->look_ms == 0)
			set->look_ms = now + interval_ms(master);
		if (set->look_ms <= now)
			look(master, set, now);
		if (set->warn_ms != 0 && set->warn_ms <= now)
			warn_of_ends(set);
	}
}

int64_t
certificates_next_ms(const struct master *master)
{
	const struct list_node *list = &master->certificates;
	int64_t                 next = 0;

	for (const struct list_node *node = list->next; node != list; node = node->next) {
		const struct certificate_set *set =
			CONTAINER_OF(node, struct certificate_set, node);
		if (next == 0 || set->look_ms < next)
			next = set->look_ms;
	}
	return next;
}

void
certificates_look_now(struct master *master)
{
	LIST_EACH (node, &master->certificates) {
		struct certificate_set *set = CONTAINER_OF(node, struct certificate_set, node);

		/* At a reload the admin says that all is in its place. */
		look(master, set, clock_monotonic_ms());
		if (set->seen.length > 0)
			look(master, set, clock_monotonic_ms());
	}
}

/* ---- status ---- */

static void
append_date(struct buf *out, int64_t seconds)
{
	time_t    when = (time_t)seconds;
	struct tm utc;
	char      text[40] = "";

	if (gmtime_r(&when, &utc) != NULL)
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	buf_append_text(out, text);
}

/* What two sets have in common is shown once. */
static bool
is_shown_before(const struct master *master, const struct certificate_set *last,
                const struct certificate *one)
{
	const struct list_node *list = &master->certificates;

	for (const struct list_node *node = list->next; node != &last->node; node = node->next) {
		const struct certificate_set *set =
			CONTAINER_OF(node, struct certificate_set, node);
		for (size_t i = 0; i < set->certificates.count; i++)
			if (strcmp(set->certificates.items[i].file, one->file) == 0 &&
			    strcmp(set->certificates.items[i].kind, one->kind) == 0 &&
			    strcmp(set->certificates.items[i].names, one->names) == 0)
				return true;
	}
	return false;
}

static void
each_certificate(const struct master *master, struct buf *out,
                 void (*show)(struct buf *out, const struct certificate *one))
{
	const struct list_node *list = &master->certificates;

	for (const struct list_node *node = list->next; node != list; node = node->next) {
		const struct certificate_set *set =
			CONTAINER_OF(node, struct certificate_set, node);
		for (size_t i = 0; i < set->certificates.count; i++)
			if (!is_shown_before(master, set, &set->certificates.items[i]))
				show(out, &set->certificates.items[i]);
	}
}

static void
show_text(struct buf *out, const struct certificate *one)
{
	buf_append_format(out, "certificate %s: %s, %lld days left (", one->file, one->kind,
	                  (long long)days_left(one));
	append_date(out, one->not_after_s);
	buf_append_format(out, "), for %s\n", one->names[0] != '\0' ? one->names : "no name");
}

void
certificates_status_text(const struct master *master, struct buf *out)
{
	const struct list_node *list = &master->certificates;

	if (list->next != list)
		buf_append_byte(out, '\n');
	each_certificate(master, out, show_text);
	for (const struct list_node *node = list->next; node != list; node = node->next) {
		const struct certificate_set *set =
			CONTAINER_OF(node, struct certificate_set, node);
		if (set->problem[0] != '\0')
			buf_append_format(out, "certificates: refused: %s\n", set->problem);
	}
}

static void
show_json(struct buf *out, const struct certificate *one)
{
	struct slice rest = slice_from(one->names), name;
	bool         is_first = true;

	if (out->length > 0 && out->data[out->length - 1] == '}')
		buf_append_byte(out, ',');
	buf_append_byte(out, '{');
	json_append_member(out, "file", slice_from(one->file));
	buf_append_byte(out, ',');
	json_append_member(out, "key", slice_from(one->kind));
	buf_append_format(out, ",\"days_left\":%lld,\"not_after\":\"", (long long)days_left(one));
	append_date(out, one->not_after_s);
	buf_append_text(out, "\",\"names\":[");
	/* Host names without blanks and quotes: see tls_chain_names. */
	while (slice_next_word(&rest, " \"\\", &name)) {
		buf_append_format(out, "%s\"%.*s\"", is_first ? "" : ",", SLICE_ARGS(name));
		is_first = false;
	}
	buf_append_text(out, "]}");
}

void
certificates_status_json(const struct master *master, struct buf *out)
{
	const struct list_node *list = &master->certificates;
	bool                    is_first = true;

	buf_append_text(out, "\"certificates\":[");
	each_certificate(master, out, show_json);
	buf_append_text(out, "],\"certificate_problems\":[");
	for (const struct list_node *node = list->next; node != list; node = node->next) {
		const struct certificate_set *set =
			CONTAINER_OF(node, struct certificate_set, node);
		if (set->problem[0] == '\0')
			continue;
		buf_append_text(out, is_first ? "{" : ",{");
		json_append_member(out, "problem", slice_from(set->problem));
		buf_append_byte(out, '}');
		is_first = false;
	}
	buf_append_byte(out, ']');
}
