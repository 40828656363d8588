"""dakiya setup: from nothing to a delivered and retrieved mail, and again without a change."""
import hashlib
import os
import pathlib
import poplib
import re
import shutil
import smtplib
import ssl
import subprocess

import pytest

import dakiya
from dakiya import BUILD, PORTS, wait_for
from dns_server import DnsServer

PASSWORD = "correct horse battery"


@pytest.fixture(name="place")
def place_fixture():
    directory = dakiya.new_directory("setup")
    yield directory
    dakiya.remove_directory(directory)


def set_up(*arguments, stdin="", user=None, check=True):
    """Runs dakiya setup, as another user when one is given."""
    as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    process = subprocess.run([BUILD / "bin" / "dakiya", "setup", *map(str, arguments)],
                             input=stdin, text=True, capture_output=True, timeout=60,
                             check=False, **as_user)
    if check:
        assert process.returncode == 0, process.stdout + process.stderr
    return process


def contents(directory):
    """What is in every file, whose it is, and when it was changed. But the queue's: master, on
    its way out, may still remove its socket."""
    found = {}
    for path in sorted(pathlib.Path(directory).rglob("*")):
        if path.is_relative_to(directory / "queue"):
            continue
        state = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (state.st_mode, state.st_uid, state.st_gid, state.st_mtime_ns,
                            state.st_ino, digest)
    return found


class Tree:
    """A set-up tree that is started, used and stopped."""

    def __init__(self, directory, address, user=None):
        self.config, self.address, self.user = directory / "etc", address, user
        self.log = directory / "mail.log"

    def tool(self, *arguments):
        as_user = {} if self.user is None else {"user": self.user, "group": self.user,
                                                "extra_groups": []}
        process = subprocess.run([BUILD / "bin" / "dakiya", "-c", self.config, *arguments],
                                 text=True, capture_output=True, timeout=60, check=False,
                                 **as_user)
        assert process.returncode == 0, process.stdout + process.stderr + (
            self.log.read_text() if self.log.exists() else "")
        return process.stdout

    def __enter__(self):
        self.tool("start")
        return self

    def __exit__(self, *_):
        self.tool("stop")

    def context(self):
        return ssl.create_default_context(cafile=str(self.config / "host.pem"))

    def send(self, recipient, subject):
        with smtplib.SMTP(self.address, PORTS["smtp"], timeout=20,
                          local_hostname="client.test") as client:
            client.sendmail("carol@client.test", recipient,
                            f"From: carol@client.test\r\nSubject: {subject}\r\n\r\nHello.\r\n")

    def submit(self, user, recipient, subject, host="mail.example.org"):
        """With the certificate that setup made, its name checked."""
        context = self.context()
        client = smtplib.SMTP_SSL(timeout=20, local_hostname="client.test", context=context)
        client._host = host  # the name that is to be in the certificate
        client.connect(self.address, PORTS["submissions"])
        client.login(user, PASSWORD)
        client.sendmail(user, recipient, f"From: {user}\r\nSubject: {subject}\r\n\r\nHello.\r\n")
        client.quit()

    def subjects(self, user):
        context = self.context()
        context.check_hostname = False
        client = poplib.POP3_SSL(self.address, PORTS["pop3s"], timeout=20, context=context)
        client.user(user)
        client.pass_(PASSWORD)
        count = len(client.list()[1])
        lines = [line for index in range(count) for line in client.retr(index + 1)[1]]
        client.quit()
        return sorted(line[9:].decode() for line in lines if line.startswith(b"Subject: "))


def from_nothing_to_mail(place, user=None):
    directory, address = place / "tree", dakiya.new_address()
    arguments = ("--directory", directory, "--listen", address, "--no-probe", "--user", "alice",
                 "--password-stdin", "example.org")
    first = set_up(*arguments, stdin=PASSWORD + "\n", user=user).stdout
    assert "makes  user alice@example.org" in first
    assert "0 errors, 0 warnings" in Tree(directory, address, user).tool("check")
    with Tree(directory, address, user) as tree:
        tree.send("alice@example.org", "one")
        tree.send("postmaster@example.org", "two")
        tree.send("abuse@example.org", "three")
        tree.send("postmaster", "four")
        tree.submit("alice@example.org", "hostmaster@example.org", "five")
        wait_for("five messages", lambda: tree.subjects("alice@example.org") == sorted(
            ("one", "two", "three", "four", "five")), 30)
    before = contents(directory)
    second = set_up(*arguments, stdin="another password\n", user=user).stdout
    assert "nothing was changed" in second and "makes" not in second
    assert contents(directory) == before
    return directory, first


def test_a_tree_of_ones_own(place):
    directory, said = from_nothing_to_mail(place)
    key = (directory / "etc" / "host.pem").stat()
    assert key.st_mode & 0o777 == 0o600 and key.st_uid == os.geteuid()
    for line in (r"example\.org\. +IN MX    10 mail\.example\.org\.",
                 r"mail\.example\.org\. +IN A     192\.0\.2\.1",
                 r'example\.org\. +IN TXT   "v=spf1 mx -all"',
                 r'_dmarc\.example\.org\. +IN TXT   "v=DMARC1; p=none; rua=',
                 r"_submissions\._tcp\.example\.org\. +IN SRV   0 1 465 mail\.example\.org\.",
                 r"_pop3s\._tcp\.example\.org\. +IN SRV   0 1 995 mail\.example\.org\."):
        again = set_up("--directory", directory, "--address", "192.0.2.1", "--yes", "--no-probe",
                      "example.org").stdout
        assert re.search("^" + line, again, re.M), again
    tlsa = re.search(r"^_25\._tcp\.mail\.example\.org\. +IN TLSA  3 1 1 ([0-9a-f]{64})$", said, re.M)
    public = subprocess.run(f"openssl x509 -in {directory}/etc/host.pem -noout -pubkey | openssl "
                            "pkey -pubin -outform DER | sha256sum", shell=True, text=True,
                            capture_output=True, check=True).stdout
    assert tlsa.group(1) == public.split()[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_an_ordinary_user_needs_no_root(place):
    os.chown(place, 64399, 64399)
    directory, _ = from_nothing_to_mail(place, user=64399)
    assert {state[1] for state in contents(directory).values()} == {64399}


def test_only_root_may_change_the_system(place):
    if os.geteuid() == 0:
        refused = set_up("--yes", "--no-probe", "example.org", user=64399, check=False)
    else:
        refused = set_up("--yes", "--no-probe", "example.org", check=False)
    assert refused.returncode == 77 and "--directory" in refused.stderr
    assert not list(place.iterdir())


def test_a_dry_run_changes_nothing(place):
    said = set_up("--directory", place / "tree", "--yes", "--no-probe", "--dry-run",
                 "example.org").stdout
    assert "would make  main.cf: myhostname = mail.example.org" in said
    assert "would make  user postmaster@example.org" in said
    assert not (place / "tree").exists()


def test_what_a_person_edited_stays(place):
    directory = place / "tree"
    config = directory / "etc"
    set_up("--directory", directory, "--yes", "--no-probe", "--user", "alice", "example.org")
    main = (config / "main.cf").read_text()
    main = main.replace("message_size_limit = 52428800", "message_size_limit = 1000000")
    main = re.sub(r"^myhostname = .*$", "# ours since 2011\nmyhostname = mx.example.org", main,
                  flags=re.M)
    (config / "main.cf").write_text(main)
    master = (config / "master.cf").read_text()
    (config / "master.cf").write_text(re.sub(r"^2465 .*\n(  .*\n)+", "", master, flags=re.M))
    with open(config / "virtual", "a", encoding="ascii") as virtual:
        virtual.write("sales@example.org\tbob@example.org\n")
    text = (config / "virtual").read_text().replace("abuse@example.org\talice@example.org\n", "")
    (config / "virtual").write_text(text)
    os.unlink(config / "host.pem")
    shutil.copy("/dev/null", config / "notes")
    before = contents(directory)
    said = set_up("--directory", directory, "--yes", "--no-probe", "--hostname", "mail.example.org",
                 "--user", "alice", "example.org").stdout
    assert "leaves  main.cf: myhostname = mx.example.org (setup would set mail.example.org)" in said
    assert "leaves  master.cf: no service on port 465 (submissions)" in said
    after = contents(directory)
    made = {path for path in after if path not in before}
    assert made == {str(config / "host.pem")}, "what was missing is made"
    changed = {path for path in before if before[path] != after[path]} - {str(config)}
    assert changed == set()


def test_a_second_domain_is_added(place):
    directory = place / "tree"
    set_up("--directory", directory, "--yes", "--no-probe", "--user", "alice", "example.org")
    said = set_up("--directory", directory, "--yes", "--no-probe", "--user", "zoe",
                 "second.test").stdout
    assert said.count("makes") == 2, said
    virtual = (directory / "etc" / "virtual").read_text()
    assert "abuse@example.org\talice@example.org" in virtual
    assert "abuse@second.test\tzoe@second.test" in virtual
    assert virtual.count("\npostmaster\t") == 1


def test_three_questions_and_their_defaults(place):
    directory = place / "tree"
    said = set_up("--directory", directory, "--no-probe",
                 stdin="Example.ORG\n\nalice\n" + PASSWORD + "\n").stdout
    assert said.count(": mail host for") == 1 and said.startswith("The domain that gets mail: ")
    assert "[mail.example.org]: " in said and "The first user [postmaster]: " in said
    assert "makes  user alice@example.org" in said and PASSWORD not in said
    again = set_up("--directory", directory, "--no-probe", "example.org").stdout
    assert again.startswith("mail.example.org: mail host for example.org"), "no question is left"
    short = set_up("--directory", place / "other", "--no-probe", check=False,
                  stdin="example.org\n\nalice\nshort\n")
    assert short.returncode == 73 and "password" in short.stderr


@pytest.mark.parametrize("arguments,words", [
    (["nodot"], "is no domain name"),
    (["-x.example"], "unknown option"),
    (["exa mple.org"], "is no domain name"),
    (["example.org", "other.org"], "one domain at a time"),
    (["--hostname", "a_b.example.org", "example.org"], "is no host name"),
    (["--user", "alice@other.org", "example.org"], "is not in example.org"),
    (["--wrong", "example.org"], "unknown option --wrong"),
    (["example.org", "--user"], "--user needs a value"),
    ([], "which domain?"),
    ([f"{'a' * 64}.org"], "is no domain name"),
])
def test_wrong_words_are_refused_before_anything_is_made(place, arguments, words):
    refused = set_up("--directory", place / "tree", "--yes", "--no-probe", *arguments, check=False)
    assert refused.returncode == 64 and words in refused.stderr, refused.stderr
    assert not (place / "tree").exists()


def test_the_network_is_asked_and_its_answers_are_said(place):
    zones = {"arpa": "1.2.0.192.in-addr PTR mail.example.org.\n"
                     "2.2.0.192.in-addr PTR other.provider.test.\n", ".": ""}
    address = dakiya.new_address()
    with DnsServer(zones, address=address) as server:
        arguments = ["--directory", place / "tree", "--yes", "--dry-run", "--name-server",
                     f"{address}@{server.port}", "--address", "192.0.2.1", "--address",
                     "192.0.2.2", "--address", "192.0.2.3", "example.org"]
        open_port = set_up("--probe", f"{address}:{server.port}", *arguments).stdout
        closed_port = set_up("--probe", f"{address}:1", *arguments).stdout
    assert "192.0.2.1: its name (PTR) is mail.example.org\n" in open_port, open_port
    assert "192.0.2.2: its name (PTR) is other.provider.test, not mail.example.org" in open_port
    assert "192.0.2.3: has no name (PTR)" in open_port
    assert "names: the name server answers" in open_port
    assert f"port 25 out: open ({address}:{server.port} answers)" in open_port
    assert "port 25 out: closed" in closed_port and "Connection refused" in closed_port
    offline = set_up("--probe", f"{address}:1", *arguments).stdout
    assert "this host is offline" in offline
