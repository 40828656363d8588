/*
 * smtp.h - what the parts of the outbound agent share: the agent, a host, a session, a delivery.
 *
 * RFC 5321, 2033 (LMTP), 3207 (STARTTLS), 2920 (PIPELINING), 3461 (DSN), 7505 (null MX). The
 * protocol engine (session.c, transaction.c) runs over any struct stream, so that dialogues and
 * fuzzers drive it over memory. One worker thread at a time uses a session or a delivery.
 */
#ifndef DAKIYA_SMTP_SMTP_H
#define DAKIYA_SMTP_SMTP_H

#include <sys/socket.h>

#include "lib/base/array.h"
#include "lib/conf/snapshot.h"
#include "lib/daemon/daemon.h"
#include "lib/dns/dns.h"
#include "lib/intake/transcript.h"
#include "lib/intake/walk.h"
#include "lib/io/stream.h"
#include "lib/queue/statusfilter.h"
#include "lib/route/route.h"
#include "lib/smtp/reply.h"
#include "lib/table/table.h"
#include "lib/tls/tls.h"

/* ---- the agent: settings and tables, made before the doors close, shared by all threads ---- */

struct own_address {
	struct sockaddr_storage address;
};

/* dns_query with the client bound; tests answer from memory. */
typedef enum dns_status name_lookup(void *context, struct slice name, enum dns_type type,
                                    struct arena *arena, struct dns_answer *answer,
                                    struct error *error);

struct smtp_agent {
	const char              *service; /* the transport's name in master.cf */
	bool                     is_lmtp;
	const struct parameters *parameters;
	const char              *helo_name;
	enum tls_level           tls_level; /* without a policy for the next hop */
	struct tls_client       *tls;
	struct table_list       *tls_policies;
	struct table_list       *passwords;    /* NULL without smtp_sasl_auth_enable */
	struct router           *generic;      /* NULL without smtp_generic_maps (lmtp_...) */
	struct rules            *rules;        /* smtp_header_checks and its kin (lmtp_...) */
	struct table_list       *reply_filter; /* NULL without smtp_reply_filter (lmtp_...) */
	struct status_filter    *statuses;     /* smtp_delivery_status_filter (lmtp_...) */
	name_lookup             *lookup;
	void                    *lookup_context;
	unsigned                 notify_classes; /* enum trouble; 0: what is below is not there */
	struct intake_context    intake;
	struct transcript_limit *notify_limit;
	ARRAY(struct own_address) own; /* an MX host at one of them is this host */
	/* The worker threads, told when one begins or ends to wait for a host that says nothing. */
	void (*tell_silence)(void *pool, bool begins); /* NULL: nobody wants to know */
	/* No more sessions than the process limit transfer mail at a time: waits for a place, and
	 * gives it back. NULL: no limit. */
	void (*take_place)(void *pool);
	void (*leave_place)(void *pool);
	void *pool;
};

/* prepare of struct daemon: opens what parameters name. */
struct smtp_agent *smtp_agent_create(const struct daemon_context *context, bool is_lmtp,
                                     struct error *error);
void               smtp_agent_destroy(struct smtp_agent **agent);
/* The worker threads; returns when the daemon drains. */
int smtp_run(struct smtp_agent *agent, const struct daemon_context *context);

/*
 * ---- waiting for a first answer ----
 *
 * From the attempt to connect until the session is ready, over all hosts of a delivery. A thread
 * that waits so has nothing to do: the pool is told after 0.2 s and lends another one.
 */
struct silence {
	const struct smtp_agent *agent;
	int64_t until_ms;    /* patience, by the monotonic clock; 0 = no limit of it */
	bool    has_run_out; /* patience has: the job goes back to the queue */
	bool    is_told;
};
void silence_begin(struct silence *silence, const struct smtp_agent *agent, int64_t patience_ms);
/* Somebody has answered, or it is over. Harmless when done before. */
void silence_end(struct silence *silence);
/* Until when to wait at first, where the wait is to end at deadline_ms. */
int64_t silence_deadline(const struct silence *silence, int64_t deadline_ms);
/* That time has come without an answer: whether to go on waiting. */
bool silence_goes_on(struct silence *silence, int64_t deadline_ms);

/* ---- verdicts: what becomes of recipients, in words ---- */

struct verdict {
	enum outcome_action action;
	const char         *status;     /* "4.4.2" */
	const char         *reason;     /* as in the log */
	const char         *diagnostic; /* the remote reply, "" = none */
};

/* All text is the arena's, with what came from outside made printable. */
struct verdict verdict_make(struct arena *arena, enum outcome_action action, const char *status,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- routes ---- */

struct host {
	char                    name[256];    /* as in the MX record or next hop */
	char                    address[112]; /* presentation form, or a socket's path */
	char                    place[400];   /* name[address] */
	char                    relay[416];   /* name[address]:port, as in the log */
	struct sockaddr_storage sockaddr;
	socklen_t               sockaddr_length;
	uint32_t                preference;
	bool                    is_secure;     /* DNSSEC vouches for name and address */
	bool                    detects_loops; /* found by domain at the standard port */
};

/* One element of a next hop: "example.org", "[host]:port", "host:port", "unix:path". */
struct nexthop {
	const char *text;   /* as written */
	const char *domain; /* without brackets and port */
	unsigned    port;
	bool        is_host; /* no MX lookup */
	bool        is_unix;
	bool        has_port;
};
bool nexthop_parse(const struct smtp_agent *agent, struct slice text, struct arena *arena,
                   struct nexthop *nexthop, struct error *error);

struct host_list {
	struct host *hosts;
	size_t       count;
};
/* The hosts to try, in order. False: none, and *verdict says why. */
bool route_find(const struct smtp_agent *agent, const struct nexthop *nexthop, struct arena *arena,
                struct host_list *list, struct verdict *verdict);
/* Names the host: fills place and relay; is_unix without a port. */
void host_describe(struct host *host, unsigned port);

/* A connected stream, or NULL with *error, worded as "connect to h[a]:25: Connection refused". */
struct stream *host_connect(struct silence *silence, const struct host *host, struct error *error);

/* ---- TLS policy ---- */

struct tls_choice {
	enum tls_level         level;
	struct slice           match; /* as in match=; empty = the level's parameter */
	const char            *protocols;
	const char            *ciphers;
	struct slice           server_name;
	const struct tls_tlsa *tlsa; /* by dane_choose */
	size_t                 tlsa_count;
};
/* By smtp_tls_policy_maps and parameters. False: *verdict (a lookup failed, a bad policy). */
bool tls_choice_find(const struct smtp_agent *agent, const struct nexthop *nexthop,
                     struct arena *arena, struct tls_choice *choice, struct verdict *verdict);
/*
 * The levels dane and dane-only for one host (RFC 7672): with the TLSA records in *chosen, or what
 * is left without them. False: *verdict (no records where they must be, or a failed lookup).
 */
bool dane_choose(const struct smtp_agent *agent, const struct tls_choice *choice,
                 const struct nexthop *nexthop, const struct host *host, struct arena *arena,
                 struct tls_choice *chosen, struct verdict *verdict);
/* The names that a certificate may bear, and the rest of the policy for one host. */
bool tls_choice_policy(const struct smtp_agent *agent, const struct tls_choice *choice,
                       const char *domain, const struct host *host, struct arena *arena,
                       struct tls_policy *policy);

/* ---- sessions ---- */

enum offer {
	OFFER_PIPELINING = 1 << 0,
	OFFER_8BITMIME = 1 << 1,
	OFFER_SIZE = 1 << 2,
	OFFER_STARTTLS = 1 << 3,
	OFFER_AUTH = 1 << 4,
	OFFER_DSN = 1 << 5,
	OFFER_SMTPUTF8 = 1 << 6,
	OFFER_CHUNKING = 1 << 7,
	OFFER_REQUIRETLS = 1 << 8,
	OFFER_ENHANCEDSTATUSCODES = 1 << 9,
	OFFER_XFORWARD = 1 << 10,
};

enum step {
	STEP_GREETING,
	STEP_EHLO,
	STEP_HELO,
	STEP_LHLO,
	STEP_STARTTLS,
	STEP_AUTH,
	STEP_XFORWARD,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_CONTENT,
	STEP_DOT,
	STEP_RSET,
	STEP_QUIT,
};

struct session {
	const struct smtp_agent *agent;
	struct stream           *stream;
	struct host              host;
	char                     nexthop[512]; /* what it serves, as written */
	unsigned                 offers;       /* OFFER_* */
	uint64_t                 size_limit;   /* 0 = none told */
	char                     mechanisms[512];
	char                     forwards[256]; /* attributes that XFORWARD takes there */
	struct arena             replies;       /* the reply in hand */
	struct arena            *words;         /* for verdicts: the delivery's */
	struct silence          *silence; /* until the session is ready; NULL = nobody waits */
	const char              *queue_id;
	unsigned                 uses; /* transactions, this one included */
	int64_t                  opened_ms;
	bool                     is_dead;     /* nothing more can be said on it */
	bool                     is_tainted;  /* not to be kept: out of step, or told to go */
	bool                     needs_reset; /* a transaction was left open */
	bool                     has_auth;
	bool                     has_reply; /* the peer has said something of this transaction */
	/* for the postmaster */
	unsigned          trouble;        /* enum trouble that he wants to hear of */
	bool              carries_notice; /* the message in hand is one itself */
	struct transcript transcript;     /* since the last message */
	struct note     **notes;          /* the delivery's; NULL between deliveries */
};

/* A session with trouble that the postmaster is to be told of. */
struct note {
	struct note      *next;
	struct transcript transcript;
	char              relay[416];
};

/* Takes the stream over. NULL when memory is out. */
struct session *session_create(const struct smtp_agent *agent, struct stream *stream,
                               const struct host *host);
/* Closes without a word. */
void session_destroy(struct session **session);
/* QUIT, then closes. */
void session_quit(struct session **session);

enum session_start {
	SESSION_READY,
	SESSION_FAILED,      /* *verdict; try another host */
	SESSION_RETRY_CLEAR, /* opportunistic TLS failed: connect again, without */
};
struct session_plan {
	const struct nexthop    *nexthop;
	const struct tls_choice *tls;
	struct slice             sender; /* for sender-dependent authentication */
};
/* Greeting, EHLO, STARTTLS, AUTH. */
enum session_start session_begin(struct session *session, const struct session_plan *plan,
                                 struct verdict *verdict);
/* RSET after an unfinished transaction; false when the session cannot be used again. */
bool session_reset(struct session *session);
/* Whether a kept session may be used now: alive, in step, not too old. */
bool session_is_reusable(struct session *session);

/* One command line, without line end; buffered. False (is_dead): *verdict. */
bool session_command(struct session *session, enum step step, struct slice line,
                     struct verdict *verdict);
/* Flushes and reads one reply; it lives until the next. False (is_dead): *verdict. */
bool session_reply(struct session *session, enum step step, struct smtp_reply *reply,
                   struct verdict *verdict);
/* ---- replyfilter.c ---- */
struct filtered_reply {
	struct buf text;
	size_t     taken;    /* bytes of input that text stands for */
	bool       is_whole; /* the last line is among them */
};
/*
 * Takes whole lines off input, from taken on, up to the last of a reply, as smtp_reply_filter has
 * them. False: *error.
 */
bool reply_filter_lines(struct session *session, struct slice input, struct filtered_reply *reply,
                        struct error *error);
/* "host h[a] said: 550 text (in reply to RCPT TO command)" with action and status by its code. */
struct verdict verdict_of_reply(struct session *session, enum step step,
                                const struct smtp_reply *reply);
/* "host h[a] refused to talk to me: 554 text". */
struct verdict verdict_of_refusal(struct session *session, const struct smtp_reply *reply);
/* "lost connection with h[a] while sending RCPT TO", or timed out. */
struct verdict verdict_of_loss(struct session *session, enum step step, enum stream_result result);
/* "250 2.0.0 Ok: queued as 12345", printable, on one line. */
const char *reply_text(struct arena *arena, const struct smtp_reply *reply);

/* AUTH by smtp_sasl_password_maps, when there is a password for this host. False: *verdict. */
bool session_authenticate(struct session *session, const struct session_plan *plan,
                          struct verdict *verdict);

/* ---- notify.c: what the postmaster is told, with a transcript (notify_classes) ---- */

enum trouble {
	TROUBLE_PROTOCOL = 1 << 0, /* one of the two does not speak it */
	TROUBLE_DATA = 1 << 1,     /* a file of ours could not be read in a session */
};
/* When notify_classes has one of them. */
bool notify_open(struct smtp_agent *agent, const struct daemon_context *context,
                 struct error *error);
void notify_close(struct smtp_agent *agent);
void notify_command(struct session *session, enum step step, struct slice line);
void notify_reply(struct session *session, enum step step, struct slice bytes);
void notify_trouble(struct session *session, enum trouble trouble);
/* A reply with this code refused something. */
void notify_refusal(struct session *session, int code);
/* A message is through, or the session ends: notes it if there was trouble, and forgets. */
void notify_keep(struct session *session);
/* Sends what was noted: when qmgr has the results. agent NULL: only forgets it. */
void notify_send(const struct smtp_agent *agent, struct note **notes);

struct agent_job;
/* XFORWARD with what is known of the job's client, when it is wanted. False (is_dead): *verdict. */
bool session_forward(struct session *session, const struct agent_job *job, struct verdict *verdict);

/* ---- deliveries ---- */

enum recipient_state {
	RECIPIENT_TODO,     /* another host may take it; verdict is the last word so far */
	RECIPIENT_ACCEPTED, /* in this transaction */
	RECIPIENT_DONE,
};
struct delivery_recipient {
	struct msg_job_recipient row;
	struct slice             address; /* as it leaves */
	enum recipient_state     state;
	struct verdict           verdict;
	bool                     is_answered; /* by the host in use */
	const char              *reply;       /* to RCPT, when it is all that is asked */
	const char              *relay;       /* as in the log */
	const char              *remote_mta;  /* "" = none */
	int64_t                  connected_us;
	unsigned                 connection_use;
};
#define DELIVERY_PIECE (64u * 1024) /* bytes of content that are read and sent at a time */

struct delivery {
	const struct smtp_agent *agent;
	const struct agent_job  *job;
	const char              *queue_id;
	struct arena             arena;
	struct slice             sender;   /* as it leaves */
	struct buf               header;   /* as it leaves; empty = as it is stored */
	uint64_t                 replaced; /* bytes of the stored content that header stands for */
	struct buf               content_types; /* its Content-Type fields as stored, for rules */
	struct delivery_recipient *recipients;
	size_t                     count;
	int64_t                    connected_us; /* of the session in use; 0 = it was kept */
	struct silence             silence;
	bool                       has_spoken; /* some host took part: the destination lives */
	const char                *spent;   /* relay of the kept connection, when it has answered */
	char                      *scratch; /* DELIVERY_PIECE, for content from a file */
	struct note               *notes;
};

/* Decodes the job's recipients. False: malformed or out of memory. */
bool delivery_begin(struct delivery *delivery, const struct smtp_agent *agent,
                    const struct agent_job *job);
void delivery_end(struct delivery *delivery);
/* Tries what there is to try. *kept is a connection from before, and what is kept after. */
void delivery_run(struct delivery *delivery, struct session **kept);
/* The size of the content, and a piece of it from offset on (empty at the end), as it leaves. */
uint64_t delivery_size(const struct delivery *delivery);
bool     delivery_content(const struct delivery *delivery, uint64_t offset, size_t most,
                          struct slice *piece, struct error *error);
/*
 * smtp_header_checks, then smtp_generic_maps: header fields, sender and recipients as they leave;
 * the content in the queue stays as it is. False: *verdict (a lookup failed, a bad rule).
 */
bool delivery_rewrite(struct delivery *delivery, struct verdict *verdict);
/* Nothing is delivered: recipients are asked for. */
bool delivery_is_verify(const struct delivery *delivery);
/* A notice of ours or another's: it has no sender, or that of double bounces. */
bool delivery_is_notice(const struct delivery *delivery);
/* Recipients that are still to do, and the same verdict for all of them. */
size_t delivery_todo(const struct delivery *delivery);
void delivery_all(struct delivery *delivery, const struct session *session, struct verdict verdict);

/* ---- checks.c: rules for what leaves ---- */

struct outgoing_checks {
	const struct rules *rules;
	const char         *queue_id;
	/* where the body goes */
	bool (*store)(void *context, struct slice bytes);
	void             *store_context;
	struct body_walk *walk; /* NULL: the body is sent as it is */
	/* once something has failed */
	const char  *status;
	struct error error;
};
/* For struct daemon.readable. */
#define OUTGOING_READABLE                                                                          \
	"$smtp_header_checks", "$smtp_mime_header_checks", "$smtp_nested_header_checks",           \
		"$smtp_body_checks", "$lmtp_header_checks", "$lmtp_mime_header_checks",            \
		"$lmtp_nested_header_checks", "$lmtp_body_checks"
struct rules *outgoing_rules_open(const struct parameters *parameters, bool is_lmtp,
                                  struct error *error);
/* The header with its empty line, as rules make it. False: status and error. */
bool outgoing_check_header(struct outgoing_checks *checks, struct slice header, struct buf *out);
/* Makes the walk; content_types: the message's Content-Type fields. False: status and error. */
bool outgoing_walk_begin(struct outgoing_checks *checks, const struct parameters *parameters,
                         struct slice content_types);

/* MAIL, RCPT, DATA, content for all recipients that are to do. */
void transaction_run(struct session *session, struct delivery *delivery);
/* The content, dot-stuffed, lines folded, with the final dot. False (is_dead): *verdict. */
bool content_send(struct session *session, const struct delivery *delivery,
                  struct verdict *verdict);

#endif
