/* program.c - commands: environment, directory, input, and what their end means. See local.h. */
#include "local/local.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/conf/macros.h"
#include "lib/io/file.h"
#include "lib/mailbox/content.h"

#define PIECE_BYTES      (32u * 1024)
#define ENVIRONMENT_MOST 64
#define ARGUMENTS_MOST   256
#define SEARCH_PATH      "/usr/bin:/bin"

/* ---- names ---- */

bool
local_expand(const struct local_delivery *delivery, const char *text, const char *filter,
             struct buf *out, struct error *error)
{
	struct slice delimiter = slice_from(delivery->parameters->recipient_delimiter);
	bool         has_extension = delivery->record.extension.length > 0;

	/* The delimiter that was used stands in front of the extension. */
	if (has_extension && delivery->user.length < delivery->address.local.length)
		delimiter = slice_of(delivery->address.local.data + delivery->user.length, 1);
	const struct macro macros[] = {
		{ "user", delivery->record.name, false },
		{ "home", delivery->record.home, true },
		{ "shell", delivery->record.shell, true },
		{ "recipient", delivery->recipient.address, false },
		{ "extension", delivery->record.extension, false },
		{ "domain", delivery->address.domain, false },
		{ "local", delivery->address.local, false },
		{ "recipient_delimiter", slice_first(delimiter, 1), true },
	};

	return macros_expand(macros, sizeof(macros) / sizeof(macros[0]), slice_from(text), filter,
	                     out, error);
}

/* ---- the environment ---- */

struct environment {
	struct arena *arena;
	const char  **list;
	size_t        count;
	const char   *filter;
	bool          is_out_of_memory;
};

static void
environment_add(struct environment *environment, const char *name, struct slice value)
{
	char *text = arena_format(environment->arena, "%s=%.*s", name,
	                          SLICE_ARGS(slice_first(value, slice_find_byte(value, '\0'))));

	if (text == NULL || environment->count >= ENVIRONMENT_MOST)
		environment->is_out_of_memory = true;
	else
		environment->list[environment->count++] = text;
}

/* A value that a stranger may have chosen; one that is empty is left out. */
static void
environment_add_filtered(struct environment *environment, const char *name, struct slice value)
{
	struct buf filtered = BUF(65536);

	if (value.length == 0)
		return;
	if (macros_append_filtered(&filtered, value, environment->filter))
		environment_add(environment, name, buf_slice(&filtered));
	else
		environment->is_out_of_memory = true;
	buf_free(&filtered);
}

/* The value of a name for export_environment: import_environment may set it for all. */
static bool
exported_value(const struct parameters *parameters, const char *name, struct slice *value)
{
	struct slice rest = slice_from(parameters->import_environment), word;

	while (slice_next_word(&rest, " \t\r\n,", &word)) {
		size_t at = slice_find_byte(word, '=');

		if (at != SLICE_NOT_FOUND && slice_equal(slice_first(word, at), slice_from(name))) {
			*value = slice_from_offset(word, at + 1);
			return true;
		}
	}
	if (strcmp(name, "MAIL_CONFIG") == 0)
		*value = slice_from(parameters->config_directory);
	else
		*value = slice_from(getenv(name));
	return value->length > 0;
}

static void
environment_export(struct environment *environment, const struct parameters *parameters)
{
	struct slice rest = slice_from(parameters->export_environment), word, value;

	while (slice_next_word(&rest, " \t\r\n,", &word)) {
		size_t at = slice_find_byte(word, '=');
		char  *name = arena_text(environment->arena, slice_first(word, at));

		if (name == NULL)
			environment->is_out_of_memory = true;
		else if (at != SLICE_NOT_FOUND)
			environment_add(environment, name, slice_from_offset(word, at + 1));
		else if (exported_value(parameters, name, &value))
			environment_add(environment, name, value);
	}
}

bool
local_environment(const struct local_delivery *delivery, struct arena *arena,
                  const char *const **list)
{
	const struct msg_envelope *envelope = &delivery->task->envelope;
	const struct msg_local    *record = &delivery->record;
	struct environment         environment = {
			.arena = arena,
			.list = arena_alloc_array(arena, ENVIRONMENT_MOST + 1, sizeof(char *)),
			.filter = delivery->parameters->command_expansion_filter,
	};
	const struct {
		const char  *name;
		struct slice value;
	} rows[] = {
		{ "USER", record->name },
		{ "LOCAL", delivery->address.local },
		{ "EXTENSION", record->extension },
		{ "DOMAIN", delivery->address.domain },
		{ "RECIPIENT", delivery->recipient.address },
		{ "ORIGINAL_RECIPIENT", delivery->recipient.original.length > 0
		                                ? delivery->recipient.original
		                                : delivery->recipient.address },
		{ "SENDER", delivery->sender },
		{ "ENVID", envelope->dsn_envid },
		{ "CLIENT_ADDRESS", envelope->client_address },
		{ "CLIENT_HELO", envelope->client_helo },
		{ "CLIENT_HOSTNAME", envelope->client_name },
		{ "CLIENT_PROTOCOL", envelope->client_protocol },
		{ "SASL_METHOD", envelope->sasl_method },
		{ "SASL_SENDER", envelope->sasl_sender },
		{ "SASL_USERNAME", envelope->sasl_username },
	};

	if (environment.list == NULL)
		return false;
	environment_add(&environment, "PATH", SLICE(SEARCH_PATH));
	if (record->kind == LOCAL_USER) {
		environment_add(&environment, "HOME", record->home);
		environment_add(&environment, "SHELL",
		                record->shell.length > 0 ? record->shell : SLICE("/bin/sh"));
		environment_add_filtered(&environment, "LOGNAME", record->name);
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		environment_add_filtered(&environment, rows[i].name, rows[i].value);
	environment_export(&environment, delivery->parameters);
	*list = environment.list;
	return !environment.is_out_of_memory;
}

/* ---- the arguments ---- */

bool
local_needs_shell(struct slice command)
{
	struct slice rest = command, first;
	struct slice plain = SLICE("1234567890!@%-_=+:,./ \tabcdefghijklmnopqrstuvwxyz"
	                           "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

	for (size_t i = 0; i < command.length; i++)
		if (!slice_contains_byte(plain, command.data[i]))
			return true;
	/* Without a '/' it may be a shell's own: "exit 75", "exec ...", "FOO=bar cmd". */
	return !slice_next_word(&rest, " \t", &first) || first.data[0] != '/';
}

static bool
words_add(struct arena *arena, const char **list, size_t *count, struct slice text)
{
	struct slice word;

	while (slice_next_word(&text, " \t\r\n", &word)) {
		if (*count >= ARGUMENTS_MOST)
			return false;
		list[*count] = arena_text(arena, word);
		if (list[(*count)++] == NULL)
			return false;
	}
	return true;
}

/* NULL: out of memory, or too many words. */
static const char *const *
make_arguments(struct local_delivery *delivery, struct slice command)
{
	struct slice shell = slice_trim(slice_from(delivery->parameters->local_command_shell));
	const char **list = arena_alloc_array(&delivery->arena, ARGUMENTS_MOST + 2, sizeof(char *));
	size_t       count = 0;
	bool         ok = list != NULL;

	if (ok && shell.length == 0 && !local_needs_shell(command))
		return words_add(&delivery->arena, list, &count, command) ? list : NULL;
	ok = ok && words_add(&delivery->arena, list, &count,
	                     shell.length > 0 ? shell : SLICE("/bin/sh -c"));
	if (!ok)
		return NULL;
	list[count] = arena_text(&delivery->arena, command);
	return list[count] == NULL ? NULL : list;
}

/* ---- the message ---- */

struct input {
	struct local_delivery *delivery;
	struct buf             out; /* what is given out next */
	struct content_count   count;
	char                  *scratch;
	uint64_t               at;
	bool                   has_begun, is_finished;
};

/* The line that a mailbox file has in front, then fields of our own. */
static bool
append_head(const struct local_delivery *delivery, struct buf *out)
{
	struct buf   own = BUF(65536);
	struct slice mask = slice_from(delivery->parameters->prepend_delivered_header);

	content_append_from_line(out, delivery->sender,
	                         delivery->task->envelope.arrival_us / 1000000);
	bool adds = slice_find(mask, SLICE("command")) != SLICE_NOT_FOUND;
	bool ok = content_append_fields(&own, delivery->sender,
	                                delivery->recipient.original.length > 0
	                                        ? delivery->recipient.original
	                                        : delivery->recipient.address,
	                                adds ? delivery->recipient.address : SLICE_EMPTY);
	ok = ok && buf_append(out, buf_slice(&own));
	buf_free(&own);
	return ok;
}

static bool
read_piece(struct input *input, struct slice *piece, struct error *error)
{
	const struct msg_job *job = &input->delivery->task->message;
	uint64_t              length = job->file >= 0 ? job->file_length : job->content.length;
	size_t size = length - input->at > PIECE_BYTES ? PIECE_BYTES : (size_t)(length - input->at);

	*piece = SLICE_EMPTY;
	if (size == 0)
		return true;
	if (job->file < 0) {
		*piece = slice_of(job->content.data + input->at, size);
	} else {
		ssize_t got = file_read_at(job->file, input->scratch, size,
		                           (int64_t)(job->file_offset + input->at));

		if (got < 0)
			return error_set_errno(error, "read the message from the queue");
		if ((size_t)got < size)
			return error_set(error, "the message in the queue ends too early");
		*piece = slice_of(input->scratch, size);
	}
	input->at += size;
	return true;
}

static bool
give_input(void *context, struct slice *piece, struct error *error)
{
	struct input *input = context;
	struct slice  raw;
	bool          ok = true;

	buf_clear(&input->out);
	if (!input->has_begun)
		ok = append_head(input->delivery, &input->out);
	input->has_begun = true;
	while (ok && input->out.length == 0 && !input->is_finished) {
		if (!read_piece(input, &raw, error))
			return false;
		input->is_finished = raw.length == 0;
		ok = input->is_finished ? content_finish(&input->count, &input->out)
		                        : content_convert(&input->count, raw, &input->out);
	}
	*piece = buf_slice(&input->out);
	return ok || error_set(error, "out of memory, or a control character in an address");
}

/* ---- running ---- */

static bool
is_directory(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISDIR(status.st_mode) && access(path, X_OK) == 0;
}

/* command_execution_directory, the user's home, or /. False: the outcome is set. */
static bool
choose_directory(struct local_delivery *delivery, const char **directory)
{
	const struct parameters *parameters = delivery->parameters;
	struct buf               path = BUF(4096);
	struct error             why = ERROR_NONE;

	*directory = "/";
	if (parameters->command_execution_directory[0] == '\0') {
		char *home = arena_text(&delivery->arena, delivery->record.home);

		if (home != NULL && home[0] == '/' && is_directory(home))
			*directory = home;
		return true;
	}
	bool ok = local_expand(delivery, parameters->command_execution_directory,
	                       parameters->execution_directory_expansion_filter, &path, &why);
	if (ok)
		*directory = arena_text(&delivery->arena, buf_slice(&path));
	buf_free(&path);
	if (ok && *directory != NULL && is_directory(*directory))
		return true;
	local_outcome(delivery, OUTCOME_DEFERRED, "4.3.5", "command_execution_directory: %s",
	              ok ? "no such directory for the user" : why.text);
	return false;
}

static void
note_result(struct local_delivery *delivery, struct slice command,
            const struct command_result *result)
{
	struct buf  text = BUF(2000);
	char        status[12];
	const char *words = arena_text(&delivery->arena, slice_first(command, 300));

	if (words == NULL)
		words = "?";
	if (command_result_status(result, words, status, &text))
		local_outcome(delivery, OUTCOME_DELIVERED, "2.0.0", "delivered to command: %s",
		              words);
	else
		local_outcome(delivery, status[0] == '5' ? OUTCOME_FAILED : OUTCOME_DEFERRED,
		              status, "%s", buf_text(&text));
	buf_free(&text);
}

void
local_run(struct local_delivery *delivery, struct slice command)
{
	struct input          input = { .delivery = delivery,
		                        .out = BUF(4u * PIECE_BYTES),
		                        .scratch = malloc(PIECE_BYTES) };
	struct command_result result;
	struct command        what = {
		       .arguments = make_arguments(delivery, command),
		       .time_limit_ms = delivery->parameters->command_time_limit * 1000,
		       .input = give_input,
		       .input_context = &input,
	};

	if (what.arguments == NULL || what.arguments[0] == NULL || input.scratch == NULL ||
	    !local_environment(delivery, &delivery->arena, &what.environment)) {
		local_outcome(delivery, OUTCOME_DEFERRED, "4.3.0",
		              "the command is too long, or memory is out");
	} else if (choose_directory(delivery, &what.directory)) {
		command_run(delivery->worker->runner, &what, &result);
		note_result(delivery, command, &result);
		command_result_free(&result);
	}
	buf_free(&input.out);
	free(input.scratch);
}
