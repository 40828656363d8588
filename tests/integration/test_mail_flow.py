"""A message's walk through all rooms, between two hosts, with real clients."""
import email
import email.policy
import re
import smtplib
import time

import pytest

import dakiya
from dakiya import message, run

DOMAINS = {"example.test": None, "remote.test": None}


@pytest.fixture
def two_hosts(make_host):
    """example.test (alice) and remote.test (bob) with MX records for each other, running."""
    addresses = {domain: dakiya.new_address() for domain in DOMAINS}
    dns = []
    for domain, address in addresses.items():
        dns += [f"{domain}. 300 IN MX 10 mail.{domain}.", f"mail.{domain}. 300 IN A {address}"]
    settings = {"minimal_backoff_time": "2s", "maximal_backoff_time": "10s"}
    example = make_host(domain="example.test", address=addresses["example.test"],
                        dns_records=dns, users=["alice"], settings=settings)
    remote = make_host(domain="remote.test", address=addresses["remote.test"],
                       dns_records=dns, users=["bob"], settings=settings)
    return example.start(), remote.start()


def submit(host, sender, recipients, text):
    with smtplib.SMTP(host.address, host.ports["submission"], timeout=20, local_hostname="client.test") as client:
        client.starttls(context=host.tls_context())
        client.login(sender, dakiya.PASSWORD)
        client.sendmail(sender, recipients, text)


@pytest.mark.sanitized
def test_message_from_outside_reaches_the_mailbox_and_pop3(host):
    reply = host.send("carol@client.test", "alice@example.test", message(body="One line.\n"))
    assert re.search(r"queued as [0-9A-Za-z]{6,}", reply)
    stored = host.wait_messages("alice")[0]
    assert stored.startswith(b"Return-Path: <carol@client.test>\n")
    assert b"\nDelivered-To: alice@example.test\n" in stored
    assert b"\r" not in stored
    client = host.pop3("alice")
    count, _ = client.stat()
    assert count == 1
    lines = client.retr(1)[1]
    assert lines[-1] == b"One line."
    assert any(re.match(rb"Received: from client.test", line) for line in lines)
    client.dele(1)
    client.quit()
    assert host.messages("alice") == []


def test_unknown_recipient_is_refused_in_the_session(host):
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@client.test")
        code, reply = client.rcpt("nobody@example.test")
    assert (code, reply) == (550, b"5.1.1 <nobody@example.test>: Recipient address rejected: "
                                  b"User unknown in virtual mailbox table")
    host.wait_log(r"smtpd\[\d+\]: NOQUEUE: reject: RCPT from \S+\[127\.0\.0\.1\]: 550 5\.1\.1 "
                  r"<nobody@example\.test>: Recipient address rejected: .*; "
                  r"from=<carol@client\.test> to=<nobody@example\.test> proto=ESMTP "
                  r"helo=<client\.test>")


def test_stranger_cannot_relay(host):
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@client.test")
        code, reply = client.rcpt("someone@elsewhere.test")
    assert code in (454, 554) and b"Relay access denied" in reply


@pytest.mark.sanitized
def test_submission_travels_by_mx_to_the_other_host(two_hosts):
    example, remote = two_hosts
    submit(example, "alice@example.test", ["bob@remote.test"],
           message(sender="alice@example.test", to="bob@remote.test", body="Across.\n"))
    stored = remote.wait_messages("bob")[0]
    assert stored.endswith(b"Across.\n")
    trace = email.message_from_bytes(stored).get_all("Received")
    assert len(trace) == 2
    assert "ESMTPSA" in trace[1] and "ESMTPS" in trace[0]
    example.wait_log(r"smtp\[\d+\]: \w+: to=<bob@remote\.test>, relay=mail\.remote\.test\[[\d.]+\]"
                     r":2525, delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, dsn=2\.0\.0, "
                     r"status=sent \(250 2\.0\.0 Ok: queued as \w+\)")
    example.wait_log(r"qmgr\[\d+\]: \w+: removed")


def test_submission_without_login_is_refused(two_hosts):
    example, _ = two_hosts
    with smtplib.SMTP(example.address, example.ports["submission"], timeout=20, local_hostname="client.test") as client:
        client.starttls(context=example.tls_context())
        client.ehlo()
        client.mail("alice@example.test")
        code, _ = client.rcpt("bob@remote.test")
        assert code in (530, 554)
        client.rset()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("alice@example.test", "wrong")
    example.wait_log(r"warning: \S+\[[\d.]+\]: SASL \S+ authentication failed: ")


@pytest.mark.sanitized
def test_bounce_comes_back_for_an_unknown_user(two_hosts):
    example, _ = two_hosts
    submit(example, "alice@example.test", ["nosuch@remote.test"],
           message(subject="to nobody", sender="alice@example.test", to="nosuch@remote.test"))
    stored = example.wait_messages("alice")[0]
    notice = email.message_from_bytes(stored, policy=email.policy.default)
    assert notice["Subject"] == "Undelivered Mail Returned to Sender"
    assert notice["Return-Path"] == "<>"
    assert notice.get_content_type() == "multipart/report"
    parts = list(notice.iter_parts())
    assert [part.get_content_type() for part in parts[:2]] == ["text/plain",
                                                              "message/delivery-status"]
    fields = list(parts[1].iter_parts())[1]
    assert fields["Action"] == "failed" and fields["Status"] == "5.1.1"
    assert fields["Final-Recipient"].replace(" ", "") == "rfc822;nosuch@remote.test"
    assert "Subject: to nobody" in parts[2].as_string()


def test_mail_waits_for_a_host_that_is_down_and_is_flushed(two_hosts):
    example, remote = two_hosts
    remote.stop()
    submit(example, "alice@example.test", ["bob@remote.test"],
           message(sender="alice@example.test", to="bob@remote.test", body="Waiting.\n"))
    example.wait_log(r"to=<bob@remote\.test>.* status=deferred \(connect to "
                     r"mail\.remote\.test\[[\d.]+\]:2525: Connection refused\)")
    listing = example.tool("dakqueue", "list").stdout
    assert listing.startswith("-") and "bob@remote.test" in listing
    assert re.search(r"\(connect to mail\.remote\.test\[[\d.]+\]:2525: Connection refused\)",
                     listing)
    entry = example.queue_list()[0]
    assert entry["queue_name"] == "deferred" and entry["sender"] == "alice@example.test"
    remote.start()
    example.tool("dakiya", "flush")
    remote.wait_messages("bob")
    example.wait_queue_empty()
    assert example.tool("dakqueue", "list").stdout.strip() == "Mail queue is empty"


def test_deferred_mail_survives_a_restart_and_is_retried_by_itself(two_hosts):
    example, remote = two_hosts
    remote.stop()
    submit(example, "alice@example.test", ["bob@remote.test"],
           message(sender="alice@example.test", to="bob@remote.test", body="Still here.\n"))
    example.wait_log("status=deferred")
    example.stop()
    example.start()
    remote.start()
    assert remote.wait_messages("bob", timeout=40)[0].endswith(b"Still here.\n")


def test_stock_clients_send_and_read(host):
    at, ports = host.address, host.ports
    run("swaks", "--server", f"{at}:{ports['smtp']}", "--ehlo", "client.test", "--from",
        "carol@client.test", "--to", "alice@example.test", "--body", "by swaks")
    upload = host.directory / "upload"
    upload.write_text(message(body="by curl\n"))
    run("curl", "-sS", f"smtp://{at}:{ports['submission']}/laptop.test", "--ssl-reqd", "--cacert",
        host.authority.certificate, "--user", f"alice@example.test:{dakiya.PASSWORD}",
        "--mail-from", "alice@example.test", "--mail-rcpt", "alice@example.test",
        "--upload-file", upload)
    run("curl", "-sS", f"smtps://{at}:{ports['submissions']}/laptop.test", "--cacert",
        host.authority.certificate, "--user", f"alice@example.test:{dakiya.PASSWORD}",
        "--mail-from", "alice@example.test",
        "--mail-rcpt", "alice@example.test", "--upload-file", upload)
    host.wait_messages("alice", 3)
    listing = run("curl", "-sS", f"pop3s://{at}:{ports['pop3s']}/", "--cacert",
                  host.authority.certificate, "--user",
                  f"alice@example.test:{dakiya.PASSWORD}").stdout
    assert len(listing.split("\n")) >= 3
    config = host.directory / "mpoprc"
    config.write_text(f"account default\nhost {at}\nport {ports['pop3']}\ntls on\ntls_starttls on\n"
                      f"tls_trust_file {host.authority.certificate}\ntls_host_override mail.example.test\n"
                      f"user alice@example.test\npassword {dakiya.PASSWORD}\nauth user\n"
                      f"delivery mbox {host.directory}/fetched\nuidls_file {host.directory}/uidls\n"
                      f"keep off\n")
    config.chmod(0o600)
    run("mpop", "-C", config)
    assert (host.directory / "fetched").read_text().count("\nSubject: ") >= 3
    assert host.messages("alice") == []


def test_large_message_passes_unchanged(host):
    body = "".join(f"{number:07d} " + "x" * 60 + "\n" for number in range(60000))
    host.send("carol@client.test", "alice@example.test", message(body=body))
    assert host.wait_messages("alice")[0].decode().endswith(body)


def test_dots_and_odd_lines_pass_unchanged(host):
    body = ".\n..\n.x\nFrom here\n\n.\n" + "y" * 2000 + "\n\n"
    host.send("carol@client.test", "alice@example.test", message(body=body))
    assert host.wait_messages("alice")[0].decode().endswith("\n\n" + body)
    client = host.pop3("alice")
    assert "\n".join(line.decode() for line in client.retr(1)[1]).endswith(body[:-1])
    client.quit()


def test_many_messages_in_parallel_all_arrive(host):
    start = time.monotonic()
    senders = [host.smtp() for _ in range(8)]
    for number in range(80):
        client = senders[number % 8]
        client.sendmail("carol@client.test", ["alice@example.test", "bob@example.test"],
                        message(subject=f"number {number}"))
    for client in senders:
        client.quit()
    for user in ("alice", "bob"):
        found = host.wait_messages(user, 80)
        numbers = {re.search(rb"^Subject: number (\d+)", text, re.M).group(1) for text in found}
        assert len(found) == 80 and len(numbers) == 80
    assert time.monotonic() - start < 60


def test_client_that_comes_back_at_once_after_quit_finds_its_mailbox_free(host):
    for _ in range(60):
        client = host.pop3("alice")
        client.quit()
