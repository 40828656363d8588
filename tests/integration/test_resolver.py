"""resolver against an authoritative server of our own on a loopback port."""
import os
import pathlib
import shutil
import socket
import tempfile
import threading
import time

import pytest

from dns_server import DnsServer
from ipc import LaunchedDaemon

pytestmark = pytest.mark.sanitized

FOUND, NO_DATA, NO_NAME, TRY_LATER, BOGUS = range(5)
TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28,
         "SRV": 33, "TLSA": 52, "CAA": 257}

ZONE = """
@ MX 20 second
@ MX 10 FIRST
@ TXT "v=spf1 " "-all"
first A 192.0.2.1
first AAAA 2001:db8::1
second A 192.0.2.2
alias CNAME chain1
chain1 CNAME chain2
chain2 CNAME first
dangling CNAME nothing
null MX 0 .
_25._tcp.first TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
_smtp._tcp SRV 5 7 2525 first
@ CAA 0 issue "ca.test"
big TXT "{}" "{}" "{}" "{}" "{}" "{}" "{}" "{}"
slow A 192.0.2.3
lost A 192.0.2.4
broken A 192.0.2.5
denied A 192.0.2.6
cut A 192.0.2.7
forced A 192.0.2.8
deep.er.empty A 192.0.2.9
""".format(*[letter * 250 for letter in "abcdefgh"])
REVERSE = "1 PTR first.example.test.\n"
BEHAVIOUR = {("lost.example.test", "A"): "drop", ("broken.example.test", "A"): "servfail",
             ("denied.example.test", "A"): "refused", ("cut.example.test", "A"): "short",
             ("forced.example.test", "A"): "truncate", ("slow.example.test", "A"): 1.0,
             ("forged.signed.test", "A"): "bogus"}
SIGNED = "@ MX 10 mail\nmail A 192.0.2.20\nforged A 192.0.2.21\n"


class Asker:
    """A client channel with ids of its own."""

    def __init__(self, daemon):
        self.channel = daemon.connect()
        self.id = 0

    def send(self, name, rdtype, timeout_ms=10000):
        self.id += 1
        self.channel.send("dns_query", id=self.id, name=name, type=TYPES.get(rdtype, rdtype),
                          timeout_ms=timeout_ms)
        return self.id

    def ask(self, name, rdtype, timeout_ms=10000):
        number = self.send(name, rdtype, timeout_ms)
        kind, answer = self.channel.receive(30)
        assert kind == "dns_answer" and answer["id"] == number
        return answer


@pytest.fixture(scope="module")
def world():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="dakiya-resolver-"))
    os.chmod(directory, 0o755)
    with DnsServer({"example.test": ZONE, "2.0.192.in-addr.arpa": REVERSE, "signed.test": SIGNED},
                   signed=("signed.test",), behaviour=BEHAVIOUR) as server:
        anchors = directory / "anchors"
        anchors.write_text(server.trust_anchors())
        settings = {
            "resolver_stub_zones": f"{{ example.test {server.where} }}, "
                                   f"{{ 2.0.192.in-addr.arpa {server.where} }}, "
                                   f"signed.test {server.where}",
            "resolver_trust_anchor_file": anchors,
            "resolver_insecure_zones": "example.test 2.0.192.in-addr.arpa",
            "resolver_local_data": "{ here.test. 60 IN A 192.0.2.99 }",
            "inet_protocols": "ipv4",
        }
        with LaunchedDaemon("resolver", directory, "private/resolver", settings) as daemon:
            yield daemon, server
        assert daemon.process.returncode == 0, daemon.log()
    shutil.rmtree(directory)


@pytest.fixture
def ask(world):
    return Asker(world[0]).ask


def names(answer):
    return [(record["preference"], record["target"].decode()) for record in answer["records"]]


def data(answer):
    return [record["data"] for record in answer["records"]]


def test_each_type_is_parsed(ask):
    assert sorted(names(ask("example.test", "MX"))) == [(10, "first.example.test"),
                                                        (20, "second.example.test")]
    assert names(ask("null.example.test", "MX")) == [(0, "")]
    assert data(ask("first.example.test", "A")) == [socket.inet_aton("192.0.2.1")]
    assert data(ask("first.example.test", "AAAA")) == [
        socket.inet_pton(socket.AF_INET6, "2001:db8::1")]
    assert data(ask("example.test", "TXT")) == [b"v=spf1 -all"]
    assert names(ask("1.2.0.192.in-addr.arpa", "PTR")) == [(0, "first.example.test")]
    assert data(ask("_25._tcp.first.example.test", "TLSA")) == [
        bytes([3, 1, 1]) + bytes.fromhex("0123456789abcdef" * 4)]
    service = ask("_smtp._tcp.example.test", "SRV")
    assert names(service) == [(5, "first.example.test")]
    assert data(service) == [(7).to_bytes(2, "big") + (2525).to_bytes(2, "big")]
    assert data(ask("example.test", "CAA")) == [b"\0\x05issueca.test"]
    assert names(ask("example.test", "SOA")) == [(0, "ns.example.test")]
    assert names(ask("example.test", "NS")) == [(0, "ns.example.test")]
    assert names(ask("alias.example.test", "CNAME")) == [(0, "chain1.example.test")]


def test_alias_chain_leads_to_records_under_their_canonical_name(ask):
    answer = ask("alias.example.test", "A")
    assert answer["status"] == FOUND and answer["canonical"] == b"first.example.test"
    assert data(answer) == [socket.inet_aton("192.0.2.1")]


@pytest.mark.parametrize("name, rdtype, status", [
    ("nobody.example.test", "A", NO_NAME),
    ("dangling.example.test", "A", NO_NAME),
    ("first.example.test", "MX", NO_DATA),
    ("er.empty.example.test", "A", NO_DATA),
    ("broken.example.test", "A", TRY_LATER),
    ("denied.example.test", "A", TRY_LATER),
    ("cut.example.test", "A", TRY_LATER),
])
def test_negative_answers_keep_their_kind(ask, name, rdtype, status):
    answer = ask(name, rdtype)
    assert answer["status"] == status, answer
    assert not answer["records"]


def test_local_data_is_answered_without_a_server(ask):
    assert data(ask("here.test", "A")) == [socket.inet_aton("192.0.2.99")]


def test_large_txt_comes_over_tcp_when_udp_is_too_small(ask, world):
    answer = ask("big.example.test", "TXT")
    assert data(answer) == [b"".join(bytes([letter]) * 250 for letter in b"abcdefgh")]
    transports = [one[2] for one in world[1].queries if str(one[0]) == "big.example.test."]
    assert "tcp" in transports


def test_truncated_answer_is_asked_again_over_tcp(ask):
    assert data(ask("forced.example.test", "A")) == [socket.inet_aton("192.0.2.8")]


def test_silent_server_costs_the_asker_its_timeout_and_no_more(ask):
    start = time.monotonic()
    answer = ask("lost.example.test", "A", timeout_ms=700)
    assert answer["status"] == TRY_LATER and b"in time" in answer["reason"]
    assert 0.5 < time.monotonic() - start < 2


def test_slow_question_does_not_hold_up_others_on_the_same_channel(world):
    asker = Asker(world[0])
    slow = asker.send("slow.example.test", "A")
    fast = asker.send("first.example.test", "A")
    assert asker.channel.receive()[1]["id"] == fast
    answer = asker.channel.receive()[1]
    assert answer["id"] == slow and answer["status"] == FOUND


def test_repeated_question_is_answered_from_the_cache(ask, world):
    for _ in range(5):
        assert ask("second.example.test", "A")["status"] == FOUND
    assert world[1].asked("second.example.test", "A") == 1
    assert ask("second.example.test", "A")["ttl_s"] <= 60


def test_signed_zone_is_secure_and_a_forged_record_is_bogus(ask):
    answer = ask("signed.test", "MX")
    assert answer["status"] == FOUND and answer["is_secure"]
    absent = ask("nobody.signed.test", "A")
    assert absent["status"] == NO_NAME and absent["is_secure"]
    forged = ask("forged.signed.test", "A")
    assert forged["status"] == BOGUS and not forged["records"] and forged["reason"]
    assert not ask("first.example.test", "A")["is_secure"]


def test_malformed_name_or_type_is_answered_and_asks_nobody(ask, world):
    before = len(world[1].queries)
    assert ask("bad name.example.test", "A")["status"] == NO_NAME
    assert ask("a..example.test", "A")["status"] == NO_NAME
    assert ask("x" * 300, "A")["status"] == NO_NAME
    assert ask("first.example.test", 255)["status"] == TRY_LATER
    assert len(world[1].queries) == before


def test_nonsense_ends_only_its_own_channel(world):
    bad, good = Asker(world[0]), Asker(world[0])
    bad.channel.socket.sendall(b"\xff" * 64)
    assert bad.channel.receive() is None
    assert good.ask("first.example.test", "A")["status"] == FOUND


def test_many_askers_at_a_time_are_all_answered(world):
    results = []

    def work(asker):
        for _ in range(50):
            asker.send("first.example.test", "A")
        for _ in range(50):
            results.append(asker.channel.receive()[1]["status"])

    threads = [threading.Thread(target=work, args=(Asker(world[0]),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [FOUND] * 1000


def test_asker_that_leaves_takes_its_questions_along(world):
    asker = Asker(world[0])
    for number in range(20):
        asker.send(f"lost{number}.lost.example.test", "A")
    asker.send("lost.example.test", "A")
    asker.channel.close()
    assert Asker(world[0]).ask("first.example.test", "A")["status"] == FOUND


@pytest.fixture
def place():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="dakiya-resolver-"))
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)


def test_forwarder_on_loopback_is_asked_for_everything(place):
    with DnsServer({"example.org": "@ MX 10 mail\nmail A 192.0.2.30\n"}) as server:
        settings = {"resolver_forwarders": server.where, "resolver_dnssec": "no"}
        with LaunchedDaemon("resolver", place, "private/resolver", settings) as daemon:
            asker = Asker(daemon)
            assert names(asker.ask("example.org", "MX")) == [(10, "mail.example.org")]
            assert asker.ask("nobody.example.org", "MX")["status"] == NO_NAME
            assert asker.ask("example.net", "MX", timeout_ms=3000)["status"] == TRY_LATER


def test_missing_trust_anchor_is_told_and_nothing_is_secure(place):
    with DnsServer({"signed.org": SIGNED}, signed=("signed.org",)) as server:
        settings = {"resolver_forwarders": server.where,
                    "resolver_trust_anchor_file": place / "missing"}
        with LaunchedDaemon("resolver", place, "private/resolver", settings) as daemon:
            answer = Asker(daemon).ask("signed.org", "MX")
            assert answer["status"] == FOUND and not answer["is_secure"]
            assert "DNSSEC is not validated" in daemon.log()


def test_drain_answers_what_is_under_way_then_ends(place):
    slow = {("slow.example.org", "A"): 1.0}
    with DnsServer({"example.org": "slow A 192.0.2.31\n"}, behaviour=slow) as server:
        settings = {"resolver_forwarders": server.where, "resolver_dnssec": "no"}
        daemon = LaunchedDaemon("resolver", place, "private/resolver", settings)
        asker = Asker(daemon)
        asker.send("slow.example.org", "A")
        time.sleep(0.3)
        daemon.control.send("daemon_drain", deadline_ms=10000)
        assert asker.channel.receive()[1]["status"] == FOUND
        assert asker.channel.receive() is None
        assert daemon.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_resolver_runs_as_its_owner_without_privileges_or_files(world):
    status = pathlib.Path(f"/proc/{world[0].process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["64300"] * 4
    assert int(fields["CapEff"], 16) == 0 and fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
