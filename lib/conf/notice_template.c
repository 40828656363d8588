/* notice_template.c - see notice_template.h. */
#include "lib/conf/notice_template.h"

#include "lib/base/number.h"

static const struct {
	const char *name, *subject, *postmaster_subject, *text;
} built_in[NOTICE_TEMPLATE_COUNT] = {
	[NOTICE_TEMPLATE_FAILURE] = {
		"failure_template", "Undelivered Mail Returned to Sender",
		"Postmaster Copy: Undelivered Mail",
		"This is the mail system at host $myhostname.\n"
		"\n"
		"Your message did not reach everybody that you sent it to. The addresses below\n"
		"did not get it, each with the reason; nothing more will be tried for them.\n"
		"\n"
		"Please check the addresses first. If you need help, write to <postmaster> and\n"
		"send this report along; you may leave out your own text at its end.\n",
	},
	[NOTICE_TEMPLATE_DELAY] = {
		"delay_template", "Delayed Mail (still being retried)",
		"Postmaster Warning: Delayed Mail",
		"This is the mail system at host $myhostname.\n"
		"\n"
		"THIS IS ONLY A WARNING. YOU NEED NOT SEND YOUR MESSAGE AGAIN.\n"
		"\n"
		"Your message has not reached the addresses below yet, each with the reason.\n"
		"It stays in the queue and is tried again; if that fails for good, you will be\n"
		"told.\n",
	},
	[NOTICE_TEMPLATE_SUCCESS] = {
		"success_template", "Successful Mail Delivery Report", "",
		"This is the mail system at host $myhostname.\n"
		"\n"
		"Your message reached the addresses below. You get this report because it was\n"
		"asked for. Where it was passed on to a host that gives no such reports, this\n"
		"is the last that you hear of it.\n",
	},
	[NOTICE_TEMPLATE_VERIFY] = {
		"verify_template", "Mail Delivery Status Report", "",
		"This is the mail system at host $myhostname.\n"
		"\n"
		"This is the report that you asked for: what became of your message at the\n"
		"first attempt or, if you only asked whether it could be delivered, what\n"
		"would have become of it.\n",
	},
};

const char *
notice_template_name(enum notice_template_kind kind)
{
	return built_in[kind].name;
}

void
notice_templates_default(struct notice_templates *templates)
{
	for (size_t i = 0; i < NOTICE_TEMPLATE_COUNT; i++)
		templates->items[i] = (struct notice_template){
			.charset = SLICE("us-ascii"),
			.from = SLICE("Mail Delivery System <MAILER-DAEMON>"),
			.subject = slice_from(built_in[i].subject),
			.postmaster_subject = slice_from(built_in[i].postmaster_subject),
			.text = slice_from(built_in[i].text),
		};
}

/* ---- the file ---- */

struct reader {
	struct slice  rest;
	unsigned      line; /* of what was taken last */
	struct error *error;
};

static bool
complain(const struct reader *reader, const char *what)
{
	return error_set(reader->error, "line %u: %s", reader->line, what);
}

/* A line without its end, which may be CRLF. */
static bool
take_line(struct reader *reader, struct slice *line)
{
	if (reader->rest.length == 0 || !slice_next_part(&reader->rest, '\n', line))
		return false;
	reader->line++;
	if (slice_ends_with(*line, SLICE("\r")))
		line->length--;
	return true;
}

static bool
is_word(struct slice text, const char *more)
{
	for (size_t i = 0; i < text.length; i++)
		if (!ascii_is_alnum(text.data[i]) &&
		    !slice_contains_byte(slice_from(more), text.data[i]))
			return false;
	return text.length > 0;
}

/* The value of a field into the template. */
static bool
set_field(const struct reader *reader, struct notice_template *template, struct slice name,
          struct slice value)
{
	const struct {
		const char   *name;
		struct slice *value;
	} fields[] = {
		{ "Charset", &template->charset },
		{ "From", &template->from },
		{ "Subject", &template->subject },
		{ "Postmaster-Subject", &template->postmaster_subject },
	};

	if (!slice_is_ascii(value) || slice_has_control(value))
		return complain(reader, "a template's header may hold printable ASCII only");
	if (value.length == 0 || value.length > NOTICE_LINE_MOST - 100)
		return complain(reader, "a template's header field is empty or too long");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (!slice_equal_fold(name, slice_from(fields[i].name)))
			continue;
		*fields[i].value = value;
		return i != 0 || is_word(value, "-_.:+") ||
		       complain(reader, "Charset: is no name of a character set");
	}
	return complain(reader, "the header of a template has only Charset, From, Subject and "
	                        "Postmaster-Subject, then comes an empty line");
}

/* "Name:" at the beginning. */
static bool
is_field(struct slice line)
{
	size_t colon = slice_find_byte(line, ':');

	return colon != SLICE_NOT_FOUND && is_word(slice_first(line, colon), "-");
}

/* A field of the header of a template. */
static bool
take_field(const struct reader *reader, struct notice_template *template, struct slice line)
{
	size_t colon = slice_find_byte(line, ':');

	if (!is_field(line))
		return complain(reader, "this is no header field, and no empty line was before it");
	return set_field(reader, template, slice_first(line, colon),
	                 slice_trim(slice_from_offset(line, colon + 1)));
}

static bool
check_text(const struct reader *reader, const struct notice_template *template)
{
	struct slice text = template->text;

	if (text.length > NOTICE_TEXT_MOST)
		return complain(reader, "the text of this template is too long");
	if (slice_contains_byte(text, '\0'))
		return complain(reader, "a NUL byte in the text of this template");
	if (slice_is_ascii(text))
		return true;
	if (slice_equal_fold(template->charset, SLICE("us-ascii")))
		return complain(reader, "the text of this template is not ASCII: it needs a "
		                        "Charset: field, such as Charset: utf-8");
	if (slice_equal_fold(template->charset, SLICE("utf-8")) && !slice_is_utf8(text))
		return complain(reader, "the text of this template is not UTF-8");
	return true;
}

/* From the line behind "NAME = <<WORD" to WORD. */
static bool
take_template(struct reader *reader, struct notice_template *template, struct slice word)
{
	bool         is_header = true, is_first = true;
	const char  *text = reader->rest.data;
	struct slice line;

	for (;;) {
		const char *begin = reader->rest.data;

		if (!take_line(reader, &line))
			return error_set(reader->error, "the template ends without \"%.*s\"",
			                 SLICE_ARGS(word));
		if (slice_equal(line, word)) {
			/* A header alone changes the header: the text stays. */
			if (!is_header)
				template->text = slice_of(text, (size_t)(begin - text));
			return check_text(reader, template);
		}
		if (line.length > NOTICE_LINE_MOST)
			return complain(reader, "a line of more than 900 bytes");
		if (!is_header)
			continue;
		if (slice_trim(line).length == 0) {
			is_header = false;
			text = reader->rest.data;
		} else if (is_first &&
		           !is_field(line)) { /* no header at all, as bounce(5) allows */
			is_header = false;
			text = begin;
		} else if (!take_field(reader, template, line)) {
			return false;
		}
		is_first = false;
	}
}

/* "NAME = <<WORD" */
static bool
take_start(const struct reader *reader, struct slice line, enum notice_template_kind *kind,
           struct slice *word)
{
	size_t       equals = slice_find_byte(line, '=');
	struct slice name = slice_trim(slice_first(line, equals));
	size_t       row = 0;

	*word = slice_trim(slice_from_offset(line, equals == SLICE_NOT_FOUND ? 0 : equals + 1));
	if (equals == SLICE_NOT_FOUND || !slice_starts_with(*word, SLICE("<<")))
		return complain(reader, "expected a template such as failure_template = <<EOF");
	*word = slice_trim(slice_from_offset(*word, 2));
	if (!is_word(*word, "_-."))
		return complain(reader, "expected a word without quotes behind <<");
	while (row < NOTICE_TEMPLATE_COUNT && !slice_equal(name, slice_from(built_in[row].name)))
		row++;
	if (row == NOTICE_TEMPLATE_COUNT)
		return complain(reader, "templates are failure_template, delay_template, "
		                        "success_template and verify_template");
	*kind = (enum notice_template_kind)row;
	return true;
}

bool
notice_templates_parse(struct slice file, struct notice_templates *templates, struct error *error)
{
	struct reader             reader = { .rest = file, .error = error };
	struct notice_templates   read = *templates;
	enum notice_template_kind kind = NOTICE_TEMPLATE_FAILURE;
	struct slice              line, word;

	if (file.length > NOTICE_FILE_MOST)
		return error_set(error, "more than %u bytes", NOTICE_FILE_MOST);
	while (take_line(&reader, &line)) {
		struct slice trimmed = slice_trim(line);

		if (trimmed.length == 0 || line.data[0] == '#')
			continue;
		if (!take_start(&reader, line, &kind, &word) ||
		    !take_template(&reader, &read.items[kind], word))
			return false;
	}
	*templates = read;
	return true;
}

/* ---- the text ---- */

static const struct {
	const char *name;
	char        unit; /* of a bare number */
} times[] = {
	{ "bounce_queue_lifetime_", 'd' },
	{ "delay_warning_time_", 'h' },
	{ "maximal_queue_lifetime_", 'd' },
};
static const struct {
	const char *suffix;
	int64_t     seconds;
} units[] = {
	{ "seconds", 1 },  { "minutes", 60 },   { "hours", 3600 },
	{ "days", 86400 }, { "weeks", 604800 },
};

/* The caller's names, and times in other units. */
struct names {
	const struct expand_source *given;
	struct arena                arena;
};

static bool
find_time(struct names *names, struct slice name, char unit, int64_t divisor, struct slice *text)
{
	struct buf   value = BUF(100);
	struct slice given;
	int64_t      seconds;

	bool ok = names->given->find(names->given->context, name, &given) &&
	          expand(names->given, name, given, &value, NULL) &&
	          number_parse_seconds(slice_trim(buf_slice(&value)), unit, &seconds);
	buf_free(&value);
	const char *number =
		ok ? arena_format(&names->arena, "%lld", (long long)(seconds / divisor)) : NULL;
	*text = slice_from(number == NULL ? "" : number);
	return number != NULL;
}

static bool
find(void *context, struct slice name, struct slice *text)
{
	struct names *names = context;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct slice base = slice_from(times[i].name);

		if (!slice_starts_with(name, base))
			continue;
		struct slice suffix = slice_from_offset(name, base.length);
		base.length--;
		for (size_t j = 0; j < sizeof(units) / sizeof(units[0]); j++)
			if (slice_equal(suffix, slice_from(units[j].suffix)))
				return find_time(names, base, times[i].unit, units[j].seconds,
				                 text);
	}
	return names->given->find(names->given->context, name, text);
}

static void
undefined(void *context, struct slice name)
{
	const struct expand_source *given = ((struct names *)context)->given;

	if (given->undefined != NULL)
		given->undefined(given->context, name);
}

bool
notice_template_expand(const struct notice_template *template, const struct expand_source *source,
                       struct buf *out, struct error *error)
{
	struct names         names = { .given = source, .arena = ARENA(65536) };
	struct expand_source with_times = { .find = find,
		                            .undefined = undefined,
		                            .context = &names };

	bool ok = expand(&with_times, SLICE_EMPTY, template->text, out, error);
	arena_reset(&names.arena);
	return ok;
}

/* ---- notify_classes ---- */

bool
notice_class_is_set(const char *notify_classes, const char *word)
{
	struct slice rest = slice_from(notify_classes), one;

	while (slice_next_word(&rest, " \t\r\n,", &one))
		if (slice_equal_fold(one, slice_from(word)))
			return true;
	return false;
}
