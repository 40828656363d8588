"""Damage: bytes of journal segments and queue files flipped, files cut short. A message is delivered
as it was taken, or set aside in corrupt/ with a log line; its neighbours do not suffer, nobody crashes.

Short: every third byte. CRASH_ALL=1: every byte.
"""
import os
import re
import shutil
import struct
import time

import pytest

from mailhost import report
from queue_host import Agent, Intake, QueueHost, wait_for

STEP = 1 if os.environ.get("CRASH_ALL") else 3
COUNT = 60  # messages at a time; every third is damaged
HEADER = 32


def content_for(number):
    return f"Subject: {number}\r\n\r\n".encode() + bytes(65 + (number + i) % 26 for i in range(60)) + b"\r\n"


class Queue:
    """qmgr with COUNT messages, brought back to the same state before each case."""

    def __init__(self, directory, defers):
        self.host = QueueHost(directory, qmgr_segment_size=65536, minimal_backoff_time="1s",
                              maximal_backoff_time="1s")
        self.saved = self.host.path("saved")
        self.host.start()
        intake = Intake(self.host)
        self.ids = [intake.commit(content_for(number), [f"u{number}@d.example"], sender="a@b.example")[0]
                    for number in range(COUNT)]
        if defers:
            agent = Agent(self.host, lambda job: 2, window=COUNT)
            wait_for("all in files", lambda: len(list(self.host.path("deferred").glob("*/*"))) == COUNT)
            agent.is_over = True
            time.sleep(0.2)
        intake.close()
        self.host.kill()
        self.part = "deferred" if defers else "active"
        shutil.copytree(self.host.path(self.part), self.saved)
        self.seen = {}
        self.agent = Agent(self.host, self.deliver, window=COUNT)

    def deliver(self, job):
        queue_id = job["queue_id"].decode()
        self.seen.setdefault(queue_id, []).append(bytes(job["content"]))
        return 0

    def reset(self):
        for name in ("active", "deferred", "corrupt", "hold", "tmp"):
            shutil.rmtree(self.host.path(name), ignore_errors=True)
        shutil.copytree(self.saved, self.host.path(self.part))
        self.host.log_path.unlink(missing_ok=True)
        self.seen.clear()

    def run(self, expected):
        """Starts; waits until all ids of expected have come, and a moment more for others."""
        self.host.start()
        wait_for("the neighbours", lambda: expected <= set(self.seen), 20)
        wait_for("an end", lambda: self.host.log().count(": removed") >= len(self.seen), 10)
        time.sleep(0.05)
        assert self.host.process.poll() is None, self.host.log()
        self.host.kill()
        for queue_id, contents in self.seen.items():
            number = self.ids.index(queue_id)
            assert contents == [content_for(number)] * len(contents), f"{queue_id} is not as it was taken"

    def corrupt_files(self):
        return [path.read_bytes() for path in self.host.path("corrupt").iterdir()]

    def segment(self):
        return next(path for path in self.host.path("active").iterdir() if path.name.isdigit())


@pytest.fixture(params=[False, True], ids=["segment", "files"])
def queue(request, tmp_path):
    made = Queue(tmp_path, request.param)
    yield made
    made.agent.is_over = True
    made.host.close()


def records(data):
    """Where the records of a segment begin, and their lengths."""
    at, found = 64, []
    while data[at:at + 4] == b"DkR1":
        length = HEADER + (struct.unpack_from("<I", data, at + 16)[0] + 7) // 8 * 8
        found.append((at, length))
        at += length
    return found


def flip(data, at):
    data[at] ^= 1 << (at % 8)


def damage_segment(queue, at):
    """Flips, in every third record, the byte at a place that grows from at; the records' numbers."""
    path = queue.segment()
    data = bytearray(path.read_bytes())
    places = records(data)
    assert len(places) >= COUNT
    damaged = {}
    for number in range(1, COUNT, 3):
        start, length = places[number]
        if at < length:
            flip(data, start + at)
            damaged[number] = at
            at += STEP
    path.write_bytes(data)
    return damaged, at, max(length for _, length in places[:COUNT])


def damage_files(queue, at):
    damaged, most = {}, 0
    for number in range(1, COUNT, 3):
        path = next(queue.host.path("deferred").glob(f"*/{queue.ids[number]}"))
        data = bytearray(path.read_bytes())
        most = max(most, len(data))
        if at < len(data):
            flip(data, at)
            damaged[number] = at
            at += STEP
            path.write_bytes(data)
    for path in queue.host.path("deferred").glob("*/*"):
        os.utime(path, (0, 0))
    return damaged, at, most


def test_a_flipped_byte_costs_no_neighbour_and_no_half_message(queue):
    damage = damage_files if queue.part == "deferred" else damage_segment
    at, flips, set_aside, starts = 0, 0, 0, 0
    while True:
        queue.reset()
        damaged, at, most = damage(queue, at)
        if not damaged:
            break
        queue.run({queue_id for number, queue_id in enumerate(queue.ids) if number not in damaged})
        missing = [number for number in damaged if queue.ids[number] not in queue.seen]
        kept = b"".join(queue.corrupt_files())
        for number in missing:
            assert content_for(number)[-40:] in kept or content_for(number)[:20] in kept, \
                f"byte {damaged[number]} of message {number}: neither delivered nor set aside"
        assert not missing or re.search(r"damaged|cannot be understood", queue.host.log())
        flips, set_aside, starts = flips + len(damaged), set_aside + len(missing), starts + 1
        if at >= most:
            break
    report(f"damage: {flips} bytes of {'queue files' if queue.part == 'deferred' else 'a segment'} flipped "
           f"in {starts} starts: {set_aside} messages set aside, {flips - set_aside} delivered intact, "
           "all neighbours delivered")
    assert flips > 20 and set_aside > 10


def test_what_is_cut_short_costs_only_what_lies_behind(queue):
    queue.reset()
    cases = 0
    if queue.part == "active":
        places = records(queue.segment().read_bytes())
        start, length = places[COUNT // 2]
        for at in range(start, start + length + 1, max(1, STEP * 3)):
            queue.reset()
            os.truncate(queue.segment(), at)
            queue.run(set(queue.ids[:COUNT // 2]))
            assert len(queue.seen) == COUNT // 2 + (at == start + length)
            assert at - start < 4 or at == start + length or "damaged or torn" in queue.host.log()
            cases += 1
    else:
        done, most = 0, 1
        while done < most:
            queue.reset()
            cut = {}
            for number in range(1, COUNT, 3):
                path = next(queue.host.path("deferred").glob(f"*/{queue.ids[number]}"))
                most = path.stat().st_size
                if done < most:
                    os.truncate(path, done)
                    cut[number] = done
                    done += STEP
            for path in queue.host.path("deferred").glob("*/*"):
                os.utime(path, (0, 0))
            queue.run({one for number, one in enumerate(queue.ids) if number not in cut})
            names = {path.name for path in queue.host.path("corrupt").iterdir()}
            for number in cut:
                assert queue.ids[number] in names or queue.ids[number] in queue.seen
            cases += len(cut)
    report(f"damage: {'queue files' if queue.part == 'deferred' else 'a segment'} cut short at {cases} places: "
           "nothing half, no neighbour lost")


@pytest.mark.parametrize("queue", [False], indirect=True, ids=["segment"])
def test_a_damaged_segment_header_costs_nothing(queue):
    for at in range(0, 64, STEP):
        queue.reset()
        path = queue.segment()
        data = bytearray(path.read_bytes())
        flip(data, at)
        path.write_bytes(data)
        queue.run(set(queue.ids))
        assert at >= 32 or "header is damaged" in queue.host.log()
