/* programs.c - see programs.h. */
#include "lib/conf/programs.h"

#define OURS(name_, executable_, stage_, inet, single, only, ...)                                  \
	{                                                                                          \
		.name = (name_), .kind = PROGRAM_OURS, .executable = (executable_),                \
		.stage = (stage_), .is_inet = (inet), .is_singleton = (single),                    \
		.only_service = (only), .sockets = { __VA_ARGS__ },                                \
		.remark = "one such daemon serves all of them"                                     \
	}
#define NOT_NEEDED(name_, why)                                                                     \
	{                                                                                          \
		.name = (name_), .kind = PROGRAM_NOT_NEEDED, .remark = (why)                       \
	}
#define MISSING(name_, what)                                                                       \
	{                                                                                          \
		.name = (name_), .kind = PROGRAM_MISSING, .remark = (what)                         \
	}

/* clang-format off */
const struct program programs[] = {
/*	     name        executable   stage        inet   single only       sockets */
	OURS("smtpd",    "smtpd",     STAGE_NET,   true,  false, NULL,      NULL),
	OURS("pop3d",    "pop3d",     STAGE_NET,   true,  false, NULL,      NULL),
	OURS("pickup",   "pickup",    STAGE_NET,   false, false, "pickup",  "public/pickup"),
	OURS("smtp",     "smtp",      STAGE_AGENT, false, false, NULL,      NULL),
	OURS("lmtp",     "smtp",      STAGE_AGENT, false, false, NULL,      NULL),
	OURS("bounce",   "bounce",    STAGE_AGENT, false, false, "bounce",  NULL),
	OURS("local",    "local",     STAGE_AGENT, false, false, NULL,      "private/%s"),
	OURS("virtual",  "local",     STAGE_AGENT, false, false, NULL,      "private/%s"),
	{ .name = "pipe", .kind = PROGRAM_OURS, .executable = "pipe", .stage = STAGE_AGENT,
	  .takes_arguments = true, .remark = "its user does not exist" },
	{ .name = "spawn", .kind = PROGRAM_OURS, .executable = "spawn", .stage = STAGE_SERVER,
	  .takes_arguments = true, .sockets = { "private/%s" }, .remark = "its user does not exist" },
	OURS("authd",    "authd",     STAGE_SERVER, false, false, NULL,     "private/auth"),
	OURS("resolver", "resolver",  STAGE_SERVER, false, true, NULL,      "private/resolver"),
	OURS("verify",   "verify",    STAGE_SERVER, false, true, "verify",  "private/verify"),
	OURS("qmgr",     "qmgr",      STAGE_QUEUE, false, true,  NULL,
	     "private/intake", "private/jobs", "public/queue"),

	NOT_NEEDED("oqmgr",           "qmgr is the only queue manager"),
	NOT_NEEDED("nqmgr",           "qmgr is the only queue manager"),
	NOT_NEEDED("cleanup",         "smtpd and the other entrances do its work"),
	NOT_NEEDED("trivial-rewrite", "every daemon resolves addresses itself"),
	NOT_NEEDED("proxymap",        "threads share open tables"),
	NOT_NEEDED("anvil",           "smtpd counts its clients itself"),
	NOT_NEEDED("scache",          "smtp keeps its connections itself"),
	NOT_NEEDED("tlsmgr",          "TLS sessions are kept by the daemons"),
	NOT_NEEDED("tlsproxy",        "smtpd speaks TLS itself"),
	NOT_NEEDED("showq",           "qmgr lists the queue"),
	NOT_NEEDED("flush",           "qmgr flushes by destination"),
	NOT_NEEDED("postlogd",        "every daemon writes to the log that master opened"),
	NOT_NEEDED("error",           "qmgr bounces and defers by itself"),
	NOT_NEEDED("retry",           "qmgr bounces and defers by itself"),
	NOT_NEEDED("discard",         "qmgr discards by itself"),
	NOT_NEEDED("dnsblog",         "the resolver asks"),

	MISSING("postscreen", "smtpd takes connections itself"),
	MISSING("qmqpd",      "QMQP is not spoken"),
};
/* clang-format on */

const size_t program_count = sizeof(programs) / sizeof(programs[0]);

const struct program *
program_find(struct slice name)
{
	for (size_t i = 0; i < program_count; i++) {
		if (slice_equal(name, slice_from(programs[i].name)))
			return &programs[i];
	}
	return NULL;
}
