/*
 * slice.h - a borrowed run of bytes with its length; the type of all input.
 *
 * A slice owns nothing and may hold any byte, NUL included. Whoever makes one answers for the
 * memory behind it. No function here allocates, and none reads past the length.
 */
#ifndef DAKIYA_BASE_SLICE_H
#define DAKIYA_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
	const char *data; /* may be NULL when length is 0 */
	size_t      length;
};

#define SLICE_EMPTY ((struct slice){ "", 0 })
/* A slice of a string literal, its length taken at compile time. */
#define SLICE(literal) ((struct slice){ ("" literal), sizeof(literal) - 1 })
/* printf arguments for "%.*s"; only for text that is known to hold no NUL or control bytes. */
#define SLICE_ARGS(s) ((int)((s).length > 0x7fffffff ? 0x7fffffff : (s).length)), ((s).data)

static inline struct slice
slice_of(const char *data, size_t length)
{
	return (struct slice){ data, length };
}

static inline struct slice
slice_from(const char *text)
{
	return text == NULL ? SLICE_EMPTY : slice_of(text, strlen(text));
}

static inline bool
slice_is_empty(struct slice s)
{
	return s.length == 0;
}

/* The part from offset on; empty when offset lies behind the end. */
static inline struct slice
slice_from_offset(struct slice s, size_t offset)
{
	return offset >= s.length ? SLICE_EMPTY : slice_of(s.data + offset, s.length - offset);
}

/* The first length bytes, or all of them when there are fewer. */
static inline struct slice
slice_first(struct slice s, size_t length)
{
	return length >= s.length ? s : slice_of(s.data, length);
}

/* Byte-wise equality, and the same with ASCII letters folded (no locale). */
bool slice_equal(struct slice a, struct slice b);
bool slice_equal_fold(struct slice a, struct slice b);
bool slice_starts_with(struct slice s, struct slice prefix);
bool slice_starts_with_fold(struct slice s, struct slice prefix);
bool slice_ends_with(struct slice s, struct slice suffix);
bool slice_ends_with_fold(struct slice s, struct slice suffix);
/* memcmp order, a shorter prefix first. */
int slice_compare(struct slice a, struct slice b);

/* Index of the first or last occurrence; SLICE_NOT_FOUND when there is none. */
#define SLICE_NOT_FOUND ((size_t)-1)
size_t slice_find_byte(struct slice s, char byte);
size_t slice_find_last_byte(struct slice s, char byte);
size_t slice_find(struct slice s, struct slice needle);
bool   slice_contains_byte(struct slice s, char byte);

/* Without leading and trailing blanks (space, tab, CR, LF). */
struct slice slice_trim(struct slice s);

/*
 * Cuts the text up to the first separator byte off *rest and gives it in *part; the separator is
 * dropped. Returns false when *rest is exhausted. An empty part between two separators is given.
 * Start with a copy of the whole; do not mix with other changes of *rest.
 */
bool slice_next_part(struct slice *rest, char separator, struct slice *part);
/* The same with any byte of separators, empty parts skipped (white-space and comma lists). */
bool slice_next_word(struct slice *rest, const char *separators, struct slice *word);
/*
 * The next item of "a, b = c, { d = e, f }", without the braces around it, trimmed; separators do
 * not count inside of braces, and blanks and commas in front are skipped. False at the end; "{}" is
 * an empty item.
 */
bool slice_next_item(struct slice *rest, const char *separators, struct slice *item);
/* Whether a list separated by blanks or commas has the word, without regard to case. */
bool slice_list_has(struct slice list, struct slice word);

/* True when s holds an ASCII control byte (0..31, 127). */
bool slice_has_control(struct slice s);
/* True when every byte is below 128. */
bool slice_is_ascii(struct slice s);
/* True when s is well-formed UTF-8 (RFC 3629: no overlong form, no surrogates). */
bool slice_is_utf8(struct slice s);

/* ASCII classes without locale or signed-char surprises. */
static inline char
ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}
static inline char
ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}
static inline bool
ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}
static inline bool
ascii_is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool
ascii_is_alnum(char c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c);
}
static inline bool
ascii_is_blank(char c)
{
	return c == ' ' || c == '\t';
}
static inline bool
ascii_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}
static inline bool
ascii_is_control(char c)
{
	return (unsigned char)c < 32 || c == 127;
}
static inline bool
ascii_is_print(char c)
{
	return c >= 32 && c < 127;
}

#endif
