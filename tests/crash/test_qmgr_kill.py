"""kill -9 of qmgr under load, again and again: what was committed is delivered or still there."""
import json
import os
import random
import re
import shutil
import subprocess
import threading
import time

import pytest

from queue_host import BUILD, Agent, Closed, Intake, QueueHost, wait_for

SECONDS = float(os.environ.get("CRASH_SECONDS", "6"))


class Load:
    """Clients that commit messages and an account of what became of them."""

    def __init__(self, host, clients=4, body=lambda: 400):
        self.host, self.body = host, body
        self.lock = threading.Lock()
        self.committed, self.delivered, self.finished, self.wrong = {}, {}, {}, []
        self.is_over = False
        self.threads = [threading.Thread(target=self.client, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def content(self, queue_id, size):
        return (f"Subject: {queue_id}\r\n\r\n".encode() + random.Random(queue_id).randbytes(size).hex()
                .encode() + b"\r\n")

    def client(self):
        while not self.is_over:
            try:
                intake = Intake(self.host)
                while not self.is_over:
                    size, queue_id = self.body(), intake.make_id()
                    content = self.content(queue_id, size)
                    _, status = intake.commit(content, queue_id=queue_id)
                    if status == 0:
                        with self.lock:
                            self.committed[queue_id] = content
            except (Closed, OSError, AssertionError):
                time.sleep(0.02)

    def deliver(self, job):
        content = job["content"]
        if job["file"] is not None:
            content = os.pread(job["file"], job["file_length"], 0)
            os.close(job["file"])
        queue_id = job["queue_id"].decode()
        with self.lock:
            self.delivered[queue_id] = self.delivered.get(queue_id, 0) + 1
            known = self.committed.get(queue_id)
            if (known is not None and known != content) or \
                    not content.startswith(f"Subject: {queue_id}\r\n".encode()) or \
                    not content.endswith(b"\r\n"):
                self.wrong.append(queue_id)
        answer = random.choice([0, 0, 0, 0, 2])
        with self.lock:
            self.finished[queue_id] = self.finished.get(queue_id, 0) + (answer == 0)
        return answer

    def missing(self):
        with self.lock:
            return [one for one in self.committed if not self.finished.get(one)]

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join(10)


@pytest.fixture
def host(tmp_path):
    made = QueueHost(tmp_path, qmgr_segment_size=262144, qmgr_segment_limit=3)
    yield made
    made.close()


def test_everything_committed_is_delivered_though_qmgr_is_killed_again_and_again(host):
    host.start()
    load = Load(host, body=lambda: random.choice([100, 400, 2000, 15000]))
    for _ in range(6):
        Agent(host, load.deliver)
    end, kills = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        time.sleep(random.uniform(0.05, 0.6))
        host.kill()
        kills += 1
        host.start()
    load.stop()
    try:
        wait_for("all deliveries", lambda: not load.missing(), 30)
    except AssertionError as error:
        raise AssertionError(f"{error}: {load.missing()[:10]} of {len(load.committed)}\n"
                             f"{host.log()[-3000:]}") from None
    twice = sum(max(count - 1, 0) for count in load.finished.values())
    print(f"{kills} kills, {len(load.committed)} messages, 0 lost, {len(load.wrong)} wrong, {twice} twice")
    assert not load.wrong
    assert len(load.committed) > 100, "too little to say anything"
    assert kills >= 3
    wait_for("an empty queue", lambda: not os.listdir(host.path("hold")), 5)


def test_what_is_deferred_survives_a_kill_and_is_delivered_later(host):
    host.start()
    answer = [2]
    seen = []
    Agent(host, lambda job: seen.append(job["queue_id"].decode()) or answer[0])
    intake = Intake(host)
    ids = [intake.commit(recipients=["a@x.test", "b@y.test"])[0] for _ in range(20)]
    deferred = lambda: {path.name for path in host.path("deferred").glob("*/*")}  # noqa: E731
    wait_for("20 files", lambda: set(ids) <= deferred())
    host.kill()
    answer[0] = 0
    seen.clear()
    host.start()
    wait_for("all delivered", lambda: set(ids) <= set(seen), 20)
    wait_for("files removed", lambda: not deferred())


def test_a_delivered_recipient_is_not_tried_again_after_a_kill(host):
    host.start()
    tried = []

    def deliver(job):
        answers = []
        for recipient in job["recipients"]:
            address = recipient["address"].decode()
            tried.append(address)
            answers.append(0 if address.startswith("good") else 2)
        return answers

    Agent(host, deliver)
    intake = Intake(host)
    intake.commit(recipients=["good@x.test", "bad@x.test", "bad@y.test"])
    wait_for("a file", lambda: list(host.path("deferred").glob("*/*")))
    host.kill()
    host.start()
    wait_for("a second try", lambda: tried.count("bad@x.test") >= 2)
    assert tried.count("good@x.test") == 1


def test_large_bodies_survive_a_kill(host):
    host.start()
    answer, got = [2], []

    def deliver(job):
        assert job["file"] is not None
        got.append(os.pread(job["file"], job["file_length"], 0))
        os.close(job["file"])
        return answer[0]

    Agent(host, deliver)
    intake = Intake(host)
    body = b"Subject: large\r\n\r\n" + os.urandom(200000).hex().encode() + b"\r\n"
    queue_id = intake.make_id()
    intake.channel.send("intake_spool", queue_id=queue_id, size=len(body))
    name, spooled = intake.channel.receive()
    assert name == "intake_spooled" and spooled["status"] == 0
    os.write(spooled["file"], body)
    os.close(spooled["file"])
    intake.channel.send("intake_commit", queue_id=queue_id, is_spooled=True,
                        envelope=[{"sender": "a@b.test", "arrival_us": int(time.time() * 1e6)}],
                        recipients=[{"address": "c@d.test"}])
    assert intake.channel.receive()[1]["status"] == 0
    host.kill()
    host.start()
    wait_for("a first try", lambda: got)
    host.kill()
    answer[0] = 0
    host.start()
    wait_for("two tries", lambda: len(got) >= 2)
    assert all(one == body for one in got)
    wait_for("the body removed", lambda: not os.listdir(host.path("spool")))


def test_a_body_without_its_commit_is_removed(host):
    host.start()
    intake = Intake(host)
    intake.channel.send("intake_spool", queue_id="t9x000001", size=10)
    intake.channel.receive()
    assert os.listdir(host.path("spool")) == ["t9x000001"]
    intake.close()
    wait_for("the body removed", lambda: not os.listdir(host.path("spool")))


def test_instance_numbers_never_recur(host):
    seen = set()
    for _ in range(4):
        host.start()
        for _ in range(3):
            number = Intake(host).instance
            assert number not in seen
            seen.add(number)
        host.kill()


def test_a_stop_finishes_jobs_and_keeps_the_rest(host):
    host.start()
    begun, done = threading.Event(), []

    def deliver(job):
        begun.set()
        time.sleep(0.5)
        done.append(job["queue_id"].decode())
        return 0

    Agent(host, deliver)
    intake = Intake(host)
    ids = [intake.commit()[0] for _ in range(3)]
    begun.wait(5)
    assert host.stop() == 0
    assert len(done) == 1
    host.start()
    wait_for("the others", lambda: set(done) == set(ids), 10)
    assert len(done) == 3


def test_an_agent_that_dies_gives_its_jobs_back(host):
    host.start()
    channel = host.connect("private/jobs", transport="smtp", window=5)
    intake = Intake(host)
    ids = [intake.commit(recipients=[f"u@d{n}.test"])[0] for n in range(3)]
    for _ in ids:
        assert channel.receive()[0] == "job"
    channel.close()
    done = []
    Agent(host, lambda job: done.append(job["queue_id"].decode()) or 0)
    wait_for("all three", lambda: sorted(done) == sorted(ids))


def test_damage_in_the_journal_is_set_aside_and_costs_no_neighbour(host):
    host.start()
    intake = Intake(host)
    ids = [intake.commit(b"Subject: %d\r\n\r\n" % n + b"z" * 300 + b"\r\n")[0] for n in range(5)]
    host.kill()
    segment = sorted(host.path("active").iterdir())[0]
    data = bytearray(segment.read_bytes())
    at = data.index(b"Subject: 2\r\n")
    data[at + 20] ^= 1
    segment.write_bytes(data)
    done = []
    host.start()
    Agent(host, lambda job: done.append(job["queue_id"].decode()) or 0)
    wait_for("four of five", lambda: len(done) == 4)
    assert set(done) == set(ids) - {ids[2]}
    kept = list(host.path("corrupt").iterdir())
    assert len(kept) == 1 and b"Subject: 2" in kept[0].read_bytes()
    assert "set aside in corrupt/" in host.log()


def test_a_damaged_deferred_file_is_set_aside(host):
    host.start()
    agent = Agent(host, lambda job: 2)
    intake = Intake(host)
    queue_id = intake.commit()[0]
    files = lambda: list(host.path("deferred").glob("*/*"))  # noqa: E731
    wait_for("a file", files)
    host.kill()
    path = files()[0]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    host.start()
    wait_for("it in corrupt/", lambda: [p.name for p in host.path("corrupt").iterdir()] == [queue_id])
    assert f"{queue_id}: its queue file is damaged" in host.log()
    agent.is_over = True


def test_malformed_messages_end_the_channel_and_nothing_else(host):
    host.start()
    good = Intake(host)
    for bad in (b"\xff" * 64, b"\x08\0\0\0\x05\0\0\0garbage!", b"\0\0\0\0\x63\0\0\0"):
        intake = Intake(host)
        intake.channel.socket.sendall(bad)
        with pytest.raises(Closed):
            intake.channel.receive(5)
    assert good.commit()[1] == 0
    assert "malformed message, channel closed" in host.log()


def listing(host):
    config = host.path("conf")
    config.mkdir(exist_ok=True)
    (config / "main.cf").write_text(f"queue_directory = {host.directory}\n")
    (config / "master.cf").write_text("")
    out = subprocess.run([str(BUILD / "bin/dakqueue"), "-c", str(config), "-j"], check=True,
                         capture_output=True, text=True, timeout=30).stdout
    return [json.loads(line) for line in out.splitlines()]


def test_the_queue_is_listed_while_qmgr_is_up_and_while_it_is_down(host):
    host.parameters["minimal_backoff_time"] = host.parameters["maximal_backoff_time"] = "100s"
    host.start()
    Agent(host, lambda job: 2)
    intake = Intake(host)
    ids = {intake.commit(recipients=["bob@example.net"])[0] for _ in range(5)}
    wait_for("5 files", lambda: len(list(host.path("deferred").glob("*/*"))) == 5)
    wait_for("5 entries", lambda: {e["queue_id"] for e in listing(host)
                                   if e["queue_name"] == "deferred"} == ids)
    entry = listing(host)[0]
    assert entry["recipients"] == [{"address": "bob@example.net", "delay_reason": "later",
                                    "transport": "smtp", "nexthop": "example.net"}]
    host.kill()
    for listener in host.listeners.values():
        listener.close()
    assert {e["queue_id"] for e in listing(host)} == ids


def test_a_message_found_in_a_file_and_in_the_journal_is_delivered_once(host):
    """As a stop leaves it between the file's rename and the note of it in the journal."""
    active, saved = host.path("active"), host.path("saved")
    seen, never = [], threading.Event()

    def run(answer):
        def deliver(job):
            seen.append(job["queue_id"].decode())
            return never.wait(60) if seen[-1] == ids[1] else answer
        host.start()
        agent = Agent(host, deliver, window=1)
        second = Agent(host, deliver, window=1)
        return agent, second

    def kill(agents):
        for agent in agents:
            agent.is_over = True
        host.kill()

    host.start()
    intake = Intake(host)
    ids = [intake.commit(recipients=[f"{name}@{name}.example"])[0] for name in "ab"]
    host.kill()
    shutil.copytree(active, saved)
    agents = run(2)
    wait_for("a deferred", lambda: list(host.path("deferred").glob(f"*/{ids[0]}")))
    kill(agents)
    shutil.rmtree(active)
    saved.rename(active)
    seen.clear()
    agents = run(0)
    wait_for("a delivered", lambda: not list(host.path("deferred").glob(f"*/{ids[0]}")))
    assert seen.count(ids[0]) == 1
    time.sleep(0.3)
    kill(agents)
    seen.clear()
    agents = run(0)
    wait_for("b tried", lambda: ids[1] in seen)
    time.sleep(0.5)
    assert ids[0] not in seen
    kill(agents)
    never.set()
