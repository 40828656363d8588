"""content_filter: mail goes through a filter (as amavis is set up) and comes back once."""
import smtplib

import pytest

import dakiya
from dakiya import message
from smtp_peer import Peer

pytestmark = pytest.mark.sanitized


@pytest.fixture
def filtered(make_host):
    """A host whose mail passes a filter that marks it and hands it back; and the filter."""
    address = dakiya.new_address()
    host = make_host(
        settings={"content_filter": f"scan:[{address}]:10024"},
        extra_services=f"""scan unix - - n - 2 smtp -o smtp_send_xforward_command=yes
{address}:10025 inet n - n - - smtpd
  -o content_filter= -o smtpd_authorized_xforward_hosts=127.0.0.0/8
  -o smtpd_recipient_restrictions=permit_mynetworks,reject -o mynetworks=127.0.0.0/8
""")
    peer = Peer(address, port=10024, offers=["PIPELINING", "XFORWARD NAME ADDR PORT HELO IDENT"])
    host.start()
    yield host, peer, address
    peer.close()


def hand_back(peer, address, sender):
    recipients, content = peer.messages[-1]
    told = next(command for command in peer.commands if command.startswith("XFORWARD"))
    with smtplib.SMTP(address, 10025, "filter.test", timeout=20) as client:
        client.ehlo()
        assert "xforward" in client.esmtp_features
        assert client.docmd(told)[0] == 250
        client.sendmail(sender, [recipients[0][4:-1]], b"X-Scanned: yes\r\n" + content)


def test_mail_goes_through_the_filter_and_the_log_joins_both_halves(filtered):
    host, peer, address = filtered
    host.send("carol@elsewhere.test", ["alice@example.test"], message())
    dakiya.wait_for("the filter's copy", lambda: peer.messages)
    told = " ".join(command for command in peer.commands if command.startswith("XFORWARD"))
    queue_id = dict(word.split("=", 1) for word in told.split()[1:])["IDENT"]
    assert "ADDR=127.0.0.1" in told and "HELO=client.test" in told and "PROTO" not in told
    assert not host.messages("alice")
    hand_back(peer, address, "carol@elsewhere.test")
    [content] = host.wait_messages("alice")
    assert b"X-Scanned: yes" in content
    host.wait_log(rf"client=\S+\[127\.\d+\.\d+\.\d+\], orig_queue_id={queue_id}, "
                  r"orig_client=localhost\[127\.0\.0\.1\]$")
    host.wait_queue_empty()
    assert len(peer.messages) == 1


def test_only_authorised_clients_may_forward_and_only_outside_a_transaction(filtered):
    host, _, address = filtered
    with host.smtp() as client:
        client.ehlo("client.test")
        assert "xforward" not in client.esmtp_features
        assert client.docmd("XFORWARD ADDR=192.0.2.1")[0] == 550
    with smtplib.SMTP(address, 10025, "filter.test", timeout=20) as client:
        client.ehlo()
        assert client.docmd("XFORWARD")[0] == 501
        assert client.docmd("XFORWARD NONSENSE=1")[0] == 501
        assert client.docmd("XFORWARD NAME=spike.test ADDR=192.0.2.7")[0] == 250
        assert client.docmd("XFORWARD IDENT=+41+0ABC")[0] == 501
        client.mail("carol@elsewhere.test")
        assert client.docmd("XFORWARD ADDR=192.0.2.1")[0] == 503
        client.rcpt("bob@example.test")
        assert client.data(message())[0] == 250
        # What was told is gone with the transaction.
        client.sendmail("carol@elsewhere.test", ["bob@example.test"], message())
    host.wait_log(r"orig_client=spike\.test\[192\.0\.2\.7\]")
    assert host.log().count("orig_client=") == 1
    # It decides nothing: the filter's own address was what the restrictions saw.
    assert len(host.wait_messages("bob", 2)) == 2


def test_what_is_told_is_bounded_and_forgotten_message_by_message(filtered):
    host, _, address = filtered
    told = "XFORWARD NAME=" + "n" * 200 + " ADDR=192.0.2.7"
    with smtplib.SMTP(address, 10025, "filter.test", timeout=20) as client:
        client.ehlo()
        for _ in range(200):
            assert client.docmd(told)[0] == 250
            client.sendmail("carol@elsewhere.test", ["bob@example.test"], message())
    with smtplib.SMTP(address, 10025, "filter.test", timeout=20) as client:
        client.ehlo()
        codes = []
        while codes.count(452) < 3 and len(codes) < 200:
            codes.append(client.docmd(told)[0])
        assert codes[0] == 250 and codes[-1] == 452
    assert len(host.wait_messages("bob", 200)) == 200
