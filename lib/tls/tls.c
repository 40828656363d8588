/* tls.c - see tls.h: the transport that both roles put on a stream, and what is known of it. */
#include "lib/tls/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/tls/tls_internal.h"

/* ---- errors ---- */

void
tls_errors_clear(void)
{
	ERR_clear_error();
}

bool
tls_error_take(struct error *error, const char *format, ...)
{
	char          context[300];
	va_list       arguments;
	unsigned long code = ERR_get_error();
	const char   *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	va_start(arguments, format);
	vsnprintf(context, sizeof(context), format, arguments);
	va_end(arguments);
	ERR_clear_error();
	if (code == 0)
		return error_set(error, "%s", context);
	if (reason == NULL)
		return error_set(error, "%s: error %lx", context, code);
	return error_set(error, "%s: %s", context, reason);
}

/* ---- the BIO: bytes between OpenSSL and the socket, unbuffered ---- */

static bool
is_try_again(int error_number)
{
	return error_number == EAGAIN || error_number == EWOULDBLOCK || error_number == EINTR;
}

static int
bio_read(BIO *bio, char *data, size_t size, size_t *got)
{
	struct tls_connection *tls = BIO_get_data(bio);
	ssize_t                count = recv(tls->fd, data, size, 0);

	BIO_clear_retry_flags(bio);
	*got = count > 0 ? (size_t)count : 0;
	if (count > 0)
		return 1;
	if (count < 0 && is_try_again(errno))
		BIO_set_retry_read(bio);
	if (count == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	return 0;
}

static int
bio_write(BIO *bio, const char *data, size_t size, size_t *sent)
{
	struct tls_connection *tls = BIO_get_data(bio);
	ssize_t                count = send(tls->fd, data, size, MSG_NOSIGNAL);

	BIO_clear_retry_flags(bio);
	*sent = count > 0 ? (size_t)count : 0;
	if (count >= 0)
		return 1;
	if (is_try_again(errno))
		BIO_set_retry_write(bio);
	return 0;
}

static long
bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return command == BIO_CTRL_FLUSH;
}

static int
bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

BIO_METHOD *
tls_bio_method_create(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

	if (method == NULL)
		return NULL;
	if (BIO_meth_set_read_ex(method, bio_read) && BIO_meth_set_write_ex(method, bio_write) &&
	    BIO_meth_set_ctrl(method, bio_control) && BIO_meth_set_create(method, bio_create))
		return method;
	BIO_meth_free(method);
	return NULL;
}

/* ---- the transport ---- */

/* What a call that returned result means; words *error for STREAM_ERROR. */
static enum stream_result
outcome(struct tls_connection *tls, int result, int errno_then, const char *during, short *wants,
        struct error *error)
{
	switch (SSL_get_error(tls->ssl, result)) {
	case SSL_ERROR_WANT_READ: *wants = POLLIN; return STREAM_AGAIN;
	case SSL_ERROR_WANT_WRITE: *wants = POLLOUT; return STREAM_AGAIN;
	case SSL_ERROR_ZERO_RETURN: return STREAM_EOF;
	case SSL_ERROR_SYSCALL:
		tls->is_broken = true;
		errno = errno_then;
		if (errno_then != 0)
			error_set_errno(error, "TLS %s", during);
		else
			error_set(error, "TLS %s: connection closed", during);
		return STREAM_ERROR;
	default: /* SSL_ERROR_SSL: an OpenSSL constant, not our enum */
		tls->is_broken = true;
		/* A peer that closes the connection without close_notify: many do. What was
		 * cut off is never given as data, so it is an end like any other. */
		if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
			tls_error_take(error, "TLS %s", during);
			return tls->is_established ? STREAM_EOF : STREAM_ERROR;
		}
		tls_error_take(error, "TLS %s", during);
		return STREAM_ERROR;
	}
}

static enum stream_result
transport_read(void *state, int fd, char *data, size_t size, size_t *got, short *wants,
               struct error *error)
{
	struct tls_connection *tls = state;
	int                    result;

	*got = 0;
	if (tls->is_broken) {
		error_set(error, "TLS read: the connection has failed before");
		return STREAM_ERROR;
	}
	tls->fd = fd;
	tls_errors_clear();
	errno = 0;
	result = SSL_read_ex(tls->ssl, data, size, got);
	if (result == 1) {
		tls->is_established = true;
		return STREAM_OK;
	}
	return outcome(tls, result, errno, "read", wants, error);
}

static enum stream_result
transport_write(void *state, int fd, struct slice bytes, size_t *sent, short *wants,
                struct error *error)
{
	struct tls_connection *tls = state;
	int                    result;

	*sent = 0;
	if (bytes.length == 0)
		return STREAM_OK;
	if (tls->is_broken) {
		error_set(error, "TLS write: the connection has failed before");
		return STREAM_ERROR;
	}
	tls->fd = fd;
	tls_errors_clear();
	errno = 0;
	result = SSL_write_ex(tls->ssl, bytes.data, bytes.length, sent);
	if (result == 1)
		return STREAM_OK;
	return outcome(tls, result, errno, "write", wants, error);
}

static bool
transport_has_pending(void *state)
{
	const struct tls_connection *tls = state;

	return SSL_pending(tls->ssl) > 0;
}

static void
transport_close(void *state, int fd)
{
	struct tls_connection *tls = state;

	tls->fd = fd;
	tls_errors_clear();
	if (!tls->is_broken && SSL_is_init_finished(tls->ssl))
		SSL_shutdown(tls->ssl); /* sends close_notify; does not wait for the peer's */
	SSL_free(tls->ssl);
	tls_errors_clear();
	free(tls);
}

const struct stream_transport tls_transport = {
	.read = transport_read,
	.write = transport_write,
	.has_pending = transport_has_pending,
	.close = transport_close,
};

static struct tls_connection *
connection_of(const struct stream *stream)
{
	return stream_transport_state(stream, &tls_transport);
}

struct tls_connection *
tls_connection_start(SSL_CTX *context, BIO_METHOD *bio_method, struct stream *stream,
                     bool is_server, struct error *error)
{
	struct tls_connection *tls;
	BIO                   *bio;

	if (connection_of(stream) != NULL) {
		error_set(error, "TLS is active already");
		return NULL;
	}
	if (stream_fd(stream) < 0) {
		error_set(error, "TLS needs a socket");
		return NULL;
	}
	tls = calloc(1, sizeof(*tls));
	if (tls == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	tls_errors_clear();
	tls->fd = stream_fd(stream);
	tls->ssl = SSL_new(context);
	bio = BIO_new(bio_method);
	if (tls->ssl == NULL || bio == NULL) {
		tls_error_take(error, "cannot make a TLS connection");
		SSL_free(tls->ssl);
		BIO_free(bio);
		free(tls);
		return NULL;
	}
	BIO_set_data(bio, tls);
	SSL_set_bio(tls->ssl, bio, bio);
	if (is_server)
		SSL_set_accept_state(tls->ssl);
	else
		SSL_set_connect_state(tls->ssl);
	/* What the peer sent in clear after STARTTLS must never count as said under TLS. */
	stream_drop_input(stream);
	stream_set_transport(stream, &tls_transport, tls);
	return tls;
}

enum stream_result
tls_handshake(struct stream *stream, short *wants, struct error *error)
{
	struct tls_connection *tls = connection_of(stream);
	enum stream_result     result;
	int                    answer;

	if (tls == NULL) {
		error_set(error, "TLS was not started");
		return STREAM_ERROR;
	}
	if (tls->is_broken) {
		error_set(error, "%s", tls->error.text);
		return STREAM_ERROR;
	}
	tls_errors_clear();
	errno = 0;
	answer = SSL_do_handshake(tls->ssl);
	if (answer == 1) {
		tls->is_established = true;
		return STREAM_OK;
	}
	result = outcome(tls, answer, errno, "handshake", wants, &tls->error);
	if (result == STREAM_EOF) {
		error_set(&tls->error, "TLS handshake: connection closed");
		tls->is_broken = true;
		result = STREAM_ERROR;
	}
	if (result == STREAM_ERROR && error != NULL)
		*error = tls->error;
	return result;
}

/* ---- what is known of a connection ---- */

bool
tls_is_active(const struct stream *stream)
{
	const struct tls_connection *tls = connection_of(stream);

	return tls != NULL && SSL_is_init_finished(tls->ssl);
}

/* " server-signature RSA-PSS (2048 bits) server-digest SHA256", nothing when not known. */
static void
append_signature(struct buf *out, const char *role, int type_nid, int digest_nid,
                 const X509 *certificate)
{
	EVP_PKEY   *key = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
	char        group[40];
	const char *name = type_nid == EVP_PKEY_RSA       ? "RSA"
	                   : type_nid == EVP_PKEY_RSA_PSS ? "RSA-PSS"
	                   : type_nid == EVP_PKEY_EC      ? "ECDSA"
	                                                  : OBJ_nid2sn(type_nid);

	if (type_nid == NID_undef || key == NULL || name == NULL)
		return;
	buf_append_format(out, " %s-signature %s", role, name);
	if (type_nid == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL))
		buf_append_format(out, " (%s)", group);
	else if (type_nid == EVP_PKEY_RSA || type_nid == EVP_PKEY_RSA_PSS)
		buf_append_format(out, " (%d bits)", EVP_PKEY_get_bits(key));
	if (digest_nid != NID_undef)
		buf_append_format(out, " %s-digest %s", role, OBJ_nid2sn(digest_nid));
}

static void
append_key_exchange(struct buf *out, SSL *ssl)
{
	EVP_PKEY *key = NULL;
	char      group[40];

	if (!SSL_get_peer_tmp_key(ssl, &key) || key == NULL)
		return;
	if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL))
		buf_append_format(out, " key-exchange ECDHE (%s)", group);
	else if (EVP_PKEY_get_id(key) == EVP_PKEY_DH)
		buf_append_format(out, " key-exchange DHE (%d bits)", EVP_PKEY_get_bits(key));
	else
		buf_append_format(out, " key-exchange %s", OBJ_nid2sn(EVP_PKEY_get_id(key)));
	EVP_PKEY_free(key);
}

static void
describe(struct buf *out, SSL *ssl)
{
	bool is_server = SSL_is_server(ssl) == 1;
	int  own_type = NID_undef, own_digest = NID_undef;
	int  peer_type = NID_undef, peer_digest = NID_undef;

	append_key_exchange(out, ssl);
	SSL_get_signature_type_nid(ssl, &own_type);
	SSL_get_signature_nid(ssl, &own_digest);
	SSL_get_peer_signature_type_nid(ssl, &peer_type);
	SSL_get_peer_signature_nid(ssl, &peer_digest);
	append_signature(out, "server", is_server ? own_type : peer_type,
	                 is_server ? own_digest : peer_digest,
	                 is_server ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl));
	if (is_server && SSL_get0_peer_certificate(ssl) != NULL)
		append_signature(out, "client", peer_type, peer_digest,
		                 SSL_get0_peer_certificate(ssl));
}

bool
tls_info_get(const struct stream *stream, struct tls_info *info)
{
	struct tls_connection *tls = connection_of(stream);
	const SSL_CIPHER      *cipher;
	struct buf             details = BUF(sizeof(info->details) - 1);

	if (tls == NULL || !SSL_is_init_finished(tls->ssl))
		return false;
	*info = (struct tls_info){ .bits = 0 };
	tls_errors_clear();
	cipher = SSL_get_current_cipher(tls->ssl);
	snprintf(info->protocol, sizeof(info->protocol), "%s", SSL_get_version(tls->ssl));
	if (cipher != NULL) {
		snprintf(info->cipher, sizeof(info->cipher), "%s", SSL_CIPHER_get_name(cipher));
		info->bits = SSL_CIPHER_get_bits(cipher, &info->algorithm_bits);
	}
	describe(&details, tls->ssl);
	snprintf(info->details, sizeof(info->details), "%s", buf_text(&details));
	buf_free(&details);
	info->has_peer_certificate = SSL_get0_peer_certificate(tls->ssl) != NULL;
	info->is_trusted = info->has_peer_certificate && tls->is_trusted;
	info->is_verified = info->is_trusted && tls->is_verified;
	if (SSL_is_server(tls->ssl) == 1)
		info->is_trusted =
			info->has_peer_certificate && SSL_get_verify_result(tls->ssl) == X509_V_OK;
	info->is_resumed = SSL_session_reused(tls->ssl) == 1;
	tls_errors_clear();
	return true;
}

bool
tls_channel_binding(const struct stream *stream, struct buf *out)
{
	struct tls_connection *tls = connection_of(stream);
	static const char      label[] = "EXPORTER-Channel-Binding"; /* RFC 9266 */
	unsigned char          bytes[32];

	if (tls == NULL || !SSL_is_init_finished(tls->ssl))
		return false;
	if (SSL_version(tls->ssl) < TLS1_3_VERSION && SSL_get_extms_support(tls->ssl) != 1)
		return false;
	tls_errors_clear();
	if (SSL_export_keying_material(tls->ssl, bytes, sizeof(bytes), label, sizeof(label) - 1,
	                               NULL, 0, 0) != 1) {
		tls_errors_clear();
		return false;
	}
	return buf_append(out, slice_of((const char *)bytes, sizeof(bytes)));
}
