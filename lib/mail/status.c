/* status.c - enhanced status codes. See status.h. */
#include "lib/mail/status.h"

/* One to three digits at offset; false when there are none or more. */
static bool
take_digits(struct slice text, size_t *offset, unsigned short *value)
{
	unsigned number = 0;
	size_t   start = *offset;

	while (*offset < text.length && ascii_is_digit(text.data[*offset]) && *offset - start < 4)
		number = number * 10 + (unsigned)(text.data[(*offset)++] - '0');
	if (*offset == start || *offset - start > 3)
		return false;
	*value = (unsigned short)number;
	return true;
}

static bool
take_dot(struct slice text, size_t *offset)
{
	if (*offset >= text.length || text.data[*offset] != '.')
		return false;
	(*offset)++;
	return true;
}

bool
enhanced_status_parse(struct slice text, struct enhanced_status *status, size_t *length)
{
	struct enhanced_status parsed;
	size_t                 offset = 1;

	if (text.length < 5 || (text.data[0] != '2' && text.data[0] != '4' && text.data[0] != '5'))
		return false;
	parsed.class = (unsigned char)(text.data[0] - '0');
	if (!take_dot(text, &offset) || !take_digits(text, &offset, &parsed.subject) ||
	    !take_dot(text, &offset) || !take_digits(text, &offset, &parsed.detail))
		return false;
	if (offset < text.length && !ascii_is_space(text.data[offset]))
		return false;
	*status = parsed;
	*length = offset;
	return true;
}

bool
enhanced_status_append(struct buf *out, struct enhanced_status status)
{
	return buf_append_format(out, "%u.%u.%u", (unsigned)status.class, (unsigned)status.subject,
	                         (unsigned)status.detail);
}
