"""RFC 3461 from a client through this host: to servers with DSN, to servers without, and back."""
import email
import email.policy
import re

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer


class World:
    def __init__(self, directory, authority):
        dns, self.peers = [], {}
        plan = {"with": (["DSN", "PIPELINING", "SMTPUTF8", "8BITMIME"], {}),
                "without": (["PIPELINING", "8BITMIME"], {}),
                "refusing": (["DSN", "SMTPUTF8"], {"RCPT": "550 5.1.1 no such user"}),
                "partly": ([], {"RCPT": lambda session, text: session.say(
                    "550 5.1.1 not him" if "no" in text.split("@")[0] else "250 2.1.5 Ok")})}
        for name, (offers, handlers) in plan.items():
            address = dakiya.new_address()
            self.peers[name] = Peer(address, offers=offers, **handlers)
            dns += [f"{name}.test. 300 IN MX 10 mx.{name}.test.",
                    f"mx.{name}.test. 300 IN A {address}"]
        self.host = dakiya.Host(directory, authority=authority, users=["alice"], dns_records=dns,
                                settings={"mynetworks": "127.0.0.0/8"})
        self.number = 0

    def send(self, recipients, mail=(), sender="alice@example.test", text=None):
        """recipients: address -> options. The queue id."""
        with self.host.smtp() as client:
            client.ehlo("client.test")
            code, reply = client.mail(sender, list(mail))
            assert code == 250, reply
            for recipient, options in recipients.items():
                if not recipient.isascii():
                    client.command_encoding = "utf-8"
                code, reply = client.rcpt(recipient, list(options))
                assert code == 250, reply
            code, reply = client.data(text or message(to="somebody"))
            assert code == 250, reply
        queue_id = re.search(r"queued as (\w+)", reply.decode()).group(1)
        self.host.wait_log(rf"qmgr\[\d+\]: {queue_id}: removed")
        return queue_id

    def notice(self, queue_id):
        """The notice about a message as a parsed email, or None when there was none."""
        found = re.search(rf"bounce\[\d+\]: {queue_id}: .* notification: (\w+)", self.host.log())
        if not found:
            return None
        self.host.wait_log(rf"{found.group(1)}: removed")
        for text in self.host.messages("alice"):
            if f"X-Postfix-Queue-ID: {queue_id}".encode() in text or queue_id.encode() in text:
                return text.decode("utf-8", "replace")
        raise AssertionError(f"notice {found.group(1)} did not arrive")


@pytest.fixture(scope="module")
def world(authority):
    directory = dakiya.new_directory("dsn")
    world = World(directory, authority)
    world.host.start()
    yield world
    world.host.stop(check=False)
    for peer in world.peers.values():
        peer.close()
    try:
        world.host.check_log()
    finally:
        dakiya.remove_directory(directory)


@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE",
                                    "SUCCESS,FAILURE,DELAY"])
@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
def test_everything_asked_is_handed_to_a_server_with_dsn(world, notify, ret):
    recipient = f"bob{ret}{notify.replace(',', '')}@with.test"
    queue_id = world.send({recipient: [f"NOTIFY={notify}", "ORCPT=rfc822;b+2Bb@elsewhere.test"]},
                          [f"RET={ret}", "ENVID=a+2Bb+3D"])
    commands = world.peers["with"].commands
    rcpt = [c for c in commands if recipient in c]
    assert rcpt == [f"RCPT TO:<{recipient}> NOTIFY={notify} ORCPT=rfc822;b+2Bb@elsewhere.test"]
    assert any(re.search(rf"MAIL FROM:<alice@example.test>.* RET={ret} ENVID=a\+2Bb\+3D", c)
               for c in commands)
    assert world.notice(queue_id) is None  # the next server's duty now


@pytest.mark.parametrize("notify, told", [("NEVER", False), ("FAILURE", False),
                                          ("SUCCESS", True), ("SUCCESS,DELAY", True)])
def test_a_server_without_dsn_is_told_nothing_and_the_sender_is(world, notify, told):
    recipient = f"bob{notify.replace(',', '')}@without.test"
    queue_id = world.send({recipient: [f"NOTIFY={notify}"]}, ["RET=HDRS", "ENVID=xyz"])
    for command in world.peers["without"].commands:
        assert not re.search("NOTIFY|RET=|ENVID|ORCPT", command)
    notice = world.notice(queue_id)
    assert bool(notice) == told
    if told:
        assert "Action: relayed" in notice and "Original-Envelope-Id: xyz" in notice
        assert f"Final-Recipient: rfc822; {recipient}" in notice
        assert "text/rfc822-headers" in notice


def test_without_notify_a_relayed_message_is_reported_to_nobody(world):
    assert world.notice(world.send({"plain@without.test": []})) is None
    assert [c for c in world.peers["without"].commands if "plain@" in c] == \
        ["RCPT TO:<plain@without.test>"]


@pytest.mark.parametrize("options, told", [([], True), (["NOTIFY=NEVER"], False),
                                           (["NOTIFY=SUCCESS"], False), (["NOTIFY=DELAY"], False),
                                           (["NOTIFY=FAILURE"], True)])
def test_a_failure_is_told_to_who_wants_to_know(world, options, told):
    queue_id = world.send({"bob@refusing.test": options}, ["RET=HDRS", "ENVID=e1"])
    notice = world.notice(queue_id)
    assert bool(notice) == told
    if told:
        assert "Original-Envelope-Id: e1" in notice and "Action: failed" in notice


def test_a_bounce_of_a_bounce_ends_there(world):
    queue_id = world.send({"bob@refusing.test": []}, sender="")
    assert world.notice(queue_id) is None
    world.host.wait_log(rf"{queue_id}: .*status=bounced")


def test_recipients_that_failed_share_one_notice_which_names_no_other(world):
    queue_id = world.send({"yes1@partly.test": [], "no1@partly.test": [], "no2@partly.test": [],
                           "bob@refusing.test": ["ORCPT=rfc822;first@else.test"],
                           "yes2@partly.test": [], "no3@partly.test": ["NOTIFY=NEVER"]})
    assert len(re.findall(rf"{queue_id}: sender non-delivery notification", world.host.log())) == 1
    notice = world.notice(queue_id)
    assert sorted(re.findall(r"^Final-Recipient: rfc822; (\S+)", notice, re.M)) == \
        ["bob@refusing.test", "no1@partly.test", "no2@partly.test"]
    assert "Original-Recipient: rfc822; first@else.test" in notice
    assert "yes1" not in notice and "no3" not in notice
    parsed = email.message_from_string(notice, policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    assert len(list(parsed.iter_parts())) == 3


def test_internationalised_mail_needs_a_server_that_takes_it(world):
    text = "Subject: \u00fc\r\n\r\nHello.\r\n".encode()
    sent = world.send({"j\u00fcrgen@with.test": []}, ["SMTPUTF8"], text=text)
    assert world.notice(sent) is None
    assert any("SMTPUTF8" in c and c.startswith("MAIL") for c in world.peers["with"].commands)
    returned = world.send({"j\u00fcrgen@without.test": []}, ["SMTPUTF8"], text=text)
    assert re.search(rf"{returned}: .*dsn=5.6.7, status=bounced \(SMTPUTF8 is required, but was "
                     r"not offered by host mx\.without\.test", world.host.log())
    notice = world.notice(returned)
    assert "Final-Recipient: utf-8; j\u00fcrgen@without.test" in notice
