/* tls_chain.c - see tls_chain.h. */
#include "lib/tls/tls_chain.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "lib/ipc/messages.h"
#include "lib/tls/tls_files.h"
#include "lib/tls/tls_internal.h"

/* ---- chains ---- */

static void
chain_clear(struct tls_chain *chain)
{
	EVP_PKEY_free(chain->key);
	X509_free(chain->certificate);
	sk_X509_pop_free(chain->issuers, X509_free);
	free(chain->key_file);
	free(chain->certificate_file);
	free(chain->server_name);
	*chain = (struct tls_chain){ .key = NULL };
}

void
tls_chains_free(struct tls_chains *chains)
{
	for (size_t i = 0; i < chains->list.count; i++)
		chain_clear(&chains->list.items[i]);
	ARRAY_FREE(&chains->list);
	buf_free(&chains->problems);
}

const char *
tls_chain_kind(const struct tls_chain *chain)
{
	const char *name = EVP_PKEY_get0_type_name(chain->key);

	return name == NULL ? "" : name;
}

bool
tls_chain_is_current(const struct tls_chain *chain)
{
	return X509_cmp_current_time(X509_get0_notBefore(chain->certificate)) < 0 &&
	       X509_cmp_current_time(X509_get0_notAfter(chain->certificate)) > 0;
}

/* A name with anything but a host's letters is nobody's. */
static bool
append_name(struct buf *out, const ASN1_STRING *name)
{
	struct slice text = slice_of((const char *)ASN1_STRING_get0_data(name),
	                             (size_t)ASN1_STRING_length(name));

	if (text.length > 0 && text.data[text.length - 1] == '.')
		text.length--;
	if (text.length == 0 || text.length > 253 || !slice_is_ascii(text) ||
	    slice_has_control(text) || slice_contains_byte(text, ' '))
		return true;
	return (out->length == 0 || buf_append_byte(out, ' ')) && buf_append_lower(out, text);
}

bool
tls_chain_names(const struct tls_chain *chain, struct buf *out)
{
	GENERAL_NAMES *names =
		X509_get_ext_d2i(chain->certificate, NID_subject_alt_name, NULL, NULL);
	bool has_names = false, is_ok = true;

	for (int i = 0; is_ok && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS)
			continue;
		has_names = true;
		is_ok = append_name(out, name->d.dNSName);
	}
	GENERAL_NAMES_free(names);
	if (has_names || !is_ok)
		return is_ok;
	const X509_NAME *subject = X509_get_subject_name(chain->certificate);
	int              at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	return at < 0 ||
	       append_name(out, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

/* ---- reading ---- */

struct reading {
	const struct tls_chains *older;
	struct tls_chains       *out;
	struct tls_chain         chain; /* what was read of one so far */
	struct error            *error; /* the first problem, for a start */
	bool                     has_failed;
};

static bool
out_of_memory(struct reading *reading)
{
	reading->has_failed = true;
	return error_set(reading->error, "out of memory");
}

static bool
is_same_file(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* For a name (NULL: its own) the certificate is there already. */
static bool
has_certificate(const struct tls_chains *chains, const X509 *certificate, const char *server_name)
{
	for (size_t i = 0; i < chains->list.count; i++) {
		const struct tls_chain *one = &chains->list.items[i];

		if (X509_cmp(one->certificate, certificate) == 0 &&
		    (one->server_name == NULL ? server_name == NULL
		                              : is_same_file(one->server_name, server_name)))
			return true;
	}
	return false;
}

static bool
take_over(struct reading *reading, const struct tls_chain *old)
{
	struct tls_chain copy = { .key = old->key,
		                  .certificate = old->certificate,
		                  .key_file = strdup(old->key_file),
		                  .certificate_file = strdup(old->certificate_file) };
	bool             is_ok = copy.key_file != NULL && copy.certificate_file != NULL;

	if (old->server_name != NULL)
		is_ok = (copy.server_name = strdup(old->server_name)) != NULL && is_ok;
	if (old->issuers != NULL)
		copy.issuers = X509_chain_up_ref(old->issuers);
	EVP_PKEY_up_ref(copy.key);
	X509_up_ref(copy.certificate);
	if (is_ok && ARRAY_PUSH(&reading->out->list, copy))
		return true;
	chain_clear(&copy);
	return out_of_memory(reading);
}

/*
 * A file is no good. True when reading may go on: what the file gave before is served instead, or
 * it is one among others in a directory.
 */
static bool
refuse(struct reading *reading, const struct msg_tls_file *file, const char *also,
       const struct error *why)
{
	struct buf  *problems = &reading->out->problems;
	char         path[4096];
	struct slice parameter = file->parameter;

	if (reading->older == NULL && file->role != TLS_FILE_MEMBER) {
		reading->has_failed = true;
		return error_set(reading->error, "%.*s: %s", SLICE_ARGS(parameter), why->text);
	}
	if (problems->length + strlen(why->text) + 2 < TLS_PROBLEMS_MOST)
		buf_append_format(problems, "%s%s", problems->length == 0 ? "" : "; ", why->text);
	snprintf(path, sizeof(path), "%.*s", SLICE_ARGS(file->path));
	for (size_t i = 0; reading->older != NULL && i < reading->older->list.count; i++) {
		const struct tls_chain *old = &reading->older->list.items[i];
		bool                    is_of_file = is_same_file(old->key_file, path) ||
		                  is_same_file(old->certificate_file, path) ||
		                  is_same_file(old->key_file, also) ||
		                  is_same_file(old->certificate_file, also);

		if (is_of_file &&
		    !has_certificate(reading->out, old->certificate, old->server_name) &&
		    !take_over(reading, old))
			return false;
	}
	return true;
}

/* A certificate that is over replaces none that is not. */
static const struct tls_chain *
better_one(const struct reading *reading, const struct tls_chain *chain)
{
	if (reading->older == NULL || tls_chain_is_current(chain))
		return NULL;
	for (size_t i = 0; i < reading->older->list.count; i++) {
		const struct tls_chain *old = &reading->older->list.items[i];

		if (is_same_file(old->certificate_file, chain->certificate_file) &&
		    EVP_PKEY_get_id(old->key) == EVP_PKEY_get_id(chain->key) &&
		    X509_cmp(old->certificate, chain->certificate) != 0 &&
		    tls_chain_is_current(old))
			return old;
	}
	return NULL;
}

/* The chain read so far is complete; file is the one that says so. */
static bool
finish(struct reading *reading, const struct msg_tls_file *file)
{
	struct tls_chain *chain = &reading->chain;
	struct error      why = ERROR_NONE;
	const char       *name =
                chain->certificate_file != NULL ? chain->certificate_file : chain->key_file;

	if (chain->key == NULL && chain->certificate == NULL)
		return true;
	tls_errors_clear();
	if (chain->certificate == NULL)
		error_set(&why, "%s: a private key without a certificate behind it", name);
	else if (chain->key == NULL)
		error_set(&why, "%s: a certificate without its private key", name);
	else if (X509_check_private_key(chain->certificate, chain->key) != 1)
		error_set(&why, "%s: the private key does not belong to the certificate", name);
	else if (better_one(reading, chain) != NULL)
		error_set(&why, "%s: the new certificate has expired, or is not valid yet", name);
	tls_errors_clear();
	if (why.text[0] == '\0' && file->server_name.length > 0) {
		chain->server_name = strndup(file->server_name.data, file->server_name.length);
		if (chain->server_name == NULL)
			return out_of_memory(reading);
	}
	if (why.text[0] == '\0') {
		if (!ARRAY_PUSH(&reading->out->list, *chain))
			return out_of_memory(reading);
		*chain = (struct tls_chain){ .key = NULL };
		return true;
	}
	bool is_ok = refuse(reading, file, chain->key_file, &why);
	chain_clear(chain);
	return is_ok;
}

/* ---- PEM ---- */

/* What one file holds that matters. */
struct contents {
	ARRAY(EVP_PKEY *) keys;
	ARRAY(X509 *) certificates;
	ARRAY(char) order; /* k or c, as they stand in the file */
};

static void
contents_free(struct contents *contents)
{
	for (size_t i = 0; i < contents->keys.count; i++)
		EVP_PKEY_free(contents->keys.items[i]);
	for (size_t i = 0; i < contents->certificates.count; i++)
		X509_free(contents->certificates.items[i]);
	ARRAY_FREE(&contents->keys);
	ARRAY_FREE(&contents->certificates);
	ARRAY_FREE(&contents->order);
}

/* One PEM block. Blocks of other types (parameters, requests) are left out. */
static bool
take_block(struct contents *contents, const char *name, const unsigned char *data, long length,
           struct slice path, struct error *error)
{
	const unsigned char *at = data;

	if (strstr(name, "PRIVATE KEY") != NULL) {
		EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, length);

		if (key == NULL)
			return tls_error_take(error, "%.*s: bad private key", SLICE_ARGS(path));
		if (ARRAY_PUSH(&contents->keys, key))
			return ARRAY_PUSH(&contents->order, 'k');
		EVP_PKEY_free(key);
		return error_set(error, "out of memory");
	}
	if (strcmp(name, PEM_STRING_X509) != 0 && strcmp(name, PEM_STRING_X509_OLD) != 0)
		return true;
	X509 *certificate = d2i_X509(NULL, &at, length);
	if (certificate == NULL)
		return tls_error_take(error, "%.*s: bad certificate", SLICE_ARGS(path));
	if (ARRAY_PUSH(&contents->certificates, certificate))
		return ARRAY_PUSH(&contents->order, 'c');
	X509_free(certificate);
	return error_set(error, "out of memory");
}

static bool
read_blocks(BIO *bio, struct slice path, struct contents *contents, struct error *error)
{
	char          *name = NULL, *header = NULL;
	unsigned char *data = NULL;
	long           length = 0;
	bool           ok = true;

	while (ok && PEM_read_bio(bio, &name, &header, &data, &length) == 1) {
		/* A daemon has nobody to ask for a passphrase. */
		if (strstr(name, "PRIVATE KEY") != NULL &&
		    (strstr(name, "ENCRYPTED") || strstr(header, "ENCRYPTED")))
			ok = error_set(error, "%.*s: the private key is protected by a passphrase",
			               SLICE_ARGS(path));
		else
			ok = take_block(contents, name, data, length, path, error);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(data, length > 0 ? (size_t)length : 0);
		name = header = NULL;
		data = NULL;
	}
	if (!ok)
		return false;
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return tls_error_take(error, "%.*s: damaged PEM block", SLICE_ARGS(path));
	return true;
}

static bool
contents_read(const struct msg_tls_file *file, struct contents *contents, struct error *error)
{
	bool ok;

	if (file->problem.length > 0)
		return error_set(error, "%.*s", SLICE_ARGS(file->problem));
	tls_errors_clear();
	BIO *bio = BIO_new_mem_buf(file->content.data, (int)file->content.length);
	if (bio == NULL)
		return error_set(error, "out of memory");
	ok = read_blocks(bio, file->path, contents, error);
	BIO_free(bio);
	tls_errors_clear();
	return ok;
}

/* ---- lists and pairs: the order counts ---- */

static bool
name_by(char **name, struct slice path)
{
	if (*name == NULL)
		*name = strndup(path.data, path.length);
	return *name != NULL;
}

static bool
add_certificate(struct reading *reading, X509 *certificate, struct slice path)
{
	struct tls_chain *chain = &reading->chain;

	X509_up_ref(certificate);
	if (chain->certificate == NULL) {
		chain->certificate = certificate;
		return name_by(&chain->certificate_file, path) || out_of_memory(reading);
	}
	if (chain->issuers == NULL)
		chain->issuers = sk_X509_new_null();
	if (chain->issuers != NULL && sk_X509_push(chain->issuers, certificate) > 0)
		return true;
	X509_free(certificate);
	return out_of_memory(reading);
}

static bool
add_key(struct reading *reading, EVP_PKEY *key, struct slice path)
{
	EVP_PKEY_up_ref(key);
	reading->chain.key = key;
	return name_by(&reading->chain.key_file, path) || out_of_memory(reading);
}

/* A key that ends one file goes with the certificate that begins the next. */
static bool
walk_contents(struct reading *reading, const struct msg_tls_file *file,
              const struct contents *contents)
{
	size_t keys = 0, certificates = 0;

	for (size_t i = 0; i < contents->order.count; i++) {
		bool is_key = contents->order.items[i] == 'k';

		if (is_key && file->role == TLS_FILE_CERTIFICATE)
			continue; /* the pair's key file says which key */
		if (!is_key && file->role == TLS_FILE_KEY)
			continue;
		if (is_key && reading->chain.key != NULL) {
			if (file->role == TLS_FILE_KEY)
				continue;
			if (!finish(reading, file))
				return false;
		}
		if (is_key ? !add_key(reading, contents->keys.items[keys++], file->path)
		           : !add_certificate(reading, contents->certificates.items[certificates++],
		                              file->path))
			return false;
	}
	return true;
}

/* What a file of this role must have brought; false: worded. */
static bool
brings_something(const struct msg_tls_file *file, const struct contents *contents,
                 struct error *error)
{
	int length = (int)file->path.length;

	switch ((enum tls_file_role)file->role) {
	case TLS_FILE_CHAIN:
		return contents->order.count > 0 ||
		       error_set(error, "%.*s: no private key and certificate in it", length,
		                 file->path.data);
	case TLS_FILE_CERTIFICATE:
		return contents->certificates.count > 0 ||
		       error_set(error, "%.*s: no certificate in it", length, file->path.data);
	case TLS_FILE_KEY:
		return contents->keys.count > 0 ||
		       error_set(error, "%.*s: no private key in it", length, file->path.data);
	case TLS_FILE_MEMBER:
	case TLS_FILE_MAP: break;
	}
	return true;
}

static bool
read_listed(struct reading *reading, const struct msg_tls_file *file)
{
	struct contents contents = { 0 };
	struct error    why = ERROR_NONE;
	bool            is_ok;

	/* Two pairs: the certificate of the second does not go with the key of the first. */
	if (file->role == TLS_FILE_CERTIFICATE && !finish(reading, file))
		return false;
	if (contents_read(file, &contents, &why) && brings_something(file, &contents, &why)) {
		is_ok = walk_contents(reading, file, &contents);
	} else {
		is_ok = refuse(reading, file, reading->chain.key_file, &why);
		chain_clear(&reading->chain);
	}
	if (is_ok && reading->chain.certificate != NULL && file->role == TLS_FILE_CHAIN)
		is_ok = finish(reading, file);
	if (is_ok && file->role == TLS_FILE_KEY)
		is_ok = finish(reading, file);
	contents_free(&contents);
	return is_ok;
}

/* ---- directories: keys find their certificates ---- */

struct member {
	struct msg_tls_file file;
	struct contents     contents;
};
struct members {
	ARRAY(struct member) list;
};

/* The file that begins with the certificate of this key, and has most behind it (fullchain.pem). */
static const struct member *
certificates_of(const struct members *members, EVP_PKEY *key)
{
	const struct member *best = NULL;

	for (size_t i = 0; i < members->list.count; i++) {
		const struct member *one = &members->list.items[i];

		if (one->contents.certificates.count == 0 ||
		    X509_check_private_key(one->contents.certificates.items[0], key) != 1)
			continue;
		if (best == NULL ||
		    one->contents.certificates.count > best->contents.certificates.count)
			best = one;
	}
	tls_errors_clear();
	return best;
}

static bool
pair_up(struct reading *reading, const struct members *members, const struct member *with_key,
        EVP_PKEY *key)
{
	const struct member *with = certificates_of(members, key);
	struct error         why = ERROR_NONE;

	if (with == NULL) {
		error_set(&why, "%.*s: no certificate beside it belongs to this private key",
		          SLICE_ARGS(with_key->file.path));
		return refuse(reading, &with_key->file, NULL, &why);
	}
	if (has_certificate(reading->out, with->contents.certificates.items[0], NULL))
		return true; /* the same key, in a second file */
	if (!add_key(reading, key, with_key->file.path))
		return false;
	for (size_t i = 0; i < with->contents.certificates.count; i++)
		if (!add_certificate(reading, with->contents.certificates.items[i],
		                     with->file.path))
			return false;
	return finish(reading, &with->file);
}

static bool
members_finish(struct reading *reading, struct members *members)
{
	bool is_ok = true;

	for (size_t i = 0; i < members->list.count; i++) {
		const struct member *one = &members->list.items[i];

		for (size_t j = 0; is_ok && j < one->contents.keys.count; j++)
			is_ok = pair_up(reading, members, one, one->contents.keys.items[j]);
	}
	for (size_t i = 0; i < members->list.count; i++)
		contents_free(&members->list.items[i].contents);
	ARRAY_FREE(&members->list);
	return is_ok;
}

static bool
members_add(struct reading *reading, struct members *members, const struct msg_tls_file *file)
{
	struct member one = { .file = *file };
	struct error  why = ERROR_NONE;

	if (!contents_read(file, &one.contents, &why)) {
		contents_free(&one.contents);
		return refuse(reading, file, NULL, &why);
	}
	if (ARRAY_PUSH(&members->list, one))
		return true;
	contents_free(&one.contents);
	return out_of_memory(reading);
}

/* ---- the whole ---- */

static bool
read_bundle(struct reading *reading, struct slice bundle)
{
	struct msg_tls_file file = { 0 }, last = { 0 };
	struct members      members = { 0 };
	struct slice        directory = SLICE_EMPTY;
	bool                is_ok = true;

	while (is_ok && msg_tls_file_next(&bundle, &file)) {
		if (!slice_equal(directory, file.directory))
			is_ok = members_finish(reading, &members);
		/* A key that is left alone goes with nothing in a directory, or of another name. */
		if (is_ok && ((last.role != file.role && file.role == TLS_FILE_MEMBER) ||
		              !slice_equal_fold(last.server_name, file.server_name)))
			is_ok = finish(reading, &last);
		directory = file.directory;
		if (is_ok)
			is_ok = file.role == TLS_FILE_MEMBER ? members_add(reading, &members, &file)
			                                     : read_listed(reading, &file);
		last = file;
	}
	bool is_finished = members_finish(reading, &members);
	return is_ok && is_finished && finish(reading, &last);
}

bool
tls_chains_read(struct slice bundle, const struct tls_chains *older, struct tls_chains *chains,
                struct error *error)
{
	struct reading reading = { .older = older, .out = chains, .error = error };
	bool           is_ok = read_bundle(&reading, bundle);

	chain_clear(&reading.chain);
	if (!is_ok)
		return false;
	if (chains->list.count > 0)
		return true;
	if (chains->problems.length > 0)
		return error_set(error, "smtpd_tls_chain_files: %s", buf_text(&chains->problems));
	return error_set(error, "smtpd_tls_chain_files: no private key and certificate in it");
}
