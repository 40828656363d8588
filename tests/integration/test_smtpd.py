"""The SMTP server with real clients: swaks, curl, smtplib, openssl s_client, raw sockets."""
import base64
import smtplib
import socket
import subprocess
import threading
import time

import pytest

import dakiya
from dakiya import PASSWORD, message, run

pytestmark = pytest.mark.sanitized


@pytest.fixture(scope="module")
def server(authority):
    """One host for the tests that change nothing about it."""
    directory = dakiya.new_directory("smtpd")
    host = dakiya.Host(directory, authority=authority, settings={
        "smtpd_tls_loglevel": "1",
        "smtpd_tls_received_header": "yes",
        "mynetworks": "192.0.2.0/24",
        "smtpd_hard_error_limit": "20",
        "smtpd_error_sleep_time": "0",
        "smtpd_client_connection_count_limit": "200",
    })
    host.start()
    yield host
    host.stop(check=False)
    dakiya.remove_directory(directory)


class Raw:
    """Bytes over a socket, with the reply lines that come back."""

    def __init__(self, host, port="smtp", greet=True):
        self.socket = socket.create_connection((host.address, host.ports[port]), timeout=20)
        self.buffer = b""
        if greet:
            assert self.reply().startswith("220 ")

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        while b"\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                return ""
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode().rstrip("\r")

    def reply(self):
        """The last line of the next reply."""
        line = self.line()
        while line[3:4] == "-":
            line = self.line()
        return line

    def ask(self, data):
        self.send(data)
        return self.reply()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def test_swaks_delivers_with_starttls_and_auth(server):
    result = run("swaks", "--server", server.address, "--port", server.ports["submission"],
                 "--tls", "--auth", "PLAIN", "--auth-user", f"alice@{server.domain}",
                 "--auth-password", PASSWORD, "--from", f"alice@{server.domain}",
                 "--to", f"bob@{server.domain}", "--header", "Subject: by swaks", "--ehlo", "c.test")
    assert "250 2.0.0 Ok: queued as" in result.stdout, result.stdout
    server.wait_log(r"sasl_method=PLAIN, sasl_username=alice@example\.test")
    server.wait_queue_empty()
    texts = server.messages("bob")
    found = [text for text in texts if b"Subject: by swaks" in text]
    assert found and b"with ESMTPSA id" in found[0], texts
    assert b"(using TLSv1.3 with cipher" in found[0]
    server.wait_log(r"Anonymous TLS connection established from \S+: TLSv1\.3 with cipher")


def test_curl_delivers_over_smtps(server):
    text = message("by curl", "alice@example.test", "bob@example.test")
    result = run("curl", "-sS", "-k", "--url", f"smtps://{server.address}:{server.ports['submissions']}",
                 "--user", f"alice@{server.domain}:{PASSWORD}", "--mail-from", "alice@example.test",
                 "--mail-rcpt", "bob@example.test", "--upload-file", "-", stdin=text, check=False)
    assert result.returncode == 0, result.stderr
    server.wait_queue_empty()
    assert any(b"Subject: by curl" in text for text in server.messages("bob"))


def test_smtplib_logs_in_with_each_mechanism(server):
    for mechanism in ("auth_plain", "auth_login"):
        with server.smtp("submission") as client:
            client.starttls(context=server.tls_context())
            client.ehlo("c.test")
            assert "LOGIN" in client.esmtp_features["auth"]
            client.user, client.password = f"alice@{server.domain}", PASSWORD
            code, _ = client.auth(mechanism.removeprefix("auth_").upper(),
                                  getattr(client, mechanism))
            assert code == 235


def test_wrong_password_is_refused_and_logged_for_fail2ban(server):
    with server.smtp("submission") as client:
        client.starttls(context=server.tls_context())
        client.ehlo("c.test")
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login(f"alice@{server.domain}", "not the password")
    assert refusal.value.smtp_code == 535
    server.wait_log(r"warning: \S+\[127\.\S+\]: SASL (PLAIN|LOGIN) authentication failed: "
                    r".*, sasl_username=alice@example\.test")
    assert "not the password" not in server.log()


def test_no_auth_in_clear(server):
    with Raw(server, "submission") as client:
        client.send("EHLO c.test\r\n")
        lines = []
        while not lines or lines[-1][3] == "-":
            lines.append(client.line())
        assert not [line for line in lines if "AUTH" in line], lines
        assert client.ask("AUTH PLAIN AGEAYg==\r\n").startswith("538 5.7.0 ")


def test_openssl_speaks_starttls(server):
    with subprocess.Popen(
            ["openssl", "s_client", "-quiet", "-starttls", "smtp", "-crlf", "-ign_eof", "-connect",
             f"{server.address}:{server.ports['smtp']}"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        lines = []
        client.stdin.write(b"EHLO c.test\n")
        client.stdin.flush()
        while not lines or not lines[-1].startswith(b"250 "):
            lines.append(client.stdout.readline())
            assert lines[-1], lines
        client.stdin.write(b"quit\n")
        client.stdin.flush()
        assert client.stdout.readline().startswith(b"221 2.0.0 Bye")
    assert any(line.startswith(b"250-AUTH") for line in lines), lines


def test_plain_text_behind_starttls_is_dropped(server):
    with Raw(server) as client:
        assert client.ask("EHLO c.test\r\n").startswith("250 ")
        assert client.ask("STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n").startswith("220 2.0.0 ")
        secured = server.tls_context().wrap_socket(client.socket)
        secured.sendall(b"RCPT TO:<alice@example.test>\r\n")
        assert secured.recv(1000).startswith(b"503 5.5.1 Error: need MAIL command")
        secured.close()


def test_unknown_recipient_and_relay_are_refused(server):
    with Raw(server) as client:
        client.ask("EHLO c.test\r\n")
        assert client.ask("MAIL FROM:<a@c.test>\r\n") == "250 2.1.0 Ok"
        assert client.ask("RCPT TO:<nobody@example.test>\r\n") == (
            "550 5.1.1 <nobody@example.test>: Recipient address rejected: "
            "User unknown in virtual mailbox table")
        assert client.ask("RCPT TO:<x@elsewhere.test>\r\n") == (
            "454 4.7.1 <x@elsewhere.test>: Relay access denied")
        assert client.ask("QUIT\r\n") == "221 2.0.0 Bye"
    server.wait_log(r"NOQUEUE: reject: RCPT from \S+: 550 5\.1\.1 <nobody@example\.test>: .*; "
                    r"from=<a@c\.test> to=<nobody@example\.test> proto=ESMTP helo=<c\.test>")


def test_pipelined_group_is_answered_in_order(server):
    with Raw(server) as client:
        client.ask("EHLO c.test\r\n")
        client.send("MAIL FROM:<a@c.test>\r\nRCPT TO:<nobody@example.test>\r\n"
                    "RCPT TO:<alice@example.test>\r\nDATA\r\n")
        assert [client.reply()[:3] for _ in range(4)] == ["250", "550", "250", "354"]
        client.send("Subject: pipelined\r\n\r\nx\r\n.\r\nQUIT\r\n")
        assert client.reply().startswith("250 2.0.0 Ok: queued as ")
        assert client.reply().startswith("221 ")


@pytest.mark.parametrize("look_alike", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r\r\n",
                                        b"\r.\r\n", b"\r\n\x00.\r\n"])
def test_nothing_but_crlf_dot_crlf_ends_data(server, look_alike):
    with Raw(server) as client:
        client.ask("EHLO c.test\r\n")
        client.ask("MAIL FROM:<a@c.test>\r\n")
        client.ask("RCPT TO:<alice@example.test>\r\n")
        assert client.ask("DATA\r\n").startswith("354 ")
        client.send(b"Subject: one\r\n\r\nfirst" + look_alike +
                    b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
                    b"Subject: smuggled\r\n\r\nsecond\r\n.\r\n")
        assert client.reply().startswith("250 2.0.0 Ok: queued as ")
        assert client.ask("NOOP\r\n") == "250 2.0.0 Ok"
    server.wait_queue_empty()
    assert not any(text.startswith(b"Return-Path: <evil") or b"\nDelivered-To: bob" in text
                   and b"smuggled" in text for text in server.messages("bob"))


def test_bdat_delivers_binary_cuts(server):
    text = message("by BDAT", body="line\n.\n..two\n" + "x" * 70000 + "\n").encode()
    with Raw(server) as client:
        client.ask("EHLO c.test\r\n")
        client.ask("MAIL FROM:<a@c.test>\r\n")
        client.ask("RCPT TO:<alice@example.test>\r\n")
        for start in range(0, len(text), 30001):
            chunk = text[start:start + 30001]
            last = " LAST" if start + 30001 >= len(text) else ""
            client.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            assert client.reply().startswith("250 2.0.0 Ok")
    server.wait_queue_empty()
    found = [mail for mail in server.wait_messages("alice") if b"Subject: by BDAT" in mail]
    assert found and b"\nline\n.\n..two\n" in found[0].replace(b"\r\n", b"\n")


def test_large_message_arrives_whole(server):
    body = "".join(f"{number:07d} some text to fill the line with, and more\n"
                   for number in range(100000))
    server.send("a@c.test", "alice@example.test", message("large", body=body))
    server.wait_queue_empty(timeout=60)
    found = [mail for mail in server.messages("alice") if b"Subject: large" in mail]
    assert found and found[0].replace(b"\r\n", b"\n").endswith(body.encode())


def test_message_above_the_limit_is_refused(server):
    with server.smtp() as client:
        client.ehlo("c.test")
        code, text = client.mail("a@c.test", ["SIZE=99999999"])
        assert (code, text) == (552, b"5.3.4 Message size exceeds fixed limit")


def test_slow_content_holds_no_thread(server):
    """More sessions than threads sit in the middle of DATA; another client is served at once."""
    clients = []
    for _ in range(150):
        client = Raw(server)
        client.ask("EHLO c.test\r\n")
        client.ask("MAIL FROM:<a@c.test>\r\n")
        client.ask("RCPT TO:<alice@example.test>\r\n")
        assert client.ask("DATA\r\n").startswith("354 ")
        client.send("Subject: slow\r\n\r\nhalf a")
        clients.append(client)
    start = time.monotonic()
    server.send("a@c.test", "bob@example.test", message("quick"))
    assert time.monotonic() - start < 5
    for client in clients:
        client.send(" message\r\n.\r\n")
    for client in clients:
        assert client.reply().startswith("250 2.0.0 Ok: queued as ")
        client.close()


def test_parallel_clients(server):
    failures = []

    def work(index):
        try:
            for number in range(5):
                server.send(f"p{index}@c.test", ["alice@example.test", "bob@example.test"],
                            message(f"parallel {index} {number}"))
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    server.wait_queue_empty(timeout=60)
    subjects = [mail for mail in server.messages("bob") if b"Subject: parallel" in mail]
    assert len(subjects) == 50


def test_too_many_errors_end_the_session(server):
    with Raw(server) as client:
        answers = [client.ask("NONSENSE\r\n") for _ in range(20)]
        assert all(answer.startswith("500 5.5.2") for answer in answers)
        assert client.reply().endswith("Error: too many errors")
        assert client.line() == ""
    server.wait_log(r"\]: too many errors after UNKNOWN from \S+\[127\.")


def test_connections_of_one_client_are_limited(make_host):
    host = make_host(settings={"smtpd_client_connection_count_limit": "3", "mynetworks": "192.0.2.1"})
    host.start()
    clients = [Raw(host) for _ in range(3)]
    with Raw(host, greet=False) as refused:
        assert refused.reply().startswith("421 4.7.0 mail.example.test Error: too many connections")
    clients[0].ask("QUIT\r\n")
    clients[0].close()
    host.wait_log(r"disconnect from .* quit=1")
    dakiya.wait_for("a free place", lambda: Raw(host, greet=False).reply().startswith("220 "))
    for client in clients[1:]:
        client.close()
    host.wait_log(r"Connection concurrency limit exceeded: 4 from \S+ for service ")


def test_idle_client_is_told_of_the_timeout(make_host):
    host = make_host(settings={"smtpd_timeout": "1s"})
    host.start()
    with Raw(host) as client:
        client.ask("EHLO c.test\r\n")
        assert client.reply() == "421 4.4.2 mail.example.test Error: timeout exceeded"
        assert client.line() == ""
    host.wait_log(r"timeout after EHLO from \S+\[127\.")


def test_penalty_delays_without_a_thread(make_host):
    host = make_host(settings={"smtpd_soft_error_limit": "1", "smtpd_error_sleep_time": "1s"})
    host.start()
    with Raw(host) as client:
        client.ask("X\r\n")
        start = time.monotonic()
        client.send("Y\r\nNOOP\r\n")
        assert client.reply().startswith("500 ")
        assert time.monotonic() - start > 0.8
        assert client.reply().startswith("250 ")


def test_crypto_garbage_and_half_handshakes_hurt_nobody(server):
    for data in (b"\x16\x03\x01\x02\x00\x01" + b"\x00" * 400, b"\x80" * 3000, b""):
        with Raw(server, "submissions", greet=False) as client:
            client.send(data)
    with Raw(server) as client:
        client.ask("EHLO c.test\r\n")
        client.ask("STARTTLS\r\n")
        client.send("QUIT\r\n")
    assert server.send("a@c.test", "alice@example.test", message("after garbage"))


def test_xclient_of_an_authorised_host(make_host):
    host = make_host()
    host.settings["smtpd_authorized_xclient_hosts"] = "127.0.0.1"
    host.write_config()
    host.start()
    with Raw(host) as client:
        client.ask("EHLO proxy.test\r\n")
        assert client.ask("XCLIENT NAME=inside.test ADDR=203.0.113.9\r\n").startswith("220 ")
        assert client.ask("EHLO c.test\r\n").startswith("250 ")
        client.ask("MAIL FROM:<a@c.test>\r\n")
        assert client.ask("RCPT TO:<x@elsewhere.test>\r\n").startswith("454 4.7.1 ")
    host.wait_log(r"reject: RCPT from inside\.test\[203\.0\.113\.9\]: 454 4\.7\.1")


def test_initial_response_is_not_logged(server):
    secret = base64.b64encode(b"\0alice\0very secret text").decode()
    with server.smtp("submission") as client:
        client.starttls(context=server.tls_context())
        client.ehlo("c.test")
        client.docmd("AUTH", f"PLAIN {secret}")
    assert secret not in server.log() and "very secret" not in server.log()
