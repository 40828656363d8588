/* lists.c - what can be listed of the programs themselves: table types, locks, texts. */
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
#include <stdlib.h>
#include <sysexits.h>

#include "lib/base/json.h"
#include "lib/mail/notice_text.h"
#include "lib/table/table.h"
#include "tools/dakconf/dakconf.h"

#define TEXT_COLUMNS 72

static void
print_word(const struct dakconf *dakconf, const char *word)
{
	struct buf out = BUF(1000);

	if (dakconf->as_json) {
		buf_append_text(&out, "{\"name\": ");
		json_append_string(&out, slice_from(word));
		buf_append_byte(&out, '}');
		word = buf_text(&out);
	}
	puts(word);
	buf_free(&out);
}

static int
print_words(const struct dakconf *dakconf, const char *const *words)
{
	for (; *words != NULL; words++)
		print_word(dakconf, *words);
	return EX_OK;
}

static int
compare_words(const void *left, const void *right)
{
	const char *const *a = left, *const *b = right;

	return strcmp(*a, *b);
}

static int
print_table_types(const struct dakconf *dakconf)
{
	ARRAY(const char *) types = { 0 };

	for (const char *const *name = table_type_names(); *name != NULL; name++)
		ARRAY_PUSH(&types, *name);
	qsort(types.items, types.count, sizeof(char *), compare_words);
	for (size_t i = 0; i < types.count; i++)
		print_word(dakconf, types.items[i]);
	ARRAY_FREE(&types);
	return EX_OK;
}

/* ---- notices ---- */

static const struct {
	const char           *name;
	enum notice_text_kind kind;
	bool                  has_postmaster_copy;
} templates[] = {
	{ "failure_template", NOTICE_TEXT_FAILURE, true },
	{ "delay_template", NOTICE_TEXT_DELAY, false },
	{ "success_template", NOTICE_TEXT_SUCCESS, false },
};

static void
print_paragraph(struct slice text)
{
	struct slice word;
	size_t       column = 0;

	while (slice_next_word(&text, " ", &word)) {
		if (column > 0 && column + 1 + word.length > TEXT_COLUMNS) {
			putchar('\n');
			column = 0;
		}
		printf("%s%.*s", column > 0 ? " " : "", SLICE_ARGS(word));
		column += word.length + (column > 0);
	}
	printf("\n\n");
}

static void
print_template(size_t row, const char *host)
{
	const struct notice_text *text = &notice_texts[templates[row].kind];
	struct slice              rest = slice_from(text->introduction), paragraph;

	printf("%s = <<EOF\nCharset: us-ascii\nFrom: Mail Delivery System <MAILER-DAEMON>\n"
	       "Subject: %s\n",
	       templates[row].name, text->subject);
	if (templates[row].has_postmaster_copy)
		printf("Postmaster-Subject: %s\n", notice_texts[NOTICE_TEXT_POSTMASTER].subject);
	printf("\nThis is the mail system at host %s.\n\n", host);
	while (slice_next_part(&rest, '\n', &paragraph))
		print_paragraph(paragraph);
	printf("EOF\n\n");
}

/* -t: as they are; -b: as a sender would see them. */
static int
print_templates(const struct dakconf *dakconf, int count)
{
	struct buf   host = BUF(1000);
	struct slice text;

	if (count > 0)
		return dakconf_fail(dakconf, EX_USAGE,
		                    "notices have fixed texts: no template file is used");
	if (dakconf->mode == 't')
		buf_append_text(&host, "$myhostname");
	else if (known_default(dakconf, SLICE("myhostname"), &text) &&
	         settings_text(&dakconf->configuration->settings, SLICE("myhostname"), &text))
		show_expand(dakconf, NULL, "myhostname", text, &host);
	for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
		print_template(i, buf_text(&host));
	buf_free(&host);
	return EX_OK;
}

/* ---- TLS ---- */

static int
print_tls(const struct dakconf *dakconf, const char *what)
{
	static const char *const algorithms[] = { "dsa", "ecdsa", "rsa", NULL };

	if (strcmp(what, "compile-version") == 0)
		puts(OPENSSL_VERSION_TEXT);
	else if (strcmp(what, "run-version") == 0)
		puts(OpenSSL_version(OPENSSL_VERSION));
	else if (strcmp(what, "public-key-algorithms") == 0)
		return print_words(dakconf, algorithms);
	else
		return dakconf_fail(dakconf, EX_USAGE, "unknown 'postconf -T' mode: %s", what);
	return EX_OK;
}

int
lists_print(const struct dakconf *dakconf, char **arguments, int count)
{
	/* Logins are checked and made with Cyrus SASL (libsasl2). */
	static const char *const sasl[] = { "cyrus", NULL };
	/* Of mailboxes: mailbox_delivery_lock. */
	static const char *const locks[] = { "flock", "fcntl", "dotlock", NULL };

	switch (dakconf->mode) {
	case 'a':
	case 'A': return print_words(dakconf, sasl);
	case 'l': return print_words(dakconf, locks);
	case 'm': return print_table_types(dakconf);
	case 'T': return print_tls(dakconf, arguments[0]);
	}
	return print_templates(dakconf, count);
}
