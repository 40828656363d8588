/* scram.c - see scram.h. */
#include "authd/scram.h"

#include <openssl/crypto.h>

#include "lib/base/encode.h"

#define MESSAGE_MOST 4096

/* What the client signed, and the proof in it. */
struct parsed {
	struct buf    auth_message;
	unsigned char proof[SCRAM_KEY_BYTES];
};

/* The value behind "r=" of the server's message, with "r=". */
static struct slice
nonce_of(struct slice server_first)
{
	return slice_first(server_first, slice_find_byte(server_first, ','));
}

/*
 * The client's last message must be "c=HEADER,r=NONCE,p=PROOF" and nothing else, with the header
 * of its first one and the nonce that the server gave out (RFC 5802 5.1). Headers with channel
 * binding or another authorization name are libsasl2's to judge.
 */
static bool
parse(const struct scram_messages *messages, struct parsed *parsed)
{
	struct slice first = messages->client_first, final = messages->client_final;
	struct slice header = slice_first(first, 3), nonce = nonce_of(messages->server_first);
	struct buf   expected = BUF(MESSAGE_MOST), proof = BUF(SCRAM_KEY_BYTES);
	bool is_good = slice_equal(header, SLICE("n,,")) || slice_equal(header, SLICE("y,,"));

	buf_append_text(&expected, "c=");
	base64_encode(header, &expected);
	buf_append_byte(&expected, ',');
	buf_append(&expected, nonce);
	struct slice unsigned_part = slice_first(final, expected.length);
	struct slice rest = slice_from_offset(final, expected.length);
	is_good = is_good && !expected.has_failed && nonce.length > 2 &&
	          slice_equal(unsigned_part, buf_slice(&expected)) &&
	          slice_starts_with(rest, SLICE(",p=")) &&
	          base64_decode(slice_from_offset(rest, 3), &proof) &&
	          proof.length == SCRAM_KEY_BYTES;
	if (is_good) {
		memcpy(parsed->proof, proof.data, SCRAM_KEY_BYTES);
		buf_append(&parsed->auth_message, slice_from_offset(first, header.length));
		buf_append_byte(&parsed->auth_message, ',');
		buf_append(&parsed->auth_message, messages->server_first);
		buf_append_byte(&parsed->auth_message, ',');
		is_good = buf_append(&parsed->auth_message, unsigned_part);
	}
	buf_free(&expected);
	buf_free(&proof);
	return is_good;
}

static bool
server_final_make(const struct user_app *app, struct slice auth_message, struct buf *server_final)
{
	unsigned char signature[SCRAM_KEY_BYTES];

	return scram_server_signature(&app->scram, auth_message, signature) &&
	       buf_append_text(server_final, "v=") &&
	       base64_encode(slice_of((const char *)signature, sizeof(signature)), server_final);
}

static bool
try_apps(struct slice record, struct login_name *login, const struct parsed *parsed,
         struct buf *server_final)
{
	unsigned        protocol = user_protocol_parse(slice_from(login->service));
	struct slice    message = buf_slice(&parsed->auth_message);
	struct user_app app;
	bool            is_proven = false;

	while (!is_proven && user_app_next(&record, &app)) {
		if ((app.protocols & protocol) == 0 || !app.has_scram ||
		    !scram_proof_is_right(&app.scram, message, parsed->proof) ||
		    !server_final_make(&app, message, server_final))
			continue;
		memcpy(login->credential, app.id, sizeof(login->credential));
		is_proven = true;
	}
	OPENSSL_cleanse(&app, sizeof(app));
	return is_proven;
}

bool
scram_app_prove(struct authd *authd, struct login_name *login,
                const struct scram_messages *messages, struct buf *server_final)
{
	struct parsed      parsed = { .auth_message = BUF(3 * MESSAGE_MOST) };
	struct buf         record = BUF(USER_RECORD_MOST);
	struct user_record user;
	bool               is_proven = false;

	/* Who cannot be looked up now could not be a moment ago: libsasl2 will say so. */
	if (login->canonical[0] != '\0' && parse(messages, &parsed) &&
	    table_lookup(authd->users, slice_from(login->canonical), &record, NULL) ==
	            LOOKUP_FOUND &&
	    user_record_decode(buf_slice(&record), &user, NULL) && user.is_enabled)
		is_proven = try_apps(buf_slice(&record), login, &parsed, server_final);
	OPENSSL_cleanse(&user, sizeof(user));
	if (record.data != NULL)
		OPENSSL_cleanse(record.data, record.capacity);
	buf_free(&record);
	buf_free(&parsed.auth_message);
	return is_proven;
}
