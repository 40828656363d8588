"""Complete Dakiya hosts for tests and the demo: directories, configuration, users, start, stop.

A Host is one mail system on one loopback address with the ports below, in a directory of its own.
As root the daemons run under numeric uids (privilege separation is real); otherwise all run as
the caller. Every process that is started is stopped by its pid.
"""
import contextlib
import json
import os
import pathlib
import poplib
import random
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / os.environ.get("OUT", "build")

PORTS = {"smtp": 2525, "submission": 2587, "submissions": 2465, "pop3": 2110, "pop3s": 2995}
# uid:gid of the roles when root runs the suite; one group for all.
OWNERS = {"mail": "64300:64300", "net": "64301:64300", "auth": "64302:64300", "dns": "64303:64300"}
VMAIL_UID, VMAIL_GID = 64310, 64310
PASSWORD = "correct horse battery"

# At random, so that test runs at the same time do not meet.
_next_address = [random.randrange(20, 250), random.randrange(250), 0]


def new_address():
    """A loopback address that no other host of this test run has."""
    _next_address[2] += 1
    network = _next_address[1] + _next_address[2] // 250
    return f"127.{_next_address[0]}.{network}.{_next_address[2] % 250 + 1}"


def run(*command, stdin=None, check=True, timeout=60, env=None):
    """Runs a command; returns the finished process with text output."""
    process = subprocess.run([str(word) for word in command], input=stdin, text=True,
                             capture_output=True, timeout=timeout, env=env, check=False)
    if check and process.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {process.returncode}\n"
                             f"{process.stdout}{process.stderr}")
    return process


def wait_for(what, condition, timeout=20, step=0.05):
    """Calls condition until it is true; its value. Fails with what after timeout seconds."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout} s in vain: {what}")
        time.sleep(step)


class Authority:
    """A throw-away certificate authority."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.certificate = self.directory / "ca.pem"
        self.key = self.directory / "ca.key"
        if not self.certificate.exists():
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.key, "-out",
                self.certificate, "-days", "30", "-subj", "/CN=Dakiya throw-away CA")

    def issue(self, names, key, certificate):
        """A key and a certificate chain for names, in two files."""
        with tempfile.TemporaryDirectory() as work:
            request, extensions = f"{work}/request", f"{work}/extensions"
            run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", request,
                "-subj", f"/CN={names[0]}")
            alternatives = ",".join(("IP:" if re.fullmatch(r"[\d.]+", name) else "DNS:") + name
                                    for name in names)
            pathlib.Path(extensions).write_text(f"subjectAltName={alternatives}\n")
            run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey",
                self.key, "-CAcreateserial", "-out", certificate, "-days", "30",
                "-extfile", extensions)
        with open(certificate, "a", encoding="ascii") as chain:
            chain.write(self.certificate.read_text())
        os.chmod(key, 0o600)

    def context(self):
        """A client's TLS context that trusts this authority."""
        return ssl.create_default_context(cafile=str(self.certificate))


class Host:
    """One mail system. Parameters in `settings` go to main.cf, after the harness's own."""

    def __init__(self, directory, domain="example.test", address=None, authority=None,
                 dns_records=(), settings=None, ports=None, users=("alice", "bob"),
                 extra_services=""):
        self.directory = pathlib.Path(directory)
        self.domain = domain
        self.name = f"mail.{domain}"
        self.address = address or new_address()
        self.ports = dict(PORTS, **(ports or {}))
        self.authority = authority
        self.dns_records = list(dns_records)
        self.settings = dict(settings or {})
        self.extra_services = extra_services
        self.config = self.directory / "etc"
        self.queue = self.directory / "queue"
        self.data = self.directory / "data"
        self.mail = self.directory / "mail"
        self.log_file = self.directory / "log" / "mail.log"
        self.is_running = False
        self.make_directories()
        self.write_config()
        for user in users:
            self.add_user(user)

    # ---- set-up ----

    def make_directories(self):
        for path in (self.directory, self.config, self.queue, self.data, self.mail,
                     self.log_file.parent):
            path.mkdir(parents=True, exist_ok=True)
            os.chmod(path, 0o755)
        if os.geteuid() == 0:
            os.chown(self.mail, VMAIL_UID, VMAIL_GID)
        if self.authority and not (self.config / "host.pem").exists():
            self.authority.issue([self.name, self.domain, self.address],
                                 self.config / "host.key", self.config / "host.pem")

    def main_cf(self):
        uid = VMAIL_UID if os.geteuid() == 0 else os.getuid()
        gid = VMAIL_GID if os.geteuid() == 0 else os.getgid()
        values = {
            "myhostname": self.name,
            "mydomain": self.domain,
            "mydestination": "",
            "mynetworks": f"{self.address}/32",
            "inet_interfaces": self.address,
            "config_directory": self.config,
            "queue_directory": self.queue,
            "data_directory": self.data,
            "daemon_directory": BUILD / "libexec",
            "command_directory": BUILD / "bin",
            "maillog_file": self.log_file,
            "virtual_mailbox_base": self.mail,
            "virtual_mailbox_domains": f"hash:{self.data}/domains",
            "virtual_mailbox_maps": f"hash:{self.data}/mailboxes",
            "virtual_mailbox_quota_maps": f"hash:{self.data}/quotas",
            "virtual_uid_maps": f"static:{uid}",
            "virtual_gid_maps": f"static:{gid}",
            "smtp_tcp_port": self.ports["smtp"],
            "smtp_bind_address": self.address,
            "smtpd_sasl_auth_enable": "yes",
        }
        if os.geteuid() == 0:
            values |= {f"{role}_owner": owner for role, owner in OWNERS.items()}
        if self.authority:
            values |= {
                "smtpd_tls_security_level": "may",
                "smtpd_tls_chain_files": f"{self.config}/host.key, {self.config}/host.pem",
                "smtpd_tls_auth_only": "yes",
                "smtp_tls_CAfile": self.authority.certificate,
            }
        if self.dns_records:
            records = ", ".join("{ " + record + " }" for record in self.dns_records)
            values["resolver_local_data"] = records
            values["resolver_dnssec"] = "no"
        return values | self.settings

    def write_config(self):
        lines = [f"{name} = {value}\n" for name, value in self.main_cf().items()]
        (self.config / "main.cf").write_text("".join(lines))
        (self.config / "master.cf").write_text(self.master_cf())

    def master_cf(self):
        at, port = self.address, self.ports
        tls = "" if not self.authority else f"""
{at}:{port['submissions']} inet n - n - - smtpd
  -o syslog_name=postfix/submissions -o smtpd_tls_wrappermode=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
{at}:{port['pop3s']} inet n - n - - pop3d -o pop3_tls_wrappermode=yes
"""
        return f"""# service type private unpriv chroot wakeup maxproc command
{at}:{port['smtp']} inet n - n - - smtpd
{at}:{port['submission']} inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
{at}:{port['pop3']} inet n - n - - pop3d
{tls}
qmgr unix n - n - 1 qmgr
resolver unix - - n - 1 resolver
authd unix - - n - 10 authd
smtp unix - - n - 20 smtp
relay unix - - n - 20 smtp
lmtp unix - - n - 10 lmtp
virtual unix - n n - - local
bounce unix - - n - 2 bounce
{self.extra_services}"""

    def tool(self, name, *arguments, stdin=None, check=True, timeout=60):
        return run(BUILD / "bin" / name, "-c", self.config, *arguments, stdin=stdin, check=check,
                   timeout=timeout)

    def add_user(self, user, password=PASSWORD, *options):
        address = user if "@" in user else f"{user}@{self.domain}"
        self.tool("dakuser", "add", "--stdin", *options, address, stdin=password + "\n")

    # ---- life ----

    def start(self, timeout=30):
        result = self.tool("dakiya", "start", check=False, timeout=timeout)
        if result.returncode != 0:
            raise AssertionError(f"dakiya start: exit {result.returncode}\n{result.stdout}"
                                 f"{result.stderr}\n--- log\n{self.log()}")
        self.is_running = True
        return self

    def stop(self, check=True):
        if not self.is_running:
            return
        result = self.tool("dakiya", "stop", check=False, timeout=60)
        self.is_running = False
        if result.returncode != 0:
            self.kill()
            assert not check, f"dakiya stop: {result.stdout}{result.stderr}\n{self.log()}"

    def master_pid(self):
        try:
            return int((self.queue / "pid" / "master.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def processes(self):
        """Program name -> pids of this host's daemons (children of its master)."""
        master, found = self.master_pid(), {}
        children = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = (entry / "stat").read_text()
                name = stat[stat.index("(") + 1:stat.rindex(")")]
                parent = int(stat[stat.rindex(")") + 2:].split()[1])
                children.setdefault(parent, []).append((name, int(entry.name)))
        todo = [master]
        while todo:
            for name, pid in children.get(todo.pop(), []):
                found.setdefault(name, []).append(pid)
                todo.append(pid)
        return found

    def kill(self):
        """kill -9 of everything of this host, master last: it starts nobody meanwhile, and when it
        died before them the kernel would continue (SIGCONT) daemons that a test has stopped."""
        def send(pid, number):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

        master = self.master_pid()
        if master:
            send(master, signal.SIGSTOP)
            for pid in [pid for group in self.processes().values() for pid in group]:
                send(pid, signal.SIGKILL)
            send(master, signal.SIGKILL)
        self.is_running = False

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop(check=False)

    # ---- looking ----

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def check_log(self):
        """Fails when a daemon crashed by itself or a sanitizer had something to say."""
        found = re.search(r"^.*(ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error:|"
                          r"LeakSanitizer|Assertion|killed by signal (4|6|7|8|11|31)\b).*$",
                          self.log(), re.M)
        assert not found, f"in the log of {self.name}:\n{self.log()[found.start():][:6000]}"

    def wait_log(self, pattern, timeout=20):
        """Waits for a log line that matches the regular expression; the match."""
        try:
            return wait_for(f"log line {pattern!r}",
                            lambda: re.search(pattern, self.log(), flags=re.M), timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log of {self.name}\n{self.log()[-8000:]}") from None

    def maildir(self, user):
        return self.mail / self.domain / user

    def messages(self, user):
        """The messages in a user's mailbox, oldest name first, as bytes."""
        files = []
        for part in ("new", "cur"):
            with contextlib.suppress(FileNotFoundError):
                files += (self.maildir(user) / part).iterdir()
        return [path.read_bytes() for path in sorted(files, key=lambda path: path.name)]

    def wait_messages(self, user, count=1, timeout=20):
        try:
            return wait_for(f"{count} messages for {user}", lambda: (
                lambda found: found if len(found) >= count else None)(self.messages(user)), timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log of {self.name}\n{self.log()[-8000:]}") from None

    def queue_list(self):
        """The queue as dakqueue prints it in JSON, one dict a message."""
        out = self.tool("dakqueue", "-j").stdout
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def wait_queue_empty(self, timeout=20):
        wait_for("the queue to be empty", lambda: not self.queue_list(), timeout, 0.1)

    # ---- clients ----

    def smtp(self, port="smtp", **options):
        # A name of our own: smtplib would ask DNS for the machine's.
        options.setdefault("local_hostname", "client.test")
        return smtplib.SMTP(self.address, self.ports[port], timeout=20, **options)

    def send(self, sender, recipients, text, port="smtp"):
        """Sends a message by smtplib; what the server answered to the end of data."""
        if isinstance(recipients, str):
            recipients = [recipients]
        with self.smtp(port) as client:
            client.ehlo("client.test")
            code, reply = client.mail(sender)
            assert code == 250, reply
            for recipient in recipients:
                code, reply = client.rcpt(recipient)
                assert code == 250, reply
            code, reply = client.data(text)
            assert code == 250, reply
            return reply.decode()

    def pop3(self, user="alice", password=PASSWORD, port="pop3s"):
        client = poplib.POP3_SSL(self.address, self.ports[port], timeout=20,
                                 context=self.tls_context())
        client.user(user if "@" in user else f"{user}@{self.domain}")
        client.pass_(password)
        return client

    def tls_context(self):
        context = self.authority.context()
        context.check_hostname = False
        return context


def message(subject="test", sender="sender@client.test", to="alice@example.test", body="Hello.\n"):
    """A small message with CRLF line ends."""
    text = f"From: <{sender}>\nTo: <{to}>\nSubject: {subject}\n\n{body}"
    return text.replace("\n", "\r\n")


def new_directory(name):
    """A directory that daemons under other uids may enter; the caller removes it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=f"dakiya-{name}-", dir="/tmp"))
    os.chmod(path, 0o755)
    return path


def remove_directory(path):
    shutil.rmtree(path, ignore_errors=True)


def port_is_open(address, port):
    with contextlib.suppress(OSError):
        with socket.create_connection((address, port), timeout=1):
            return True
    return False
