"""The n-th write, sync, open, rename, link, allocation of a daemon fails, on the ways in, out, back and
at a restart: nothing is lost, nobody crashes, hangs or floods the log.

Short: a sample of n for each kind of failure, another in each run (CRASH_SEED repeats one).
CRASH_ALL=1: every n.
"""
import errno
import os
import random
import re
import signal
import smtplib
import time

import pytest

import dakiya
from faults import NEVER, Faults
from mailhost import BOUNCE_DOMAIN, SENDER, SINK_DOMAIN, Account, Host, Sink, content_of, report, wait_for

ALL = bool(os.environ.get("CRASH_ALL"))
SAMPLES = int(os.environ.get("CRASH_SAMPLES", "1"))
ONLY = os.environ.get("CRASH_CALL")  # one class of calls, to look closer
SEED = int(os.environ.get("CRASH_SEED", time.time()))  # which n are tried; a run tells its own
LINES = 300  # of the log in one case: its round, and what earlier ones left
LINES_A_ROUND = 60  # in each further round
SHORT = 0  # only half is written, or read

# Of each class of calls, how they fail.
WAYS = [("write", errno.EIO), ("write", errno.ENOSPC), ("write", errno.EINTR), ("write", SHORT),
        ("sync", errno.EIO), ("sync", errno.ENOSPC), ("sync", errno.EINTR),
        ("open", errno.EMFILE), ("open", errno.ENOSPC), ("open", errno.EIO), ("open", errno.EINTR),
        ("rename", errno.EIO), ("rename", errno.ENOSPC), ("link", errno.EIO), ("mkdir", errno.ENOSPC),
        ("truncate", errno.EIO), ("truncate", errno.ENOSPC), ("read", errno.EIO), ("read", SHORT),
        ("memory", errno.ENOMEM)]
PROGRAMS = ["smtpd", "qmgr", "local", "smtp", "bounce"]
IN_SHORT = {"smtpd": ("write", "open", "memory"), "smtp": ("memory",), "bounce": ("memory",)}


class Scene:
    """A host with faulty daemons; send() goes all the ways that there are."""

    def __init__(self, place):
        self.faults = Faults(place / "libexec")
        self.host = Host(place, place, libexec=self.faults.directory, maximal_backoff_time="1s",
                         # nobody is dead for long because of us
                         default_destination_concurrency_failed_cohort_limit=0)
        self.account = Account(self.host, Sink(self.host, deferred_part=0.5))
        self.number, self.refused, self.cases, self.hits, self.fatal = 0, 0, 0, 0, 0
        self.slowest, self.done, self.rounds = 0, [], 0
        self.host.start()

    def close(self):
        self.faults.disarm()
        self.host.kill()

    def one(self, client, recipient, where, size):
        self.number += 1
        name = f"f{self.number}s{size}"
        self.account.note(name, where, False)
        try:
            client.sendmail(f"{SENDER}@example.test", [recipient], content_of(name))
        except smtplib.SMTPResponseException as error:
            assert 400 <= error.smtp_code < 500, error
            self.refused += 1
        except smtplib.SMTPRecipientsRefused as error:
            assert all(400 <= code < 500 for code, _ in error.recipients.values()), error
            self.refused += 1
        else:
            self.account.note(name, where, True)

    def send(self):
        """Small and large mail to a mailbox, mail that is deferred, mail that bounces."""
        begin = time.monotonic()
        self.rounds += 1
        try:
            with self.host.smtp() as client:
                client.ehlo("client.test")
                self.one(client, "u1@example.test", "local", 700)
                self.one(client, "u2@example.test", "local", 290000)
                self.one(client, f"x@{SINK_DOMAIN}", "sink", 700)
                self.one(client, f"x@{BOUNCE_DOMAIN}", "bounce", 700)
        except (OSError, smtplib.SMTPException):
            self.refused += 1  # a connection that ended without an answer promises nothing
        self.slowest = max(self.slowest, time.monotonic() - begin)

    def count(self, program):
        """How many calls of each class one round makes."""
        counts = {call: 0 for call, _ in WAYS}
        for call in counts if ALL else IN_SHORT.get(program, counts):
            with self.faults.armed(call, errno.EIO, NEVER, program=program):
                self.send()
                time.sleep(0.3)  # with second attempts of earlier rounds
            counts[call] = self.faults.counted
        return counts

    def case(self, program, call, error, number, action=None):
        before, rounds = self.host.log(), self.rounds
        with self.faults.armed(call, error, number, program=program):
            if action:
                action()
            self.send()
            if number > 3 or call in ("read", "truncate"):  # perhaps in a second attempt
                until = time.monotonic() + 1.2
                while self.faults.hits == 0 and time.monotonic() < until:
                    time.sleep(0.02)
            hits = self.faults.hits
        self.cases += 1
        self.hits += hits > 0
        news = self.host.log()[len(before):]
        what = f"CRASH_SEED={SEED}: {program}: {call} number {number} fails with {errno.errorcode.get(error, 'a half')}"
        self.done.append(f"{what}: {'met' if hits else 'not met'}")
        crash = re.search(r"^.*killed by signal (4|6|7|8|11|31)\b.*$", news, re.M)
        assert not crash, f"{what}:\n{crash.group(0)}\n{news[-3000:]}"
        most = LINES + LINES_A_ROUND * (self.rounds - rounds - 1)
        assert news.count("\n") < most, f"{what}: floods the log:\n{news[:3000]}"
        self.fatal += news.count("fatal: ")
        return hits > 0

    def explain(self):
        """What went wrong, with the log of the messages concerned."""
        words = [f"CRASH_SEED={SEED}"] + self.account.corrupt_all() + self.account.lost() + self.done
        for name in self.account.lost()[:3]:
            for queue_id in re.findall(rf"(\w+): message-id=<{name}@", self.host.log()):
                words += re.findall(rf"^.*{queue_id}.*$", self.host.log(), re.M)
                for notice in re.findall(rf"{queue_id}: sender non-delivery notification: (\w+)", self.host.log()):
                    words += re.findall(rf"^.*{notice}.*$", self.host.log(), re.M)
        return "\n".join(words)

    def wait_queue_empty(self):
        if not ALL:  # what could not be moved to a file waits 30 s: not here
            time.sleep(1)
            self.host.tool("dakqueue", "flush")
        try:
            self.host.wait_queue_empty(90)
        except AssertionError:
            left = self.host.queue_list()
            words = [str(self.done)] + [str(entry) for entry in left[:5]]
            for entry in left[:5]:
                words += re.findall(rf"^.*{entry['queue_id']}.*$", self.host.log(), re.M)[-15:]
            words += [line for line in self.host.log().splitlines() if "error" in line or "warning" in line][-40:]
            raise AssertionError("mail stays in the queue:\n" + "\n".join(words)) from None
        time.sleep(0.3)

    def files(self):
        """What a restart would deliver, and large bodies that take room until then."""
        return [path for part in ("deferred/*/*", "hold/*", "spool/*") for path in self.host.queue.glob(part)]

    def settle(self, what):
        self.wait_queue_empty()
        try:
            wait_for("files of messages that are done to go", lambda: not self.files(), 10)
        except AssertionError:
            words = [line for path in self.files()[:3] for line in self.host.log().splitlines()
                     if path.name in line]
            raise AssertionError("\n".join([*map(str, self.files()), *self.done, *words])) from None
        self.account.collect()
        self.host.check_log()
        local, bounces, relayed = self.account.duplicates()
        report(f"calls that fail, {what}: seed {SEED}, {self.cases} cases, {self.hits} met, "
               f"{len(self.account.accepted)} messages answered 250, {self.refused} refused, "
               f"{len(self.account.lost())} lost, {len(self.account.corrupt_all())} corrupt, duplicates: "
               f"{local} in mailboxes, {bounces} bounces, {relayed} relayed; {self.fatal} daemons ended by "
               f"themselves, slowest round {self.slowest:.1f} s")
        assert not self.account.corrupt_all() and not self.account.lost(), self.explain()
        assert self.hits > 0 or self.cases < 5
        assert self.slowest < 20, "a client hangs"


@pytest.fixture
def scene(place):
    made = Scene(place)
    yield made
    made.close()


def numbers(count, chance):
    """Which n to try."""
    if ALL:
        return range(1, count + 1) if count < 1000 else range(1, count + 1, count // 1000)
    return sorted({chance.randint(1, count) for _ in range(SAMPLES)}) if count else []


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_call_of_a_daemon_may_fail(scene, program):
    chance = random.Random(SEED)
    counts = scene.count(program)
    for call, error in WAYS:
        if ONLY and call != ONLY:
            continue
        for number in numbers(counts[call], chance):
            scene.case(program, call, error, number)
    scene.settle(program)


def test_a_restart_in_which_a_call_fails_comes_to_an_end(scene):
    """qmgr is killed with mail in its queue; something in its next start fails, then it starts. More, and
    every n, of a start alone: test_qmgr_start_fails.py."""
    chance = random.Random(SEED)

    def restart():
        for pid in scene.host.processes().get("qmgr", []):
            os.kill(pid, signal.SIGKILL)
        before = scene.host.log().count("status=sent")
        scene.send()
        wait_for("mail to be delivered", lambda: (
            scene.send(), time.sleep(0.05), scene.host.log().count("status=sent") > before)[2], 20)

    ways = [way for way in WAYS if not ONLY or way[0] == ONLY]
    for call, error in ways if ALL else chance.sample(ways, min(len(ways), 3)):
        for number in range(1, 41) if ALL else [chance.randint(1, 10)]:
            scene.send()
            scene.case("qmgr", call, error, number, action=restart)
    scene.settle("restart of qmgr")
