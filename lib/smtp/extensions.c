/* extensions.c - see extensions.h. */
#include "lib/smtp/extensions.h"

struct extension_row {
	unsigned    bit;
	const char *keyword;
};

/* In the order of EHLO. */
static const struct extension_row extension_rows[] = {
	{ SMTP_PIPELINING, "PIPELINING" },
	{ SMTP_SIZE, "SIZE" },
	{ SMTP_VRFY, "VRFY" },
	{ SMTP_ETRN, "ETRN" },
	{ SMTP_STARTTLS, "STARTTLS" },
	{ SMTP_AUTH, "AUTH" },
	{ SMTP_XCLIENT, "XCLIENT" },
	{ SMTP_XFORWARD, "XFORWARD" },
	{ SMTP_XVERP, "XVERP" },
	{ SMTP_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES" },
	{ SMTP_8BITMIME, "8BITMIME" },
	{ SMTP_DSN, "DSN" },
	{ SMTP_SMTPUTF8, "SMTPUTF8" },
	{ SMTP_CHUNKING, "CHUNKING" },
	{ SMTP_REQUIRETLS, "REQUIRETLS" },
};
#define ROWS (sizeof(extension_rows) / sizeof(extension_rows[0]))

unsigned
smtp_extension_find(struct slice keyword)
{
	for (size_t i = 0; i < ROWS; i++)
		if (slice_equal_fold(keyword, slice_from(extension_rows[i].keyword)))
			return extension_rows[i].bit;
	return 0;
}

unsigned
smtp_extension_list(struct slice words)
{
	struct slice word;
	unsigned     bits = 0;

	while (slice_next_word(&words, " \t,", &word))
		bits |= smtp_extension_find(word);
	return bits;
}

const char *
smtp_extension_next(unsigned bits, size_t *at, unsigned *bit)
{
	while (*at < ROWS) {
		const struct extension_row *row = &extension_rows[(*at)++];

		if ((bits & row->bit) != 0) {
			*bit = row->bit;
			return row->keyword;
		}
	}
	return NULL;
}
