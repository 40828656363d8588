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
