#!/usr/bin/python3
"""An authoritative DNS server for tests and the demo: zones from text, UDP and TCP, DNSSEC.

As a library:
    with DnsServer({"example.test": "@ MX 10 mail\\nmail A 192.0.2.1\\n"}) as server:
        ... resolver_stub_zones = { example.test {server.where} } ...
As a program: dns_server.py ADDRESS PORT ZONE=FILE ...

A zone needs no SOA and NS: they are added. `behaviour` makes names misbehave, `signed` names the
zones to be signed (ECDSA P-256, NSEC); their keys are in trust_anchors().
"""
import socket
import struct
import sys
import threading
import time

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone

TTL = 60


class Zone:
    """One zone, ready to answer from."""

    def __init__(self, origin, text, is_signed=False):
        self.origin = dns.name.from_text(origin)
        head = f"$ORIGIN {self.origin}\n$TTL {TTL}\n"
        if " SOA " not in text:
            head += f"@ SOA ns hostmaster 1 3600 600 86400 {TTL}\n"
        if " NS " not in text:
            head += "@ NS ns\nns A 127.0.0.1\n"
        self.zone = dns.zone.from_text(head + text, origin=self.origin, relativize=False,
                                       check_origin=False)
        self.is_signed = is_signed
        self.signatures = {}
        if is_signed:
            self.make_keys()
            self.make_nsec()

    def make_keys(self):
        from cryptography.hazmat.primitives.asymmetric import ec
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.key = dns.dnssec.make_dnskey(self.private.public_key(),
                                          dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
        self.zone.find_rdataset(self.origin, "DNSKEY", create=True).add(self.key, TTL)

    def make_nsec(self):
        names = sorted(self.zone.keys())
        for index, name in enumerate(names):
            types = [rdataset.rdtype for rdataset in self.zone.find_node(name)]
            types = sorted({*types, dns.rdatatype.NSEC, dns.rdatatype.RRSIG})
            following = names[(index + 1) % len(names)]
            text = f"{following} " + " ".join(dns.rdatatype.to_text(one) for one in types)
            rdata = dns.rdata.from_text("IN", "NSEC", text)
            self.zone.find_rdataset(name, "NSEC", create=True).add(rdata, TTL)

    def signature(self, rrset):
        key = (rrset.name, rrset.rdtype)
        if key not in self.signatures:
            now = int(time.time())
            self.signatures[key] = dns.rrset.from_rdata(rrset.name, TTL, dns.dnssec.sign(
                rrset, self.private, self.origin, self.key, inception=now - 3600,
                expiration=now + 86400))
        return self.signatures[key]

    def find(self, name, rdtype):
        rdataset = self.zone.get_rdataset(name, rdtype)
        if rdataset is None:
            return None
        rrset = dns.rrset.RRset(name, dns.rdataclass.IN, rdtype)
        rrset.update(rdataset)
        return rrset

    def exists(self, name):
        return any(one.is_subdomain(name) for one in self.zone.keys())

    def covering_nsec(self, name):
        owner = max((one for one in self.zone.keys() if one <= name), default=self.origin)
        return self.find(owner, dns.rdatatype.NSEC)


class DnsServer:
    """behaviour: (name, type) -> drop, servfail, refused, truncate, short, bogus, or seconds."""

    def __init__(self, zones, address="127.0.0.1", port=0, signed=(), behaviour=None):
        self.zones = [Zone(origin, text, origin in signed) for origin, text in zones.items()]
        self.behaviour = {(dns.name.from_text(name), dns.rdatatype.from_text(rdtype)): what
                          for (name, rdtype), what in (behaviour or {}).items()}
        self.queries = []  # (name, type, "udp" or "tcp")
        self.address = address
        self.udp, self.tcp, self.port = self._bind(port)
        self.is_stopping = False
        self.threads = [threading.Thread(target=self._serve_udp, daemon=True),
                        threading.Thread(target=self._serve_tcp, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _bind(self, port):
        for _ in range(100):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((self.address, port))
            chosen = udp.getsockname()[1]
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind((self.address, chosen))
                tcp.listen(50)
                return udp, tcp, chosen
            except OSError:
                udp.close()
                tcp.close()
                if port:
                    raise
        raise OSError("no port is free for UDP and TCP")

    @property
    def where(self):
        return f"{self.address}@{self.port}"

    def trust_anchors(self):
        return "".join(f"{zone.origin} {TTL} IN DNSKEY {zone.key.to_text()}\n"
                       for zone in self.zones if zone.is_signed)

    def asked(self, name, rdtype):
        """How often that question came."""
        wanted = (dns.name.from_text(name), dns.rdatatype.from_text(rdtype))
        return sum(1 for one in self.queries if one[:2] == wanted)

    # ---- answering ----

    def _zone_of(self, name):
        fitting = [zone for zone in self.zones if name.is_subdomain(zone.origin)]
        return max(fitting, key=lambda zone: len(zone.origin.labels), default=None)

    @staticmethod
    def _add(section, zone, rrset, want_dnssec):
        section.append(rrset)
        if zone.is_signed and want_dnssec:
            section.append(zone.signature(rrset))

    def answer(self, query):
        reply = dns.message.make_response(query)
        question = query.question[0]
        name, rdtype = question.name, question.rdtype
        want_dnssec = bool(query.ednsflags & dns.flags.DO)
        reply.flags |= dns.flags.AA
        for _ in range(16):
            zone = self._zone_of(name)
            if zone is None:
                if not reply.answer:
                    reply.set_rcode(dns.rcode.REFUSED)
                return reply
            rrset = zone.find(name, rdtype)
            if rrset is not None:
                self._add(reply.answer, zone, rrset, want_dnssec)
                return reply
            alias = zone.find(name, dns.rdatatype.CNAME)
            if alias is None:
                break
            self._add(reply.answer, zone, alias, want_dnssec)
            name = alias[0].target
        if not zone.exists(name):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        self._add(reply.authority, zone, zone.find(zone.origin, dns.rdatatype.SOA), want_dnssec)
        if zone.is_signed and want_dnssec:
            proofs = [zone.covering_nsec(name)]
            if reply.rcode() == dns.rcode.NXDOMAIN:
                wildcard = zone.covering_nsec(dns.name.from_text("*", zone.origin))
                proofs += [wildcard] if wildcard.name != proofs[0].name else []
            for proof in proofs:
                self._add(reply.authority, zone, proof, want_dnssec)
        return reply

    def _respond(self, wire, transport):
        """Bytes to send back, or None."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        self.queries.append((question.name, question.rdtype, transport))
        what = self.behaviour.get((question.name, question.rdtype))
        if what == "drop":
            return None
        if isinstance(what, (int, float)):
            time.sleep(what)
        reply = self.answer(query)
        if what in ("servfail", "refused"):
            reply = dns.message.make_response(query)
            reply.set_rcode(dns.rcode.from_text(what.upper()))
        if what == "bogus":
            self._spoil(reply)
        data = reply.to_wire(max_size=65535)
        if what == "short":
            data = self._cut_record(data)
        limit = max(query.payload, 512) if transport == "udp" else 65535
        if transport == "udp" and (what == "truncate" or len(data) > limit):
            reply.flags |= dns.flags.TC
            reply.answer, reply.authority, reply.additional = [], [], []
            data = reply.to_wire()
        return data

    @staticmethod
    def _spoil(reply):
        """Another address than the one that was signed."""
        for rrset in reply.answer:
            if rrset.rdtype == dns.rdatatype.A:
                wrong = dns.rdata.from_text("IN", "A", "192.0.2.66")
                rrset.clear()
                rrset.add(wrong, TTL)

    @staticmethod
    def _cut_record(data):
        """The first answer's rdata one byte shorter than its type needs."""
        at = data.index(b"\xc0\x0c", 12)
        length = struct.unpack(">H", data[at + 10:at + 12])[0]
        return (data[:at + 10] + struct.pack(">H", length - 1) + data[at + 12:at + 12 + length - 1] +
                data[at + 12 + length:])

    # ---- sockets ----

    def _udp_one(self, data, client):
        try:
            reply = self._respond(data, "udp")
            if reply is not None:
                self.udp.sendto(reply, client)
        except (dns.exception.DNSException, OSError, IndexError, ValueError):
            pass

    def _serve_udp(self):
        while not self.is_stopping:
            try:
                data, client = self.udp.recvfrom(65535)
            except OSError:
                return
            threading.Thread(target=self._udp_one, args=(data, client), daemon=True).start()

    def _tcp_one(self, connection):
        with connection:
            connection.settimeout(10)
            try:
                while True:
                    head = connection.recv(2, socket.MSG_WAITALL)
                    if len(head) < 2:
                        return
                    data = connection.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
                    reply = self._respond(data, "tcp")
                    if reply is not None:
                        connection.sendall(struct.pack(">H", len(reply)) + reply)
            except (dns.exception.DNSException, OSError, IndexError, ValueError):
                return

    def _serve_tcp(self):
        while not self.is_stopping:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._tcp_one, args=(connection,), daemon=True).start()

    def close(self):
        self.is_stopping = True
        for one in (self.udp, self.tcp):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    if len(sys.argv) < 4:
        sys.exit("usage: dns_server.py ADDRESS PORT ZONE=FILE ...")
    zones = {}
    for word in sys.argv[3:]:
        name, _, path = word.partition("=")
        with open(path, encoding="ascii") as file:
            zones[name] = file.read()
    DnsServer(zones, sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
