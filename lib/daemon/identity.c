/* identity.c - who a daemon runs as. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/daemon/core.h"

/* What local's parent needs to become a mailbox's user; everything else is given away. */
#define ROOT_CAPABILITIES                                                                          \
	(1ull << CAP_SETUID | 1ull << CAP_SETGID | 1ull << CAP_KILL | 1ull << CAP_CHOWN |          \
	 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER)

#define ACCEPT_PAUSE_MS 20

/* ---- finding the owners ---- */

static bool
owner_from_numbers(struct slice text, struct owner *owner)
{
	struct slice rest = text, uid_text, gid_text;
	int64_t      uid, gid;

	if (!slice_next_part(&rest, ':', &uid_text) || !slice_next_part(&rest, ':', &gid_text) ||
	    rest.data != NULL || !number_parse(uid_text, 0, UINT32_MAX - 1, &uid) ||
	    !number_parse(gid_text, 0, UINT32_MAX - 1, &gid))
		return false;
	*owner = (struct owner){ true, (uid_t)uid, (gid_t)gid };
	return true;
}

static bool
owner_from_name(const char *name, struct owner *owner)
{
	char         *text = malloc(16384);
	struct passwd entry, *found = NULL;

	if (text == NULL)
		return false;
	if (getpwnam_r(name, &entry, text, 16384, &found) == 0 && found != NULL)
		*owner = (struct owner){ true, found->pw_uid, found->pw_gid };
	free(text);
	return found != NULL;
}

bool
identity_find_owners(struct daemon_core *core, struct error *error)
{
	const struct parameters *p = core->context.parameters;
	const struct {
		enum daemon_identity identity;
		const char          *parameter;
		const char          *value;
	} rows[] = {
		{ RUNS_AS_NET, "net_owner", p->net_owner },
		{ RUNS_AS_MAIL, "mail_owner", p->mail_owner },
		{ RUNS_AS_AUTH, "auth_owner", p->auth_owner },
		{ RUNS_AS_DNS, "dns_owner", p->dns_owner },
	};
	bool is_root = geteuid() == 0 && !core->context.is_unprivileged;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct owner *owner = &core->owners[rows[i].identity];

		if (!is_root && core->daemon->identity != RUNS_AS_IS)
			*owner = (struct owner){ true, geteuid(), getegid() };
		else if (!owner_from_numbers(slice_from(rows[i].value), owner) &&
		         !owner_from_name(rows[i].value, owner) && is_root)
			return error_set(error, "%s = %s: no such user", rows[i].parameter,
			                 rows[i].value);
		if (is_root && owner->is_known && owner->uid == 0)
			return error_set(error, "%s = %s: must not be root", rows[i].parameter,
			                 rows[i].value);
	}
	return true;
}

/* ---- becoming one ---- */

static void
capabilities_limit(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct   data[2] = { { 0 } };

	/* Past the kernel's last capability prctl says EINVAL. */
	for (unsigned long capability = 0; capability < 64; capability++)
		if ((keep & 1ull << capability) == 0 &&
		    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
			break;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (keep == 0)
		return;
	for (size_t i = 0; i < 2; i++)
		data[i].effective = data[i].permitted = (uint32_t)(keep >> (32 * i));
	syscall(SYS_capset, &header, data);
}

static bool
groups_set(const struct daemon_core *core, const struct owner *own, struct error *error)
{
	gid_t shared = core->owners[RUNS_AS_MAIL].gid; /* what may connect in private/ */
	gid_t groups[] = { shared, own->gid };

	if (setgroups(own->gid == shared ? 1 : 2, groups) != 0)
		return error_set_errno(error, "setgroups");
	if (setresgid(shared, shared, shared) != 0)
		return error_set_errno(error, "setresgid %u", (unsigned)shared);
	return true;
}

void
daemon_run_as(struct daemon_context *context, uid_t uid, gid_t gid)
{
	context->core->user = (struct owner){ true, uid, gid };
}

/*
 * What such a room starts is the user's, who may run set-uid programs as from cron: so the
 * bounding set stays, out of which the room itself cannot take anything any more.
 */
static bool
become_user(const struct daemon_core *core, struct error *error)
{
	const struct owner *user = &core->user;

	if (!user->is_known || user->uid == 0 || user->gid == 0)
		return error_set(error, "no user to run as");
	if (setgroups(1, &user->gid) != 0)
		return error_set_errno(error, "setgroups");
	if (setresgid(user->gid, user->gid, user->gid) != 0)
		return error_set_errno(error, "setresgid %u", (unsigned)user->gid);
	return true;
}

bool
identity_drop(const struct daemon_core *core, struct error *error)
{
	enum daemon_identity            identity = core->daemon->identity;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct   none[2] = { { 0 } };

	if (geteuid() != 0 || identity == RUNS_AS_IS)
		return true;
	if (identity == RUNS_AS_ROOT) {
		if (!core->context.is_unprivileged)
			capabilities_limit(ROOT_CAPABILITIES);
		return true;
	}
	if (core->context.is_unprivileged)
		return true;
	const struct owner *own = identity == RUNS_AS_USER ? &core->user : &core->owners[identity];
	if (identity == RUNS_AS_USER ? !become_user(core, error) : !groups_set(core, own, error))
		return false;
	if (identity != RUNS_AS_USER)
		capabilities_limit(0);
	if (setresuid(own->uid, own->uid, own->uid) != 0)
		return error_set_errno(error, "setresuid %u", (unsigned)own->uid);
	/* The inheritable set survives a change of uid. */
	if (syscall(SYS_capset, &header, none) != 0)
		return error_set_errno(error, "capset");
	if (setuid(0) == 0 || geteuid() != own->uid)
		return error_set(error, "root was not given up");
	return true;
}

int
daemon_accept(int listener, int flags)
{
	int fd = accept4(listener, NULL, NULL, flags);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
		poll(NULL, 0, ACCEPT_PAUSE_MS);
	return fd;
}

bool
daemon_peer_is_allowed(const struct daemon_context *context, int fd, unsigned roles)
{
	const struct daemon_core *core = context->core;
	uint32_t                  uid;

	if (!ipc_peer_uid(fd, &uid))
		return false;
	if ((roles & PEER_ROOT) != 0 && uid == 0)
		return true;
	for (unsigned identity = RUNS_AS_NET; identity <= RUNS_AS_DNS; identity++)
		if ((roles & 1u << identity) != 0 && core->owners[identity].is_known &&
		    core->owners[identity].uid == uid)
			return true;
	return false;
}
