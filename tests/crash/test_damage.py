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
@pytest.mark.parametrize("has_secret", [True, False], ids=["", "nor-the-secret"])
def test_a_damaged_segment_header_costs_nothing(queue, has_secret):
    for at in range(0, 64, STEP):
        queue.reset()
        if not has_secret:
            queue.host.path("state/secret").unlink(missing_ok=True)
        path = queue.segment()
        data = bytearray(path.read_bytes())
        flip(data, at)
        path.write_bytes(data)
        queue.run(set(queue.ids))
        assert at >= 48 or "header is damaged" in queue.host.log()


# ---- records in mail, and those of the first version ----


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_checksum(record):
    """The record with its checksum made right."""
    length = struct.unpack_from("<I", record, 16)[0]
    return record[:4] + struct.pack("<I", crc32c(record[8:HEADER + length])) + record[8:]


def first_version(record):
    return with_checksum(record[:22] + struct.pack("<H", 1) + bytes(8) + record[32:])


def done_record(like, queue_id):
    """A DONE of that message, with epoch and seal of another record."""
    payload = struct.pack("<I", len(queue_id)) + queue_id.encode()
    header = like[:16] + struct.pack("<IHH", len(payload), 3, 2) + like[24:32]
    return with_checksum(header + payload + bytes(-len(payload) % 8))


def test_records_in_mail_are_never_taken_for_records(tmp_path):
    """A mail that holds the segment it will lie in, and records forged for it; next to damage."""
    host = QueueHost(tmp_path, qmgr_segment_size=1048576)
    host.start()
    intake = Intake(host)
    before = [intake.commit(content_for(number), sender="a@b.example")[0] for number in range(5)]
    path = next(one for one in host.path("active").iterdir() if one.name.isdigit())
    data = path.read_bytes()
    places = records(data)
    start, length = places[0]
    true = data[start:start + length]
    forged_id = before[0][:-1] + "f"
    forged = with_checksum(true.replace(before[0].encode(), forged_id.encode()))
    pieces = [data[:places[-1][0] + places[-1][1]], forged, first_version(forged),
              *(make(done_record(true, queue_id)) for queue_id in before
                for make in (bytes, first_version))]
    # Wherever the content will begin, one of the copies lies on a multiple of 8.
    content = b"Subject: a segment\r\n\r\n" + b"".join(
        b"x" * shift + b"".join(pieces) + bytes(-shift % 8) for shift in range(8)) + b"\r\n"
    mailed, status = intake.commit(content, sender="a@b.example")
    after = [intake.commit(content_for(number), sender="a@b.example")[0] for number in range(5, 10)]
    assert status == 0
    host.kill()
    damaged = bytearray(path.read_bytes())
    start, length = records(damaged)[5]
    assert length > len(content)
    seen = []
    saved = bytes(damaged)
    agent = Agent(host, lambda job: seen.append(job["queue_id"].decode()) or 0, window=20)
    places = [start, start + 4, start + 8, start + 16, start + 20, start + 30, start + HEADER + 5]
    for at, has_header in [(at, has_header) for at in places for has_header in (True, False)]:
        damaged[:] = saved
        flip(damaged, at)
        if not has_header:
            flip(damaged, 9)
        shutil.rmtree(host.path("corrupt"))
        shutil.rmtree(host.path("active"))
        host.path("active").mkdir()
        path.write_bytes(damaged)
        seen.clear()
        host.start()
        wait_for("the neighbours", lambda: set(before + after) <= set(seen), 20)
        time.sleep(0.1)
        host.kill()
        assert sorted(seen) == sorted(before + after), f"byte {at - start}: {mailed}, {forged_id}"
        assert any(content[-1000:] in one.read_bytes() for one in host.path("corrupt").iterdir())
    agent.is_over = True
    host.close()
    report(f"damage: a segment mailed into itself, with forged records, damaged at {2 * len(places)} places: "
           "nothing in it was read as a record")


@pytest.mark.parametrize("queue", [False], indirect=True, ids=["segment"])
def test_a_segment_of_the_first_version_is_read_and_then_written_over(queue):
    queue.reset()
    path = queue.segment()
    data = bytearray(path.read_bytes())
    for start, length in records(data):
        data[start:start + length] = first_version(bytes(data[start:start + length]))
    data[24:28] = struct.pack("<I", 1)
    data[28:64] = struct.pack("<I", crc32c(data[:28])) + bytes(32)
    path.write_bytes(data)
    queue.run(set(queue.ids))
    assert " 0 damaged places" in queue.host.log()
    queue.host.start()
    intake = Intake(queue.host)
    for number in range(100):  # two segments' worth
        assert intake.commit(b"Subject: x\r\n\r\n" + b"x" * 3000, sender="a@b.example")[1] == 0
        time.sleep(0.002)
    versions = {struct.unpack_from("<I", one.read_bytes(), 24)[0]
                for one in queue.host.path("active").iterdir()}
    assert 2 in versions
    queue.host.kill()
