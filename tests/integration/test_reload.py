"""Reload, stop and start with the real daemons, while mail is on the move."""
import json
import os
import signal
import smtplib
import threading
import time

import pytest

from dakiya import message, wait_for


class Sender(threading.Thread):
    """Sends messages one after the other until told to stop; remembers what was answered 250."""

    def __init__(self, host, number):
        super().__init__()
        self.host, self.number = host, number
        self.is_stopped = threading.Event()
        self.accepted, self.refused, self.errors = [], [], []

    def run(self):
        count = 0
        while not self.is_stopped.is_set():
            count += 1
            subject = f"load-{self.number}-{count}"
            try:
                self.host.send("load@client.test", "alice@example.test", message(subject))
                self.accepted.append(subject)
            except smtplib.SMTPServerDisconnected as error:
                self.refused.append(str(error))  # told to try again, as every mail server does
            except (OSError, smtplib.SMTPException, AssertionError) as error:
                self.errors.append(repr(error))
                time.sleep(0.05)


def under_load(host, action, senders=3):
    threads = [Sender(host, number) for number in range(senders)]
    for thread in threads:
        thread.start()
    try:
        action()
    finally:
        for thread in threads:
            thread.is_stopped.set()
        for thread in threads:
            thread.join(60)
    return threads


def subjects(host, user="alice"):
    found = []
    for text in host.messages(user):
        for line in text.splitlines():
            if line.startswith(b"Subject: "):
                found.append(line[9:].decode())
                break
    return found


def all_arrive(host, threads):
    accepted = {subject for thread in threads for subject in thread.accepted}
    wait_for("everything that was accepted", lambda: accepted <= set(subjects(host)), 60, 0.5)
    return accepted


def test_reloads_under_load_lose_no_message_and_refuse_no_connection(make_host):
    host = make_host().start()

    def action():
        for _ in range(4):
            time.sleep(0.7)
            host.tool("dakiya", "reload")
        time.sleep(1)

    threads = under_load(host, action)
    assert not [error for thread in threads for error in thread.errors]
    assert not [text for thread in threads for text in thread.refused]
    accepted = all_arrive(host, threads)
    assert len(accepted) > 20
    assert len(subjects(host)) == len(set(subjects(host))), "delivered twice"
    assert "killed" not in host.log()


def test_a_session_goes_on_through_a_reload_and_sees_the_old_configuration(make_host):
    host = make_host(settings={"smtpd_banner": "first"}).start()
    with host.smtp() as client:
        client.ehlo("client.test")
        host.settings["smtpd_banner"] = "second"
        host.write_config()
        host.tool("dakiya", "reload")

        def banner():
            with host.smtp() as other:
                return b"second" in other.ehlo_resp if other.ehlo_resp else True

        wait_for("the new daemon", lambda: host.tool("dakiya", "status").stdout.count(" 2 ready"))
        client.mail("x@client.test")
        assert client.rcpt("alice@example.test")[0] == 250
        assert client.data(message("through a reload"))[0] == 250
        assert banner()
    host.wait_messages("alice")


def broken_certificate(host):
    (host.config / "host.pem").write_text("nothing of the kind\n")


def open_relay_by_a_table(host):
    (host.config / "senders").write_text("boss@example.test OK\n")
    host.settings["smtpd_relay_restrictions"] = (
        f"check_sender_access texthash:{host.config}/senders, reject_unauth_destination")


def broken_table(host):
    (host.config / "clients").write_text("192.0.2.1/24 REJECT\n")
    host.settings["smtpd_client_restrictions"] = f"check_client_access cidr:{host.config}/clients"


def domain_of_two_classes(host):
    host.settings["mydestination"] = "example.test"


def open_relay(host):
    host.settings["smtpd_relay_restrictions"] = "permit"


def relayhost_is_this_host(host):
    host.settings["relayhost"] = f"[{host.address}]:{host.ports['smtp']}"


@pytest.mark.parametrize("damage, said", [
    (broken_certificate, "host.pem"), (open_relay_by_a_table, "whoever claims boss@example.test"),
    (broken_table, "clients"), (domain_of_two_classes, "belongs to one class only"),
    (open_relay, "ends at permit"), (relayhost_is_this_host, "is this host itself")])
def test_a_reload_with_errors_changes_nothing(make_host, damage, said):
    """Also those that stand in tables and certificates: dakiya reload reads them."""
    host = make_host().start()
    before = json.loads(host.tool("dakiya", "status", "--json").stdout)
    damage(host)
    host.settings["smtpd_banner"] = "second"
    host.write_config()
    result = host.tool("dakiya", "reload", check=False)
    assert result.returncode == 78, result.stderr
    assert said in result.stderr
    assert "not reloaded; the running configuration stays" in result.stderr
    after = json.loads(host.tool("dakiya", "status", "--json").stdout)
    assert after["generation"] == before["generation"]
    host.send("x@client.test", "alice@example.test", message("still there"))
    host.wait_messages("alice")
    # The same errors keep a system from starting.
    host.stop()
    assert host.tool("dakiya", "start", check=False).returncode == 78


def domain_twice_in_main_cf(host):
    host.settings["mydestination"] = host.settings["virtual_alias_domains"] = "two.test"


@pytest.mark.parametrize("damage", [domain_twice_in_main_cf, open_relay, relayhost_is_this_host])
def test_a_hangup_signal_with_errors_changes_nothing(make_host, damage):
    """What main.cf and master.cf alone show is refused by master itself."""
    host = make_host().start()
    damage(host)
    host.write_config()
    os.kill(host.master_pid(), signal.SIGHUP)
    wait_for("the refusal", lambda: "reload refused" in host.log())
    assert json.loads(host.tool("dakiya", "status", "--json").stdout)["generation"] == 1
    host.send("x@client.test", "alice@example.test", message("still there"))
    host.wait_messages("alice")


def test_a_stop_under_load_loses_nothing(make_host):
    host = make_host().start()

    def action():
        time.sleep(1.5)
        host.stop()

    threads = under_load(host, action)
    assert sum(len(thread.accepted) for thread in threads) > 5
    host.start()
    all_arrive(host, threads)


def test_kill_9_of_everything_under_load_loses_nothing(make_host):
    host = make_host().start()

    def action():
        time.sleep(1.5)
        host.kill()

    threads = under_load(host, action)
    host.start()
    all_arrive(host, threads)


def test_master_killed_alone_comes_back_without_a_person(make_host):
    host = make_host().start()
    pid = host.master_pid()
    os.kill(pid, signal.SIGKILL)
    host.is_running = False
    host.start()  # the old daemons notice that master is gone and end
    assert host.master_pid() != pid
    host.send("x@client.test", "alice@example.test", message("after master"))
    host.wait_messages("alice")


@pytest.mark.parametrize("program", ["smtpd", "pop3d", "qmgr", "resolver", "authd", "smtp",
                                     "local", "bounce"])
def test_each_daemon_is_back_after_kill_9(shared_host, program):
    before = shared_host.processes()[program]
    os.kill(before[0], signal.SIGKILL)
    wait_for(f"{program} to be back", lambda: (
        lambda now: len(now) >= len(before) and before[0] not in now)(
            shared_host.processes().get(program, [])))
    shared_host.wait_log(rf"process \S+ \(service \S+\) pid {before[0]} killed by signal 9")


def test_flush_is_taken_by_qmgr(shared_host):
    assert shared_host.tool("dakiya", "flush").returncode == 0


def test_status_shows_a_daemons_last_warning(make_host):
    host = make_host().start()
    with host.smtp("submission") as client:
        client.starttls(context=host.tls_context())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("alice@example.test", "wrong")
    host.wait_log("warning: .*authentication failed")

    def errors():
        status = json.loads(host.tool("dakiya", "status", "--json").stdout)
        return [process["last_error"] for process in status["processes"] if process["last_error"]]

    assert "authentication failed" in wait_for("a last error", errors, 12, 0.5)[0]
    assert "last error: " in host.tool("dakiya", "status").stdout


def test_status_shows_each_service_once(shared_host):
    lines = shared_host.tool("dakiya", "status").stdout.splitlines()
    names = [line.split()[0] for line in lines[2:lines.index("")]]
    assert len(names) == len(set(names)) == 13
