/*
 * tls_files.h - the files with the server's keys and certificates: which, their bytes, a change.
 *
 * Reading is apart from understanding: master, which may open the files, reads them into a bundle
 * and looks for changes; daemons, which may not, make keys and certificates of it. Nothing here
 * parses what is in the files.
 */
#ifndef DAKIYA_TLS_TLS_FILES_H
#define DAKIYA_TLS_TLS_FILES_H

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/conf/parameters.h"

#define TLS_BUNDLE_MOST (64u * 1024 * 1024)
#define TLS_NAMED_MOST  (256u * 1024)

enum tls_file_role {
	TLS_FILE_CHAIN,       /* of smtpd_tls_chain_files, in its order */
	TLS_FILE_MEMBER,      /* of a directory named there */
	TLS_FILE_CERTIFICATE, /* smtpd_tls_cert_file and others; its key is the next */
	TLS_FILE_KEY,
	TLS_FILE_MAP, /* tls_server_sni_maps: a list of tables; never in a bundle */
};

/*
 * How the tables of tls_server_sni_maps are read: lookup tables are none of this floor's business.
 * Calls entry for each row of all tables; false and *error when one cannot be read, or entry said
 * so.
 */
typedef bool tls_map_entry(struct slice name, struct slice value, void *context);
typedef bool tls_map_reader(const char *tables, tls_map_entry *entry, void *context,
                            struct error *error);

/* Whether the parameters want TLS at all. */
bool tls_server_is_wanted(const struct parameters *parameters);

/*
 * What the parameters name, as a text that compares: equal texts are equal sets of files. Empty
 * when nothing is named. False when memory is out.
 */
bool tls_files_named(const struct parameters *parameters, struct buf *out);
/* The same for what a client shows to servers (smtp_tls_chain_files ...). */
bool tls_client_files_named(const struct parameters *parameters, struct buf *out);
/*
 * What stat says of all of them; another text when a file was replaced, came or went. Without a
 * reader (NULL) tables are passed over. False and *error when it is too long, or a table cannot be
 * read.
 */
bool tls_files_fingerprint(struct slice named, tls_map_reader *reader, struct buf *out,
                           struct error *error);
/*
 * Their bytes as a list of tls_file records. What cannot be read is in there with its problem; a
 * directory gives its files, and those of its directories, by name. False as above. The bundle
 * holds private keys: wipe it.
 */
bool tls_files_read(struct slice named, tls_map_reader *reader, struct buf *bundle,
                    struct error *error);
void tls_bundle_free(struct buf *bundle);

#endif
