/* common.c - what the commands of dakuser share. */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "lib/base/json.h"
#include "lib/base/number.h"
#include "tools/dakuser/dakuser.h"

int
fail(int status, const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fputs("dakuser: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return status;
}

/* "1G", "500M", "0"; powers of 1024. */
bool
size_parse(const char *text, int64_t *size)
{
	struct slice digits = slice_from(text);
	const char   units[] = "KMGT";
	int64_t      factor = 1, number;

	if (digits.length == 0)
		return false;
	const char *unit = strchr(units, ascii_upper(text[digits.length - 1]));
	if (unit != NULL) {
		for (const char *step = units; step <= unit; step++)
			factor *= 1024;
		digits.length--;
	}
	if (!number_parse(digits, 0, INT64_MAX, &number) ||
	    __builtin_mul_overflow(number, factor, &number))
		return false;
	*size = number;
	return true;
}

/* Below virtual_mailbox_base and nowhere else. */
bool
mailbox_is_sound(struct slice path)
{
	struct slice rest = path, part;

	if (slice_is_empty(path) || path.data[0] == '/' || slice_has_control(path) ||
	    path.length > 1000)
		return false;
	while (slice_next_part(&rest, '/', &part)) {
		bool is_last = rest.data == NULL;

		if (slice_is_empty(part) && !is_last)
			return false;
		if (slice_equal(part, SLICE(".")) || slice_equal(part, SLICE("..")))
			return false;
	}
	return true;
}

bool
address_canonical(const char *text, bool may_be_domain, char name[USER_NAME_MOST + 1],
                  struct error *error)
{
	char whole[USER_NAME_MOST + 2];

	if (text[0] != '@' || !may_be_domain)
		return user_name_canonical(slice_from(text), "", name, error);
	/* A domain is checked as part of an address. */
	if (snprintf(whole, sizeof(whole), "x%s", text) >= (int)sizeof(whole))
		return error_set(error, "malformed domain");
	if (!user_name_canonical(slice_from(whole), "", name, error))
		return false;
	memmove(name, name + 1, strlen(name));
	return true;
}

char *
mailbox_choose(struct store *store, const char *name, const char *wanted)
{
	const char *at = strchr(name, '@');

	if (wanted != NULL)
		return store_copy(store, wanted);
	return arena_format(&store->arena, "%s/%.*s/", at + 1, (int)(at - name), name);
}

void
print_json(const char *text)
{
	struct buf out = BUF(64u * 1024);

	json_append_string(&out, slice_from(text));
	fputs(buf_text(&out), stdout);
	buf_free(&out);
}

void
print_time(int64_t time_s)
{
	struct tm parts;
	time_t    time = (time_t)time_s;
	char      text[32];

	if (time_s > 0 && localtime_r(&time, &parts) != NULL &&
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &parts) > 0)
		fputs(text, stdout);
	else
		fputs("never", stdout);
}

int
store_fill(struct store *store, const struct call *call, bool to_change)
{
	struct error error = ERROR_NONE;

	if (store_open(store, call->parameters, to_change, &error))
		return EXIT_DONE;
	return fail(EXIT_NOT_MADE, "%s", error.text);
}

int
store_save(struct store *store)
{
	struct error error = ERROR_NONE;

	return store_write(store, &error) ? EXIT_DONE : fail(EXIT_NOT_MADE, "%s", error.text);
}

int
change_user(struct call *call,
            int (*change)(struct store *store, struct user *user, struct call *call))
{
	struct store store;
	int          status = store_fill(&store, call, true);

	if (status == EXIT_DONE) {
		struct user *user = store_find(&store, call->name);

		status = user == NULL ? fail(EXIT_NO_USER, "there is no user %s", call->name)
		                      : change(&store, user, call);
	}
	if (status == EXIT_DONE)
		status = store_save(&store);
	store_close(&store);
	return status;
}
