"""ETRN: a client asks for what waits for a domain; and the same by hand."""
import dakiya
from dakiya import message
from smtp_peer import Peer


def test_what_waits_for_a_domain_is_tried_when_its_host_asks(make_host):
    address = dakiya.new_address()
    down = {"one.test", "two.test", "three.test"}

    def rcpt(session, argument):
        domain = argument.partition("@")[2].rstrip(">")
        session.say("450 4.2.0 away" if domain in down else "250 Ok")

    peer = Peer(address, RCPT=rcpt)
    host = make_host(settings={
        "relay_domains": "one.test, two.test, three.test", "relay_transport": f"relay:[{address}]",
        "fast_flush_domains": "one.test, two.test", "authorized_flush_users": "root",
        "minimal_backoff_time": "1h", "maximal_backoff_time": "1h",
        "smtpd_etrn_restrictions": "check_etrn_access inline:{two.test=REJECT}"},
        extra_services="flush unix n - n 1000? 0 flush\n")
    host.start()
    try:
        for domain in sorted(down):
            host.send("carol@elsewhere.test", f"x@{domain}", message(to=f"x@{domain}"))
        for domain in sorted(down):
            host.wait_log(rf"to=<x@{domain}>, .* status=deferred")
        down.clear()
        with host.smtp() as client:
            client.ehlo("client.test")
            assert "etrn" in client.esmtp_features
            assert client.docmd("ETRN", "two.test")[0] == 554
            assert client.docmd("ETRN", "three.test") == \
                (459, b"4.7.1 <three.test>: service unavailable")
            assert client.docmd("ETRN", "one.test") == (250, b"2.0.0 Queuing started")
            dakiya.wait_for("the mail that was asked for", lambda: peer.messages)
            assert client.docmd("ETRN", "one.test")[0] == 250  # nothing waits: the same
        host.wait_log(r"smtpd\[\d+\]: ETRN one\.test from \S+\[")
        assert [recipients for recipients, _ in peer.messages] == [["TO:<x@one.test>"]]
        # By hand: any domain.
        host.tool("postqueue", "-s", "three.test")
        dakiya.wait_for("three's mail", lambda: len(peer.messages) == 2)
        host.tool("postqueue", "-s", "two.test")
        dakiya.wait_for("two's mail", lambda: len(peer.messages) == 3)
    finally:
        peer.close()
