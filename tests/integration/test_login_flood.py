"""Failing logins from many addresses at once: nobody else waits, and hanging up gains nothing."""
import base64
import socket
import struct
import time

import dakiya
import pytest
from dakiya import PASSWORD

pytestmark = pytest.mark.sanitized

THREADS = 4
ATTACKERS = 30
DELAY = 4


class FloodHost(dakiya.Host):
    """smtpd and pop3d with few threads; no TLS, so that nothing else takes time."""

    def master_cf(self):
        at, port = self.address, self.ports
        return f"""
{at}:{port['smtp']} inet n - n - {THREADS} smtpd
{at}:{port['pop3']} inet n - n - {THREADS} pop3d
qmgr unix n - n - 1 qmgr
resolver unix - - n - 1 resolver
authd unix - - n - 10 authd
virtual unix - n n - - local
"""


@pytest.fixture(scope="module")
def flooded():
    directory = dakiya.new_directory("flood")
    host = FloodHost(directory, settings={
        "auth_allow_cleartext": "yes", "auth_failure_delay": f"{DELAY}s", "mynetworks": "192.0.2.1",
        "resolver_local_data": "{ 127.in-addr.arpa. SOA . . 1 1 1 1 1 }",
        "smtpd_peername_lookup": "no", "smtpd_junk_command_limit": "10000",
        "smtpd_client_connection_count_limit": "0"})
    host.start()
    yield host
    host.stop(check=False)
    try:
        host.check_log()
    finally:
        dakiya.remove_directory(directory)


class Client:
    """A line protocol from an address of its own."""

    def __init__(self, host, port, source):
        self.socket = socket.create_connection((host.address, host.ports[port]), timeout=30,
                                               source_address=(source, 0))
        self.file = self.socket.makefile("rb")
        self.line()

    def line(self):
        return self.file.readline().decode()

    def send(self, text):
        self.socket.sendall(text.encode() + b"\r\n")

    def ask(self, text):
        self.send(text)
        return self.line()

    def ask_list(self, text):
        """The last line of an answer of several: SMTP's or POP3's."""
        line = self.ask(text)
        while line[3:4] == "-" or line[0] not in "2.":
            line = self.line()
        return line

    def reset(self):
        self.file.close()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def plain(user, password):
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


class Smtp:
    again = "NOOP"
    port, wrong, hello, refused, done = "smtp", "535 5.7.8 ", "EHLO c.test", "454 ", "235 "


class Pop3:
    again = "USER x"
    port, wrong, hello, refused, done = "pop3", "-ERR [AUTH]", "CAPA", "-ERR [SYS/TEMP]", "+OK"


@pytest.mark.parametrize("protocol", [Smtp, Pop3])
def test_failing_logins_of_many_addresses_stop_nobody_else(flooded, protocol):
    network = 10 if protocol is Smtp else 11
    attackers = [Client(flooded, protocol.port, f"127.{network}.1.{number + 1}")
                 for number in range(ATTACKERS)]
    for attacker in attackers:
        attacker.ask_list(protocol.hello)
    other = Client(flooded, protocol.port, f"127.{network}.2.1")
    begin = time.monotonic()
    for attacker in attackers:
        attacker.send(plain("alice@example.test", "wrong password"))
    worst = 0
    while time.monotonic() < begin + DELAY - 1:
        asked = time.monotonic()
        assert other.ask_list(protocol.hello)[0] in "2."
        assert other.ask(protocol.again)[0] in "2+"
        Client(flooded, protocol.port, f"127.{network}.2.2").socket.close()
        worst = max(worst, time.monotonic() - asked)
        time.sleep(0.01)  # or a fast machine gets to smtpd_junk_command_limit
    assert worst < 1
    asked = time.monotonic()
    assert other.ask(plain("alice@example.test", PASSWORD)).startswith(protocol.done)
    assert time.monotonic() - asked < 1
    for attacker in attackers:
        assert attacker.line().startswith(protocol.wrong)
        assert DELAY - 0.1 < time.monotonic() - begin < DELAY + 4
    for client in [*attackers, other]:
        client.socket.close()


@pytest.mark.parametrize("protocol", [Smtp, Pop3])
def test_hanging_up_in_the_pause_gains_nothing(flooded, protocol):
    source = f"127.{20 if protocol is Smtp else 21}.1.1"
    first = Client(flooded, protocol.port, source)
    first.ask_list(protocol.hello)
    first.send(plain("alice@example.test", "wrong password"))
    flooded.wait_log(rf"login failed: client=\S+\[{source}\]")
    begin = time.monotonic()
    first.reset()
    if protocol is Smtp:
        flooded.wait_log(rf"lost connection after AUTH from \S+\[{source}\]", timeout=2)
    else:
        flooded.wait_log(rf"Connection closed \(auth failed, 1 attempts.* rip={source},", timeout=2)
    second = Client(flooded, protocol.port, source)
    second.ask_list(protocol.hello)
    answer = second.ask(plain("alice@example.test", "wrong password") + "\r\nQUIT")
    assert answer.startswith(protocol.wrong)
    assert time.monotonic() - begin > 3 * DELAY - 1.5, "its own delay, and what was left"
    assert second.line()[0] in "2+", "what was sent meanwhile comes after"
    second.socket.close()
