"""POP3 with real clients against real daemons: pop3d, authd and the mailbox workers."""
import contextlib
import os
import pathlib
import poplib
import random
import re
import signal
import socket
import ssl
import subprocess
import time

import dakiya
import pytest
from dakiya import PASSWORD, VMAIL_GID, VMAIL_UID, wait_for

MESSAGES = [
    b"Subject: one\n\nFirst line\n.dot line\n..\n\nlast\n",
    b"Subject: two\r\nX: y\r\n\r\nbody\r\n",
    b"Subject: three\n\n" + b"A line of text that is long enough to fill many pieces.\n" * 20000,
]


def wire(message):
    """A message as POP3 sends it, before dots are doubled."""
    text = re.sub(rb"\r?\n", b"\r\n", message)
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


class Pop3Host(dakiya.Host):
    """Only what POP3 needs: no queue, no SMTP."""

    def master_cf(self):
        at, port = self.address, self.ports
        return f"""
{at}:{port['pop3']} inet n - n - 20 pop3d
{at}:{port['pop3s']} inet n - n - 20 pop3d -o pop3_tls_wrappermode=yes
authd unix - - n - 10 authd
virtual unix - n n - - local
{self.extra_services}"""

    def put(self, user, message, name):
        """Puts a message into a mailbox as a delivery would."""
        maildir = self.maildir(user)
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True, exist_ok=True)
        path = maildir / "new" / name
        path.write_bytes(message)
        if os.geteuid() == 0:
            for owned in (self.mail / self.domain, maildir, maildir / "tmp", maildir / "new",
                          maildir / "cur", path):
                os.chown(owned, VMAIL_UID, VMAIL_GID)
        return path

    def fill(self, user="alice"):
        for number, message in enumerate(MESSAGES):
            self.put(user, message, f"{1700000000 + number}.M{number}P1.mail")

    def names(self, user):
        return sorted(path.name.split(":")[0] for part in ("new", "cur")
                      for path in (self.maildir(user) / part).glob("*"))


@pytest.fixture
def pop3_host(authority):
    directory = dakiya.new_directory("pop3")
    host = Pop3Host(directory, authority=authority)
    host.fill()
    host.start()
    yield host
    host.stop(check=False)
    dakiya.remove_directory(directory)


def raw(host, port="pop3"):
    connection = socket.create_connection((host.address, host.ports[port]), timeout=20)
    return connection, connection.makefile("rb")


def test_poplib_sees_every_octet_over_tls(pop3_host):
    client = pop3_host.pop3()
    assert client.stat() == (3, sum(len(wire(message)) for message in MESSAGES))
    for number, message in enumerate(MESSAGES, 1):
        reply, lines, _ = client.retr(number)
        assert b"\r\n".join(lines) + b"\r\n" == wire(message)
        assert reply == b"+OK %d octets" % len(wire(message))
    listing = [line.split() for line in client.list()[1]]
    assert [int(size) for _, size in listing] == [len(wire(message)) for message in MESSAGES]
    client.quit()


def odd_messages(count=60):
    """Any bytes: bare CR, NUL, 8-bit, dots, no last line end, empty, very long lines."""
    random_numbers = random.Random(20)
    pieces = [b"\r", b"\n", b"\r\n", b".", b"\0", b"\xff", b"a", b"text " * 50, b"\r\r\n"]
    yield from (b"", b"\r", b"\n", b".", b"\n.", b"a", b"a\r", b"x" * 300000, b"\r" * 70000,
                b"y" * 65535 + b"\r\n", b"z" * 65536 + b"\r", b"." * 65537)
    for _ in range(count):
        yield b"".join(random_numbers.choices(pieces, k=random_numbers.randrange(400)))


def test_sizes_are_the_octets_sent_whatever_the_content(pop3_host):
    messages = list(odd_messages())
    for number, message in enumerate(messages):
        pop3_host.put("bob", message, f"{1700000000 + number}.M{number}P1.mail")
    connection, _ = raw(pop3_host, "pop3s")
    tls = pop3_host.tls_context().wrap_socket(connection)
    reader = tls.makefile("rb")
    reader.readline()
    tls.sendall(f"USER bob@{pop3_host.domain}\r\nPASS {PASSWORD}\r\nLIST\r\n".encode())
    tls.sendall(b"".join(b"RETR %d\r\n" % (i + 1) for i in range(len(messages))) + b"QUIT\r\n")
    lines = iter(reader.read().split(b"\r\n"))
    assert [next(lines), next(lines)] == [b"+OK", b"+OK Logged in."]
    assert next(lines).startswith(b"+OK")
    sizes = [int(line.split()[1]) for line in iter(lambda: next(lines), b".")]
    assert len(sizes) == len(messages)
    for size, message in zip(sizes, messages):
        assert next(lines) == b"+OK %d octets" % size
        sent = b"".join(line[line.startswith(b"."):] + b"\r\n"
                        for line in iter(lambda: next(lines), b"."))
        assert len(sent) == size, message[:100]
        assert b"\r" not in sent.replace(b"\r\n", b"") and sent.count(b"\n") == sent.count(b"\r\n")


def test_unique_ids_stay_and_deletions_happen_only_at_quit(pop3_host):
    client = pop3_host.pop3()
    before = client.uidl()[1]
    client.dele(2)
    client.close()  # dropped: nothing is deleted
    time.sleep(0.3)
    client = pop3_host.pop3()
    assert client.uidl()[1] == before
    client.dele(2)
    client.quit()
    assert len(pop3_host.names("alice")) == 2
    client = pop3_host.pop3()
    left = client.uidl()[1]
    assert [line.split()[1] for line in left] == [before[0].split()[1], before[2].split()[1]]
    client.quit()


def test_a_second_session_is_told_that_the_mailbox_is_in_use(pop3_host):
    first = pop3_host.pop3()
    with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
        pop3_host.pop3()
    first.quit()
    wait_for("the lock to go", lambda: can_log_in(pop3_host))


def can_log_in(host):
    with contextlib.suppress(poplib.error_proto):
        host.pop3().quit()
        return True
    return False


def test_a_password_is_refused_in_clear_and_taken_after_stls(pop3_host):
    client = poplib.POP3(pop3_host.address, pop3_host.ports["pop3"], timeout=20)
    assert "STLS" in client.capa() and "USER" not in client.capa()
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
        client.user(f"alice@{pop3_host.domain}")
    client.stls(pop3_host.tls_context())
    assert "STLS" not in client.capa() and "USER" in client.capa()
    client.user(f"alice@{pop3_host.domain}")
    client.pass_(PASSWORD)
    assert client.stat()[0] == 3
    client.quit()


def test_what_comes_after_stls_in_clear_is_dropped(pop3_host):
    connection, reader = raw(pop3_host)
    reader.readline()
    connection.sendall(b"STLS\r\nNOOP\r\nCAPA\r\n")
    assert reader.readline().startswith(b"+OK")
    tls = pop3_host.tls_context().wrap_socket(connection)
    tls.sendall(b"QUIT\r\n")
    assert tls.recv(100) == b"+OK Logging out.\r\n"


def test_bad_logins_are_logged_as_fail2ban_reads_them(pop3_host):
    address = pop3_host.address
    for user in (f"alice@{pop3_host.domain}", "no<body>"):
        connection, reader = raw(pop3_host, "pop3s")
        tls = pop3_host.tls_context().wrap_socket(connection)
        reader = tls.makefile("rb")
        reader.readline()
        tls.sendall(f"USER {user}\r\nPASS wrong\r\nQUIT\r\n".encode())
        assert reader.readline().startswith(b"+OK")
        assert reader.readline().startswith(b"-ERR [AUTH]")
        tls.close()
        connection.close()
    failregex = (r"pop3-login: (?:Aborted login|Disconnected)(?:: (?:\w+\([^\):]*\) \w+|[^\(]+))* "
                 r"\((?:auth failed, \d+ attempts(?: in \d+ secs)?)\):(?: user=<[^>]*>,)?"
                 r"(?: method=\S+,)? rip=(\S+), (?:[^>]*(?:, session=<\S+>)?)\s*$")
    wait_for("two log lines", lambda: len(re.findall(failregex, pop3_host.log(), re.M)) == 2)
    assert re.findall(failregex, pop3_host.log(), re.M) == ["127.0.0.1"] * 2 or \
        all(rip.startswith("127.") for rip in re.findall(failregex, pop3_host.log(), re.M))
    assert f"lip={address}" in pop3_host.log()


def test_three_bad_logins_end_the_session(pop3_host):
    context = pop3_host.tls_context()
    client = poplib.POP3_SSL(pop3_host.address, pop3_host.ports["pop3s"], timeout=30,
                             context=context)
    for _ in range(3):
        client.user(f"alice@{pop3_host.domain}")
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
            client.pass_("wrong")
    with pytest.raises((poplib.error_proto, OSError)):
        client.noop()


def test_curl_lists_and_fetches(pop3_host):
    base = f"pop3s://{pop3_host.address}:{pop3_host.ports['pop3s']}"
    command = ["curl", "-sS", "--cacert", str(pop3_host.authority.certificate), "--insecure", "-u",
               f"alice@{pop3_host.domain}:{PASSWORD}"]
    assert len(dakiya.run(*command, base + "/").stdout.split("\n")) >= 3
    time.sleep(0.2)
    got = subprocess.run([*command, base + "/2"], capture_output=True, check=True, timeout=30)
    assert got.stdout == wire(MESSAGES[1])


def test_curl_logs_in_with_plain_and_login(pop3_host):
    base = f"pop3://{pop3_host.address}:{pop3_host.ports['pop3']}/"
    for mechanism in ("PLAIN", "LOGIN"):  # Debian's curl has no SCRAM; mpop below has
        got = subprocess.run(["curl", "-sS", "--ssl-reqd", "--insecure", "--login-options",
                              f"AUTH={mechanism}", "-u", f"alice@{pop3_host.domain}:{PASSWORD}",
                              base], capture_output=True, check=False, timeout=30)
        assert got.returncode == 0, (mechanism, got.stderr)
        wait_for("the lock to go", lambda: can_log_in(pop3_host))


def test_mpop_retrieves_all_and_deletes(pop3_host, tmp_path):
    maildir = tmp_path / "got"
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    config = tmp_path / "mpoprc"
    config.write_text(f"""account default
host {pop3_host.address}
port {pop3_host.ports['pop3']}
tls on
tls_starttls on
tls_certcheck off
auth scram-sha-256
user alice@{pop3_host.domain}
password "{PASSWORD}"
keep off
received_header off
delivery maildir {maildir}
uidls_file {tmp_path}/uidls
""")
    config.chmod(0o600)
    dakiya.run("mpop", "-C", str(config))
    got = sorted(len(path.read_bytes()) for path in (maildir / "new").iterdir())
    assert got == sorted(len(re.sub(rb"\r\n", b"\n", message)) for message in MESSAGES)
    assert pop3_host.names("alice") == []


def test_fetchmail_retrieves_all(pop3_host, tmp_path):
    config = tmp_path / "fetchmailrc"
    config.write_text(f"""poll {pop3_host.address} service {pop3_host.ports['pop3s']} protocol pop3
 username "alice@{pop3_host.domain}" password "{PASSWORD}" ssl sslcertck sslcertfile
 "{pop3_host.authority.certificate}" sslproto "TLS1.2+" mda "cat >> {tmp_path}/got" fetchall keep
""".replace("sslcertck ", "no sslcertck "))
    config.chmod(0o600)
    result = dakiya.run("fetchmail", "-f", str(config), "--nosyslog", "--pidfile",
                        str(tmp_path / "pid"), "--idfile", str(tmp_path / "ids"), check=False,
                        env=dict(os.environ, HOME=str(tmp_path)))
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "got").read_bytes().count(b"Subject: ") == 3


def test_pipelined_commands_are_answered_in_order(pop3_host):
    connection, _ = raw(pop3_host, "pop3s")
    tls = pop3_host.tls_context().wrap_socket(connection)
    reader = tls.makefile("rb")
    reader.readline()
    tls.sendall(f"USER alice@{pop3_host.domain}\r\nPASS {PASSWORD}\r\nSTAT\r\nRETR 3\r\nNOOP\r\n"
                "QUIT\r\n".encode())
    text = reader.read()
    lines = text.split(b"\r\n")
    assert lines[0] == b"+OK" and lines[1] == b"+OK Logged in." and lines[2].startswith(b"+OK 3 ")
    assert lines[-4:] == [b".", b"+OK", b"+OK Logging out.", b""]
    assert len(text) > len(wire(MESSAGES[2]))


def test_a_client_that_does_not_read_stops_nobody(pop3_host):
    slow, _ = raw(pop3_host, "pop3s")
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    tls = pop3_host.tls_context().wrap_socket(slow)
    reader = tls.makefile("rb")
    reader.readline()
    tls.sendall(f"USER alice@{pop3_host.domain}\r\nPASS {PASSWORD}\r\n".encode())
    assert reader.readline() and reader.readline() == b"+OK Logged in.\r\n"
    tls.sendall(b"RETR 3\r\n" * 10)
    pop3_host.put("bob", MESSAGES[0], "1.M1P1.mail")
    for _ in range(3):
        with contextlib.closing(pop3_host.pop3("bob")) as client:
            assert client.stat()[0] == 1
            client.quit()
    tls.sendall(b"QUIT\r\n")
    assert reader.read().count(b"\r\n.\r\n") == 10


def test_fifty_clients_at_once(pop3_host):
    clients = [socket.create_connection((pop3_host.address, pop3_host.ports["pop3"]), timeout=20)
               for _ in range(50)]
    readers = [client.makefile("rb") for client in clients]
    for reader in readers:
        assert reader.readline().startswith(b"+OK")
    for client in clients:
        client.sendall(b"CAPA\r\nQUIT\r\n")
    for reader in readers:
        assert reader.read().endswith(b".\r\n+OK Logging out.\r\n")


def test_a_killed_worker_costs_one_session_and_not_the_next(pop3_host):
    client = pop3_host.pop3()
    workers = [pid for pid in all_processes() if str(pop3_host.directory) in command_of(pid)]
    children = pop3_host.processes()
    assert children, workers
    for pid in children.get("pop3d", []):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises((poplib.error_proto, OSError, ssl.SSLError)):
        client.noop()
    wait_for("pop3d to be back", lambda: can_try(pop3_host), 30)


def all_processes():
    return [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()]


def command_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def can_try(host):
    with contextlib.suppress(OSError, poplib.error_proto):
        client = host.pop3()
        client.quit()
        return True
    return False
