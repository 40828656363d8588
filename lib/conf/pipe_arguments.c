/* pipe_arguments.c - see pipe_arguments.h. */
#include "lib/conf/pipe_arguments.h"

#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/number.h"
#include "lib/conf/masterfile.h"
#include "lib/conf/suggest.h"

/* ---- macros ---- */

static const struct {
	const char     *name;
	enum pipe_macro macro;
} macros[] = {
	{ "recipient", PIPE_MACRO_RECIPIENT },
	{ "original_recipient", PIPE_MACRO_ORIGINAL_RECIPIENT },
	{ "user", PIPE_MACRO_USER },
	{ "extension", PIPE_MACRO_EXTENSION },
	{ "domain", PIPE_MACRO_DOMAIN },
	{ "mailbox", PIPE_MACRO_MAILBOX },
	{ "nexthop", PIPE_MACRO_NEXTHOP },
	{ "sender", PIPE_MACRO_SENDER },
	{ "size", PIPE_MACRO_SIZE },
	{ "queue_id", PIPE_MACRO_QUEUE_ID },
	{ "envid", PIPE_MACRO_ENVID },
	{ "client_address", PIPE_MACRO_CLIENT_ADDRESS },
	{ "client_helo", PIPE_MACRO_CLIENT_HELO },
	{ "client_hostname", PIPE_MACRO_CLIENT_HOSTNAME },
	{ "client_port", PIPE_MACRO_CLIENT_PORT },
	{ "client_protocol", PIPE_MACRO_CLIENT_PROTOCOL },
	{ "sasl_method", PIPE_MACRO_SASL_METHOD },
	{ "sasl_sender", PIPE_MACRO_SASL_SENDER },
	{ "sasl_username", PIPE_MACRO_SASL_USERNAME },
};
#define MACRO_COUNT (sizeof(macros) / sizeof(macros[0]))

/* The name behind a dollar sign; *length is what it takes of text, brackets and all. */
static struct slice
macro_name(struct slice text, size_t *length)
{
	bool   is_braced = text.length > 0 && (text.data[0] == '{' || text.data[0] == '(');
	size_t end = is_braced;

	if (is_braced) {
		end = slice_find_byte(text, text.data[0] == '{' ? '}' : ')');
		*length = end == SLICE_NOT_FOUND ? text.length : end + 1;
		return slice_from_offset(slice_first(text, end), 1);
	}
	while (end < text.length && (ascii_is_alnum(text.data[end]) || text.data[end] == '_'))
		end++;
	*length = end;
	return slice_first(text, end);
}

bool
pipe_macro_next(struct slice *rest, struct slice *literal, enum pipe_macro *macro)
{
	size_t dollar = slice_find_byte(*rest, '$');

	*macro = PIPE_MACRO_NONE;
	*literal = slice_first(*rest, dollar);
	if (dollar == SLICE_NOT_FOUND) {
		*rest = SLICE_EMPTY;
		return true;
	}
	struct slice behind = slice_from_offset(*rest, dollar + 1);
	if (slice_starts_with(behind, SLICE("$"))) {
		*literal = slice_first(*rest, dollar + 1);
		*rest = slice_from_offset(behind, 1);
		return true;
	}
	size_t       length;
	struct slice name = macro_name(behind, &length);
	for (size_t i = 0; i < MACRO_COUNT; i++)
		if (slice_equal(name, slice_from(macros[i].name)))
			*macro = macros[i].macro;
	*rest = slice_from_offset(behind, length);
	if (*macro == PIPE_MACRO_NONE)
		*literal = name;
	return *macro != PIPE_MACRO_NONE;
}

bool
pipe_word_is_per_recipient(const char *word)
{
	struct slice    rest = slice_from(word), literal;
	enum pipe_macro macro;
	bool            is = false;

	while (rest.length > 0 && pipe_macro_next(&rest, &literal, &macro))
		is = is || (macro >= PIPE_MACRO_RECIPIENT && macro <= PIPE_MACRO_MAILBOX);
	return is;
}

/* ---- attributes ---- */

struct reading {
	struct pipe_arguments *arguments;
	struct arena          *arena;
	const char            *file;
	unsigned               line;
	struct report         *report;
	bool                   has_failed;
};

static void complain(struct reading *reading, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void
complain(struct reading *reading, const char *format, ...)
{
	char    text[1000];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	reading->has_failed = true;
	report_add(reading->report, PROBLEM_ERROR, reading->file, reading->line, "pipe: %s", text);
}

static const char *
text_of(struct reading *reading, struct slice value)
{
	const char *text = arena_text(reading->arena, value);

	if (text == NULL)
		complain(reading, "out of memory");
	return text;
}

static void
read_flags(struct reading *reading, struct slice value)
{
	static const struct {
		char     letter;
		unsigned flag;
	} rows[] = {
		{ 'B', PIPE_BLANK_LINE },  { 'D', PIPE_DELIVERED },   { 'F', PIPE_FROM_LINE },
		{ 'O', PIPE_ORIGINAL },    { 'R', PIPE_RETURN_PATH }, { 'X', PIPE_FINAL },
		{ 'h', PIPE_FOLD_DOMAIN }, { 'q', PIPE_QUOTE },       { 'u', PIPE_FOLD_LOCAL },
		{ '.', PIPE_DOTS },        { '>', PIPE_FROM_QUOTE },
	};

	for (size_t i = 0; i < value.length; i++) {
		unsigned flag = 0;

		for (size_t j = 0; j < sizeof(rows) / sizeof(rows[0]); j++)
			if (rows[j].letter == value.data[i])
				flag = rows[j].flag;
		if (flag == 0)
			complain(reading,
			         "flags=: there is no flag \"%c\"; B D F O R X h q u . > are",
			         ascii_is_print(value.data[i]) ? value.data[i] : '?');
		reading->arguments->flags |= flag;
	}
}

static void
read_user(struct reading *reading, struct slice value)
{
	reading->arguments->user = text_of(reading, value);
}

static const char *
absolute_path(struct reading *reading, const char *name, struct slice value)
{
	if (value.length == 0 || value.data[0] != '/')
		complain(reading, "%s=%.*s: the path must begin with /", name,
		         SLICE_ARGS(slice_first(value, 200)));
	return text_of(reading, value);
}

static void
read_directory(struct reading *reading, struct slice value)
{
	reading->arguments->directory = absolute_path(reading, "directory", value);
}

static void
read_root(struct reading *reading, struct slice value)
{
	reading->arguments->root = absolute_path(reading, "chroot", value);
}

static void
read_null_sender(struct reading *reading, struct slice value)
{
	reading->arguments->null_sender = text_of(reading, value);
}

static void
read_size(struct reading *reading, struct slice value)
{
	if (!number_parse(value, 0, INT64_MAX, &reading->arguments->size_limit))
		complain(reading, "size=%.*s: not a number of bytes",
		         SLICE_ARGS(slice_first(value, 100)));
}

/* One character of eol=, with C's escapes: \r, \n, \t, \\, \015 ...; 0 bytes taken: malformed. */
static size_t
escape_take(struct slice text, char *byte)
{
	static const char letters[] = "abfnrtv\\", bytes[] = "\a\b\f\n\r\t\v\\";
	unsigned          value = 0;
	size_t            length = 1;

	*byte = text.data[0];
	if (text.data[0] != '\\')
		return 1;
	if (text.length < 2)
		return 0;
	const char *letter = memchr(letters, text.data[1], sizeof(letters) - 1);
	if (letter != NULL) {
		*byte = bytes[letter - letters];
		return 2;
	}
	while (length < 4 && length < text.length && text.data[length] >= '0' &&
	       text.data[length] <= '7')
		value = value * 8 + (unsigned)(text.data[length++] - '0');
	*byte = (char)value;
	return length == 1 || value > 255 ? 0 : length;
}

static void
read_eol(struct reading *reading, struct slice value)
{
	char  *bytes = arena_alloc(reading->arena, value.length + 1);
	size_t count = 0;

	if (bytes == NULL)
		complain(reading, "out of memory");
	while (bytes != NULL && value.length > 0) {
		size_t taken = escape_take(value, &bytes[count++]);

		if (taken == 0) {
			complain(reading, "eol=: \"%.*s\" is no character; \\r, \\n, \\015 are",
			         SLICE_ARGS(slice_first(value, 20)));
			break;
		}
		value = slice_from_offset(value, taken);
	}
	reading->arguments->eol = slice_of(bytes, count);
}

static const struct attribute {
	const char *name;
	void (*read)(struct reading *reading, struct slice value);
} attributes[] = {
	{ "flags", read_flags },
	{ "user", read_user },
	{ "directory", read_directory },
	{ "chroot", read_root },
	{ "null_sender", read_null_sender },
	{ "size", read_size },
	{ "eol", read_eol },
};

static void
read_attribute(struct reading *reading, struct slice word)
{
	size_t            equals = slice_find_byte(word, '=');
	struct slice      name = slice_first(word, equals);
	struct suggestion suggestion = { .name = slice_first(name, 63) };
	char              text[64];

	snprintf(text, sizeof(text), "%.*s", SLICE_ARGS(slice_first(name, sizeof(text) - 1)));
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		if (equals != SLICE_NOT_FOUND &&
		    slice_equal(name, slice_from(attributes[i].name))) {
			attributes[i].read(reading, slice_from_offset(word, equals + 1));
			return;
		}
		suggest_offer(&suggestion, attributes[i].name);
	}
	suggest_offer(&suggestion, "argv");
	complain(reading,
	         "\"%s\" is none of flags= user= directory= chroot= null_sender= size= "
	         "eol= argv=%s%s%s",
	         text, suggestion.best != NULL ? "; did you mean " : "",
	         suggestion.best != NULL ? suggestion.best : "",
	         suggestion.best != NULL ? "=" : "");
}

/* ---- argv= ---- */

static void
check_macros(struct reading *reading, const char *word)
{
	struct slice    rest = slice_from(word), literal;
	enum pipe_macro macro;
	char            text[64];

	while (rest.length > 0) {
		if (pipe_macro_next(&rest, &literal, &macro))
			continue;
		struct suggestion suggestion = { .name = slice_first(literal, 63) };
		snprintf(text, sizeof(text), "%.*s",
		         SLICE_ARGS(slice_first(literal, sizeof(text) - 1)));
		for (size_t i = 0; i < MACRO_COUNT; i++)
			suggest_offer(&suggestion, macros[i].name);
		complain(reading, "argv=: there is no ${%s}%s%s%s; a $ itself is $$", text,
		         suggestion.best != NULL ? ", did you mean ${" : "",
		         suggestion.best != NULL ? suggestion.best : "",
		         suggestion.best != NULL ? "}" : "");
	}
}

static void
read_argv(struct reading *reading, struct slice first, struct slice rest)
{
	const char **words =
		arena_alloc_array(reading->arena, MASTER_WORDS_MOST + 1, sizeof(*words));
	size_t       count = 0;
	bool         is_unclosed = false;
	struct slice word = first;

	if (words == NULL) {
		complain(reading, "out of memory");
		return;
	}
	do {
		if (count == MASTER_WORDS_MOST) {
			complain(reading, "argv=: more than %d words", MASTER_WORDS_MOST);
			return;
		}
		words[count] = text_of(reading, word);
		if (words[count] == NULL)
			return;
		check_macros(reading, words[count++]);
	} while (master_word_take(&rest, &word, &is_unclosed));
	if (is_unclosed)
		complain(reading, "a } is missing");
	if (words[0][0] == '\0')
		complain(reading, "argv= names no program");
	else if (strchr(words[0], '$') != NULL)
		complain(reading, "argv=: the program itself must not come from a macro");
	reading->arguments->argv = words;
	reading->arguments->argc = count;
}

bool
pipe_arguments_parse(struct slice text, const char *file, unsigned line, struct arena *arena,
                     struct pipe_arguments *arguments, struct report *report)
{
	struct reading reading = { arguments, arena, file, line, report, false };
	struct slice   rest = text, word;
	bool           is_unclosed = false;

	*arguments = (struct pipe_arguments){ .null_sender = "MAILER-DAEMON", .eol = SLICE("\n") };
	if (text.length > PIPE_ARGUMENTS_MOST) {
		complain(&reading, "more than %u bytes of arguments", PIPE_ARGUMENTS_MOST);
		return false;
	}
	while (arguments->argv == NULL && master_word_take(&rest, &word, &is_unclosed)) {
		if (slice_starts_with(word, SLICE("argv="))) {
			read_argv(&reading, slice_from_offset(word, 5), rest);
			rest = SLICE_EMPTY;
		} else {
			read_attribute(&reading, word);
		}
	}
	if (is_unclosed)
		complain(&reading, "a } is missing");
	if (arguments->argv == NULL && !reading.has_failed)
		complain(&reading, "argv= with the command and its arguments is missing");
	if (arguments->user == NULL || arguments->user[0] == '\0')
		complain(&reading, "user= is missing: who the command runs as");
	return !reading.has_failed;
}

/* ---- user= ---- */

static bool
group_find(const char *name, gid_t *gid, struct error *error)
{
	struct group entry, *found = NULL;
	size_t       size = 64u * 1024;
	int64_t      number;

	if (number_parse(slice_from(name), 0, UINT32_MAX - 1, &number)) {
		*gid = (gid_t)number;
		return true;
	}
	char *memory = malloc(size);
	if (memory == NULL)
		return error_set(error, "out of memory");
	int result = getgrnam_r(name, &entry, memory, size, &found);
	if (found != NULL)
		*gid = found->gr_gid;
	free(memory);
	if (found != NULL)
		return true;
	if (result == 0)
		return error_set(error, "there is no group \"%s\"", name);
	return error_set(error, "look up group \"%s\": error %d", name, result);
}

static bool
user_parse(const char *text, struct owner *owner, struct error *error)
{
	const char *colon = strchr(text, ':');
	char        name[256];

	if (colon == NULL || (ascii_is_digit(text[0]) && ascii_is_digit(colon[1])))
		return owner_parse(text, owner, error);
	if ((size_t)(colon - text) >= sizeof(name))
		return error_set(error, "the name is too long");
	snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
	return owner_parse(name, owner, error) && group_find(colon + 1, &owner->gid, error);
}

static bool
user_is_allowed(const struct owner *owner, const struct parameters *parameters, struct error *error)
{
	const struct {
		const char *name, *value;
	} rows[] = {
		{ "mail_owner", parameters->mail_owner },
		{ "net_owner", parameters->net_owner },
		{ "auth_owner", parameters->auth_owner },
		{ "dns_owner", parameters->dns_owner },
	};

	if (owner->uid == 0 || owner->gid == 0)
		return error_set(error, "must not be root, nor have root's group");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct owner other;

		if (rows[i].value == NULL || !owner_parse(rows[i].value, &other, NULL))
			continue;
		if (other.uid == owner->uid)
			return error_set(error, "must not be %s", rows[i].name);
		if (other.gid == owner->gid)
			return error_set(error, "must not have the group of %s", rows[i].name);
	}
	return true;
}

enum pipe_user
pipe_user_find(const char *text, const struct parameters *parameters, struct owner *owner,
               struct error *error)
{
	if (!user_parse(text, owner, error))
		return PIPE_USER_MISSING;
	return user_is_allowed(owner, parameters, error) ? PIPE_USER_FOUND : PIPE_USER_REFUSED;
}
