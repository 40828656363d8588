/*
 * steps.h - inside lib/intake: one message on its way in, and the functions of its steps.
 *
 * Content lies in one buffer: trace fields, header, empty line, body. What does not fit inline is
 * written to the spool file, after which the buffer holds only what is not written yet.
 */
#ifndef DAKIYA_INTAKE_STEPS_H
#define DAKIYA_INTAKE_STEPS_H

#include "lib/base/array.h"
#include "lib/intake/intake.h"
#include "lib/intake/walk.h"

enum intake_part { PART_HEADER, PART_BODY };

/* Header fields that the steps ask for; bits of intake.fields. */
enum intake_field {
	FIELD_FROM = 1 << 0,
	FIELD_DATE = 1 << 1,
	FIELD_MESSAGE_ID = 1 << 2,
	FIELD_DESTINATION = 1 << 3, /* To, Cc or Bcc */
	FIELD_RECEIVED = 1 << 4,
};

struct intake {
	const struct intake_context *context;
	char                         id[QUEUE_ID_MOST];
	struct msg_envelope          envelope; /* a copy; its slices are borrowed or in the arena */
	struct slice                 full_name; /* the sender's, for a missing From */
	struct arena                 arena;
	ARRAY(struct msg_recipient) given;   /* as they were added */
	size_t given_bytes;                  /* of them in the commit, without what aliases add */
	ARRAY(struct msg_recipient) settled; /* after aliases, without duplicates */

	struct buf       content;
	enum intake_part part;
	size_t           header_start;  /* in content: behind the trace fields */
	size_t           field_start;   /* of the field that is being collected */
	size_t           line_start;    /* of the line that is being collected */
	uint64_t         received;      /* bytes of the sender's content so far */
	size_t           header_length; /* trace fields and header, once it has ended */
	uint64_t         total;   /* bytes of the finished content: spooled and in the buffer */
	char             last[2]; /* its last bytes */
	bool             has_8bit, has_8bit_header;
	bool             has_locality; /* is_local is known: intake_client_is_local */
	bool             is_local;
	unsigned         fields;         /* enum intake_field */
	size_t           received_count; /* Received fields, ours left out */

	const struct intake_settles *settles; /* of a notice; NULL = nothing */

	bool is_spooled;
	bool is_held;  /* may have HELD_CONTENT_MOST in the buffer: intake_hold_content */
	int  spool_fd; /* -1 = none */

	/* what header and body checks have decided */
	struct body_walk *walk;         /* NULL: the body is not looked at */
	bool              skips_checks; /* PASS, DISCARD */
	bool              is_discarded; /* taken and thrown away */
	bool              is_told;      /* the refusal is in the log */
	struct slice      redirect;     /* empty = none */
	ARRAY(struct slice) copies;     /* BCC */

	struct milter_session *milters; /* NULL: none */

	struct smtp_reply failure; /* code 0 = none; the first one counts */
};

/* The refusal or failure that intake_finish will answer; always false. */
bool intake_fail(struct intake *intake, int code, struct enhanced_status status, const char *text);
/* The same for a failure of our own: *error is logged. */
bool intake_fail_error(struct intake *intake, enum intake_status status, const struct error *error);

/* ---- content.c ---- */
bool content_write(struct intake *intake, struct slice content);
/* Body as it will be stored. */
bool content_store(struct intake *intake, struct slice bytes);
/* What is in the buffer goes to the spool file. */
bool content_flush(struct intake *intake);
/* The content anew, when steps have changed it: what was stored before is forgotten. */
bool content_replace(struct intake *intake, struct slice header, struct slice body);
/* A header of another length in front of the body in the spool file. */
bool content_replace_header(struct intake *intake, struct slice header);
/* Completes the last line and, when there was none, the end of the header. */
bool content_end(struct intake *intake);
/* Writes what is left to the spool file and closes it. */
bool content_spool_end(struct intake *intake);

/* ---- header.c: steps at the end of the header ---- */
bool step_survey_fields(struct intake *intake);
bool step_limit_hops(struct intake *intake);
bool step_drop_fields(struct intake *intake);
bool step_add_missing_fields(struct intake *intake);
bool step_note_message_id(struct intake *intake);

/* ---- checks.c ---- */
/* Whether the tables of a class, or of any (CHECK_COUNT), are to be asked. */
bool checks_are_on(const struct intake *intake, enum check_class class);
/* As rules_text and rules_field; CHECK_FAILED: intake_fail has been said. */
enum check_fate checks_text(struct intake *intake, enum check_class class, struct slice text,
                            struct buf *out);
enum check_fate checks_field(struct intake *intake, enum check_class place,
                             const struct header_field *field, struct buf *out);
/* At the end of the header: its fields, ours in front included. */
bool step_check_fields(struct intake *intake);
/* At the end of the content: REDIRECT and BCC. */
bool step_apply_checks(struct intake *intake);

/* ---- rewrite.c: addresses ---- */
/* At the end of the header: the envelope's sender, then the header fields. */
bool step_rewrite_sender(struct intake *intake);
bool step_rewrite_fields(struct intake *intake);
/* At the end of the content. */
bool step_rewrite_recipients(struct intake *intake);
/* no_address_mappings in receive_override_options. */
bool intake_has_no_mappings(const struct intake *intake);
/* A table that failed: *error is logged and the client is to try again; always false. */
bool intake_fail_lookup(struct intake *intake, const struct error *error);

/* ---- recipients.c: steps at the end of the content ---- */
/* A copy in standard form, itself rewritten as a recipient; nobody is told what becomes of it. */
bool intake_add_copy(struct intake *intake, struct slice address);
bool step_add_copies(struct intake *intake);
bool step_expand_aliases(struct intake *intake);
bool step_set_flags(struct intake *intake);

/* ---- milters.c: at the end of the content ---- */
bool step_ask_milters(struct intake *intake);

/* ---- localmilters.c: for mail without an SMTP session ---- */
struct local_milters {
	struct intake         *intake;
	struct milter_session *session;
	struct slice           recipient; /* at RCPT; data NULL otherwise */
};
/* False: no memory. */
bool                  local_milters_begin(struct local_milters *local, struct intake *intake);
struct milter_verdict local_milters_envelope(struct local_milters *local);
void                  local_milters_end(struct local_milters *local);

/* ---- intake.c ---- */
/* "ID: WORD: END-OF-MESSAGE from ...: TEXT; from=<> proto= helo=<>" as "cleanup". */
void intake_log(const struct intake *intake, const char *word, struct slice text);
/* Whether local_header_rewrite_clients names the client; asked once. False: failed. */
bool intake_client_is_local(struct intake *intake, bool *is_local);
bool intake_run_header_steps(struct intake *intake);

#endif
