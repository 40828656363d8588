"""A backlog of thousands of deferred messages: listed whole, changed in portions, nothing stale."""
import json
import os
import pathlib
import subprocess
import tempfile

import pytest
from queue_host import BUILD, Agent, Intake, QueueHost, wait_for

COUNT = 5000 if os.environ.get("CRASH") == "short" else 20000
DOMAINS = 100


class Backlog:
    def __init__(self, directory):
        self.directory = directory
        self.host = QueueHost(directory, minimal_backoff_time="1h", maximal_backoff_time="1h")
        self.config = directory / "conf"
        self.config.mkdir()
        (self.config / "main.cf").write_text(f"queue_directory = {directory}\n")
        (self.config / "master.cf").write_text("")
        subprocess.run([BUILD / "bench/queue-fill", directory, str(COUNT), str(DOMAINS), "3600"],
                       check=True)

    def command(self, *arguments):
        return [str(BUILD / "bin/dakqueue"), "-c", str(self.config), *arguments]

    def dakqueue(self, *arguments, stdin=None, code=0):
        done = subprocess.run(self.command(*arguments), input=stdin, capture_output=True, text=True,
                              check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return done

    def listed(self, *arguments):
        rows = [json.loads(line) for line in
                self.dakqueue("list", "--json", *arguments).stdout.splitlines()]
        found = {row["queue_id"]: row for row in rows}
        assert len(found) == len(rows)
        return found

    def files(self, place):
        return {path.name for path in self.directory.glob(place) if path.is_file()}

    def reads(self):
        """read() and its like that qmgr has called."""
        text = pathlib.Path(f"/proc/{self.host.process.pid}/io").read_text()
        return int(text.split("syscr: ")[1].split()[0])


@pytest.fixture
def backlog():
    """In memory where that can be: it is about numbers, and a disk that others use is slow."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="dakiya-scale-", dir=memory) as directory:
        one = Backlog(pathlib.Path(directory))
        try:
            one.host.start()
            yield one
        finally:
            one.host.close()


def test_a_list_holds_each_message_once_and_opens_no_files_the_second_time(backlog):
    """At once, before the start's scan is over, and again from the cards."""
    first = backlog.listed()
    assert first.keys() == backlog.files("deferred/?/*") and len(first) == COUNT
    before = backlog.reads()
    assert backlog.listed() == first
    assert backlog.reads() - before < COUNT // 10
    text = backlog.dakqueue("list").stdout
    assert text.count("bob@d") == COUNT and text.endswith(f" Kbytes in {COUNT} Requests.\n")
    assert len(backlog.listed("--domain", "d7.test")) == COUNT // DOMAINS


def test_whoever_stops_reading_ends_the_work(backlog):
    """There are four threads for administrators: a fifth list would wait for ever."""
    for _ in range(8):
        with subprocess.Popen(backlog.command("list"), stdout=subprocess.PIPE) as tool:
            assert tool.stdout.readline().startswith(b"----Queue ID")
            tool.kill()
    assert len(backlog.listed()) == COUNT


def test_actions_on_thousands_reach_all_of_them_and_are_safe_when_they_are_told(backlog):
    chosen = backlog.listed("--domain", "d*7.test").keys()
    held = backlog.dakqueue("hold", "--domain", "d*7.test").stderr
    assert held == f"dakqueue: Placed on hold: {len(chosen)} messages\n"
    assert backlog.files("hold/*") == chosen == backlog.listed("--state", "hold").keys()
    ids = "".join(f"{one}\n" for one in [*chosen, "notthere1", "notthere2"])
    gone = backlog.dakqueue("delete", "-", stdin=ids).stderr
    assert gone == f"dakqueue: Deleted: {len(chosen)} messages\n"
    assert not backlog.files("hold/*")
    some = list(backlog.listed("--domain", "d*6.test"))[:250]
    gone = backlog.dakqueue("delete", *some, "notthere1", code=65).stderr
    assert gone.splitlines() == [
        "dakqueue: notthere1: no such message in the queue, or not in that state",
        "dakqueue: Deleted: 250 messages"]
    left = COUNT - len(chosen) - 250
    assert len(backlog.listed()) == len(backlog.files("deferred/?/*")) == left
    assert backlog.dakqueue("delete", "ALL").stderr == f"dakqueue: Deleted: {left} messages\n"
    assert not backlog.listed() and not backlog.files("deferred/?/*")


def test_a_message_that_was_tried_again_is_listed_as_it_is_now(backlog):
    one = next(iter(backlog.listed("--domain", "d7.test").values()))
    assert one["attempts"] == 0
    Agent(backlog.host, lambda job: {"action": 2, "status": "4.0.0", "reason": "still away"})
    for attempts in (1, 2):
        backlog.dakqueue("requeue", one["queue_id"])

        def now():
            row = backlog.listed("--domain", "d7.test")[one["queue_id"]]
            return row["attempts"] == attempts and row["queue_name"] == "deferred" and row

        row = wait_for("the attempt", now)
        assert row["last_reply"] == "still away" and row["next_attempt"] > one["arrival_time"]


def test_fresh_mail_passes_while_all_are_listed_and_flushed(backlog):
    fresh = []
    Agent(backlog.host, lambda job: fresh.append(job["queue_id"].decode()) or 0, window=8)
    with subprocess.Popen(backlog.command("list"), stdout=subprocess.DEVNULL):
        backlog.dakqueue("flush")
        queue_id, _ = Intake(backlog.host).commit(recipients=("x@new.test",))
        wait_for("the fresh message", lambda: queue_id in fresh)
    assert len(fresh) < COUNT // 2, "it waited for the backlog"
