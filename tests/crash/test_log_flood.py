"""Calls that fail for good, under load: each daemon says so a few times a second, and how often it did not.

Short: one case a daemon. CRASH_ALL=1: all of them, longer.
"""
import collections
import errno
import os
import re
import time

import pytest

from faults import NEVER, Faults
from mailhost import Account, Host, Load, Sink, report

ALL = bool(os.environ.get("CRASH_ALL"))
SECONDS = float(os.environ.get("CRASH_FLOOD_SECONDS", "10" if ALL else "1"))
LINES = 12  # of warnings and errors in a second, by one daemon

CASES = [("qmgr", "write", errno.ENOSPC), ("local", "socket", errno.EMFILE)]
MORE = [("smtpd", "memory", errno.ENOMEM), ("local", "write", errno.ENOSPC),
        ("smtp", "socket", errno.EMFILE), ("bounce", "socket", errno.EMFILE),
        ("qmgr", "sync", errno.EIO), ("qmgr", "open", errno.EMFILE), ("qmgr", "memory", errno.ENOMEM),
        ("qmgr", "rename", errno.EIO), ("qmgr", "link", errno.EIO), ("qmgr", "read", errno.EIO),
        ("smtpd", "socket", errno.EMFILE), ("smtpd", "open", errno.EMFILE), ("smtpd", "write", errno.ENOSPC),
        ("local", "memory", errno.ENOMEM), ("local", "open", errno.EMFILE),
        ("local", "sync", errno.EIO), ("local", "rename", errno.EIO),
        ("smtp", "memory", errno.ENOMEM), ("bounce", "memory", errno.ENOMEM), ("bounce", "write", errno.ENOSPC),
        ("pop3d", "memory", errno.ENOMEM), ("pop3d", "socket", errno.EMFILE),
        ("authd", "memory", errno.ENOMEM), ("authd", "open", errno.EMFILE), ("authd", "socket", errno.EMFILE),
        ("resolver", "memory", errno.ENOMEM)]


@pytest.fixture
def host(place):
    faults = Faults(place / "libexec")
    made = Host(place, place, libexec=faults.directory, maximal_backoff_time="1s",
                default_destination_concurrency_failed_cohort_limit=0)
    made.faults = faults
    made.start()
    yield made
    faults.disarm()
    made.kill()


def trouble(log):
    """Warnings and errors: by the second and the daemon, and the words of the most frequent ones."""
    rates, words = collections.Counter(), collections.Counter()
    for line in log.splitlines():
        found = re.match(r"(\w+ +\d+ [\d:]+) \S+ (\S+?)\[\d+\]: (?:\w+: )?((?:warning|error|fatal): .*)", line)
        if found:
            rates[found.group(1), found.group(2)] += 1
            words[found.group(2), re.sub(r"[0-9A-Za-z]{8,}|\d+", "N", found.group(3))[:90]] += 1
    return rates, words


def test_lasting_trouble_does_not_flood_the_log(host):
    account, floods, most = Account(host, Sink(host)), [], (0, "")
    for program, call, error in CASES + MORE * ALL:
        before = len(host.log())
        with Load(account, clients=6) as load:
            time.sleep(0.3)
            with host.faults.armed(call, error, 1, NEVER, program=program):
                time.sleep(SECONDS)
                hits = host.faults.hits
            time.sleep(0.3)
        rates, words = trouble(host.log()[before:])
        (second, daemon), count = max(rates.items(), key=lambda item: item[1], default=((0, ""), 0))
        most = max(most, (count, f"{daemon} when {call} of {program} fails"))
        print(f"{program} {call} {errno.errorcode[error]}: {hits} failed, {count} lines in a second by {daemon}, "
              f"slowest reply {load.slowest:.1f} s")
        assert hits < 2000 * SECONDS, f"{program} {call}: {hits} calls that failed: a loop without a pause"
        if count > LINES:
            floods.append(f"{program} {call}: {count} lines in a second by {daemon}: {words.most_common(4)}")
    lost = ""
    if ALL:
        host.wait_queue_empty(90)
        account.collect()
        lost = f", {len(account.lost())} lost"
        assert not account.lost()
    report(f"calls that fail all the time: at most {most[0]} lines of trouble in a second ({most[1]}), "
           f"{len(account.accepted)} messages answered 250{lost}")
    assert not floods, "\n".join(floods)
