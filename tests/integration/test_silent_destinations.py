"""Destinations that take connections and say nothing, beside some that answer."""
import json
import pathlib
import re
import socket
import threading
import time

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer

SILENT = 4
LIMIT = 3  # of the service "limited"


@pytest.fixture
def silent():
    """A port that refuses connections until somebody calls listen, and is silent from then on."""
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        yield one


@pytest.fixture
def start_host(make_host, silent):
    """A function: a running host that knows live.test and silent0.test, silent1.test ..."""
    address = dakiya.new_address()
    peer = Peer(address)

    def make(limit, listens=True, **settings):
        if listens:
            silent.listen(100)
        port = silent.getsockname()[1]
        routes = [f"{{silent{number}.test = out:[127.66.0.{number + 1}]:{port}}}"
                  for number in range(SILENT)]
        routes.append(f"{{live.test = out:[{address}]:2525}}")
        return make_host(users=["alice"], extra_services=f"out unix - - n - {limit} smtp\n",
                         settings={"transport_maps": f"inline:{{ {', '.join(routes)} }}",
                                   "mynetworks": "127.0.0.0/8", **settings}).start()

    yield make
    peer.close()


def send_to_silent(host, count=SILENT, ending=""):
    for number in range(count):
        host.send("alice@example.test", f"bob@silent{number}{ending}.test", message(to="x"))


class Transfers:
    """Two hosts that take their time: how many messages are on their way at once, to each and to both."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now, self.most, self.most_of_all, self.taken = {}, {}, 0, 0
        self.peers = {name: Peer(dakiya.new_address(), DATA=lambda session, _, name=name: self.take(session, name))
                      for name in ("a", "b")}

    def take(self, session, name):
        with self.lock:
            self.now[name] = self.now.get(name, 0) + 1
            self.most[name] = max(self.most.get(name, 0), self.now[name])
            self.most_of_all = max(self.most_of_all, sum(self.now.values()))
        session.say("354 go")
        while session.line() != ".":
            pass
        time.sleep(0.1)
        with self.lock:
            self.now[name] -= 1
            self.taken += 1
        session.say("250 2.0.0 Ok")

    def close(self):
        for peer in self.peers.values():
            peer.close()


class Scene:
    """One host for the scenarios that take long, which all go on at the same time: each has a transport
    of its own, "few", "out" and "limited", and destinations of its own that end with its name."""

    def __init__(self, directory, authority):
        self.transfers = Transfers()
        self.peers = {name: Peer(dakiya.new_address()) for name in ("few", "out")}
        self.silent = socket.create_server(("0.0.0.0", 0), backlog=100)
        port = self.silent.getsockname()[1]
        routes = [f"{{silent{number}{name}.test = {name}:[127.66.{net}.{number + 1}]:{port}}}"
                  for net, name in enumerate(("few", "out", "limited")) for number in range(2 * LIMIT)]
        lives = {**self.peers, **self.transfers.peers}
        routes += [f"{{live{name}.test = {name if name in self.peers else 'limited'}:[{peer.address}]:2525}}"
                   for name, peer in lives.items()]
        self.host = dakiya.Host(directory, authority=authority, users=["alice"], extra_services=f"""
few unix - - n - 2 smtp -o smtp_silent_limit=0
out unix - - n - 2 smtp
limited unix - - n - {LIMIT} smtp
""", settings={"transport_maps": f"inline:{{ {', '.join(routes)} }}", "mynetworks": "127.0.0.0/8",
               "smtp_helo_timeout": "3s"})

    def begin(self):
        self.host.start()
        self.threads_before = self.threads("out")
        for name, count in (("few", 2), ("out", SILENT), ("limited", 2 * LIMIT)):
            send_to_silent(self.host, count, name)
        dakiya.wait_for("more threads", lambda: self.threads("out") > self.threads_before, 10)
        for name in ("few", "out"):
            self.host.send("alice@example.test", f"bob@live{name}.test", message(to="x"))
        for number in range(24):
            self.host.send("alice@example.test", f"bob@live{'ab'[number % 2]}.test", message(to="x"))

    def threads(self, service):
        running = json.loads(self.host.tool("dakiya", "status", "--json").stdout)["services"]
        pid = next(one["pid"] for one in running if one["service"] == service)
        return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))

    def deferred(self, name):
        """What became of the mail to those that are silent, in the order of the log."""
        return re.findall(rf"to=<bob@silent\d+{name}\.test>.* dsn=(\S+), status=deferred \((.*)",
                          self.host.log())

    def is_live_first(self, name):
        """What became of the mail to the one that lives was known before all of those that are silent."""
        return re.search(rf"to=<bob@(live|silent\d+){name}\.test>", self.host.log()).group(1) == "live"

    def close(self):
        self.host.stop(check=False)
        for peer in (*self.peers.values(), self.transfers):
            peer.close()
        self.silent.close()


@pytest.fixture(scope="module")
def scene(authority):
    directory = dakiya.new_directory("scene")
    made = Scene(directory, authority)
    try:
        made.begin()
        yield made
        made.host.check_log()
    finally:
        made.close()
        dakiya.remove_directory(directory)


def test_a_limit_is_what_transfers_mail_and_the_silent_wait_beside_it(scene):
    dakiya.wait_for("all mail for those that live", lambda: scene.transfers.taken == 24, 20)
    # All threads of the service's own, and one more for each, wait for a greeting meanwhile.
    assert not scene.deferred("limited"), "the silent were waited for"
    assert scene.transfers.most_of_all == LIMIT
    assert max(scene.transfers.most.values()) <= LIMIT


def test_threads_that_wait_are_replaced_while_they_wait(scene):
    scene.host.wait_log(r"to=<bob@liveout\.test>.* status=sent", 20)
    dakiya.wait_for("all others to be deferred", lambda: len(scene.deferred("out")) == SILENT, 60)
    assert scene.is_live_first("out")
    dakiya.wait_for("as many threads as before", lambda: scene.threads("out") <= scene.threads_before, 20)


def test_few_agents_leave_the_silent_for_a_while_and_come_back(scene):
    host = scene.host
    # Without threads that are lent each of the two waits for somebody silent: two seconds, not three.
    host.wait_log(r"to=<bob@livefew\.test>.* status=sent", 40)
    assert "no answer yet from [127.66.0." in host.log()
    dakiya.wait_for("all others to be deferred", lambda: len(scene.deferred("few")) == 2, 60)
    assert scene.is_live_first("few")
    assert all(status == "4.4.2" and reason.startswith("conversation with") and "timed out" in reason
               for status, reason in scene.deferred("few"))
    # Nothing is lost, and nothing was tried twice with an outcome.
    assert sorted(entry["recipients"][0]["address"] for entry in host.queue_list()
                  if "few" in entry["recipients"][0]["address"]) == [
        f"bob@silent{number}few.test" for number in range(2)]


def test_a_stop_waits_for_no_more_than_what_is_under_way(start_host):
    host = start_host("-", smtp_helo_timeout="5s", default_process_limit="2")
    send_to_silent(host)
    host.wait_log(r"bob@silent\d\.test|queue active", 10)
    host.stop()
    host.start()
    host.send("alice@example.test", "bob@live.test", message(to="x"))
    host.wait_log(r"to=<bob@live\.test>.* status=sent", 30)


def test_mail_for_the_silent_does_not_fill_the_active_queue(start_host, silent):
    host = start_host("-", listens=False, qmgr_message_active_limit="16")
    for number in range(20):
        host.send("alice@example.test", f"bob{number}@silent0.test", message(to="x"))
    deferred = r"@silent0\.test>.* dsn=4\.4\.1, status=deferred"
    dakiya.wait_for("all to be deferred", lambda: len(re.findall(deferred, host.log())) == 20, 30)
    dakiya.wait_for("all to be in files", lambda: [
        entry["queue_name"] for entry in host.queue_list()] == ["deferred"] * 20, 10)
    before = len(host.log())
    silent.listen(100)
    host.tool("dakqueue", "flush")
    # Those that had not left memory yet are not read again, which is no more than seven.
    dakiya.wait_for("the others to be looked at",
                    lambda: host.log()[before:].count("(queue active)") >= 13, 30)
    # One is tried and six wait in memory for the answer; what is more is put back, untried.
    dakiya.wait_for("most to be put back", lambda: [
        entry["queue_name"] for entry in host.queue_list()].count("active") == 7, 10)
    assert len(host.queue_list()) == 20
    assert re.search(deferred, host.log()[before:]) is None
