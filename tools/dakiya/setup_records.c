/*
 * setup_records.c - the DNS records that a domain needs, as they stand in a zone file.
 *
 * RFC 5321 5.1 (MX), 7208 (SPF), 7489 (DMARC), 7672 (TLSA), 6186 and 8314 (SRV). Only what exists
 * here is published.
 */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <arpa/inet.h>

#include "lib/base/encode.h"
#include "lib/conf/snapshot.h"
#include "lib/tls/tls_chain.h"
#include "lib/tls/tls_files.h"
#include "tools/dakiya/setup.h"

static void
record(const char *name, const char *type, const char *data)
{
	int blanks = 36 - (int)strlen(name);

	printf("%s.%*s IN %-5s %s\n", name, blanks > 0 ? blanks : 0, "", type, data);
}

static void
record_below(const char *label, const struct setup *setup, const char *type, const char *data)
{
	char name[SETUP_NAME_MOST + 60];

	snprintf(name, sizeof(name), "%s.%s", label, setup->domain);
	record(name, type, data);
}

/* ---- TLSA ---- */

/* The first certificate that will be served; false when there is none yet. */
static bool
key_digest(const struct setup *setup, unsigned char digest[EVP_MAX_MD_SIZE], unsigned *length)
{
	struct buf        files = BUF(SETUP_PATH_MOST * 2), text = BUF(SETUP_PATH_MOST * 3);
	struct buf        named = BUF(TLS_NAMED_MOST), bundle = BUF(TLS_BUNDLE_MOST);
	struct tls_chains chains = TLS_CHAINS_NONE;
	struct error      error = ERROR_NONE;
	struct snapshot  *snapshot = NULL;
	bool              is_ok = false;

	if (setup_value(setup, "smtpd_tls_chain_files", &files) &&
	    buf_append_format(&text, "config_directory = %s\nsmtpd_tls_chain_files = %s\n",
	                      setup->config, buf_text(&files)))
		snapshot = snapshot_from_text(buf_text(&text), &error);
	if (snapshot != NULL && tls_files_named(snapshot_parameters(snapshot), &named) &&
	    tls_files_read(buf_slice(&named), NULL, &bundle, &error) &&
	    tls_chains_read(buf_slice(&bundle), NULL, &chains, &error)) {
		unsigned char *der = NULL;
		int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(chains.list.items[0].certificate),
		                           &der);

		is_ok = size > 0 &&
		        EVP_Digest(der, (size_t)size, digest, length, EVP_sha256(), NULL) == 1;
		OPENSSL_free(der);
	}
	tls_chains_free(&chains);
	tls_bundle_free(&bundle);
	buf_free(&named);
	buf_free(&text);
	buf_free(&files);
	snapshot_destroy(&snapshot);
	return is_ok;
}

static void
print_tlsa(const struct setup *setup)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned      length = 0;
	struct buf    data = BUF(500);
	char          name[SETUP_NAME_MOST + 60];

	if (!key_digest(setup, digest, &length))
		return;
	printf("\n; With DNSSEC only: the key that other hosts must find here. It changes with the "
	       "key, so publish\n; the next one first, and keep the key when the certificate is "
	       "renewed (certbot --reuse-key).\n");
	buf_append_text(&data, "3 1 1 ");
	hex_encode(slice_of((const char *)digest, length), &data);
	snprintf(name, sizeof(name), "_25._tcp.%s", setup->hostname);
	record(name, "TLSA", buf_text(&data));
	buf_free(&data);
}

/* ---- the others ---- */

static void
print_addresses(const struct setup *setup)
{
	struct setup_addresses addresses;
	struct in6_addr        six;

	setup_public_addresses(setup, &addresses);
	if (addresses.is_guess)
		printf("; 192.0.2.1 stands for this host's public address (--address)\n");
	for (size_t i = 0; i < addresses.count; i++)
		record(setup->hostname,
		       inet_pton(AF_INET6, addresses.text[i], &six) == 1 ? "AAAA" : "A",
		       addresses.text[i]);
}

static void
print_services(const struct setup *setup)
{
	static const struct {
		const char *label;
		unsigned    port;
	} services[] = {
		{ "_submissions._tcp", 465 },
		{ "_submission._tcp", 587 },
		{ "_pop3s._tcp", 995 },
	};
	char data[SETUP_NAME_MOST + 40];

	printf("\n; Where mail programs find their servers (RFC 6186, 8314)\n");
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		snprintf(data, sizeof(data), "0 1 %u %s.", services[i].port, setup->hostname);
		record_below(services[i].label, setup, "SRV", data);
	}
	record_below("_imaps._tcp", setup, "SRV", "0 0 0 .");
	record_below("_imap._tcp", setup, "SRV", "0 0 0 .");
}

void
setup_records(struct setup *setup)
{
	char data[SETUP_NAME_MOST + 100];

	printf("\n; ---- publish in the zone %s ----\n", setup->domain);
	snprintf(data, sizeof(data), "10 %s.", setup->hostname);
	record(setup->domain, "MX", data);
	print_addresses(setup);
	printf("\n; Who may send mail of this domain (SPF), and what becomes of other mail "
	       "(DMARC)\n");
	record(setup->domain, "TXT", "\"v=spf1 mx -all\"");
	record(setup->hostname, "TXT", "\"v=spf1 a -all\"");
	snprintf(data, sizeof(data), "\"v=DMARC1; p=none; rua=mailto:postmaster@%s\"",
	         setup->domain);
	record_below("_dmarc", setup, "TXT", data);
	print_services(setup);
	print_tlsa(setup);
	printf("\n; The reverse name (PTR) of the address is set by the provider: %s.\n",
	       setup->hostname);
	printf("\nMail programs: user name %s; out %s port 465 (TLS), in %s port 995 (POP3, TLS)\n",
	       setup->user[0] != '\0' ? setup->user : "the address", setup->hostname,
	       setup->hostname);
}
