"""Cases of address rewriting, and what a host made of them: shared by our test and by the recorder.

A host under test relays everything to a Peer; what arrives there is the result.
"""
import smtplib
import time

import dakiya
from smtp_peer import Peer

TABLES = {
    "canonical_maps": "inline:{ both=Both.Name@canon.test, both2@far.test=both3@far.test, "
                      "both3@far.test=both4@far.test, @whole.test=@new.test, "
                      "only@ext.test=mapped@ext.test, only+full@ext.test=exact@ext.test, "
                      "name@far.test=short }",
    "sender_canonical_maps": "inline:{ snd@far.test=both2@far.test, snd=sender@canon.test }",
    "recipient_canonical_maps": "inline:{ rcp@far.test=both2@far.test, rcp=rcpt@canon.test }",
    "masquerade_domains": "sub.masq.test, !keep.masq.test, masq.test",
    "masquerade_exceptions": "root, admin",
    "sender_bcc_maps": "inline:{ watched@far.test=copy+s@far.test }",
    "recipient_bcc_maps": "inline:{ archived@far.test=copyr, @archive.test=all@far.test }",
    "virtual_alias_domains": "alias.test",
    "virtual_alias_maps": "inline:{ one@alias.test=a@far.test, "
                          "{ two@alias.test = one@alias.test, b@far.test, plain }, "
                          "{ self@far.test = self@far.test, c@far.test }, "
                          "@alias.test=@catch.test, ext@far.test=extended@far.test, "
                          "copyr=archive@far.test }",
}
COMMON = {
    "mydomain": "example.test", "myorigin": "example.test",
    "mydestination": "mail.example.test, localhost", "recipient_delimiter": "+",
    "local_recipient_maps": "", "virtual_mailbox_domains": "", "virtual_mailbox_maps": "",
    "smtp_tls_security_level": "none",
}
GENERIC = {
    "smtp_generic_maps": "inline:{ alice=alice@isp.test, @lan.test=all+lan@isp.test, "
                         "one@far.test=two@far.test, two@far.test=three@far.test, "
                         "ext@far.test=gen@far.test }",
}
VARIANTS = {
    "tables": TABLES,
    "dot": {"append_dot_mydomain": "yes", "masquerade_domains": "$mydomain",
            "masquerade_classes": "envelope_recipient, header_sender",
            "canonical_maps": "inline:{ c@far.test=d@far.test }",
            "canonical_classes": "header_recipient, envelope_sender",
            "propagate_unmatched_extensions": "", "enable_original_recipient": "no",
            "virtual_alias_maps": "inline:{ x@far.test=same@far.test, y@far.test=same@far.test, "
                                  "ext@far.test=extended@far.test }"},
    "plain": {"swap_bangpath": "no", "allow_percent_hack": "no"},
    "generic": GENERIC,
}
ADDRESSES = [
    "user", "User", "both", "both+ext", "both@mail.example.test", "both@far.test",
    "both2@far.test", "both3@far.test", "x@whole.test", "x+e@whole.test", "only@ext.test",
    "only+e@ext.test", "only+full@ext.test", "name@far.test", "snd", "snd@far.test",
    "snd+e@far.test", "rcp", "rcp@far.test", "u@a.sub.masq.test", "u@sub.masq.test",
    "u@b.masq.test", "u@masq.test", "u@c.keep.masq.test", "root@b.masq.test", "Admin@b.masq.test",
    "u@host", "u@host.example.test", "c@far.test", "c+e@far.test", "far.test!user", "a!b!user",
    "user%far.test", "user%a.test%b.test", "USER@FAR.TEST", "\"a b\"@far.test", "\"a!b\"@far.test",
    "alice", "alice@mail.example.test", "alice+x", "any@lan.test", "one@far.test", "ext@far.test",
    "ext+e@far.test", "watched@far.test", "mailer-daemon", "MAILER-DAEMON@example.test",
]
RECIPIENTS = ADDRESSES[:-2] + [
    "one@alias.test", "two@alias.test", "any@alias.test", "any+e@alias.test", "self@far.test",
    "archived@far.test", "z@archive.test", "postmaster@far.test",
]
PAIRS = [("x@far.test", "y@far.test"), ("x@far.test", "X@far.test"),
         ("x@far.test", "same@far.test"), ("one@alias.test", "two@alias.test"),
         ("archived@far.test", "copyr")]
FIELDS = [f"{name}: {address}" for address in ADDRESSES for name in ("Cc", "Reply-To")] + [
    "Cc: Joe Doe <joe>, \"Doe, Joe\" <joe@far.test>, x (home)",
    "Cc: (c1) joe (c2 (nested))",
    "Cc: Team: joe, Jane <jane@b.masq.test>;, x@far.test",
    "Cc: undisclosed-recipients:;",
    "Cc: =?utf-8?Q?J=C3=B6rg?= <joerg@b.masq.test>",
    "Cc: <@relay.test,@other.test:joe@b.masq.test>",
    "Cc: joe @ b . masq . test",
    "Cc: joe@[192.0.2.1], joe@far.test.",
    "Cc: <>",
    "Cc: \"joe.doe\", joe.doe",
    "Cc: a@b.masq.test,\r\n\tb@b.masq.test,\r\n c@b.masq.test",
    "Subject: joe, root@b.masq.test",
    "X-To: joe",
    "Errors-To: snd@far.test", "Return-Receipt-To: snd@far.test", "Sender: snd@far.test",
    "Disposition-Notification-To: snd@far.test", "Mail-Followup-To: snd@far.test",
    "Resent-From: snd@far.test", "Resent-Sender: snd@far.test", "Resent-To: snd@far.test",
    "Resent-Reply-To: snd@far.test", "Resent-Cc: rcp@far.test", "Apparently-To: rcp@far.test",
    "Delivered-To: rcp@far.test", "Message-Id: <snd@far.test>",
]


def send(address, port, sender, recipients, text):
    """One message, commands as they are. False: a recipient was refused."""
    with smtplib.SMTP(address, port, source_address=(address, 0), timeout=30) as client:
        client.ehlo("client.test")
        assert client.docmd(f"MAIL FROM:<{sender}>")[0] == 250
        for recipient in recipients:
            if client.docmd(f"RCPT TO:<{recipient}>")[0] != 250:
                return False
        assert client.docmd("DATA")[0] == 354
        lines = text.replace("\r\n", "\n").replace("\n", "\r\n")
        client.send(lines.encode() + b"\r\n.\r\n")
        code, reply = client.getreply()
        assert code == 250, reply
    return True


def path_of(argument):
    """The address in "FROM:<address> SIZE=1"."""
    return argument.split(":", 1)[1].partition(">")[0].lstrip("<")


def wait_until_quiet(peer, least):
    """Until least messages have come, and no more of them."""
    end, count, since = time.monotonic() + 120, -1, 0
    while time.monotonic() < end:
        if len(peer.envelopes) != count:
            count, since = len(peer.envelopes), time.monotonic()
        if count >= least and time.monotonic() - since > 2:
            return
        time.sleep(0.1)
    raise AssertionError(f"{len(peer.envelopes)} of {least} messages came")


def observe(address, port, peer, _read_log=None):
    """(kind, case) -> result: S and R the envelope's sender and recipients, H a header field."""
    text = "From: x@y.test\nTo: z@y.test\nDate: Tue, 24 Nov 2026 09:15:02 +0000\n" \
           "Message-Id: <1@x>\nX-Case: {}\n\nbody"
    cases = [("S", sender, sender, ["sink@far.test"]) for sender in ADDRESSES]
    cases += [("R", " ".join(group), "s@far.test", group)
              for group in [(one,) for one in RECIPIENTS] + PAIRS]
    sent = {}
    for number, (kind, case, sender, recipients) in enumerate(cases):
        marker = f"{kind}{number}"
        if send(address, port, sender, recipients, text.format(marker)):
            sent[marker] = (kind, case)
    fields = "".join(f"X-Field: {n}\r\n{field}\r\n" for n, field in enumerate(FIELDS))
    send(address, port, "s@far.test", ["sink@far.test"],
         "X-Case: H\r\n" + fields + "X-Field: end\r\nFrom: x@y.test\r\nTo: z@y.test\r\n"
         "Date: Tue, 24 Nov 2026 09:15:02 +0000\r\nMessage-Id: <1@x>\r\n\r\nCc: joe")
    wait_until_quiet(peer, len(sent) + 1)
    results = {(kind, case): "refused" for kind, case, _, _ in cases}
    recipients = {}
    for sender, paths, content in peer.envelopes:
        marker = content.decode().split("X-Case: ", 1)[1].partition("\r\n")[0]
        kind, case = sent.get(marker, ("H", ""))
        if kind == "S":
            results[kind, case] = path_of(sender)
        elif kind == "R":
            recipients.setdefault(case, []).extend(path_of(path) for path in paths)
        else:
            assert content.endswith(b"\r\n\r\nCc: joe\r\n")
            for n, field in enumerate(FIELDS):
                rest = content.decode().split(f"X-Field: {n}\r\n", 1)[1]
                results["H", field] = ("\r\n" + rest).split("\r\nX-Field: ", 1)[0][2:]
    results |= {("R", case): " ".join(sorted(found)) for case, found in recipients.items()}
    return results


def recorded(text):
    """(kind, case) -> (our result, Postfix's) of the lines of a recording."""
    found, case = {}, None
    for line in text.splitlines():
        kind, _, text = line.partition(" ")
        text = text.encode().decode("unicode_escape").encode("latin-1").decode()
        if kind == "D":
            found[case] = (text, text)
        elif kind == "P":
            found[case] = (found[case][0], text)
        elif kind != "#":
            case = (kind, text)
    return found


def escaped(text):
    """On one line of the recording."""
    return text.encode("unicode_escape").decode()


def transports(sink):
    """Everything goes to the sink."""
    return {name: f"smtp:[{sink}]:2525" for name in ("local_transport", "default_transport")}


def make_host(directory, settings):
    """Our host with a variant's settings, and the Peer that gets all its mail."""
    sink = dakiya.new_address()
    peer = Peer(sink, offers=["8BITMIME", "SMTPUTF8"])
    host = dakiya.Host(directory, users=(), settings=COMMON | transports(sink) | {
        "relayhost": f"[{sink}]:2525", "smtpd_peername_lookup": "no",
        "smtpd_client_connection_count_limit": "0"} | settings)
    try:
        host.start()
    except AssertionError:
        peer.close()
        raise
    return host, peer
