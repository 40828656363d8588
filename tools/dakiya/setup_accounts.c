/* setup_accounts.c - the accounts of the roles, and the directories that must be there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/dakiya/setup.h"

#define MAILBOX_ACCOUNT "dakiya-mail"

/* As in conf/dakiya.sysusers. */
static const struct account {
	const char *name;
	const char *comment;
	const char *home;
	const char *number; /* wanted; NULL = any */
} accounts[] = {
	{ "dakiya", "Dakiya queue", "/var/spool/dakiya", NULL },
	{ "dakiya-net", "Dakiya network", "/nonexistent", NULL },
	{ "dakiya-auth", "Dakiya credentials", "/nonexistent", NULL },
	{ "dakiya-dns", "Dakiya resolver", "/nonexistent", NULL },
	{ MAILBOX_ACCOUNT, "Dakiya mailboxes", "/var/lib/dakiya/mail", "5000" },
};
#define ACCOUNT_COUNT (sizeof(accounts) / sizeof(accounts[0]))

static bool
is_there(const char *name)
{
	struct owner owner;

	return owner_parse(name, &owner, NULL);
}

static bool
all_are_there(void)
{
	for (size_t i = 0; i < ACCOUNT_COUNT; i++)
		if (!is_there(accounts[i].name))
			return false;
	return true;
}

static bool
make_by_sysusers(void)
{
	const char *const arguments[] = {
		"systemd-sysusers",
		"--inline",
		"g dakiya -",
		"u dakiya -:dakiya \"Dakiya queue\" /var/spool/dakiya",
		"u dakiya-net -:dakiya \"Dakiya network\" /nonexistent",
		"u dakiya-auth -:dakiya \"Dakiya credentials\" /nonexistent",
		"u dakiya-dns -:dakiya \"Dakiya resolver\" /nonexistent",
		"u dakiya-mail 5000 \"Dakiya mailboxes\" /var/lib/dakiya/mail",
		NULL,
	};

	return setup_run(arguments, NULL, NULL) == 0 && all_are_there();
}

static bool
make_by_useradd(const struct account *account)
{
	bool              is_mail = account->number != NULL;
	const char *const group[] = { "groupadd", "--system", "--force",
		                      is_mail ? account->name : "dakiya", NULL };
	const char *const plain[] = { "useradd",
		                      "--system",
		                      "--gid",
		                      is_mail ? account->name : "dakiya",
		                      "--home-dir",
		                      account->home,
		                      "--no-create-home",
		                      "--shell",
		                      "/usr/sbin/nologin",
		                      "--comment",
		                      account->comment,
		                      account->name,
		                      NULL };

	return setup_run(group, NULL, NULL) == 0 && setup_run(plain, NULL, NULL) == 0;
}

static bool
make_accounts(struct setup *setup)
{
	if (!setup_change(setup, "accounts dakiya, dakiya-net, dakiya-auth, dakiya-dns, %s",
	                  MAILBOX_ACCOUNT))
		return true;
	if (make_by_sysusers())
		return true;
	for (size_t i = 0; i < ACCOUNT_COUNT; i++)
		if (!is_there(accounts[i].name) && !make_by_useradd(&accounts[i]))
			return false;
	return true;
}

/*
 * The system's tree has accounts; a tree of its own takes them when they are there and numbers
 * otherwise, since it is to leave the system alone.
 */
bool
setup_accounts(struct setup *setup)
{
	setup->mail_files = (struct owner){ geteuid(), getegid() };
	if (!setup->is_root)
		return true;
	if (!all_are_there() && setup->directory == NULL && !make_accounts(setup))
		printf("  accounts cannot be made here: the roles get numbers\n");
	setup->has_accounts = all_are_there() || (setup->is_dry && setup->directory == NULL);
	setup->mail_files = (struct owner){ 64310, 64310 };
	if (setup->has_accounts && !owner_parse(MAILBOX_ACCOUNT, &setup->mail_files, NULL))
		setup->mail_files = (struct owner){ 5000, 5000 };
	return true;
}

/* ---- directories ---- */

static bool
make_directory(struct setup *setup, const char *path, mode_t mode, const struct owner *owner)
{
	struct stat status;

	if (stat(path, &status) == 0)
		return S_ISDIR(status.st_mode) || setup_fail("%s is no directory", path);
	if (!setup_change(setup, "directory %s", path))
		return true;
	if (mkdir(path, 0700) < 0)
		return setup_fail("%s cannot be made: %m", path);
	/* Just made, in a directory of ours: nobody has put another thing there. */
	int  fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool is_ok =
		fd >= 0 &&
		(owner == NULL || !setup->is_root || fchown(fd, owner->uid, owner->gid) == 0) &&
		fchmod(fd, mode) == 0;
	if (!is_ok)
		setup_fail("%s: owner and mode cannot be set: %m", path);
	if (fd >= 0)
		close(fd);
	return is_ok;
}

/* The directories above, as far as they are missing. */
static bool
make_parents(struct setup *setup, const char *path)
{
	char part[SETUP_PATH_MOST];

	for (const char *slash = strchr(path + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (!make_directory(setup, part, 0755, NULL))
			return false;
	}
	return true;
}

bool
setup_directories(struct setup *setup)
{
	char mail[SETUP_PATH_MOST + 8];

	snprintf(mail, sizeof(mail), "%s/mail", setup->data);
	const struct {
		const char         *path;
		mode_t              mode;
		const struct owner *owner;
	} rows[] = {
		{ setup->config, 0755, NULL },
		{ setup->queue, 0755, NULL },
		{ setup->data, 0755, NULL },
		{ mail, 0750, &setup->mail_files },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!make_parents(setup, rows[i].path) ||
		    !make_directory(setup, rows[i].path, rows[i].mode, rows[i].owner))
			return false;
	return true;
}
