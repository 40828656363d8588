"""The order of writes and syncs of one message, from a system-call trace: nothing is said to be done
before it would survive a power cut, on any file system.
"""
import re
import shutil
import signal
import subprocess
import time

import pytest

from mailhost import BOUNCE_DOMAIN, SINK_DOMAIN, Host, Sink, report, wait_for

CALLS = ("openat,openat2,write,pwrite64,pwritev,writev,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,"
         "linkat,unlinkat,sendto,sendmsg")
LINE = re.compile(r"^(\d+)\s+(.*)$")
NAME = re.compile(r"(\w+)\((.*)$", re.S)
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")


class Trace:
    """All calls of the host's daemons while it is open, in the order in which they began and ended."""

    def __init__(self, host, path):
        self.path, self.calls = path, []
        pids = [str(pid) for pids in host.processes().values() for pid in pids]
        self.process = subprocess.Popen(
            ["strace", "-f", "-y", "-s", "200", "-e", f"trace={CALLS}", "-o", path,
             *[word for pid in pids for word in ("-p", pid)]], stderr=subprocess.PIPE, text=True)
        attached, lines = 0, []
        while attached < len(pids):
            line = self.process.stderr.readline()
            lines.append(line)
            if not line or "not permitted" in line:
                self.process.kill()
                pytest.skip(f"cannot trace here: {''.join(lines[-3:])}")
            attached += " attached" in line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self.process.stderr.close()
        self.parse()

    def parse(self):
        """calls: [name, text, line of its begin, line of its end], in the order of begin."""
        open_calls = {}
        for number, line in enumerate(open(self.path, errors="replace")):
            found = LINE.match(line)
            pid, text = found.groups()
            resumed = RESUMED.match(text)
            if resumed and pid in open_calls:
                call = open_calls.pop(pid)
                call[1] += text
                call[3] = number
                continue
            call = NAME.match(text)
            if not call:
                continue
            entry = [call.group(1), text, number, number]
            self.calls.append(entry)
            if "<unfinished" in text:
                entry[3] = None
                open_calls[pid] = entry

    def first(self, what, names, pattern, after=-1):
        """The first such call that begins after the line; the test fails when there is none."""
        for name, text, begin, end in self.calls:
            if name in names and begin > after and end is not None and re.search(pattern, text):
                return begin, end
        seen = "\n".join(text[:200] for _, text, begin, _ in self.calls if begin > after)
        raise AssertionError(f"not seen after line {after}: {what}: {names} {pattern}\n{seen[-6000:]}")

    def steps(self, *steps):
        """Each begins after the one before has ended."""
        after = -1
        for what, names, pattern in steps:
            after = self.first(what, names, pattern, after)[1]


WRITE, SYNC = ("pwritev", "pwrite64", "write"), ("fsync", "fdatasync")
RENAME, SEND = ("renameat", "renameat2", "linkat"), ("sendto", "sendmsg", "write")


@pytest.fixture
def host(place):
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    made = Host(place, place)
    sink = Sink(made, deferred_part=0)
    made.start()
    made.send("sender@example.test", "u0@example.test", "Subject: first\r\n\r\nx\r\n")  # all are connected
    made.wait_messages("u0")
    made.wait_queue_empty()
    yield made
    sink.close()
    made.kill()


def queue_id_of(reply):
    return re.search(r"queued as (\w+)", reply).group(1)


def traced(host, recipient, body, until):
    with Trace(host, host.directory / "trace") as trace:
        queue_id = queue_id_of(host.send("sender@example.test", recipient, f"Subject: x\r\n\r\n{body}\r\n"))
        wait_for("what is traced", lambda: until(queue_id), 30)
        time.sleep(0.3)
    return trace, queue_id


def test_a_message_is_synced_before_it_is_acknowledged_and_in_the_mailbox_before_it_is_done(host):
    trace, queue_id = traced(host, "u1@example.test", "small", lambda one: f"{one}: removed" in host.log())
    trace.steps(("the record", WRITE, rf"/active/\d+>.*{queue_id}"),
                ("its sync", SYNC, r"/active/\d+>"),
                ("250 to the client", SEND, r"250 2\.0\.0 Ok: queued as"))
    trace.steps(("the file in tmp/", WRITE, r"u1/tmp/"), ("its sync", SYNC, r"u1/tmp/"),
                ("the rename", RENAME, rf"u1/tmp.*{queue_id}.*u1/new"), ("the directory's sync", SYNC, r"u1/new>"),
                ("the report to qmgr", SEND, r"delivered to maildir"),
                ("the note in the journal", WRITE, rf"/active/\d+>.*{queue_id}"))
    report("sync order: small message to a Maildir: as promised")


def test_a_large_body_is_safe_before_its_record(host):
    trace, queue_id = traced(host, "u1@example.test", "large " * 60000,
                             lambda one: f"{one}: removed" in host.log())
    trace.steps(("the body", ("write", "pwrite64", "writev"), r"/spool/"), ("its sync", SYNC, rf"/spool/{queue_id}>"),
                ("its directory's sync", SYNC, r"/spool>"),
                ("the record", WRITE, rf"/active/\d+>.*{queue_id}"), ("its sync", SYNC, r"/active/\d+>"),
                ("250 to the client", SEND, r"250 2\.0\.0 Ok: queued as"))
    trace.steps(("the note that it is done", WRITE, rf"/active/\d+>.*{queue_id}"), ("its sync", SYNC, r"/active/\d+>"),
                ("the body's removal", ("unlinkat",), rf"spool/{queue_id}"))
    report("sync order: large message: as promised")


def test_a_deferred_message_is_safe_in_its_file_before_the_journal_forgets_it(host):
    host.stop()
    host.settings["minimal_backoff_time"] = host.settings["maximal_backoff_time"] = "100s"
    host.write_config()
    host.start()
    trace, queue_id = traced(host, f"later@{SINK_DOMAIN}", "small",
                             lambda one: list(host.queue.glob(f"deferred/*/{one}")))
    trace.steps(("the file", WRITE, rf"/tmp/{queue_id}>"), ("its sync", SYNC, rf"/tmp/{queue_id}>"),
                ("the rename", RENAME, rf"tmp/{queue_id}.*deferred/./{queue_id}"),
                ("the directory's sync", SYNC, r"/deferred/.>"),
                ("the note in the journal", WRITE, rf"/active/\d+>.*{queue_id}"), ("its sync", SYNC, r"/active/\d+>"))
    report("sync order: deferral: as promised")


def test_a_notice_is_committed_before_its_message_is_done(host):
    trace, queue_id = traced(host, f"x@{BOUNCE_DOMAIN}", "small", lambda one: f"{one}: removed" in host.log())
    notice = re.search(rf"{queue_id}: sender non-delivery notification: (\w+)", host.log()).group(1)
    trace.steps(("the notice's record", WRITE, rf"/active/\d+>.*{notice}"), ("its sync", SYNC, r"/active/\d+>"),
                ("the note that its message is done", WRITE, rf"/active/\d+>.*{queue_id}"))
    report("sync order: bounce: as promised")
