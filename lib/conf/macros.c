/* macros.c - see macros.h. */
#include "lib/conf/macros.h"

#include "lib/base/arena.h"
#include "lib/conf/expand.h"

struct source {
	const struct macro *macros;
	size_t              count;
	const char         *filter;
	struct arena        arena;
	bool                is_out_of_memory;
};

bool
macros_append_filtered(struct buf *out, struct slice bytes, const char *filter)
{
	struct slice allowed = slice_from(filter);

	for (size_t i = 0; i < bytes.length; i++)
		buf_append_byte(out,
		                slice_contains_byte(allowed, bytes.data[i]) ? bytes.data[i] : '_');
	return !out->has_failed;
}

/* A value as text that expands to itself: every '$' twice. */
static bool
prepare_value(struct source *source, const struct macro *macro, struct slice *text)
{
	struct buf filtered = BUF(65536), doubled = BUF(131072);
	bool       ok = macro->is_trusted
	                        ? buf_append(&filtered, macro->value)
	                        : macros_append_filtered(&filtered, macro->value, source->filter);

	for (size_t i = 0; ok && i < filtered.length; i++)
		ok = (filtered.data[i] != '$' || buf_append_byte(&doubled, '$')) &&
		     buf_append_byte(&doubled, filtered.data[i]);
	*text = ok ? arena_copy(&source->arena, buf_slice(&doubled)) : SLICE_EMPTY;
	buf_free(&filtered);
	buf_free(&doubled);
	return ok && text->data != NULL;
}

static bool
find(void *context, struct slice name, struct slice *text)
{
	struct source *source = context;

	for (size_t i = 0; i < source->count; i++) {
		if (!slice_equal(name, slice_from(source->macros[i].name)))
			continue;
		if (!prepare_value(source, &source->macros[i], text)) {
			source->is_out_of_memory = true;
			*text = SLICE_EMPTY;
		}
		return true;
	}
	return false;
}

bool
macros_expand(const struct macro *macros, size_t count, struct slice text, const char *filter,
              struct buf *out, struct error *error)
{
	struct source        source = { .macros = macros, .count = count, .filter = filter };
	struct expand_source values = { .find = find, .context = &source };
	bool                 ok = expand(&values, SLICE_EMPTY, text, out, error);

	arena_reset(&source.arena);
	if (ok && source.is_out_of_memory)
		return error_set(error, "a value is too long, or memory is out");
	return ok;
}
