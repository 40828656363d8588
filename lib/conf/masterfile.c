/* masterfile.c - see masterfile.h. */
#include "lib/conf/masterfile.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/base/number.h"
#include "lib/conf/lines.h"
#include "lib/conf/mainfile.h"

/* A line being read. */
struct master_line {
	struct master_file *file;
	struct report      *report;
	struct service      service;
	unsigned            number;
	struct slice        rest;
};

static void complain(struct master_line *line, enum problem_severity severity, const char *format,
                     ...) __attribute__((format(printf, 3, 4)));
static void
complain(struct master_line *line, enum problem_severity severity, const char *format, ...)
{
	char    text[1000];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	report_add(line->report, severity, line->file->path, line->number, "%s", text);
}

bool
master_word_take(struct slice *rest, struct slice *word, bool *is_unclosed)
{
	size_t length = 0, level = 0;

	*rest = slice_trim(*rest);
	if (rest->length == 0)
		return false;
	if (rest->data[0] != '{') {
		while (length < rest->length && !ascii_is_space(rest->data[length]))
			length++;
		*word = slice_first(*rest, length);
		*rest = slice_from_offset(*rest, length);
		return true;
	}
	for (; length < rest->length; length++) {
		if (rest->data[length] == '{')
			level++;
		else if (rest->data[length] == '}' && --level == 0)
			break;
	}
	*is_unclosed = level > 0;
	*word = slice_trim(slice_of(rest->data + 1, length - 1));
	*rest = slice_from_offset(*rest, length + 1);
	return true;
}

/* ---- columns ---- */

static const struct {
	const char       *word;
	enum service_type type;
} service_types[] = {
	{ "inet", SERVICE_INET }, { "unix", SERVICE_UNIX }, { "unix-dgram", SERVICE_UNIX_DATAGRAM },
	{ "fifo", SERVICE_FIFO }, { "pass", SERVICE_PASS },
};

const char *
service_type_word(enum service_type type)
{
	for (size_t i = 0; i < sizeof(service_types) / sizeof(service_types[0]); i++) {
		if (service_types[i].type == type)
			return service_types[i].word;
	}
	return "unix";
}

bool
service_port_parse(struct slice text, uint16_t *port)
{
	/* For systems without services(5): containers. */
	static const struct {
		const char *name;
		uint16_t    port;
	} known[] = { { "smtp", 25 },   { "submission", 587 }, { "submissions", 465 },
		      { "smtps", 465 }, { "pop3", 110 },       { "pop3s", 995 },
		      { "lmtp", 24 } };
	struct servent entry, *found = NULL;
	char           name[64], memory[2048];
	int64_t        number;

	if (number_parse(text, 1, 65535, &number)) {
		*port = (uint16_t)number;
		return true;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (slice_equal(text, slice_from(known[i].name))) {
			*port = known[i].port;
			return true;
		}
	}
	if (text.length == 0 || text.length >= sizeof(name) || ascii_is_digit(text.data[0]))
		return false;
	snprintf(name, sizeof(name), "%.*s", SLICE_ARGS(text));
	if (getservbyname_r(name, "tcp", &entry, memory, sizeof(memory), &found) != 0 ||
	    found == NULL)
		return false;
	*port = ntohs((uint16_t)found->s_port);
	return true;
}

/* "port", "host:port", "[v6]:port". */
static void
parse_inet_name(struct master_line *line, struct slice name)
{
	size_t       colon = slice_find_last_byte(name, ':');
	struct slice host = SLICE_EMPTY, port = name;
	const char  *text;

	if (colon != SLICE_NOT_FOUND) {
		host = slice_first(name, colon);
		port = slice_from_offset(name, colon + 1);
		if (host.length >= 2 && host.data[0] == '[' && host.data[host.length - 1] == ']')
			host = slice_of(host.data + 1, host.length - 2);
		else if (slice_contains_byte(host, ':'))
			complain(line, PROBLEM_ERROR, "\"%.*s\": an IPv6 address stands in [ ]",
			         SLICE_ARGS(slice_first(name, 100)));
	}
	if (!service_port_parse(port, &line->service.port))
		complain(line, PROBLEM_ERROR,
		         "\"%.*s\" is no port: neither a number up to 65535 nor in /etc/services",
		         SLICE_ARGS(slice_first(port, 100)));
	text = arena_text(&line->file->arena, host);
	line->service.host = text == NULL ? "" : text;
}

static bool
parse_yes_no(struct master_line *line, const char *column, struct slice word, bool standard)
{
	if (slice_equal(word, SLICE("-")))
		return standard;
	if (!slice_equal(word, SLICE("y")) && !slice_equal(word, SLICE("n")))
		complain(line, PROBLEM_ERROR, "column \"%s\" must be y, n or -, not \"%.*s\"",
		         column, SLICE_ARGS(slice_first(word, 100)));
	return slice_equal(word, SLICE("y"));
}

static void
parse_wakeup(struct master_line *line, struct slice word)
{
	int64_t seconds;

	if (word.length > 0 && word.data[word.length - 1] == '?')
		word.length--;
	if (!slice_equal(word, SLICE("-")) && !number_parse(word, 0, 1000000, &seconds))
		complain(line, PROBLEM_ERROR,
		         "column \"wakeup\" must be seconds, seconds? or -, not \"%.*s\"",
		         SLICE_ARGS(slice_first(word, 100)));
}

static void
parse_process_limit(struct master_line *line, struct slice word)
{
	line->service.process_limit = -1;
	if (!slice_equal(word, SLICE("-")) &&
	    !number_parse(word, 0, 100000, &line->service.process_limit))
		complain(line, PROBLEM_ERROR,
		         "column \"maxproc\" must be a number or -, not \"%.*s\"",
		         SLICE_ARGS(slice_first(word, 100)));
}

static bool
parse_type(struct master_line *line, struct slice word)
{
	for (size_t i = 0; i < sizeof(service_types) / sizeof(service_types[0]); i++) {
		if (slice_equal(word, slice_from(service_types[i].word))) {
			line->service.type = service_types[i].type;
			return true;
		}
	}
	complain(line, PROBLEM_ERROR,
	         "column \"type\" must be inet, unix, unix-dgram, fifo or pass, not \"%.*s\"",
	         SLICE_ARGS(slice_first(word, 100)));
	return false;
}

static void
parse_unix_name(struct master_line *line, struct slice name)
{
	for (size_t i = 0; i < name.length; i++) {
		char c = name.data[i];

		if (!ascii_is_alnum(c) && strchr("._-+", c) == NULL) {
			complain(line, PROBLEM_ERROR,
			         "\"%.*s\" is no service name: letters, digits, . _ - +",
			         SLICE_ARGS(slice_first(name, 100)));
			return;
		}
	}
	if (name.length > 64 || name.data[0] == '.')
		complain(line, PROBLEM_ERROR, "\"%.*s\" is no service name: up to 64 characters",
		         SLICE_ARGS(slice_first(name, 100)));
}

/* ---- the command and its arguments ---- */

static void
parse_override(struct master_line *line, struct slice word)
{
	size_t       equals = slice_find_byte(word, '=');
	struct slice name = slice_trim(slice_first(word, equals));

	if (equals == SLICE_NOT_FOUND || !parameter_name_is_sound(name)) {
		complain(line, PROBLEM_ERROR, "-o \"%.*s\": not name=value",
		         SLICE_ARGS(slice_first(word, 100)));
		return;
	}
	if (values_get(&line->service.overrides, name) != NULL)
		complain(line, PROBLEM_WARNING, "-o %.*s is given twice: the last one wins",
		         SLICE_ARGS(name));
	if (!values_set(&line->service.overrides, name,
	                slice_trim(slice_from_offset(word, equals + 1)), line->file->path,
	                line->number, true))
		complain(line, PROBLEM_ERROR, "too many -o");
}

static void
parse_arguments(struct master_line *line)
{
	struct slice word;
	bool         is_unclosed = false, is_unknown = false;

	for (size_t count = 0;; count++) {
		struct slice here = slice_trim(line->rest);

		if (!master_word_take(&line->rest, &word, &is_unclosed))
			break;
		if (count >= MASTER_WORDS_MOST) {
			complain(line, PROBLEM_ERROR, "more than %d words", MASTER_WORDS_MOST);
			return;
		}
		if (slice_equal(word, SLICE("-o"))) {
			if (master_word_take(&line->rest, &word, &is_unclosed))
				parse_override(line, word);
			else
				complain(line, PROBLEM_ERROR, "-o without name=value");
		} else if (slice_starts_with(word, SLICE("-o"))) {
			parse_override(line, slice_from_offset(word, 2));
		} else if (slice_equal(word, SLICE("-v")) || slice_equal(word, SLICE("-vv"))) {
			line->service.is_verbose = true;
		} else if (line->service.is_run && line->service.program->takes_arguments) {
			/* All of the rest, also what looks like -o. */
			line->service.own_arguments = arena_text(&line->file->arena, here);
			return;
		} else if (line->service.is_run && !is_unknown && !slice_equal(word, SLICE("-D"))) {
			complain(line, PROBLEM_ERROR,
			         "argument \"%.*s\" is not known; -o name=value and -v are",
			         SLICE_ARGS(slice_first(word, 100)));
			is_unknown = true;
		}
	}
	if (is_unclosed)
		complain(line, PROBLEM_ERROR, "a } is missing");
}

/* qmgr knows these transports by their usual names only: mail for another name would wait. */
static void
check_renamed(struct master_line *line)
{
	static const struct {
		const char *program, *names[2];
	} rows[] = { { "error", { "error", "retry" } },
		     { "retry", { "error", "retry" } },
		     { "discard", { "discard", "discard" } } };
	struct slice name = slice_from(line->service.name);
	struct slice program = slice_from(line->service.program->name);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (slice_equal(program, slice_from(rows[i].program)) &&
		    !slice_equal(name, slice_from(rows[i].names[0])) &&
		    !slice_equal(name, slice_from(rows[i].names[1])))
			complain(line, PROBLEM_WARNING,
			         "service %s (%s) is not run, and mail for the transport %s: would "
			         "wait: name %s: in tables instead",
			         line->service.name, rows[i].program, line->service.name,
			         rows[i].names[0]);
}

/* "smtpd pass": what postscreen hands connections to. */
static bool
is_behind_postscreen(const struct service *service)
{
	return service->type == SERVICE_PASS && service->program != NULL &&
	       strcmp(service->program->name, "smtpd") == 0;
}

static void
parse_program(struct master_line *line, struct slice word)
{
	struct service       *service = &line->service;
	const struct program *program = program_find(word);

	if (program != NULL && strcmp(program->name, "postscreen") == 0 &&
	    service->type == SERVICE_INET) {
		complain(
			line, PROBLEM_WARNING,
			"there is no postscreen: smtpd takes the connections of %s itself, and its "
			"tests are not made",
			service->name);
		program = program_find(SLICE("smtpd"));
		service->is_screened = true;
	}
	service->program = program;
	if (program == NULL) {
		complain(line, PROBLEM_ERROR, "there is no program \"%.*s\"",
		         SLICE_ARGS(slice_first(word, 100)));
		return;
	}
	if (program->kind == PROGRAM_MISSING) {
		complain(line, PROBLEM_WARNING, "%s is not used here: %s", program->name,
		         program->remark);
		return;
	}
	if (program->kind == PROGRAM_NOT_NEEDED ||
	    (program->only_service != NULL &&
	     !slice_equal(slice_from(service->name), slice_from(program->only_service)))) {
		complain(line, PROBLEM_INFO, "%s (%s) is not needed here: %s", service->name,
		         program->name, program->remark);
		check_renamed(line);
		return;
	}
	if (is_behind_postscreen(service)) {
		complain(line, PROBLEM_INFO,
		         "%s is not needed here: its -o options count for what postscreen took in",
		         service->name);
		return;
	}
	if (service->type != SERVICE_INET && service->type != SERVICE_UNIX)
		complain(line, PROBLEM_ERROR, "type %s is not used here; %s is of type %s",
		         service_type_word(service->type), program->name,
		         program->is_inet ? "inet" : "unix");
	else if (program->is_inet != (service->type == SERVICE_INET))
		complain(line, PROBLEM_ERROR, "%s must be of type %s", program->name,
		         program->is_inet ? "inet" : "unix");
	else
		service->is_run = true;
}

static bool
take_columns(struct master_line *line, struct slice columns[MASTER_COLUMNS])
{
	bool is_unclosed = false;

	for (size_t i = 0; i < MASTER_COLUMNS; i++) {
		if (!master_word_take(&line->rest, &columns[i], &is_unclosed) || is_unclosed) {
			complain(line, PROBLEM_ERROR,
			         "%zu columns; needed are 8: service type private unpriv chroot "
			         "wakeup maxproc command",
			         i);
			return false;
		}
		line->service.columns[i] = arena_text(&line->file->arena, columns[i]);
		if (line->service.columns[i] == NULL)
			return false;
	}
	line->service.arguments = arena_text(&line->file->arena, slice_trim(line->rest));
	return line->service.arguments != NULL;
}

static void
check_duplicate(struct master_line *line)
{
	for (size_t i = 0; i < line->file->services.count; i++) {
		const struct service *other = &line->file->services.items[i];

		/* Postfix allows a name once as inet and once as something else. */
		if (slice_equal(slice_from(other->name), slice_from(line->service.name)) &&
		    (other->type == SERVICE_INET) == (line->service.type == SERVICE_INET))
			complain(line, PROBLEM_ERROR, "service %s %s stands already in line %u",
			         other->name, service_type_word(other->type), other->line);
	}
}

static void
parse_service(struct master_line *line)
{
	struct service *service = &line->service;
	struct slice    columns[MASTER_COLUMNS];

	service->host = service->own_arguments = "";
	service->overrides = (struct values){ .arena = ARENA(MASTER_OVERRIDES_MOST) };
	service->line = line->number;
	service->file = line->file->path;
	if (!take_columns(line, columns) || !parse_type(line, columns[1]))
		return;
	service->name = service->columns[0];
	if (line->file->services.count >= MASTER_SERVICES_MOST) {
		complain(line, PROBLEM_ERROR, "too many services");
		return;
	}
	if (service->type == SERVICE_INET)
		parse_inet_name(line, columns[0]);
	else
		parse_unix_name(line, columns[0]);
	service->is_private =
		parse_yes_no(line, "private", columns[2], service->type != SERVICE_INET);
	if (service->type == SERVICE_INET && slice_equal(columns[2], SLICE("y")))
		complain(line, PROBLEM_ERROR, "an inet service cannot be private");
	(void)parse_yes_no(line, "unpriv", columns[3], true);
	(void)parse_yes_no(line, "chroot", columns[4], false);
	parse_wakeup(line, columns[5]);
	parse_process_limit(line, columns[6]);
	parse_program(line, columns[7]);
	check_duplicate(line);
	parse_arguments(line);
	if (!ARRAY_PUSH(&line->file->services, *service)) {
		complain(line, PROBLEM_ERROR, "out of memory");
		values_free(&service->overrides);
	}
}

/* An smtpd in postscreen's place has the options of the smtpd behind it; its own win. */
static void
join_screened(struct master_file *file, struct report *report)
{
	for (size_t i = 0; i < file->services.count; i++) {
		struct service *screened = &file->services.items[i];

		for (size_t j = 0; screened->is_screened && j < file->services.count; j++) {
			const struct service *behind = &file->services.items[j];
			struct values         both = { .arena = ARENA(MASTER_OVERRIDES_MOST) };

			if (!is_behind_postscreen(behind))
				continue;
			if (!values_copy(&both, &behind->overrides) ||
			    !values_copy(&both, &screened->overrides))
				report_add(report, PROBLEM_ERROR, file->path, screened->line,
				           "out of memory");
			values_free(&screened->overrides);
			screened->overrides = both;
			break;
		}
	}
}

static void
parse_text(struct master_file *file, struct slice text, struct report *report)
{
	struct lines lines;
	struct slice line_text;

	lines_init(&lines, text);
	while (lines_next(&lines, &line_text)) {
		struct master_line line = { .file = file, .report = report };

		line.number = lines.first_number;
		line.rest = line_text;
		if (lines.text.has_failed)
			complain(&line, PROBLEM_ERROR, "longer than %u bytes", LINES_TEXT_MOST);
		else if (lines.is_orphan)
			complain(&line, PROBLEM_ERROR,
			         "begins with white space, but there is no line to continue");
		else
			parse_service(&line);
	}
	lines_free(&lines);
	join_screened(file, report);
}

void
master_file_parse(struct master_file *file, const char *path, struct slice text,
                  struct report *report)
{
	*file = (struct master_file){ .arena = ARENA(VALUES_BYTES_MOST) };
	file->path = arena_text(&file->arena, slice_from(path));
	if (file->path == NULL)
		file->path = "master.cf";
	if (slice_contains_byte(text, '\0'))
		report_add(report, PROBLEM_ERROR, path, 0, "has a NUL byte; is it a text file?");
	else
		parse_text(file, text, report);
}

void
master_file_add(struct master_file *file, const char *text, struct report *report)
{
	size_t first = file->services.count;

	parse_text(file, slice_from(text), report);
	for (size_t i = first; i < file->services.count; i++)
		file->services.items[i].line = 0;
}

bool
master_file_read(struct master_file *file, const char *path, struct report *report)
{
	struct buf bytes = BUF(LINES_FILE_MOST + 8192);
	bool       is_ok = lines_read_file(path, &bytes, report);

	master_file_parse(file, path, is_ok ? buf_slice(&bytes) : SLICE_EMPTY, report);
	buf_free(&bytes);
	return is_ok;
}

void
master_file_free(struct master_file *file)
{
	for (size_t i = 0; i < file->services.count; i++)
		values_free(&file->services.items[i].overrides);
	ARRAY_FREE(&file->services);
	arena_reset(&file->arena);
}
