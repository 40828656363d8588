"""Delivery status notifications, read with Python's email package as a mail program would."""
import email
import email.policy
import itertools

import pytest

import dakiya
from dakiya import message

SENDER = "alice@example.test"
_number = itertools.count(1)


@pytest.fixture(scope="module")
def relay(authority):
    """A host at which mail for gone.test fails at once, and that knows its own users."""
    directory = dakiya.new_directory("bounce")
    host = dakiya.Host(directory, authority=authority, users=["alice", "bob"], settings={
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good } }",
        "smtpd_reject_unlisted_recipient": "no",  # or RCPT would say so at once
        "virtual_alias_maps": "inline:{ { list@example.test = one@gone.test, two@gone.test } }",
        "bounce_size_limit": "20000",
    })
    host.start()
    yield host
    host.stop(check=False)
    dakiya.remove_directory(directory)


def send(host, recipient, rcpt_options=(), mail_options=(), sender=SENDER, text=None):
    """Sends one message from the host's own network; its subject, by which notices are found."""
    subject = f"bounce test {next(_number)}"
    with host.smtp(source_address=(host.address, 0)) as client:
        client.ehlo("client.test")
        assert client.mail(sender, list(mail_options))[0] == 250
        assert client.rcpt(recipient, list(rcpt_options))[0] == 250
        code, reply = client.data(text or message(subject=subject, sender=SENDER, to=recipient))
        assert code == 250, reply
    return subject


def notice_about(host, subject):
    """Waits for the notice that returns a message with this subject."""
    def find():
        for stored in host.messages("alice"):
            if b"multipart/report" in stored and f"Subject: {subject}\n".encode() in stored:
                return email.message_from_bytes(stored, policy=email.policy.default)
        return None
    return dakiya.wait_for(f"a notice about {subject!r}\n{host.log()[-3000:]}", find)


def report_of(notice):
    """The message's fields and a list of the recipients' fields."""
    part = [part for part in notice.walk()
            if part.get_content_type().endswith("delivery-status")][0]
    blocks = part.get_payload()
    return blocks[0], [block for block in blocks[1:] if block.keys()]


def test_a_failure_notice_is_a_well_formed_report(relay):
    subject = send(relay, "nobody@gone.test", ["ORCPT=rfc822;No+2BBody@gone.test"],
                   ["ENVID=my+2Bid"])
    notice = notice_about(relay, subject)
    assert not notice.defects and not any(part.defects for part in notice.walk())
    assert notice["Return-Path"] == "<>"
    assert notice["From"] == f"Mail Delivery System <MAILER-DAEMON@{relay.name}>"
    assert notice["To"] == SENDER
    assert notice["Subject"] == "Undelivered Mail Returned to Sender"
    assert notice["Auto-Submitted"] == "auto-replied"
    assert notice["Date"] and notice["Message-Id"]
    assert notice.get_param("report-type") == "delivery-status"
    text, status, original = notice.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert "<nobody@gone.test>: gone for good" in text.get_content()
    assert original.get_content_type() == "message/rfc822"
    assert original.get_content()["Subject"] == subject
    assert original.get_content().get_content().strip() == "Hello."
    fields, (recipient,) = report_of(notice)
    assert status["Content-Description"] == "Delivery report"
    assert fields["Reporting-MTA"] == f"dns; {relay.name}"
    assert fields["Original-Envelope-Id"] == "my+id"
    assert fields["X-Dakiya-Sender"] == f"rfc822; {SENDER}"
    assert fields["X-Dakiya-Queue-ID"] and fields["Arrival-Date"]
    assert recipient["Original-Recipient"] == "rfc822; No+Body@gone.test"
    assert recipient["Final-Recipient"] == "rfc822; nobody@gone.test"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.6"
    assert "gone for good" in recipient["Diagnostic-Code"]
    queue_id = fields["X-Dakiya-Queue-ID"]
    relay.wait_log(rf"bounce\[\d+\]: {queue_id}: sender non-delivery notification: \w+$")


def test_recipients_of_an_alias_share_one_notice(relay):
    notice = notice_about(relay, send(relay, "list@example.test"))
    _, recipients = report_of(notice)
    assert sorted(entry["Final-Recipient"] for entry in recipients) == [
        "rfc822; one@gone.test", "rfc822; two@gone.test"]
    assert {entry["Original-Recipient"] for entry in recipients} == {"rfc822; list@example.test"}
    text = next(notice.iter_parts()).get_content()
    assert "<one@gone.test> (expanded from <list@example.test>): " in text


def test_only_the_header_of_a_large_message_or_with_ret_hdrs_comes_back(relay):
    subject = send(relay, "x@gone.test", mail_options=["RET=HDRS"])
    *_, returned = notice_about(relay, subject).iter_parts()
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Hello." not in returned.as_string()

    text = message(subject="a large one", sender=SENDER, body="A line of text.\n" * 20000)
    send(relay, "x@gone.test", text=text)
    *_, returned = notice_about(relay, "a large one").iter_parts()
    assert returned.get_content_type() == "text/rfc822-headers"


def test_eight_bit_text_comes_back_unchanged(relay):
    body = "Gr\u00fc\u00dfe aus K\u00f6ln"
    text = ("Subject: eight bits\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Transfer-Encoding: 8bit\r\n\r\n{body}\r\n").encode()
    send(relay, "x@gone.test", mail_options=["BODY=8BITMIME"], text=text)
    notice = notice_about(relay, "eight bits")
    assert notice["Content-Transfer-Encoding"] == "8bit"
    *_, returned = notice.iter_parts()
    assert returned.get_content().get_content().strip() == body


def test_notify_never_and_null_senders_get_nothing(relay):
    send(relay, "never@gone.test", ["NOTIFY=NEVER"])
    send(relay, "y@gone.test", sender="")
    relay.wait_log(r"undeliverable notification without a sender discarded")
    relay.wait_queue_empty()
    notice_about(relay, send(relay, "z@gone.test", ["NOTIFY=FAILURE"]))
    assert not [stored for stored in relay.messages("alice") if b"<never@gone.test>" in stored]


def test_a_delivery_is_reported_when_asked_for(relay):
    subject = send(relay, "bob@example.test", ["NOTIFY=SUCCESS"])
    notice = notice_about(relay, subject)
    assert notice["Subject"] == "Successful Mail Delivery Report"
    _, (recipient,) = report_of(notice)
    assert recipient["Action"] == "delivered" and recipient["Status"].startswith("2.")
    *_, returned = notice.iter_parts()
    assert returned.get_content_type() == "text/rfc822-headers"


def test_internationalised_mail_gets_a_global_report(relay):
    text = "Subject: \u00fcber alles\r\n\r\nHello.\r\n".encode()
    send(relay, "j\u00fcrgen@gone.test", mail_options=["SMTPUTF8"], text=text)
    dakiya.wait_for("a global notice", lambda: any(
        b"message/global-delivery-status" in stored for stored in relay.messages("alice")))
    stored = [stored for stored in relay.messages("alice")
              if b"message/global-delivery-status" in stored][0]
    assert "Final-Recipient: utf-8; j\u00fcrgen@gone.test".encode() in stored
    assert b"Content-Type: message/global\n" in stored


def test_waiting_mail_is_warned_about_once_and_returned_when_it_expires(make_host):
    host = make_host(users=["alice"], settings={
        "transport_maps": "inline:{ { later.test = retry:4.4.1 come back later } }",
        "smtpd_reject_unlisted_recipient": "no",
        "minimal_backoff_time": "1s", "maximal_backoff_time": "1s",
        "delay_warning_time": "1s", "maximal_queue_lifetime": "6s"}).start()
    subject = send(host, "x@later.test")
    host.wait_messages("alice", count=2, timeout=30)
    notices = [email.message_from_bytes(stored, policy=email.policy.default)
               for stored in host.messages("alice")]
    assert [notice["Subject"] for notice in notices] == [
        "Delayed Mail (still being retried)", "Undelivered Mail Returned to Sender"]
    delay, failure = [report_of(notice)[1][0] for notice in notices]
    assert delay["Action"] == "delayed" and delay["Status"] == "4.4.1"
    assert delay["Will-Retry-Until"] and not failure["Will-Retry-Until"]
    assert failure["Action"] == "failed" and failure["Status"] == "4.4.1"
    assert "come back later" in failure["Diagnostic-Code"]
    assert all(f"Subject: {subject}" in notice.as_string() for notice in notices)
    host.wait_log(r"from=<alice@example\.test>, status=expired, returned to sender")


@pytest.mark.parametrize("recipient", ["postmaster", "nobody@gone.test"])
def test_the_postmaster_gets_what_cannot_be_returned_if_he_wants_it(make_host, recipient):
    host = make_host(users=["alice", "postmaster"], settings={
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good } }",
        "smtpd_reject_unlisted_recipient": "no",  # or RCPT would say so at once
        "notify_classes": "resource, software, 2bounce",
        "2bounce_notice_recipient": recipient}).start()
    send(host, "x@gone.test", sender="")
    host.wait_log(r"bounce\[\d+\]: \w+: postmaster non-delivery notification: \w+$")
    if recipient == "postmaster":
        notice = email.message_from_bytes(host.wait_messages("postmaster")[0],
                                          policy=email.policy.default)
        assert notice["Subject"] == "Postmaster Copy: Undelivered Mail"
        assert notice["Return-Path"] == f"<double-bounce@{host.name}>"
        assert report_of(notice)[1][0]["Final-Recipient"] == "rfc822; x@gone.test"
    else:
        host.wait_log(r"bounce\[\d+\]: warning: \w+: undeliverable postmaster notification "
                      r"discarded")
    host.wait_queue_empty()
