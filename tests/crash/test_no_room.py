"""No room: a full disk, no inodes, few descriptors, little memory, few processes. Mail is refused for
now, no client hangs, nothing is lost, and mail is taken again within a second when there is room.
"""
import collections
import contextlib
import json
import os
import pathlib
import poplib
import re
import socket
import time

import pytest

import dakiya
from disk import Disk
from faults import Faults
from dakiya import PASSWORD, Authority
from mailhost import POP3_USER, Account, Host, Load, Sink, report, wait_for

SECONDS = float(os.environ.get("CRASH_SECONDS", "3"))
LONG = bool(os.environ.get("CRASH_ALL"))


class Limits:
    """Control groups for memory and processes, version 1 or 2, whichever is there."""

    def __init__(self):
        root = pathlib.Path("/sys/fs/cgroup")
        name = f"dakiya-crash-{os.getpid()}"
        is_first = (root / "memory" / "memory.limit_in_bytes").exists()
        self.memory = (root / "memory" if is_first else root) / name
        self.pids = (root / "pids" if is_first else root) / name
        self.memory_file = "memory.limit_in_bytes" if is_first else "memory.max"
        if os.geteuid() != 0:
            pytest.skip("control groups need root")
        try:
            if not is_first:
                (root / "cgroup.subtree_control").write_text("+memory +pids")
            for path in {self.memory, self.pids}:
                path.mkdir()
            if not (self.pids / "pids.max").exists() or not (self.memory / self.memory_file).exists():
                raise OSError("without memory or pids controller")
        except OSError as error:
            self.close()
            pytest.skip(f"no control groups here: {error}")

    def words(self):
        """Shell words that put the shell into the groups."""
        return " ".join(f"echo $$ >{path}/cgroup.procs;" for path in {self.memory, self.pids})

    def set_memory(self, megabytes):
        (self.memory / self.memory_file).write_text(str(megabytes << 20))

    def memory_used(self):
        return int((self.memory / self.memory_file.replace("limit_in_bytes", "usage_in_bytes")
                    .replace("max", "current")).read_text())

    def set_processes(self, number):
        (self.pids / "pids.max").write_text(str(number))

    def processes(self):
        return int((self.pids / "pids.current").read_text())

    def out_of_memory_kills(self):
        for name in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError):
                for line in (self.memory / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    def close(self):
        for path in {self.memory, self.pids}:
            until = time.monotonic() + 10
            while path.exists() and time.monotonic() < until:
                with contextlib.suppress(OSError):
                    path.rmdir()
                time.sleep(0.05)


class LimitedHost(Host):
    """Started through a shell that sets limits first."""

    words = ""

    def tool(self, name, *arguments, **options):
        if name != "dakiya" or arguments[:1] != ("start",) or not self.words:
            return super().tool(name, *arguments, **options)
        options.pop("stdin", None)
        return dakiya.run("sh", "-c", f"{self.words} exec \"$@\"", "sh", dakiya.BUILD / "bin" / name, "-c",
                          self.config, *arguments, **options)


def fill_bytes(directory):
    """Writes until nothing fits; what to remove for room."""
    path = directory / "filler"
    with open(path, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return [path]


def fill_inodes(directory):
    made = []
    with contextlib.suppress(OSError):
        while True:
            path = directory / f"filler{len(made)}"
            path.touch()
            made.append(path)
    return made


def until_taken(account, timeout=20):
    """Seconds until the next message is answered 250. Clients that were refused pause, these do not."""
    begin, before = time.monotonic(), len(account.accepted)
    with Load(account, clients=4, pop3=False, size=1000, fresh=True):
        wait_for("mail is taken again", lambda: len(account.accepted) > before, timeout, 0.01)
        return time.monotonic() - begin


def finish(host, account, load, what):
    for _ in range(3):  # what could not be delivered waits, some in memory for 30 s
        host.tool("dakqueue", "flush")
        time.sleep(0.7)
    host.wait_queue_empty(60)
    time.sleep(0.3)
    account.collect()
    host.check_log()
    refused = ", ".join(f"{count} times {code}" for code, count in sorted(load.refused.items())) or "none"
    local, bounces, relayed = account.duplicates()
    report(f"no room: {what}, {len(account.accepted)} messages answered 250, refused: {refused}, "
           f"slowest reply {load.slowest:.1f} s, {len(account.lost())} lost, "
           f"{len(account.corrupt_all())} corrupt, duplicates: {local} in mailboxes, {bounces} bounces, "
           f"{relayed} relayed")
    assert not account.lost() and not account.corrupt_all() and not account.returned
    assert all(400 <= code < 500 for code in load.refused), load.refused
    assert load.slowest < 10, "a client hangs"


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_disk_refuses_mail_and_loses_none(place, what):
    disk = Disk("ext4", place / "disk", 48, ["-N", "2000"] if what == "inodes" else [])
    host = None
    try:
        host = Host(place, place / "disk", message_size_limit=200000)
        account = Account(host, Sink(host))
        host.start()
        with Load(account, pause=0.02) as load:
            wait_for("some mail", lambda: len(account.accepted) > 50)
            filler = fill_bytes(disk.directory) if what == "bytes" else fill_inodes(disk.directory)
            time.sleep(SECONDS)
            lines, refused = host.log().count("\n"), sum(load.refused.values())
            time.sleep(1)
            lines = host.log().count("\n") - lines
            refused = sum(load.refused.values()) - refused
            for path in filler:
                path.unlink()
            back = until_taken(account)
            time.sleep(0.5)
        finish(host, account, load, f"disk without {what}: first 250 {back:.2f} s after there was room, "
                                    f"{lines} log lines a second")
        assert back < 1
        assert what == "inodes" or load.refused, "the disk was not full"
        assert lines < 300 + 30 * max(refused, 1), "a flood in the log"
    finally:
        if host:
            host.kill()
        disk.close()


@pytest.mark.parametrize("descriptors", [32, 64, 256] if LONG else [32])
def test_few_descriptors_lose_nothing(place, descriptors):
    faults = Faults(place / "libexec")
    host = Host(place, place, libexec=faults.directory)
    account = Account(host, Sink(host))
    try:
        host.start()
        faults.limit_descriptors(descriptors)
        with Load(account, clients=60, pause=0.01) as load:
            time.sleep(SECONDS)
            faults.limit_descriptors(0)
            back = until_taken(account)
        finish(host, account, load, f"{descriptors} descriptors, 60 clients: first 250 {back:.2f} s after "
                                    "there were more")
        assert back < 1
        assert host.log().count("\n") < 20000 + 10 * len(account.accepted), "a flood in the log"
    finally:
        host.kill()


class DefaultHost(LimitedHost):
    """With all services of the master.cf that is shipped, on ports of this test."""

    def __init__(self, place, descriptors):
        key, certificate = place / "host.key", place / "host.pem"
        dakiya.Authority(place / "authority").issue(["mail.example.test"], key, certificate)
        super().__init__(place, place, smtpd_tls_security_level="may",
                         smtpd_tls_chain_files=f"{key}, {certificate}")
        self.words = f"ulimit -n {descriptors};"

    def master_cf(self):
        text = (dakiya.TOP / "conf" / "master.cf").read_text()
        for name in ("smtp", "submission", "submissions", "pop3", "pop3s"):
            text = re.sub(rf"^{name}(?= +inet)", str(self.ports[name]), text, flags=re.M)
        return text

    def start_limited(self, descriptors):
        self.start()
        limit = next(line.split()[3:5] for line in open(f"/proc/{self.master_pid()}/limits", encoding="ascii")
                     if line.startswith("Max open files"))
        if limit != [str(descriptors)] * 2:
            pytest.skip("master may raise its limit here")

    def daemons(self):
        return json.loads(self.tool("dakiya", "status", "--json").stdout)["processes"]

    def generation(self):
        """The generation that all 15 services run, when there is only one."""
        found = {process["generation"] for process in self.daemons()}
        ready = [process for process in self.daemons() if process["state"] == "ready"]
        return found.pop() if len(found) == 1 and len(ready) == 15 else None

    def ticks(self):
        """CPU time of all processes, in hundredths of a second."""
        used = 0
        for pid in [self.master_pid(), *(pid for pids in self.processes().values() for pid in pids)]:
            with contextlib.suppress(OSError):
                used += sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        return used


@pytest.mark.parametrize("descriptors", [32, 64, 256] if LONG else [32])
def test_a_real_limit_of_descriptors_loses_nothing(place, descriptors):
    """For master and so for every daemon, nobody may raise it again: all services of the shipped master.cf."""
    host = DefaultHost(place, descriptors)
    account = Account(host, Sink(host))
    try:
        host.start_limited(descriptors)
        with Load(account, clients=40, pause=0.05, size=2000) as load:
            time.sleep(SECONDS)
        back = until_taken(account)
        finish(host, account, load, f"ulimit -n {descriptors}, 15 services, 40 clients: first 250 {back:.2f} s after "
                                    f"they left, {len(account.fetched)} fetched by POP3")
        assert len(account.accepted) > 10 and account.fetched
        assert back < 1
    finally:
        host.kill()


def test_supervision_keeps_its_promises_with_few_descriptors(place):
    host = DefaultHost(place, 32)
    account = Account(host, Sink(host))
    try:
        host.start_limited(32)
        # More sessions than there are descriptors: some are served, the others refused, nobody spins.
        held = [socket.create_connection((host.address, host.ports["smtp"]), 5) for _ in range(60)]
        greetings = collections.Counter(connection.recv(3) for connection in held)
        assert greetings[b"220"] == 8 and greetings[b"421"] == 52
        before = host.ticks()
        time.sleep(0.5)
        assert host.ticks() - before < 10
        # A reload replaces all processes though there is no room for twice as many, and sessions are held.
        host.tool("dakiya", "reload")
        wait_for("all to be replaced", lambda: host.generation() == 2, 20)
        assert "Too many open files" not in host.log()
        for connection in held:
            connection.close()
        # Sockets outlive their daemons: who connects meanwhile waits.
        for name in ("smtpd", "qmgr", "local", "authd"):
            for pid in host.processes()[name]:
                os.kill(pid, 9)
        with Load(account, clients=8, pause=0.01, size=2000) as load:
            wait_for("mail is taken and fetched", lambda: len(account.accepted) > 20 and account.fetched)
        host.tool("dakiya", "logrotate")
        finish(host, account, load, "ulimit -n 32: after kills and a reload")
        host.stop()
    finally:
        host.kill()


def test_too_few_descriptors_for_all_services_are_refused_at_the_start(place):
    host = DefaultHost(place, 26)
    try:
        result = host.tool("dakiya", "start", check=False)
        if result.returncode == 0:
            pytest.skip("master may raise its limit here")
        assert re.search(r"15 services need \d+ open files, but only 26 are allowed: raise the limit", result.stderr)
        assert not host.processes()
    finally:
        host.kill()


@pytest.fixture
def limits():
    made = Limits()
    yield made
    made.close()


class CompleteHost(LimitedHost):
    """With every service of the shipped master.cf, TLS included."""

    def master_cf(self):
        return super().master_cf() + "pickup unix n - n 60 20 pickup\nlocal unix - n n - - local\n"


def log_in(host, port):
    """A login by POP3, over TLS where the port is for that."""
    at = host.address, host.ports[port]
    pop3 = (poplib.POP3_SSL(*at, timeout=15, context=host.authority.context()) if port == "pop3s"
            else poplib.POP3(*at, timeout=15))
    pop3.user(f"{POP3_USER}@example.test")
    pop3.pass_(PASSWORD)
    pop3.quit()


@pytest.mark.parametrize("megabytes", [16, 24, 32, 48, 64, 128] if LONG else [32])
def test_little_memory_loses_nothing_and_kills_nobody(place, limits, megabytes):
    host = CompleteHost(place, place, smtpd_tls_auth_only="no",
                        authority=Authority(place / "authority"))
    host.words = limits.words()
    account = Account(host, Sink(host))
    try:
        limits.set_memory(megabytes)
        host.start(60)
        at_rest = limits.memory_used()
        with Load(account, clients=20, pause=0.01) as load:
            time.sleep(SECONDS)
        back = until_taken(account)
        finish(host, account, load, f"{megabytes} MiB of memory, {at_rest / 1048576:.1f} MiB at rest, "
                                    f"20 clients: first 250 {back:.2f} s after they left")
        if megabytes >= 32:  # below there may be no room for what makes checking a password costly
            log_in(host, "pop3")
            log_in(host, "pop3s")
        assert limits.out_of_memory_kills() == 0
        assert len(account.accepted) > 10
        assert back < (1 if LONG else 3)  # on a machine that is shared
    finally:
        host.kill()
        account.sink.close()


def test_with_little_memory_only_what_is_used_runs(place, limits):
    """A message wakes what it needs; after a while without use all but the queue manager sleep."""
    host = CompleteHost(place, place, smtpd_tls_auth_only="no",
                        authority=Authority(place / "authority"))
    host.words = limits.words()
    try:
        limits.set_memory(32)
        host.start(60)
        assert set(host.processes()) <= {"qmgr", "pickup"}, host.processes()
        host.send("a@client.test", [f"u1@{host.domain}"], "Subject: wakes\n\nyou\n")
        host.wait_messages("u1")
        log_in(host, "pop3s")
        assert {"smtpd", "local", "pop3d", "authd"} <= set(host.processes())
        assert "smtp" not in host.processes()
        assert "asleep until somebody asks" in host.tool("dakiya", "status").stdout
        host.tool("dakiya", "reload")
        host.send("a@client.test", [f"u2@{host.domain}"], "Subject: again\n\nyou\n")
        host.wait_messages("u2")
        if LONG:
            wait_for("all to sleep", lambda: set(host.processes()) <= {"qmgr", "local"}, 60)
            host.send("a@client.test", [f"u3@{host.domain}"], "Subject: after\n\nyou\n")
            host.wait_messages("u3")
        assert limits.out_of_memory_kills() == 0
    finally:
        host.kill()


def assert_said_once(host):
    """master says that it cannot start processes in one line, however many services there are and try again."""
    said = re.findall(r"master\[\d+\]: error: .*", host.log())
    assert 1 <= len(said) <= 1 + host.log().count("all services are running again"), said


def test_no_more_processes_or_threads_lose_nothing(place, limits):
    host = LimitedHost(place, place)
    host.words = limits.words()
    account = Account(host, Sink(host))
    try:
        host.start()
        limits.set_processes(20)  # more than that run: none can be added
        assert limits.processes() > 20
        with Load(account, clients=30, pause=0.01) as load:
            time.sleep(SECONDS / 2)
            for name in ("qmgr", "local"):  # and cannot be started again
                for pid in host.processes().get(name, []):
                    os.kill(pid, 9)
            time.sleep(SECONDS / 2)
            limits.set_processes("max")
            back = until_taken(account)
            time.sleep(0.5)
        finish(host, account, load, f"no process or thread more: first 250 {back:.2f} s after there was room")
        assert_said_once(host)
        assert back < (1 if LONG else 3)  # on a machine that is shared
    finally:
        limits.set_processes("max")
        host.kill()


def test_too_few_processes_at_the_start_and_all_comes_up_when_there_are_more(place, limits):
    host = LimitedHost(place, place)
    host.words = limits.words()
    account = Account(host, Sink(host))
    try:
        limits.set_processes(20)
        result = host.tool("dakiya", "start", check=False)
        assert result.returncode == 69 and "the mail system is not up" in result.stderr
        assert re.search("service \\S+ is not up: .*", result.stderr)
        lines = host.log().count("\n")
        with Load(account, clients=10, pop3=False) as load:
            time.sleep(SECONDS / 2)
            lines = host.log().count("\n") - lines
            limits.set_processes("max")
            back = until_taken(account)
        finish(host, account, load, f"20 processes at the start: first 250 {back:.2f} s after there was room, "
                                    f"{2 * lines / SECONDS:.0f} log lines a second before")
        assert_said_once(host)
        assert lines < 15 * SECONDS + 10 * sum(load.refused.values()), "a flood in the log"
        assert back < (1 if LONG else 3)  # on a machine that is shared
    finally:
        limits.set_processes("max")
        host.kill()
