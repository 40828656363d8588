/*
 * milter.h - mail filters of others (opendkim, rspamd, clamav-milter ...): the milter protocol.
 *
 * Versions 2 to 6 of the protocol between Sendmail and libmilter, with Postfix's parameters
 * (MILTER_README). A list holds the filters of a service; a session is one SMTP client's talk with
 * all of them, a connection each, made when it is first needed. Every call waits for the filters,
 * bounded by the timeouts; a filter that fails is answered for by default_action. Sessions belong
 * to one thread at a time.
 */
#ifndef DAKIYA_MILTER_MILTER_H
#define DAKIYA_MILTER_MILTER_H

#include <sys/types.h>

#include "lib/base/error.h"
#include "lib/mail/header.h"
#include "lib/mail/status.h"

/* Events for which a filter may want macros; the wire calls them stages. */
enum milter_stage {
	MILTER_CONNECT,
	MILTER_HELO,
	MILTER_MAIL,
	MILTER_RCPT,
	MILTER_DATA,
	MILTER_END_OF_CONTENT,
	MILTER_END_OF_HEADER,
	MILTER_UNKNOWN,
	MILTER_STAGES,
};

/* What a filter's own "{ spec, name=value ... }" may replace. Texts are borrowed. */
struct milter_settings {
	int64_t     connect_timeout_ms, command_timeout_ms, content_timeout_ms;
	const char *default_action; /* accept, reject, tempfail, quarantine, shutdown, or a reply */
	int64_t     protocol;       /* 2, 3, 4 or 6 */
	const char *macros[MILTER_STAGES]; /* names that are sent, as in milter_connect_macros */
	const char *macro_defaults;        /* "name=value, ..." for names without a value */
};

struct milter_list;
/*
 * text: "unix:path", "inet:host:port", "{ spec, default_action=... }", separated by commas or
 * blanks. NULL and *error when it is malformed. Names are resolved here: before the doors close.
 */
struct milter_list *milter_list_create(struct slice text, const struct milter_settings *settings,
                                       struct error *error);
void                milter_list_destroy(struct milter_list **list);
bool                milter_list_is_empty(const struct milter_list *list);
bool                milter_list_needs_network(const struct milter_list *list);

enum milter_outcome {
	MILTER_GO_ON,
	MILTER_REFUSED, /* reply says how */
	MILTER_DISCARD, /* take the message and throw it away */
	MILTER_HOLD,    /* quarantine by default_action */
};

/* A reply is for MILTER_REFUSED; its text ('\n' between lines) lives until the message ends. */
struct milter_verdict {
	enum milter_outcome    outcome;
	int                    code;
	struct enhanced_status status;
	struct slice           text;
};

/* The value of a macro ("i", "{client_addr}" without its braces); data NULL: there is none. */
typedef struct slice milter_macro(void *context, struct slice name);

struct milter_session;
/* The list and context are borrowed. NULL: no memory. */
struct milter_session *milter_session_create(const struct milter_list *list, milter_macro *macro,
                                             void *context);
/* Says goodbye to the filters. */
void milter_session_destroy(struct milter_session **session);

/* family: '4', '6', or 'U' for what is not known. */
struct milter_verdict milter_connect(struct milter_session *session, struct slice name, char family,
                                     uint16_t port, struct slice address);
struct milter_verdict milter_helo(struct milter_session *session, struct slice name);
/* address with its <>; arguments are ESMTP's "SIZE=100 ...", as the client said them. */
struct milter_verdict milter_mail(struct milter_session *session, struct slice address,
                                  struct slice arguments);
struct milter_verdict milter_rcpt(struct milter_session *session, struct slice address,
                                  struct slice arguments);
struct milter_verdict milter_data(struct milter_session *session);
struct milter_verdict milter_unknown(struct milter_session *session, struct slice line);
/* The message that MAIL began is over, or will not come. Harmless without one. */
void milter_message_end(struct milter_session *session);

/* ---- the message ---- */

enum milter_edit_kind {
	MILTER_ADD_FIELD,    /* behind all others */
	MILTER_INSERT_FIELD, /* index: 0 = in front of all, 1 = behind the first ... */
	MILTER_CHANGE_FIELD, /* the index'th of that name, from 1; an empty value removes it */
	MILTER_NEW_BODY,     /* value is the body's next piece; the first one ends the old body */
	MILTER_ADD_RECIPIENT,
	MILTER_REMOVE_RECIPIENT,
	MILTER_CHANGE_SENDER,
	MILTER_QUARANTINE, /* value says why */
};

struct milter_edit {
	enum milter_edit_kind kind;
	uint32_t              index;
	struct slice          name;      /* of a field */
	struct slice          value;     /* lines within are separated by LF */
	bool                  has_space; /* the value brings its own blank behind the colon */
};

/* The message as the filters are to see it, and may change it. */
struct milter_content {
	void *context;
	/* The header as it stands now; called anew for each filter. */
	struct slice (*header)(void *context);
	/* The body from an offset: bytes read, 0 at its end, -1 and *error. */
	ssize_t (*body)(void *context, uint64_t offset, char *data, size_t size,
	                struct error *error);
	/* False and *error: it could not be done, and the message will not be taken. */
	bool (*edit)(void *context, const struct milter_edit *edit, struct error *error);
};

/* Shows the message to one filter after the other: each sees what those before it have changed. */
struct milter_verdict milter_message(struct milter_session       *session,
                                     const struct milter_content *content);

#endif
