"""No room: a full disk, no inodes, few descriptors, little memory, few processes. Mail is refused for
now, no client hangs, nothing is lost, and mail is taken again within a second when there is room.
"""
import contextlib
import os
import pathlib
import time

import pytest

from disk import Disk
from faults import Faults
from mailhost import Account, Host, Load, Sink, report, wait_for

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
        import dakiya
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


@pytest.mark.parametrize("descriptors", [64, 256] if LONG else [64])
def test_a_real_limit_of_descriptors_loses_nothing(place, descriptors):
    """For master and so for every daemon: nobody may raise it again."""
    host = LimitedHost(place, place)
    host.words = f"ulimit -n {descriptors};"
    account = Account(host, Sink(host))
    try:
        host.start()
        limit = next(line.split()[3:5] for line in open(f"/proc/{host.master_pid()}/limits", encoding="ascii")
                     if line.startswith("Max open files"))
        if limit != [str(descriptors)] * 2:
            pytest.skip("master may raise its limit here")
        with Load(account, clients=40, pause=0.01) as load:
            time.sleep(SECONDS)
        back = until_taken(account)
        finish(host, account, load, f"ulimit -n {descriptors}, 40 clients: first 250 {back:.2f} s after they left")
        assert len(account.accepted) > 10
        assert back < 1
    finally:
        host.kill()


def test_too_few_descriptors_for_all_services_are_refused_at_the_start(place):
    host = LimitedHost(place, place)
    host.words = "ulimit -n 32;"
    try:
        result = host.tool("dakiya", "start", check=False)
        if result.returncode == 0:
            pytest.skip("master may raise its limit here")
        assert "open files, but only 32 are allowed: raise the limit" in result.stderr
        assert not host.processes()
    finally:
        host.kill()


@pytest.fixture
def limits():
    made = Limits()
    yield made
    made.close()


@pytest.mark.parametrize("megabytes", [48, 64, 128] if LONG else [48])
def test_little_memory_loses_nothing_and_kills_nobody(place, limits, megabytes):
    host = LimitedHost(place, place)
    host.words = limits.words()
    account = Account(host, Sink(host))
    try:
        limits.set_memory(megabytes)
        host.start(60)
        with Load(account, clients=20, pause=0.01) as load:
            time.sleep(SECONDS)
        finish(host, account, load, f"{megabytes} MiB of memory, 20 clients")
        assert limits.out_of_memory_kills() == 0
        assert len(account.accepted) > 10
    finally:
        host.kill()


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
        assert back < (1 if LONG else 3)  # on a machine that is shared
    finally:
        limits.set_processes("max")
        host.kill()
