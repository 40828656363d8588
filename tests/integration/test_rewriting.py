"""Addresses rewritten on their way in and out, by whole hosts with real clients and servers."""
import pathlib
import re

import pytest

import dakiya
import rewriting
from dakiya import message
from smtp_peer import Peer

DATA = pathlib.Path(__file__).with_name("rewriting.txt")


@pytest.mark.parametrize("variant", rewriting.VARIANTS)
def test_results_are_those_of_postfix(variant):
    directory = dakiya.new_directory("rewriting")
    host, peer = rewriting.make_host(directory, rewriting.VARIANTS[variant])
    try:
        results = rewriting.observe(host.address, host.ports["smtp"], peer)
    finally:
        host.stop(check=False)
        peer.close()
        dakiya.remove_directory(directory)
    table = rewriting.recorded(DATA.read_text().split(f"[{variant}]\n", 1)[1].split("\n[", 1)[0])
    assert results.keys() == table.keys() and len(results) > 200
    wrong = [f"{case}: {result!r}, recorded {table[case][0]!r}, Postfix {table[case][1]!r}"
             for case, result in results.items() if result != table[case][0]]
    assert not wrong, "\n".join(wrong)
    differing = [case for case, (ours, theirs) in table.items() if ours != theirs]
    assert len(differing) <= 4, differing


# ---- into mailboxes ----

CANONICAL = {
    "canonical_maps": "inline:{ a.liddell@example.test=alice@example.test }",
    "masquerade_domains": "example.test", "recipient_delimiter": "+",
    "sender_bcc_maps": "inline:{ alice@example.test=bob@example.test }",
    "relocated_maps": "inline:{ { gone@example.test = gone@elsewhere.test } }",
    "transport_maps": "inline:{ { dead@example.test = error:5.2.1 mailbox closed }, "
                      "{ later@example.test = retry:not today } }",
}


@pytest.fixture(scope="module")
def rewriter():
    directory = dakiya.new_directory("rewriter")
    host = dakiya.Host(directory, settings=CANONICAL, users=["alice", "bob"])
    host.extra_services = (
        f"{host.address}:2626 inet n - n - - smtpd\n"
        "  -o receive_override_options=no_address_mappings,no_unknown_recipient_checks\n")
    host.write_config()
    host.start()
    yield host
    host.stop(check=False)
    dakiya.remove_directory(directory)


def stored(host, user, subject):
    needle = f"Subject: {subject}\n".encode()
    return dakiya.wait_for(f"{subject} for {user}\n{host.log()[-3000:]}", lambda: next(
        (text for text in host.messages(user) if needle in text), None)).decode()


def submit(host, sender, recipient, text, port="smtp"):
    number = host.ports.get(port, port)
    assert rewriting.send(host.address, number, sender, [recipient], text)


HEADER = ("From: A. Liddell <a.liddell> (\"me\")\nTo: =?utf-8?Q?B=C3=B6b?= <bob@h.example.test>,\n"
          "\t(and) root, Friends: carol@far.test, a.liddell@example.test;\n"
          "Date: Tue, 24 Nov 2026 09:15:02 +0000\nMessage-Id: <1@a.liddell>\nSubject: {}\n\n"
          "To: root\n")


def test_a_message_of_our_own_is_rewritten_in_envelope_and_header(rewriter):
    submit(rewriter, "a.liddell", "a.liddell+x@example.test", HEADER.format("ours")
           .replace("<a.liddell>", "<a.liddell@example.test>"))
    text = stored(rewriter, "alice", "ours")
    assert "Return-Path: <a.liddell@example.test>\n" in text
    assert ("From: A. Liddell <alice@example.test> (\"me\")\n"
            "To: =?utf-8?Q?B=C3=B6b?= <bob@example.test>,\n"
            "\t(and) root@example.test, Friends: carol@far.test, alice@example.test;\n") in text
    assert "Message-Id: <1@a.liddell>\n" in text and text.endswith("\n\nTo: root\n\n")
    assert "X-Original-To: a.liddell+x@example.test\n" in text
    assert "Delivered-To: alice+x@example.test\n" in text


def test_the_sender_in_the_log_and_its_copy_come_after_canonical_maps(rewriter):
    submit(rewriter, "a.liddell@example.test", "alice@example.test", HEADER.format("copied"))
    assert "Return-Path: <alice@example.test>\n" in stored(rewriter, "alice", "copied")
    assert "X-Original-To: bob@example.test\n" in stored(rewriter, "bob", "copied")
    rewriter.wait_log(r"qmgr\[\d+\]: \w+: from=<alice@example\.test>, size=\d+, nrcpt=2 ")


def test_headers_of_strangers_stay_as_they_are_while_envelopes_are_mapped(rewriter):
    rewriter.send("a.liddell@example.test", "a.liddell@example.test",
                  HEADER.format("strange"))  # from 127.0.0.1, which is no interface of the host
    text = stored(rewriter, "alice", "strange")
    assert "From: A. Liddell <a.liddell> (\"me\")\n" in text and "\t(and) root, Friends" in text
    assert "Return-Path: <alice@example.test>\n" in text


def test_a_service_can_do_without_mappings(rewriter):
    submit(rewriter, "a.liddell@example.test", "alice@example.test",
           HEADER.format("unmapped").replace("<a.liddell>", "<a.liddell@example.test>"), 2626)
    text = stored(rewriter, "alice", "unmapped")
    assert "Return-Path: <a.liddell@example.test>\n" in text
    assert "From: A. Liddell <a.liddell@example.test> (\"me\")\n" in text
    assert "(and) root@mail.example.test, " in text  # the standard form is made always
    assert not any(b"Subject: unmapped\n" in one for one in rewriter.messages("bob"))
    with rewriter.smtp(port="smtp") as client:
        client.ehlo("client.test")
        client.mail("x@client.test")
        assert client.rcpt("nobody@example.test")[0] == 550
    assert rewriting.send(rewriter.address, 2626, "", ["nobody@example.test"], "A: b\n\nx")


def test_who_has_moved_is_told_at_rcpt(rewriter):
    with rewriter.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@client.test")
        assert client.rcpt("gone@example.test") == (
            550, b"5.1.6 <gone@example.test>: Recipient address rejected: "
                 b"User has moved to gone@elsewhere.test")
        assert client.rcpt("dead@example.test") == (
            550, b"5.2.1 <dead@example.test>: Recipient address rejected: mailbox closed")
        assert client.rcpt("later@example.test") == (
            450, b"4.1.1 <later@example.test>: Recipient address rejected: not today")
        assert client.rcpt("a.liddell@example.test")[0] == 250
    rewriter.wait_log(r"reject: RCPT from .*: 550 5\.1\.6 <gone@example\.test>: "
                      r"Recipient address rejected: User has moved to gone@elsewhere\.test; from=")


@pytest.mark.parametrize("parameter", ["canonical_maps", "sender_canonical_maps",
                                       "recipient_canonical_maps", "recipient_bcc_maps"])
def test_a_table_that_fails_makes_the_client_try_again(parameter):
    directory = dakiya.new_directory("failing")
    with dakiya.Host(directory, users=["alice"],
                     settings={parameter: f"hash:{directory}/missing"}) as host:
        with host.smtp() as client:
            client.ehlo("client.test")
            client.mail("carol@client.test")
            code = client.rcpt("alice@example.test")[0]
            assert (code if code != 250 else client.data(message())[0]) == 451
        host.wait_log(rf"warning: .*{parameter}: .*missing")
    dakiya.remove_directory(directory)


# ---- on the way out ----

@pytest.fixture
def relaying():
    """A function: our host with the settings given, and what it relays everything to."""
    started = []

    def make(settings, **peer_options):
        sink, directory = dakiya.new_address(), dakiya.new_directory("relaying")
        peer = Peer(sink, offers=["8BITMIME", "SIZE"], **peer_options)
        host = dakiya.Host(directory, users=["alice"], settings={
            "relayhost": f"[{sink}]:2525", "minimal_backoff_time": "1s",
            "maximal_backoff_time": "1s"} | settings)
        started.append((host, peer, directory))
        return host.start(), peer

    yield make
    for host, peer, directory in started:
        host.stop(check=False)
        peer.close()
        dakiya.remove_directory(directory)


GENERIC = "inline:{ alice@example.test=alice@isp.test, @lan.test=all@isp.test }"


def test_what_leaves_bears_public_addresses_and_what_is_stored_does_not(relaying):
    refusals = iter(["451 4.3.0 later", "250 2.0.0 Ok: queued as PEER"])
    host, peer = relaying({"smtp_generic_maps": GENERIC},
                          DOT=lambda session, _: session.say(next(refusals)))
    body = "From: alice@example.test\n" * 10000  # larger than what stays in memory
    submit(host, "alice@example.test", "bob@lan.test",
           "From: Alice <alice@example.test>\nTo: bob@lan.test (Bob),\n carol@far.test\n"
           "Subject: alice@example.test\nDate: x\nMessage-Id: <1@lan.test>\n\n" + body)
    queue_id = dakiya.wait_for("the first attempt", lambda: re.search(
        r"(\w+): to=<bob@lan\.test>, relay=.*status=deferred", host.log())).group(1)
    shown = host.tool("dakqueue", "show", queue_id, check=False).stdout
    dakiya.wait_for("the second attempt", lambda: len(peer.envelopes) == 2)
    for sender, recipients, content in peer.envelopes:
        assert sender.startswith("FROM:<alice@isp.test>")
        assert recipients == ["TO:<all@isp.test>"]
        header, _, sent = content.decode().partition("\r\n\r\n")
        assert "From: Alice <alice@isp.test>\r\n" in header + "\r\n"
        assert "To: all@isp.test (Bob),\r\n carol@far.test\r\n" in header
        assert "Subject: alice@example.test\r\n" in header
        assert sent.replace("\r\n", "\n") == body + "\n"
        assert f" SIZE={len(content)}" in sender
    host.wait_log(r"to=<bob@lan\.test>, relay=.*status=sent")
    assert "isp.test" not in shown


def test_generic_maps_that_fail_defer_and_send_nothing(relaying):
    host, peer = relaying({"smtp_generic_maps": "hash:/nonexistent/generic"})
    submit(host, "alice@example.test", "bob@far.test", message())
    host.wait_log(r"to=<bob@far\.test>, relay=none, .*dsn=4\.3\.0, status=deferred \(.*generic")
    assert peer.commands == []


def test_lmtp_has_generic_maps_of_its_own(relaying):
    host, peer = relaying({"smtp_generic_maps": "static:wrong@isp.test",
                           "lmtp_generic_maps": GENERIC, "default_transport": "lmtp"}, lmtp=True)
    submit(host, "alice@example.test", "x@lan.test", "From: alice@example.test\nTo: x\n\nb")
    sender, recipients, content = dakiya.wait_for(
        "the message", lambda: peer.envelopes and peer.envelopes[0])
    assert sender.startswith("FROM:<alice@isp.test>") and recipients == ["TO:<all@isp.test>"]
    assert b"From: alice@isp.test\r\nTo: x@mail.example.test\r\n" in content


# ---- the guide ----

GUIDE = re.findall(r"^```\n(.*?)^```", (dakiya.TOP / "docs" / "addresses.md").read_text(),
                   re.M | re.S)  # the first is about verification


@pytest.mark.parametrize("block, sender, recipient, expected", [
    (1, "alice@laptop.local", "bob@far.test", ("alice.jones@provider.example", "bob@far.test")),
    (1, "bob@laptop.local", "bob@far.test", ("jones+local@provider.example", "bob@far.test")),
    (2, "ann@host.example.org", "bob@x.example.org", ("ann@example.org", "bob@x.example.org")),
    (2, "root@host.example.org", "bob@far.test", ("root@host.example.org", "bob@far.test")),
    (3, "ajones@example.org", "Alice.Jones@example.org",
     ("Alice.Jones@example.org", "ajones@example.org")),
])
def test_examples_of_the_guide_do_what_it_says(relaying, block, sender, recipient, expected):
    assert len(GUIDE) == 4
    settings = dict(re.split(r"\s*=\s*", line, maxsplit=1)
                    for line in re.sub(r"\n\s+", " ", GUIDE[block]).splitlines())
    settings.pop("relayhost", None)
    host, peer = relaying(settings | {"myorigin": "example.org"})
    submit(host, sender, recipient, f"From: {sender}\nTo: {recipient}\n\nx")
    envelope = dakiya.wait_for("the message", lambda: peer.envelopes and peer.envelopes[0])
    assert (rewriting.path_of(envelope[0]), rewriting.path_of(envelope[1][0])) == expected
    assert f"From: {expected[0]}\r\n".encode() in envelope[2]


# ---- classes ----

def test_a_domain_in_two_classes_that_check_cannot_see_is_warned_about(relaying):
    host, peer = relaying({"mydestination": "pcre:{ {/^both\\.test$$/ x} }",
                           "local_transport": "$default_transport",
                           "local_recipient_maps": "",
                           "virtual_alias_domains": "both.test"})
    submit(host, "a@b.test", "alice@both.test", message())
    dakiya.wait_for("the message", lambda: peer.envelopes)
    host.wait_log(r"qmgr\[\d+\]: warning: do not list domain both\.test in BOTH "
                  r"mydestination and virtual_alias_domains")


def test_a_null_client_relays_names_without_domain_for_its_own_and_for_nobody_else(relaying):
    host, peer = relaying({"myorigin": "far.test", "virtual_mailbox_domains": "",
                           "virtual_mailbox_maps": ""})
    submit(host, "root", "admin", "Subject: cron\n\nx")
    sender, recipients, content = dakiya.wait_for(
        "the message", lambda: peer.envelopes and peer.envelopes[0])
    assert sender.startswith("FROM:<root@far.test>") and recipients == ["TO:<admin@far.test>"]
    assert b"\r\nFrom: root@far.test\r\n" in content
    host.wait_log(r"to=<admin@far\.test>, orig_to=<admin>, relay=")
    with host.smtp() as client:  # from another address
        client.ehlo("client.test")
        client.mail("carol@client.test")
        for recipient in ("admin", "far.test!admin", "admin%far.test", "admin%far.test@far.test",
                          "\"admin@far.test\"", "@far.test:admin"):
            assert client.docmd(f"RCPT TO:<{recipient}>")[0] in (454, 501), recipient
