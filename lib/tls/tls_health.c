/* tls_health.c - see tls_health.h. */
#include "lib/tls/tls_health.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/ipc/messages.h"
#include "lib/tls/tls_chain.h"
#include "lib/tls/tls_files.h"
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

static void
examine_files(const struct examination *on, struct slice bundle)
{
	struct msg_tls_file file;
	struct stat         status;
	char                path[4096];

	while (msg_tls_file_next(&bundle, &file)) {
		snprintf(path, sizeof(path), "%.*s", SLICE_ARGS(file.path));
		if (slice_find(file.content, SLICE("PRIVATE KEY-----")) != SLICE_NOT_FOUND &&
		    stat(path, &status) == 0 && (status.st_mode & S_IROTH) != 0)
			report_add(on->report, PROBLEM_WARNING, on->file, on->line,
			           "%s holds a private key, and everybody on this host may read "
			           "it: chmod 600 %s",
			           path, path);
	}
}

/* ---- certificates ---- */

static void
examine_dates(const struct examination *on, const struct tls_chain *chain)
{
	const X509 *certificate = chain->certificate;
	const char *kind = tls_chain_kind(chain);
	int         days = 0, seconds = 0;

	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate is not valid yet: is this host's clock right?",
		           kind);
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) != 1)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate has no readable end", kind);
	else if (days < 0 || seconds < 0)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate has expired %d days ago: clients refuse it; get a "
		           "new one",
		           kind, -days);
	else if (days < TLS_HEALTH_DAYS)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line,
		           "the %s certificate expires in %d days: get a new one", kind, days);
}

/* The names that clients compare, ", " between. */
static void
append_names(const struct tls_chain *chain, struct buf *out)
{
	struct buf   names = BUF(64u * 1024);
	struct slice rest, name;

	tls_chain_names(chain, &names);
	rest = buf_slice(&names);
	while (slice_next_word(&rest, " ", &name)) {
		buf_append_text(out, out->length == 0 ? "" : ", ");
		buf_append_printable(out, name);
	}
	buf_free(&names);
}

static void
examine_name(const struct examination *on, const struct tls_chain *chain)
{
	const char *host = on->parameters->myhostname;
	struct buf  names = BUF(128u * 1024);

	append_names(chain, &names);
	report_add(
		on->report, PROBLEM_WARNING, on->file, on->line,
		"the %s certificate is for %.*s, not for myhostname (%s): clients that "
		"are told this name refuse it",
		tls_chain_kind(chain),
		SLICE_ARGS(slice_first(names.length > 0 ? buf_slice(&names) : SLICE("no host name"),
	                               NAMES_MOST)),
		host);
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
examine_issuers(const struct examination *on, const struct tls_chain *chain)
{
	X509 *last = chain->certificate;
	char  name[200] = "";

	/* Each one leads one further up; a file with no chain still has the first. */
	for (int i = -1; i <= sk_X509_num(chain->issuers); i++) {
		X509 *issuer = issuer_in_chain(chain->issuers, last);

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
	           tls_chain_kind(chain), name);
}

/* With certificates for several names, one for this host is enough. */
static void
examine_chains(const struct examination *on, struct slice bundle)
{
	struct error      error = ERROR_NONE;
	struct tls_chains chains = TLS_CHAINS_NONE;
	const char       *host = on->parameters->myhostname;
	bool              is_named = false;

	if (!tls_chains_read(bundle, NULL, &chains, &error))
		report_add(on->report, PROBLEM_ERROR, on->file, on->line, "%s", error.text);
	if (chains.list.count > 0 && chains.problems.length > 0)
		report_add(on->report, PROBLEM_WARNING, on->file, on->line, "%s",
		           buf_text(&chains.problems));
	for (size_t i = 0; error.text[0] == '\0' && i < chains.list.count; i++) {
		const struct tls_chain *chain = &chains.list.items[i];

		examine_dates(on, chain);
		examine_issuers(on, chain);
		is_named |= X509_check_host(chain->certificate, host, strlen(host), 0, NULL) == 1;
	}
	for (size_t i = 0; error.text[0] == '\0' && !is_named && i < chains.list.count; i++)
		examine_name(on, &chains.list.items[i]);
	tls_chains_free(&chains);
	tls_errors_clear();
}

void
tls_health_check(const struct parameters *parameters, const char *file, unsigned line,
                 struct report *report)
{
	struct examination on = { parameters, file, line, report };
	struct buf         named = BUF(TLS_NAMED_MOST), bundle = BUF(TLS_BUNDLE_MOST);
	struct error       error = ERROR_NONE;

	if (tls_files_named(parameters, &named) &&
	    tls_files_read(buf_slice(&named), NULL, &bundle, &error) && bundle.length > 0) {
		examine_files(&on, buf_slice(&bundle));
		examine_chains(&on, buf_slice(&bundle));
	}
	buf_free(&named);
	tls_bundle_free(&bundle);
}
