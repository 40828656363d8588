"""Who is told what, when and how: NOTIFY x RET x outcome x next hop, read as mail programs and
list managers read notices (Python's email package, flufl.bounce)."""
import email
import email.policy
import itertools
import os
import quopri
import re
import signal

import pytest
from flufl.bounce import all_failures

import dakiya
from dakiya import message
from smtp_peer import Peer

SENDER = "alice@example.test"

NOTIFY = [None, "NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE", "SUCCESS,DELAY",
          "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"]
RET = [None, "FULL", "HDRS"]
# Domain -> who asks for the notice, Action, Status, whether it stays in the queue.
OUTCOMES = {
    "bob@example.test": ("SUCCESS", "delivered", "2.0.0"),
    "x@without.test": ("SUCCESS", "relayed", "2.0.0"),
    "x@lmtp.test": ("SUCCESS", "delivered", "2.0.0"),
    "x@with.test": (None, None, None),  # the next host reports
    "list@example.test": ("SUCCESS", "expanded", "2.0.0"),
    "x@gone.test": ("FAILURE", "failed", "5.1.6"),
    "x@refusing-with.test": ("FAILURE", "failed", "5.1.1"),
    "x@refusing-without.test": ("FAILURE", "failed", "5.1.1"),
    "x@later.test": ("DELAY", "delayed", "4.4.1"),
}
DEFAULT = {"FAILURE", "DELAY"}
GONE = {"mynetworks": "127.0.0.0/8", "smtpd_reject_unlisted_recipient": "no",
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good } }"}


def parse_top(stored):
    """The notice; what it returns may be encoded, in which the email package does not look."""
    notice = email.message_from_bytes(stored, policy=email.policy.default)
    assert not notice.defects and not any(part.defects for part in notice.iter_parts())
    return notice


def parse(stored):
    """The notice, which must be one that the email package has nothing to say against."""
    notice = parse_top(stored)
    assert not any(part.defects for part in notice.walk())
    assert notice.get_content_type() == "multipart/report"
    return notice


def report_of(notice):
    part = [part for part in notice.walk()
            if part.get_content_type().endswith("delivery-status")][0]
    blocks = part.get_payload()
    return blocks[0], [block for block in blocks[1:] if block.keys()]


def notices_of(host, user="alice"):
    """Original-Envelope-Id -> the notices."""
    found = {}
    for stored in host.messages(user):
        if b"multipart/report" in stored:
            notice = parse(stored)
            found.setdefault(report_of(notice)[0]["Original-Envelope-Id"], []).append(notice)
    return found


def failures(notice):
    """What a list manager makes of it: (temporary, permanent)."""
    plain = email.message_from_bytes(notice.as_bytes())
    return tuple({address.decode() for address in part} for part in all_failures(plain))


@pytest.fixture(scope="module")
def hosts(authority):
    directory = dakiya.new_directory("notices")
    dns, peers = [], {}
    for name, offers, handlers in (
            ("with", ["DSN", "PIPELINING"], {}), ("without", ["PIPELINING"], {}),
            ("refusing-with", ["DSN"], {"RCPT": "550 5.1.1 no such user"}),
            ("refusing-without", [], {"RCPT": "550 5.1.1 no such user"}),
            ("lmtp", [], {"lmtp": True})):
        address = dakiya.new_address()
        peers[name] = Peer(address, offers=offers, **handlers)
        dns += [f"{name}.test. 300 IN MX 10 mx.{name}.test.",
                f"mx.{name}.test. 300 IN A {address}"]
    host = dakiya.Host(directory, authority=authority, users=["alice", "bob", "carol"],
                       dns_records=dns, settings={
        "mynetworks": "127.0.0.0/8", "smtpd_reject_unlisted_recipient": "no",
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good }, "
                          "{ later.test = retry:4.4.1 come back later }, "
                          f"{{ lmtp.test = lmtp:[{peers['lmtp'].address}]:2525 }} }}",
        "virtual_alias_maps": "inline:{ { list@example.test = bob@example.test, "
                              "carol@example.test } }",
        "delay_warning_time": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "2s"})
    host.start()
    yield host, peers
    host.stop(check=False)
    for peer in peers.values():
        peer.close()
    try:
        host.check_log()
    finally:
        dakiya.remove_directory(directory)


def is_told(notify, asked):
    if asked is None:
        return False
    return asked in (DEFAULT if notify is None else set(notify.split(",")))


def test_every_combination_of_notify_ret_outcome_and_next_hop(hosts):
    host, peers = hosts
    cases = {}
    with host.smtp() as client:
        for number, (notify, ret, recipient) in enumerate(
                itertools.product(NOTIFY, RET, OUTCOMES)):
            envid = f"case-{number}"
            cases[envid] = (notify, ret, recipient)
            client.ehlo("client.test")
            code, reply = client.mail(SENDER, [f"ENVID={envid}"] + ([f"RET={ret}"] if ret else []))
            assert code == 250, reply
            options = [f"ORCPT=rfc822;asked-{number}@else.test"]
            code, reply = client.rcpt(recipient, options + ([f"NOTIFY={notify}"] if notify else []))
            assert code == 250, reply
            assert client.data(message(subject=envid, sender=SENDER, to=recipient))[0] == 250
    expected = {envid for envid, (notify, _, recipient) in cases.items()
                if is_told(notify, OUTCOMES[recipient][0])}
    dakiya.wait_for("all notices", lambda: len(notices_of(host)) >= len(expected), 60, 0.5)
    dakiya.wait_for("a quiet queue", lambda: all(
        entry["recipients"][0]["address"].endswith("@later.test") for entry in host.queue_list()))
    found = notices_of(host)
    assert set(found) == expected
    for envid, notices in found.items():
        assert len(notices) == 1, envid
        check_notice(notices[0], envid, *cases[envid])
    # The next host was told what it needs to report by itself.
    for envid, (notify, ret, recipient) in cases.items():
        if recipient != "x@with.test":
            continue
        number = envid.split("-")[1]
        assert any(command.startswith("RCPT") and f"ORCPT=rfc822;asked-{number}@else.test" in command
                   and (f"NOTIFY={notify} " in command + " " if notify else "NOTIFY" not in command)
                   for command in peers["with"].commands), envid
        assert any(command.startswith("MAIL") and command.endswith(f"ENVID={envid}") and
                   ((f" RET={ret} " in command) if ret else ("RET=" not in command))
                   for command in peers["with"].commands), envid
    assert not any("NOTIFY" in command or "ENVID" in command
                   for command in peers["without"].commands)


def check_notice(notice, envid, notify, ret, recipient):
    asked, action, status = OUTCOMES[recipient]
    original = f"asked-{envid.split('-')[1]}@else.test"
    fields, blocks = report_of(notice)
    assert len(blocks) == 1, envid
    block = blocks[0]
    assert fields["Original-Envelope-Id"] == envid
    assert block["Action"] == action and block["Status"] == status, (envid, recipient, str(block))
    assert block["Final-Recipient"] == f"rfc822; {recipient}"
    assert block["Original-Recipient"] == f"rfc822; {original}"
    assert bool(block["Will-Retry-Until"]) == (action == "delayed")
    assert (block["Remote-MTA"] is not None) == (recipient.split("@")[1] in (
        "refusing-with.test", "refusing-without.test", "without.test", "lmtp.test")), (recipient, str(block))
    *_, returned = notice.iter_parts()
    whole = action == "failed" and ret != "HDRS"
    assert returned.get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
    assert ("Hello." in returned.as_string()) == whole
    assert f"Subject: {envid}" in returned.as_string()
    temporary, permanent = failures(notice)
    assert permanent == ({original} if action == "failed" else set()), envid
    assert temporary == ({original} if action == "delayed" else set()), envid


def test_hundreds_of_failed_recipients_share_one_notice(hosts):
    host, _ = hosts
    names = [f"many{number}" for number in range(300)]
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail(SENDER, ["ENVID=many"])
        for name in names:
            assert client.rcpt(f"{name}@gone.test")[0] == 250
        code, reply = client.data(message(subject="many"))
        assert code == 250
    queue_id = re.search(r"queued as (\w+)", reply.decode()).group(1)
    host.wait_log(rf"{queue_id}: removed")
    notices = re.findall(rf"{queue_id}: sender non-delivery notification", host.log())
    assert len(notices) == 1
    notice = dakiya.wait_for("the notice", lambda: notices_of(host).get("many"))[0]
    assert {block["Final-Recipient"] for block in report_of(notice)[1]} == {
        f"rfc822; {name}@gone.test" for name in names}
    assert failures(notice) == (set(), {f"{name}@gone.test" for name in names})


def test_each_recipient_of_a_message_is_told_of_as_it_asked(hosts):
    host, _ = hosts
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail(SENDER, ["ENVID=mixed"])
        for recipient, notify in (("bob@example.test", "SUCCESS"), ("carol@example.test", "FAILURE"),
                                  ("x@without.test", "SUCCESS,DELAY"), ("y@without.test", "NEVER"),
                                  ("a@gone.test", "FAILURE"), ("b@gone.test", "NEVER"),
                                  ("c@refusing-with.test", "SUCCESS,FAILURE"),
                                  ("d@refusing-without.test", "SUCCESS"), ("e@gone.test", None)):
            assert client.rcpt(recipient, [f"NOTIFY={notify}"] if notify else [])[0] == 250
        assert client.data(message(subject="mixed"))[0] == 250
    notices = dakiya.wait_for("two notices", lambda: (
        lambda found: found if len(found) == 2 else None)(notices_of(host).get("mixed", [])))
    told = {notice["Subject"]: {(block["Final-Recipient"].split()[1], block["Action"])
                                for block in report_of(notice)[1]} for notice in notices}
    assert told == {
        "Successful Mail Delivery Report": {
            ("bob@example.test", "delivered"), ("x@without.test", "relayed")},
        "Undelivered Mail Returned to Sender": {
            ("a@gone.test", "failed"), ("c@refusing-with.test", "failed"), ("e@gone.test", "failed")}}


# ---- RFC 6533 ----

def test_notices_of_internationalised_mail(hosts):
    host, _ = hosts
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail(SENDER, ["SMTPUTF8", "ENVID=utf8"])
        client.command_encoding = "utf-8"
        client.rcpt("j\u00fcrgen@gone.test", ["ORCPT=utf-8;j\\x{FC}rgen@else.test"])
        assert client.data("Subject: \u00fc\r\n\r\nHello.\r\n".encode())[0] == 250
        # An address in ASCII on the way, an original that was not: the plain report, escaped.
        client.mail(SENDER, ["ENVID=ascii"])
        client.rcpt("y@gone.test", ["ORCPT=utf-8;j\\x{FC}rgen@else.test"])
        assert client.data(message())[0] == 250
    stored = dakiya.wait_for("the global notice", lambda: [
        stored for stored in host.messages("alice")
        if b"Original-Envelope-Id: utf8\n" in stored])[0]
    assert b"report-type=global-delivery-status" in stored
    assert b"Content-Type: message/global-delivery-status\n" in stored
    assert b"Content-Type: message/global\n" in stored
    assert "Final-Recipient: utf-8; j\u00fcrgen@gone.test\n".encode() in stored
    assert "<j\u00fcrgen@gone.test>: gone for good".encode() in stored
    notice = email.message_from_bytes(stored, policy=email.policy.default)
    assert [part.get_content_type() for part in notice.iter_parts()] == [
        "text/plain", "message/global-delivery-status", "message/global"]
    notice = dakiya.wait_for("the plain notice", lambda: notices_of(host).get("ascii"))[0]
    assert report_of(notice)[1][0]["Original-Recipient"] == "utf-8; j\\x{FC}rgen@else.test"
    assert notice.get_param("report-type") == "delivery-status"


# ---- delays that end ----

@pytest.mark.parametrize("confirm, offers", [("yes", []), ("yes", ["DSN"]), ("no", [])])
def test_the_end_of_a_delay_is_told_when_configured(make_host, confirm, offers):
    """A host with DSN, too, tells nobody who did not ask for it that it has the message now."""
    address = dakiya.new_address()
    answers = {"RCPT": "450 4.2.1 not now"}
    peer = Peer(address, offers=offers, **answers)
    host = make_host(users=["alice"], dns_records=[
        "slow.test. 300 IN MX 10 mx.slow.test.", f"mx.slow.test. 300 IN A {address}"], settings={
        "mynetworks": "127.0.0.0/8", "delay_warning_time": "1s", "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s",
        "confirm_delay_cleared": confirm}).start()
    try:
        host.send(SENDER, "x@slow.test", message(subject="slow"))
        host.wait_messages("alice", count=1, timeout=30)
        peer.handlers.clear()
        host.wait_queue_empty(30)
    finally:
        peer.close()
    host.wait_log(r"status=sent .*queued as PEER1")
    if confirm == "yes":
        host.wait_messages("alice", count=2)
    notices = [parse(stored) for stored in host.messages("alice")]
    assert [report_of(notice)[1][0]["Action"] for notice in notices] == [
        "delayed", "relayed"][:2 if confirm == "yes" else 1]


# ---- the postmaster ----

def test_the_postmaster_gets_copies_of_the_classes_he_named(make_host):
    host = make_host(users=["alice", "b", "d", "two"], settings={
        "mynetworks": "127.0.0.0/8",
        "smtpd_reject_unlisted_recipient": "no",  # or RCPT would say so at once
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good }, "
                          "{ later.test = retry:4.4.1 come back later } }",
        "delay_warning_time": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "notify_classes": "bounce, delay",
        "bounce_notice_recipient": "b@example.test", "delay_notice_recipient": "d@example.test",
        "2bounce_notice_recipient": "two@example.test"}).start()
    with host.smtp() as client:
        client.ehlo("client.test")
        for sender, recipient, notify in ((SENDER, "x@gone.test", "NEVER"),
                                          (SENDER, "x@later.test", "FAILURE"),
                                          ("", "y@gone.test", "NEVER")):
            client.mail(sender)
            client.rcpt(recipient, [f"NOTIFY={notify}"])
            assert client.data(message(subject="classes", to=recipient))[0] == 250
    for user, subject, recipient, action in (
            ("b", "Postmaster Copy: Undelivered Mail", "x@gone.test", "failed"),
            ("d", "Postmaster Warning: Delayed Mail", "x@later.test", "delayed"),
            ("two", "Postmaster Copy: Undelivered Mail", "y@gone.test", "failed")):
        notice = parse(host.wait_messages(user)[0])
        assert notice["Subject"] == subject
        assert notice["Return-Path"] == f"<double-bounce@{host.name}>"
        (block,) = report_of(notice)[1]
        assert block["Final-Recipient"] == f"rfc822; {recipient}" and block["Action"] == action
        *_, returned = notice.iter_parts()
        assert returned.get_content_type() == ("message/rfc822" if user == "two"
                                               else "text/rfc822-headers")
        assert len(host.messages(user)) == 1
    assert host.messages("alice") == []
    for what in ("non-delivery", "delay"):
        host.wait_log(rf"bounce\[\d+\]: \w+: postmaster {what} notification: \w+$")


def test_sessions_with_errors_are_told_with_their_transcript(make_host):
    host = make_host(users=["alice", "b", "e"], settings={
        "notify_classes": "policy, protocol, bounce", "bounce_notice_recipient": "b@example.test",
        "error_notice_recipient": "e@example.test",
        "smtpd_error_sleep_time": "0",
        "smtpd_recipient_restrictions":
            "check_recipient_access inline:{ { bob@example.test = REJECT not you } }"}).start()
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail(SENDER)
        assert client.rcpt("alice@example.test")[0] == 250
        assert client.data(message())[0] == 250  # what went well is not told of
        client.docmd("NONSENSE", "a\x1bb")
        client.starttls(context=host.tls_context())
        client.ehlo("client.test")
        assert client.docmd("AUTH", "PLAIN AGFsaWNlAHNlY3JldA==")[0] == 535
        assert client.docmd("AUTH", "PLAIN")[0] == 334
        assert client.docmd("AGFsaWNlAHNlY3JldA==")[0] == 535
        client.mail(SENDER)
        client.rcpt("bob@example.test")
    told = email.message_from_bytes(host.wait_messages("e")[0], policy=email.policy.default)
    assert told["Subject"] == f"Dakiya SMTP server: errors from {client_name(host)}"
    assert told["Return-Path"] == f"<double-bounce@{host.name}>"
    assert told["Auto-Submitted"] == "auto-generated"
    text = told.get_content()
    assert text.startswith("Transcript of session follows.\n")
    lines = text.splitlines()
    assert " Out: 500 5.5.2 Error: command not recognized" in lines or \
        " Out: 500 5.5.2 Error: bad syntax" in lines
    assert " In:  rcpt TO:<bob@example.test>" in lines
    assert any(line.startswith(" Out: 554 5.7.1 <bob@example.test>: Recipient address rejected: "
                               "not you") for line in lines)
    assert " In:  AUTH PLAIN" in lines and " In:  (authentication response)" in lines
    assert "AGFsaWNl" not in text and "\x1b" not in text
    assert not any("alice@example.test>" in line and "rcpt" in line for line in lines)
    host.wait_log(r"\w+: postmaster notification of errors from ")

    with host.smtp() as client:  # an unknown user: class bounce
        client.ehlo("client.test")
        client.mail(SENDER)
        assert client.rcpt("nobody@example.test")[0] == 550
    told = email.message_from_bytes(host.wait_messages("b")[0], policy=email.policy.default)
    assert " In:  rcpt TO:<nobody@example.test>" in told.get_content()
    with host.smtp() as client:  # nothing wrong, nothing told
        client.ehlo("client.test")
        client.noop()
    host.wait_queue_empty()
    assert len(host.messages("e")) == 1 and len(host.messages("b")) == 1


def client_name(host):
    found = re.search(r"smtpd\[\d+\]: connect from (\S+)", host.log())
    return found.group(1)


@pytest.mark.parametrize("lmtp", [False, True])
def test_hosts_that_break_the_protocol_are_told_of(make_host, lmtp):
    """As Postfix's class protocol has it: x0z and 555, what is no reply, what has no place."""
    breaks = {"syntax": {"RCPT": "501 5.5.4 you speak strangely"},
              "option": {"MAIL": "555 5.5.4 no such option"},
              "nonsense": {"MAIL": "what?"},
              "go": {"RCPT": "354 go"},
              "data": {"DATA": "250 2.0.0 no need"},
              "bare": {"GREETING": "500 go away"},
              "notice": {"RCPT": "501 5.5.4 you speak strangely"},
              "fine": {"RCPT": "550 5.1.1 no such user"}}
    peers = {name: Peer(dakiya.new_address(), lmtp=lmtp, offers=["PIPELINING"] * (name != "option"),
                        **handlers) for name, handlers in breaks.items()}
    way = "lmtp" if lmtp else "smtp"
    host = make_host(users=["alice", "e"], settings={
        "mynetworks": "127.0.0.0/8", "notify_classes": "protocol",
        "error_notice_recipient": "errors@example.test",
        "virtual_alias_maps": "inline:{ { errors@example.test = e@example.test } }",
        "transport_maps": "inline:{ " + ", ".join(
            f"{{ {name}.test = {way}:[{peer.address}]:2525 }}"
            for name, peer in peers.items()) + " }"}).start()
    try:
        for name in breaks:
            host.send("" if name == "notice" else SENDER, f"x@{name}.test", message(subject=name))
        host.wait_messages("e", count=6, timeout=30)
        for name in breaks:
            host.wait_log(rf"to=<x@{name}\.test>.*status=(bounced|deferred)")
    finally:
        for peer in peers.values():
            peer.close()
    told = {}
    for stored in host.messages("e"):
        one = email.message_from_bytes(stored, policy=email.policy.default)
        name = [name for name, peer in peers.items()
                if one["Subject"].endswith(f"errors from {peer.address}[{peer.address}]:2525")][0]
        assert name not in told
        told[name] = one
    assert set(told) == {"syntax", "option", "nonsense", "go", "data", "bare"}
    one = told["syntax"]
    assert one["Subject"].startswith(f"Dakiya {way.upper()} client: errors from ")
    assert one["To"] == "errors@example.test"
    assert one["Return-Path"] == f"<double-bounce@{host.name}>"
    assert one["Auto-Submitted"] == "auto-generated"
    address = peers["syntax"].address
    verb = "LHLO" if lmtp else "EHLO"
    assert one.get_content().splitlines() == [
        f"Unexpected response from {address}[{address}]:2525.", "",
        "Transcript of session follows.", "",
        " In:  220 peer.test ESMTP", f" Out: {verb} {host.name}", " In:  250-peer.test",
        " In:  250 PIPELINING", f" Out: MAIL FROM:<{SENDER}>", " Out: RCPT TO:<x@syntax.test>",
        " Out: DATA", " In:  250 2.1.0 Ok", " In:  501 5.5.4 you speak strangely",
        *one.get_content().splitlines()[13:-2],
        "", "For other details, see the local mail logfile"]
    assert " In:  what?" in told["nonsense"].get_content().splitlines()
    host.wait_log(rf"{way}\[\d+\]: \w+: postmaster notification of errors from {address}\[")


def test_by_default_the_postmaster_hears_nothing_of_clients(make_host):
    host = make_host(users=["alice", "postmaster"]).start()
    with host.smtp() as client:
        client.ehlo("client.test")
        client.docmd("NONSENSE")
        client.mail(SENDER)
        assert client.rcpt("nobody@example.test")[0] == 550
    host.wait_log(r"disconnect from")
    host.wait_queue_empty()
    assert host.messages("postmaster") == []


# ---- templates ----

TEMPLATE = """# All words are ours.
failure_template = <<EOF
Charset: utf-8
From: Post <post@example.test>
Subject: Leider nicht zugestellt

Gr\u00fc\u00dfe von $myhostname: nach ${maximal_queue_lifetime_days} Tagen war Schluss.
EOF

success_template = <<EOF
Subject: Arrived

Arrived at $mydomain.
EOF
"""


def test_words_come_from_the_template_file(make_host):
    host = make_host(users=["alice"], settings={
        "mynetworks": "127.0.0.0/8",
        "smtpd_reject_unlisted_recipient": "no",  # or RCPT would say so at once
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good } }"})
    path = host.config / "bounce.cf"
    path.write_text(TEMPLATE, encoding="utf-8")
    host.settings["bounce_template_file"] = str(path)
    host.write_config()
    host.start()
    with host.smtp() as client:
        client.ehlo("client.test")
        for recipient in ("x@gone.test", "alice@example.test"):
            client.mail(SENDER, ["ENVID=" + recipient.split("@")[1]])
            client.rcpt(recipient, ["NOTIFY=SUCCESS,FAILURE"])
            assert client.data(message(subject="template"))[0] == 250
    found = dakiya.wait_for("both notices", lambda: (
        lambda all: all if len(all) == 2 else None)(notices_of(host)))
    failure, success = found["gone.test"][0], found["example.test"][0]
    assert failure["Subject"] == "Leider nicht zugestellt"
    assert failure["From"] == "Post <post@example.test>"
    text = next(failure.iter_parts())
    assert text.get_content_charset() == "utf-8"
    assert text.get_content().startswith(
        f"Gr\u00fc\u00dfe von {host.name}: nach 5 Tagen war Schluss.\n\n<x@gone.test>: gone")
    assert failures(failure) == (set(), {"x@gone.test"})
    assert success["Subject"] == "Arrived"
    assert next(success.iter_parts()).get_content().startswith("Arrived at example.test.\n\n<alice")
    shown = host.tool("dakconf", "-b").stdout
    assert f"von {host.name}: nach 5 Tagen war Schluss.\nEOF\n" in shown
    assert "Subject: Delayed Mail (still being retried)\n" in shown
    assert "$myhostname: nach ${maximal" in host.tool("dakconf", "-t", path).stdout


def test_a_broken_template_file_is_named_by_check_and_holds_up_nothing(make_host):
    host = make_host(users=["alice"], settings={
        "mynetworks": "127.0.0.0/8",
        "smtpd_reject_unlisted_recipient": "no",  # or RCPT would say so at once
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good } }"})
    path = host.config / "bounce.cf"
    host.settings |= {"bounce_template_file": str(path), "notify_classes": "bounces"}
    host.write_config()
    for text, problem in ((None, "No such file"), ("failure = <<EOF\nEOF\n", "line 1: templates are"),
                          ("failure_template = <<EOF\n\n$nonesuch\nEOF\n", "$nonesuch is no")):
        if text is not None:
            path.write_text(text)
        result = host.tool("dakiya", "check", check=False)
        assert problem in result.stdout + result.stderr
        assert 'notify_classes: "bounces" is no class' in result.stdout + result.stderr
    path.write_text("failure = <<EOF\nEOF\n")
    assert "line 1: templates are" in host.tool("dakconf", "-b", check=False).stderr
    host.settings["notify_classes"] = "2bounce"
    path.write_text("failure_template = <<EOF\nSubject: Before\n\nText\nEOF\n")
    host.write_config()
    host.start()
    # It breaks later: bounce starts again and takes the built-in words.
    path.write_text("nonsense\n")
    for pid in host.processes()["bounce"]:
        os.kill(pid, signal.SIGKILL)
    host.send(SENDER, "x@gone.test", message(subject="broken"))
    notice = parse(host.wait_messages("alice")[0])
    assert notice["Subject"] == "Undelivered Mail Returned to Sender"
    host.wait_log(r"bounce_template_file: .*bounce\.cf: line 1: .*built-in words are used")


def test_the_example_in_the_manual_is_a_good_template(make_host):
    page = (dakiya.TOP / "docs/man/bounce.5").read_text()
    example = re.search(r"^\.Bd[^\n]*\n(# What.*?)^\.Ed", page, re.M | re.S).group(1)
    host = make_host(users=[], settings={"delay_warning_time": "240m"})
    path = host.config / "bounce.cf"
    path.write_text(example)
    host.settings["bounce_template_file"] = str(path)
    host.write_config()
    result = host.tool("dakiya", "check")
    assert "bounce" not in result.stdout + result.stderr
    shown = host.tool("dakconf", "-b").stdout
    assert f"This is the mail service at {host.name}.\n" in shown
    assert "at most 5 days.\n" in shown and "not even $1.\n" in shown
    assert "\n4 hour(s). You need not send it again" in shown


# ---- lifetimes, soft_bounce, senders ----

@pytest.mark.parametrize("setting, sender, log, told", [
    ("maximal_queue_lifetime", SENDER, "status=expired, returned to sender", "failed"),
    ("bounce_queue_lifetime", "", "undeliverable notification without a sender discarded", None)])
def test_a_lifetime_of_nothing_is_one_attempt(make_host, setting, sender, log, told):
    host = make_host(users=["alice"], settings={
        "mynetworks": "127.0.0.0/8", "smtpd_reject_unlisted_recipient": "no",
        "delay_warning_time": "1s", setting: "0",
        "transport_maps": "inline:{ { later.test = retry:4.4.1 come back later } }"}).start()
    host.send(sender, "x@later.test", message(subject="once"))
    host.wait_log(log)
    host.wait_queue_empty()
    actions = [report_of(parse(stored))[1][0] for stored in host.messages("alice")]
    assert [(block["Action"], block["Status"], block["Will-Retry-Until"])
            for block in actions] == ([(told, "4.4.1", None)] if told else [])
    assert len(re.findall(r"status=deferred", host.log())) == 1


def test_with_soft_bounce_a_failure_is_a_delay_until_it_is_switched_off(make_host):
    host = make_host(users=["alice"], settings=GONE | {
        "soft_bounce": "yes", "delay_warning_time": "1s", "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s"}).start()
    host.send(SENDER, "x@gone.test", message(subject="soft"))
    notice = parse(host.wait_messages("alice", timeout=30)[0])
    (block,) = report_of(notice)[1]
    assert (block["Action"], block["Status"]) == ("delayed", "4.1.6")
    # The log has Postfix's word; nothing says that it bounced.
    host.wait_log(r"to=<x@gone\.test>.*, dsn=4\.1\.6, status=SOFTBOUNCE \(gone for good\)")
    host.send(SENDER, "nobody@example.test", message(subject="soft"))
    host.wait_log(r"to=<nobody@example\.test>.*, dsn=4\.1\.1, status=SOFTBOUNCE")
    assert "status=bounced" not in host.log()
    queue_id = [one["queue_id"] for one in host.queue_list()
                if one["recipients"][0]["address"].startswith("nobody")][0]
    host.tool("dakqueue", "delete", queue_id)
    assert failures(notice) == ({"x@gone.test"}, set())
    host.settings["soft_bounce"] = "no"
    host.write_config()
    host.tool("dakiya", "reload")
    notice = parse(host.wait_messages("alice", count=2, timeout=30)[1])
    assert [(block["Action"], block["Status"]) for block in report_of(notice)[1]] == [
        ("failed", "5.1.6")]
    host.wait_queue_empty()


@pytest.mark.parametrize("sender, to", [
    ("list+owner=x=far.test@back.test", "list+owner=x=far.test@back.test"),
    ("postmaster@back.test", "postmaster@back.test"), ('"odd one"@back.test', '"odd one"@back.test'),
    ("", None), ("double-bounce@mail.example.test", None), ("Double-Bounce@back.test", None)])
def test_each_kind_of_sender_gets_his_notice_and_nobody_one_for_a_notice(way_back, sender, to):
    """The way back refuses: what is sent there ends there, whatever notify_classes says."""
    host, peers = way_back
    envid = f"from {len(peers['refusing'].commands)}+{sender}"
    with host.smtp() as client:
        client.ehlo("client.test")
        options = "ENVID=" + "".join(c if c.isalnum() else f"+{ord(c):02X}" for c in envid)
        assert client.docmd("MAIL", f"FROM:<{sender}> {options}")[0] == 250
        assert client.rcpt("x@gone.test", ["ORCPT=x400;/C=DE/S=x/", "NOTIFY=FAILURE"])[0] == 250
        code, reply = client.data(message(subject=envid))
        assert code == 250, reply
    queue_id = re.search(r"queued as (\w+)", reply.decode()).group(1)
    if to is None:
        host.wait_log(rf"{queue_id}: undeliverable (postmaster )?notification")
        assert f"{queue_id}: sender non-delivery" not in host.log()
        return
    told = host.wait_log(rf"{queue_id}: sender non-delivery notification: (\w+)").group(1)
    host.wait_log(rf"{told}: to=<.*status=bounced")
    host.wait_log(rf"{told}: undeliverable notification without a sender discarded")
    assert f"RCPT TO:<{to}>" in peers["refusing"].commands
    assert not re.search(rf"{told}: \w+ non-delivery", host.log())


@pytest.fixture(scope="module")
def way_back(authority):
    """A host from which mail for back.test and others goes to peers, and for gone.test nowhere."""
    directory = dakiya.new_directory("wayback")
    peers = {name: Peer(dakiya.new_address(), offers=offers, **handlers)
             for name, offers, handlers in (
                 ("refusing", [], {"RCPT": "550 5.1.1 no such user"}),
                 ("plain", ["PIPELINING"], {}),
                 ("utf8", ["SMTPUTF8", "8BITMIME", "DSN"], {}))}
    host = dakiya.Host(directory, authority=authority, users=["alice"], settings=GONE | {
        "transport_maps": "inline:{ { gone.test = error:5.1.6 gone for good }, "
                          f"{{ back.test = smtp:[{peers['refusing'].address}]:2525 }}, "
                          f"{{ plain.test = smtp:[{peers['plain'].address}]:2525 }}, "
                          f"{{ utf8.test = smtp:[{peers['utf8'].address}]:2525 }} }}"})
    host.start()
    yield host, peers
    host.stop(check=False)
    for peer in peers.values():
        peer.close()
    try:
        host.check_log()
    finally:
        dakiya.remove_directory(directory)


@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
def test_a_way_back_without_smtputf8_gets_the_forms_in_ascii(way_back, ret):
    host, peers = way_back
    text = ("Subject: \u00fc=1\r\nX-Long: " + "\u00fc" * 100 + "\r\n\r\nHello \u00fc.\r\n")
    with host.smtp() as client:
        client.ehlo("client.test")
        client.command_encoding = "utf-8"
        client.mail("alice@plain.test", ["SMTPUTF8", f"RET={ret}", "ENVID=plain" + ret])
        client.rcpt("j\u00fcrgen@gone.test", ["ORCPT=utf-8;j\u00fcrgen@else.test"])
        assert client.data(text.encode())[0] == 250
    stored = dakiya.wait_for("the notice", lambda: [
        content for _, content in peers["plain"].messages if f"plain{ret}".encode() in content])[0]
    assert not any(command.endswith("SMTPUTF8") for command in peers["plain"].commands)
    assert stored.isascii()
    notice = parse_top(stored)
    assert notice.get_param("report-type") == "delivery-status"
    part, status, returned = notice.iter_parts()
    assert "<j\u00fcrgen@gone.test>: gone for good" in part.get_content()
    (block,) = report_of(notice)[1]
    assert block["Final-Recipient"] == "utf-8; j\\x{FC}rgen@gone.test"
    assert block["Original-Recipient"] == "utf-8; j\\x{FC}rgen@else.test"
    assert returned.get_content_type() == (
        "message/global" if ret == "FULL" else "message/global-headers")
    assert returned["Content-Transfer-Encoding"] == "quoted-printable"
    encoded = stored[stored.rindex(b"quoted-printable\r\n\r\n") + 20:]
    encoded = encoded[:encoded.rindex(b"\r\n--=_")]
    assert encoded.isascii() and max(map(len, encoded.split(b"\r\n"))) <= 76
    original = quopri.decodestring(encoded).decode("utf-8")
    assert text.split("\r\n\r\n")[0].split("\r\n")[1] in original
    assert original.endswith("\r\n\r\nHello \u00fc.\r\n") == (ret == "FULL")


def test_an_address_that_needs_smtputf8_gets_the_global_forms(way_back):
    host, peers = way_back
    with host.smtp() as client:
        client.ehlo("client.test")
        client.command_encoding = "utf-8"
        client.mail("j\u00fcrgen@utf8.test", ["SMTPUTF8"])
        client.rcpt("x@gone.test")
        assert client.data(message(subject="global"))[0] == 250
    dakiya.wait_for("the notice", lambda: peers["utf8"].messages)
    (recipients, content), = peers["utf8"].messages
    assert recipients == ["TO:<j\u00fcrgen@utf8.test>".encode().decode("latin-1")]
    assert "MAIL FROM:<> BODY=8BITMIME SMTPUTF8" in [
        re.sub(r" SIZE=\d+", "", command) for command in peers["utf8"].commands]
    assert b"Content-Type: message/global-delivery-status\r\n" in content
    assert "X-Dakiya-Sender: utf-8; j\u00fcrgen@utf8.test\r\n".encode() in content


# ---- threads, sizes, deaths ----

def test_notices_stand_in_the_thread_of_their_message(make_host):
    host = make_host(users=["alice"], settings=GONE | {"enable_threaded_bounces": "yes"}).start()
    text = "Message-Id: <first@client.test>\r\n" + message(subject="thread")
    host.send(SENDER, "x@gone.test", text)
    notice = parse(host.wait_messages("alice")[0])
    assert notice["In-Reply-To"] == notice["References"] == "<first@client.test>"
    assert notice["Message-Id"] not in (None, "<first@client.test>")


def test_a_notice_that_is_too_large_becomes_several(make_host):
    host = make_host(users=["alice"], settings=GONE | {"message_size_limit": "20000"}).start()
    names = [f"r{number}@gone.test" for number in range(150)]
    host.send(SENDER, names, message(subject="many", body="A line.\n" * 1500))
    host.wait_queue_empty()
    notices = [parse(stored) for stored in host.messages("alice")]
    told = [block["Final-Recipient"].split("; ")[1]
            for notice in notices for block in report_of(notice)[1]]
    assert sorted(told) == sorted(names)
    assert 2 <= len(notices) <= 8
    assert all(len(stored) < 20500 for stored in host.messages("alice"))


def memory_kb(host, name):
    """What the daemon had at most."""
    return max(int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1))
               for pid in host.processes()[name])


def test_a_message_with_ten_thousand_failed_recipients_has_one_notice(make_host):
    host = make_host(users=["alice"], settings=GONE | {"smtpd_recipient_limit": "20000"}).start()
    names = [f"recipient{number}@gone.test" for number in range(10000)]
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail(SENDER, ["ENVID=crowd"])
        for start in range(0, len(names), 500):
            client.send("".join(f"RCPT TO:<{name}>\r\n" for name in names[start:start + 500]))
            assert {client.getreply()[0] for _ in range(500)} == {250}
        assert client.data(message(subject="crowd"))[0] == 250
    host.wait_queue_empty(60)
    (stored,) = host.messages("alice")
    notice = parse(stored)
    assert [block["Final-Recipient"] for block in report_of(notice)[1]] == [
        f"rfc822; {name}" for name in names]
    assert failures(notice) == (set(), set(names))
    assert len(re.findall("sender non-delivery notification", host.log())) == 1


@pytest.mark.parametrize("limit, whole", [("50000", False), ("20000000", True)])
def test_a_message_of_twelve_megabytes_is_returned_as_a_stream(make_host, limit, whole):
    host = make_host(users=["alice"], settings=GONE | {
        "message_size_limit": "30000000", "bounce_size_limit": limit}).start()
    before = {name: memory_kb(host, name) for name in ("bounce", "qmgr")}
    body = "A line of text, as long as lines are.\n" * (12000000 // 38)
    host.send(SENDER, "x@gone.test", message(subject="large", body=body))
    host.wait_queue_empty(60)
    (stored,) = host.messages("alice")
    assert whole or len(stored) < 5000
    for name, kb in before.items():
        assert memory_kb(host, name) < kb + 3000, name
    assert (f"Subject: large\n\n{body}".encode() in stored) == whole
    assert (b"Content-Type: text/rfc822-headers\n" in stored) != whole


def test_every_sender_is_told_whatever_becomes_of_bounce(make_host):
    host = make_host(users=["alice"], settings=GONE).start()
    number, killed = 0, set()
    with host.smtp() as client:
        client.ehlo("client.test")
        while len(killed) < 4 or number % 30 != 1:
            assert number < 20000
            client.mail(SENDER, [f"ENVID=kill-{number}"])
            client.rcpt("x@gone.test")
            assert client.data(message(subject="kill"))[0] == 250
            if number % 30 == 0:
                for pid in host.processes().get("bounce", []):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            number += 1
    host.wait_queue_empty(60)
    found = dakiya.wait_for("all notices", lambda: (
        lambda all: all if len(all) == number else None)(notices_of(host)), 30)
    assert set(found) == {f"kill-{one}" for one in range(number)}
    # Only what a killed thread had committed and not reported is told again.
    assert sum(len(notices) - 1 for notices in found.values()) <= 2 * len(killed)
