"""dakuser: users come, change and go; passwords never on a command line, never in clear on disk."""
import json
import os
import pty
import select
import time

import dakiya
import pytest
from dakiya import PASSWORD


@pytest.fixture
def host():
    directory = dakiya.new_directory("user")
    yield dakiya.Host(directory, users=())
    dakiya.remove_directory(directory)


def users(host):
    return [json.loads(line) for line in host.tool("dakuser", "list", "--json").stdout.splitlines()]


def lookup(host, table, key):
    return host.tool("dakmap", "-q", key, f"hash:{host.data}/{table}", check=False).stdout.strip()


def test_user_gets_mailbox_domain_and_quota(host):
    host.add_user("Alice@Example.TEST", PASSWORD, "--quota", "2G")
    host.add_user("bob@other.test", PASSWORD, "--mailbox", "special/bob/")
    assert [(user["user"], user["mailbox"], user["quota"]) for user in users(host)] == [
        ("alice@example.test", "example.test/alice/", 2 << 30),
        ("bob@other.test", "special/bob/", 0)]
    assert lookup(host, "mailboxes", "alice@example.test") == "example.test/alice/"
    assert lookup(host, "quotas", "alice@example.test") == str(2 << 30)
    assert lookup(host, "domains", "other.test") == "dakuser"
    assert host.tool("dakuser", "domains").stdout == "example.test\nother.test\n"
    assert host.tool("dakuser", "check").returncode == 0
    host.tool("dakuser", "delete", "bob@other.test")
    assert host.tool("dakuser", "domains").stdout == "example.test\n"
    assert lookup(host, "mailboxes", "bob@other.test") == ""


def test_files_have_the_right_owners_and_modes(host):
    host.add_user("alice")
    modes = {name: (host.data / name).stat().st_mode & 0o777
             for name in ("users.db", "mailboxes.db", "domains.db", "quotas.db")}
    assert modes == {"users.db": 0o600, "mailboxes.db": 0o644, "domains.db": 0o644,
                     "quotas.db": 0o644}
    if os.geteuid() == 0:
        status = (host.data / "users.db").stat()
        assert f"{status.st_uid}:{status.st_gid}" == dakiya.OWNERS["auth"]
    assert PASSWORD.encode() not in (host.data / "users.db").read_bytes()


@pytest.mark.parametrize("address", ["alice", "@example.test", "a b@example.test", "a@b@c.test",
                                     "../x@example.test", "a/b@example.test", "a@example..test",
                                     "a\n@example.test", ".@example.test", "a@[192.0.2.1]"])
def test_bad_addresses_are_refused(host, address):
    done = host.tool("dakuser", "add", "--stdin", address, stdin=PASSWORD + "\n", check=False)
    assert done.returncode == 65, done.stderr
    assert users(host) == []


@pytest.mark.parametrize("path", ["../x/", "/etc/x", "a/../../b/", "a//b/", "a/./b/", ""])
def test_mailboxes_cannot_leave_their_base(host, path):
    done = host.tool("dakuser", "add", "--stdin", "--mailbox", path, "a@example.test",
                     stdin=PASSWORD + "\n", check=False)
    assert done.returncode == 65, done.stderr


@pytest.mark.parametrize("password", ["short", "", "x" * 300, "with\x01control", "with\x00nul----"])
def test_bad_passwords_are_refused(host, password):
    done = host.tool("dakuser", "add", "--stdin", "a@example.test", stdin=password + "\n",
                     check=False)
    assert done.returncode == 65, done.stderr
    assert users(host) == []


def test_exit_codes_tell_what_was_wrong(host):
    host.add_user("alice")
    add = host.tool("dakuser", "add", "--stdin", "alice@example.test", stdin=PASSWORD + "\n",
                    check=False)
    assert (add.returncode, "is there already" in add.stderr) == (73, True)
    assert host.tool("dakuser", "delete", "x@example.test", check=False).returncode == 67
    assert host.tool("dakuser", "nonsense", check=False).returncode == 64
    assert host.tool("dakuser", "add", check=False).returncode == 64
    assert host.tool("dakuser", "--help").stdout.startswith("usage:")
    (host.config / "main.cf").write_text("data_directory\n")
    assert host.tool("dakuser", "list", check=False).returncode == 78


def test_password_comes_from_the_terminal_without_echo(host):
    program = str(dakiya.BUILD / "bin" / "dakuser")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(program, [program, "-c", str(host.config), "add", "alice@example.test"])
    seen = b""

    def expect(text):
        nonlocal seen
        until = time.monotonic() + 10
        while text not in seen and time.monotonic() < until:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(terminal, 1000)
                except OSError:
                    break
        assert text in seen, seen

    expect(b"Password: ")
    os.write(terminal, PASSWORD.encode() + b"\n")
    expect(b"Once more: ")
    os.write(terminal, PASSWORD.encode() + b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    while select.select([terminal], [], [], 0.1)[0]:
        try:
            seen += os.read(terminal, 1000)
        except OSError:
            break
    os.close(terminal)
    assert PASSWORD.encode() not in seen
    assert [user["user"] for user in users(host)] == ["alice@example.test"]


def test_many_at_a_time_lose_nothing(host):
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: host.add_user(f"user{number}"), range(24)))
    assert len(users(host)) == 24
    assert sorted(path.name for path in host.data.iterdir()) == [
        "domains.db", "mailboxes.db", "quotas.db", "users.db", "users.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_does_not_work_in_anothers_directory(host):
    os.chown(host.data, 64310, 64310)
    done = host.tool("dakuser", "add", "--stdin", "a@example.test", stdin=PASSWORD + "\n",
                     check=False)
    assert (done.returncode, "must belong to root" in done.stderr) == (73, True)
