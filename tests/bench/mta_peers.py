"""Exim and OpenSMTPD as peers: mailboxes of example.test, all else to the next host.

Unpacked like the others (peers.py), each in a root of its own. Both sync a message before they
answer 250 and again in the mailbox, and log every event, by default.
"""
import contextlib
import os
import pathlib
import signal
import subprocess

import peers
from peers import PEER_SHELL, PEER_UID, dakiya, tree


class MtaPeer:
    name = packages = program = sent = None
    accounts = {}
    is_paced = False  # its relaying is slowed down on purpose: nothing to compare

    def __init__(self, directory, users, next_address, next_port):
        self.directory = pathlib.Path(directory)
        self.address, self.port = dakiya.new_address(), 2525
        self.users, self.next_address, self.next_port = users, next_address, next_port
        self.process = None
        self.mail = self.directory / "mail"
        self.mail.mkdir()
        os.chown(self.mail, PEER_UID, PEER_UID)

    @classmethod
    def shell(cls):
        return [PEER_SHELL, f"{peers.PACKAGES}-{cls.name.lower()}"]

    @classmethod
    def environment(cls):
        return {**os.environ, "PEER_PACKAGES": cls.packages}

    @classmethod
    def is_available(cls):
        """Whether it can be had; unpacks it the first time, with the accounts that it wants."""
        if os.geteuid() != 0:
            return False
        if subprocess.run([*cls.shell(), cls.program, "--version"], env=cls.environment(),
                          capture_output=True, check=False).returncode == 69:
            return False
        root = pathlib.Path(cls.shell()[1]) / "root/etc"
        for file, lines in cls.accounts.items():
            text = (root / file).read_text()
            (root / file).write_text(text + "".join(
                line + "\n" for line in lines if line.split(":")[0] + ":" not in text))
        return True

    def run(self, *command, log=subprocess.DEVNULL):
        # In a process namespace of its own what is left behind is adopted by the first process
        # there, so that its CPU time is counted.
        self.process = subprocess.Popen(["unshare", "-p", "-f", "--kill-child", *self.shell(),
                                         *command], env=self.environment(),
                                        stdout=subprocess.DEVNULL, stderr=log)
        dakiya.wait_for(f"{self.name} to listen",
                        lambda: dakiya.port_is_open(self.address, self.port))
        return self

    def root_pid(self):
        return self.process.pid

    def stop(self):
        for pid in tree(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Exim(MtaPeer):
    name, program, packages = "Exim", "exim4", "exim4-daemon-light exim4-base"
    accounts = {"passwd": ["Debian-exim:x:64420:64420::/var/spool/exim4:/usr/sbin/nologin"],
                "group": ["Debian-exim:x:64420:"]}
    sent = b" Completed"

    def start(self):
        spool, logs = self.directory / "spool", self.directory / "log"
        for path in (spool, logs):
            path.mkdir()
            os.chown(path, 64420, 64420)
        self.log_file = logs / "main"
        (self.directory / "users").write_text("".join(f"{user}:\n" for user in self.users))
        config = self.directory / "exim.conf"
        config.write_text(f"""
spool_directory = {spool}
log_file_path = {logs}/%s
primary_hostname = mail.example.test
local_interfaces = {self.address}
daemon_smtp_ports = {self.port}
pid_file_path = {self.directory}/exim.pid
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 0
# 10 by default: what comes behind those waits for the queue runner.
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = accept
acl_smtp_data = accept
tls_advertise_hosts =
never_users =
keep_environment =
begin routers
mailboxes:
  driver = accept
  domains = example.test
  local_parts = lsearch;{self.directory}/users
  transport = box
others:
  driver = manualroute
  route_list = * {self.next_address}
  transport = out
  self = send
begin transports
box:
  driver = appendfile
  maildir_format
  directory = {self.mail}/${{local_part_data}}
  create_directory
  user = {PEER_UID}
  group = {PEER_UID}
out:
  driver = smtp
  port = {self.next_port}
  allow_localhost
  hosts_avoid_tls = *
begin retry
* * F,2h,15m
""")
        # Exim gives up its privileges when it is told another place for its settings.
        place = pathlib.Path(self.shell()[1]) / "root/etc/exim4/exim4.conf"
        place.parent.mkdir(exist_ok=True)
        place.touch()
        return self.run("sh", "-ec", f"mount --bind {config} /etc/exim4/exim4.conf; "
                        "exec exim4 -bdf -q1h")


class OpenSmtpd(MtaPeer):
    name, program, packages = "OpenSMTPD", "smtpd", "opensmtpd libevent-2.1-7"
    accounts = {"passwd": ["opensmtpd:x:64430:64430::/:/usr/sbin/nologin",
                           "opensmtpq:x:64431:64431::/:/usr/sbin/nologin"],
                "group": ["opensmtpd:x:64430:", "opensmtpq:x:64431:"]}
    sent = b" result=Ok "
    is_paced = True  # pauses between its sessions with one host

    def start(self):
        var, run = self.directory / "var", self.directory / "run"
        for path in (run, var / "spool/smtpd", var / "lib/opensmtpd/empty"):
            path.mkdir(parents=True)
        (var / "spool/smtpd").chmod(0o711)
        self.log_file = self.directory / "log"
        homes = "".join(f"{user} {PEER_UID}:{PEER_UID}:{self.mail}/{user}\n" for user in self.users)
        for user in self.users:
            (self.mail / user).mkdir()
            os.chown(self.mail / user, PEER_UID, PEER_UID)
        (self.directory / "users").write_text(homes)
        config = self.directory / "smtpd.conf"
        config.write_text(f"""
table users file:{self.directory}/users
smtp limit max-mails 1000000
listen on {self.address} port {self.port} hostname mail.example.test
action "box" maildir userbase <users>
action "out" relay host "smtp://{self.next_address}:{self.next_port}"
match from any for domain "example.test" action "box"
match from any for any action "out"
""")
        # Its places are compiled in: they are laid over those of this host.
        script = (f"mount -t overlay overlay -o lowerdir={var}:/var /var; "
                  f"mount --bind {var}/spool/smtpd /var/spool/smtpd; mount --bind {run} /run; "
                  f"exec smtpd -d -f {config}")
        with open(self.log_file, "wb") as log:
            return self.run("sh", "-ec", script, log=log)
