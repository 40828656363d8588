"""Address verification: a server that answers RCPT with 250, 450, 550 or not at all; the cache."""
import email
import email.policy
import os
import re
import shutil
import signal
import smtplib
import subprocess
import threading
import time

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer


def answer_rcpt(session, argument):
    """By the recipient's local part."""
    if "bad" in argument:
        session.say("550 5.1.1 No such user here")
    elif "later" in argument:
        session.say("450 4.2.1 Come again")
    elif "silent" in argument:
        session.peer.is_over.wait(60)
        raise ConnectionError("nobody asks any more")
    elif "slow" in argument:
        time.sleep(1)
        session.say("250 2.1.5 Ok")
    else:
        session.say("250 2.1.5 Ok")


# sendmail -bv and -v need no service verify: their reports come by mail.
REPORTS = {"smtpd_recipient_restrictions": "", "myorigin": "example.test"}

SETTINGS = {
    "mynetworks": "127.0.0.0/8",
    "smtpd_recipient_restrictions": "reject_unverified_recipient",
    "unverified_recipient_reject_code": "550",
    "address_verify_poll_delay": "1s",
    "virtual_alias_maps": "inline:{ { several@example.test = bad1@peer.test, bad2@peer.test }, "
                          "{ one@example.test = bad3@peer.test } }",
    "smtp_rcpt_timeout": "4s",
}


@pytest.fixture
def pair(make_host):
    """A function: a running host, and one server that peer.test's mail goes to."""
    peers = []

    def make(peer_options=None, **settings):
        address = dakiya.new_address()
        peers.append(Peer(address, RCPT=answer_rcpt, **(peer_options or {})))
        peers[-1].is_over = threading.Event()
        host = make_host(users=["alice", "bob"], settings=SETTINGS | settings,
                         extra_services="pickup unix n - n 60 1 pickup\n", dns_records=[
            "peer.test. 300 IN MX 10 mx.peer.test.", f"mx.peer.test. 300 IN A {address}"])
        return host.start(), peers[-1]

    yield make
    for peer in peers:
        peer.is_over.set()
        peer.close()


def rcpt(host, recipient, sender="alice@example.test"):
    """The reply to RCPT as one line of text."""
    with smtplib.SMTP(host.address, host.ports["smtp"], timeout=30) as client:
        client.ehlo("client.test")
        assert client.mail(sender)[0] == 250
        code, text = client.rcpt(recipient)
        return f"{code} {text.decode()}"


def count_rcpt(peer, word=""):
    return sum(line.upper().startswith("RCPT") and word in line for line in peer.commands)


def test_each_answer_of_a_server_has_its_reply(pair):
    host, peer = pair()
    assert rcpt(host, "good@peer.test") == "250 2.1.5 Ok"
    bad = rcpt(host, "bad@peer.test")
    assert re.match(r"550 5\.1\.1 <bad@peer\.test>: Recipient address rejected: undeliverable "
                    r"address: host mx\.peer\.test\[.*\] said: 550 5\.1\.1 No such user here "
                    r"\(in reply to RCPT TO command\)$", bad)
    later = rcpt(host, "later@peer.test")
    assert re.match(r"450 4\.1\.1 <later@peer\.test>: Recipient address rejected: unverified "
                    r"address: host mx\.peer\.test\[.*\] said: 450 4\.2\.1 Come again", later)
    # No answer within three times a second, nor later.
    assert rcpt(host, "silent@peer.test") == (
        "450 4.1.1 <silent@peer.test>: Recipient address rejected: unverified address: "
        "Address verification in progress")
    # A slow one is waited for, and no longer than it takes.
    assert rcpt(host, "slow@peer.test") == "250 2.1.5 Ok"
    # Nothing was delivered, bounced or written.
    assert not peer.messages
    assert not any(line.upper().startswith("DATA") for line in peer.commands)
    assert "MAIL FROM:<double-bounce@mail.example.test>" in peer.commands
    assert host.queue_list() == []
    host.wait_log(r"smtp\[\d+\]: \w+: to=<bad@peer\.test>, relay=mx\.peer\.test\[.*\]:2525, .*"
                  r"dsn=5\.1\.1, status=undeliverable \(host")
    host.wait_log(r"to=<good@peer\.test>, .*dsn=2\.1\.5, status=deliverable \(250 2\.1\.5 Ok\)")
    assert "status=bounced" not in host.log() and "status=sent" not in host.log()


def test_what_is_here_needs_no_other_host(pair):
    host, peer = pair()
    checked = host.tool("dakiya", "check", check=False)
    assert "verify" not in (checked.stdout + checked.stderr).replace(
        "reject_unverified_recipient asks", ""), checked.stdout
    assert rcpt(host, "alice@example.test", "x@peer.test") == "250 2.1.5 Ok"
    # An alias of several addresses is not looked into; one of a single address is that address.
    assert rcpt(host, "several@example.test") == "250 2.1.5 Ok"
    assert rcpt(host, "one@example.test").startswith(
        "550 5.1.1 <one@example.test>: Recipient address rejected: undeliverable address: ")
    assert count_rcpt(peer) == count_rcpt(peer, "bad3") == 1
    host.wait_log(r"to=<alice@example\.test>, relay=virtual, .* status=deliverable "
                  r"\(delivers to mailbox\)")
    host.send("alice@example.test", "alice@example.test", message(to="alice"))
    assert len(host.wait_messages("alice")) == 1


def test_lmtp_is_asked_and_commands_take_everything(make_host):
    address = dakiya.new_address()
    peer = Peer(address, RCPT=answer_rcpt, lmtp=True)
    owner = (f"{dakiya.VMAIL_UID}:{dakiya.VMAIL_GID}" if os.geteuid() == 0
             else f"{os.getuid()}:{os.getgid()}")
    host = make_host(users=["alice"], settings=SETTINGS | {
        "transport_maps": f"inline:{{ box.test=lmtp:inet:[{address}]:2525, list.test=list: }}"},
        extra_services=f"list unix - n n - 1 pipe user={owner} argv=/bin/false\n").start()
    try:
        assert rcpt(host, "good@box.test") == "250 2.1.5 Ok"
        assert rcpt(host, "bad@box.test").startswith("550 5.1.1 <bad@box.test>: Recipient address "
                                                     "rejected: undeliverable address: host ")
        assert rcpt(host, "any@list.test") == "250 2.1.5 Ok"
        host.wait_log(r"to=<any@list\.test>, relay=list, .* status=deliverable "
                      r"\(delivers to command\)")
        assert not peer.messages and "DATA" not in peer.commands
    finally:
        peer.close()


def test_senders_are_verified_and_the_reason_may_be_ours(pair):
    host, peer = pair(smtpd_sender_restrictions="reject_unverified_sender",
                      smtpd_recipient_restrictions="",
                      unverified_sender_reject_code="550",
                      unverified_sender_reject_reason="We know nothing of you")
    assert rcpt(host, "alice@example.test", "good@peer.test") == "250 2.1.5 Ok"
    assert rcpt(host, "alice@example.test", "bad@peer.test") == (
        "550 5.1.7 <bad@peer.test>: Sender address rejected: undeliverable address: "
        "We know nothing of you")
    assert rcpt(host, "alice@example.test", "later@peer.test").startswith(
        "450 4.1.7 <later@peer.test>: Sender address rejected: unverified address: We know")
    # A notice has no sender, and who verifies our probes' sender is not verified in turn.
    asked = count_rcpt(peer)
    assert rcpt(host, "alice@example.test", "") == "250 2.1.5 Ok"
    assert rcpt(host, "double-bounce@mail.example.test", "bad4@peer.test").startswith("250 ")
    assert count_rcpt(peer) == asked


def test_many_who_ask_share_one_probe_and_what_it_found(pair):
    host, peer = pair()
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(rcpt(host, "slow@peer.test")))
               for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == ["250 2.1.5 Ok"] * 12
    assert count_rcpt(peer) == 1
    for _ in range(3):
        assert rcpt(host, "later@peer.test").startswith("450 4.1.1 ")
        assert rcpt(host, "bad@peer.test").startswith("550 5.1.1 ")
    assert count_rcpt(peer) == 3


@pytest.mark.parametrize("kind", ["btree", "lmdb"])
def test_what_is_known_survives_a_restart(pair, kind):
    host, peer = pair(address_verify_map=f"{kind}:$data_directory/verify/cache")
    assert rcpt(host, "good@peer.test") == "250 2.1.5 Ok"
    first = rcpt(host, "bad@peer.test")
    host.stop()
    host.start()
    assert rcpt(host, "good@peer.test") == "250 2.1.5 Ok"
    assert rcpt(host, "bad@peer.test") == first
    assert count_rcpt(peer) == 2
    shown = dakiya.run(dakiya.BUILD / "bin/postmap", "-s",
                       f"{kind}:{host.data}/verify/cache").stdout
    assert re.search(r"^bad@peer\.test\s+2:\d+:\d+:host mx\.peer\.test", shown, re.M)
    assert re.search(r"^good@peer\.test\s+0:\d+:\d+:250 2\.1\.5 Ok$", shown, re.M)


def test_a_killed_verify_or_queue_manager_is_missed_for_a_moment_only(pair):
    host, peer = pair()
    assert rcpt(host, "good@peer.test") == "250 2.1.5 Ok"
    for program in ("qmgr", "verify"):
        for pid in host.processes()[program]:
            os.kill(pid, signal.SIGKILL)
        dakiya.wait_for("an answer", lambda: rcpt(host, f"good-{program}@peer.test")  # noqa: B023
                        == "250 2.1.5 Ok")
    assert not peer.messages


def test_without_a_negative_cache_each_question_costs_a_probe(pair):
    host, peer = pair(address_verify_negative_cache="no")
    for number in range(2):
        assert rcpt(host, "bad@peer.test").startswith("550 5.1.1 ")
        assert count_rcpt(peer) == number + 1
    for _ in range(2):
        assert rcpt(host, "good@peer.test") == "250 2.1.5 Ok"
    assert count_rcpt(peer) == 3


def test_probes_may_go_another_way_up_to_data_from_another_sender(pair):
    host, peer = pair({"DATA": "550 5.7.1 Not this one"},
                      relayhost="[127.66.0.1]:1", address_verify_relayhost="",
                      address_verify_sender="probe@example.test",
                      address_verify_sender_ttl="1h",
                      smtp_address_verify_target="data",
                      smtp_generic_maps="inline:{ { x@peer.test = y@peer.test } }")
    assert "550 5.7.1 Not this one (in reply to DATA command)" in rcpt(host, "x@peer.test")
    assert "RCPT TO:<y@peer.test>" in peer.commands
    sender = next(re.search("<(.*)>", line).group(1) for line in peer.commands
                  if line.startswith("MAIL"))
    assert re.fullmatch(r"probe[0-9B-Z]+@example\.test", sender)
    # Whoever looks whether that exists finds it; mail to it goes nowhere.
    assert rcpt(host, sender, "a@elsewhere.test") == "250 2.1.5 Ok"
    assert rcpt(host, "probe@example.test", "a@elsewhere.test").startswith("550 5.1.1 ")


def test_a_flood_of_unknown_addresses_stays_within_its_bounds(pair):
    host, peer = pair(address_verify_pending_request_limit="5", address_verify_poll_count="1",
                      smtp_rcpt_timeout="300s")
    replies = []
    threads = [threading.Thread(target=lambda number=number: replies.append(
        rcpt(host, f"silent{number}@peer.test"))) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(reply.endswith("Address verification in progress") for reply in replies)
    assert rcpt(host, "silent5@peer.test") == (
        "450 4.1.1 <silent5@peer.test>: Recipient address rejected: unverified address: "
        "too many addresses are being verified")
    assert count_rcpt(peer) <= 5


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
def test_swaks_is_told_the_reason(pair):
    host, _ = pair()
    done = subprocess.run(["swaks", "--server", host.address, "--port", str(host.ports["smtp"]),
                           "--from", "alice@example.test", "--to", "bad@peer.test"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 24, done.stdout  # no recipient was accepted
    assert "<** 550 5.1.1 <bad@peer.test>: Recipient address rejected: undeliverable" in done.stdout


# ---- sendmail -bv and -v ----

def sendmail(host, *words, stdin=""):
    done = dakiya.run(dakiya.BUILD / "bin/sendmail", "-C", host.config, "-f",
                      "alice@example.test", *words, stdin=stdin)
    return done.stdout


def wait_notice(host, subject, count=1):
    """The reports with that subject, each as its recipients' fields and the whole message."""
    def find():
        found = [email.message_from_bytes(text, policy=email.policy.default)
                 for text in host.messages("alice")]
        return [one for one in found if one["Subject"] == subject]

    try:
        dakiya.wait_for(subject, lambda: len(find()) >= count, 40)
    except AssertionError:
        raise AssertionError(host.log()[-5000:]) from None
    return [({str(group["Final-Recipient"]).partition("; ")[2]: group
              for group in one.get_payload(1).get_payload()[1:]}, one) for one in find()]


def test_bv_reports_what_would_become_of_mail_and_sends_none(pair):
    host, peer = pair(**REPORTS, virtual_alias_maps="inline:{ { two@example.test = "
                      "good@peer.test, bob@example.test } }")
    assert sendmail(host, "-bv", "good@peer.test", "bad@peer.test", "later@peer.test",
                    "nobody@example.test", "bob@example.test", "two@example.test") == (
        "Mail Delivery Status Report will be mailed to <alice@example.test>.\n")
    [(fields, report)] = wait_notice(host, "Mail Delivery Status Report")
    assert {name: (group["Action"], group["Status"]) for name, group in fields.items()} == {
        "good@peer.test": ("deliverable", "2.1.5"),
        "bad@peer.test": ("undeliverable", "5.1.1"),
        "later@peer.test": ("undeliverable", "4.2.1"),
        "nobody@example.test": ("undeliverable", "5.1.1"),
        "bob@example.test": ("deliverable", "2.0.0"),
    }
    assert report["Auto-Submitted"] == "auto-replied"
    assert report.get_content_type() == "multipart/report"
    assert re.search(r"<good@peer\.test>: delivery via mx\.peer\.test\[.*\]:2525: 250 2\.1\.5\s+Ok",
                     report.get_payload(0).get_content())
    assert "Subject: probe" in report.get_payload(2).get_content()
    # That is all: nothing was delivered, nothing bounces, nothing waits.
    host.wait_queue_empty()
    assert not peer.messages and not host.messages("bob") and len(host.messages("alice")) == 1
    assert not re.search(r"status=(bounced|deferred)|non-delivery", host.log())


def test_v_delivers_and_reports_the_first_attempt_once(pair):
    host, peer = pair(**REPORTS)
    shown = sendmail(host, "-v", "good@peer.test", "bad@peer.test", "later@peer.test",
                     "bob@example.test", stdin="Subject: news\n\nHello.\n")
    assert shown == "Mail Delivery Status Report will be mailed to <alice@example.test>.\n"
    [(fields, report)] = wait_notice(host, "Mail Delivery Status Report")
    assert {name: (group["Action"], group["Status"]) for name, group in fields.items()} == {
        "good@peer.test": ("relayed", "2.0.0"),
        "bad@peer.test": ("failed", "5.1.1"),
        "later@peer.test": ("delayed", "4.2.1"),
        "bob@example.test": ("delivered", "2.0.0"),
    }
    assert "Subject: news" in report.get_payload(2).get_content()
    # The bounce is as ever, and later attempts are not reported.
    [(failed, _)] = wait_notice(host, "Undelivered Mail Returned to Sender")
    assert list(failed) == ["bad@peer.test"]
    assert len(host.wait_messages("bob")) == len(peer.messages) == 1
    [entry] = dakiya.wait_for("it waits", lambda: [
        one for one in host.queue_list() if one["queue_name"] == "deferred"])
    assert [one["address"] for one in entry["recipients"]] == ["later@peer.test"]
    host.stop()
    host.start()
    host.tool("dakqueue", "flush")
    dakiya.wait_for("another attempt", lambda: count_rcpt(peer, "later") >= 2)
    host.wait_log(r"(?s)later@peer\.test.* status=deferred.*later@peer\.test.* status=deferred")
    assert len(wait_notice(host, "Mail Delivery Status Report")) == 1
    assert len(host.messages("alice")) == 2


def test_success_is_told_twice_to_who_asked_for_both(pair):
    host, peer = pair(**REPORTS)
    sendmail(host, "-v", "-N", "success", "good@peer.test", stdin="Subject: news\n\nHello.\n")
    for subject in ("Mail Delivery Status Report", "Successful Mail Delivery Report"):
        [(fields, _)] = wait_notice(host, subject)
        assert list(fields) == ["good@peer.test"]
    host.wait_queue_empty()
    assert len(peer.messages) == 1 and len(host.messages("alice")) == 2
