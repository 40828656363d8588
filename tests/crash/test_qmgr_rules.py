"""What qmgr does with outcomes: rounds, notices, retries, destinations, holds; alone, with fakes."""
import os
import re
import socket
import threading
import time

import pytest

from queue_host import Agent, Channel, Intake, QueueHost, wait_for


@pytest.fixture
def host(tmp_path):
    made = QueueHost(tmp_path, qmgr_segment_size=262144, qmgr_segment_limit=3)
    yield made
    made.close()


def files(host, where="deferred"):
    return [path.name for path in host.path(where).rglob("*") if path.is_file()]


def recipients(job):
    return [one["address"].decode() for one in job["recipients"]]


def test_recipients_of_one_destination_travel_together_up_to_the_limit(host):
    host.parameters["smtp_destination_recipient_limit"] = "3"
    host.start()
    jobs = []
    Agent(host, lambda job: jobs.append(job) or 0)
    Intake(host).commit(recipients=[f"u{n}@a.test" for n in range(7)] + ["x@b.test"])
    wait_for("all", lambda: sum(len(job["recipients"]) for job in jobs) == 8)
    sizes = {}
    for job in jobs:
        sizes.setdefault(job["nexthop"], []).append(len(job["recipients"]))
    assert sorted(sizes[b"a.test"]) == [1, 3, 3] and sizes[b"b.test"] == [1]


def test_failed_recipients_make_one_notice_with_their_outcomes(host):
    host.start()
    notices = []
    Agent(host, lambda job: [3 if a.startswith("bad") else 0 for a in recipients(job)])
    queue_id, _ = Intake(host).commit(recipients=["bad1@a.test", "good@a.test", "bad2@b.test"])
    time.sleep(0.3)
    assert f"{queue_id}: removed" not in host.log(), "not before the notice is made"
    Agent(host, lambda job: notices.append(job) or 0, transport="bounce")
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    assert len(notices) == 1 and notices[0]["kind"] == 1
    assert recipients(notices[0]) == ["bad1@a.test", "bad2@b.test"]
    assert [one["outcome"][0]["reason"] for one in notices[0]["recipients"]] == [b"no", b"no"]
    assert notices[0]["content"].endswith(b"body\r\n")


def test_a_failure_waits_through_a_kill_until_its_notice_is_made(host):
    host.start()
    tries, notices = [], []
    Agent(host, lambda job: tries.append(1) or [3, 3])
    queue_id, _ = Intake(host).commit(recipients=["bad1@a.test", "bad2@a.test"])
    wait_for("a try", lambda: tries)
    time.sleep(0.2)
    host.kill()
    host.start()
    Agent(host, lambda job: notices.append(job) or 0, transport="bounce")
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    assert len(notices) == 1 and len(notices[0]["recipients"]) == 2


def test_notify_never_and_notify_success_are_heeded(host):
    host.start()
    notices = []
    Agent(host, lambda job: [3 if a.startswith("bad") else 0 for a in recipients(job)])
    Agent(host, lambda job: notices.append(job) or 0, transport="bounce")
    queue_id, _ = Intake(host).commit(recipients=[
        {"address": "bad@a.test", "dsn_notify": 1}, {"address": "ok@a.test", "dsn_notify": 2}])
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    assert [(job["kind"], recipients(job)) for job in notices] == [(3, ["ok@a.test"])]


def test_an_expired_message_is_returned_with_its_last_reason(host):
    host.parameters["maximal_queue_lifetime"] = "2s"
    host.start()
    notices = []
    Agent(host, lambda job: 2)
    Agent(host, lambda job: notices.append(job) or 0, transport="bounce")
    queue_id, _ = Intake(host).commit()
    wait_for("a notice", lambda: notices, 15)
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    assert re.search(rf"{queue_id}: from=<alice@example.org>, status=expired, returned to sender",
                     host.log())
    assert notices[0]["kind"] == 1
    assert notices[0]["recipients"][0]["outcome"][0]["reason"] == b"later"
    wait_for("no file", lambda: not files(host))


def test_the_sender_hears_of_a_delay_once(host):
    host.parameters["delay_warning_time"] = "1s"
    host.start()
    notices, tries = [], []
    Agent(host, lambda job: tries.append(1) or 2)
    Agent(host, lambda job: notices.append(job) or 0, transport="bounce")
    Intake(host).commit()
    wait_for("five tries", lambda: len(tries) >= 5, 30)
    assert [job["kind"] for job in notices] == [2]


def test_soft_bounce_defers_what_failed(host):
    host.parameters["soft_bounce"] = "yes"
    host.start()
    Agent(host, lambda job: 3)
    queue_id, _ = Intake(host).commit()
    wait_for("a file", lambda: files(host) == [queue_id])


def test_a_dead_destination_defers_its_mail_and_spares_the_others(host):
    host.parameters.update(minimal_backoff_time="100s", maximal_backoff_time="100s",
                           initial_destination_concurrency="1")
    host.start()
    seen = []

    def deliver(job):
        seen.append(job["nexthop"])
        if job["nexthop"] == b"dead.test":
            return {"answers": [2], "destination": 1, "destination_reason": "connect: refused"}
        return 0

    Agent(host, deliver)
    intake = Intake(host)
    dead = [intake.commit(recipients=["u@dead.test"])[0] for _ in range(10)]
    intake.commit(recipients=["u@live.test"])
    wait_for("10 files", lambda: sorted(files(host)) == sorted(dead))
    wait_for("the live one", lambda: seen.count(b"live.test") == 1)
    assert seen.count(b"dead.test") == 1
    assert "status=deferred (delivery temporarily suspended: connect: refused)" in host.log()


def test_error_retry_and_discard_are_answered_here(host):
    (host.directory / "transport").write_text(
        "e.test error:5.1.1 no such place\nr.test retry:4.7.1 not today\nd.test discard:silently\n")
    host.parameters["transport_maps"] = f"texthash:{host.directory}/transport"
    host.start()
    Agent(host, lambda job: 0, transport="bounce")
    Intake(host).commit(recipients=["a@e.test", "b@r.test", "c@d.test"])
    wait_for("three lines", lambda: len(re.findall(r"status=\w+ \(", host.log())) >= 3)
    log = host.log()
    assert re.search(r"to=<a@e.test>, relay=none, delay=[\d.]+, delays=[\d./]+, dsn=5.1.1, "
                     r"status=bounced \(no such place\)", log)
    assert re.search(r"to=<b@r.test>, .*dsn=4.7.1, status=deferred \(not today\)", log)
    assert re.search(r"to=<c@d.test>, .*dsn=2.0.0, status=sent \(silently\)", log)


def test_mail_on_hold_is_not_tried(host):
    host.start()
    jobs = []
    Agent(host, lambda job: jobs.append(job) or 0)
    queue_id, _ = Intake(host).commit(flags=4)
    wait_for("a file", lambda: files(host, "hold") == [queue_id])
    host.kill()
    host.start()
    time.sleep(0.5)
    assert not jobs and files(host, "hold") == [queue_id]


def test_a_list_does_not_hold_up_a_letter(host):
    host.parameters.update(smtp_destination_recipient_limit="1")
    host.start()
    order = []

    def deliver(job):
        order.append(recipients(job)[0])
        time.sleep(0.005)
        return 0

    intake = Intake(host)
    intake.commit(recipients=[f"list{n}@a.test" for n in range(300)])
    agent = Agent(host, deliver)
    wait_for("a beginning", lambda: len(order) > 10)
    intake.commit(recipients=["letter@a.test"])
    wait_for("the letter", lambda: "letter@a.test" in order, 10)
    assert order.index("letter@a.test") < 150
    agent.is_over = True


def test_a_mailbox_worker_is_attached_and_given_a_window_full(host):
    (host.directory / "mailboxes").write_text("u1@v.test v.test/u1/\nu2@v.test v.test/u2/\n")
    host.parameters.update(virtual_mailbox_domains="v.test",
                           virtual_mailbox_maps=f"texthash:{host.directory}/mailboxes",
                           virtual_uid_maps="static:5000", virtual_gid_maps="static:5001")
    parent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    parent.bind(str(host.path("private/virtual")))
    parent.listen(5)
    host.start()
    intake = Intake(host)
    for _ in range(5):
        intake.commit(recipients=["u1@v.test", "u2@v.test"])
    connection, _ = parent.accept()
    name, attach = Channel(connection).receive()
    assert name == "mailbox_attach"
    assert (attach["uid"], attach["gid"], attach["transport"]) == (5000, 5001, b"virtual")
    worker = Channel(socket.socket(fileno=attach["channel"]))
    worker.send("agent_hello", transport="virtual", window=64, uid=5000, gid=5001)
    jobs = [worker.receive()[1] for _ in range(5)]
    assert [one["mailbox"] for one in jobs[0]["recipients"]] == [b"v.test/u1/", b"v.test/u2/"]
    for job in jobs:
        worker.send("job_result", job=job["job"], outcomes=[
            {"recipient": n, "action": 0, "status": "2.0.0", "reason": "ok"} for n in range(2)])
    wait_for("all removed", lambda: host.log().count(": removed") == 5)
    parent.close()


def test_a_worker_that_cannot_be_started_defers_its_mail(host):
    (host.directory / "mailboxes").write_text("u1@v.test v.test/u1/\n")
    host.parameters.update(virtual_mailbox_domains="v.test",
                           virtual_mailbox_maps=f"texthash:{host.directory}/mailboxes",
                           virtual_uid_maps="static:5000", virtual_gid_maps="static:5001",
                           minimal_backoff_time="100s", maximal_backoff_time="100s")
    host.start()
    queue_id, _ = Intake(host).commit(recipients=["u1@v.test"])
    wait_for("a file", lambda: files(host) == [queue_id], 15)
    assert "status=deferred (mail transport unavailable)" in host.log()


def test_a_transport_that_nobody_serves_defers_its_mail(host):
    host.parameters.update(transport_retry_time="2s", minimal_backoff_time="100s",
                           maximal_backoff_time="100s")
    host.start()
    queue_id, _ = Intake(host).commit()
    wait_for("a file", lambda: files(host) == [queue_id], 15)
    assert "status=deferred (mail transport unavailable)" in host.log()


def test_a_full_journal_moves_old_mail_to_files_and_loses_none(host):
    host.parameters.update(qmgr_segment_size="65536", qmgr_segment_limit="2")
    host.start()
    intake = Intake(host)
    ids = [intake.commit(b"Subject: x\r\n\r\n" + b"y" * 4000 + b"\r\n")[0] for _ in range(100)]
    wait_for("files", lambda: len(files(host)) > 20)
    segments = len(os.listdir(host.path("active")))
    assert segments <= 10, segments
    seen = []
    Agent(host, lambda job: seen.append(job["queue_id"].decode()) or 0)
    wait_for("all", lambda: sorted(set(seen)) == sorted(ids))
    assert len(seen) == len(ids)
    wait_for("no files", lambda: not files(host))


def test_an_agent_that_holds_a_connection_is_given_its_destination(host):
    host.start()
    lock, order = threading.Lock(), []

    def make(name):
        def deliver(job):
            with lock:
                order.append((name, job["nexthop"].decode()))
            return {"answers": 0, "held_nexthop": job["nexthop"],
                    "held_until_ms": int(time.monotonic() * 1000) + 60000}
        return deliver

    for name in "ab":
        Agent(host, make(name))
    intake = Intake(host)
    for n in range(20):
        intake.commit(recipients=[f"u@d{n % 2}.test"])
        wait_for("it", lambda: len(order) == n + 1)
        time.sleep(0.01)
    assert len({pair for pair in order[2:]}) == 2, order


# ---- what the journal says of notices and of files ----


class Notifier(threading.Thread):
    """bounce: takes one job, commits a notice that settles it, and never reports."""

    def __init__(self, host, **changes):
        super().__init__(daemon=True)
        self.host, self.changes, self.jobs, self.statuses = host, changes, [], []
        self.channel = host.connect("private/jobs", transport="bounce", window=1)
        self.start()

    def run(self):
        name, job = self.channel.receive(3600)
        assert name == "job"
        self.jobs.append(job)
        self.statuses.append(commit_notice(self.host, job, self.changes))


def commit_notice(host, job, changes=()):
    intake = Intake(host)
    notice_id = intake.make_id()
    intake.channel.send("intake_settles", **{
        "queue_id": notice_id, "job": job["job"], "about": job["queue_id"],
        "recipients": [{"recipient": i} for i in range(len(job["recipients"]))], **dict(changes)})
    return intake.commit(b"Subject: notice\r\n\r\nsorry\r\n", ["alice@notices.test"], sender="",
                         queue_id=notice_id)[1]


def outcomes(job):
    return [3 if address.startswith("bad") else 2 if address.startswith("later") else 0
            for address in recipients(job)]


@pytest.mark.sanitized
@pytest.mark.parametrize("first", [3, 2], ids=["journal", "file"])
def test_a_notice_is_not_made_again_when_all_stops_behind_its_commit(host, first):
    """first: the outcome of the first attempt; a message that was deferred lies in a file."""
    host.start()
    tries, delivered, notices = [], [], []

    def deliver(job):
        if recipients(job)[0].endswith("notices.test"):
            delivered.append(job["content"])
            return 0
        tries.append(1)
        return first if len(tries) == 1 else 3

    agent = Agent(host, deliver)
    notifier = Notifier(host)
    queue_id, _ = Intake(host).commit(recipients=["bad1@a.test", "bad2@a.test"])
    wait_for("a notice", lambda: notifier.statuses)
    host.kill()
    assert notifier.statuses == [0] and len(tries) == (1 if first == 3 else 2)
    if first == 2:
        assert files(host) == [queue_id], "the test is about a file that does not know it"
    host.start()
    Agent(host, lambda job: notices.append(job) or 0, transport="bounce")
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    wait_for("the notice", lambda: delivered)
    time.sleep(0.3)
    assert not notices and len(delivered) == 1 and delivered[0].endswith(b"sorry\r\n")
    assert len(tries) == (1 if first == 3 else 2)
    wait_for("no file", lambda: not files(host))
    agent.is_over = True


@pytest.mark.sanitized
def test_a_warning_is_not_given_again_when_all_stops_behind_its_commit(host):
    host.parameters["delay_warning_time"] = "1s"
    host.start()
    tries, notices = [], []
    Agent(host, lambda job: tries.append(1) or (0 if recipients(job)[0].endswith("notices.test") else 2))
    notifier = Notifier(host)
    Intake(host).commit()
    wait_for("a warning", lambda: notifier.statuses, 30)
    assert notifier.jobs[0]["kind"] == 2 and notifier.statuses == [0]
    host.kill()
    host.start()
    Agent(host, lambda job: notices.append(job) or 0, transport="bounce")
    wait_for("more tries", lambda: len(tries) >= 6, 30)
    assert not notices


@pytest.mark.sanitized
def test_one_notice_of_several_settles_its_recipients_only(host):
    host.start()
    Agent(host, outcomes)
    notices = []
    notifier = Notifier(host, recipients=[{"recipient": 1}])
    queue_id, _ = Intake(host).commit(recipients=["bad1@a.test", "bad2@a.test", "bad3@a.test"])
    wait_for("a notice", lambda: notifier.statuses)
    assert notifier.statuses == [0]
    notifier.channel.close()  # dies without a report: the others' notice is asked for again
    Agent(host, lambda job: notices.append(recipients(job)) or 0, transport="bounce")
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    assert notices == [["bad1@a.test", "bad3@a.test"]]


@pytest.mark.parametrize("changes", [
    {"job": 12345}, {"about": "t1x000099"}, {"recipients": [{"recipient": 2}]}, {"recipients": []},
    {"recipients": [{"recipient": 0}, {"recipient": 0}, {"recipient": 0}]}], ids=str)
def test_what_is_not_in_the_job_is_not_settled(host, changes):
    host.start()
    Agent(host, outcomes)
    notifier = Notifier(host, **changes)
    queue_id, _ = Intake(host).commit(recipients=["bad1@a.test", "bad2@a.test"])
    wait_for("an answer", lambda: notifier.statuses)
    assert notifier.statuses[0] not in (0, None)
    assert f"{queue_id}: removed" not in host.log()
    assert host.process.poll() is None


@pytest.mark.sanitized
def test_another_process_may_not_settle(host):
    host.start()
    Agent(host, outcomes)
    channel = host.connect("private/jobs", transport="bounce", window=1)
    queue_id, _ = Intake(host).commit(recipients=["bad1@a.test"])
    _, job = channel.receive(20)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, bytes([commit_notice(host, job)]))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) not in (b"\0", b"")
    assert commit_notice(host, job) == 0
    assert commit_notice(host, job) != 0, "it has been told already"
    wait_for("one", lambda: host.log().count("from=<>") == 1)
    channel.send("job_result", job=job["job"], destination=0, outcomes=[
        {"recipient": 0, "action": 0, "status": "2.0.0", "reason": "notified", "relay": "none"}])
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())


@pytest.mark.sanitized
def test_a_recipient_of_a_file_is_not_tried_again_when_all_stops_behind_his_delivery(host):
    host.parameters["smtp_destination_recipient_limit"] = "1"
    host.start()
    tries = []

    def deliver(job):
        address = recipients(job)[0]
        tries.append(address)
        if tries.count(address) == 2 and address.startswith("slow"):
            time.sleep(3600)
        return 2 if tries.count(address) == 1 else 0

    for _ in range(2):
        Agent(host, deliver)
    queue_id, _ = Intake(host).commit(recipients=["quick@a.test", "slow@b.test"])
    wait_for("second tries", lambda: tries.count("quick@a.test") == 2 and tries.count("slow@b.test") == 2)
    time.sleep(0.3)
    host.kill()
    assert files(host) == [queue_id]
    host.start()
    Agent(host, deliver)
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    assert tries.count("quick@a.test") == 2 and tries.count("slow@b.test") == 3


@pytest.mark.sanitized
def test_a_file_that_comes_back_after_its_removal_is_known_to_be_done(host):
    """As after a power cut that the removal of the name did not survive."""
    host.start()
    tries = []
    agent = Agent(host, lambda job: tries.append(1) or (2 if len(tries) == 1 else 0))
    queue_id, _ = Intake(host).commit()
    path = wait_for("a file", lambda: list(host.path("deferred").glob(f"*/{queue_id}")))[0]
    data = path.read_bytes()
    wait_for("removed", lambda: f"{queue_id}: removed" in host.log())
    time.sleep(0.2)
    host.kill()
    for _ in range(2):
        path.write_bytes(data)
        os.utime(path, (0, 0))
        host.start()
        time.sleep(0.5)
        assert not files(host) and len(tries) == 2
        host.kill()
    agent.is_over = True


def test_what_is_remembered_of_files_does_not_fill_the_journal(host):
    """Segments are written over though every message waits in a file first."""
    host.parameters.update(minimal_backoff_time="1s", maximal_backoff_time="1s")
    host.start()
    seen = set()

    def deliver(job):
        is_first = job["queue_id"] not in seen
        seen.add(job["queue_id"])
        return 2 if is_first else 0

    for _ in range(4):
        Agent(host, deliver)
    intake = Intake(host)
    for _ in range(6):
        for _ in range(60):
            intake.commit(b"Subject: x\r\n\r\n" + b"x" * 20000 + b"\r\n")
        time.sleep(0.3)
    wait_for("all done", lambda: host.log().count(": removed") == 360, 60)
    assert len(list(host.path("active").iterdir())) <= 8
