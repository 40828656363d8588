"""A whole mail host under test, clients that send to it, and the account of what became of it all.

Every message has an id, and its content follows from the id: what arrives is compared byte by byte
with what was sent. A message that was answered 250 must arrive; one that was not may.
"""
import collections
import contextlib
import os
import pathlib
import poplib
import random
import re
import shutil
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import dakiya  # noqa: E402
from dakiya import BUILD, PASSWORD, wait_for  # noqa: E402,F401
from smtp_peer import Peer  # noqa: E402

SINK_DOMAIN, BOUNCE_DOMAIN = "sink.test", "gone.test"
USERS = [f"u{number}" for number in range(6)]
SENDER = "sender"  # whose mailbox gets the bounces
POP3_USER = "pop"


def report(text):
    """A figure: shown, and kept for the end of the run."""
    print(f"\n{text}")
    path = os.environ.get("CRASH_FIGURES")
    if path:
        with open(path, "a", encoding="ascii") as file:
            file.write(f"  {text}\n")


def content_of(name):
    """The message with this id, CRLF, as it is sent before dots are doubled. An id that ends with
    s700 has so many bytes of body, any other 500 to 60,000."""
    chance = random.Random(name)
    fixed = re.search(r"s(\d+)$", name)
    sizes = (int(fixed.group(1)),) * 2 if fixed else (500, 60000)
    size = int(sizes[0] * (sizes[1] / sizes[0]) ** chance.random())
    lines, used = [], 0
    while used < size:
        line = chance.choice(["", ".", "..", ".x"]) + chance.randbytes(36).hex()[:chance.randrange(73)]
        lines.append(line)
        used += len(line) + 2
    return (f"X-Crash: {name}\r\nFrom: <{SENDER}@example.test>\r\nTo: <u@example.test>\r\n"
            f"Date: Sat, 28 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{name}@client.test>\r\n"
            f"Subject: {name}\r\n\r\n" + "\r\n".join(lines) + "\r\n").encode()


class Host(dakiya.Host):
    """A host whose queue, data and mailboxes lie in `disk`; configuration and log outside of it."""

    def __init__(self, directory, disk, log_on_disk=False, libexec=None, authority=None, **settings):
        self.disk = pathlib.Path(disk)
        self.log_on_disk = log_on_disk
        self.sink_address = dakiya.new_address()
        super().__init__(directory, users=[*USERS, SENDER, POP3_USER], authority=authority, settings={
            "smtpd_client_connection_count_limit": 0, "smtpd_client_event_limit_exceptions": "",
            "mail_max_userip_connections": 1000, "auth_allow_cleartext": "yes",
            "smtpd_peername_lookup": "no", "qmgr_segment_size": 1048576,
            "minimal_backoff_time": "1s", "maximal_backoff_time": "2s",
            "transport_retry_time": "2s", "bounce_size_limit": 200000,
            "queue_minfree": 0,
            **{f"smtp_{step}_timeout": "5s" for step in ("connect", "helo", "mail", "rcpt", "data_init",
                                                        "data_xfer", "data_done", "rset", "quit")},
            "transport_maps": "inline:{ " + ", ".join(
                "{" + f"{domain} = smtp:[{self.sink_address}]:2525" + "}"
                for domain in (SINK_DOMAIN, BOUNCE_DOMAIN)) + " }",
            **({"daemon_directory": libexec} if libexec else {}), **settings})
        self.settings["mynetworks"] = f"{self.address}/32, 127.0.0.0/8"
        self.write_config()

    def make_directories(self):
        self.queue, self.data, self.mail = (self.disk / name for name in ("queue", "data", "mail"))
        if self.log_on_disk:
            self.log_file = self.disk / "log" / "mail.log"
        os.chmod(self.disk, 0o755)
        super().make_directories()

    def tool(self, name, *arguments, timeout=60, **options):
        return super().tool(name, *arguments, timeout=timeout, **options)

    def wait_queue_empty(self, timeout=20):
        """Seen empty twice: a notice may come while its message, already listed, goes."""
        for _ in range(2):
            super().wait_queue_empty(timeout)
            time.sleep(0.3)

    def kill(self):
        """kill -9 of all, also of what is started in between."""
        for _ in range(20):
            before = self.processes()
            master = self.master_pid()
            super().kill()
            if not before and not (master and os.path.exists(f"/proc/{master}/cwd")):
                break
            time.sleep(0.01)


class Sink:
    """The next mail server: remembers what it acknowledged, defers some at their first attempt."""

    def __init__(self, host, deferred_part=0.2):
        self.lock = threading.Lock()
        self.received, self.wrong, self.tried = collections.Counter(), [], set()
        self.deferred_part = deferred_part
        self.is_off, self.cuts = False, 0  # in a cut nothing comes in, and no reply gets through
        self.peer = Peer(host.sink_address, offers=["PIPELINING", "8BITMIME"], DATA=self.data,
                         RCPT=self.recipient, GREETING=self.greet)

    def go_off(self):
        self.cuts += 1
        self.is_off = True

    def greet(self, session, _argument):
        if self.is_off:
            raise StopIteration
        session.cuts = self.cuts
        session.say("220 sink.test ESMTP")

    @staticmethod
    def recipient(session, argument):
        if BOUNCE_DOMAIN in argument:
            session.say("550 5.1.1 nobody here")
        else:
            session.say("450 4.2.0 later" if "later@" in argument else "250 2.1.5 Ok")

    def data(self, session, _argument):
        session.say("354 go")
        lines = []
        while (line := session.file.readline()) != b".\r\n":
            if not line:
                raise StopIteration
            lines.append(line[1:] if line.startswith(b".") else line)
        text = b"".join(lines)
        name = name_in(text)
        if name is None:  # DATA was sent along with recipients that were refused
            session.say("554 5.5.1 no valid recipients")
            return
        with self.lock:
            is_first = name not in self.tried
            self.tried.add(name)
        if is_first and random.Random(f"sink {name}").random() < self.deferred_part:
            session.say("451 4.3.0 later")
            return
        # What the other side had sent before it lost its power still lies in the socket.
        if self.is_off or session.cuts != self.cuts:
            raise StopIteration
        with self.lock:  # before the reply: it counts as acknowledged if the reply may have gone out
            if not text.endswith(content_of(name)):
                self.wrong.append(name)
            self.received[name] += 1
        session.say("250 2.0.0 Ok")

    def close(self):
        self.peer.close()


def name_in(text):
    found = re.search(rb"^X-Crash: (\S+)", text, re.M)
    return found.group(1).decode() if found else None


class Account:
    """What was sent, what was answered, what arrived."""

    def __init__(self, host, sink=None):
        self.host, self.sink = host, sink
        self.lock = threading.Lock()
        self.accepted, self.sent = {}, {}  # id -> where to
        self.arrived = collections.Counter()
        self.bounced = collections.Counter()
        self.fetched, self.deleted, self.maybe_deleted = set(), set(), set()
        self.returned, self.corrupt = [], []
        self.aside = set()  # in lost+found: the file system lost a name that had been synced
        self.reported = 0  # duplicates

    def note(self, name, where, is_accepted):
        with self.lock:
            self.sent[name] = where
            if is_accepted:
                self.accepted[name] = where

    def check_file(self, path):
        """A file in a mailbox: counts it; it may be removed then."""
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return  # fetched and deleted meanwhile
        name = name_in(text)
        if name not in self.sent:
            self.corrupt.append(f"{path}: no id that was sent")
        elif self.sent[name] == "bounce":
            self.bounced[name] += 1
            if content_of(name).replace(b"\r\n", b"\n") not in text:
                self.corrupt.append(f"{path}: the bounce of {name} does not hold it")
        elif not text.endswith(content_of(name).replace(b"\r\n", b"\n")):
            self.corrupt.append(f"{path}: not as {name} was sent")
        else:
            self.arrived[name] += 1
            if name in self.deleted:
                self.returned.append(name)

    def collect(self, may_remove=True):
        """Looks through all mailboxes; removes what it has counted."""
        for part in ("new", "cur"):
            for path in sorted((self.host.mail / "example.test").glob(f"*/{part}/*")):
                self.check_file(path)
                if may_remove:
                    path.unlink(missing_ok=True)
        if may_remove:
            fd = os.open(self.host.mail, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            os.sync()

    def collect_aside(self, directory):
        """What e2fsck has found without a name: mail whole in a file there is not lost, but not delivered."""
        for path in directory.glob("*"):
            if path.is_file():
                text = path.read_bytes().replace(b"\r\n", b"\n")
                for name in re.findall(rb"^X-Crash: (\S+)", text, re.M):
                    if content_of(name.decode()).replace(b"\r\n", b"\n") in text:
                        self.aside.add(name.decode())
                path.unlink()

    def has_arrived(self, name, where):
        if where == "sink":
            return self.sink.received[name] > 0
        return (self.bounced[name] > 0 if where == "bounce" else self.arrived[name] > 0
                or name in self.fetched)

    def lost(self):
        return [name for name, where in self.accepted.items()
                if not self.has_arrived(name, where) and name not in self.aside]

    def duplicates(self):
        """Of local mail, of bounces, of relayed mail: copies beyond the first."""
        def beyond(counts):
            return sum(count - 1 for count in counts.values() if count > 1)
        return beyond(self.arrived), beyond(self.bounced), beyond(self.sink.received) if self.sink else 0

    def corrupt_all(self):
        return self.corrupt + [f"at the sink: {name}" for name in (self.sink.wrong if self.sink else [])]


class Reader:
    """The replies of an SMTP server."""

    def __init__(self, connection):
        self.file = connection.makefile("rb")

    def reply(self):
        while True:
            line = self.file.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("closed")
            if line[3:4] != b"-":
                return int(line[:3])


class Load:
    """Clients that send until told to stop, in turn with PIPELINING and with BDAT."""

    _number = 0

    def __init__(self, account, clients=8, pop3=True, ways=("local", "local", "local", "sink", "bounce"),
                 pause=0.0, timeout=15, size=None, fresh=False):
        Load._number += 1
        self.account, self.host, self.ways, self.pause = account, account.host, ways, pause
        self.timeout, self.ending = timeout, f"s{size}" if size else ""
        self.fresh = fresh  # a connection for each message
        self.is_over = threading.Event()
        self.refused = collections.Counter()
        self.slowest = 0.0  # seconds for a reply
        self.run = f"r{Load._number}x{os.getpid()}"
        self.threads = [threading.Thread(target=self.client, args=(number,), daemon=True)
                        for number in range(clients)]
        if pop3:
            self.threads.append(threading.Thread(target=self.pop3, daemon=True))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"

    def recipient(self, where, name):
        if where == "sink":
            return f"{name}@{SINK_DOMAIN}"
        if where == "bounce":
            return f"{name}@{BOUNCE_DOMAIN}"
        chance = random.Random(f"user {name}")
        return f"{chance.choice([*USERS, POP3_USER])}@example.test"

    def client(self, number):
        count, chance = 0, random.Random(f"{self.run} {number}")
        while not self.is_over.is_set():
            with contextlib.suppress(OSError, ConnectionError, ValueError):
                with socket.create_connection((self.host.address, self.host.ports["smtp"]), self.timeout,
                                              (self.host.address, 0)) as connection:
                    replies = Reader(connection)
                    self.timed(replies)
                    connection.sendall(b"EHLO client.test\r\n")
                    self.timed(replies)
                    while not self.is_over.is_set():
                        count += 1
                        self.message(connection, replies, f"{self.run}c{number}n{count}{self.ending}",
                                     chance.choice(self.ways), count % 2 == 0)
                        if self.pause:
                            self.is_over.wait(self.pause)
                        if self.fresh:
                            break
            self.is_over.wait(0.02)

    def timed(self, replies):
        begin = time.monotonic()
        try:
            return replies.reply()
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begin)

    def message(self, connection, replies, name, where, by_chunks):
        content = content_of(name)
        self.account.note(name, where, False)
        start = (f"MAIL FROM:<{SENDER}@example.test>\r\nRCPT TO:<{self.recipient(where, name)}>\r\n"
                 ).encode()
        if by_chunks:
            half = len(content) // 2
            connection.sendall(start + f"BDAT {half}\r\n".encode() + content[:half]
                               + f"BDAT {len(content) - half} LAST\r\n".encode() + content[half:])
            codes = [self.timed(replies) for _ in range(4)]
        else:
            connection.sendall(start + b"DATA\r\n")
            codes = [self.timed(replies) for _ in range(3)]
            if codes[2] == 354:
                connection.sendall(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
                codes.append(self.timed(replies))
        if codes[-1] == 250:
            self.account.note(name, where, True)
            return
        # The first one: after a refused recipient the rest is out of order.
        self.refused[next(code for code in codes if code >= 400)] += 1
        connection.sendall(b"RSET\r\n")
        self.timed(replies)

    # ---- POP3: fetches, deletes, and remembers what was answered to QUIT ----

    def pop3(self):
        while not self.is_over.is_set():
            with contextlib.suppress(OSError, poplib.error_proto, EOFError):
                self.pop3_session()
            self.is_over.wait(0.1)

    def pop3_session(self):
        client, names = poplib.POP3(self.host.address, self.host.ports["pop3"], timeout=self.timeout), []
        try:
            client.user(f"{POP3_USER}@example.test")
            client.pass_(PASSWORD)
            for number in range(1, min(client.stat()[0], 20) + 1):
                text = b"\r\n".join(client.retr(number)[1]) + b"\r\n"
                name = name_in(text)
                if name not in self.account.sent or not text.endswith(content_of(name)):
                    self.account.corrupt.append(f"POP3 gave {name} not as it was sent")
                client.dele(number)
                names.append(name)
        except BaseException:
            client.close()
            raise
        with self.account.lock:  # once QUIT is sent, the answer may be lost
            self.account.fetched.update(names)
        client.quit()
        with self.account.lock:
            self.account.deleted.update(names)


@contextlib.contextmanager
def workplace(name):
    """A directory that daemons under other uids may enter."""
    path = dakiya.new_directory(name)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
