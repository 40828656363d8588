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

/* By name: whether the signature is right is for those who verify it. */
static bool
has_issued(X509 *issuer, X509 *certificate)
{
	return X509_NAME_cmp(X509_get_subject_name(issuer), X509_get_issuer_name(certificate)) == 0;
}

/* The certificate of the chain that issued this one; NULL when the file has none. */
static X509 *
issuer_in_chain(STACK_OF(X509) * chain, X509 *certificate)
{
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *one = sk_X509_value(chain, i);

		if (one != certificate && has_issued(one, certificate))
			return one;
	}
	return NULL;
}

/* Whether this system's authorities have the issuer. */
static bool
is_issuer_known(X509 *certificate)
{
	X509_STORE     *store = X509_STORE_new();
	X509_STORE_CTX *search = X509_STORE_CTX_new();
	X509           *issuer = NULL;
	bool            is_known = false;

	if (store != NULL && search != NULL && X509_STORE_set_default_paths(store) == 1 &&
	    X509_STORE_CTX_init(search, store, certificate, NULL) == 1)
		is_known = X509_STORE_CTX_get1_issuer(&issuer, search, certificate) == 1;
	X509_free(issuer);
	X509_STORE_CTX_free(search);
	X509_STORE_free(store);
	return is_known;
}

/* A client knows the authorities, not those that they let issue in their name. */
static void
examine_issuers(const struct examination *on, SSL_CTX *context, X509 *certificate)
{
	STACK_OF(X509) *chain = NULL;
	X509 *last = certificate;
	char  name[200] = "";

	(void)SSL_CTX_get0_chain_certs(context, &chain);
	/* Each one leads one further up; a file with no chain still has the first. */
	for (int i = -1; i <= sk_X509_num(chain); i++) {
		X509 *issuer = issuer_in_chain(chain, last);

		if (has_issued(last, last))
			return; /* signed by itself */
		if (issuer == NULL)
			break;
		last = issuer;
	}
	if (is_issuer_known(last))
		return;
	X509_NAME_oneline(X509_get_issuer_name(last), name, sizeof(name));
	report_add(on->report, PROBLEM_WARNING, on->file, on->line,
	           "the %s certificate's chain ends before an authority that this system knows: "
	           "append the certificate of %s to the file",
	           kind_of(certificate), name);
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
		examine_issuers(on, context, certificate);
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
