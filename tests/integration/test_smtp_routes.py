"""Where mail goes: MX records of every kind, DNS that fails, transports, relays, literals.

Most tests share one host; its domains and their servers are in the fixture `world`.
"""
import re
import socket

import pytest

import dakiya
from dakiya import message
from dns_server import DnsServer
from smtp_peer import Peer

PORT = 2525


def free_port6():
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return probe.getsockname()[1]


class World:
    """One host, a DNS server for the domain test. and SMTP servers by name."""

    def __init__(self, directory, authority):
        self.peers, self.dead = {}, dakiya.new_address()
        own, port6 = dakiya.new_address(), free_port6()
        for name in ("one", "two", "three", "alias", "implicit", "bracket", "nexthop", "literal",
                     "mixed"):
            self.peers[name] = Peer(dakiya.new_address(), offers=["PIPELINING"])
        self.address = {name: peer.address for name, peer in self.peers.items()}
        self.peers["six"] = Peer("::1", port6, offers=["PIPELINING"])
        at = self.address
        zone = f"""
null MX 0 .
noaddress MX 10 nothing.noaddress
nothing.noaddress TXT "no address here"
nomx TXT "neither MX nor address"
gone MX 10 nowhere.test.
implicit A {at['implicit']}
cname CNAME target
target MX 10 mx.target
mx.target CNAME real.target
real.target A {at['alias']}
dead MX 10 d1.dead
dead MX 20 d2.dead
dead MX 30 d3.dead
d1.dead A {self.dead}
d2.dead A {at['one']}
d3.dead A {at['three']}
alldead MX 10 d1.dead
half MX 10 servfail.half
half MX 20 d2.dead
servfail.half A 127.0.0.1
soft MX 10 d2.dead
softmx MX 10 servfail.half
self MX 10 d1.dead
self MX 20 self.self
self MX 30 d2.dead
self.self A {own}
worse MX 20 mail.example.test.
mail.example A {own}
worse MX 30 d2.dead
mixed MX 10 six.mixed
six.mixed AAAA ::1
six.mixed A {at['mixed']}
bracket.host A {at['bracket']}
bracket.host MX 10 d1.dead
hop MX 10 mx.hop
mx.hop A {at['nexthop']}
"""
        self.dns = DnsServer({"test": zone}, behaviour={("servfail.half.test", "A"): "servfail",
                                                        ("servfail.half.test", "AAAA"): "servfail",
                                                        ("soft.test", "MX"): "servfail"})
        transports = ("{map1.test = error:5.7.1 closed for repairs} {map2.test = error:}"
                      " {map3.test = retry:4.7.0 come again} {map4.test = discard:}"
                      " {map5.test = smtp:[bracket.host.test]:2525} {map6.test = smtp:hop.test}"
                      " {map7.test = :hop.test} {.sub.test = smtp:[bracket.host.test]}"
                      f" {{map8.test = smtp:[::1]:{port6}}} {{map9.test = smtp:[nosuch.test]}}"
                      " {user@map10.test = relay:[bracket.host.test]} {map10.test = error:no}"
                      " {map11.test = smtp:[bracket.host.test]:http} {map12.test = nosuch:x}"
                      f" {{map13.test = smtp:[{self.dead}], [bracket.host.test]:2525}}")
        self.host = dakiya.Host(
            directory, address=own, authority=authority, users=["alice"],
            settings={"mynetworks": "127.0.0.0/8", "resolver_stub_zones": f"{{ test {self.dns.where} }}",
                      "resolver_dnssec": "no", "inet_protocols": "all",
                      "resolver_timeout": "3s", "transport_retry_time": "1s", "smtp_address_preference": "ipv6",
                      "smtpd_reject_unlisted_recipient": "no",  # or RCPT would refuse error:
                      "transport_maps": f"inline:{{ {transports} }}"})

    def result(self, recipient):
        """The log line of the first result for a message to recipient."""
        self.host.send("alice@example.test", recipient, message(to="somebody"))
        return self.host.wait_log(rf"to=<{re.escape(recipient)}>, .*status=.*$").group()

    def got(self, name, recipient):
        return any(f"TO:<{recipient}>" in one for recipients, _ in self.peers[name].messages
                   for one in recipients)


@pytest.fixture(scope="module")
def world(authority):
    directory = dakiya.new_directory("host")
    world = World(directory, authority)
    world.host.start()
    yield world
    world.host.stop(check=False)
    world.dns.close()
    for peer in world.peers.values():
        peer.close()
    try:
        world.host.check_log()
    finally:
        dakiya.remove_directory(directory)


NOT_FOUND = "Host or domain name not found. Name service error for name="


@pytest.mark.parametrize("domain, dsn, status, reason", [
    ("null.test", "5.1.0", "bounced", "Domain null.test does not accept mail (nullMX)"),
    ("noaddress.test", "5.4.4", "bounced", "unable to look up host nothing.noaddress.test"),
    ("gone.test", "5.4.4", "bounced", "unable to look up host nowhere.test"),
    ("nosuch.test", "5.4.4", "bounced", NOT_FOUND + "nosuch.test type=MX: Host not found"),
    ("nomx.test", "5.4.4", "bounced", NOT_FOUND + "nomx.test type=A: Host found but no data "
     "record of requested type"),
    ("soft.test", "4.4.3", "deferred", NOT_FOUND + "soft.test type=MX: Host not found, try again"),
    ("softmx.test", "4.4.3", "deferred", NOT_FOUND),
    ("worse.test", "5.4.6", "bounced", "mail for worse.test loops back to myself"),
    ("map1.test", "5.7.1", "bounced", "closed for repairs"),
    ("map2.test", "5.0.0", "bounced", ""),
    ("map3.test", "4.7.0", "deferred", "come again"),
    ("map4.test", "2.0.0", "sent", "map4.test"),
    ("map9.test", "5.4.4", "bounced", NOT_FOUND + "nosuch.test type=A: Host not found"),
    ("map10.test", "5.0.0", "bounced", "no"),
    ("map11.test", "4.3.5", "deferred", 'bad port "http" in the next hop'),
    ("map12.test", "4.3.0", "deferred", "mail transport unavailable"),
])
def test_who_cannot_be_reached_and_why(world, domain, dsn, status, reason):
    line = world.result(f"bob@{domain}")
    assert re.search(rf"relay=none, .*dsn=({dsn}), status={status} \({re.escape(reason)}", line), \
        line


@pytest.mark.parametrize("recipient, peer, relay", [
    ("bob@implicit.test", "implicit", "implicit.test"),
    ("bob@cname.test", "alias", "(mx|real).target.test"),
    ("bob@dead.test", "one", "d2.dead.test"),
    ("bob@half.test", "one", "d2.dead.test"),
    ("bob@mixed.test", "mixed", "six.mixed.test"),
    ("bob@map5.test", "bracket", "bracket.host.test"),
    ("bob@map6.test", "nexthop", "mx.hop.test"),
    ("bob@map7.test", "nexthop", "mx.hop.test"),
    ("bob@deep.sub.test", "bracket", "bracket.host.test"),
    ("bob@map8.test", "six", "::1"),
    ("user@map10.test", "bracket", "bracket.host.test"),
    ("bob@map13.test", "bracket", "bracket.host.test"),
])
def test_mail_reaches_the_right_server(world, recipient, peer, relay):
    line = world.result(recipient)
    assert re.search(rf"relay={relay}\[[\d.:a-f]+\]:\d+, .*status=sent", line), line
    assert world.got(peer, recipient)


def test_hosts_not_preferred_to_ourselves_are_not_tried(world):
    line = world.result("bob@self.test")
    assert "Connection refused" in line and "status=deferred" in line
    assert not world.got("one", "bob@self.test")


def test_all_hosts_dead_is_deferred_with_the_last_connect_error(world):
    line = world.result("bob@alldead.test")
    assert re.search(rf"relay=none, .*dsn=4.4.1, status=deferred \(connect to d1.dead.test"
                     rf"\[{world.dead}\]:{PORT}: Connection refused\)", line), line


def test_an_address_literal_is_delivered_to_that_address(world):
    address = world.address["literal"]
    line = world.result(f"bob@[{address}]")
    assert re.search(rf"relay={address}\[{address}\]:{PORT}, .*status=sent", line), line
    assert world.got("literal", f"bob@[{address}]")


def relayed(make_host, dns, **settings):
    host = make_host(users=["alice"], dns_records=dns, settings={
        "mynetworks": "127.0.0.0/8"} | settings)
    host.start()
    host.send("alice@example.test", "bob@anywhere.test", message(to="bob@anywhere.test"))
    return host.wait_log(r"to=<bob@anywhere.test>, .*status=.*$").group()


@pytest.mark.parametrize("relayhost, taken", [
    ("relay.test", "mx"), ("[relay.test]", "host"), ("[relay.test]:2525", "host"),
    ("relay.test:2525", "mx"), ("[{host}]", "host"),
])
def test_relayhost_with_brackets_is_a_host_and_without_a_domain(make_host, relayhost, taken):
    address = {"mx": dakiya.new_address(), "host": dakiya.new_address()}
    peers = {name: Peer(one) for name, one in address.items()}
    line = relayed(make_host, ["relay.test. 300 IN MX 5 mx.relay.test.",
                               f"mx.relay.test. 300 IN A {address['mx']}",
                               f"relay.test. 300 IN A {address['host']}"],
                   relayhost=relayhost.format(**address))
    assert f"[{address[taken]}]:2525" in line and "status=sent" in line, line
    for peer in peers.values():
        peer.close()


@pytest.mark.parametrize("domain", ["dead", "refusing", "missing"])
def test_fallback_relay_takes_what_has_no_host_or_cannot_be_delivered_now(make_host, domain):
    dead, refusing, fallback = (dakiya.new_address() for _ in range(3))
    peers = [Peer(fallback), Peer(refusing, MAIL="450 4.3.2 not now")]
    records = {"dead": [f"anywhere.test. 300 IN A {dead}"],
               "refusing": [f"anywhere.test. 300 IN A {refusing}"], "missing": []}[domain]
    line = relayed(make_host, records + [f"fall.test. 300 IN A {fallback}"],
                   smtp_fallback_relay="[fall.test]:2525")
    assert re.search(r"relay=fall.test\[.*status=sent", line), line
    for peer in peers:
        peer.close()


def test_recipients_are_parted_over_two_hosts(make_host):
    """The first host takes one, refuses one for good and puts one off; the second is asked for
    what was put off only."""
    first, second = dakiya.new_address(), dakiya.new_address()
    answers = {"TO:<a@part.test>": "250 2.1.5 Ok", "TO:<b@part.test>": "550 5.1.1 no b",
               "TO:<c@part.test>": "452 4.5.3 not c here"}
    one = Peer(first, offers=["PIPELINING"],
               RCPT=lambda session, text: session.say(answers[text]))
    two = Peer(second, offers=["PIPELINING"], RCPT=lambda session, text: session.say(
        "250 2.1.5 Ok" if "<c@" in text else "550 5.1.1 wrong host"))
    host = make_host(users=["alice"], settings={"mynetworks": "127.0.0.0/8"}, dns_records=[
        "part.test. 300 IN MX 1 one.part.test.", "part.test. 300 IN MX 2 two.part.test.",
        f"one.part.test. 300 IN A {first}", f"two.part.test. 300 IN A {second}"])
    host.start()
    host.send("alice@example.test", ["a@part.test", "b@part.test", "c@part.test"], message())
    host.wait_log(r"to=<a@part.test>, relay=one\.part\.test.*status=sent")
    host.wait_log(r"to=<b@part.test>, relay=one\.part\.test.*status=bounced .*550 5.1.1 no b")
    host.wait_log(r"to=<c@part.test>, relay=two\.part\.test.*status=sent")
    assert [c for c in two.commands if c.startswith("RCPT")] == ["RCPT TO:<c@part.test>"]
    host.wait_queue_empty()
    one.close()
    two.close()
