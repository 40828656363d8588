/* tls_health.c - see tls_health.h. */
#include "lib/tls/tls_health.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/tls/tls_internal.h"

#define NAMES_MOST 400

/* What is being examined. */
struct examination {
	const struct parameters *parameters;
	const char              *file; /* where it is set */
	unsigned                 line;
	struct report           *report;
};

/* ---- files ---- */

static bool
holds_key(const char *path)
{
	char  line[200];
	bool  holds = false;
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return false;
	while (!holds && fgets(line, sizeof(line), file) != NULL)
		holds = strstr(line, "PRIVATE KEY-----") != NULL;
	fclose(file);
	return holds;
}

static void
examine_files(const struct examination *on, const char *files)
{
	struct slice rest = slice_from(files), word;
	struct stat  status;
	char         path[4096];

	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		snprintf(path, sizeof(path), "%.*s", SLICE_ARGS(slice_first(word, 4000)));
		if (stat(path, &status) == 0 && (status.st_mode & S_IROTH) != 0 && holds_key(path))
			report_add(on->report, PROBLEM_WARNING, on->file, on->line,
			           "%s holds a private key, and everybody on this host may read "
			           "it: chmod 600 %s",
			           path, path);
	}
}

/* ---- certificates ---- */

static const char *
kind_of(X509 *certificate)
{
	EVP_PKEY   *key = X509_get0_pubkey(certificate);
	const char *name = key == NULL ? NULL : EVP_PKEY_get0_type_name(key);

	return name == NULL ? "" : name;
}

static void
examine_dates(const struct examination *on, X509 *certificate)
{
	int days = 0, seconds = 0;

	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate is not valid yet: is this host's clock right?",
		           kind_of(certificate));
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) != 1)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate has no readable end", kind_of(certificate));
	else if (days < 0 || seconds < 0)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate has expired %d days ago: clients refuse it; get a "
		           "new one, then `dakiya reload'",
		           kind_of(certificate), -days);
	else if (days < TLS_HEALTH_DAYS)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate expires in %d days: get a new one, then `dakiya "
		           "reload'",
		           kind_of(certificate), days);
}

/* The names that clients compare, bounded; IP addresses are left out. */
static void
append_names(X509 *certificate, struct buf *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS)
			continue;
		struct slice text = slice_of((const char *)ASN1_STRING_get0_data(name->d.dNSName),
		                             (size_t)ASN1_STRING_length(name->d.dNSName));
		buf_append_text(out, out->length == 0 ? "" : ", ");
		buf_append_printable(out, slice_first(text, 255));
	}
	GENERAL_NAMES_free(names);
}

static void
examine_name(const struct examination *on, X509 *certificate)
{
	const char *host = on->parameters->myhostname;
	struct buf  names = BUF(64u * 1024);

	if (X509_check_host(certificate, host, strlen(host), 0, NULL) != 1) {
		append_names(certificate, &names);
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate is for %.*s, not for myhostname (%s): clients that "
		           "are told this name refuse it",
		           kind_of(certificate),
		           SLICE_ARGS(slice_first(names.length > 0 ? buf_slice(&names)
		                                                   : SLICE("no host name"),
		                                  NAMES_MOST)),
		           host);
	}
	buf_free(&names);
}

static void
examine_chains(const struct examination *on)
{
	struct error error = ERROR_NONE;
	SSL_CTX     *context = SSL_CTX_new(TLS_server_method());

	if (context == NULL || !tls_server_load_certificates(context, on->parameters, &error)) {
		report_add(on->report, PROBLEM_ERROR, on->file, on->line, "%s",
		           context == NULL ? "out of memory" : error.text);
		SSL_CTX_free(context);
		return;
	}
	for (long more = SSL_CTX_set_current_cert(context, SSL_CERT_SET_FIRST); more == 1;
	     more = SSL_CTX_set_current_cert(context, SSL_CERT_SET_NEXT)) {
		X509 *certificate = SSL_CTX_get0_certificate(context);

		if (certificate == NULL)
			continue;
		examine_dates(on, certificate);
		examine_name(on, certificate);
	}
	SSL_CTX_free(context);
	tls_errors_clear();
}

void
tls_health_check(const struct parameters *parameters, const char *file, unsigned line,
                 struct report *report)
{
	struct examination on = { parameters, file, line, report };

	if (parameters->smtpd_tls_chain_files[0] != '\0') {
		examine_files(&on, parameters->smtpd_tls_chain_files);
	} else if (parameters->smtpd_tls_cert_file[0] != '\0' ||
	           parameters->smtpd_tls_eccert_file[0] != '\0') {
		examine_files(&on, parameters->smtpd_tls_key_file);
		examine_files(&on, parameters->smtpd_tls_eckey_file);
	} else {
		return;
	}
	examine_chains(&on);
}
