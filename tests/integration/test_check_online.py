"""`dakiya check --online`: what DNS and the own ports say, with local zones as the Internet."""
import hashlib
import json
import os

import pytest

import dakiya
from dns_server import DnsServer

ADDRESS = "192.0.2.7"
REVERSE = "2.0.192.in-addr.arpa"
GOOD = {
    "@ MX": "@ MX 10 mail",
    "mail A": f"mail A {ADDRESS}",
    "@ SPF": '@ TXT "v=spf1 mx -all"',
    "_dmarc": '_dmarc TXT "v=DMARC1; p=reject"',
    "_mta-sts": '_mta-sts TXT "v=STSv1; id=20260101"',
    "mta-sts": f"mta-sts A {ADDRESS}",
    "_smtp._tls": '_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tls@example.test"',
}
LISTS = ["zen.spamhaus.org", "bl.spamcop.net", "b.barracudacentral.org", "psbl.surriel.com"]


class World:
    """A host, and zones that may be changed before it asks."""

    def __init__(self, make_host, tmp_path):
        self.make_host, self.tmp_path = make_host, tmp_path
        self.records = dict(GOOD)
        self.reverse = "7 PTR mail.example.test."
        self.zones = dict.fromkeys(LISTS, "")
        self.signed = ()
        self.settings = {}
        self.is_started = False
        self.behaviour = {}

    def host(self, server):
        names = [str(zone.origin).rstrip(".") for zone in server.zones]
        stubs = ", ".join(f"{{ {name} {server.where} }}" for name in names)
        settings = {"resolver_stub_zones": stubs, "resolver_dnssec": "no"}
        if self.signed:
            anchors = self.tmp_path / "anchors"
            anchors.write_text(server.trust_anchors())
            os.chmod(self.tmp_path, 0o755)
            settings |= {"resolver_dnssec": "yes", "resolver_trust_anchor_file": anchors,
                         "resolver_insecure_zones": ", ".join(
                             name for name in names if name not in self.signed)}
        return self.make_host(settings=settings | self.settings, users=["alice"])

    def check(self, *options, env=None):
        """The result of check --online --json, as {about: [(result, text, record)]}."""
        zones = {"example.test": "\n".join(self.records.values()) + "\n",
                 REVERSE: self.reverse + "\n", "org": "", **self.zones}
        with DnsServer(zones, signed=self.signed, behaviour=self.behaviour) as server:
            host = self.host(server)
            if self.is_started:
                host.start()
            result = dakiya.run(dakiya.BUILD / "bin/dakiya", "-c", host.config, "check",
                                "--online", "--json", *options, check=False,
                                env=os.environ | (env or {}))
            text = dakiya.run(dakiya.BUILD / "bin/dakiya", "-c", host.config, "check",
                              "--online", check=False, env=os.environ | (env or {}))
            if self.is_started:
                host.stop()
        assert result.returncode in (0, 69), result.stderr + result.stdout
        assert text.returncode == result.returncode
        self.text = text.stdout
        found = {}
        for one in json.loads(result.stdout)["online"]:
            found.setdefault(one["about"], []).append(
                (one["result"], one["text"], one.get("record")))
        return found


@pytest.fixture
def world(make_host, tmp_path):
    return World(make_host, tmp_path)


def has(findings, about, result, part, record=None):
    for found in findings.get(about, []):
        if found[0] == result and part in found[1] and (record is None or
                                                        record in (found[2] or "")):
            return True
    raise AssertionError(f"no {result} {about} with {part!r} and {record!r} in "
                         f"{findings.get(about)}")


def test_a_host_in_good_order_is_told_so(world, authority):
    world.is_started = True
    world.signed = ("example.test", "org")
    found = world.check(env={"SSL_CERT_FILE": str(authority.certificate)})
    has(found, "name", "ok", f"mail.example.test has address {ADDRESS}")
    has(found, "ptr", "ok", f"{ADDRESS} is mail.example.test, and back")
    has(found, "mx", "ok", "example.test: mail.example.test")
    has(found, "spf", "ok", f"mail from {ADDRESS} passes (1 of 10 lookups)")
    has(found, "dmarc", "ok", "p=reject")
    has(found, "mta-sts", "not known", "https://mta-sts.example.test/.well-known/mta-sts.txt")
    has(found, "tls-rpt", "ok", "mailto:tls@example.test")
    has(found, "dkim", "not known", "signs no mail")
    has(found, "resolver", "ok", "validates")
    for name in LISTS:
        has(found, "blocklist", "ok", f"{ADDRESS} is not on {name}")
    # On this host everything is on high ports.
    assert [text for result, text, _ in found["port"] if result not in ("ok", "hint")] == [
        "master.cf has no service on port 25: no other server can deliver here"]
    has(found, "port", "ok", "port 2525 of 127")
    has(found, "certificate", "ok", "for mail.example.test, from a known authority")
    has(found, "tlsa", "hint", "signed zone and has no TLSA record",
        "_25._tcp.mail.example.test. IN TLSA 3 1 1 ")
    assert "    _25._tcp.mail.example.test. IN TLSA 3 1 1 " in world.text


def tlsa_of(authority, host):
    """3 1 1 of the certificate that the host presents."""
    public = dakiya.run("openssl", "x509", "-in", host.config / "host.pem", "-noout", "-pubkey")
    der = dakiya.subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"],
                                input=public.stdout.encode(), capture_output=True, check=True)
    return hashlib.sha256(der.stdout).hexdigest()


@pytest.mark.parametrize("is_right", [True, False])
def test_tlsa_records_are_compared_with_what_is_presented(make_host, tmp_path, authority, is_right):
    first = make_host(users=[])
    digest = tlsa_of(authority, first) if is_right else "00" * 32
    zone = "\n".join(GOOD.values()) + f"\n_25._tcp.mail TLSA 3 1 1 {digest}\n"
    unsigned = {REVERSE: "", **dict.fromkeys(LISTS, "")}
    zones = {"example.test": zone, "org": "", **unsigned}
    with DnsServer(zones, signed=("example.test", "org")) as server:
        anchors = tmp_path / "anchors"
        anchors.write_text(server.trust_anchors())
        stubs = ", ".join(f"{{ {name} {server.where} }}" for name in zones)
        first.settings |= {"resolver_trust_anchor_file": anchors, "resolver_stub_zones": stubs,
                           "resolver_insecure_zones": ", ".join(unsigned)}
        os.chmod(tmp_path, 0o755)
        first.write_config()
        first.add_user("alice")
        first.start()
        result = first.tool("dakiya", "check", "--online", check=False)
    if is_right:
        assert "ok: tlsa: _25._tcp.mail.example.test fits\n" in result.stdout
    else:
        assert "wrong: tlsa: _25._tcp.mail.example.test fits no certificate" in result.stdout
        assert f"IN TLSA 3 1 1 {tlsa_of(authority, first)}\n" in result.stdout
        assert result.returncode == 69


CASES = [
    # what is changed, about, result, part of the text, part of the record
    ({"@ MX": ""}, "mx", "wrong", "example.test has no MX record",
     "example.test. IN MX 10 mail.example.test."),
    ({"@ MX": "@ MX 0 ."}, "mx", "wrong", "null MX", "IN MX 10"),
    ({"@ MX": "@ MX 10 other", "other": "other A 192.0.2.99"}, "mx", "warning",
     "none of its MX hosts (other.example.test) is this host", "IN MX 10"),
    ({"@ MX": "@ MX 10 alias", "alias": "alias CNAME mail"}, "mx", "wrong",
     "alias.example.test is a CNAME", None),
    ({"@ MX": "@ MX 10 inside", "inside": "inside A 10.1.2.3"}, "mx", "wrong",
     "10.1.2.3, which the Internet does not reach", None),
    ({"@ MX": "@ MX 10 nowhere"}, "mx", "wrong", "nowhere.example.test has no address", None),
    ({"mail A": ""}, "name", "wrong", "mail.example.test has no address",
     "mail.example.test. IN A "),
    ({"@ SPF": ""}, "spf", "wrong", "has no SPF record",
     f'example.test. IN TXT "v=spf1 mx ip4:{ADDRESS} -all"'),
    ({"@ SPF": '@ TXT "v=spf1 ip4:198.51.100.0/24 -all"'}, "spf", "wrong",
     f"does not cover this host's address {ADDRESS} (fail)", "v=spf1"),
    ({"@ SPF": '@ TXT "v=spf1 ip4:198.51.100.0/24 ~all"'}, "spf", "wrong", "(softfail)", None),
    ({"@ SPF": '@ TXT "v=spf1 ip4:192.0.2.0/24 -all"'}, "spf", "ok", "passes (0 of 10", None),
    ({"@ SPF": '@ TXT "v=spf1 a:mail.example.test/24 -all"'}, "spf", "ok", "(1 of 10", None),
    ({"@ SPF": '@ TXT "v=spf1 include:_spf.example.test -all"',
      "_spf": '_spf TXT "v=spf1 a:x.example.test redirect=_spf2.example.test"',
      "_spf2": f'_spf2 TXT "v=spf1 ip4:{ADDRESS} -all"'}, "spf", "ok", "(3 of 10", None),
    ({"@ SPF": '@ TXT "v=spf1 include:lost.example.test -all"'}, "spf", "wrong",
     "no record at include:lost.example.test", None),
    ({"@ SPF": '@ TXT "v=spf1 include:loop.example.test -all"',
      "loop": 'loop TXT "v=spf1 include:loop.example.test -all"'}, "spf", "wrong",
     "more than 10 lookups", None),
    ({"@ SPF": '@ TXT "v=spf1 -all"\n@ TXT "v=spf1 mx -all"'}, "spf", "wrong",
     "two SPF records", None),
    ({"@ SPF": '@ TXT "v=spf1 exists:%{i}.example.test -all"'}, "spf", "not known", "macros", None),
    ({"@ SPF": '@ TXT "v=spf1 mix -all"'}, "spf", "wrong", "unknown mechanism mix", None),
    ({"_dmarc": ""}, "dmarc", "wrong", "has no DMARC record",
     '_dmarc.example.test. IN TXT "v=DMARC1; p=none'),
    ({"_dmarc": '_dmarc TXT "v=DMARC1; rua=mailto:a@b.test"'}, "dmarc", "wrong",
     "has no policy (p=)", None),
    ({"_dmarc": '_dmarc TXT "v=DMARC1; p=none"\n_dmarc TXT "v=DMARC1; p=reject"'}, "dmarc",
     "wrong", "has 2 records", None),
    ({"_mta-sts": ""}, "mta-sts", "hint", "has no MTA-STS policy", None),
    ({"mta-sts": ""}, "mta-sts", "wrong", "mta-sts.example.test has no address",
     "mta-sts.example.test. IN A"),
    ({"_smtp._tls": ""}, "tls-rpt", "hint", "asks for no reports", "v=TLSRPTv1"),
]


@pytest.mark.parametrize("change, about, result, part, record", CASES)
def test_each_thing_that_is_wrong_is_told_with_its_record(world, change, about, result, part,
                                                          record):
    world.records |= change
    has(world.check(), about, result, part, record)


def test_a_name_for_the_address_must_be_there_and_lead_back(world):
    world.reverse = ""
    found = world.check()
    has(found, "ptr", "wrong", f"{ADDRESS} has no name",
        "7.2.0.192.in-addr.arpa. IN PTR mail.example.test.")


def test_a_name_that_does_not_lead_back_is_wrong_and_another_one_is_warned_about(world):
    world.reverse = "7 PTR other.example.test."
    has(world.check(), "ptr", "wrong", "is other.example.test, but that name does not have")


def test_another_confirmed_name_is_warned_about(world):
    world.reverse = "7 PTR other.example.test."
    world.records["other"] = f"other A {ADDRESS}"
    has(world.check(), "ptr", "warning", "but says EHLO mail.example.test", "IN PTR")


def test_blocklists(world):
    world.zones["zen.spamhaus.org"] = "7.2.0.192 A 127.0.0.2\n"
    world.zones["bl.spamcop.net"] = "7.2.0.192 A 127.255.255.254\n"
    found = world.check()
    has(found, "blocklist", "wrong", f"{ADDRESS} is on zen.spamhaus.org (127.0.0.2)")
    has(found, "blocklist", "not known", "bl.spamcop.net does not answer this resolver")


def test_what_cannot_be_asked_is_neither_good_nor_bad(world):
    world.behaviour = {("example.test", "TXT"): "servfail", ("example.test", "MX"): "servfail",
                       ("_dmarc.example.test", "TXT"): "servfail"}
    found = world.check()
    for about in ("mx", "spf", "dmarc"):
        assert [one[0] for one in found[about]] == ["not known"], found[about]


def test_ports_that_do_not_answer_and_a_relayhost(world):
    world.settings["relayhost"] = "[relay.example.net]:587"
    found = world.check()
    has(found, "port", "wrong", "port 2525 of 127")
    has(found, "port", "wrong", "Connection refused")
    has(found, "port", "wrong", "no service on port 25")
    has(found, "spf", "not known", "mail leaves through [relay.example.net]:587")
    has(found, "resolver", "hint", "no resolver runs here")


def test_online_belongs_to_check(make_host):
    result = make_host(users=[]).tool("dakiya", "status", "--online", check=False)
    assert result.returncode == 64
    assert "--online belongs to check" in result.stderr
