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
        "aliases.db", "domains.db", "last-use", "mailboxes.db", "quotas.db", "users.db",
        "users.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_does_not_work_in_anothers_directory(host):
    os.chown(host.data, 64310, 64310)
    done = host.tool("dakuser", "add", "--stdin", "a@example.test", stdin=PASSWORD + "\n",
                     check=False)
    assert (done.returncode, "must belong to root" in done.stderr) == (73, True)


def test_a_renamed_user_keeps_password_mailbox_and_aliases(host):
    host.add_user("alice", PASSWORD, "--quota", "1M")
    host.tool("dakuser", "alias", "add", "info@example.test", "alice@example.test", "x@other.test")
    before = host.tool("dakuser", "export").stdout
    host.tool("dakuser", "rename", "alice@example.test", "carol@example.test")
    (user,) = users(host)
    assert (user["user"], user["mailbox"], user["quota"]) == (
        "carol@example.test", "example.test/alice/", 1 << 20)
    assert host.tool("dakuser", "export").stdout == before.replace("alice@", "carol@")
    assert lookup(host, "aliases", "info@example.test") == "carol@example.test, x@other.test"
    assert host.tool("dakuser", "rename", "x@example.test", "y@example.test",
                     check=False).returncode == 67


def test_aliases_are_kept_in_a_table(host):
    host.add_user("alice")
    add = host.tool("dakuser", "alias", "add", "Info@Example.Test", "alice@example.test")
    assert f"virtual_alias_maps names hash:{host.data}/aliases" in add.stderr, "it is not in use"
    host.tool("dakuser", "alias", "add", "info@example.test", "Bob@other.test", "alice@example.test")
    assert lookup(host, "aliases", "info@example.test") == "alice@example.test, Bob@other.test"
    listed = [json.loads(line) for line in
              host.tool("dakuser", "alias", "list", "--json", "example.test").stdout.splitlines()]
    assert listed == [{"alias": "info@example.test",
                       "targets": ["alice@example.test", "Bob@other.test"]}]
    host.tool("dakuser", "alias", "delete", "info@example.test", "alice@example.test")
    assert lookup(host, "aliases", "info@example.test") == "Bob@other.test"
    host.tool("dakuser", "alias", "delete", "info@example.test")
    assert host.tool("dakuser", "alias", "list").stdout == ""
    codes = [host.tool("dakuser", "alias", *arguments, check=False).returncode for arguments in (
        ("delete", "info@example.test"), ("add", "x@nowhere.test", "a@example.test"),
        ("add", "x@example.test", "|/bin/sh"), ("add", "x@example.test"), ("add", "x y@e.test", "a@b.c"))]
    assert codes == [67, 67, 65, 64, 65]
    host.tool("dakuser", "alias", "add", "--force", "x@nowhere.test", "a@example.test")


def test_a_catch_all_leaves_the_users_their_mail(host):
    host.add_user("alice")
    host.tool("dakuser", "alias", "add", "@example.test", "alice@example.test")
    host.add_user("bob")
    assert lookup(host, "aliases", "bob@example.test") == "bob@example.test"
    assert lookup(host, "aliases", "@example.test") == "alice@example.test"
    assert len(host.tool("dakuser", "alias", "list").stdout.splitlines()) == 1
    host.tool("dakuser", "alias", "delete", "@example.test")
    assert lookup(host, "aliases", "bob@example.test") == ""


def test_domains_stand_by_themselves_and_go_only_by_force(host):
    host.tool("dakuser", "domain", "add", "Empty.Test")
    host.add_user("alice")
    host.tool("dakuser", "alias", "add", "info@empty.test", "alice@example.test")
    assert lookup(host, "domains", "empty.test") != ""
    counts = [json.loads(line) for line in
              host.tool("dakuser", "domain", "list", "--json").stdout.splitlines()]
    assert counts == [{"domain": "empty.test", "users": 0, "aliases": 1},
                      {"domain": "example.test", "users": 1, "aliases": 0}]
    refused = host.tool("dakuser", "domain", "remove", "example.test", check=False)
    assert (refused.returncode, "1 users" in refused.stderr) == (73, True)
    assert len(users(host)) == 1
    host.tool("dakuser", "domain", "remove", "--force", "example.test")
    assert users(host) == [] and lookup(host, "domains", "example.test") == ""
    assert host.tool("dakuser", "domains").stdout == "empty.test\n"
    assert host.tool("dakuser", "check", check=False).returncode == 0
    host.tool("dakuser", "domain", "remove", "--force", "empty.test")
    assert host.tool("dakuser", "domain", "remove", "empty.test", check=False).returncode == 67
    assert host.tool("dakuser", "domain", "add", "no domain", check=False).returncode == 65


def test_check_names_an_alias_that_leads_to_nobody(host):
    host.add_user("alice")
    host.tool("dakuser", "alias", "add", "info@example.test", "gone@example.test")
    done = host.tool("dakuser", "check", check=False)
    assert (done.returncode, done.stderr) == (
        1, "dakuser: alias info@example.test: there is no gone@example.test\n")


def test_users_come_from_a_passwd_file_and_go_to_one(host):
    import crypt
    import hashlib
    import base64

    def ssha512(password):
        return base64.b64encode(hashlib.sha512(password + b"salt").digest() + b"salt").decode()

    lines = [
        "# from Dovecot",
        f"alice@example.test:{{SHA512-CRYPT}}{crypt.crypt('pw-alice', '$6$abcdefgh')}:5000:5000::/x::"
        "userdb_quota_rule=*:storage=2G",
        f"bob:{{BLF-CRYPT}}{crypt.crypt('pw-bob', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))}::::::nologin",
        "carol@example.test:{PLAIN}pw-carol",
        f"dave@example.test:{{SSHA512}}{ssha512(b'pw-dave')}:::",
        f"erin@example.test:{crypt.crypt('pw-erin', '$5$abcdefgh')}",
        "frank@example.test:{SHA}" + base64.b64encode(hashlib.sha1(b"pw-frank").digest()).decode(),
    ]
    source = host.directory / "passwd"
    source.write_text("\n".join(lines) + "\n")
    done = host.tool("dakuser", "import", "--domain", "example.test", source)
    assert done.stdout == "6 users added, 0 replaced, 0 were there already\n"
    states = {user["user"].split("@")[0]: (user["state"], user["quota"]) for user in users(host)}
    assert states["alice"] == ("enabled", 2 << 30) and states["bob"] == ("disabled", 0)
    exported = host.tool("dakuser", "export").stdout
    assert exported.splitlines()[0] == (
        f"alice@example.test:{{CRYPT}}{crypt.crypt('pw-alice', '$6$abcdefgh')}::::::"
        f"userdb_quota_rule=*:bytes={2 << 30}")
    assert "pw-carol" not in exported
    host.tool("dakuser", "domain", "remove", "--force", "example.test")
    host.tool("dakuser", "import", "-", stdin=exported)
    assert host.tool("dakuser", "export").stdout == exported
    assert host.tool("dakuser", "import", source, "--domain", "example.test").stdout == (
        "0 users added, 0 replaced, 6 were there already\n")
    host.settings |= {"auth_allow_cleartext": "yes", "smtpd_tls_auth_only": "no"}
    host.write_config()
    with host:
        for user in ("alice", "carol", "dave", "erin", "frank"):
            client = host.smtp("submission")
            client.login(f"{user}@example.test", f"pw-{user}")
            client.quit()
        with pytest.raises(Exception, match="535"):
            host.smtp("submission").login("bob@example.test", "pw-bob")


def test_a_forced_import_sets_passwords_and_keeps_the_rest(host):
    host.add_user("alice", PASSWORD, "--quota", "5M")
    app_password(host, "phone")
    before = host.tool("dakuser", "export").stdout
    done = host.tool("dakuser", "import", "--force", "-", stdin="alice@example.test:{PLAIN}other\n")
    assert done.stdout == "0 users added, 1 replaced, 0 were there already\n"
    assert host.tool("dakuser", "export").stdout != before
    assert users(host)[0]["quota"] == 5 << 20 and len(apps(host)) == 1


def test_an_import_with_a_bad_line_changes_nothing(host):
    done = host.tool("dakuser", "import", "-", check=False, stdin=(
        "a@example.test:{PLAIN}password\nb@example.test:{ARGON2ID}$argon2id$x\nno-domain:{PLAIN}x\n"
        "c@example.test:$nonsense$\nd@example.test:{SSHA}AAAA\n"))
    assert done.returncode == 65
    assert "-:2: scheme {ARGON2ID} is not known" in done.stderr and "-:3:" in done.stderr
    assert "-:4:" in done.stderr and "-:5:" in done.stderr and "nothing was imported" in done.stderr
    assert users(host) == []
    assert host.tool("dakuser", "import", "/nonexistent", check=False).returncode == 66


# ---- app passwords ----

def app_password(host, *arguments, user="alice@example.test"):
    return host.tool("dakuser", "app", "add", *arguments[:-1], user, arguments[-1]).stdout.strip()


def apps(host, user="alice@example.test"):
    return [json.loads(line) for line in
            host.tool("dakuser", "app", "list", "--json", user).stdout.splitlines()]


def smtp_login(host, password, user="alice@example.test", mechanism="PLAIN"):
    """Whether it may log in, by a mechanism that sends the password."""
    import smtplib

    client = host.smtp("submission")
    client.ehlo()
    client.user, client.password = user, password
    try:
        client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))
    except smtplib.SMTPAuthenticationError:
        return False
    finally:
        client.close()
    return True


def pop3_login(host, password, user="alice@example.test"):
    import poplib

    client = poplib.POP3(host.address, host.ports["pop3"], timeout=20)
    try:
        client.user(user)
        client.pass_(password)
    except poplib.error_proto:
        return False
    finally:
        client.close()
    return True


@pytest.fixture
def running():
    directory = dakiya.new_directory("apps")
    host = dakiya.Host(directory, users=("alice",), settings={
        "auth_allow_cleartext": "yes", "smtpd_tls_auth_only": "no", "auth_failure_delay": "0s",
        "auth_password_cost": "1"})
    with host:
        yield host
    host.check_log()
    dakiya.remove_directory(directory)


def test_app_passwords_count_for_their_protocol_only(running):
    host = running
    phone = app_password(host, "--protocol", "smtp", "phone")
    laptop = app_password(host, "--protocol", "pop3", "a laptop")
    both = app_password(host, "tablet")
    assert len({phone, laptop, both}) == 3 and all(len(one) == 24 for one in (phone, laptop, both))
    assert [(app["label"], app["protocol"], app["last_use"]) for app in apps(host)] == [
        ("phone", "smtp", 0), ("a laptop", "pop3", 0), ("tablet", "any", 0)]
    expected = {phone: (True, False), laptop: (False, True), both: (True, True),
                PASSWORD: (True, True), phone[:-1] + "x": (False, False)}
    for password, answers in expected.items():
        assert (smtp_login(host, password), pop3_login(host, password)) == answers, password
        # Once more, when what was right is in the cache.
        assert (smtp_login(host, password), pop3_login(host, password)) == answers, password
    assert smtp_login(host, phone, mechanism="LOGIN")
    now = time.time()
    assert all(now - 60 < app["last_use"] <= now + 1 for app in apps(host))
    assert now - 60 < users(host)[0]["last_use"] <= now + 1
    assert host.tool("dakuser", "list").stdout.rstrip().split(" used=")[0].endswith("apps=3")


def test_changes_of_app_passwords_and_users_count_at_once(running):
    host = running
    phone, other = app_password(host, "phone"), app_password(host, "other")
    assert smtp_login(host, phone) and smtp_login(host, other)
    host.tool("dakuser", "app", "delete", "alice@example.test", "phone")
    assert not smtp_login(host, phone) and smtp_login(host, other)
    host.tool("dakuser", "password", "--stdin", "alice@example.test", stdin="another password\n")
    assert smtp_login(host, other) and smtp_login(host, "another password")
    host.tool("dakuser", "disable", "alice@example.test")
    assert not smtp_login(host, other) and not smtp_login(host, "another password")
    host.tool("dakuser", "enable", "alice@example.test")
    assert smtp_login(host, other)
    host.tool("dakuser", "rename", "alice@example.test", "carol@example.test")
    assert smtp_login(host, other, "carol@example.test") and not smtp_login(host, other)


def test_app_passwords_are_bounded_and_named(host):
    host.add_user("alice")
    for number in range(16):
        app_password(host, f"device {number}")
    more = host.tool("dakuser", "app", "add", "alice@example.test", "x", check=False)
    assert (more.returncode, "which is the most" in more.stderr) == (73, True)
    taken = host.tool("dakuser", "app", "add", "alice@example.test", "device 3", check=False)
    assert taken.returncode == 73
    codes = [host.tool("dakuser", "app", *arguments, check=False).returncode for arguments in (
        ("delete", "alice@example.test", "nonesuch"), ("add", "x@example.test"),
        ("add", "--protocol", "imap", "alice@example.test"), ("list", "x@example.test"),
        ("add", "alice@example.test", "y" * 65))]
    assert codes == [67, 67, 64, 67, 65]
    host.tool("dakuser", "app", "delete", "alice@example.test", apps(host)[0]["id"])
    assert len(apps(host)) == 15


def test_mail_follows_aliases_as_they_change(host):
    host.settings |= {"virtual_alias_maps": f"hash:{host.data}/aliases"}
    host.write_config()
    for user in ("alice", "bob"):
        host.add_user(user)
    text = "From: a@sender.test\r\nSubject: s\r\n\r\nhi\r\n"

    def change(*arguments):
        done = host.tool("dakuser", *arguments)
        time.sleep(0.2)  # tables are looked at ten times a second
        return done

    def refused():
        with pytest.raises(Exception, match="550|User unknown"):
            host.send("a@sender.test", ["info@example.test"], text)

    with host:
        refused()
        done = change("alias", "add", "info@example.test", "alice@example.test", "bob@example.test")
        assert done.stderr == "", "it is in use"
        host.send("a@sender.test", ["info@example.test"], text)
        host.wait_messages("alice")
        host.wait_messages("bob")
        change("alias", "delete", "info@example.test")
        refused()
        change("alias", "add", "@example.test", "bob@example.test")
        host.send("a@sender.test", ["info@example.test", "alice@example.test"], text)
        host.wait_messages("bob", 2)
        host.wait_messages("alice", 2)
        assert len(host.messages("bob")) == 2
        change("domain", "add", "new.test")
        change("alias", "add", "x@new.test", "alice@example.test")
        host.send("a@sender.test", ["x@new.test"], text)
        host.wait_messages("alice", 3)
    host.check_log()
