/* lists.c - what can be listed of the programs themselves: table types, locks, texts. */
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
#include <stdlib.h>
#include <sysexits.h>

#include "lib/base/json.h"
#include "lib/conf/lines.h"
#include "lib/conf/notice_template.h"
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

struct template_names {
	const struct dakconf *dakconf;
	bool                  has_unknown;
};

/* A name in a template's text: of main.cf, or a default. */
static bool
find_name(void *context, struct slice name, struct slice *text)
{
	const struct dakconf  *dakconf = ((struct template_names *)context)->dakconf;
	const struct settings *settings = &dakconf->configuration->settings;

	return settings_text(settings, name, text) || known_default(dakconf, name, text);
}

static void
undefined_name(void *context, struct slice name)
{
	struct template_names *names = context;

	dakconf_warn(names->dakconf, "unknown name in a template: $%.*s", SLICE_ARGS(name));
	names->has_unknown = true;
}

/* postconf -b has the text alone: "expanded_failure_text = <<EOF" for failure_template. */
static void
print_expanded_text(enum notice_template_kind kind, struct slice text)
{
	struct slice name = slice_from(notice_template_name(kind));

	name = slice_first(name, slice_find_byte(name, '_'));
	printf("expanded_%.*s_text = <<EOF\n%.*sEOF\n\n", SLICE_ARGS(name), SLICE_ARGS(text));
}

static bool
print_template(const struct dakconf *dakconf, enum notice_template_kind kind,
               const struct notice_template *template, struct error    *error)
{
	struct template_names names = { .dakconf = dakconf };
	struct expand_source  source = { .find = find_name,
		                         .undefined = undefined_name,
		                         .context = &names };
	struct buf            text = BUF(NOTICE_TEXT_MOST);

	bool ok = dakconf->mode == 't' ? buf_append(&text, template->text)
	                               : notice_template_expand(template, &source, &text, error);
	if (ok && names.has_unknown && dakconf->is_postconf)
		ok = error_set(error, "%s has a name that is no parameter",
		               notice_template_name(kind));
	if (ok && dakconf->is_postconf && dakconf->mode == 'b') {
		print_expanded_text(kind, buf_slice(&text));
	} else if (ok) {
		printf("%s = <<EOF\nCharset: %.*s\nFrom: %.*s\nSubject: %.*s\n",
		       notice_template_name(kind), SLICE_ARGS(template->charset),
		       SLICE_ARGS(template->from), SLICE_ARGS(template->subject));
		if (template->postmaster_subject.length > 0)
			printf("Postmaster-Subject: %.*s\n",
			       SLICE_ARGS(template->postmaster_subject));
		printf("\n%sEOF\n\n", buf_text(&text));
	}
	buf_free(&text);
	return ok;
}

/* The file named in the command, or else by bounce_template_file; "" when there is none. */
static bool
read_templates(const struct dakconf *dakconf, const char *given, struct buf *path, struct buf *file,
               struct notice_templates *templates, struct error *error)
{
	struct report report = REPORT_NONE;
	struct slice  text;
	bool          ok = true;

	if (given != NULL)
		buf_append_text(path, given);
	else if (settings_text(&dakconf->configuration->settings, SLICE("bounce_template_file"),
	                       &text))
		show_expand(dakconf, NULL, "bounce_template_file", text, path);
	if (path->length == 0)
		return true;
	if (!lines_read_file(buf_text(path), file, &report))
		ok = error_set(error, "%s",
		               report.list.count > 0 ? report.list.items[0].text : "not readable");
	else if (!notice_templates_parse(buf_slice(file), templates, error))
		ok = error_prefix(error, "%s", buf_text(path));
	report_free(&report);
	return ok;
}

/* -t: as they are; -b: as a sender would see them. */
static int
print_templates(const struct dakconf *dakconf, char **arguments, int count)
{
	struct notice_templates templates;
	struct buf              path = BUF(4096), file = BUF(LINES_FILE_MOST);
	struct error            error = ERROR_NONE;
	int                     status = EX_OK;

	notice_templates_default(&templates);
	bool ok = count < 2 || error_set(&error, "more than one template file");
	ok = ok && read_templates(dakconf, count > 0 ? arguments[0] : NULL, &path, &file,
	                          &templates, &error);
	for (int i = 0; ok && i < NOTICE_TEMPLATE_COUNT; i++)
		ok = print_template(dakconf, (enum notice_template_kind)i, &templates.items[i],
		                    &error);
	if (!ok)
		status = dakconf_fail(dakconf, EX_CONFIG, "%s", error.text);
	buf_free(&path);
	buf_free(&file);
	return status;
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
	return print_templates(dakconf, arguments, count);
}
