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
