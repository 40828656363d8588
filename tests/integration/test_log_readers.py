"""Programs that read Postfix's log read ours: pflogsumm, logwatch, fail2ban's stock filters."""
import contextlib
import os
import poplib
import re
import smtplib
import subprocess
import time

import pytest

import dakiya
from packages import unpacked
from smtp_peer import Peer

BAD = "127.0.0.66"  # the client that misbehaves


def attempt(function, *arguments):
    with contextlib.suppress(smtplib.SMTPException, poplib.error_proto, OSError):
        return function(*arguments)
    return None


def misbehave(host):
    """What fail2ban is to see, each from BAD."""
    for _ in range(2):
        with host.smtp(source_address=(BAD, 0)) as client:
            client.ehlo("bad.test")
            client.mail("spam@elsewhere.test")
            assert client.rcpt("victim@far.test")[0] in (454, 554)
            client.mail("spam@elsewhere.test")
            assert client.rcpt("nobody@example.test")[0] == 550
    for mechanism in ("PLAIN", "LOGIN"):
        client = smtplib.SMTP(host.address, host.ports["submission"], timeout=20,
                              source_address=(BAD, 0))
        client.starttls(context=host.tls_context())
        client.ehlo("bad.test")
        client.user, client.password = "alice@example.test", "wrong"
        attempt(client.auth, mechanism, getattr(client, f"auth_{mechanism.lower()}"))
        client.close()
    client = host.smtp(source_address=(BAD, 0))
    client.ehlo("bad.test")
    client.mail("spam@elsewhere.test")
    client.rcpt("nobody2@example.test")
    client.close()  # lost connection after RCPT
    client = host.smtp(source_address=(BAD, 0))
    for _ in range(30):
        if attempt(client.docmd, "NONSENSE") is None:
            break
    client.close()  # too many errors
    with contextlib.suppress(OSError):
        client = poplib.POP3_SSL(host.address, host.ports["pop3s"], timeout=20,
                                 context=host.tls_context())
        attempt(client.user, "alice@example.test")
        attempt(client.pass_, "wrong")
        attempt(client.quit)


@pytest.fixture(scope="module")
def log(authority):
    """The log file of a host that has seen one of everything, and the host."""
    directory = dakiya.new_directory("readers")
    peer_address = dakiya.new_address()
    peer = Peer(peer_address, offers=["PIPELINING", "8BITMIME"])
    maps = ", ".join("{ " + item + " }" for item in (
        f"peer.test = smtp:[{peer_address}]", "dead.test = smtp:[127.0.0.1]:9",
        "gone.test = error:5.1.1 nobody here"))
    host = dakiya.Host(directory, authority=authority, settings={
        "transport_maps": f"inline:{{ {maps} }}", "smtpd_error_sleep_time": "0",
        "smtpd_hard_error_limit": "5", "smtpd_client_event_limit_exceptions": "",
        "mynetworks": "127.0.0.1/32",
        # Known, so that RCPT does not say what error: says.
        "virtual_alias_maps": "inline:{ x@gone.test=x@gone.test }"})
    # As fail2ban's dovecot filter knows it.
    master_cf = host.config / "master.cf"
    master_cf.write_text(master_cf.read_text().replace(
        "pop3d -o pop3_tls_wrappermode=yes",
        "pop3d -o pop3_tls_wrappermode=yes -o syslog_name=dovecot"))
    host.start()
    try:
        for recipient in ("alice@example.test", "bob@example.test"):
            host.send("carol@elsewhere.test", [recipient], dakiya.message())
        with host.smtp("submission") as client:
            client.starttls(context=host.tls_context())
            client.login("alice@example.test", dakiya.PASSWORD)
            for recipient in ("x@peer.test", "x@dead.test", "x@gone.test"):
                client.sendmail("alice@example.test", [recipient], dakiya.message())
        misbehave(host)
        host.wait_log(r"to=<x@peer.test>.*status=sent")
        host.wait_log(r"to=<x@dead.test>.*status=deferred")
        host.wait_log(r"to=<x@gone.test>.*status=bounced")
        host.wait_log(r"to=<alice@example.test>.*relay=virtual.*status=sent")
        host.wait_log(r"too many errors after")
        dakiya.wait_for("the notice", lambda: len(host.messages("alice")) == 2)
        time.sleep(0.5)
        yield host
    finally:
        host.stop(check=False)
        peer.close()
        dakiya.remove_directory(directory)


def test_pflogsumm_counts_what_happened(log):
    program = unpacked("pflogsumm") / "usr" / "sbin" / "pflogsumm"
    report = subprocess.run(["perl", program, "--problems-first", log.log_file], check=True,
                            capture_output=True, text=True).stdout
    totals = {name: int(number) for number, name in
              re.findall(r"^ +(\d+)k? +(received|delivered|forwarded|deferred|bounced|rejected)\b",
                         report, flags=re.M)}
    # Two from outside, three submitted; delivered: two, one relayed, one notice.
    assert totals["received"] == 5
    assert totals["delivered"] == 4
    assert (totals["deferred"], totals["bounced"]) == (1, 1)
    assert totals["rejected"] == 5
    assert re.search(r"^ +1 +\S+ +.*peer\.test", report, flags=re.M), report
    assert "Connection refused" in report and "Relay access denied" in report
    assert "carol@elsewhere.test" in report


def fail2ban(log, filter_name, mode, log_file=None):
    """Matched lines as fail2ban-regex prints them."""
    root = unpacked("fail2ban")
    filters = root / "etc" / "fail2ban" / "filter.d"
    process = subprocess.run(
        ["/usr/bin/python3", "-W", "ignore", root / "usr" / "bin" / "fail2ban-regex",
         "--print-all-matched", "--config", filters.parent, log_file or log.log_file,
         f"{filters / filter_name}.conf[mode={mode}]"],
        capture_output=True, text=True, check=False,
        env=dict(os.environ, PYTHONPATH=str(root / "usr/lib/python3/dist-packages")))
    assert process.returncode == 0, process.stdout + process.stderr
    return [line.strip("| ").strip() for line in process.stdout.split("\n")
            if line.startswith("|  ") and re.search(r"\w+\[\d+\]: ", line)]


def test_fail2ban_sees_refused_recipients_and_too_many_errors(log):
    matched = fail2ban(log, "postfix", "normal")
    assert sum("Relay access denied" in line for line in matched) == 2
    assert sum("User unknown" in line for line in fail2ban(log, "postfix", "more")) == 3
    assert any("too many errors after" in line for line in matched)
    assert not any("carol" in line for line in matched)


def test_fail2ban_sees_failed_logins(log):
    matched = fail2ban(log, "postfix", "auth")
    assert any("SASL PLAIN authentication failed" in line for line in matched)
    assert any("SASL LOGIN authentication failed" in line for line in matched)
    aggressive = fail2ban(log, "postfix", "aggressive")
    assert any("lost connection after RCPT" in line for line in aggressive)
    assert any(re.search(r"disconnect from .* auth=0/1", line) for line in aggressive)


def test_fail2bans_dovecot_filter_sees_failed_pop3_logins(log):
    matched = fail2ban(log, "dovecot", "normal")
    assert any("auth failed, 1 attempts" in line and "user=<alice@example.test>" in line
               for line in matched), matched


def test_logwatch_knows_every_line(log):
    root = unpacked("logwatch") / "usr" / "share" / "logwatch"
    # authd's lines and the first one of master are our own.
    lines = "".join(line + "\n" for line in log.log().split("\n")
                    if "postfix/" in line and not re.search(r"postfix/(authd|master)\[", line))
    process = subprocess.run(
        ["perl", f"-I{root / 'lib'}", root / "scripts" / "services" / "postfix", "--detail", "10",
         "--long_queue_ids", "--syslog_name", "postfix(?:/submission)?"],
        input=lines, capture_output=True, text=True, check=False, env=dict(os.environ))
    report = process.stdout
    assert process.returncode == 0, process.stderr
    counts = {name.strip(): int(count) for count, name in
              re.findall(r"^ +(\d+) {3}(\S.*?)  ", report, flags=re.M)}
    assert counts["Accepted"] == 5, report
    assert counts["Delivered"] == 3 and counts["Sent via SMTP"] == 1, report
    assert counts["Bounced (local)"] == 1 and counts["Deferred"] == 1, report
    assert counts["SASL authenticated messages"] == 3, report
    assert "Unmatched" not in report, report
