"""A full disk: mail is refused before it is taken, and what was taken is delivered."""
import os
import subprocess
import time

import pytest

from queue_host import Agent, Channel, Intake, QueueHost, wait_for


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if os.getuid() != 0 or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], check=False,
            stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_loses_nothing_and_mail_flows_when_there_is_room_again(small_disk, tmp_path):
    host = QueueHost(small_disk, qmgr_segment_size=1048576, qmgr_segment_limit=3,
                     message_size_limit=10000)
    host.log_path = tmp_path / "log"
    try:
        host.start()
        intake, taken, refused = Intake(host), [], 0
        for _ in range(1200):
            queue_id, status = intake.commit(b"Subject: x\r\n\r\n" + b"y" * 8000 + b"\r\n")
            assert status in (0, 2), "452 4.3.1 is the only refusal"
            if status == 0:
                taken.append(queue_id)
            refused += status == 2
        assert taken and refused
        host.kill()
        host.start()  # also with no room for anything
        seen = []
        Agent(host, lambda job: seen.append(job["queue_id"].decode()) or 0)
        wait_for("what was taken", lambda: set(taken) <= set(seen), 30)

        def taken_again():
            try:
                return Intake(host).commit()[1] == 0
            except Exception:
                return False

        begin = time.monotonic()
        wait_for("new mail", taken_again, 10)
        assert time.monotonic() - begin < 5
        assert len(host.log().splitlines()) < len(taken) * 4 + 100, "no flood in the log"
    finally:
        host.close()


def test_what_a_round_delivered_is_kept_when_its_file_cannot_be_written(small_disk, tmp_path):
    """It was forgotten, and delivered once more in every round while the disk was full."""
    host = QueueHost(small_disk, qmgr_segment_size=1048576, qmgr_segment_limit=2,
                     message_size_limit=10000, minimal_backoff_time="100s",
                     maximal_backoff_time="100s")
    host.log_path = tmp_path / "log"
    tried, answers = [], {"a@example.net": 2, "b@example.net": 2}

    def deliver(job):
        addresses = [one["address"].decode() for one in job["recipients"]]
        tried.append(addresses)
        return [answers[address] for address in addresses]

    def flush(count):
        Channel(host.path("public/queue")).ask("queue_act", action=1)
        wait_for(f"round {count}", lambda: len(tried) >= count)
        assert len(tried) == count, tried

    try:
        host.start()
        Agent(host, deliver)
        queue_id, _ = Intake(host).commit(recipients=tuple(answers))
        wait_for("it to rest", lambda: list(small_disk.glob(f"deferred/*/{queue_id}")))
        ballast = small_disk / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        answers.update({"a@example.net": 0,
                        "b@example.net": {"action": 2, "status": "4.0.0", "reason": "x" * 9000}})
        flush(2)
        wait_for("the complaint", lambda: "No space left" in host.log())
        flush(3)
        assert [sorted(one) for one in tried] == [sorted(answers), sorted(answers),
                                                  ["b@example.net"]]
        ballast.unlink()
        path = next(small_disk.glob(f"deferred/*/{queue_id}"))
        size = path.stat().st_size
        flush(4)
        # The flush may have come before the end of round 3, which then left it due at once.
        wait_for("its file", lambda: path.stat().st_size > size
                 and path.stat().st_mtime > time.time() + 50)
        host.kill()
        host.start()
        wait_for("the scan", lambda: "messages are deferred" in host.log())
        flush(5)
        assert tried[3:] == [["b@example.net"]] * 2
    finally:
        host.close()
