"""What a remote server may say or do at each step: the log line, the status, the notice, the queue.

One host has a message for each server below; all are tried at the same time.
"""
import re
import time

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer

LONG = 10 * 1000 * 1000


def close(session, _):
    raise ConnectionError("the test's server hangs up")


def silent(session, _):
    time.sleep(8)
    raise ConnectionError("the test's server was silent")


def raw(data, then_close=False):
    def handler(session, _):
        session.connection.sendall(data)
        if then_close:
            raise ConnectionError("half a reply was said")
    return handler


def drip(session, _):
    for _ in range(100):
        session.connection.sendall(b"250-x\r\n")
        time.sleep(0.2)
    raise ConnectionError("nobody should wait so long")


def early(session, _):
    """Refuses in the midst of the content, and hangs up."""
    session.say("354 go")
    session.file.read(1000)
    session.say("552 5.3.4 too much for me")
    session.connection.shutdown(1)
    while session.file.read(65536):
        pass
    raise ConnectionError("done")


def broken(session, _):
    session.say("354 go")
    session.file.read(1000)
    raise ConnectionError("hangs up in the midst of the content")


HOST = r"host mx\.%s\.test\[[\d.]+\]"
PLACE = r"mx\.%s\.test\[[\d.]+\]"
SAID = HOST + " said: "
TALK = HOST + " refused to talk to me: "
LOST = "lost connection with " + PLACE + " while "
SLOW = "conversation with " + PLACE + " timed out while "
ODD = HOST + " sent a reply that cannot be understood while "
DOT = r"sending end of data -- message may be sent more than once"

# name: (handlers, dsn, status, reason); with "%s" for the name
CASES = {
    "greet421": ({"GREETING": "421 4.3.2 busy"}, "4.3.2", "deferred", TALK + "421 4.3.2 busy"),
    "greet554": ({"GREETING": "554 5.7.1 go away"}, "4.7.1", "deferred",
                 TALK + r"554 5.7.1 go away"),
    "greetodd": ({"GREETING": "hello there"}, "4.5.0", "deferred",
                 ODD + "receiving the initial server greeting"),
    "greetmute": ({"GREETING": silent}, "4.4.2", "deferred",
                  SLOW + "receiving the initial server greeting"),
    "greetgone": ({"GREETING": close}, "4.4.2", "deferred",
                  LOST + "receiving the initial server greeting"),
    "greethalf": ({"GREETING": raw(b"220-half\r\n220", True)}, "4.4.2", "deferred",
                  LOST + "receiving the initial server greeting"),
    "greetlong": ({"GREETING": raw(b"220 " + b"x" * LONG + b"\r\n")}, "4.5.0", "deferred",
                  ODD + "receiving the initial server greeting"),
    "greetmany": ({"GREETING": raw(b"220-x\r\n" * (LONG // 7))}, "4.5.0", "deferred",
                  ODD + "receiving the initial server greeting"),
    "greetdrip": ({"GREETING": drip}, "4.5.0|4.4.2", "deferred",
                  ".* while receiving the initial server greeting"),
    "ehlo421": ({"EHLO": "421 4.3.2 later"}, "4.3.2", "deferred", TALK + "421 4.3.2 later"),
    "ehlo450": ({"EHLO": "450 4.3.2 later"}, "4.3.2", "deferred", TALK + "450 4.3.2 later"),
    "ehlohelo": ({"EHLO": "502 5.5.1 what?"}, "2.0.0", "sent", "250 2.0.0 Ok: queued as PEER1"),
    "ehlono": ({"EHLO": "502 5.5.1 what?", "HELO": "550 5.7.0 no"}, "5.7.0", "bounced",
               TALK + "550 5.7.0 no"),
    "ehlogone": ({"EHLO": close}, "4.4.2", "deferred", LOST + "performing the EHLO handshake"),
    "mail451": ({"MAIL": "451 4.7.1 wait"}, "4.7.1", "deferred",
                SAID + r"451 4.7.1 wait \(in reply to MAIL FROM command\)"),
    "mail553": ({"MAIL": "553 not you"}, "5.0.0", "bounced",
                SAID + r"553 not you \(in reply to MAIL FROM command\)"),
    "mail421": ({"MAIL": "421 4.3.2 closing"}, "4.3.2", "deferred",
                SAID + r"421 4.3.2 closing \(in reply to MAIL FROM command\)"),
    "mailgone": ({"MAIL": close}, "4.4.2", "deferred", LOST + "sending MAIL FROM"),
    "mailmute": ({"MAIL": silent}, "4.4.2", "deferred", SLOW + "sending MAIL FROM"),
    "mailodd": ({"MAIL": raw(b"\0\xff\x1b[2J\r\n")}, "4.5.0", "deferred",
                ODD + "sending MAIL FROM"),
    "mailclass": ({"MAIL": "550 4.7.1 of two minds"}, "5.0.0", "bounced",
                  SAID + r"550 4.7.1 of two minds \(in reply to MAIL FROM command\)"),
    "rcpt450": ({"RCPT": "450 4.2.0 grey"}, "4.2.0", "deferred",
                SAID + r"450 4.2.0 grey \(in reply to RCPT TO command\)"),
    "rcpt550": ({"RCPT": "550 5.1.1 who?"}, "5.1.1", "bounced",
                SAID + r"550 5.1.1 who\? \(in reply to RCPT TO command\)"),
    "rcpt552": ({"RCPT": "552 5.5.3 too many"}, "4.0.0", "deferred", SAID + "452 too many"),
    "rcpt421": ({"RCPT": "421 4.3.2 closing"}, "4.3.2", "deferred",
                SAID + r"421 4.3.2 closing \(in reply to RCPT TO command\)"),
    "rcptgone": ({"RCPT": close}, "4.4.2", "deferred", LOST + "sending RCPT TO"),
    "rcptnul": ({"RCPT": raw(b"550 5.1.1 a\0b\x1bc\r\n")}, "5.1.1", "bounced",
                SAID + r"550 5.1.1 a\?b\?c \(in reply"),
    "rcptlines": ({"RCPT": raw(b"550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1 three\r\n")},
                  "5.1.1", "bounced", SAID + r"550.5.1.1 one (5.1.1 )?two (5.1.1 )?three"),
    "data451": ({"DATA": "451 4.3.0 not now"}, "4.3.0", "deferred",
                SAID + r"451 4.3.0 not now \(in reply to DATA command\)"),
    "data554": ({"DATA": "554 5.5.1 no"}, "5.5.1", "bounced",
                SAID + r"554 5.5.1 no \(in reply to DATA command\)"),
    "data250": ({"DATA": "250 2.0.0 fine"}, "4.5.0", "deferred",
                SAID + r"250 2.0.0 fine \(in reply to DATA command\)"),
    "data421": ({"DATA": "421 4.3.2 closing"}, "4.3.2", "deferred",
                SAID + r"421 4.3.2 closing \(in reply to DATA command\)"),
    "datagone": ({"DATA": close}, "4.4.2", "deferred", LOST + "sending DATA command"),
    "early552": ({"DATA": early}, "5.3.4", "bounced", SAID + "552 5.3.4 too much for me"),
    "bodygone": ({"DATA": broken}, "4.4.2", "deferred", LOST + "sending message body"),
    "dot451": ({"DOT": "451 4.3.0 disk"}, "4.3.0", "deferred",
               SAID + r"451 4.3.0 disk \(in reply to end of DATA command\)"),
    "dot554": ({"DOT": "554 5.7.1 spam"}, "5.7.1", "bounced",
               SAID + r"554 5.7.1 spam \(in reply to end of DATA command\)"),
    "dot354": ({"DOT": "354 more?"}, "4.5.0", "deferred", SAID + "354 more"),
    "dot421": ({"DOT": "421 4.3.2 closing"}, "4.3.2", "deferred",
               SAID + r"421 4.3.2 closing \(in reply to end of DATA command\)"),
    "dotgone": ({"DOT": close}, "4.4.2", "deferred", LOST + DOT),
    "dotmute": ({"DOT": silent}, "4.4.2", "deferred", SLOW + DOT),
    "dothalf": ({"DOT": raw(b"250 2.0.0 O", True)}, "4.4.2", "deferred", LOST + DOT),
    "dotplain": ({"DOT": "250 accepted"}, "2.0.0", "sent", "250 accepted"),
    "dotbare": ({"DOT": "250"}, "2.0.0", "sent", "250"),
}
BIG = ("early552", "bodygone")
NAMES = [name + suffix for name in CASES for suffix in ("", "-p")]


@pytest.fixture(scope="module")
def outcomes(authority):
    """The host after every message has had its first attempt, and the peers by name."""
    dns, peers, directory = [], {}, dakiya.new_directory("host")
    for name in NAMES:
        handlers, address = CASES[name.removesuffix("-p")][0], dakiya.new_address()
        offers = ["SIZE 0"] + (["PIPELINING"] if name.endswith("-p") else [])
        peers[name] = Peer(address, offers=offers, **handlers)
        dns += [f"{name}.test. 300 IN MX 10 mx.{name}.test.",
                f"mx.{name}.test. 300 IN A {address}"]
    times = {f"smtp_{step}_timeout": "2s" for step in
             ("helo", "mail", "rcpt", "data_init", "data_done", "quit")}
    host = dakiya.Host(directory, authority=authority, dns_records=dns, users=["alice"],
                       settings=times | {"mynetworks": "127.0.0.0/8", "smtp_tls_security_level": ""})
    host.start()
    for name in NAMES:
        body = "x" * 70 + "\n"
        body *= 60000 if name.removesuffix("-p") in BIG else 10
        host.send("alice@example.test", f"bob@{name}.test", message(to="bob", body=body))
    dakiya.wait_for("all first attempts", lambda: len(set(re.findall(
        r"to=<(bob@\S+\.test)>.* status=", host.log()))) == len(NAMES), timeout=40)
    yield host, peers
    host.stop(check=False)
    for peer in peers.values():
        peer.close()
    try:
        host.check_log()
    finally:
        dakiya.remove_directory(directory)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_server_did_gives_the_right_result(outcomes, name):
    host, _ = outcomes
    _, dsn, status, reason = CASES[name.removesuffix("-p")]
    line = re.search(rf"to=<bob@{name}\.test>, relay=.*$", host.log(), re.M).group()
    reason = reason.replace("%s", name)
    assert re.search(rf"dsn=({dsn}), status={status} \({reason}", line), line
    found = [entry for entry in host.queue_list() if f"bob@{name}.test" in str(entry)
             and "MAILER-DAEMON" not in str(entry.get("sender", ""))]
    assert bool(found) == (status == "deferred")


@pytest.mark.parametrize("name", [name for name in NAMES
                                  if CASES[name.removesuffix("-p")][2] == "bounced"])
def test_notice_says_what_the_server_said(outcomes, name):
    host, _ = outcomes
    dsn, reason = CASES[name.removesuffix("-p")][1::2]
    notice = dakiya.wait_for("the notice", lambda: [
        text for text in host.messages("alice") if f"bob@{name}.test".encode() in text])[0].decode()
    flat = re.sub(r"\s+", " ", notice)
    words = re.sub(r" \\\(in reply.*", "", reason.replace("%s", name))
    assert re.search(rf"<bob@{name}\.test>: {words}", flat), notice
    assert f"Final-Recipient: rfc822; bob@{name}.test Action: failed Status: {dsn} " \
        f"Remote-MTA: dns; mx.{name}.test Diagnostic-Code: smtp; 5" in \
        re.sub(r"Original-Recipient: \S+ \S+ ", "", flat), notice
    assert "Subject: Undelivered Mail Returned to Sender" in notice
    assert "Auto-Submitted: auto-replied" in notice
