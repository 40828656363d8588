"""kill -9 and SIGSTOP of random daemons every 0.3 s under load, the master included: nothing is lost,
nothing arrives damaged, and service is back at once.

CRASH_SECONDS: how long it goes on (5).
"""
import contextlib
import os
import random
import signal
import threading
import time

import pytest

from mailhost import Account, Host, Load, Sink, report, wait_for

SECONDS = float(os.environ.get("CRASH_SECONDS", "5"))
LONG = bool(os.environ.get("CRASH_ALL"))
EVERY = 0.3


def send_signal(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Storm:
    """Kills and stops until told to end; daemons that were stopped go on after a while."""

    def __init__(self, host, seed, stops=0.3):
        self.host, self.chance, self.stops = host, random.Random(seed), stops
        self.kills, self.stopped = 0, 0
        self.timers = []

    def strike(self):
        daemons = [pid for pids in self.host.processes().values() for pid in pids]
        if not daemons:
            return
        pid = self.chance.choice(daemons)
        if self.chance.random() < self.stops:
            send_signal(pid, signal.SIGSTOP)
            timer = threading.Timer(self.chance.uniform(0.1, 1.0), send_signal, (pid, signal.SIGCONT))
            timer.start()
            self.timers.append(timer)
            self.stopped += 1
        else:
            send_signal(pid, signal.SIGKILL)
            self.kills += 1

    def blow(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.strike()
            time.sleep(EVERY)

    def end(self):
        for timer in self.timers:
            timer.join()


def seconds_until_service(account, host):
    """Until a message is answered 250 and one is delivered."""
    begin = time.monotonic()
    accepted = len(account.accepted)
    delivered = host.log().count("status=sent (delivered to maildir")
    wait_for("mail is taken and delivered again", lambda: len(account.accepted) > accepted
             and host.log().count("status=sent (delivered to maildir") > delivered, 60, 0.02)
    return time.monotonic() - begin


@pytest.fixture
def host(place):
    made = Host(place, place)
    made.start()
    yield made
    made.kill()


def settle(host, account):
    host.wait_queue_empty(60)
    time.sleep(0.3)
    account.collect(may_remove=False)


def check(account, what):
    local, bounces, relayed = account.duplicates()
    report(f"{what}, {len(account.accepted)} messages answered 250, {len(account.lost())} lost, "
           f"{len(account.corrupt_all())} corrupt, duplicates: {local} in mailboxes, {bounces} bounces, "
           f"{relayed} relayed")
    assert not account.lost() and not account.corrupt_all() and not account.returned
    assert len(account.accepted) > 20


def test_daemons_that_are_killed_and_stopped_lose_nothing(host):
    account = Account(host, Sink(host))
    storm = Storm(host, os.environ.get("CRASH_SEED", time.time()))
    with Load(account) as load:
        storm.blow(SECONDS)
        storm.end()
        back = seconds_until_service(account, host)
    settle(host, account)
    check(account, f"kill: {storm.kills} kills and {storm.stopped} stops of daemons in {SECONDS:.0f} s: "
                   f"service back after {back:.2f} s, slowest reply {load.slowest:.1f} s")
    assert back < 2


@pytest.mark.parametrize("name", ["smtpd", "qmgr", "local"] if LONG else ["qmgr"])
def test_a_daemon_that_is_killed_over_and_over_is_back_at_once(host, name):
    account = Account(host)
    with Load(account, ways=["local"], pop3=False, clients=4):
        seconds_until_service(account, host)
        for _ in range(5):
            wait_for(f"{name} is there", lambda: host.processes().get(name), 10)
            time.sleep(EVERY)
            for pid in host.processes().get(name, []):
                send_signal(pid, signal.SIGKILL)
            time.sleep(0.05)
        back = seconds_until_service(account, host)
    settle(host, account)
    check(account, f"kill: {name} 5 times in a row: service back after {back:.2f} s")
    assert back < 2


def test_a_killed_master_is_started_again_and_serves_at_once(host):
    account, chance, slowest, rounds = Account(host, Sink(host)), random.Random(time.time()), 0, 0
    until = time.monotonic() + SECONDS
    with Load(account):
        while time.monotonic() < until or rounds < 2:
            time.sleep(chance.uniform(0.2, 1))
            for pids in host.processes().values():  # some of its daemons with it
                for pid in pids:
                    if chance.random() < 0.3:
                        send_signal(pid, signal.SIGKILL)
            master = host.master_pid()
            send_signal(master, signal.SIGKILL)
            begin = time.monotonic()
            host.start()
            seconds_until_service(account, host)
            slowest = max(slowest, time.monotonic() - begin)
            rounds += 1
    settle(host, account)
    check(account, f"kill: {rounds} times the master, some daemons with it: service back after at most "
                   f"{slowest:.2f} s")
    assert slowest < (3 if LONG else 10)  # on a machine that is shared
