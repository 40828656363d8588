"""Destinations that take connections and say nothing, beside one that answers."""
import pathlib
import re
import socket

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer

SILENT = 4


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


def send_to_silent(host, count=SILENT):
    for number in range(count):
        host.send("alice@example.test", f"bob@silent{number}.test", message(to="x"))


def test_few_agents_leave_the_silent_for_a_while_and_come_back(start_host):
    host = start_host(2, smtp_helo_timeout="3s")
    send_to_silent(host, 2)
    host.send("alice@example.test", "bob@live.test", message(to="x"))
    # One of the two agents tries what is silent: two seconds each, not three.
    host.wait_log(r"to=<bob@live\.test>.* status=sent", 40)
    assert "no answer yet from [127.66.0." in host.log()
    dakiya.wait_for("all others to be deferred", lambda: len(re.findall(
        r"@silent\d+\.test>.* dsn=4\.4\.2, status=deferred \(conversation with .* timed out",
        host.log())) == 2, 60)
    # Nothing is lost, and nothing was tried twice with an outcome.
    assert {entry["recipients"][0]["address"] for entry in host.queue_list()} == {
        f"bob@silent{number}.test" for number in range(2)}


def test_threads_that_wait_are_replaced_while_they_wait(start_host):
    host = start_host("-", smtp_helo_timeout="3s", default_process_limit="2")

    def threads():
        return sum(len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))
                   for pid in host.processes()["smtp"])

    before = threads()
    send_to_silent(host)
    dakiya.wait_for("more threads", lambda: threads() > before, 10)
    host.send("alice@example.test", "bob@live.test", message(to="x"))
    host.wait_log(r"to=<bob@live\.test>.* status=sent", 20)
    dakiya.wait_for("all others to be deferred", lambda: len(re.findall(
        r"@silent\d+\.test>.* status=deferred", host.log())) == SILENT, 60)
    dakiya.wait_for("as many threads as before", lambda: threads() <= before, 20)


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
