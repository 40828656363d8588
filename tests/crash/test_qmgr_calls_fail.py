"""qmgr alone, and one call of it that fails at a known moment."""
import contextlib
import errno
import time

import pytest

from faults import CALLS, Faults
from queue_host import Agent, Channel, Closed, Intake, QueueHost, wait_for


FLUSH, DELETE, HOLD, RELEASE = 1, 2, 3, 4  # actions of queue_act
OK, FAILED = 0, 3  # what is answered


@pytest.fixture
def faulty(tmp_path):
    faults = Faults(tmp_path / "libexec")
    host = QueueHost(tmp_path / "queue", libexec=faults.directory, minimal_backoff_time="100s",
                     maximal_backoff_time="100s")
    yield host, faults
    faults.disarm()
    host.close()


def files_of(host, queue_id):
    return [*host.directory.glob(f"deferred/*/{queue_id}"), *host.directory.glob(f"hold/{queue_id}")]


def act(host, action, queue_id=""):
    _, answer = Channel(host.path("public/queue")).ask("queue_act", action=action, queue_id=queue_id)
    return answer


@pytest.mark.parametrize("is_stubborn", [False, True])
def test_a_file_that_was_not_safe_in_time_does_not_outlive_its_message(faulty, is_stubborn):
    """The name was there, its directory could not be synced: the message went on in the journal,
    was delivered from there, and the next start delivered the file once more."""
    host, faults = faulty
    tried, answer = [], [2]

    def deliver(job):
        if not tried:
            # The file is synced, then its directory, which fails; perhaps its removal, too.
            faults.arm("sync", errno.EIO, 2, 3 if is_stubborn else 2, program="qmgr")
            if is_stubborn:
                faults.set(1, CALLS["sync"] | CALLS["link"])
        tried.append(job["queue_id"])
        return answer[0]

    host.start()
    Agent(host, deliver)
    queue_id, _ = Intake(host).commit()
    wait_for("the failure", lambda: "cannot be moved to a file" in host.log())
    assert faults.hits == 1 + is_stubborn
    faults.disarm()
    assert len(files_of(host, queue_id)) == is_stubborn
    answer[0] = 0
    act(host, FLUSH)
    wait_for("its end", lambda: f"{queue_id}: removed" in host.log())
    wait_for("no file of it", lambda: not files_of(host, queue_id))
    time.sleep(0.3)  # the journal is told at the same time, and not in this order
    host.kill()
    host.start()
    time.sleep(0.5)
    assert len(tried) == 2


def test_a_removal_without_memory_is_made_up_for(faulty):
    """It was logged as removed, and its file stayed."""
    host, faults = faulty
    answer, number = [2], 0

    def deliver(_):
        if answer[0] == 0:
            faults.arm("memory", errno.ENOMEM, number, program="qmgr")
        return answer[0]

    host.start()
    Agent(host, deliver)
    intake = Intake(host)
    for number in range(1, 5):
        answer[0] = 2
        queue_id, _ = intake.commit()
        wait_for("it to rest", lambda: files_of(host, queue_id))
        answer[0] = 0
        with contextlib.suppress(Closed):  # the failure may meet this client
            act(host, FLUSH)
        wait_for("the failure", lambda: faults.hits)
        faults.disarm()

        def is_gone():
            assert host.process.poll() is None, f"allocation {number}: {host.log()[-300:]}"
            try:
                act(host, FLUSH)  # when the result itself was forgotten
            except Closed:
                pass  # no memory for this client
            return not files_of(host, queue_id)

        wait_for(f"no file of it (allocation {number})", is_gone, 5)


def test_a_removal_that_failed_is_tried_once_more_before_the_end(faulty):
    """qmgr is stopped within the second after which it would have tried again."""
    host, faults = faulty
    answer = [2]

    def deliver(job):
        if answer[0] == 0:
            faults.arm("link", errno.EIO, 1, program="qmgr")
        return answer[0]

    host.start()
    Agent(host, deliver)
    queue_id, _ = Intake(host).commit()
    wait_for("it to rest", lambda: files_of(host, queue_id))
    answer[0] = 0
    act(host, FLUSH)
    wait_for("the failure", lambda: "will be tried again" in host.log())
    host.stop()
    assert not files_of(host, queue_id)


def test_a_message_on_hold_stays_there_when_its_file_cannot_be_written(faulty):
    """A second later it was tried."""
    host, faults = faulty
    tried = []

    def deliver(job):
        tried.append(job["queue_id"])
        if len(tried) == 2:
            Channel(host.path("public/queue")).ask("queue_act", action=HOLD, queue_id=job["queue_id"].decode())
            faults.arm("sync", errno.EIO, 1, 3, program="qmgr")  # the journal's may be among them
        return 2

    host.start()
    Agent(host, deliver)
    queue_id, _ = Intake(host).commit()
    wait_for("it to rest", lambda: files_of(host, queue_id))
    act(host, FLUSH)
    wait_for("the failure", lambda: f"{queue_id}: sync the file of" in host.log())
    wait_for("its hold", lambda: host.path(f"hold/{queue_id}").exists())
    time.sleep(2.5)  # it is looked at after a second, or with the tick after that
    assert len(tried) == 2


def test_a_message_in_memory_gets_to_hold_when_its_rename_fails_at_first(faulty):
    """It stayed in deferred/, and was tried again."""
    host, faults = faulty
    tried = []

    def deliver(job):
        tried.append(job["queue_id"])
        if len(tried) == 2:
            act(host, HOLD, job["queue_id"].decode())
            faults.arm("rename", errno.EIO, 1, program="qmgr")
        return 2

    host.start()
    Agent(host, deliver)
    queue_id, _ = Intake(host).commit()
    wait_for("it to rest", lambda: files_of(host, queue_id))
    act(host, FLUSH)
    wait_for("the failure", lambda: faults.hits)
    wait_for("its hold", lambda: host.path(f"hold/{queue_id}").exists())
    assert len(tried) == 2


def test_a_hold_that_failed_is_told_and_forgotten(faulty):
    """qmgr took it for held: a deletion looked into hold/ and left the file, which came back with a restart."""
    host, faults = faulty
    host.start()
    Agent(host, lambda job: 2)
    queue_id, _ = Intake(host).commit()
    wait_for("it to rest", lambda: files_of(host, queue_id))
    time.sleep(0.2)  # out of memory
    for action in (HOLD, RELEASE):
        before = files_of(host, queue_id)
        with faults.armed("rename", errno.EIO, 1, program="qmgr"):
            answer = act(host, action, queue_id)
        assert answer["status"] == FAILED and b"Input/output error" in answer["reason"], answer
        assert files_of(host, queue_id) == before
        assert act(host, action, queue_id)["status"] == OK
        assert files_of(host, queue_id) != before
    with faults.armed("rename", errno.EIO, 1, program="qmgr"):
        act(host, HOLD, queue_id)
    assert act(host, DELETE, queue_id)["status"] == OK
    wait_for("no file of it", lambda: not files_of(host, queue_id), 5)


def test_a_flush_without_memory_is_no_success(faulty):
    """Only what was in memory was flushed, and "OK" was answered."""
    host, faults = faulty
    tried = []
    host.start()
    Agent(host, lambda job: tried.append(job["queue_id"]) or 2)
    queue_id, _ = Intake(host).commit()
    number, hits = 0, 1
    while hits:
        number += 1
        wait_for("it to rest", lambda: files_of(host, queue_id))
        time.sleep(0.05)
        before = len(tried)
        with faults.armed("memory", errno.ENOMEM, number, program="qmgr"):
            try:
                answer = act(host, FLUSH)
            except (Closed, OSError):
                answer = {"status": FAILED}
            hits = faults.hits
        if answer["status"] == OK and not hits:
            wait_for(f"an attempt (allocation {number})", lambda: len(tried) > before, 2)
        elif answer["status"] == FAILED and hits:
            act(host, FLUSH)
            wait_for(f"an attempt after it failed (allocation {number})", lambda: len(tried) > before, 2)
    assert 3 < number < 60


@pytest.mark.parametrize("number", [*range(1, 9)])
def test_a_destination_that_dies_without_memory_lives_again(tmp_path, number):
    """There was no memory for the end of its pause: it stayed dead, also after a flush."""
    faults = Faults(tmp_path / "libexec")
    host = QueueHost(tmp_path / "queue", libexec=faults.directory, minimal_backoff_time="100s",
                     maximal_backoff_time="100s", default_destination_concurrency_failed_cohort_limit=1)
    tried = []

    def deliver(job):
        if not tried:
            faults.arm("memory", errno.ENOMEM, number, program="qmgr")
        tried.append(job["queue_id"])
        return {"answers": [2], "destination": 1, "destination_reason": "nobody there"}

    try:
        host.start()
        Agent(host, deliver)
        Intake(host).commit()
        wait_for("the attempt", lambda: tried)
        time.sleep(0.1)
        faults.disarm()

        def is_tried_again():
            with contextlib.suppress(Closed):
                act(host, FLUSH)
            return len(tried) > 1

        wait_for("another attempt", is_tried_again, 5)
    finally:
        faults.disarm()
        host.close()
