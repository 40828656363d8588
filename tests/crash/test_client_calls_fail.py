"""What clients are told when the n-th call fails: a good address, command or password is never refused
for good, a deletion that was acknowledged is one, and nobody waits in vain.

Short: a few n. CRASH_ALL=1: every n. CRASH_SEED repeats a short run.
"""
import base64
import errno
import os
import random
import shutil
import socket
import time

import pytest

import dakiya
from dakiya import PASSWORD
from faults import NEVER, Faults
from mailhost import POP3_USER, Host, content_of, name_in, report, wait_for

ALL = bool(os.environ.get("CRASH_ALL"))
ONLY = os.environ.get("CRASH_CALL")
SEED = int(os.environ.get("CRASH_SEED", time.time()))
SAMPLES = int(os.environ.get("CRASH_SAMPLES", "8"))
MOST = 700  # n of one kind of call that the long run takes
LIBRARIES = ("libsasl2.", "libc.", "libdb-", "libseccomp.")
PATIENCE = 15  # seconds for an answer

WAYS = [("memory", errno.ENOMEM), ("open", errno.EMFILE), ("open", errno.EIO), ("read", errno.EIO), ("read", 0),
        ("write", errno.ENOSPC), ("write", 0), ("sync", errno.EIO), ("rename", errno.EIO), ("link", errno.EIO),
        ("stat", errno.EIO), ("list", errno.EIO), ("socket", errno.EMFILE), ("thread", errno.EAGAIN),
        ("mkdir", errno.ENOSPC), ("change", errno.EIO)]
MAILS = [f"p{number}s{size}" for number, size in enumerate((700, 3000, 90000), 1)]


class Line:
    """A client's connection; the end of it is an exception."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host.address, host.ports[port]), PATIENCE)
        self.file = self.socket.makefile("rb")

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        return line[:-2]

    def say(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode() + b"\r\n")

    def close(self):
        self.file.close()
        self.socket.close()


class Smtp(Line):
    def reply(self):
        self.lines = []
        while True:
            line = self.line()
            self.lines.append(line[4:].decode())
            if line[3:4] != b"-":
                return line.decode()

    def ask(self, text, *wanted):
        """The reply's code: what is wanted, or a 4xx."""
        self.say(text)
        reply = self.reply()
        assert int(reply[:3]) in wanted or reply[0] == "4", f"{text[:60]!r}: {reply}"
        return int(reply[:3])


PLAIN = base64.b64encode(f"\0{POP3_USER}@example.test\0{PASSWORD}".encode()).decode()


def smtp_dialogue(host):
    """A client that uses all that there is."""
    line = Smtp(host, "smtp")
    try:
        greeting = line.reply()
        assert greeting[:1] in "24", greeting
        line.ask("EHLO client.test", 250)
        auth = ""
        has_auth = any(word.startswith("AUTH") for word in line.lines)
        line.ask("XFORWARD NAME=a+2Bb ADDR=192.0.2.1 HELO=h", 250)
        if has_auth:  # authd can be asked
            line.ask(f"AUTH PLAIN {PLAIN}", 235)
            auth = " AUTH=c+2Bd@example.test"
        line.ask("VRFY <u1@example.test>", 252)
        line.ask('MAIL FROM:<"a b"@example.test> SIZE=300 BODY=8BITMIME RET=HDRS ENVID=a+2Bb' + auth, 250)
        line.ask("RCPT TO:<u1@example.test> NOTIFY=NEVER ORCPT=rfc822;u+2B1@example.test", 250, 503)
        line.ask("RCPT TO:<u2@example.test>", 250, 503)
        line.ask("RCPT TO:<alias@example.test>", 250, 503)
        line.ask("RSET", 250)
        line.ask("QUIT", 221)
    finally:
        line.close()


def login_dialogue(host):
    line = Smtp(host, "smtp")
    try:
        if line.reply()[0] == "4":
            return
        line.ask("EHLO client.test", 250)
        has_auth = any(word.startswith("AUTH") for word in line.lines)
        if has_auth and line.ask("AUTH LOGIN", 334) == 334 and \
                line.ask(base64.b64encode(f"{POP3_USER}@example.test".encode()).decode(), 334) == 334:
            line.ask(base64.b64encode(PASSWORD.encode()).decode(), 235)
        line.ask("QUIT", 221)
    finally:
        line.close()


class Mailbox:
    """The POP3 user's Maildir, put back as it was for each case."""

    def __init__(self, host):
        self.host, self.path = host, host.maildir(POP3_USER)
        self.template = host.directory / "maildir.template"

    def fill(self):
        for name in MAILS:
            self.host.send("sender@example.test", f"{POP3_USER}@example.test", content_of(name))
        self.host.wait_messages(POP3_USER, len(MAILS))
        shutil.copytree(self.path, self.template, copy_function=self.copy)

    @staticmethod
    def copy(source, target):
        shutil.copy2(source, target)
        info = os.stat(source)
        os.chown(target, info.st_uid, info.st_gid)

    def restore(self):
        for part in ("new", "cur", "tmp"):
            for path in (self.path / part).iterdir():
                path.unlink()
        for path in self.template.glob("*/*"):
            self.copy(path, self.path / path.relative_to(self.template))

    def names(self):
        """What is there; each must be whole."""
        found = []
        for text in self.host.messages(POP3_USER):
            name = name_in(text)
            assert name in MAILS and text.endswith(content_of(name).replace(b"\r\n", b"\n")), f"{name} is not whole"
            found.append(name)
        assert len(found) == len(set(found))
        return found


class Pop3(Line):
    def ask(self, text):
        """Whether it was +OK; the right password is never a wrong one."""
        if text:
            self.say(text)
        line = self.line()
        assert line.startswith((b"+OK", b"-ERR")), line
        assert not line.startswith(b"-ERR [AUTH]"), f"{text}: {line}"
        return line.startswith(b"+OK")

    def rest(self):
        lines = []
        while (line := self.line()) != b".":
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(line + b"\r\n" for line in lines)


def pop3_dialogue(host, box):
    """Fetches all and deletes two; what became of it is compared with what was said."""
    deleted, is_committed, is_asked = [], False, False
    line = Pop3(host, "pop3")
    try:
        if line.ask("") and line.ask(f"USER {POP3_USER}@example.test") and line.ask(f"PASS {PASSWORD}"):
            line.ask("STAT")
            if line.ask("UIDL"):
                line.rest()
            for number in range(1, len(MAILS) + 1):
                if not line.ask(f"RETR {number}"):
                    continue
                text = line.rest()
                name = name_in(text)
                assert name and text.endswith(content_of(name)), f"RETR {number} is not the message"
                if number < len(MAILS) and line.ask(f"DELE {number}"):
                    deleted.append(name)
        is_asked = True
        is_committed = line.ask("QUIT")
    except (ConnectionError, OSError) as problem:
        assert not isinstance(problem, TimeoutError), "a client waits in vain"
    finally:
        line.close()

    def settled():
        left = box.names()
        return set(MAILS) - set(deleted) <= set(left) and (not is_committed or not set(left) & set(deleted)) \
            and (is_asked or len(left) == len(MAILS))

    # Without an answer the mailbox may still be at it.
    if is_committed:
        assert settled(), f"deleted {deleted}, there is {box.names()}"
    else:
        wait_for(f"deleted {deleted}, there is {box.names()}", settled, 3)


class Scene:
    def __init__(self, place):
        self.faults = Faults(place / "libexec")
        self.host = Host(place, place, libexec=self.faults.directory,
                         smtpd_authorized_xforward_hosts="127.0.0.0/8", smtpd_error_sleep_time=0,
                         smtpd_soft_error_limit=1000, smtpd_hard_error_limit=2000,
                         virtual_alias_maps="inline:{ {alias@example.test = u1@example.test, u2@example.test} }",
                         smtpd_recipient_restrictions="reject_non_fqdn_recipient, reject_unknown_recipient_domain, "
                         "check_recipient_access inline:{ {u1@example.test = OK} }, permit_mynetworks, reject")
        self.box = Mailbox(self.host)
        self.cases = self.hits = self.logged = 0
        self.problems = []
        self.host.start()
        self.box.fill()

    def pop3(self):
        self.box.restore()
        pop3_dialogue(self.host, self.box)

    def smtp(self, dialogue):
        try:
            dialogue(self.host)
        except (ConnectionError, OSError) as problem:
            assert not isinstance(problem, TimeoutError), "a client waits in vain"

    def case(self, what, program, call, error, number):
        with self.faults.armed(call, error, number, program=program):
            try:
                what()
            except AssertionError as problem:
                self.problems.append(f"CRASH_SEED={SEED}: {program}: {call} number {number} "
                                     f"({errno.errorcode.get(error, 'a half')}): {problem}")
                print(self.problems[-1], flush=True)
            self.hits += self.faults.hits > 0
        self.cases += 1

    def run(self, what, program):
        chance = random.Random(f"{SEED} {program}")
        what()  # nothing is new to anybody
        ways = [way for way in WAYS if not ONLY or way[0] == ONLY]
        counts = {}
        for call, _ in ways:
            with self.faults.armed(call, errno.EIO, NEVER, program=program):
                what()
            counts[call] = self.faults.counted
        todo = [(call, error, number) for call, error in ways
                for number in range(1, counts[call] + 1, max(1, counts[call] // MOST))]
        if not ALL:
            memory = [one for one in todo if one[0] == "memory"]
            others = [one for one in todo if one[0] != "memory"]
            todo = chance.sample(memory, min(len(memory), SAMPLES // 2)) + \
                chance.sample(others, min(len(others), SAMPLES // 2))
        for call, error, number in todo:
            self.case(what, program, call, error, number)
        crashes = [line for line in self.host.log()[self.logged:].splitlines() if "killed by signal" in line]
        self.logged = len(self.host.log())
        report(f"clients, calls of {program} that fail: seed {SEED}, {self.cases} cases, {self.hits} met, "
               f"{len(self.problems)} wrong, {len(crashes)} crashes {crashes[:3]}\n{self.faults.crash}")
        assert not self.problems, "\n".join(self.problems[:5])
        # Without memory libsasl2 crashes at times (sasl_seterror in sasl_server_new): not ours to mend.
        assert not crashes or self.faults.crash.startswith(LIBRARIES), f"{crashes}\n{self.faults.crash}"

    def close(self):
        self.faults.disarm()
        self.host.kill()


@pytest.fixture(scope="module")
def scene():
    place = dakiya.new_directory("clients")
    made = Scene(place)
    yield made
    made.close()
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(autouse=True)
def fresh(scene):
    scene.cases = scene.hits = 0
    scene.problems = []


@pytest.mark.parametrize("program", ["pop3d", "local", "authd"])
def test_pop3_keeps_its_word(scene, program):
    scene.run(scene.pop3, program)


@pytest.mark.parametrize("program", ["smtpd", "authd"])
def test_smtp_never_refuses_for_good_what_is_good(scene, program):
    scene.run(lambda: (scene.smtp(smtp_dialogue), scene.smtp(login_dialogue)), program)
