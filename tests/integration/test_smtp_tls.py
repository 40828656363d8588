"""TLS levels of the outbound agent against servers with all kinds of certificates.

The promise: at encrypt and above never a message in clear, at verify and above never one to a
server that cannot prove its name.
"""
import os
import re

import pytest

import dakiya
from dakiya import message, run
from smtp_peer import Peer

# What a server of each kind offers: certificate file, STARTTLS reply, and so on.
KINDS = ("good", "other", "expired", "own", "none", "broken", "refused", "injected", "closed")
# kind -> level -> expected: "tls", "clear" or the dsn of the deferral
EXPECTED = {
    "good": {"none": "clear", "may": "tls", "encrypt": "tls", "verify": "tls", "secure": "tls"},
    "other": {"none": "clear", "may": "tls", "encrypt": "tls", "verify": "4.7.5",
              "secure": "4.7.5"},
    "expired": {"none": "clear", "may": "tls", "encrypt": "tls", "verify": "4.7.5",
                "secure": "4.7.5"},
    "own": {"none": "clear", "may": "tls", "encrypt": "tls", "verify": "4.7.5", "secure": "4.7.5"},
    "none": {"none": "clear", "may": "clear", "encrypt": "4.7.4", "verify": "4.7.4",
             "secure": "4.7.4"},
    "broken": {"none": "clear", "may": "clear", "encrypt": "4.7.5", "verify": "4.7.5",
               "secure": "4.7.5"},
    "refused": {"none": "clear", "may": "clear", "encrypt": "4.7.4", "verify": "4.7.4",
                "secure": "4.7.4"},
    "injected": {"none": "clear", "may": "clear", "encrypt": "4.7.5", "verify": "4.7.5",
                 "secure": "4.7.5"},
    "closed": {"none": "clear", "may": "4.4.2", "encrypt": "4.4.2", "verify": "4.4.2",
               "secure": "4.4.2"},
}
CASES = [(kind, level) for kind in KINDS for level in EXPECTED[kind]]


def hang_up(session, _):
    raise ConnectionError("closed at STARTTLS")


def inject(session, _):
    session.connection.sendall(b"220 go ahead\r\n250-peer.test\r\n250 AUTH PLAIN\r\n")
    session.line()


def certificates(directory, authority):
    """kind -> (chain, key) for the name mx.KIND-LEVEL.test of each level."""
    made = {}
    names = [f"mx.{kind}-{level}.test" for kind, level in CASES]
    names += [name[3:] for name in names]
    for kind, subject in (("good", names), ("other", ["elsewhere.test"])):
        made[kind] = (directory / f"{kind}.pem", directory / f"{kind}.key")
        authority.issue(subject, made[kind][1], made[kind][0])
    san = ",".join(f"DNS:{name}" for name in names)
    for kind in ("own", "expired"):
        key, request, chain = (directory / f"{kind}.{end}" for end in ("key", "req", "pem"))
        made[kind] = (chain, key)
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
               "-nodes", "-keyout", key, "-subj", "/CN=x"]
        if kind == "own":
            run(*new, "-x509", "-days", "30", "-out", chain, "-addext", f"subjectAltName={san}")
            continue
        extensions = directory / "extensions"
        extensions.write_text(f"subjectAltName={san}\n")
        run(*new, "-new", "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", authority.certificate, "-CAkey",
            authority.key, "-CAcreateserial", "-out", chain, "-days", "-1", "-extfile", extensions)
    return made


@pytest.fixture(scope="module")
def outcomes(authority):
    directory = dakiya.new_directory("tls")
    made, peers, dns, policies = certificates(directory, authority), {}, [], []
    for kind, level in CASES:
        name, address, handlers = f"{kind}-{level}", dakiya.new_address(), {}
        if kind == "refused":
            handlers["STARTTLS"] = "454 4.7.0 not now"
        if kind == "injected":
            handlers["STARTTLS"] = inject
        if kind == "closed":
            handlers["STARTTLS"] = hang_up
        peers[name] = Peer(address, offers=[] if kind == "none" else ["STARTTLS"],
                           certificate=made.get(kind, (os.devnull, os.devnull)), **handlers)
        dns += [f"{name}.test. 300 IN MX 10 mx.{name}.test.",
                f"mx.{name}.test. 300 IN A {address}"]
        policies.append(f"{{{name}.test = {level}}}")
    host = dakiya.Host(directory / "host", authority=authority, users=["alice"], dns_records=dns,
                       settings={"mynetworks": "127.0.0.0/8", "smtp_tls_loglevel": "1",
                                 "smtp_tls_policy_maps": f"inline:{{ {' '.join(policies)} }}"})
    host.start()
    for name in peers:
        host.send("alice@example.test", f"bob@{name}.test", message(to="bob"))
    dakiya.wait_for("all results", lambda: len(set(re.findall(
        r"to=<(bob@\S+\.test)>.* status=", host.log()))) == len(peers), timeout=30)
    yield host, peers
    host.stop(check=False)
    for peer in peers.values():
        peer.close()
    try:
        host.check_log()
    finally:
        dakiya.remove_directory(directory)


@pytest.mark.parametrize("kind, level", CASES)
def test_level_is_kept_whatever_the_server_shows(outcomes, kind, level):
    host, peers = outcomes
    name, expected = f"{kind}-{level}", EXPECTED[kind][level]
    peer = peers[name]
    line = re.search(rf"to=<bob@{name}\.test>, .*", host.log()).group()
    if expected in ("tls", "clear"):
        assert "status=sent" in line, line
        assert len(peer.messages) == 1
        assert peer.seen_tls == [expected == "tls"]
    else:
        assert re.search(rf"dsn={expected}, status=deferred", line), line
    if level not in ("none", "may") and expected != "tls":
        assert not peer.messages
        assert not [c for c in peer.commands if c.startswith(("MAIL", "RCPT", "DATA"))]


@pytest.mark.parametrize("level, word", [("may", "Trusted"), ("verify", "Verified")])
def test_log_says_how_much_the_certificate_proves(outcomes, level, word):
    host, _ = outcomes
    assert re.search(rf"{word} TLS connection established to mx\.good-{level}\.test", host.log())
    assert re.search(r"Untrusted TLS connection established to mx\.own-encrypt\.test", host.log())
