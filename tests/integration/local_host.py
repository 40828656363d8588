"""A host with system users of its own: no account of the machine is touched."""
import os
import pathlib
import time

import dakiya

DOMAIN = "local.test"
IS_ROOT = os.geteuid() == 0
UIDS = {"bob": 64321, "alice": 64322, "carol": 64323} if IS_ROOT else dict.fromkeys(
    ("bob", "alice", "carol"), os.getuid())
DEFAULT_UID = 64330 if IS_ROOT else os.getuid()
DEFAULT_GID = 64330 if IS_ROOT else os.getgid()
SPOOL_GID = 64340 if IS_ROOT else os.getgid()


class LocalHost:
    """Users bob, alice and carol with homes, aliases in a text table, a spool of their own."""

    def __init__(self, make_host, settings=None, aliases=None, **options):
        values = {
            "mydestination": DOMAIN,
            "myorigin": DOMAIN,
            "recipient_delimiter": "+",
            "minimal_backoff_time": "300s",
            "default_privs": f"{DEFAULT_UID}:{DEFAULT_GID}",
            "home_mailbox": "Maildir/",
            "local_recipient_maps": "",
            "virtual_mailbox_domains": "",
            "virtual_mailbox_maps": "",
            "virtual_mailbox_quota_maps": "",
            **(settings or {}),
        }
        self.host = make_host(users=(), settings=values,
                              extra_services="local unix - n n - - local\n", **options)
        self.top = self.host.directory
        self.homes = self.top / "home"
        self.spool = self.top / "spool"
        self.aliases = self.top / "etc" / "aliases"
        self.passwd = self.top / "etc" / "passwd"
        self.shared = self.top / "shared"
        own = {"alias_maps": f"texthash:{self.aliases}",
               "local_user_maps": f"texthash:{self.passwd}",
               "mail_spool_directory": str(self.spool)}
        self.host.settings = own | self.host.settings
        self.host.write_config()
        self.make_users()
        self.set_aliases(aliases or {})

    def make_users(self):
        for path in (self.homes, self.spool, self.shared):
            path.mkdir()
            os.chmod(path, 0o755)
        os.chmod(self.shared, 0o777)
        lines = ["root root:x:0:0:root:/root:/bin/sh\n"]
        for name, uid in UIDS.items():
            home = self.homes / name
            home.mkdir()
            os.chmod(home, 0o755)
            gid = uid if IS_ROOT else os.getgid()
            if IS_ROOT:
                os.chown(home, uid, gid)
            lines.append(f"{name} {name}:x:{uid}:{gid}:{name}:{home}:/bin/sh\n")
        self.passwd.write_text("".join(lines))
        if IS_ROOT:
            os.chown(self.spool, 0, SPOOL_GID)
            os.chmod(self.spool, 0o2775)

    def set_aliases(self, rows):
        aside = self.aliases.with_suffix(".new")
        aside.write_text("".join(f"{name} {value}\n" for name, value in rows.items()))
        aside.rename(self.aliases)
        if self.host.is_running:
            time.sleep(0.3)  # a changed table is noticed within a tenth of a second

    def write(self, name, path, text, mode=0o644):
        """A file in the home of a user, the user's own."""
        file = self.homes / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_symlink() or file.exists():
            file.unlink()
        file.write_text(text)
        os.chmod(file, mode)
        if IS_ROOT:
            os.chown(file, UIDS[name], UIDS[name])
        return file

    def forward(self, name, text, mode=0o644):
        return self.write(name, ".forward", text, mode)

    def script(self, name, text):
        """A program in the shared directory that anybody may run."""
        file = self.shared / name
        file.write_text(text)
        os.chmod(file, 0o755)
        return file

    def start(self):
        self.host.start()
        return self

    def send(self, *names, body="Hello.\n", sender="sender@client.test", text=None):
        recipients = [name if "@" in name else f"{name}@{DOMAIN}" for name in names]
        return self.host.send(sender, recipients,
                              text or dakiya.message(body=body, to=recipients[0]))

    def mail(self, name, mailbox="Maildir"):
        directory = self.homes / name / mailbox / "new"
        if not directory.exists():
            return []
        return [path.read_bytes() for path in sorted(directory.iterdir(), key=lambda p: p.name)]

    def wait_mail(self, name, count=1, mailbox="Maildir", timeout=30):
        try:
            return dakiya.wait_for(f"{count} messages for {name}", lambda: (
                lambda found: found if len(found) >= count else None)(self.mail(name, mailbox)),
                timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log\n{self.host.log()[-8000:]}") from None

    def wait_file(self, path, timeout=30):
        path = pathlib.Path(path)
        try:
            return dakiya.wait_for(f"{path}", lambda: path.exists() and path.stat().st_size > 0
                                   and path.read_bytes(), timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log\n{self.host.log()[-8000:]}") from None

    def wait_log(self, pattern, timeout=30):
        return self.host.wait_log(pattern, timeout)
