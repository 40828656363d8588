"""check_policy_service with a policy server of our own, over a Unix socket and TCP."""
import os
import socketserver
import threading

import pytest

import dakiya
from dakiya import PASSWORD, message

pytestmark = pytest.mark.sanitized


class PolicyServer:
    """Answers each request with what decide(attributes) says; None hangs up."""

    def __init__(self, address):
        self.requests = []
        self.connections = 0
        self.decide = lambda attributes: "DUNNO"
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                outer.connections += 1
                attributes = {}
                for line in self.rfile:
                    line = line.decode().rstrip("\n")
                    if line:
                        name, value = line.split("=", 1)
                        attributes[name] = value
                        continue
                    outer.requests.append(attributes)
                    action = outer.decide(attributes)
                    if action is None:
                        return
                    self.wfile.write(f"action={action}\n\n".encode())
                    attributes = {}

        kind = (socketserver.ThreadingUnixStreamServer if isinstance(address, str)
                else socketserver.ThreadingTCPServer)
        kind.allow_reuse_address = kind.daemon_threads = True
        self.server = kind(address, Handler)
        if isinstance(address, str):
            os.chmod(address, 0o666)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def policy(make_host):
    """A function: a running host whose recipients (and messages) a policy server is asked about."""
    servers = []

    def make(over_tcp=False, **settings):
        host = make_host(settings={"smtpd_error_sleep_time": "0"})
        address = (host.address, 10023) if over_tcp else str(host.directory / "policy")
        server = PolicyServer(address)
        servers.append(server)
        spec = f"inet:{host.address}:10023" if over_tcp else f"unix:{address}"
        values = {
            "smtpd_recipient_restrictions": f"check_policy_service {spec}",
            "smtpd_end_of_data_restrictions": f"check_policy_service {spec}",
            "smtpd_policy_service_retry_delay": "0",
        } | {name: value.replace("SPEC", spec) for name, value in settings.items()}
        with open(host.config / "main.cf", "a", encoding="ascii") as file:
            file.writelines(f"{name} = {value}\n" for name, value in values.items())
        return host.start(), server

    yield make
    for server in servers:
        server.close()


@pytest.mark.parametrize("over_tcp", [False, True])
def test_the_server_is_told_everything_and_its_word_counts(policy, over_tcp):
    host, server = policy(over_tcp)
    answers = iter(["DEFER_IF_PERMIT Greylisted, see you later", "PREPEND X-Checked: yes", "OK"])
    server.decide = lambda attributes: next(answers)
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@elsewhere.test", ["SIZE=300"])
        code, text = client.rcpt("alice@example.test")
        assert code == 450
        assert text == (b"4.7.1 <alice@example.test>: Recipient address rejected: "
                        b"Greylisted, see you later")
        assert client.rcpt("alice@example.test")[0] == 250
        assert client.data(message())[0] == 250
    at_rcpt, again, at_end = server.requests
    assert list(at_rcpt)[:2] == ["request", "protocol_state"]
    assert at_rcpt["request"] == "smtpd_access_policy"
    assert (at_rcpt["protocol_state"], at_rcpt["protocol_name"]) == ("RCPT", "ESMTP")
    assert at_rcpt["client_address"].startswith("127.") and at_rcpt["client_port"].isdigit()
    assert at_rcpt["server_address"] == host.address
    assert at_rcpt["server_port"] == str(host.ports["smtp"])
    assert (at_rcpt["helo_name"], at_rcpt["sender"]) == ("client.test", "carol@elsewhere.test")
    assert (at_rcpt["recipient"], at_rcpt["recipient_count"]) == ("alice@example.test", "0")
    assert (at_rcpt["size"], at_rcpt["queue_id"]) == ("300", "")
    assert at_rcpt["instance"] == again["instance"] == at_end["instance"]
    assert (at_end["protocol_state"], at_end["recipient_count"]) == ("END-OF-MESSAGE", "1")
    assert at_end["recipient"] == "alice@example.test" and at_end["queue_id"]
    assert int(at_end["size"]) > 50
    assert b"X-Checked: yes" in host.wait_messages("alice")[0]
    host.wait_log(r"NOQUEUE: reject: RCPT from .* 450 4\.7\.1 <alice@example\.test>: Recipient "
                  r"address rejected: Greylisted")
    assert server.connections == 1


def test_two_messages_of_a_session_are_two_instances(policy):
    host, server = policy()
    for recipient in ("alice@example.test", "bob@example.test"):
        with host.smtp() as client:
            client.sendmail("carol@elsewhere.test", [recipient], message())
            client.sendmail("carol@elsewhere.test", [recipient], message())
    instances = [request["instance"] for request in server.requests]
    assert len(instances) == 8 and len(set(instances)) == 4


def test_logins_and_encryption_are_told(policy):
    host, server = policy(
        smtpd_relay_restrictions="check_policy_service { SPEC, policy_context = mine }, reject")
    server.decide = lambda attributes: "OK"
    with host.smtp("submission") as client:
        client.starttls(context=host.tls_context())
        client.login("alice@example.test", PASSWORD)
        client.sendmail("alice@example.test", ["bob@example.test"], message())
    told = server.requests[0]
    assert (told["sasl_method"], told["sasl_username"]) == ("PLAIN", "alice@example.test")
    assert told["encryption_protocol"] == "TLSv1.3" and int(told["encryption_keysize"]) >= 128
    host.send("carol@elsewhere.test", ["alice@example.test"], message())
    assert "mine" in [request["policy_context"] for request in server.requests]


def test_a_server_that_is_down_defers_or_lets_in_as_told(policy):
    host, server = policy()
    server.decide = lambda attributes: None
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@elsewhere.test")
        code, text = client.rcpt("alice@example.test")
        assert (code, text[:5]) == (451, b"4.3.5")
        assert b"Server configuration problem" in text
    host.wait_log(r"warning: policy server unix:\S+:")
    host, server = policy(smtpd_policy_service_default_action="DUNNO")
    server.decide = lambda attributes: None
    with host.smtp() as client:
        client.sendmail("carol@elsewhere.test", ["alice@example.test"], message())
    assert host.wait_messages("alice")


def test_names_of_restrictions_are_an_answer_and_rubbish_is_none(policy):
    host, server = policy()
    server.decide = lambda attributes: "reject"
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@elsewhere.test")
        assert client.rcpt("alice@example.test")[0] == 554
        server.decide = lambda attributes: "550 5.7.1 not you"
        code, text = client.rcpt("alice@example.test")
        assert code == 550 and text.endswith(b"Recipient address rejected: not you")
        server.decide = lambda attributes: "frobnicate"
        assert client.rcpt("alice@example.test")[0] == 451


SPAWNED = r"""#!/usr/bin/python3
import os, sys
attributes = {}
for line in sys.stdin:
    line = line.rstrip("\n")
    if line:
        name, value = line.split("=", 1)
        attributes[name] = value
        continue
    if attributes["sender"].startswith("die"):
        sys.exit(3)
    print(f"action=PREPEND X-Spawned: uid={os.getuid()} {' '.join(sys.argv[1:])}\n", flush=True)
    attributes = {}
"""


def test_a_policy_server_that_spawn_starts(make_host):
    """As policyd-spf is set up: one process a connection, as a user of its own."""
    user = "64333:64333" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    host = make_host(extra_services="", settings={
        "smtpd_recipient_restrictions": "check_policy_service unix:private/policy",
        "smtpd_policy_service_retry_delay": "0", "policy_time_limit": "3600"})
    program = host.directory / "policy.py"
    program.write_text(SPAWNED)
    program.chmod(0o755)
    with open(host.config / "master.cf", "a", encoding="ascii") as file:
        file.write(f"policy unix - n n - 4 spawn user={user} argv={program} first second\n")
    assert "spawn" not in host.tool("dakiya", "check").stderr
    host.start()
    host.send("carol@elsewhere.test", ["alice@example.test"], message())
    [text] = host.wait_messages("alice")
    assert f"X-Spawned: uid={user.split(':', maxsplit=1)[0]} first second".encode() in text
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("die@elsewhere.test")
        assert client.rcpt("alice@example.test")[0] == 451
    host.wait_log(r"spawn\[\d+\]: warning: command \S+policy\.py exit status 3")
    # What is left of a server ends with the mail system.
    host.stop()
    left = dakiya.run("pgrep", "-f", str(program), check=False)
    assert left.stdout == ""
