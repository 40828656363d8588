/* compose.c - see compose.h. */
#include "lib/smtp/compose.h"

#include "lib/base/encode.h"
#include "lib/mail/address.h"
#include "lib/mail/dsn.h"

/* A command of 512 bytes is what every server takes. */
#define LINE_MOST  510
#define VALUE_MOST 255

bool
compose_path(struct buf *line, const char *verb, struct slice address)
{
	buf_append_text(line, verb);
	buf_append_byte(line, '<');
	if (!slice_is_empty(address) &&
	    (slice_has_control(address) || !address_append_external(line, address)))
		return false;
	return buf_append_byte(line, '>');
}

void
compose_notify(struct buf *line, uint32_t notify)
{
	static const char *const words[] = { "NEVER", "SUCCESS", "FAILURE", "DELAY" };
	const char              *before = " NOTIFY=";

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if ((notify & 1u << i) == 0)
			continue;
		buf_append_text(line, before);
		buf_append_text(line, words[i]);
		before = ",";
	}
}

void
compose_orcpt(struct buf *line, struct slice orcpt)
{
	size_t semicolon = slice_find_byte(orcpt, ';');

	if (semicolon == SLICE_NOT_FOUND)
		return;
	struct slice type = slice_first(orcpt, semicolon);
	struct slice address = slice_from_offset(orcpt, semicolon + 1);

	buf_append_text(line, " ORCPT=");
	buf_append(line, type);
	buf_append_byte(line, ';');
	/* RFC 6533 3: its own escapes take the place of xtext's. */
	if (slice_equal_fold(type, SLICE("utf-8")))
		dsn_append_utf8_original(line, address);
	else
		xtext_encode(address, line);
}

static bool
is_wanted(struct slice offered, const struct xforward_attribute *attribute)
{
	struct slice word;

	if (attribute->value.length > VALUE_MOST)
		return false;
	while (slice_next_word(&offered, " \t", &word))
		if (slice_equal_fold(word, slice_from(attribute->name)))
			return true;
	return false;
}

static void
append_attribute(struct buf *word, const struct xforward_attribute *attribute)
{
	buf_append_format(word, " %s=", attribute->name);
	if (attribute->value.length == 0 || slice_equal(attribute->value, SLICE("unknown")))
		buf_append_text(word, "[UNAVAILABLE]");
	else
		xtext_encode(attribute->value, word);
}

bool
compose_xforward(struct buf *line, struct slice offered,
                 const struct xforward_attribute *attributes, size_t count, size_t *at)
{
	struct buf word = BUF(VALUE_MOST * 3 + 20);
	bool       has_some = false;

	buf_clear(line);
	buf_append_text(line, "XFORWARD");
	for (; *at < count; ++*at) {
		if (!is_wanted(offered, &attributes[*at]))
			continue;
		buf_clear(&word);
		append_attribute(&word, &attributes[*at]);
		if (has_some && line->length + word.length > LINE_MOST)
			break;
		has_some = buf_append(line, buf_slice(&word)) || has_some;
	}
	buf_free(&word);
	return has_some;
}
