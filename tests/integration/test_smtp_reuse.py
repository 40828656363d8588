"""Connections that serve more than one message: when they are kept, and when never."""
import os
import re
import subprocess
import threading
import time

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer

ONE = {"smtp_destination_concurrency_limit": "1", "mynetworks": "127.0.0.0/8",
       "smtp_tls_loglevel": "1"}


@pytest.fixture
def pair(make_host):
    """A function: a running host and one server for peer.test."""
    peers = []

    def make(settings=None, **options):
        address = dakiya.new_address()
        peers.append(Peer(address, **options))
        host = make_host(users=["alice"], settings=ONE | (settings or {}), dns_records=[
            "peer.test. 300 IN MX 10 mx.peer.test.", f"mx.peer.test. 300 IN A {address}"])
        return host.start(), peers[-1]

    yield make
    for peer in peers:
        peer.close()


def send(host, count, name="u"):
    for number in range(count):
        host.send("alice@example.test", f"{name}{number}@peer.test", message(to="x"))


def test_idle_connection_that_the_server_closed_costs_no_deferral(pair):
    def greet(session, _):
        session.say("220 peer.test ESMTP")
        session.connection.settimeout(0.4)  # idle longer: closed without a word

    host, peer = pair({"smtp_connection_cache_time_limit": "5s"}, GREETING=greet)
    for number in range(3):
        send(host, 1, f"a{number}")
        dakiya.wait_for("the message", lambda: len(peer.messages) == number + 1)  # noqa: B023
        time.sleep(0.7)
    assert "status=deferred" not in host.log()
    assert peer.connections == 3


@pytest.mark.parametrize("step, answer", [
    ("MAIL", "421 4.4.2 idle too long"), ("MAIL", None), ("MAIL", "close")])
def test_421_or_an_end_on_a_kept_connection_is_tried_afresh(pair, step, answer):
    def act(session, _):
        session.count = getattr(session, "count", 0) + 1
        if session.count == 1 or answer is None:
            session.say("250 2.1.0 Ok")
            return
        if answer != "close":
            session.say(answer)
        raise ConnectionError("the end of this connection")

    host, peer = pair(offers=["PIPELINING"], **{step: act})
    send(host, 6)
    dakiya.wait_for("all messages", lambda: len(peer.messages) == 6)
    host.wait_queue_empty()
    assert "status=deferred" not in host.log()
    assert peer.connections == 1 if answer is None else peer.connections >= 2


@pytest.mark.parametrize("verb, reply", [("RCPT", "450 4.2.0 grey"), ("DOT", "451 4.3.0 disk"),
                                         ("MAIL", "550 5.7.1 no")])
def test_a_polite_refusal_keeps_the_connection_and_resets_it(pair, verb, reply):
    first = threading.Event()

    def once(session, _):
        session.say("250 2.0.0 Ok" if first.is_set() else reply)
        first.set()

    host, peer = pair({"smtp_connection_cache_time_limit": "5s"}, **{verb: once})
    send(host, 1, "a")
    host.wait_log(r"to=<a0@peer\.test>.* status=(deferred|bounced)")
    send(host, 1, "b")
    host.wait_log(r"to=<b0@peer\.test>.* status=sent")
    # Whether it was kept is the agent's choice; if it was, the transaction had been ended.
    if peer.connections == 1 and verb == "RCPT":
        mails = [i for i, c in enumerate(peer.commands) if c.startswith("MAIL")]
        assert "RSET" in peer.commands[mails[0]:mails[1]]


@pytest.mark.parametrize("verb", ["RCPT", "DOT"])
def test_a_server_out_of_step_is_left(pair, verb):
    """One reply too many: what comes next on this connection would be misread."""
    def twice(session, _):
        session.connection.sendall(b"250 2.0.0 Ok: one\r\n250 2.0.0 Ok: two\r\n")

    host, peer = pair(**{verb: twice})
    send(host, 3)
    dakiya.wait_for("results", lambda: len(set(re.findall(r"to=<(u\d)@.*status=", host.log()))) == 3)
    if verb == "DOT":
        assert len(peer.messages) == 3 and peer.connections == 3


def test_tls_connections_are_kept_and_sessions_resumed(pair, authority, tmp_path):
    tmp_path.chmod(0o755)
    chain, key = tmp_path / "chain", tmp_path / "key"
    authority.issue(["mx.peer.test"], key, chain)
    host, peer = pair({"smtp_tls_security_level": "encrypt"}, offers=["STARTTLS"],
                      certificate=(chain, key))
    send(host, 5)
    dakiya.wait_for("all messages", lambda: len(peer.messages) == 5)
    assert peer.seen_tls == [True] * 5
    assert peer.connections < 5


def test_load_on_few_connections_loses_nothing(pair):
    """Every tenth message meets a 421 or a lost connection; all arrive, none is deferred twice
    over a failure of a kept connection."""
    lock, count = threading.Lock(), [0]

    def act(session, _):
        with lock:
            count[0] += 1
            number = count[0]
        session.count = getattr(session, "count", 0) + 1
        if session.count > 1 and number % 10 == 0:
            if number % 20 == 0:
                session.say("421 4.3.2 too much")
            raise ConnectionError("enough")
        session.say("250 2.1.0 Ok")

    host, peer = pair({"smtp_destination_concurrency_limit": "4"}, offers=["PIPELINING"], MAIL=act)
    with host.smtp() as client:
        client.ehlo("client.test")
        for number in range(120):
            client.sendmail("alice@example.test", [f"n{number}@peer.test"], message(to="x"))
    host.wait_queue_empty()
    assert "status=deferred" not in host.log()
    got = sorted(r for recipients, _ in peer.messages for r in recipients)
    assert got == sorted(f"TO:<n{number}@peer.test>" for number in range(120))


def test_a_large_message_goes_through_in_bounded_memory(make_host):
    sink = dakiya.TOP / "build" / "bench" / "smtp-sink"
    if not sink.exists():
        dakiya.run("make", "-C", dakiya.TOP, "-s", "OUT=build", "build/bench/smtp-sink", timeout=120)
    address = dakiya.new_address()
    host = make_host(users=["alice"], settings=ONE | {"message_size_limit": "60000000"},
                     dns_records=["peer.test. 300 IN MX 10 mx.peer.test.",
                                  f"mx.peer.test. 300 IN A {address}"]).start()
    with subprocess.Popen([sink, "-n", "1", f"{address}:2525"], stdout=subprocess.PIPE) as process:
        try:
            send_body = ("x" * 70 + "\n") * 420000
            host.send("alice@example.test", "bob@peer.test", message(to="x", body=send_body))
            line = host.wait_log(r"to=<bob@peer\.test>.*delays=[\d.]+/[\d.]+/[\d.]+/([\d.]+), .*"
                                 r"status=sent")
        finally:
            process.kill()
    assert float(line.group(1)) < 5  # 30 MB; some 0.15 s
    for pid in host.processes()["smtp"]:
        peak = re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status", encoding="ascii").read())
        # Sanitizers need many times as much.
        assert int(peak.group(1)) < 40000 or "OUT" in os.environ
