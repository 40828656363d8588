"""qmgr alone, and one call of it that fails at a known moment."""
import contextlib
import errno
import time

import pytest

from faults import CALLS, Faults
from queue_host import Agent, Channel, Closed, Intake, QueueHost, wait_for


FLUSH, HOLD = 1, 3  # actions of queue_act


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


def act(host, action):
    Channel(host.path("public/queue")).ask("queue_act", action=action)


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
