"""Outbound SMTP and LMTP from a whole host to servers that behave as each test wants."""
import base64
import os
import re
import signal
import threading
import time

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer


FAST = {"minimal_backoff_time": "1s", "maximal_backoff_time": "2s",
        "mynetworks": "127.0.0.0/8"}


@pytest.fixture
def outside(make_host, authority):
    """A function: starts a host that knows the given domains, and peers at their addresses."""
    peers = []

    def make(domains, settings=None, **options):
        """domains: name -> list of (preference, Peer options with address)."""
        dns, addresses = [], {}
        for domain, hosts in domains.items():
            for number, (preference, peer) in enumerate(hosts):
                address = dakiya.new_address()
                name = f"mx{number}.{domain}"
                dns += [f"{domain}. 300 IN MX {preference} {name}.", f"{name}. 300 IN A {address}"]
                addresses[name] = address
                if peer is not None:
                    peers.append(Peer(address, **peer))
        host = make_host(dns_records=dns, settings=dict(FAST, **(settings or {})), users=["alice"],
                         **options)
        host.mx = addresses
        return host.start(), *peers

    yield make
    for peer in peers:
        peer.close()


def test_message_arrives_byte_for_byte(outside):
    host, peer = outside({"peer.test": [(10, {"offers": ["PIPELINING", "8BITMIME", "SIZE 0"]})]})
    text = message(sender="alice@example.test", to="bob@peer.test",
                   body=".\n..\n.x\n" + "\u00e4" * 30 + "\n" + "y" * 900 + "\n" * 3)
    host.send("alice@example.test", "bob@peer.test", text.encode("utf-8")
              if isinstance(text, str) else text)
    dakiya.wait_for("the message", lambda: peer.messages)
    recipients, content = peer.messages[0]
    assert recipients == ["TO:<bob@peer.test>"]
    sent = text.encode("utf-8") if isinstance(text, str) else text
    body = sent.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1].replace(b"\n", b"\r\n")
    assert content.split(b"\r\n\r\n", 1)[1].rstrip() == body.rstrip()
    host.wait_log(r"to=<bob@peer\.test>, relay=mx0\.peer\.test\[[\d.]+\]:2525, .*"
                  r"status=sent \(250 2\.0\.0 Ok: queued as PEER1\)")
    host.wait_log(r"qmgr\[\d+\]: \w+: removed")


def test_large_message_arrives_whole(outside):
    host, peer = outside({"peer.test": [(10, {"offers": ["PIPELINING"]})]})
    body = "".join(f"{number:08d} " + "x" * 60 + "\n" for number in range(60000))
    host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test", body=body))
    dakiya.wait_for("the message", lambda: peer.messages, timeout=40)
    content = peer.messages[0][1]
    assert content.split(b"\r\n\r\n", 1)[1].rstrip().decode() == \
        body.replace("\n", "\r\n").rstrip()


def test_refusal_comes_back_with_the_remote_words(outside):
    host, _ = outside({"peer.test": [(10, {"RCPT": "550 5.1.1 <bob>: no such user\x07here"})]})
    host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test"))
    notice = host.wait_messages("alice")[0].decode()
    assert re.search(r"Diagnostic-Code: smtp; 550 5\.1\.1 <bob>: no such\s+user\?here", notice)
    assert "Remote-MTA: dns; mx0.peer.test" in notice
    assert "Status: 5.1.1" in notice
    host.wait_log(r"status=bounced \(host mx0\.peer\.test\[[\d.]+\] said: 550 5\.1\.1 <bob>: no "
                  r"such user\?here \(in reply to RCPT TO command\)\)")


def test_deferred_mail_is_delivered_later(outside):
    answers = iter(["450 4.2.0 greylisted"])
    host, peer = outside({"peer.test": [(10, {
        "RCPT": lambda session, _: session.say(next(answers, "250 Ok"))})]})
    host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test"))
    host.wait_log(r"status=deferred \(host mx0\.peer\.test\[[\d.]+\] said: 450 4\.2\.0 greylisted "
                  r"\(in reply to RCPT TO command\)\)")
    dakiya.wait_for("the second attempt", lambda: peer.messages)
    host.wait_log(r"qmgr\[\d+\]: \w+: removed")


def test_second_mx_takes_what_the_first_does_not(outside):
    host, second = outside({"peer.test": [(10, None), (20, {})]})
    host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test"))
    dakiya.wait_for("the message", lambda: second.messages)
    host.wait_log(r"smtp\[\d+\]: connect to mx0\.peer\.test\[[\d.]+\]:2525: Connection refused")
    host.wait_log(r"relay=mx1\.peer\.test.* status=sent")


def test_connection_is_used_again(outside):
    host, peer = outside({"peer.test": [(10, {"offers": ["PIPELINING"]})]},
                         {"smtp_destination_concurrency_limit": "1"})
    for _ in range(5):
        host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test"))
    dakiya.wait_for("the messages", lambda: len(peer.messages) == 5)
    assert peer.connections < 5
    host.wait_log(r"conn_use=\d+, delay=")
    dakiya.wait_for("QUIT after the idle time", lambda: "QUIT" in peer.commands, timeout=10)


def test_recipients_of_one_domain_share_a_transaction(outside):
    host, peer = outside({"peer.test": [(10, {"offers": ["PIPELINING"]})]})
    host.send("alice@example.test", [f"user{n}@peer.test" for n in range(20)],
              message(to="all@peer.test"))
    dakiya.wait_for("the message", lambda: sum(len(r) for r, _ in peer.messages) == 20)
    assert len(peer.messages) == 1


def test_tls_levels_by_policy(outside, authority, tmp_path):
    tmp_path.chmod(0o755)
    key, chain = tmp_path / "peer.key", tmp_path / "peer.pem"
    authority.issue(["mx0.good.test", "good.test"], key, chain)
    tls = {"offers": ["STARTTLS"], "certificate": (chain, key)}
    host, good, bad, clear = outside(
        {"good.test": [(10, dict(tls))], "bad.test": [(10, dict(tls))],
         "clear.test": [(10, {})]},
        {"smtp_tls_policy_maps": "inline:{ {good.test = secure} {bad.test = secure} "
                                 "{clear.test = encrypt} }", "smtp_tls_loglevel": "1"})
    for domain in ("good", "bad", "clear"):
        host.send("alice@example.test", f"bob@{domain}.test", message(to=f"bob@{domain}.test"))
    dakiya.wait_for("the message", lambda: good.messages)
    host.wait_log(r"Verified TLS connection established to mx0\.good\.test\[[\d.]+\]:2525: "
                  r"TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\) key-exchange "
                  r"X25519 server-signature ECDSA")
    host.wait_log(r"to=<bob@bad\.test>.* dsn=4\.7\.5, status=deferred "
                  r"\(Server certificate not verified")
    host.wait_log(r"to=<bob@clear\.test>.* dsn=4\.7\.4, status=deferred "
                  r"\(TLS is required, but was not offered by host mx0\.clear\.test")
    for peer in (bad, clear):
        assert not peer.messages
        assert not [c for c in peer.commands if c.startswith("MAIL")]


def test_opportunistic_tls_falls_back_to_clear_text(outside):
    host, peer = outside({"peer.test": [(10, {"offers": ["STARTTLS"]})]})
    peer.certificate = ("/dev/null", "/dev/null")  # the handshake cannot work
    host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test"))
    dakiya.wait_for("the message", lambda: peer.messages)
    assert peer.connections >= 2


def test_relayhost_with_password_under_tls(outside, authority, tmp_path):
    tmp_path.chmod(0o755)
    key, chain = tmp_path / "peer.key", tmp_path / "peer.pem"
    authority.issue(["mx0.peer.test"], key, chain)
    seen = []

    def auth(session, argument):
        seen.append((argument, session.has_tls))
        session.say("235 2.7.0 ok")

    host, peer = outside(
        {"peer.test": [(10, {"offers": ["STARTTLS", "AUTH PLAIN LOGIN"],
                             "certificate": (chain, key), "AUTH": auth})]},
        {"relayhost": "[mx0.peer.test]:2525", "smtp_tls_security_level": "encrypt",
         "smtp_sasl_auth_enable": "yes", "smtp_sasl_tls_security_options": "noanonymous",
         "smtp_sasl_password_maps": "inline:{ {[mx0.peer.test]:2525 = user:secret} }"})
    host.send("alice@example.test", "bob@anywhere.test", message(to="bob@anywhere.test"))
    dakiya.wait_for("the message", lambda: peer.messages)
    mechanism, initial = seen[0][0].split()
    assert mechanism == "PLAIN" and seen[0][1]
    assert base64.b64decode(initial) == b"\0user\0secret"


def test_lmtp_gives_one_result_a_recipient(outside):
    replies = iter(["250 2.1.5 stored", "552 5.2.2 over quota"])
    host, peer = outside({"peer.test": [(10, {
        "lmtp": True, "offers": ["PIPELINING"],
        "DOT": lambda session, _: session.say(next(replies))})]},
        {"transport_maps": "inline:{ {peer.test = lmtp:inet:mx0.peer.test:2525} }"})
    host.send("alice@example.test", ["bob@peer.test", "carol@peer.test"],
              message(to="bob@peer.test"))
    host.wait_log(r"lmtp\[\d+\]: \w+: to=<bob@peer\.test>.* dsn=2\.1\.5, status=sent \(250 2\.1\.5 "
                  r"stored\)")
    host.wait_log(r"to=<carol@peer\.test>.* dsn=5\.2\.2, status=bounced")
    assert any(command.startswith("LHLO ") for command in peer.commands)


def test_lmtp_results_that_are_missing_are_deferred_and_no_other(outside):
    def dot(session, _):
        session.dots = getattr(session, "dots", 0) + 1
        if session.dots > 1:
            raise ConnectionError("the end after the first result")
        session.say("250 2.1.5 stored")

    host, _ = outside({"peer.test": [(10, {"lmtp": True, "DOT": dot})]},
                      {"transport_maps": "inline:{ {peer.test = lmtp:inet:mx0.peer.test:2525} }",
                       "minimal_backoff_time": "300s"})
    host.send("alice@example.test", ["bob@peer.test", "carol@peer.test", "dave@peer.test"],
              message(to="bob@peer.test"))
    host.wait_log(r"to=<bob@peer\.test>.* dsn=2\.1\.5, status=sent \(250 2\.1\.5 stored\)")
    for name in ("carol", "dave"):
        host.wait_log(rf"to=<{name}@peer\.test>.* dsn=4\.4\.2, status=deferred \(lost connection "
                      r"with mx0\.peer\.test\[[\d.]+\] while sending end of data -- message may be "
                      r"sent more than once\)")


@pytest.mark.parametrize("offers", [[], ["PIPELINING"]])
def test_421_in_the_midst_of_recipients_defers_all_but_the_refused(outside, offers):
    def rcpt(session, text):
        if "<c@" in text:
            session.say("421 4.3.2 that was enough")
            raise ConnectionError("closed as told")
        session.say("550 5.1.1 no b" if "<b@" in text else "250 2.1.5 Ok")

    host, peer = outside({"peer.test": [(10, {"offers": offers, "RCPT": rcpt})]},
                         {"minimal_backoff_time": "300s"})
    host.send("alice@example.test", [f"{name}@peer.test" for name in "abcd"], message())
    host.wait_log(r"to=<b@peer\.test>.* dsn=5\.1\.1, status=bounced")
    host.wait_log(r"to=<c@peer\.test>.* dsn=4\.3\.2, status=deferred .*421 4\.3\.2")
    for name in "ad":
        host.wait_log(rf"to=<{name}@peer\.test>.* dsn=4\.\d\.\d, status=deferred")
    assert not peer.messages


def test_null_mx_bounces_at_once(make_host):
    host = make_host(dns_records=["never.test. 300 IN MX 0 ."], settings=FAST, users=["alice"])
    host.start()
    host.send("alice@example.test", "bob@never.test", message(to="bob@never.test"))
    host.wait_log(r"to=<bob@never\.test>, relay=none, .* dsn=5\.1\.0, status=bounced "
                  r"\(Domain never\.test does not accept mail \(nullMX\)\)")


def test_being_ones_own_mx_is_a_loop(make_host):
    address = dakiya.new_address()
    host = make_host(address=address, settings=FAST, users=["alice"],
                     dns_records=["loop.test. 300 IN MX 10 us.loop.test.",
                                  f"us.loop.test. 300 IN A {address}"])
    host.start()
    host.send("alice@example.test", "bob@loop.test", message(to="bob@loop.test"))
    host.wait_log(r"to=<bob@loop\.test>, relay=none, .* dsn=5\.4\.6, status=bounced "
                  r"\(mail for loop\.test loops back to myself\)")


def test_killed_agent_loses_nothing(outside):
    gate = threading.Event()

    def dot(session, _):
        gate.wait(10)
        session.say("250 2.0.0 Ok: queued as PEER1")

    host, peer = outside({"peer.test": [(10, {"DOT": dot})]})
    host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test"))
    dakiya.wait_for("the content", lambda: peer.messages)
    for pid in host.processes()["smtp"]:
        os.kill(pid, signal.SIGKILL)
    gate.set()
    dakiya.wait_for("the second attempt", lambda: len(peer.messages) >= 2, timeout=30)
    host.wait_log(r"qmgr\[\d+\]: \w+: removed")


def test_stop_lets_a_delivery_finish(outside):
    def dot(session, _):
        time.sleep(1.5)
        session.say("250 2.0.0 Ok: queued as SLOW")

    host, peer = outside({"peer.test": [(10, {"DOT": dot})]})
    host.send("alice@example.test", "bob@peer.test", message(to="bob@peer.test"))
    dakiya.wait_for("the content", lambda: peer.messages)
    host.stop()
    assert re.search(r"status=sent \(250 2\.0\.0 Ok: queued as SLOW\)", host.log())
    assert len(peer.messages) == 1
