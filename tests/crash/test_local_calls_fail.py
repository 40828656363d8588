"""Mail of and for the users of this host, and the n-th call fails: what sendmail took is delivered, what
an alias, a .forward, a list, a command or a mailbox gets is whole and comes at least once.

Short: a few n. CRASH_ALL=1: every n. CRASH_SEED repeats a short run.
"""
import errno
import os
import random
import re
import shutil
import time

import pytest

import dakiya
from faults import NEVER, Faults
from local_host import DOMAIN, UIDS, LocalHost
from mailhost import report, wait_for

ALL = bool(os.environ.get("CRASH_ALL"))
ONLY = os.environ.get("CRASH_CALL")
SEED = int(os.environ.get("CRASH_SEED", time.time()))
SAMPLES = int(os.environ.get("CRASH_SAMPLES", "3"))
PROGRAMS = os.environ.get("CRASH_PROGRAMS", "local pickup pipe bounce").split()
MOST = 300  # n of one kind of call that the long run takes

WAYS = [("memory", errno.ENOMEM), ("open", errno.EMFILE), ("open", errno.EIO), ("read", errno.EIO), ("read", 0),
        ("write", errno.ENOSPC), ("write", 0), ("sync", errno.EIO), ("rename", errno.EIO), ("link", errno.EIO),
        ("stat", errno.EIO), ("list", errno.EIO), ("socket", errno.EMFILE), ("thread", errno.EAGAIN),
        ("truncate", errno.EIO), ("mkdir", errno.ENOSPC), ("change", errno.EIO)]
BODY = "".join(f"line {number}\n" for number in range(300))


class Scene:
    """bob has a .forward, alice a command, carol a Maildir; a list, a file, a pipe; and sendmail."""

    def __init__(self, place):
        self.faults = Faults(place / "libexec")
        self.local = LocalHost(self.make_host, directory=place, settings={
            "daemon_directory": self.faults.directory, "minimal_backoff_time": "1s", "maximal_backoff_time": "1s",
            "allow_mail_to_files": "alias, forward, include", "allow_mail_to_commands": "alias, forward, include",
            "transport_maps": f"inline:{{ {{pipe@{DOMAIN} = tool:}} }}"})
        self.host = self.local.host
        out = self.local.shared
        self.local.script("keep", f"#!/bin/sh\nf=$(mktemp {out}/command.XXXXXXXX.tmp) && cat >$f && mv $f ${{f%.tmp}}\n")
        self.local.script("tool", f"#!/bin/sh\nf=$(mktemp {out}/tool.XXXXXXXX.tmp) && cat >$f && mv $f ${{f%.tmp}}\n")
        (place / "list").write_text(f"carol@{DOMAIN}\n")
        os.chmod(place / "list", 0o644)
        self.local.set_aliases({"all": f":include:{place}/list, bob, alice"})
        self.local.forward("bob", f"\\bob, {self.local.homes}/bob/mbox\n")
        self.local.forward("alice", f'"|{out}/keep"\n')
        self.cases = self.hits = self.number = self.repeats = 0
        self.sent, self.done = [], {}
        self.local.start()

    def make_host(self, directory, settings, extra_services, **options):
        uid = UIDS["bob"]
        extra = extra_services + "pickup unix n - n 60 1 pickup\n" + \
            f"tool unix - n n - 2 pipe user={uid}:{uid} argv={directory}/shared/tool\n"
        return dakiya.Host(directory, domain=DOMAIN, settings=settings, extra_services=extra, **options)

    def send(self):
        """To everybody by SMTP, and to carol by sendmail."""
        self.number += 1
        name = f"n{self.number}"
        try:
            self.host.send("sender@client.test", [f"all@{DOMAIN}", f"pipe@{DOMAIN}"], dakiya.message(
                subject=name, to=f"all@{DOMAIN}", body=BODY))
            self.sent += [(name, where) for where in ("bob", "mbox", "command", "carol", "tool")]
        except (AssertionError, OSError):
            pass
        name += "d"
        done = dakiya.run(dakiya.BUILD / "bin" / "sendmail", "-C", self.host.config, f"carol@{DOMAIN}",
                          stdin=f"Subject: {name}\n\n{BODY}", check=False)
        if done.returncode == 0:
            self.sent.append((name, "carol"))

    def texts(self, where):
        if where == "bob" or where == "carol":
            return [text.decode() for text in self.local.mail(where)]
        if where == "mbox":
            path = self.local.homes / "bob" / "mbox"
            return re.split(r"(?m)^From .*\n", path.read_text())[1:] if path.exists() else []
        return [path.read_text() for path in self.local.shared.glob(f"{where}.*") if path.suffix != ".tmp"]

    def arrived(self):
        """(subject, where) -> how often it came whole."""
        found = {}
        for where in ("bob", "mbox", "command", "carol", "tool"):
            for text in self.texts(where):
                name = re.search(r"(?m)^Subject: (\w+)$", text.replace("\r", ""))
                if name and text.replace("\r", "").rstrip("\n").endswith(BODY.rstrip("\n")):
                    found[name.group(1), where] = found.get((name.group(1), where), 0) + 1
        return found

    def case(self, program, call, error, number):
        with self.faults.armed(call, error, number, program=program):
            self.done[f"n{self.number + 1}"] = f"{program}: {call} number {number}: {errno.errorcode.get(error, 'a half')}"
            self.send()
            time.sleep(0.15)
            self.hits += self.faults.hits > 0
        self.cases += 1

    def settle(self, what):
        def missing():
            self.host.tool("dakqueue", "flush")
            found = self.arrived()
            return [one for one in self.sent if one not in found]

        try:
            wait_for("all that was taken", lambda: not missing(), 40)
        except AssertionError:
            left = missing()
            lines = [line for line in self.host.log().splitlines() if "warning" in line or "error" in line
                     or "bounced" in line or "corrupt" in line]
            words = [f"{one}: {self.done.get(one[0].rstrip('d'), '')}" for one in left[:10]]
            raise AssertionError(f"CRASH_SEED={SEED}: missing\n" + "\n".join(words + lines[-40:])) from None
        found = self.arrived()
        self.repeats = sum(count - 1 for count in found.values())
        crashes = [line for line in self.host.log().splitlines() if "killed by signal" in line]
        report(f"local mail, {what}: seed {SEED}, {self.cases} cases, {self.hits} met, {len(self.sent)} deliveries "
               f"promised, 0 lost, {self.repeats} repeated, {len(crashes)} crashes {self.faults.crash}")
        assert "status=bounced" not in self.host.log()
        assert not crashes or re.match(r"lib(sasl2|c|db|seccomp)\b", self.faults.crash), (crashes, self.faults.crash)

    def close(self):
        self.faults.disarm()
        self.host.kill()


@pytest.fixture
def scene():
    place = dakiya.new_directory("locals")
    made = Scene(place)
    yield made
    made.close()
    shutil.rmtree(place, ignore_errors=True)


def test_each_call_on_the_ways_of_local_mail_may_fail(scene):
    chance = random.Random(SEED)
    scene.send()
    scene.settle("before")
    programs = PROGRAMS if ALL else [chance.choice(PROGRAMS)]
    for program in programs:
        todo = []
        for call, error in WAYS:
            if ONLY and call != ONLY:
                continue
            with scene.faults.armed(call, errno.EIO, NEVER, program=program):
                if ALL or call in ("memory", "open", "read"):
                    scene.send()
                    time.sleep(0.5)
                count = scene.faults.counted
            todo += [(call, error, number) for number in range(1, count + 1, max(1, count // MOST))]
        for call, error, number in todo if ALL else chance.sample(todo, min(len(todo), SAMPLES)):
            scene.case(program, call, error, number)
        scene.settle(program)
