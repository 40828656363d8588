"""smtpd_proxy_filter: a filter in front of the queue whose answers the client gets."""
import smtplib
import socket
import time

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer

pytestmark = pytest.mark.sanitized

LIVE, ADJUST, DEAD, BACK = 2626, 2627, 2628, 10025


class Filter(Peer):
    """Accepts by handing the message back; `answers` say otherwise, by verb."""

    def __init__(self, address):
        self.host_address, self.answers = address, {}
        super().__init__(address, port=10024, offers=["SIZE", "8BITMIME",
                                                      "XFORWARD NAME ADDR PROTO HELO SOURCE"],
                         GREETING=self.other("220 filter.test"), MAIL=self.other("250 Ok"),
                         RCPT=self.other("250 Ok"), DOT=self.dot)

    def other(self, default):
        def handle(session, argument):
            verb = "GREETING" if default.startswith("220") else \
                "RCPT" if argument.upper().startswith("TO:") else "MAIL"
            self.act(session, self.answers.get(verb, default), argument)
        return handle

    def act(self, session, what, argument=""):
        if callable(what):
            what = what(argument)
        if what == "HANG":
            time.sleep(5)
        elif what == "DIE":
            session.connection.shutdown(socket.SHUT_RDWR)
            raise StopIteration
        else:
            if argument.startswith("TO:") and not what.startswith("250"):
                session.recipients.pop()
            session.say(what)

    def dot(self, session, _):
        if "DOT" in self.answers:
            self.act(session, self.answers["DOT"])
            return
        with smtplib.SMTP(self.host_address, BACK, "filter.test", timeout=20) as client:
            client.ehlo()
            for command in [text for text in self.commands if text.startswith("XFORWARD")][-1:]:
                assert client.docmd(command)[0] == 250
            client.mail(session.sender[5:].partition(" ")[0])
            for recipient in session.recipients:
                client.rcpt(recipient[3:].partition(" ")[0])
            code, text = client.data(b"X-Filter: seen\r\n" + self.messages[-1][1])
        session.say(f"{code} {text.decode()}")


@pytest.fixture(scope="module")
def filtered():
    address = dakiya.new_address()
    directory = dakiya.new_directory("proxy")
    host = dakiya.Host(directory, users=["alice", "bob", "hold"], settings={
        "smtpd_proxy_timeout": "1s", "message_size_limit": "2000000"})
    at = f"{address}:10024"
    host.extra_services = f"""{host.address}:{LIVE} inet n - n - - smtpd
  -o smtpd_proxy_filter={at}
  -o smtpd_recipient_restrictions=check_recipient_access,inline:{{hold@example.test=HOLD}}
{host.address}:{ADJUST} inet n - n - - smtpd
  -o smtpd_proxy_filter=inet:{at} -o smtpd_proxy_options=speed_adjust
{host.address}:{DEAD} inet n - n - - smtpd
  -o smtpd_proxy_filter={address}:9
{address}:{BACK} inet n - n - - smtpd
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8 -o mynetworks=127.0.0.0/8
"""
    host.write_config()
    peer = Filter(address)
    with host:
        yield host, peer
    peer.close()
    dakiya.remove_directory(directory)


@pytest.fixture
def parts(filtered):
    host, peer = filtered
    peer.answers = {}
    return host, peer


def talk(host, port, recipients, text, sender="carol@elsewhere.test"):
    """The answers to each RCPT and to the content, by code and text; and the session goes on."""
    with smtplib.SMTP(host.address, port, "client.test", timeout=20) as client:
        client.ehlo()
        assert client.mail(sender)[0] == 250
        answers = [client.rcpt(recipient) for recipient in recipients]
        if any(code == 250 for code, _ in answers):
            answers.append(client.docmd("DATA"))
            if answers[-1][0] == 354:
                client.send(text.replace("\r\n.", "\r\n..").encode() + b".\r\n")
                answers[-1] = client.getreply()
        assert client.noop()[0] == 250
    return [f"{code} {text.decode()}" for code, text in answers]


@pytest.mark.parametrize("port", [LIVE, ADJUST])
def test_what_the_filter_accepts_is_delivered_and_its_answer_is_the_clients(parts, port):
    host, peer = parts
    before = len(host.messages("alice"))
    body = ".\n..\n.x\nlast\n"
    rcpt, end = talk(host, port, ["alice@example.test"], message(body=body))
    assert rcpt.startswith("250") and end.startswith("250 2.0.0 Ok: queued as ")
    content = host.wait_messages("alice", before + 1)[-1]
    assert b"X-Filter: seen" in content and content.endswith(body.encode())
    queue_id = end.split()[-1]
    host.wait_log(rf"NOQUEUE: proxy-accept: END-OF-MESSAGE from \S+: 250 2\.0\.0 Ok: queued as "
                  rf"{queue_id}; from=<carol@elsewhere\.test> to=<alice@example\.test> proto=ESMTP "
                  r"helo=<client\.test>$")
    host.wait_log(rf"{queue_id}: client=\S+, orig_client=localhost\[127\.0\.0\.1\]$")
    # Two hops of ours, and the filter between them.
    assert content.count(b"\nReceived:") + content.startswith(b"Received:") == 2
    told = [text for text in peer.commands if text.startswith("XFORWARD")][-1]
    assert "ADDR=127.0.0.1" in told and "PROTO=ESMTP" in told and "HELO=client.test" in told


@pytest.mark.parametrize("port", [LIVE, ADJUST])
@pytest.mark.parametrize("answer, expected", [
    ("550 5.7.1 spam", "550 5.7.1 spam"), ("451 later", "451 4.0.0 later"),
    ("554-5.7.1 two\r\n554 5.7.1 lines", "554 5.7.1 two\n5.7.1 lines"),
    ("421 4.3.2 going", "451 4.3.2 going"), ("354 more?", "451 4.3.0 Error: queue file write error"),
    ("HANG", "451 4.3.0 Error: queue file write error"),
    ("DIE", "451 4.3.0 Error: queue file write error")])
def test_refusals_and_failures_at_the_end_reach_the_client(parts, port, answer, expected):
    host, peer = parts
    peer.answers["DOT"] = answer
    taken = len(peer.messages)
    *_, end = talk(host, port, ["alice@example.test"], message())
    assert end == expected and len(peer.messages) == taken + 1
    host.wait_log(r"NOQUEUE: proxy-reject: END-OF-MESSAGE from \S+: " +
                  expected[:9].replace(".", r"\."))
    host.wait_queue_empty()


def test_recipients_that_the_filter_refuses_are_refused_at_once(parts):
    host, peer = parts
    before = len(host.messages("alice"))
    peer.answers["RCPT"] = lambda argument: "550 5.1.1 not bob" if "bob" in argument else "250 Ok"
    first, second, end = talk(host, LIVE, ["bob@example.test", "alice@example.test"], message())
    assert (first, second[:3], end[:3]) == ("550 5.1.1 not bob", "250", "250")
    assert peer.messages[-1][0] == ["TO:<alice@example.test>"]
    host.wait_messages("alice", before + 1)
    # With speed_adjust it is the answer to all.
    *rcpts, end = talk(host, ADJUST, ["bob@example.test", "alice@example.test"], message())
    assert all(text.startswith("250") for text in rcpts) and end == "550 5.1.1 not bob"


@pytest.mark.parametrize("answers, expected", [
    ({"GREETING": "554 no"}, "451 4.3.0"), ({"GREETING": "DIE"}, "451 4.3.0"),
    ({"GREETING": "HANG"}, "451 4.3.0"), ({"MAIL": "553 5.1.8 not you"}, "553 5.1.8"),
    ({"MAIL": "DIE"}, "451 4.3.0"), ({"RCPT": "DIE"}, "451 4.3.0")])
def test_a_filter_that_fails_before_the_content_takes_nobodys_mail(parts, answers, expected):
    host, peer = parts
    peer.answers = answers
    taken = len(peer.messages)
    for port in (LIVE, ADJUST):
        assert talk(host, port, ["alice@example.test"], message())[-1].startswith(expected)
    assert len(peer.messages) == taken


def test_a_filter_that_is_not_there(parts):
    host, _ = parts
    assert talk(host, DEAD, ["alice@example.test"], message()) == \
        ["451 4.3.0 Error: queue file write error"]
    host.wait_log(r"warning: \S+: proxy filter 127\.\S+:9: connect to 127\.\S+:9: Connection refused")


@pytest.mark.parametrize("port", [LIVE, ADJUST])
def test_large_messages_pass_and_too_large_ones_never_end_at_the_filter(parts, port):
    host, peer = parts
    peer.answers["DOT"] = "250 2.0.0 thrown away"
    body = "".join(f"{number:06d} {'x' * 60}\n" for number in range(20000))
    assert talk(host, port, ["alice@example.test"], message(body=body))[-1] == \
        "250 2.0.0 thrown away"
    assert peer.messages[-1][1].endswith(body.replace("\n", "\r\n").encode())
    taken = len(peer.messages)
    assert talk(host, port, ["alice@example.test"], message(body=body * 2))[-1].startswith("552")
    time.sleep(0.2)
    assert len(peer.messages) == taken


def test_slow_clients_hold_no_filter_with_speed_adjust(parts):
    host, peer = parts
    peer.answers["DOT"] = "250 2.0.0 Ok"
    for port, more in ((ADJUST, 0), (LIVE, 1)):
        before = peer.connections
        with smtplib.SMTP(host.address, port, "client.test", timeout=20) as client:
            client.ehlo()
            client.mail("carol@elsewhere.test")
            client.rcpt("alice@example.test")
            assert client.docmd("DATA")[0] == 354
            client.send(b"Subject: half")
            time.sleep(0.2)
            assert peer.connections == before + more
            client.send(b"\r\n\r\n.\r\n")
            assert client.getreply()[0] == 250
        assert peer.connections == before + 1


def test_chunks_reach_the_filter_as_content(parts):
    host, peer = parts
    peer.answers["DOT"] = "250 2.0.0 Ok"
    with smtplib.SMTP(host.address, LIVE, "client.test", timeout=20) as client:
        client.ehlo()
        client.mail("carol@elsewhere.test")
        client.rcpt("alice@example.test")
        client.send(b"BDAT 12\r\nSubject: x\r\n")
        assert client.getreply()[0] == 250
        client.send(b"BDAT 5 LAST\r\n\r\n.\r\n")
        assert client.getreply() == (250, b"2.0.0 Ok")
    assert peer.messages[-1][1].endswith(b"Subject: x\r\n\r\n.\r\n")


def test_what_an_access_table_asks_for_is_not_lost_in_silence(parts):
    host, peer = parts
    taken = len(peer.messages)
    assert talk(host, LIVE, ["hold@example.test"], message())[-1] == \
        "451 4.3.5 Server configuration error"
    host.wait_log(r"warning: access tables ask for HOLD, which smtpd_proxy_filter makes impossible")
    assert len(peer.messages) == taken
