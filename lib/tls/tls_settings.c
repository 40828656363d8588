/* tls_settings.c - protocol versions, cipher grades and options from their main.cf text. */
#include <dirent.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/base/array.h"
#include "lib/tls/tls_internal.h"

#define WORDS " \t\r\n,"

static const struct version {
	const char *name;
	int         number;
	uint64_t    exclusion;
} versions_known[] = {
	/* SSLv2 is no longer in OpenSSL; the name stands in old configurations */
	{ "SSLv2", 0, 0 },
	{ "SSLv3", SSL3_VERSION, SSL_OP_NO_SSLv3 },
	{ "TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1 },
	{ "TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1 },
	{ "TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2 },
	{ "TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3 },
};
#define VERSION_COUNT (sizeof(versions_known) / sizeof(versions_known[0]))

static const struct version *
version_find(struct slice name)
{
	for (size_t i = 0; i < VERSION_COUNT; i++)
		if (slice_equal_fold(name, slice_from(versions_known[i].name)))
			return &versions_known[i];
	return NULL;
}

bool
tls_versions_parse(const char *text, const char *parameter, struct tls_versions *versions,
                   struct error *error)
{
	struct slice          rest = slice_from(text), word;
	uint64_t              included = 0;
	struct tls_versions   result = { 0 };
	const struct version *version;

	while (slice_next_word(&rest, WORDS ":", &word)) {
		bool is_least = slice_starts_with(word, SLICE(">="));
		bool is_most = slice_starts_with(word, SLICE("<="));
		bool is_excluded = slice_starts_with(word, SLICE("!"));

		version = version_find(slice_from_offset(word, is_least || is_most ? 2
		                                               : is_excluded       ? 1
		                                                                   : 0));
		if (version == NULL)
			return error_set(error,
			                 "%s: unknown TLS protocol \"%.*s\" (known: SSLv3 TLSv1 "
			                 "TLSv1.1 TLSv1.2 TLSv1.3)",
			                 parameter, SLICE_ARGS(word));
		if (is_least)
			result.least = version->number;
		else if (is_most)
			result.most = version->number;
		else if (is_excluded)
			result.excluded |= version->exclusion;
		else
			included |= version->exclusion;
	}
	/* A list of names means those and no others. */
	for (size_t i = 0; included != 0 && i < VERSION_COUNT; i++)
		result.excluded |= versions_known[i].exclusion & ~included;
	if (result.most != 0 && result.least > result.most)
		return error_set(error, "%s: no protocol lies within \"%s\"", parameter, text);
	*versions = result;
	return true;
}

static bool
append_exclusions(struct buf *out, const char *excluded)
{
	struct slice rest = slice_from(excluded), word;
	bool         ok = true;

	while (slice_next_word(&rest, WORDS ":", &word))
		ok = buf_append_text(out, ":!") && buf_append(out, word) && ok;
	return ok;
}

bool
tls_cipher_list(const struct parameters *parameters, const char *grade, const char *excluded,
                const char *also_excluded, struct buf *out, struct error *error)
{
	const struct {
		const char *name;
		const char *list;
	} grades[] = {
		/* OpenSSL has had no export or low ciphers since 1.1 */
		{ "export", parameters->tls_medium_cipherlist },
		{ "low", parameters->tls_medium_cipherlist },
		{ "medium", parameters->tls_medium_cipherlist },
		{ "high", parameters->tls_high_cipherlist },
		{ "null", parameters->tls_null_cipherlist },
	};

	for (size_t i = 0; i < sizeof(grades) / sizeof(grades[0]); i++) {
		if (strcmp(grade, grades[i].name) != 0)
			continue;
		if (buf_append_text(out, grades[i].list) && append_exclusions(out, excluded) &&
		    append_exclusions(out, also_excluded))
			return true;
		return error_set(error, "the cipher list of grade %s is too long", grade);
	}
	return error_set(error,
	                 "unknown TLS cipher grade \"%s\" (known: export low medium high null)",
	                 grade);
}

static bool
set_options(SSL_CTX *context, const char *text, struct error *error)
{
	static const struct {
		const char *name;
		uint64_t    option;
	} options[] = {
		{ "NO_TICKET", SSL_OP_NO_TICKET },
		{ "NO_ENCRYPT_THEN_MAC", SSL_OP_NO_ENCRYPT_THEN_MAC },
		{ "NO_ANTI_REPLAY", SSL_OP_NO_ANTI_REPLAY },
		{ "NO_RENEGOTIATION", SSL_OP_NO_RENEGOTIATION },
		{ "NO_COMPRESSION", SSL_OP_NO_COMPRESSION },
		{ "PRIORITIZE_CHACHA", SSL_OP_PRIORITIZE_CHACHA },
		{ "ENABLE_KTLS", SSL_OP_ENABLE_KTLS },
	};
	struct slice rest = slice_from(text), word;

	while (slice_next_word(&rest, WORDS, &word)) {
		uint64_t option = 0;

		for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
			if (slice_equal_fold(word, slice_from(options[i].name)))
				option = options[i].option;
		if (option == 0)
			return error_set(error, "tls_ssl_options: unknown option \"%.*s\"",
			                 SLICE_ARGS(word));
		SSL_CTX_set_options(context, option);
	}
	return true;
}

bool
tls_context_common(SSL_CTX *context, const struct parameters *parameters, struct error *error)
{
	/* Idle connections give their 16 KB records back; a short write is no error. */
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_read_ahead(context, 0);
	if (parameters->tls_eecdh_auto_curves[0] != '\0' &&
	    SSL_CTX_set1_groups_list(context, parameters->tls_eecdh_auto_curves) != 1)
		return tls_error_take(error, "tls_eecdh_auto_curves = %s",
		                      parameters->tls_eecdh_auto_curves);
	return set_options(context, parameters->tls_ssl_options, error);
}

/* ---- authorities ---- */

/* A file that is no certificate is left out: directories hold README files, too. */
static bool
load_directory_entry(SSL_CTX *context, const char *directory, const char *name)
{
	char        path[4096];
	struct stat status;

	if (name[0] == '.' ||
	    (size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path))
		return false;
	if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
		return false;
	return SSL_CTX_load_verify_file(context, path) == 1;
}

bool
tls_load_authorities(SSL_CTX *context, const char *file, const char *directory, struct error *error)
{
	DIR           *entries;
	struct dirent *entry;

	tls_errors_clear();
	if (file[0] != '\0' && SSL_CTX_load_verify_file(context, file) != 1)
		return tls_error_take(error, "cannot load authorities from %s", file);
	if (directory[0] == '\0')
		return true;
	entries = opendir(directory);
	if (entries == NULL)
		return error_set_errno(error, "cannot read authorities in %s", directory);
	while ((entry = readdir(entries)) != NULL)
		load_directory_entry(context, directory, entry->d_name);
	closedir(entries);
	tls_errors_clear();
	return true;
}
