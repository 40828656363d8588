/* trace_log.c - see trace.h. */
#include "tools/dakiya/trace.h"

#include <stdlib.h>
#include <string.h>

#include "lib/queue/id.h"

#define LINE_MOST     16384
#define MESSAGES_MOST 1000
#define LINES_MOST    100000
#define ARENA_MOST    (256u << 20)
#define ROUNDS_MOST   8 /* of notices of forwarded messages of ... */

/* ---- one line ---- */

struct parsed {
	struct slice time, program, session, text;
	struct slice id; /* empty: none; "NOQUEUE" is none */
};

/* What stands in front of a colon without being a queue id. */
static const char *const labels[] = { "warning", "error",      "fatal",  "panic",
	                              "NOQUEUE", "statistics", "reload", "auth" };

static bool
is_id(struct slice word)
{
	if (!queue_id_is_valid(word))
		return false;
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (slice_equal(word, slice_from(labels[i])))
			return false;
	return true;
}

/* "Nov 28 09:15:02 " or "2026-11-28T09:15:02.123456+00:00 ": where the rest begins. */
static size_t
time_length(struct slice line)
{
	if (line.length == 0)
		return SLICE_NOT_FOUND;
	if (ascii_is_digit(line.data[0]))
		return slice_find_byte(line, ' ');
	return line.length > 16 && line.data[15] == ' ' ? 15 : SLICE_NOT_FOUND;
}

/* "host postfix/smtpd[17]: text"; without a host in some logs. False: no line of ours. */
static bool
parse(struct slice line, struct parsed *parsed)
{
	size_t time = time_length(line), bracket, end;

	if (time == SLICE_NOT_FOUND)
		return false;
	struct slice rest = slice_from_offset(line, time + 1);
	end = slice_find(rest, SLICE("]: "));
	if (end == SLICE_NOT_FOUND)
		return false;
	struct slice head = slice_first(rest, end);
	bracket = slice_find_last_byte(head, '[');
	if (bracket == SLICE_NOT_FOUND)
		return false;
	size_t start = slice_find_last_byte(slice_first(head, bracket), ' ');
	start = start == SLICE_NOT_FOUND ? 0 : start + 1;
	*parsed = (struct parsed){
		.time = slice_first(line, time),
		.program = slice_of(rest.data + start, bracket - start),
		.session = slice_of(rest.data + start, end + 1 - start),
		.text = slice_from_offset(rest, end + 3),
	};
	size_t colon = slice_find(parsed->text, SLICE(": "));
	if (colon != SLICE_NOT_FOUND && is_id(slice_first(parsed->text, colon)))
		parsed->id = slice_first(parsed->text, colon);
	return true;
}

/* ---- what belongs together ---- */

static bool
is_address_byte(char c)
{
	return ascii_is_alnum(c) || (unsigned char)c >= 128 || strchr("@.+-_=~", c) != NULL;
}

/* As is_address_byte, but a full stop may end a sentence and '=' stands in front of a value. */
static bool
is_whole(struct slice text, size_t at, size_t length, bool is_domain)
{
	bool begins = at == 0 || is_domain || text.data[at - 1] == '=' ||
	              !is_address_byte(text.data[at - 1]);
	size_t behind = at + length;
	bool   ends = behind == text.length || !is_address_byte(text.data[behind]) ||
	            (text.data[behind] == '.' &&
	             (behind + 1 == text.length || !is_address_byte(text.data[behind + 1])));

	return begins && ends;
}

bool
trace_mentions(const struct trace *trace, struct slice text)
{
	struct slice subject = trace->subject;
	bool         is_domain = subject.length > 0 && subject.data[0] == '@';

	for (size_t at = 0; subject.length > 0 && at + subject.length <= text.length; at++)
		if (slice_equal_fold(slice_of(text.data + at, subject.length), subject) &&
		    is_whole(text, at, subject.length, is_domain))
			return true;
	return false;
}

static struct slice
keep(struct trace *trace, struct slice text)
{
	struct slice kept = arena_copy(&trace->arena, text);

	trace->has_no_memory |= kept.data == NULL && text.length > 0;
	return kept;
}

static struct trace_story *
story_make(struct trace *trace, struct hash *index, struct slice key)
{
	struct trace_story *story = calloc(1, sizeof(*story));

	if (story != NULL && hash_put(index, key, story, NULL))
		return story;
	free(story);
	trace->has_no_memory = true;
	return NULL;
}

bool
trace_add_id(struct trace *trace, struct slice id)
{
	struct trace_story *story;

	if (hash_get(&trace->ids, id) != NULL)
		return false;
	if (trace->messages.count >= MESSAGES_MOST) {
		trace->is_cut = true;
		return false;
	}
	story = story_make(trace, &trace->ids, id);
	if (story == NULL)
		return false;
	story->id = keep(trace, id);
	return ARRAY_PUSH(&trace->messages, story);
}

static struct trace_story *
add_session(struct trace *trace, struct slice session)
{
	struct trace_story *story = hash_get(&trace->sessions, session);

	if (story != NULL)
		return story;
	if (trace->conversations.count >= MESSAGES_MOST) {
		trace->is_cut = true;
		return NULL;
	}
	story = story_make(trace, &trace->sessions, session);
	if (story == NULL)
		return NULL;
	story->session = keep(trace, session);
	return ARRAY_PUSH(&trace->conversations, story) ? story : NULL;
}

/* The other message that a line names: one made of this one, or the one that this was made of. */
static struct slice
other_id(struct slice text)
{
	static const char *const phrases[] = { "forwarded as ", "notification: ", "queued as " };

	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
		size_t at = slice_find(text, slice_from(phrases[i])), length = 0;

		if (at == SLICE_NOT_FOUND)
			continue;
		struct slice rest = slice_from_offset(text, at + strlen(phrases[i]));
		while (length < rest.length && ascii_is_alnum(rest.data[length]))
			length++;
		if (is_id(slice_first(rest, length)))
			return slice_first(rest, length);
	}
	return SLICE_EMPTY;
}

/* ---- passes over the log ---- */

typedef bool visit_line(struct trace *trace, const struct parsed *line, uint64_t at);

static bool
visit_all(struct trace *trace, FILE *const *logs, size_t count, visit_line *visit)
{
	char    *buffer = malloc(LINE_MOST);
	uint64_t at = 0;
	bool     is_changed = false;

	if (buffer == NULL) {
		trace->has_no_memory = true;
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		rewind(logs[i]);
		while (fgets(buffer, LINE_MOST, logs[i]) != NULL) {
			struct parsed line;
			struct slice  text = slice_from(buffer);

			while (text.length > 0 && (text.data[text.length - 1] == '\n' ||
			                           text.data[text.length - 1] == '\r'))
				text.length--;
			if (parse(text, &line))
				is_changed |= visit(trace, &line, at);
			at++;
		}
	}
	free(buffer);
	return is_changed;
}

/* Whether the number in brackets is a session's: lines of other daemons share a process id. */
static bool
has_sessions(struct slice program)
{
	return slice_ends_with(program, SLICE("smtpd")) || slice_ends_with(program, SLICE("pop3d"));
}

/* What names the subject. */
static bool
visit_find(struct trace *trace, const struct parsed *line, uint64_t at)
{
	(void)at;
	if (!trace_mentions(trace, line->text))
		return false;
	if (line->id.length > 0)
		return trace_add_id(trace, line->id);
	return has_sessions(line->program) && add_session(trace, line->session) != NULL;
}

/* What the messages found lead to: their sessions, and other messages. */
static bool
visit_follow(struct trace *trace, const struct parsed *line, uint64_t at)
{
	struct trace_story *story;
	struct slice        other;
	bool                is_changed = false;

	(void)at;
	if (line->id.length == 0)
		return false;
	story = hash_get(&trace->ids, line->id);
	other = other_id(line->text);
	if (other.length > 0 && story != NULL)
		is_changed = trace_add_id(trace, other);
	else if (other.length > 0 && hash_get(&trace->ids, other) != NULL)
		is_changed = trace_add_id(trace, line->id);
	if (story == NULL || story->session.length > 0 ||
	    slice_find(line->text, SLICE(": client=")) != line->id.length)
		return is_changed;
	struct trace_story *session = add_session(trace, line->session);
	if (session != NULL)
		story->session = session->session;
	return is_changed;
}

static void
store(struct trace *trace, struct trace_story *story, const struct parsed *line, uint64_t at)
{
	struct trace_line kept;

	if (trace->line_count >= LINES_MOST) {
		trace->is_cut = true;
		return;
	}
	trace->line_count++;
	kept = (struct trace_line){ .at = at,
		                    .time = keep(trace, line->time),
		                    .program = keep(trace, line->program),
		                    .text = keep(trace, line->text) };
	if (!ARRAY_PUSH(&story->lines, kept))
		trace->has_no_memory = true;
}

static bool
visit_store(struct trace *trace, const struct parsed *line, uint64_t at)
{
	struct trace_story *story = line->id.length > 0 ? hash_get(&trace->ids, line->id) : NULL;

	if (line->id.length == 0)
		story = hash_get(&trace->sessions, line->session);
	if (story != NULL)
		store(trace, story, line, at);
	return false;
}

void
trace_read(struct trace *trace, FILE *const *logs, size_t count)
{
	if (!trace->is_id)
		visit_all(trace, logs, count, visit_find);
	for (unsigned i = 0; i < ROUNDS_MOST && trace->messages.count > 0; i++)
		if (!visit_all(trace, logs, count, visit_follow))
			break;
	visit_all(trace, logs, count, visit_store);
}

static int
by_place(const void *a, const void *b)
{
	const struct trace_line *first = a, *second = b;

	return (first->at > second->at) - (first->at < second->at);
}

void
trace_merge(struct trace *trace, struct trace_story *message)
{
	struct trace_story *session =
		message->session.length > 0 ? hash_get(&trace->sessions, message->session) : NULL;

	for (size_t i = 0; session != NULL && i < session->lines.count; i++)
		if (!ARRAY_PUSH(&message->lines, session->lines.items[i]))
			trace->has_no_memory = true;
	if (message->lines.count > 1)
		qsort(message->lines.items, message->lines.count, sizeof(*message->lines.items),
		      by_place);
}

/* ---- beginning and end ---- */

void
trace_init(struct trace *trace, struct slice subject)
{
	*trace = (struct trace){ .subject = subject, .arena = ARENA(ARENA_MOST) };
	if (slice_contains_byte(subject, '@'))
		return;
	trace->is_id = true;
	trace_add_id(trace, subject);
}

static void
story_free(void *value)
{
	struct trace_story *story = value;

	ARRAY_FREE(&story->lines);
	free(story);
}

void
trace_free(struct trace *trace)
{
	hash_free(&trace->ids, story_free);
	hash_free(&trace->sessions, story_free);
	ARRAY_FREE(&trace->messages);
	ARRAY_FREE(&trace->conversations);
	arena_reset(&trace->arena);
}
