#!/usr/bin/python3
"""Two complete mail hosts, example.test and remote.test, exchanging real mail on loopback.

Every step prints the command that was used and what came back, and says whether that was what it
should be. KEEP=1 leaves both hosts running.
"""
import os
import pathlib
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "integration"))

import dakiya  # noqa: E402

KEEP = os.environ.get("KEEP", "") not in ("", "0")
EXAMPLE, REMOTE = "127.0.25.1", "127.0.25.2"
BOLD, GREEN, RED, DIM, PLAIN = (
    ("\033[1m", "\033[32m", "\033[31m", "\033[2m", "\033[0m") if sys.stdout.isatty() else [""] * 5)

steps = []


def is_open_to_others(path):
    """Whether daemons with other uids can reach this directory."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in [path, *path.parents])


def step(title):
    steps.append([title, True])
    print(f"\n{BOLD}{len(steps)}. {title}{PLAIN}")


def expect(is_good, what):
    if not is_good:
        steps[-1][1] = False
    print(f"   {GREEN + 'ok' if is_good else RED + 'FAILED'}{PLAIN}: {what}")


def shown_path(word):
    return str(word).replace(str(TOP) + "/", "")


def command(*words, stdin=None, keep=None, expected_exit=None):
    """Runs a command, prints it and what it printed (lines that match keep); its whole output."""
    words = [str(word) for word in words]
    line = " ".join(shlex.quote(shown_path(word)) for word in words)
    print(f"   {DIM}${PLAIN} {line}")
    result = subprocess.run(words, input=stdin, text=True, capture_output=True, timeout=60,
                            check=False, cwd=TOP)
    output = result.stdout + result.stderr
    for text in output.splitlines():
        if text.strip() and (keep is None or re.search(keep, text)):
            print(f"     {DIM}|{PLAIN} {text}")
    if expected_exit is not None and result.returncode != expected_exit:
        expect(False, f"exit status {result.returncode}, not {expected_exit}")
    return output


def swaks(host, *words, port="smtp", expected_exit=0):
    return command("swaks", "--server", f"{host.address}:{host.ports[port]}", "--timeout", "20",
                   *words, keep=r"^(<|\*)..+ [2345]\d\d |^ *[~-]> +(MAIL|RCPT|AUTH|STARTTLS)|^===",
                   expected_exit=expected_exit)


def read_mailbox(host, user, wanted, timeout=20):
    """Reads the newest message over POP3S with curl until it holds wanted."""
    url = f"pop3s://{host.address}:{host.ports['pop3s']}/"
    login = ["curl", "-sS", "--cacert", str(host.authority.certificate), "--user",
             f"{user}@{host.domain}:{dakiya.PASSWORD}"]
    until = time.monotonic() + timeout
    number = ""
    while time.monotonic() < until:
        listing = subprocess.run([*login, url], text=True, capture_output=True, check=False)
        numbers = [line.split()[0] for line in listing.stdout.splitlines() if line.split()]
        for number in reversed(numbers):
            text = subprocess.run([*login, url + number], text=True, capture_output=True,
                                  check=False).stdout
            if re.search(wanted, text):
                return command(*login, url + number,
                               keep=r"^(Return-Path|Delivered-To|From|To|Subject|Status|Action|"
                                    r"Final-Recipient|Diagnostic-Code|Received: from)|" + wanted)
        time.sleep(0.2)
    return command(*login, url)


def make_hosts(base):
    authority = dakiya.Authority(base / "ca")
    dns = []
    for domain, address in (("example.test", EXAMPLE), ("remote.test", REMOTE)):
        reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa."
        dns += [f"{domain}. 300 IN MX 10 mail.{domain}.", f"mail.{domain}. 300 IN A {address}",
                f"{reverse} 300 IN PTR mail.{domain}."]
    example = dakiya.Host(base / "example.test", "example.test", EXAMPLE, authority, dns,
                          users=["alice"])
    remote = dakiya.Host(base / "remote.test", "remote.test", REMOTE, authority, dns,
                         users=["bob"])
    return example, remote


def show_set_up(example, remote):
    step("Two hosts: configuration, users, start")
    for host in (example, remote):
        print(f"   {host.domain}: {shown_path(host.config)}/main.cf, address {host.address}, ports "
              + ", ".join(f"{name} {port}" for name, port in host.ports.items()))
    for host in (example, remote):
        command(dakiya.BUILD / "bin" / "dakiya", "-c", host.config, "start", expected_exit=0)
        host.is_running = True
        status = command(dakiya.BUILD / "bin" / "dakiya", "-c", host.config, "status",
                         keep=r"running|smtpd|qmgr")
        expect("running" in status, f"{host.domain} is running")


def show_incoming(example):
    step("From outside to alice by plain SMTP")
    output = swaks(example, "--ehlo", "client.test", "--from", "carol@client.test", "--to",
                   "alice@example.test", "--header", "Subject: hello from outside", "--body",
                   "Mail from the Internet.")
    expect("Ok: queued as" in output, "accepted with a queue id")
    found = read_mailbox(example, "alice", "Mail from the Internet")
    expect("hello from outside" in found, "alice reads it over POP3S")


def show_refusals(example):
    step("What is refused: an unknown recipient, and relaying for a stranger")
    output = swaks(example, "--ehlo", "client.test", "--from", "carol@client.test", "--to",
                   "nobody@example.test", expected_exit=24)
    expect(re.search(r"550 5\.1\.1 .*User unknown", output), "550: user unknown, in the session")
    output = swaks(example, "--ehlo", "client.test", "--from", "carol@client.test", "--to",
                   "someone@elsewhere.test", "--local-interface", "127.0.0.1", expected_exit=24)
    expect(re.search(r"[45]54 .*Relay access denied", output), "relay access denied")


def submit(example, to, subject, body):
    return swaks(example, "--ehlo", "laptop.test", "--tls", "--tls-ca-path",
                 str(example.authority.certificate), "--auth", "PLAIN", "--auth-user",
                 "alice@example.test", "--auth-password", dakiya.PASSWORD, "--from",
                 "alice@example.test", "--to", to, "--header", f"Subject: {subject}", "--body",
                 body, port="submission")


def show_submission(example, remote):
    step("alice submits with STARTTLS and AUTH; MX lookup; remote.test; bob reads over POP3S")
    output = submit(example, "bob@remote.test", "from host to host", "Hello Bob, this is Alice.")
    expect("Authentication successful" in output and "Ok: queued as" in output,
           "submitted with authentication under TLS")
    found = read_mailbox(remote, "bob", "this is Alice")
    expect("Hello Bob" in found, "bob has it")
    sent = re.findall(r".*to=<bob@remote.test>.*status=sent.*", example.log())
    for line in sent[-1:]:
        print(f"     {DIM}|{PLAIN} {line}")
    expect(bool(sent), "the log says status=sent")


def show_bounce(example):
    step("A bounce comes back to alice for an unknown user at the other side")
    submit(example, "nosuchuser@remote.test", "to nobody", "Will anybody read this?")
    found = read_mailbox(example, "alice", r"Undelivered Mail Returned to Sender")
    expect(re.search(r"Status: 5\.1\.1", found) and "nosuchuser@remote.test" in found,
           "a delivery status notification with status 5.1.1")


def show_queue(example, remote):
    step("remote.test is down: the message waits, is listed, then flushed and delivered")
    command(dakiya.BUILD / "bin" / "dakiya", "-c", remote.config, "stop", expected_exit=0)
    remote.is_running = False
    submit(example, "bob@remote.test", "patience", "I can wait for you.")
    queue = ["-c", example.config]
    dakqueue = dakiya.BUILD / "bin" / "dakqueue"
    dakiya.wait_for("a deferral in the log",
                    lambda: re.search(r"to=<bob@remote.test>.*status=deferred", example.log()))
    output = command(dakqueue, *queue, "list")
    expect("bob@remote.test" in output and "refused" in output, "listed with the reason")
    command(dakiya.BUILD / "bin" / "dakiya", "-c", remote.config, "start", expected_exit=0)
    remote.is_running = True
    command(dakqueue, *queue, "flush", expected_exit=0)
    found = read_mailbox(remote, "bob", "I can wait for you")
    expect("patience" in found, "delivered after the flush")
    try:
        example.wait_queue_empty()
    except AssertionError:
        pass
    output = command(dakqueue, *queue, "list")
    expect("empty" in output, "the queue is empty again")


def show_end(example, remote):
    if KEEP:
        print(f"\n{BOLD}Both hosts are still running.{PLAIN} Point a mail client at them:")
        for host, user in ((example, "alice"), (remote, "bob")):
            print(f"   {user}@{host.domain}, password '{dakiya.PASSWORD}': POP3S {host.address}:"
                  f"{host.ports['pop3s']}, submission with STARTTLS {host.address}:"
                  f"{host.ports['submission']}, or TLS {host.address}:{host.ports['submissions']}")
        print(f"   certificate authority: {shown_path(example.authority.certificate)}")
        for host in (example, remote):
            print(f"   stop it: build/bin/dakiya -c {shown_path(host.config)} stop")
        return
    step("Both hosts stop")
    for host in (example, remote):
        command(dakiya.BUILD / "bin" / "dakiya", "-c", host.config, "stop", expected_exit=0)
        host.is_running = False
    expect(not any(dakiya.port_is_open(host.address, host.ports["smtp"])
                   for host in (example, remote)), "nothing is left running")


def main():
    base = TOP / "demo"
    if os.geteuid() == 0 and not is_open_to_others(TOP):
        base = pathlib.Path("/tmp/dakiya-demo")
        print(f"demo: {TOP} cannot be entered by the daemons' users; the hosts go to {base}")
    base.mkdir(exist_ok=True)
    os.chmod(base, 0o755)
    for domain in ("example.test", "remote.test"):
        old = base / domain
        if (old / "etc" / "main.cf").exists():
            subprocess.run([dakiya.BUILD / "bin" / "dakiya", "-c", old / "etc", "stop"],
                           capture_output=True, check=False)
        shutil.rmtree(old, ignore_errors=True)
    example, remote = make_hosts(base)
    try:
        show_set_up(example, remote)
        show_incoming(example)
        show_refusals(example)
        show_submission(example, remote)
        show_bounce(example)
        show_queue(example, remote)
        show_end(example, remote)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        steps[-1][1] = False
        print(f"   {RED}FAILED{PLAIN}: {error}")
    finally:
        if not KEEP:
            for host in (example, remote):
                host.stop(check=False)
    good = sum(is_good for _, is_good in steps)
    print(f"\n{BOLD}demo: {good} of {len(steps)} steps worked{PLAIN}")
    for title, is_good in steps:
        if not is_good:
            print(f"   {RED}failed{PLAIN}: {title}")
    return 0 if good == len(steps) and good > 5 else 1


if __name__ == "__main__":
    sys.exit(main())
