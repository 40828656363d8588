"""local as service virtual, with a stand-in for qmgr and authd on its channels."""
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

import dakiya

from ipc import Channel, LaunchedDaemon

pytestmark = pytest.mark.sanitized

UID = 64310 if os.geteuid() == 0 else os.getuid()
GID = 64310 if os.geteuid() == 0 else os.getgid()
ATTACH_JOBS, ATTACH_MAILBOX = 0, 1
DELIVERED, DEFERRED, FAILED = 0, 2, 3
OK, IN_USE, TRY_LATER, GONE = 0, 1, 2, 3


@pytest.fixture
def place():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="dakiya-local-"))
    os.chmod(directory, 0o755)
    (directory / "mail").mkdir()
    if os.geteuid() == 0:
        os.chown(directory / "mail", UID, GID)
    yield directory
    shutil.rmtree(directory)


def launch(place, **settings):
    return LaunchedDaemon("local", place, "private/virtual",
                          {"virtual_mailbox_base": place / "mail", "myhostname": "mx.example.test",
                           **settings}, service="virtual")


class Queue:
    """qmgr's side: hands out jobs over an attached channel, keeps what comes back."""

    def __init__(self, daemon, uid=UID, gid=GID):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.attach = daemon.connect()
        self.attach.send("mailbox_attach", kind=ATTACH_JOBS, uid=uid, gid=gid,
                         transport="virtual", channel=theirs)
        theirs.close()
        self.channel = Channel(ours)
        self.next = 1

    def hello(self):
        message = self.channel.receive()
        assert message is not None, "the channel was closed"
        assert message[0] == "agent_hello"
        return message[1]

    def send(self, recipients, content=b"Subject: hi\r\n\r\nhello\r\n", queue_id=None, quota=0,
             arrival_us=None, is_fresh=True, file=None, sender="sender@example.org"):
        job, self.next = self.next, self.next + 1
        arrival_us = arrival_us or int(time.time() * 1e6)
        envelope = {"sender": sender, "arrival_us": arrival_us, "size": len(content)}
        self.channel.send(
            "job", job=job, queue_id=queue_id or f"4Tabcd{job:06d}z1", kind=0, nexthop="x",
            envelope=[envelope], active_us=arrival_us, is_fresh=is_fresh,
            recipients=[{"address": address, "original": address, "mailbox": mailbox,
                         "quota": quota} for address, mailbox in recipients],
            file=file, file_length=len(content) if file is not None else 0,
            content=content if file is None else b"")
        return job

    def result(self, timeout=20):
        message = self.channel.receive(timeout)
        assert message is not None, "the channel was closed"
        assert message[0] == "job_result"
        return message[1]

    def deliver(self, *arguments, **options):
        job = self.send(*arguments, **options)
        result = self.result()
        assert result["job"] == job
        return result["outcomes"]

    def close(self):
        self.channel.close()
        self.attach.close()


class Login:
    """authd's and pop3d's side of one login."""

    def __init__(self, daemon, mailbox):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.attach = daemon.connect()
        self.attach.send("mailbox_attach", kind=ATTACH_MAILBOX, uid=UID, gid=GID, mailbox=mailbox,
                         channel=theirs)
        theirs.close()
        self.attach.close()
        self.channel = Channel(ours)

    def list(self, want_lock=True):
        name, listing = self.channel.ask("mailbox_list", want_lock=want_lock)
        assert name == "mailbox_listing"
        return listing

    def fetch(self, index):
        name, message = self.channel.ask("mailbox_fetch", index=index)
        assert name == "mailbox_message"
        if message["file"] is None:
            return message, None
        with os.fdopen(message["file"], "rb") as file:
            return message, file.read()

    def remove(self, marks):
        return self.channel.ask("mailbox_remove", marks=bytes(marks))[1]

    def close(self):
        self.channel.close()


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def files(place, mailbox, part="new"):
    directory = place / "mail" / mailbox / part
    return sorted(directory.iterdir()) if directory.exists() else []


def test_delivered_file_has_own_fields_lf_line_ends_and_exact_sizes(place):
    with launch(place) as daemon:
        queue = Queue(daemon)
        hello = queue.hello()
        assert (hello["transport"], hello["uid"]) == (b"virtual", UID)
        outcome, = queue.deliver([("alice@example.test", "example.test/alice/")])
        assert outcome["action"] == DELIVERED and outcome["status"] == b"2.0.0"
        assert outcome["relay"] == b"virtual" and outcome["reason"] == b"delivered to maildir"
        file, = files(place, "example.test/alice")
        text = file.read_bytes()
        assert text == (b"Return-Path: <sender@example.org>\nX-Original-To: alice@example.test\n"
                        b"Delivered-To: alice@example.test\nSubject: hi\n\nhello\n")
        assert file.name.endswith(f"S={len(text)},W={len(text) + text.count(bytes([10]))}")
        assert file.stat().st_uid == UID and file.stat().st_mode & 0o777 == 0o600
        assert not files(place, "example.test/alice", "tmp")
    assert "to=<alice@example.test>, relay=virtual, delay=" in daemon.log()
    assert "status=sent (delivered to maildir)" in daemon.log()


def test_sizes_in_the_name_are_those_of_the_file_and_of_what_is_sent(place):
    contents = [b"", b"a", b"a\r", b"\r", b"\r\r\n", b"\n", b"\0\r\0\n", b"x" * 70000 + b"\r",
                b"y" * 65535 + b"\r\n.\r\n", b"a\rb\r\nc"]
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        for number, content in enumerate(contents):
            queue.deliver([("a@x.test", f"x.test/u{number}/")], content=b"A: b\r\n\r\n" + content)
            file, = files(place, f"x.test/u{number}")
            stored = file.read_bytes()
            assert stored.endswith(b"\n")
            sent = re.sub(rb"\r?\n", b"\r\n", stored)
            assert file.name.endswith(f"S={len(stored)},W={len(sent)}"), content[:20]


def test_each_recipient_of_a_job_has_its_own_copy_and_outcome(place):
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        outcomes = queue.deliver([("a@x.test", "x.test/a/"), ("b@x.test", "x.test/b/"),
                                  ("c@x.test", "x.test/c"), ("d@x.test", "../d/")])
        assert [one["action"] for one in outcomes] == [DELIVERED, DELIVERED, DELIVERED, DEFERRED]
        assert [one["recipient"] for one in outcomes] == [0, 1, 2, 3]
        assert b"Delivered-To: a@x.test\n" in files(place, "x.test/a")[0].read_bytes()
        assert b"Delivered-To: b@x.test\n" in files(place, "x.test/b")[0].read_bytes()
        assert b"Delivered-To: c@x.test\n" in (place / "mail" / "x.test" / "c").read_bytes()


def test_message_in_a_file_is_delivered_like_an_inline_one(place):
    body = b"Subject: big\r\n\r\n" + b"".join(b"line %d\r\n" % i for i in range(50000))
    with tempfile.TemporaryFile() as content, launch(place) as daemon:
        content.write(body)
        content.flush()
        queue = Queue(daemon)
        queue.hello()
        outcome, = queue.deliver([("a@x.test", "x.test/a/")], content=body, file=content)
        assert outcome["action"] == DELIVERED
        assert files(place, "x.test/a")[0].read_bytes().endswith(body.replace(b"\r\n", b"\n"))


def test_own_delivered_to_is_a_loop_and_a_too_large_message_is_refused(place):
    with launch(place, virtual_mailbox_limit=1000) as daemon:
        queue = Queue(daemon)
        queue.hello()
        outcome, = queue.deliver([("a@x.test", "x.test/a/")],
                                 content=b"Delivered-To: A@x.test\r\n\r\nhi\r\n")
        assert (outcome["action"], outcome["status"]) == (FAILED, b"5.4.6")
        outcome, = queue.deliver([("a@x.test", "x.test/a/")], content=b"x" * 1001)
        assert (outcome["action"], outcome["status"]) == (FAILED, b"5.2.3")
        assert not files(place, "x.test/a")


@pytest.mark.parametrize("action, expected", [("reject", (FAILED, b"5.2.2")),
                                              ("defer", (DEFERRED, b"4.2.2"))])
def test_full_mailbox_refuses_or_defers_until_mail_is_removed(place, action, expected):
    content = b"\r\n" + b"x" * 600 + b"\r\n"
    with launch(place, virtual_quota_action=action) as daemon:
        queue = Queue(daemon)
        queue.hello()
        for _ in range(2):
            outcome, = queue.deliver([("a@x.test", "x.test/a/")], content=content, quota=1700)
            assert outcome["action"] == DELIVERED, outcome
        outcome, = queue.deliver([("a@x.test", "x.test/a/")], content=content, quota=1700)
        assert (outcome["action"], outcome["status"]) == expected
        login = Login(daemon, "x.test/a/")
        assert len(login.list()["entries"]) == 2
        assert login.remove([1, 0])["removed"] == 1
        outcome, = queue.deliver([("a@x.test", "x.test/a/")], content=content, quota=1700)
        assert outcome["action"] == DELIVERED


def test_repeated_job_is_recognised_in_new_and_in_cur(place):
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        arrival = int(time.time() * 1e6) - 5000000
        same = {"queue_id": "4Tabcdefghzb", "arrival_us": arrival, "is_fresh": False}
        assert queue.deliver([("a@x.test", "x.test/a/")], **same)[0]["action"] == DELIVERED
        assert queue.deliver([("a@x.test", "x.test/a/")], **same)[0]["action"] == DELIVERED
        file, = files(place, "x.test/a")
        file.rename(file.parent.parent / "cur" / (file.name + ":2,RS"))
        outcome, = queue.deliver([("a@x.test", "x.test/a/")], **same)
        assert outcome["action"] == DELIVERED and outcome["reason"] == b"delivered to maildir before"
        assert len(files(place, "x.test/a")) + len(files(place, "x.test/a", "cur")) == 1
        assert not files(place, "x.test/a", "tmp")


def test_unwritable_base_is_deferred_and_says_what_to_chown(place):
    os.chmod(place / "mail", 0o555)
    if os.geteuid() == 0:
        os.chown(place / "mail", 0, 0)
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        outcome, = queue.deliver([("a@x.test", "x.test/a/")])
        assert (outcome["action"], outcome["status"]) == (DEFERRED, b"4.2.0")
        assert f"must belong to uid {UID}: chown".encode() in outcome["reason"]
    os.chmod(place / "mail", 0o755)


def test_symbolic_link_in_the_way_is_never_followed(place):
    target = place / "elsewhere"
    target.mkdir()
    (place / "mail" / "x.test").mkdir()
    (place / "mail" / "x.test" / "a").symlink_to(target)
    if os.geteuid() == 0:
        os.chown(target, UID, GID)
        os.chown(place / "mail" / "x.test", UID, GID)
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        outcome, = queue.deliver([("a@x.test", "x.test/a/")])
        assert outcome["action"] == DEFERRED
        assert not list(target.iterdir())


def test_pop3_session_lists_fetches_and_removes_by_position(place):
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        for number in range(3):
            queue.deliver([("a@x.test", "x.test/a/")], content=b"\r\nmessage %d\r\n" % number)
        login = Login(daemon, "x.test/a/")
        listing = login.list()
        assert listing["status"] == OK and len(listing["entries"]) == 3
        uids = [entry["uid"] for entry in listing["entries"]]
        assert len(set(uids)) == 3 and all(1 <= len(uid) <= 70 for uid in uids)
        message, text = login.fetch(1)
        assert message["status"] == OK and text.endswith(b"\n\nmessage 1\n")
        assert listing["entries"][1]["size"] == len(text) + text.count(b"\n")
        assert message["file_length"] == len(text)
        other = Login(daemon, "x.test/a/")
        assert other.list()["status"] == IN_USE
        # An IMAP client marks the first as read meanwhile.
        first = files(place, "x.test/a")[0]
        first.rename(first.parent.parent / "cur" / (first.name + ":2,S"))
        removed = login.remove([1, 1, 0])
        assert removed["status"] == OK and removed["removed"] == 2
        assert login.fetch(0)[0]["status"] == GONE
        login.close()
        again = other.list()
        for _ in range(50):
            if again["status"] == OK:
                break
            time.sleep(0.05)
            again = other.list()
        assert [entry["uid"] for entry in again["entries"]] == uids[2:]


def test_nonsense_on_a_mailbox_channel_ends_only_that_channel(place):
    with launch(place) as daemon:
        login = Login(daemon, "x.test/a/")
        login.channel.send("mailbox_fetch", index=0)
        assert login.channel.receive() is None
        escape = Login(daemon, "../x.test/a/")
        assert escape.list()["status"] == TRY_LATER
        assert Login(daemon, "x.test/a/").list()["status"] == OK


def test_many_idle_logins_cost_one_process_and_no_thread_each(place):
    with launch(place) as daemon:
        logins = [Login(daemon, f"x.test/u{number}/") for number in range(300)]
        for login in logins:
            assert login.list()["status"] == OK
        child, = children(daemon.process.pid)
        threads = len(list(pathlib.Path(f"/proc/{child}/task").iterdir()))
        assert threads <= 8


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_worker_runs_as_the_mailbox_uid_without_privileges(place):
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        child, = children(daemon.process.pid)
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(UID)] * 4
        assert fields["Gid"].split() == [str(GID)] * 4
        assert fields["Groups"].split() == [str(GID)]
        assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
        assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
        assert not pathlib.Path(f"/proc/{child}/environ").read_bytes().replace(b"LC_ALL=C\0", b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("uid, gid", [(0, GID), (99, GID), (UID, 0), (0xffffffff, GID)])
def test_forbidden_identity_closes_the_descriptor(place, uid, gid):
    with launch(place) as daemon:
        queue = Queue(daemon, uid, gid)
        assert queue.channel.receive() is None
        assert not children(daemon.process.pid)
        assert "not allowed" in daemon.log()


def test_killed_worker_closes_only_its_channels_and_another_starts(place):
    with launch(place) as daemon:
        queue = Queue(daemon)
        queue.hello()
        child, = children(daemon.process.pid)
        os.kill(child, signal.SIGKILL)
        assert queue.channel.receive() is None
        again = Queue(daemon)
        while again.channel.receive() is None:  # one start a second
            again.close()
            time.sleep(0.1)
            again = Queue(daemon)
        assert again.deliver([("a@x.test", "x.test/a/")])[0]["action"] == DELIVERED
        deadline = time.monotonic() + 5
        while "killed by signal 9" not in daemon.log() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "killed by signal 9" in daemon.log()


def test_worker_that_ends_at_once_is_started_once_a_second(place):
    with launch(place) as daemon:
        starts, until = set(), time.monotonic() + 2.5
        while time.monotonic() < until:
            queue = Queue(daemon)
            if queue.channel.receive() is not None:
                started = children(daemon.process.pid)[-1]  # before it: one that has just ended
                starts.add(started)
                os.kill(started, signal.SIGKILL)
            queue.close()
            time.sleep(0.01)
        assert 2 <= len(starts) <= 4
        assert "it ended too early, waiting a little" in daemon.log()


def test_idle_worker_leaves_and_the_next_request_starts_one(place):
    with launch(place, virtual_worker_idle_limit="1s") as daemon:
        queue = Queue(daemon)
        queue.hello()
        first, = children(daemon.process.pid)
        queue.close()
        deadline = time.monotonic() + 10
        while children(daemon.process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not children(daemon.process.pid)
        again = Queue(daemon)
        again.hello()
        second, = children(daemon.process.pid)
        assert first != second


def test_thousand_deliveries_survive_kill_9_without_loss_or_duplicate(place):
    total, mailboxes = 1000, 100
    arrival = int(time.time() * 1e6)
    todo = {number: (f"u{number % mailboxes}@x.test", f"x.test/u{number % mailboxes}/")
            for number in range(total)}
    kills = 0
    with launch(place) as daemon:
        while todo:
            queue = Queue(daemon)
            message = queue.channel.receive()
            if message is None:  # the parent slows restarts down
                time.sleep(0.1)
                continue
            batch = list(todo.items())
            jobs, window, sent, seen = {}, message[1]["window"], 0, 0
            child = children(daemon.process.pid)[-1]
            try:
                while todo:
                    while len(jobs) < window and sent < len(batch):
                        number, where = batch[sent]
                        sent += 1
                        job = queue.send([where], queue_id=f"4Tabcd{number:06d}z1",
                                         arrival_us=arrival + number, is_fresh=False,
                                         content=b"\r\n%d\r\n" % number + b"x" * 2000)
                        jobs[job] = number
                    result = queue.result()
                    assert result["outcomes"][0]["action"] == DELIVERED, result
                    todo.pop(jobs.pop(result["job"]))
                    seen += 1
                    if kills < 3 and seen == 150:
                        kills += 1
                        os.kill(child, signal.SIGKILL)
            except (AssertionError, OSError):
                if kills == 0 or "outcomes" in str(todo):
                    raise
            queue.close()
    assert kills == 3
    counts = collections.Counter()
    for number in range(mailboxes):
        for file in files(place, f"x.test/u{number}"):
            text = file.read_bytes()
            assert f"S={len(text)}," in file.name, "a partial file"
            counts[int(text.split(b"\n\n")[1].split(b"\n")[0])] += 1
    assert counts == {number: 1 for number in range(total)}


def test_full_disk_defers_and_leaves_nothing_behind(place):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=128k,mode=755,uid={UID},gid={GID}",
                            "tmpfs", place / "mail"], check=False)
    if mount.returncode != 0:
        pytest.skip("cannot mount here")
    try:
        with launch(place) as daemon:
            queue = Queue(daemon)
            queue.hello()
            outcomes = queue.deliver([("a@x.test", "x.test/a/"), ("b@x.test", "x.test/b/")],
                                     content=b"\r\n" + b"x" * 200000 + b"\r\n")
            assert {(one["action"], one["status"]) for one in outcomes} == {(DEFERRED, b"4.3.1")}
            assert b"No space left on device" in outcomes[0]["reason"]
            assert not files(place, "x.test/a", "tmp") and not files(place, "x.test/a")
            outcome, = queue.deliver([("a@x.test", "x.test/a/")])
            assert outcome["action"] == DELIVERED
    finally:
        subprocess.run(["umount", place / "mail"], check=True)


def test_killed_parent_takes_its_workers_along(place):
    daemon = launch(place)
    queue = Queue(daemon)
    queue.hello()
    child, = children(daemon.process.pid)
    daemon.process.kill()
    daemon.process.wait()
    assert queue.channel.receive() is None
    deadline = time.monotonic() + 10
    while pathlib.Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not pathlib.Path(f"/proc/{child}").exists()
    daemon.stop()


def test_drain_reports_the_jobs_in_hand(place):
    daemon = launch(place)
    queue = Queue(daemon)
    queue.hello()
    jobs = {queue.send([("a@x.test", "x.test/a/")], content=b"\r\n" + b"x" * 5000)
            for _ in range(100)}
    while len(files(place, "x.test/a")) < 1:
        time.sleep(0.005)
    daemon.control.send("daemon_drain", deadline_ms=10000)
    reported = set()
    while True:
        message = queue.channel.receive()
        if message is None:
            break
        assert message[1]["outcomes"][0]["action"] == DELIVERED
        reported.add(message[1]["job"])
    assert reported <= jobs and len(reported) == len(files(place, "x.test/a"))
    assert daemon.stop() == 0


# ---- service local ----

def launch_local(place, **settings):
    return LaunchedDaemon("local", place, "private/local",
                          {"myhostname": "mx.example.test", "mail_spool_directory": place / "mail",
                           **settings}, service="local")


def attach(daemon, kind=ATTACH_JOBS, uid=UID, gid=GID, peer=None):
    """qmgr's end of a channel that was handed in, by the peer of that uid."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = daemon.connect() if peer is None else daemon.connect(peer)
    channel.send("mailbox_attach", kind=kind, uid=uid, gid=gid, transport="local", channel=theirs)
    theirs.close()
    return Channel(ours), channel


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
def test_only_qmgr_may_ask_for_a_worker_with_commands_and_never_as_root(place):
    with launch_local(place, auth_owner="64399:64300") as daemon:
        with contextlib.suppress(BrokenPipeError):  # as soon as that
            channel, _ = attach(daemon, peer=64399)
            assert channel.receive(5) is None
        for uid, gid in ((0, GID), (UID, 0), (0xffffffff, GID)):
            channel, _ = attach(daemon, uid=uid, gid=gid)
            assert channel.receive(5) is None, (uid, gid)
        assert "a client that may not ask was sent away" in daemon.log()
        channel, _ = attach(daemon)
        name, hello = channel.receive(10)
        assert name == "agent_hello" and hello["uid"] == UID
        channel, _ = attach(daemon, kind=ATTACH_MAILBOX)  # opens no mailboxes
        assert channel.receive(5) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other groups")
def test_only_the_spools_worker_has_its_group(place):
    os.chown(place / "mail", 0, 64340)
    with launch_local(place) as daemon:
        attached = [attach(daemon), attach(daemon, kind=2)]
        for channel, _ in attached:
            assert channel.receive(10)[0] == "agent_hello"
        groups = set()
        for pid in children(daemon.process.pid):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            groups.add(re.search(r"^Groups:\s*(.*?)\s*$", status, re.M).group(1))
            assert re.search(rf"^Uid:\t{UID}\t{UID}\t{UID}\t{UID}$", status, re.M)
            assert re.search(r"^CapEff:\t0+$", status, re.M)
        assert groups == {str(GID), f"{GID} 64340"}


def test_jobs_of_local_report_what_is_next(place):
    """A worker sends nothing on itself: it says what, and that its part is done."""
    with launch_local(place) as daemon:
        channel, _ = attach(daemon)
        assert channel.receive(10)[0] == "agent_hello"

        def deliver(**local):
            record = {"kind": 0, "name": "list", **local}
            channel.send("job", job=7, queue_id="4Tabcd000001z1", kind=0, nexthop="",
                         envelope=[{"sender": "s@far.test", "arrival_us": 1, "size": 10}],
                         active_us=1, is_fresh=True,
                         recipients=[{"address": "list@here.test", "original": "list@here.test",
                                      "local": [record]}],
                         content=b"Subject: hi\r\n\r\nhello\r\n")
            name, result = channel.receive(20)
            assert name == "job_result" and result["job"] == 7
            return result["outcomes"][0], result["forwards"]

        outcome, forwards = deliver(text="a@x.test, b, list", owner="owner-list@here.test",
                                    has_next=True)
        assert outcome["action"] == 7  # OUTCOME_FORWARD
        forward, = forwards
        assert [one["address"] for one in forward["recipients"]] == [b"a@x.test", b"b"]
        assert forward["sender"] == b"owner-list@here.test" and forward["passes"]
        assert forward["delivered_to"] == b"list@here.test"
        outcome, forwards = deliver(text="\\list", has_next=True)
        assert outcome["action"] == 6 and not forwards  # OUTCOME_PASS
        outcome, forwards = deliver(text="\"|exit 67\", a@x.test")
        assert outcome["action"] == 7 and outcome["status"] == b"5.1.1" and forwards
        outcome, forwards = deliver(text="list")
        assert outcome["action"] == FAILED and not forwards  # no such user
        outcome, forwards = deliver(text="\"|exit 75\", a@x.test")
        assert outcome["action"] == DEFERRED and not forwards
        outcome, forwards = deliver(kind=1, name="u", home=str(place), has_next=True)
        assert outcome["action"] == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="without root there is one user only")
def test_programs_below_a_directory_of_roots_serve_all_mailboxes(make_host, tmp_path):
    """Who cloned into /root: the mailbox's user may not enter it."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(dakiya.BUILD / "libexec", closed / "libexec", symlinks=True)
    host = make_host(settings={"daemon_directory": closed / "libexec"}).start()
    host.send("carol@elsewhere.test", ["alice@example.test"], dakiya.message())
    assert host.wait_messages("alice")
    client = host.pop3()
    assert client.stat()[0] == 1
    client.quit()
