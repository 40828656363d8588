"""Postfix and Dovecot as peers for comparison: unpacked, not installed, in their own namespace.

Each is the leader of a session of its own, as ours is: where the kernel shares the processors out
between sessions first (sched_autogroup_enabled), one in the load generator's would have another part.
Each runs in a directory of its own, on loopback addresses and high ports, with its standard
settings and the same durability as ours (fsync on, as both do by default).
"""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "integration"))

import dakiya  # noqa: E402

PEER_SHELL = TOP / "tests" / "bench" / "peer-shell"
PACKAGES = os.environ.get("PEERS", "/var/tmp/dakiya-peers")
PEER_UID = 64410


def peer_run(*command, check=True):
    return dakiya.run(PEER_SHELL, PACKAGES, *command, check=check, timeout=120)


def are_available():
    """Whether the peers can be had: root, Debian's packages, overlay mounts."""
    if os.geteuid() != 0:
        return False
    return peer_run("postconf", "-d", "mail_version", check=False).returncode == 0


def tree(master):
    """Pids of a process and of all below it."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = (entry / "stat").read_text()
                children.setdefault(int(stat[stat.rindex(")") + 2:].split()[1]), []).append(
                    int(entry.name))
    found, todo = [], [master]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(master):
    """User and system time of a process tree, the finished children included."""
    total = 0
    for pid in tree(master):
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            fields = stat[stat.rindex(")") + 2:].split()
            total += sum(int(fields[index]) for index in (11, 12, 13, 14))
    return total / os.sysconf("SC_CLK_TCK")


def memory_kb(master):
    """Proportional set size of a process tree."""
    total = 0
    for pid in tree(master):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))
    return total


def switches(master):
    """Context switches of a process tree's living threads."""
    total = 0
    for pid in tree(master):
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                text = (task / "status").read_text()
                total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", text))
    return total


class Postfix:
    """A Postfix for example.test with virtual mailboxes, or relaying to relayhost."""

    name = "Postfix"

    def __init__(self, directory, address, users=(), relayhost="", certificate=None, key=None,
                 port=2525):
        self.directory = pathlib.Path(directory)
        self.address, self.port = address, port
        self.mail = self.directory / "mail"
        self.config = self.directory / "etc"
        self.process = None
        for path in (self.directory, self.config, self.mail, self.directory / "queue",
                     self.directory / "data"):
            path.mkdir(parents=True, exist_ok=True)
            os.chmod(path, 0o755)
        os.chown(self.mail, PEER_UID, PEER_UID)
        os.chown(self.directory / "data", 64401, 64401)
        settings = {
            "compatibility_level": "3.6", "meta_directory": "/etc/postfix",
            "queue_directory": self.directory / "queue",
            "data_directory": self.directory / "data", "mail_owner": "postfix",
            "setgid_group": "postdrop", "daemon_directory": "/usr/lib/postfix/sbin",
            "command_directory": "/usr/sbin", "shlib_directory": "/usr/lib/postfix",
            "sendmail_path": "/usr/sbin/sendmail", "mailq_path": "/usr/bin/mailq",
            "newaliases_path": "/usr/bin/newaliases", "inet_interfaces": address,
            "inet_protocols": "ipv4", "myhostname": "mail.example.test",
            "mydestination": "", "mynetworks": "127.0.0.0/8", "alias_maps": "",
            "local_recipient_maps": "", "virtual_mailbox_base": self.mail,
            "virtual_mailbox_domains": "example.test",
            "virtual_mailbox_maps": f"hash:{self.config}/mailboxes",
            "virtual_uid_maps": f"static:{PEER_UID}", "virtual_gid_maps": f"static:{PEER_UID}",
            "relayhost": relayhost, "smtp_host_lookup": "native", "biff": "no",
            "smtp_bind_address": address, "smtpd_peername_lookup": "no",
            # What our side gets as defaults, too: no limit that only tests of one client hit.
            "smtpd_client_connection_count_limit": "0", "default_process_limit": "150",
        }
        settings["maillog_file"] = self.directory / "mail.log"
        settings["maillog_file_prefixes"] = self.directory
        if certificate:
            settings |= {"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": certificate,
                         "smtpd_tls_key_file": key}
        (self.config / "main.cf").write_text(
            "".join(f"{name} = {value}\n" for name, value in settings.items()))
        (self.config / "mailboxes").write_text(
            "".join(f"{user}@example.test example.test/{user}/\n" for user in users))
        master = (pathlib.Path(PACKAGES) / "root/usr/share/postfix/master.cf.dist").read_text()
        master = re.sub(r"^smtp      inet .*$", f"{self.port} inet n - n - - smtpd", master,
                        flags=re.M)
        (self.config / "master.cf").write_text(master)
        for path in (self.mail / "example.test", ):
            path.mkdir(exist_ok=True)
            os.chown(path, PEER_UID, PEER_UID)
        peer_run("postmap", "-c", self.config, f"hash:{self.config}/mailboxes")
        peer_run("postfix", "-c", self.config, "set-permissions", check=False)

    def start(self):
        self.process = subprocess.Popen(
            [PEER_SHELL, PACKAGES, "postfix", "-c", self.config, "start-fg"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        dakiya.wait_for("Postfix to listen", lambda: dakiya.port_is_open(self.address, self.port))
        return self

    def master_pid(self):
        return self.process.pid

    def stop(self):
        for pid in tree(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.process.wait(30)


class Dovecot:
    """A Dovecot POP3 server over one mail directory, passwords in a file (plain, no hashing)."""

    name = "Dovecot"

    def __init__(self, directory, address, mail, users, password, certificate=None, key=None):
        self.directory = pathlib.Path(directory)
        self.address, self.port, self.tls_port = address, 2110, 2995
        self.process = None
        self.directory.mkdir(parents=True, exist_ok=True)
        os.chmod(self.directory, 0o755)
        hashed = "{SHA512-CRYPT}" + dakiya.run("openssl", "passwd", "-6", password).stdout.strip()
        (self.directory / "passwd").write_text("".join(
            f"{user}@example.test:{hashed}:{PEER_UID}:{PEER_UID}::{mail}/example.test/{user}::\n"
            for user in users))
        tls = "ssl = no\n" if not certificate else (
            f"ssl = yes\nssl_cert = <{certificate}\nssl_key = <{key}\n")
        (self.directory / "dovecot.conf").write_text(f"""
protocols = pop3
base_dir = {self.directory}/run
listen = {address}
log_path = {self.directory}/dovecot.log
disable_plaintext_auth = no
mail_location = maildir:~
first_valid_uid = 1000
auth_cache_size = 10M
{tls}
passdb {{
  driver = passwd-file
  args = {self.directory}/passwd
}}
userdb {{
  driver = passwd-file
  args = {self.directory}/passwd
}}
service pop3-login {{
  process_min_avail = 2
  client_limit = 20000
  service_count = 0
  inet_listener pop3 {{
    port = {self.port}
  }}
  inet_listener pop3s {{
    port = {self.tls_port}
  }}
}}
service anvil {{
  client_limit = 20000
}}
service auth {{
  client_limit = 40000
}}
service pop3 {{
  process_limit = 20000
  service_count = 0
}}
""")

    def start(self):
        self.process = subprocess.Popen(
            [PEER_SHELL, PACKAGES, "dovecot", "-F", "-c", self.directory / "dovecot.conf"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        dakiya.wait_for("Dovecot to listen", lambda: dakiya.port_is_open(self.address, self.port))
        return self

    def master_pid(self):
        return self.process.pid

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        time.sleep(0.2)
