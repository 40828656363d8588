"""Messages with very many recipients: taken, tried, kept in a file of bounded size, tried again."""
import pathlib
import re
import socket

import dakiya
import pytest
from smtp_peer import Peer

WORDS = "this server is too busy to take anything from anybody at this moment of the day, "
LONG_REFUSAL = f"451-4.3.2 {WORDS * 2}\r\n451 4.3.2 {WORDS * 2}"


@pytest.fixture
def host(make_host):
    address = dakiya.new_address()
    host = make_host(authority=None, settings={
        "relayhost": f"[{address}]:2525", "mynetworks": "127.0.0.0/8",
        "smtpd_recipient_limit": "200000", "default_destination_recipient_limit": "1000",
        "smtpd_peername_lookup": "no"})
    peers = []

    def serve(**handlers):
        peers.append(Peer(address, offers=["PIPELINING"], **handlers))
        return peers[-1]
    host.serve = serve
    yield host.start()
    for peer in peers:
        peer.close()


def send_list(host, count):
    """One message, RCPT commands a thousand at a time."""
    with socket.create_connection((host.address, host.ports["smtp"]), timeout=60) as client:
        replies = client.makefile("rb")

        def say(text, count=1):
            client.sendall(text.encode())
            for _ in range(count):
                reply = replies.readline()
                while reply[3:4] == b"-":
                    reply = replies.readline()
                assert reply[:1] in b"23", reply
        say("")
        say("EHLO client.test\r\n")
        say("MAIL FROM:<list@client.test>\r\n")
        for first in range(0, count, 1000):
            part = range(first, min(first + 1000, count))
            say("".join(f"RCPT TO:<user{number}@one.test>\r\n" for number in part), len(part))
        say("DATA\r\n")
        say("Subject: to all\r\n\r\nHello.\r\n.\r\n")


def count_outcomes(host, status):
    return len(re.findall(rf" status={status} ", host.log()))


def queue_file(host):
    """The one file in deferred/."""
    return dakiya.wait_for("the file", lambda: [
        path for path in pathlib.Path(host.queue, "deferred").rglob("*") if path.is_file()])[0]


def try_again(host, outcomes):
    host.tool("dakqueue", "flush")
    dakiya.wait_for("the next attempt", lambda: count_outcomes(host, "deferred") >= outcomes, 60,
                    0.2)
    dakiya.wait_for("it to be listed as deferred", lambda: [
        one["queue_name"] for one in host.queue_list()] == ["deferred"])


def test_the_file_of_a_list_does_not_grow_with_each_attempt(host):
    peer = host.serve(MAIL=LONG_REFUSAL)
    count = 300
    send_list(host, count)
    try_again(host, count)
    first = queue_file(host).stat().st_size
    for attempt in range(2, 10):
        outcomes = count_outcomes(host, "deferred")
        try_again(host, outcomes + count)
        assert queue_file(host).stat().st_size < 3 * first + 64 * 1024, attempt
    # What is left of it is the message, with all of its recipients.
    peer.handlers.clear()
    host.tool("dakqueue", "flush")
    host.wait_queue_empty()
    assert count_outcomes(host, "sent") == count
    assert sorted(name for names, _ in peer.messages for name in names) == sorted(
        f"TO:<user{number}@one.test>" for number in range(count))


def test_a_list_whose_outcomes_fill_more_than_a_record_is_tried_again(host):
    host.serve(MAIL=LONG_REFUSAL)
    count = 60000
    send_list(host, count)
    try_again(host, count)
    assert queue_file(host).stat().st_size > 34 * 1024 * 1024
    host.stop()
    host.start()
    try_again(host, 2 * count)
    assert "corrupt" not in host.log()
