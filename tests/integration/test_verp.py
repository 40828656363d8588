"""VERP: a sender for each recipient, and notices that go there."""
import dakiya
from dakiya import message
from smtp_peer import Peer

LIST = "news@example.test"


def senders(peer):
    return {recipients[0][4:-1]: sender.partition(" ")[0][6:-1]
            for sender, recipients, _ in peer.envelopes if len(recipients) == 1}


def test_each_recipient_has_a_sender_and_its_bounces_go_there(make_host):
    address = dakiya.new_address()
    peer = Peer(address, RCPT=lambda session, argument: session.say(
        "550 5.1.1 gone" if "gone" in argument else "250 Ok"))
    host = make_host(
        users=["news", "alice"],
        settings={"relayhost": f"[{address}]", "recipient_delimiter": "+",
                  "smtpd_authorized_verp_clients": "127.0.0.0/8", "mynetworks": "127.0.0.0/8",
                  "virtual_alias_maps": "inline:{ all@example.test=x@peer.test }",
                  "qmgr_message_recipient_limit": "20000"},
        extra_services="pickup unix n - n 60 1 pickup\n")
    host.start()
    try:
        # Several at once, one by an alias: the list knows it by the address that it wrote to.
        with host.smtp() as client:
            client.ehlo("list.test")
            assert "xverp" in client.esmtp_features
            client.mail(LIST, ["XVERP"])
            for recipient in ("a@peer.test", "b@peer.test", "gone1@peer.test", "gone2@peer.test",
                              "all@example.test", "alice@example.test"):
                assert client.rcpt(recipient)[0] == 250
            client.data(message(sender=LIST))
        dakiya.wait_for("three messages", lambda: len(peer.messages) == 3)
        assert senders(peer) == {"a@peer.test": "news+a=peer.test@example.test",
                                 "b@peer.test": "news+b=peer.test@example.test",
                                 "x@peer.test": "news+all=example.test@example.test"}
        [local] = host.wait_messages("alice")
        assert b"Return-Path: <news+alice=example.test@example.test>" in local
        notices = [text.decode() for text in host.wait_messages("news", 2)]
        told = sorted(line for text in notices for line in text.splitlines()
                      if line.startswith(("X-Original-To:", "Final-Recipient:")))
        assert told == ["Final-Recipient: rfc822; gone1@peer.test",
                        "Final-Recipient: rfc822; gone2@peer.test",
                        "X-Original-To: news+gone1=peer.test@example.test",
                        "X-Original-To: news+gone2=peer.test@example.test"]
        host.wait_queue_empty()

        # Without the wish recipients share a transaction, as ever.
        host.send(LIST, ["a@peer.test", "b@peer.test"], message(sender=LIST))
        dakiya.wait_for("one more", lambda: len(peer.messages) == 4)
        assert len(peer.messages[-1][0]) == 2

        # By sendmail, with delimiters of its own, and what is not allowed.
        def sendmail(*words, check=True):
            return dakiya.run(dakiya.BUILD / "bin" / "sendmail", "-C", host.config, "-f", LIST,
                              *words, stdin="Subject: x\n\nx\n", check=check)
        sendmail("-XV-=", "c@peer.test", "d@peer.test")
        sendmail("-XV", "e@peer.test")
        dakiya.wait_for("three more", lambda: len(peer.messages) == 7)
        assert {"c@peer.test": "news-c=peer.test@example.test",
                "d@peer.test": "news-d=peer.test@example.test",
                "e@peer.test": "news+e=peer.test@example.test"}.items() <= senders(peer).items()
        refused = sendmail("-XV@=", "c@peer.test", check=False)
        assert refused.returncode == 65 and "verp_delimiter_filter" in refused.stderr
        assert sendmail("-XV+", "c@peer.test", check=False).returncode == 64
    finally:
        peer.close()


def test_the_plain_sender_hears_of_all_with_disable_verp_bounces(make_host):
    peer = Peer(dakiya.new_address(), RCPT="550 5.1.1 gone")
    host = make_host(users=["news"], settings={
        "recipient_delimiter": "+", "smtpd_authorized_verp_clients": "127.0.0.0/8",
        "mynetworks": "127.0.0.0/8", "disable_verp_bounces": "yes",
        "relayhost": f"[{peer.address}]"})
    host.start()
    try:
        with host.smtp() as client:
            client.ehlo("list.test")
            client.mail(LIST, ["XVERP"])
            for number in range(3):
                client.rcpt(f"gone{number}@peer.test")
            client.data(message(sender=LIST))
        [notice] = host.wait_messages("news")
        assert b"X-Original-To: news@example.test" in notice
        assert notice.count(b"Final-Recipient:") == 3
    finally:
        peer.close()


def test_it_outlives_a_restart(make_host):
    address = dakiya.new_address()
    host = make_host(settings={"relayhost": f"[{address}]", "mynetworks": "127.0.0.0/8",
                               "smtpd_authorized_verp_clients": "127.0.0.0/8",
                               "minimal_backoff_time": "1s", "maximal_backoff_time": "1s"})
    host.start()
    with host.smtp() as client:
        client.ehlo("list.test")
        client.mail(LIST, ["XVERP=-="])
        client.rcpt("a@peer.test")
        client.rcpt("b@peer.test")
        client.data(message(sender=LIST))
    host.wait_log(r"to=<b@peer\.test>, .* status=deferred \(connect to ")
    host.stop()
    peer = Peer(address)
    host.start()
    try:
        dakiya.wait_for("both", lambda: len(peer.messages) == 2)
        assert senders(peer) == {"a@peer.test": "news-a=peer.test@example.test",
                                 "b@peer.test": "news-b=peer.test@example.test"}
    finally:
        peer.close()
