"""One-file mailboxes of the service virtual, with other programs at the same files."""
import email.utils
import mailbox
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import dakiya

OTHER = dakiya.VMAIL_UID if os.geteuid() == 0 else os.getuid()


@pytest.fixture
def mbox_host(make_host):
    """alice's mailbox is the file `box/alice`."""
    def make(**settings):
        host = make_host(settings={
            "virtual_mailbox_domains": "example.test",
            "virtual_mailbox_maps": "inline:{ alice@example.test=box/alice, "
                                    "bob@example.test=example.test/bob/ }",
            "virtual_mailbox_quota_maps": "", **settings})
        return host
    return make


def run_as_owner(*command, **options):
    if os.geteuid() == 0:
        options |= {"user": OTHER, "group": dakiya.VMAIL_GID, "extra_groups": []}
    return subprocess.run([str(word) for word in command], check=False, capture_output=True,
                          text=True, timeout=60, **options)


def box(host):
    return host.mail / "box" / "alice"


def subjects(host):
    """The Subject of each message, as Python's own mbox reader sees the file."""
    found = [message["subject"] for message in mailbox.mbox(box(host), create=False)]
    return sorted(subject for subject in found if subject)  # None: one is being written


def test_message_in_the_file_is_what_mail_readers_expect(mbox_host):
    host = mbox_host().start()
    host.send("sender@client.test", "alice@example.test",
              "Subject: one\r\n\r\nFrom the start\r\n>From\r\n\r\nend")
    host.wait_log(r"to=<alice@example\.test>, relay=virtual, .*status=sent \(delivered to mailbox\)")
    text = box(host).read_text()
    first, rest = text.split("\n", 1)
    match = re.fullmatch(r"From sender@client\.test (.*)", first)
    assert abs(time.mktime(email.utils.parsedate(match.group(1))) - time.time()) < 100
    assert rest.startswith("Return-Path: <sender@client.test>\nX-Original-To: alice@example.test\n"
                           "Delivered-To: alice@example.test\nReceived: ")
    assert rest.endswith("\n\n>From the start\n>From\n\nend\n\n")
    assert (box(host).stat().st_mode & 0o777, box(host).stat().st_uid) == (0o600, OTHER)
    host.send("", "alice@example.test", "Subject: two\r\n\r\nbounce\r\n")
    dakiya.wait_for("two messages", lambda: subjects(host) == ["one", "two"])
    host.wait_queue_empty()
    assert "\n\nFrom MAILER-DAEMON " in box(host).read_text()
    assert not (host.mail / "box" / "alice.lock").exists()


def test_full_file_bounces_and_keeps_what_it_has(mbox_host):
    host = mbox_host(virtual_mailbox_limit="3000", message_size_limit="2500").start()
    for subject in ("one", "two", "three"):
        host.send("sender@client.test", "alice@example.test",
                  f"Subject: {subject}\r\n\r\n" + "x" * 70 + "\r\n" * 1 + ("y" * 70 + "\r\n") * 12)
        time.sleep(0.3)
    host.wait_log(r"dsn=5\.2\.2, status=bounced \(mailbox full \(quota of 3000 bytes exceeded\)\)")
    assert subjects(host) == ["one", "two"]


def test_delivery_waits_for_the_lock_of_another(mbox_host):
    host = mbox_host(deliver_lock_attempts="2", minimal_backoff_time="2s",
                     queue_run_delay="1s").start()
    (host.mail / "box").mkdir()
    lock = host.mail / "box" / "alice.lock"
    if os.geteuid() == 0:
        os.chown(host.mail / "box", OTHER, dakiya.VMAIL_GID)
    lock.write_text("4711")
    host.send("sender@client.test", "alice@example.test", "Subject: one\r\n\r\nx\r\n")
    host.send("sender@client.test", "bob@example.test", "Subject: two\r\n\r\nx\r\n")
    # Others do not wait.
    host.wait_log(r"to=<bob@example\.test>.*status=sent", timeout=10)
    host.wait_log(r"to=<alice@example\.test>.*dsn=4\.3\.0, status=deferred \(cannot update mailbox "
                  r"box/alice: alice\.lock is held by another program\)")
    lock.unlink()
    host.wait_log(r"to=<alice@example\.test>.*status=sent \(delivered to mailbox\)")
    assert subjects(host) == ["one"]


LOCK_AND_APPEND = r"""
set -e
i=0
while [ $i -lt 25 ]; do
    lockfile-create --use-pid --retry 20 --lock-name "$1.lock"
    printf 'From other@x Sat Nov 28 09:00:00 2026\nSubject: lockfile %s\n\nbody\n\n' $i >>"$1"
    lockfile-remove --lock-name "$1.lock"
    i=$((i + 1))
done
"""
# As procmail does it: a file made exclusively, taken away afterwards.
DOTLOCK_AND_APPEND = r"""
import os, sys, time
for number in range(25):
    while True:
        try:
            os.close(os.open(sys.argv[1] + ".lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
            break
        except FileExistsError:
            time.sleep(0.01)
    with open(sys.argv[1], "a") as file:
        file.write(f"From other@x Sat Nov 28 09:00:00 2026\nSubject: dotlock {number}\n\n")
        file.flush()
        time.sleep(0.005)
        file.write("body\n\n")
    os.unlink(sys.argv[1] + ".lock")
"""
# Python's mbox locks by fcntl and by dotlock; it also takes messages out, as a mail reader does.
READER = r"""
import mailbox, sys, time
kept = mailbox.mbox(sys.argv[2])
taken = 0
until = time.monotonic() + 60
while taken < 10 and time.monotonic() < until:
    box = mailbox.mbox(sys.argv[1])
    try:
        box.lock()
    except mailbox.ExternalClashError:
        time.sleep(0.02)
        continue
    try:
        keys = [key for key in box.keys() if str(box[key]["subject"]).startswith("mail ")]
        if keys:
            kept.add(box[keys[0]])
            kept.flush()
            box.remove(keys[0])
            box.flush()
            taken += 1
    finally:
        box.unlock()
        box.close()
    time.sleep(0.03)
"""


def test_other_programs_at_the_same_file_lose_and_mix_nothing(mbox_host):
    assert shutil.which("lockfile-create"), "scripts/install-deps test"
    host = mbox_host().start()
    host.send("sender@client.test", "alice@example.test", "Subject: mail 0\r\n\r\nbody\r\n")
    dakiya.wait_for("the first message", box(host).exists)
    kept = host.mail / "kept"
    programs = [("sh", "-c", LOCK_AND_APPEND, "sh", box(host)),
                ("/usr/bin/python3", "-c", DOTLOCK_AND_APPEND, box(host)),
                ("/usr/bin/python3", "-c", READER, box(host), kept)]
    results = []
    threads = [threading.Thread(target=lambda words=words: results.append(run_as_owner(*words)))
               for words in programs]
    for thread in threads:
        thread.start()
    for number in range(1, 40):
        host.send("sender@client.test", "alice@example.test",
                  f"Subject: mail {number}\r\n\r\nbody\r\n")
    for thread in threads:
        thread.join()
    assert all(result.returncode == 0 for result in results), results
    host.wait_queue_empty()
    expected = ([f"mail {number}" for number in range(40)] +
                [f"{how} {number}" for number in range(25) for how in ("lockfile", "dotlock")])
    found = subjects(host) + [message["subject"] for message in mailbox.mbox(kept)]
    assert sorted(found) == sorted(expected)
    for message in mailbox.mbox(box(host)):
        assert message.get_payload() in ("body\n", "body\n\n"), message.as_string()


def test_killed_in_the_middle_of_an_append_leaves_no_half_message(mbox_host):
    """The worker is killed while it writes; later there is each message, and each whole."""
    host = mbox_host(message_size_limit="30000000", virtual_mailbox_limit="0",
                     minimal_backoff_time="1s", queue_run_delay="1s").start()
    host.send("sender@client.test", "alice@example.test", "Subject: first\r\n\r\nbody\r\n")
    dakiya.wait_for("the first message", box(host).exists)
    size = 20_000_000
    body = ("x" * 70 + "\r\n") * (size // 72)
    killed_while_writing = 0
    for number in range(6):
        before = box(host).stat().st_size
        host.send("sender@client.test", "alice@example.test",
                  f"Subject: big {number}\r\n\r\n{body}end of {number}\r\n")
        until = time.monotonic() + 20
        while box(host).stat().st_size <= before and time.monotonic() < until:
            pass
        for pid in host.processes().get("local", []):
            if pid and open(f"/proc/{pid}/cmdline", encoding="utf-8").read().find("worker") >= 0:
                os.kill(pid, signal.SIGKILL)
        left = box(host).stat().st_size - before
        killed_while_writing += 0 < left < size * 70 // 72
        host.send("sender@client.test", "alice@example.test",
                  f"Subject: small {number}\r\n\r\nbody\r\n")
        dakiya.wait_for("both", lambda: {f"big {number}", f"small {number}"} <= set(subjects(host)),
                        timeout=60)
        host.wait_queue_empty(60)
    assert killed_while_writing > 0
    for message in mailbox.mbox(box(host)):
        text = message.get_payload()
        kind, _, number = message["subject"].partition(" ")
        assert text.endswith(f"end of {number}\n" if kind == "big" else "body\n"), message["subject"]
    assert "half a message that a crash had left was taken out" in host.log()
