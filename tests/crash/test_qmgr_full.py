"""A full disk: mail is refused before it is taken, and what was taken is delivered."""
import os
import subprocess
import time

import pytest

from queue_host import Agent, Intake, QueueHost, wait_for


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
