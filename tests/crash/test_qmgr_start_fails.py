"""A start of qmgr over a queue with all that a start can find, and its n-th call fails: every message
is delivered as it was sent, what is on hold stays there, what is suspended waits.

Short: a few n. CRASH_ALL=1: every n of every kind of call. CRASH_SEED repeats a short run.
"""
import collections
import errno
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from faults import NEVER, Faults
from mailhost import report
from queue_host import Agent, Channel, Closed, Intake, QueueHost, wait_for

ALL = bool(os.environ.get("CRASH_ALL"))
ONLY = os.environ.get("CRASH_CALL")  # one class of calls
FIRST = int(os.environ.get("CRASH_FIRST", "1"))
SEED = int(os.environ.get("CRASH_SEED", time.time()))
SAMPLES = int(os.environ.get("CRASH_SAMPLES", "6"))
LINES = 200  # of the log, in one case
MOST = 1500  # n of one kind of call that the long run takes; of more, so many evenly spread
SHORT = 0

WAYS = [("write", errno.EIO), ("write", errno.ENOSPC), ("write", errno.EINTR), ("write", SHORT),
        ("sync", errno.EIO), ("sync", errno.ENOSPC), ("sync", errno.EINTR),
        ("open", errno.EMFILE), ("open", errno.EIO), ("open", errno.EINTR), ("open", errno.ENOSPC),
        ("rename", errno.EIO), ("link", errno.EIO), ("mkdir", errno.ENOSPC), ("mkdir", errno.EIO),
        ("truncate", errno.EIO), ("read", errno.EIO), ("read", errno.EINTR), ("read", SHORT),
        ("stat", errno.EIO), ("list", errno.EIO), ("thread", errno.EAGAIN), ("socket", errno.EMFILE),
        ("change", errno.EIO), ("memory", errno.ENOMEM)]

FLUSH, HOLD, RELEASE = 1, 3, 4
PARTS = ("active", "deferred", "hold", "spool", "state", "corrupt", "tmp")
SUSPENDED = "waits.test"


def content(name, size=300):
    return f"Subject: {name}\r\n\r\n".encode() + random.Random(name).randbytes(size // 2).hex().encode() + b"\r\n"


class Queue:
    """qmgr alone with faulty calls, and the queue that each case begins with."""

    def __init__(self, place):
        self.faults = Faults(place / "libexec")
        self.host = QueueHost(place / "queue", libexec=self.faults.directory, qmgr_segment_size=262144,
                              qmgr_segment_limit=3, minimal_backoff_time="1000s", maximal_backoff_time="1000s")
        self.template = place / "template"
        self.answers, self.contents = {}, {}  # by address
        self.arrived, self.wrong = collections.Counter(), []
        self.crashes = []
        self.is_blocked = False
        self.cases = self.hits = self.deaths = self.repeats = self.in_libraries = 0
        self.is_ready = False
        self.slowest = (0, "")
        self.agent = None

    # ---- the agent ----

    def deliver(self, job):
        body = job["content"]
        if job["file"] is not None:
            body = os.pread(job["file"], job["file_length"], 0)
            os.close(job["file"])
        answers = []
        for one in job["recipients"]:
            address = one["address"].decode()
            while self.answers.get(address) == "block" and self.is_blocked:
                time.sleep(0.01)
            answers.append(self.answers.get(address, 0))
            if answers[-1] == 0:
                self.arrived[address] += 1
                if body != self.contents[address]:
                    self.wrong.append(address)
        return [2 if answer == "block" else answer for answer in answers]

    # ---- the queue ----

    def commit(self, intake, name, *addresses, answer=2, size=300, **envelope):
        addresses = addresses or (f"{name}@{name}.test",)
        body = content(name, size)
        for address in addresses:
            self.contents[address], self.answers[address] = body, answer
        if size < 100000:
            return intake.commit(body, recipients=addresses, **envelope)[0]
        queue_id = intake.make_id()
        _, spooled = intake.channel.ask("intake_spool", queue_id=queue_id, size=len(body))
        os.write(spooled["file"], body)
        os.close(spooled["file"])
        _, result = intake.channel.ask(
            "intake_commit", queue_id=queue_id, is_spooled=True,
            envelope=[{"sender": "alice@example.org", "arrival_us": int(time.time() * 1e6), "size": len(body),
                       "service": "test"}], recipients=[{"address": address} for address in addresses])
        assert result["status"] == 0
        return queue_id

    def ask(self, name, **values):
        """Of a qmgr that may end meanwhile."""
        channel = Channel(self.host.path("public/queue"))
        try:
            channel.send(name, **values)
            for _ in range(100):
                try:
                    return channel.receive(0.1)
                except TimeoutError:
                    if self.host.process.poll() is not None:
                        break
        except (Closed, OSError):
            pass
        finally:
            channel.close()
        return None

    def act(self, action, queue_id=""):
        self.ask("queue_act", action=action, queue_id=queue_id)

    def resume(self):
        self.ask("queue_suspend", is_resumed=True, suspension=[{"nexthop": SUSPENDED}])

    def is_file(self, queue_id):
        return any(self.host.directory.glob(f"deferred/*/{queue_id}"))

    def prepare(self):
        """Deferred, on hold, half delivered, gone but for its file, large, suspended, active."""
        host, ids = self.host, {}
        host.start()
        self.agent = Agent(host, self.deliver, window=1)
        intake = Intake(host)
        Channel(host.path("public/queue")).ask("queue_suspend", suspension=[{"nexthop": SUSPENDED}])
        for name in ("one", "two", "held", "gone"):
            ids[name] = self.commit(intake, name)
        ids["large"] = self.commit(intake, "large", size=400000)
        ids["half"] = self.commit(intake, "half", "half@done.test", "half@waits2.test")
        ids["suspended"] = self.commit(intake, "suspended", f"s@{SUSPENDED}")
        wait_for("all to rest", lambda: all(map(self.is_file, ids.values())))
        self.act(HOLD, ids["held"])
        gone_file = next(host.directory.glob(f"deferred/*/{ids['gone']}"))
        gone_bytes = gone_file.read_bytes()
        self.answers |= {"gone@gone.test": 0, "half@done.test": 0, "half@waits2.test": "block"}
        self.is_blocked = True
        self.act(FLUSH, ids["gone"])
        wait_for("one to be gone", lambda: not gone_file.exists())
        self.act(FLUSH, ids["half"])
        wait_for("half of one", lambda: self.arrived["half@done.test"])
        for number in range(3):
            self.commit(intake, f"active{number}", answer=0)
        self.commit(intake, "bulky", answer=0, size=350000)
        time.sleep(0.3)  # results are in the journal
        host.kill()
        host.process, self.is_blocked = None, False
        gone_file.write_bytes(gone_bytes)  # the power cut before its directory was synced
        (host.directory / "spool" / "t9x000009").write_bytes(b"nobody's")
        for part in PARTS:
            shutil.copytree(host.directory / part, self.template / part)
        self.answers = {address: 0 for address in self.contents}
        self.ids = ids
        del self.contents["gone@gone.test"]  # must not come again
        assert self.arrived.pop("half@done.test") == 1  # nor should this

    # ---- a case ----

    def note_end(self):
        """A start that fails ends by itself. Without memory some libraries crash: glibc's look-ups of users,
        libseccomp while it makes its filter; or the filter lacks calls then (_exit). That is not ours to mend."""
        status = self.host.process.returncode
        self.deaths += 1
        in_library = not self.is_ready or status == -signal.SIGSYS or self.faults.crash.startswith(("libc.", "libseccomp."))
        if status < 0 and in_library:
            self.in_libraries += 1
        elif status < 0:
            self.crashes.append(f"signal {-status}")
        self.host.control.close()
        self.host.process = None

    def keep_running(self):
        while self.host.process is None or self.host.process.poll() is not None:
            if self.host.process is not None:
                self.note_end()
            self.is_ready = False
            try:
                self.host.start()
                self.is_ready = True
            except (Closed, OSError):
                try:
                    self.host.process.wait(3)
                except subprocess.TimeoutExpired:  # a crash that hangs in telling where it was
                    self.host.process.kill()
                    self.host.process.wait()

    def act_until(self, done, *actions, seconds=30):
        until = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < until, "in vain"
            self.keep_running()
            for action, queue_id in actions:
                self.act(action, queue_id)
            time.sleep(0.05)

    def wanted(self, *without):
        return set(self.contents) - {"half@done.test"} - set(without)

    def begin(self):
        for part in PARTS:
            shutil.rmtree(self.host.directory / part, ignore_errors=True)
            shutil.copytree(self.template / part, self.host.directory / part)
        self.host.log_path.unlink(missing_ok=True)
        self.arrived.clear()
        self.wrong, self.crashes = [], []

    def run(self):
        """From the start to an empty queue; what must not happen is asserted."""
        held, suspended = "held@held.test", f"s@{SUSPENDED}"
        self.keep_running()
        self.act_until(lambda: self.wanted(held, suspended) <= set(self.arrived), (FLUSH, ""))
        assert held not in self.arrived, "what was on hold was tried"
        assert suspended not in self.arrived, "what was suspended was tried"

        self.act_until(lambda: self.resume() or self.wanted() <= set(self.arrived), (RELEASE, self.ids["held"]), (FLUSH, ""))

        def left():
            return [str(path) for part in ("deferred/*/*", "hold/*", "spool/*")
                    for path in self.host.directory.glob(part) if path.name != "t9x000009"]

        self.act_until(lambda: not left(), (FLUSH, ""), seconds=10)

    def case(self, call, error, number):
        what = f"{call} number {number}: {errno.errorcode.get(error, 'a half')}"
        begin = time.monotonic()
        self.begin()
        try:
            with self.faults.armed(call, error, number, program="qmgr"):
                self.run()
                self.hits += self.faults.hits > 0
            lines = [line for line in self.host.log().splitlines() if self.ids["suspended"] not in line]
            assert not self.wrong and not self.crashes, (self.wrong, self.crashes)
            assert not list(self.host.directory.glob("corrupt/*")), "sound records were set aside"
            assert len(lines) < LINES, "floods the log"
        except Exception as problem:
            left = [str(path) for part in ("deferred/*/*", "hold/*", "spool/*")
                    for path in self.host.directory.glob(part)]
            raise AssertionError(f"CRASH_SEED={SEED}: {what}: {problem!r}\nmissing: "
                                 f"{self.wanted() - set(self.arrived)} left: {left}\n{self.host.log()[-6000:]}") from problem
        finally:
            if self.host.process is not None and self.host.process.poll() is None:
                self.host.kill()
            self.host.process = None
        self.cases += 1
        self.repeats += sum(count - 1 for count in self.arrived.values()) + self.arrived["gone@gone.test"] \
            + self.arrived["half@done.test"]
        self.slowest = max(self.slowest, (time.monotonic() - begin, what))

    def count(self, call):
        self.begin()
        with self.faults.armed(call, errno.EIO, NEVER, program="qmgr"):
            self.run()
        self.host.kill()
        self.host.process = None
        return self.faults.counted


@pytest.fixture
def queue(tmp_path):
    made = Queue(tmp_path)
    yield made
    made.faults.disarm()
    made.is_blocked = False
    if made.agent is not None:
        made.agent.is_over = True
    if made.host.process is not None:
        made.host.close()


def test_a_start_with_a_failing_call_loses_nothing(queue):
    queue.prepare()
    ways = [way for way in WAYS if not ONLY or way[0] == ONLY]
    counts = {call: queue.count(call) for call, _ in ways} if ALL else {}
    chance, problems = random.Random(SEED), []
    if ALL:
        todo = [(call, error, number) for call, error in ways
                for number in range(FIRST, counts[call] + 1, max(1, counts[call] // MOST))]
    else:
        todo = [(*chance.choice(ways), chance.randint(1, 60)) for _ in range(SAMPLES)]
    for call, error, number in todo:
        try:
            queue.case(call, error, number)
        except AssertionError as problem:
            problems.append(str(problem))
            print(problem, flush=True)
            if not ALL:
                break
    report(f"a start of qmgr with a failing call: seed {SEED}, {queue.cases} cases ({counts or 'a sample'}), "
           f"{queue.hits} met, {queue.deaths} starts ended by themselves ({queue.in_libraries} crashed in libraries), {queue.repeats} recipients tried again, "
           f"slowest {queue.slowest[0]:.1f} s ({queue.slowest[1]}), {len(problems)} wrong")
    assert not problems, "\n".join(problems[:5])
