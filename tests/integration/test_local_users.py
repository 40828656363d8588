"""local: system users, aliases, .forward, commands, on a whole host with its own passwd table."""
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import signal
import time

import pytest

import dakiya
import local_host
from local_host import DEFAULT_UID, DOMAIN, IS_ROOT, UIDS, LocalHost


@pytest.fixture
def make_local(make_host):
    def make(settings=None, aliases=None, **options):
        return LocalHost(make_host, settings, aliases, **options)
    return make


def test_a_user_gets_mail_at_home_with_our_fields(make_local):
    local = make_local().start()
    local.send("Bob+news")
    text, = local.wait_mail("bob")
    assert text.startswith(b"Return-Path: <sender@client.test>\nX-Original-To: Bob+news@local.test\n"
                           b"Delivered-To: Bob+news@local.test\nReceived: ")
    file, = (local.homes / "bob" / "Maildir" / "new").iterdir()
    assert file.stat().st_uid == UIDS["bob"] and file.stat().st_mode & 0o777 == 0o600
    local.wait_log(r"postfix/local\[\d+\]: \w+: to=<Bob\+news@local.test>, relay=local, delay=.*, "
                   r"dsn=2.0.0, status=sent \(delivered to maildir\)")
    local.host.wait_queue_empty()


def dump_script(local, name="dump"):
    """A program that writes its environment, directory, groups and input beside itself."""
    out = local.shared / f"{name}.out"
    return local.script(name, f"""#!/bin/sh
{{ env | sort; echo "PWD=$(pwd)"; echo "ID=$(id -u):$(id -g):$(id -G)"; echo "ARGS=$*"; echo ---; cat; }} >{out}.tmp
mv {out}.tmp {out}
"""), out


def environment_of(text):
    head, _, message = text.partition(b"---\n")
    values = dict(line.split("=", 1) for line in head.decode().splitlines() if "=" in line)
    return values, message


# ---- aliases ----

def test_an_alias_goes_to_its_addresses_as_one_new_message(make_local):
    local = make_local(aliases={"team": "bob, \"Alice\" <alice@local.test>, carol (too)"}).start()
    local.send("team")
    for name in ("bob", "alice", "carol"):
        text, = local.wait_mail(name)
        assert b"\nX-Original-To: team@local.test\n" in text
        assert f"\nDelivered-To: {name}@local.test\n".encode() in text
        assert b"\nDelivered-To: team@local.test\n" in text
        assert text.count(b"Received: by mail.example.test") == 1
    first, second = local.wait_log(r"(\w+): to=<team@local.test>, relay=local, .*dsn=2.0.0, "
                                   r"status=sent \(forwarded as (\w+)\)").groups()
    assert re.search(rf"{second}: from=<sender@client.test>, size=\d+, nrcpt=3", local.host.log())
    local.wait_log(rf"{first}: removed")
    local.wait_log(rf"{second}: to=<bob@local.test>, orig_to=<team@local.test>, relay=local")


def test_alias_chain_owner_and_extension(make_local):
    local = make_local(aliases={
        "postmaster": "root", "root": "bob", "list": "alice, carol", "owner-list": "bob",
        "list-request": "carol", "x-request": "bob", "x": "alice"}).start()
    local.send("postmaster")
    text, = local.wait_mail("bob")
    assert text.startswith(b"Return-Path: <sender@client.test>\n")
    assert text.count(b"Delivered-To: ") == 3
    local.send("List")
    text, = local.wait_mail("alice")
    assert text.startswith(b"Return-Path: <owner-list@local.test>\n")
    local.wait_mail("carol")
    local.send("x-request")  # never split: recipient_delimiter = + does not matter here
    local.wait_mail("bob", 2)
    local.send("list+ext")
    local.wait_mail("alice", 2)
    local.send("list", sender="")
    text = local.wait_mail("alice", 3)[-1]
    assert text.startswith(b"Return-Path: <>\n")


def test_expand_owner_alias_makes_the_person_the_sender(make_local):
    local = make_local({"expand_owner_alias": "yes"},
                       {"list": "alice", "owner-list": "bob@local.test"}).start()
    local.send("list")
    text, = local.wait_mail("alice")
    assert text.startswith(b"Return-Path: <bob@local.test>\n")


def test_an_alias_that_names_its_own_user_reaches_the_mailbox_too(make_local):
    local = make_local(aliases={"bob": "bob, alice", "carol": "\\carol, \"|cat >/dev/null\""}).start()
    local.send("bob", "carol")
    local.wait_mail("bob")
    local.wait_mail("alice")
    local.wait_mail("carol")
    local.host.wait_queue_empty()
    assert len(local.mail("bob")) == 1 and len(local.mail("alice")) == 1


def test_aliases_in_a_circle_end_with_a_notice(make_local):
    local = make_local(aliases={"a": "b", "b": "a"}).start()
    local.send("a", sender="bob@local.test")
    text, = local.wait_mail("bob")
    assert b"Status: 5.4.6" in text and b"mail forwarding loop for a@local.test" in text
    local.host.wait_queue_empty()


def test_a_command_of_an_alias_runs_as_default_privs_with_the_message(make_local):
    local = make_local({"export_environment": "MAIL_CONFIG FOO=bar LANG"})
    script, out = dump_script(local)
    local.set_aliases({"prog": f"\"|{script} a 'b c' $HOME.x\"", "plain": f"|{script}"})
    local.start()
    local.send("prog+ex`t", sender="who$x'y@client.test", body="From here\n.\nbye\n")
    values, message = environment_of(local.wait_file(out))
    assert values["ARGS"] == "a b c .x"
    assert values["ID"] == (f"{DEFAULT_UID}:{DEFAULT_UID}:{DEFAULT_UID}" if IS_ROOT
                            else values["ID"])
    assert values["SENDER"] == "who_x_y@client.test"
    assert values["RECIPIENT"] == "prog+ex_t@local.test" and values["EXTENSION"] == "ex_t"
    assert (values["USER"], values["LOCAL"], values["DOMAIN"]) == ("prog", "prog+ex_t", DOMAIN)
    assert values["ORIGINAL_RECIPIENT"] == "prog+ex_t@local.test"
    assert values["CLIENT_ADDRESS"] == "127.0.0.1"
    assert values["CLIENT_PROTOCOL"] == "ESMTP" and values["CLIENT_HELO"] == "client.test"
    assert values["FOO"] == "bar" and values["MAIL_CONFIG"] == str(local.host.config)
    assert values["LANG"] == "C" and "HOME" not in values and "LC_ALL" not in values
    assert re.match(rb"From who\$x'y@client.test \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n"
                    rb"Return-Path: <who\$x'y@client.test>\nX-Original-To: prog\+ex`t@local.test"
                    rb"\nDelivered-To: prog\+ex`t@local.test\nReceived: ", message)
    assert message.endswith(b"\n\nFrom here\n.\nbye\n") and b"\r" not in message
    local.wait_log(r"status=sent \(delivered to command: \S+dump a 'b c' \$HOME.x\)")
    out.unlink()
    local.send("plain")
    values, _ = environment_of(local.wait_file(out))
    assert values["ARGS"] == "" and "EXTENSION" not in values


@pytest.mark.parametrize("script,status,words", [
    ("exit 75", "4.3.0", "deferred"), ("exit 67", "5.1.1", "bounced"),
    ("echo 5.7.1 not today; exit 1", "5.7.1", "bounced (.*not today"),
    ("echo 4.2.2 full; exit 1", "4.2.2", "deferred"),
    ("kill -9 $$", "4.3.0", "deferred"), ("exit 0", "2.0.0", "sent"),
])
def test_a_commands_end_decides(make_local, script, status, words):
    local = make_local(aliases={"prog": f"\"|{script}\""}).start()
    local.send("prog", sender="bob@local.test")
    local.wait_log(rf"to=<prog@local.test>, .*dsn={re.escape(status)}, status="
                   + words.replace("(.*", r"\(.*"))


def test_a_command_over_its_time_is_killed(make_local):
    local = make_local({"command_time_limit": "1s"}, {"prog": "\"|sleep 300; true\""}).start()
    local.send("prog")
    local.wait_log(r"to=<prog@local.test>, .*status=deferred \(Command time limit exceeded")


def test_a_slow_command_of_one_alias_holds_up_no_other(make_local):
    local = make_local(aliases={"slow": "\"|sleep 5\"", "quick": f"|/bin/true"}).start()
    for _ in range(8):
        local.send("slow")
    begin = time.monotonic()
    local.send("quick")
    local.wait_log(r"to=<quick@local.test>.*status=sent")
    assert time.monotonic() - begin < 4


def test_files_of_an_alias(make_local):
    local = make_local()
    local.set_aliases({"box": f"{local.shared}/box/, /dev/null"})
    local.start()
    local.send("box")
    local.host.wait_queue_empty()
    file, = (local.shared / "box" / "new").iterdir()
    assert file.stat().st_uid == DEFAULT_UID
    local.wait_log(r"status=sent \(delivered to maildir\)")
    local.wait_log(r"status=sent \(delivered to file: /dev/null\)")


def test_include_is_read_and_may_not_run_commands(make_local):
    local = make_local()
    (local.shared / "members").write_text("# the team\nbob,\n  alice\ncarol@local.test\n")
    (local.shared / "more").write_text(f":include:{local.shared}/members\n")
    (local.shared / "bad").write_text("bob\n\"|touch /tmp/never\"\n")
    (local.shared / "open").write_text("bob\n")
    (local.shared / "self").write_text(f":include:{local.shared}/self\n")
    os.chmod(local.shared / "open", 0o666)
    local.set_aliases({name: f":include:{local.shared}/{file}" for name, file in (
        ("team", "more"), ("bad", "bad"), ("open", "open"), ("self", "self"), ("gone", "gone"))})
    local.start()
    local.send("team")
    for name in ("bob", "alice", "carol"):
        local.wait_mail(name)
    local.send("bad", "open", "self", "gone", sender="")
    local.wait_log(r"to=<bad@.*dsn=5.7.1, status=bounced \(mail to command is restricted\)")
    local.wait_log(r"to=<open@.*status=deferred \(.*writable by everybody")
    local.wait_log(r"to=<self@.*dsn=5.4.6, status=bounced")
    local.wait_log(r"to=<gone@.*status=deferred \(.*No such file")
    assert len(local.mail("bob")) == 1


def test_a_mistake_in_an_alias_has_no_effect_and_the_mail_waits(make_local):
    local = make_local(aliases={"oops": "bob, \"not closed"}).start()
    local.send("oops")
    local.wait_log(r"to=<oops@.*status=deferred \(alias oops: .*not closed")
    assert not local.mail("bob")
    local.set_aliases({"oops": "bob"})
    local.host.tool("dakqueue", "-f")
    local.wait_mail("bob")


def test_a_failed_command_is_told_and_the_others_get_their_mail(make_local):
    local = make_local(aliases={"mixed": "\"|exit 70\", alice"}).start()
    local.send("mixed", sender="bob@local.test")
    local.wait_mail("alice")
    text, = local.wait_mail("bob")
    assert b"Status: 5.3.0" in text and b"Final-Recipient: rfc822; mixed@local.test" in text
    local.host.wait_queue_empty()


@pytest.mark.skipif(not IS_ROOT, reason="needs other users")
def test_commands_of_a_table_run_as_its_owner_never_as_root(make_local):
    local = make_local()
    script, out = dump_script(local)
    local.set_aliases({"prog": f"|{script}"})
    os.chown(local.aliases, 5, 0)  # games, of every Debian
    local.start()
    local.send("prog")
    values, _ = environment_of(local.wait_file(out))
    assert values["ID"].split(":")[0] == "5"
    os.chown(local.aliases, 59999, 0)
    out.unlink()
    local.send("prog")
    local.wait_log(r"to=<prog@.*status=deferred \(cannot find alias database owner\)")


def test_mail_for_root_waits_for_an_alias(make_local):
    local = make_local().start()
    local.send("root")
    local.wait_log(r"to=<root@.*status=deferred \(mail for root needs an alias to a person")
    local.set_aliases({"root": "bob"})
    local.host.tool("dakqueue", "-f")
    local.wait_mail("bob")


def test_a_failing_table_defers_and_never_bounces(make_local):
    local = make_local({"alias_maps": "fail:x"}).start()
    local.send("bob")
    local.wait_log(r"to=<bob@.*dsn=4.3.0, status=deferred \(alias_maps: ")
    local.host.tool("dakiya", "check", check=False)


# ---- users nobody has ----

def test_unknown_users(make_local):
    local = make_local().start()
    local.send("nobody-here", sender="bob@local.test")
    text, = local.wait_mail("bob")
    assert b"Status: 5.1.1" in text and b'unknown user: "nobody-here"' in text


def test_smtpd_refuses_unknown_local_users(make_local):
    local = make_local({"local_recipient_maps": "$local_user_maps $alias_maps"},
                       {"list": "bob"}).start()
    with local.host.smtp() as client:
        client.ehlo("client.test")
        client.mail("x@client.test")
        assert client.rcpt("nobody@local.test")[0] == 550
        for name in ("bob", "BOB+ext", "list", "List+x", "postmaster"):
            assert client.rcpt(f"{name}@local.test")[0] == 250, name


def test_luser_relay_gets_what_nobody_has(make_local):
    local = make_local({"luser_relay": "bob+$local"}).start()
    local.send("stranger", "\"a, alice\"@local.test")
    texts = local.wait_mail("bob", 2)
    assert any(b"Delivered-To: bob+stranger@local.test" in text for text in texts)
    assert any(b"Delivered-To: bob+a__alice@local.test" in text for text in texts)
    assert not local.mail("alice")


def test_fallback_and_mailbox_transport(make_local):
    local = make_local({
        "fallback_transport_maps": "inline:{ old=virtual }",
        "fallback_transport": "error:5.1.6 gone away",
        "mailbox_transport_maps": "inline:{ alice=virtual }",
        "virtual_mailbox_maps": "inline:{ alice@local.test=v/alice/, old@local.test=v/old/ }",
        "virtual_mailbox_domains": "virtual.test",
    }).start()
    local.forward("alice", "alice, bob\n")
    local.send("alice", "old", "new", sender="")
    local.wait_mail("bob")
    local.wait_log(r"to=<alice@local.test>.*relay=virtual.*status=sent")
    local.wait_log(r"to=<old@local.test>.*relay=virtual.*status=sent")
    local.wait_log(r"to=<new@local.test>.*dsn=5.1.6, status=bounced \(gone away\)")
    assert list((local.host.mail / "v" / "alice" / "new").iterdir())
    assert not local.mail("alice")
    local.host.wait_queue_empty()


# ---- .forward ----

def test_forward_files_of_a_user(make_local):
    local = make_local()
    script, out = dump_script(local)
    local.forward("bob", f"# mine\nbob\nalice,\n \"|{script} x\"\n~bad(comment)\n")
    local.write("bob", ".forward+news", "carol@local.test\n")
    local.forward("alice", "\n")
    local.start()
    local.send("bob")
    local.wait_mail("bob")
    local.wait_mail("alice")
    values, message = environment_of(local.wait_file(out))
    uid = UIDS["bob"]
    assert not IS_ROOT or values["ID"] == f"{uid}:{uid}:{uid}"
    assert values["HOME"] == values["PWD"] == str(local.homes / "bob")
    assert (values["LOGNAME"], values["SHELL"]) == ("bob", "/bin/sh")
    assert message.startswith(b"From sender@client.test ")
    local.send("bob+news")
    local.wait_mail("carol")
    assert len(local.mail("bob")) == 1


def test_forward_that_others_could_have_written_is_not_used(make_local):
    local = make_local()
    victim = local.write("bob", "target", "alice\n")
    local.forward("bob", "alice\n", mode=0o666)
    forward = local.homes / "alice" / ".forward"
    forward.symlink_to(victim)
    local.forward("carol", "alice\n")
    if IS_ROOT:
        os.chown(local.homes / "carol" / ".forward", UIDS["bob"], UIDS["bob"])
    local.start()
    local.send("bob", "alice")
    local.wait_mail("bob")
    local.wait_mail("alice")
    local.wait_log(r"warning: .*bob/.forward: is writable by everybody: not used")
    if IS_ROOT:
        local.send("carol")
        local.wait_mail("carol")
        local.wait_log(r"warning: .*carol/.forward: has uid \d+, not the user's: not used")


def test_forward_loop_ends(make_local):
    local = make_local()
    local.forward("bob", "alice\n")
    local.forward("alice", "bob\n")
    local.start()
    local.send("bob", sender="carol@local.test")
    text, = local.wait_mail("carol")
    assert b"5.4.6" in text


# ---- mailboxes ----

def test_mailbox_command_and_its_maps(make_local):
    local = make_local()
    script, out = dump_script(local)
    other, other_out = dump_script(local, "other")
    local.host.settings |= {"mailbox_command": f"{script} -a \"$EXTENSION\"",
                            "mailbox_command_maps": f"inline:{{ alice={other} }}"}
    local.host.write_config()
    local.start()
    local.send("bob+x", "alice")
    values, _ = environment_of(local.wait_file(out))
    assert values["ARGS"] == "-a x" and (not IS_ROOT or values["ID"].startswith(str(UIDS["bob"])))
    values, _ = environment_of(local.wait_file(other_out))
    assert values["LOGNAME"] == "alice"
    assert not local.mail("bob")


def test_local_command_shell(make_local):
    local = make_local(aliases={"prog": "\"|one 'two three'\""})
    script, out = dump_script(local, "shell")
    local.host.settings["local_command_shell"] = f"{script} -c"
    local.host.write_config()
    local.start()
    local.send("prog")
    values, _ = environment_of(local.wait_file(out))
    assert values["ARGS"] == "-c one 'two three'"


def test_spool_as_maildirs(make_local):
    local = make_local({"home_mailbox": ""})
    local.host.settings["mail_spool_directory"] = f"{local.spool}/"
    local.host.write_config()
    for name, uid in UIDS.items():
        (local.spool / name).mkdir()
        if IS_ROOT:
            os.chown(local.spool / name, uid, uid)
    local.start()
    local.forward("bob", "bob, alice\n")
    local.send("bob")
    for name in ("bob", "alice"):
        dakiya.wait_for(name, lambda name=name: list((local.spool / name).glob("new/*")))
    local.wait_log(r"to=<bob@local.test>, relay=local, .*status=sent \(delivered to maildir\)")
    local.host.wait_queue_empty()


# ---- the mail spool ----

def spool_host(make_local, settings=None, **options):
    return make_local({"home_mailbox": "", **(settings or {})}, **options)


def test_the_spool_gets_mailbox_files_of_the_user(make_local):
    local = spool_host(make_local).start()
    local.send("bob", body="From me\nto you\n")
    text = local.wait_file(local.spool / "bob")
    assert re.match(rb"From sender@client.test +\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n"
                    rb"Return-Path: <sender@client.test>\nX-Original-To: bob@local.test\n"
                    rb"Delivered-To: bob@local.test\nReceived: ", text)
    assert text.endswith(b"\n\n>From me\nto you\n\n")
    status = (local.spool / "bob").stat()
    assert status.st_uid == UIDS["bob"] and status.st_mode & 0o007 == 0
    local.wait_log(r"to=<bob@local.test>, relay=local, .*status=sent \(delivered to mailbox\)")
    assert not list(local.spool.glob("*.lock"))
    local.send("bob")
    dakiya.wait_for("two", lambda: (local.spool / "bob").read_bytes().count(b"\nReturn-Path") == 2)
    local.host.wait_queue_empty()


def test_mailbox_size_limit_is_kept(make_local):
    local = spool_host(make_local, {"mailbox_size_limit": "3000", "message_size_limit": "3000"})
    local.start()
    local.send("bob", sender="", body="x" * 70 + "\n")
    local.wait_file(local.spool / "bob")
    with open(local.spool / "bob", "ab") as file:
        file.write(b"y" * 2800)
    local.send("bob", sender="", body="x" * 70 + "\n")
    local.wait_log(r"to=<bob@.*dsn=5.2.2, status=bounced \(mailbox full")


@pytest.mark.skipif(not IS_ROOT, reason="needs other users")
def test_what_a_user_causes_has_not_the_spools_group(make_local):
    """bob's .forward must not reach alice's mailbox through the group of the spool."""
    local = spool_host(make_local)
    script, out = dump_script(local)
    victim = local.spool / "alice"
    victim.write_bytes(b"")
    os.chown(victim, UIDS["alice"], local_host.SPOOL_GID)
    os.chmod(victim, 0o660)
    local.forward("bob", f"{victim}\n")
    local.forward("carol", f"\"|{script}\", {local.spool}/dave, carol\n")
    local.start()
    local.send("bob", "carol", sender="")
    local.wait_log(r"to=<bob@.*dsn=4.2.0, status=deferred \(.*Permission denied")
    local.wait_log(r"to=<carol@.*dsn=4.2.0, status=deferred \(.*Permission denied")
    values, _ = environment_of(local.wait_file(out))
    assert values["ID"] == f"{UIDS['carol']}:{UIDS['carol']}:{UIDS['carol']}"
    assert victim.read_bytes() == b"" and not (local.spool / "dave").exists()
    local.send("alice")
    local.wait_file(victim)


@pytest.mark.parametrize("make_link", [os.symlink, os.link])
def test_a_mailbox_that_is_a_link_is_never_written_through(make_local, make_link):
    local = spool_host(make_local)
    target = local.write("alice", "precious", "mine\n", 0o666)
    if not IS_ROOT and make_link is os.link:
        pytest.skip("a file of our own under a second name is ours")
    make_link(target, local.spool / "bob")
    local.start()
    local.send("bob", sender="")
    local.wait_log(r"to=<bob@.*status=deferred")
    assert target.read_text() == "mine\n"


def test_a_file_destination_that_is_a_link_is_not_followed(make_local):
    local = make_local()
    target = local.write("alice", "precious", "mine\n", 0o666)
    (local.shared / "link").symlink_to(target)
    local.set_aliases({"box": f"{local.shared}/link", "good": f"{local.shared}/file"})
    local.start()
    local.send("box", "good", sender="")
    local.wait_log(r"to=<box@.*status=deferred")
    local.wait_log(r"to=<good@.*status=sent \(delivered to file: \S+/shared/file\)")
    assert target.read_text() == "mine\n"
    text = (local.shared / "file").read_bytes()
    assert text.startswith(b"From MAILER-DAEMON ") and b"\nDelivered-To: good@" in text
    assert (local.shared / "file").stat().st_uid == DEFAULT_UID


# ---- accounts of the machine, and delivery programs of others ----

@pytest.fixture
def account(tmp_path_factory):
    """A real user of this machine, removed after the test: (name, home)."""
    if not IS_ROOT or not shutil.which("useradd"):
        pytest.skip("makes a user: needs root and useradd")
    name = f"dakt-{os.getpid()}"
    home = dakiya.new_directory("account")
    dakiya.run("useradd", "--no-create-home", "--home-dir", home, "--shell", "/bin/sh", name)
    entry = pwd.getpwnam(name)
    os.chown(home, entry.pw_uid, entry.pw_gid)
    yield name, home
    dakiya.run("userdel", "-f", name)
    dakiya.remove_directory(home)


def own(path, name, text):
    entry = pwd.getpwnam(name)
    path.write_text(text)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    os.chmod(path, 0o600)


def account_host(make_local, **settings):
    local = make_local({"home_mailbox": "", "local_user_maps": "unix:passwd.byname",
                        "local_recipient_maps": "proxy:unix:passwd.byname $alias_maps",
                        **settings})
    return local.start()


def test_a_user_of_the_machine_is_found_in_passwd(account, make_local):
    name, home = account
    local = account_host(make_local)
    local.send(f"{name.upper()}+x")
    text = local.wait_file(local.spool / name)
    assert f"\nDelivered-To: {name.upper()}+x@local.test\n".encode() in text
    with local.host.smtp() as client:
        client.ehlo("client.test")
        client.mail("x@client.test")
        assert client.rcpt("no-such-account@local.test")[0] == 550


@pytest.mark.skipif(not shutil.which("procmail"), reason="procmail is not installed")
def test_procmail_as_mailbox_command(account, make_local):
    name, home = account
    own(home / ".procmailrc", name, "MAILDIR=$HOME\nDEFAULT=$HOME/inbox\n:0\n* ^Subject: filed\nfiled/\n"
        ":0\n* ^Subject: reject\n{\n  EXITCODE=67\n  :0\n  /dev/null\n}\n")
    local = account_host(make_local, mailbox_command="/usr/bin/procmail -a \"$EXTENSION\"")
    for subject in ("plain", "filed", "reject"):
        local.send(name, sender="", text=dakiya.message(subject))
    dakiya.wait_for("inbox", lambda: b"Hello." in local.wait_file(home / "inbox"))
    text = (home / "inbox").read_bytes()  # procmail writes in two pieces
    assert text.startswith(b"From MAILER-DAEMON ") and b"\nSubject: plain\n" in text
    file, = dakiya.wait_for("filed", lambda: list((home / "filed" / "new").glob("*")))
    assert file.stat().st_uid == pwd.getpwnam(name).pw_uid
    local.wait_log(rf"to=<{name}@local.test>.*dsn=5.1.1, status=bounced")
    # All three were under way at once: the reports come in any order.
    dakiya.wait_for("both reports", lambda: len(re.findall(
        r"status=sent \(delivered to command: /usr/bin/procmail -a", local.host.log())) == 2)


@pytest.mark.skipif(not shutil.which("maildrop"), reason="maildrop is not installed")
def test_maildrop_from_a_forward_file(account, make_local):
    name, home = account
    own(home / ".forward", name, "\"|/usr/bin/maildrop\"\n")
    own(home / ".mailfilter", name, "if (/^Subject: filed/)\n{\n  to \"filed\"\n}\nto \"inbox\"\n")
    local = account_host(make_local)
    local.send(name, text=dakiya.message("filed"))
    text = local.wait_file(home / "filed")
    assert b"\nSubject: filed\n" in text
    local.send(name)
    local.wait_file(home / "inbox")
    local.wait_log(r"status=sent \(delivered to command: /usr/bin/maildrop\)")


# ---- DSN (RFC 3461 5.2.7) ----

def send_dsn(local, name, notify="SUCCESS,FAILURE"):
    with local.host.smtp() as client:
        client.ehlo("client.test")
        assert client.docmd("MAIL", "FROM:<carol@local.test> RET=HDRS ENVID=env1")[0] == 250
        assert client.docmd("RCPT", f"TO:<{name}@local.test> NOTIFY={notify} "
                            f"ORCPT=rfc822;orig-{name}@client.test")[0] == 250
        assert client.data(dakiya.message(to=f"{name}@local.test"))[0] == 250


def test_success_notices_behind_aliases(make_local):
    local = make_local(aliases={"one": "alice", "two": "alice, bob", "list": "alice",
                                "owner-list": "bob"}).start()
    send_dsn(local, "one")  # one address: the wish goes on, and who delivers tells
    text, = local.wait_mail("carol")
    assert b"Action: delivered" in text and b"Final-Recipient: rfc822; alice@local.test" in text
    assert b"Original-Recipient: rfc822; orig-one@client.test" in text
    assert b"Original-Envelope-Id: env1" in text
    send_dsn(local, "two")  # several: that it was expanded, and nothing from behind it
    text = local.wait_mail("carol", 2)[1]
    assert b"Action: expanded" in text and b"Final-Recipient: rfc822; two@local.test" in text
    send_dsn(local, "list")  # a list is the end
    text = local.wait_mail("carol", 3)[2]
    assert b"Action: delivered" in text and b"Final-Recipient: rfc822; list@local.test" in text
    local.wait_mail("alice", 3)
    local.host.wait_queue_empty()
    assert len(local.mail("carol")) == 3


# ---- large messages, many, and the end of workers ----

def test_a_large_message_comes_whole_everywhere(make_local):
    local = make_local()
    script, out = dump_script(local)
    local.set_aliases({"all": f"bob, {local.shared}/file, \"|{script}\""})
    local.start()
    body = "".join(f"line {number}\n" for number in range(30000))
    local.send("all", body=body)
    assert local.wait_mail("bob")[0].endswith(body.encode())
    assert environment_of(local.wait_file(out))[1].endswith(body.encode())
    dakiya.wait_for("the file", lambda: (local.shared / "file").read_bytes().endswith(
        body.encode() + b"\n"))


def test_a_command_that_reads_nothing_is_no_failure(make_local):
    local = make_local(aliases={"deaf": "|/bin/true"}).start()
    local.send("deaf", body="x" * 70 + "\n" * 1 + ("y" * 70 + "\n") * 20000)
    local.wait_log(r"to=<deaf@local.test>.*status=sent \(delivered to command: /bin/true\)")


def test_killed_workers_lose_nothing(make_local):
    """Workers are killed again and again while mail for aliases, users and a spool flows."""
    local = make_local({"home_mailbox": "", "mailbox_transport_maps": ""},
                       {"team": "bob, alice", "carol": "carol, bob"})
    local.host.settings["mail_spool_directory"] = f"{local.spool}/"
    local.host.write_config()
    for name, uid in UIDS.items():
        (local.spool / name).mkdir()
        if IS_ROOT:
            os.chown(local.spool / name, uid, uid)
    local.start()
    sent = 0
    until = time.monotonic() + 8
    while time.monotonic() < until:
        for _ in range(5):
            local.send("team", "carol", body=f"number {sent}\n")
            sent += 1
        parent = local.host.processes().get("local", [])
        for pid in parent[1:]:  # the first is the parent itself: children come after it
            if pid_parent(pid) != local.host.master_pid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
    for name, each in (("bob", 2), ("alice", 1), ("carol", 1)):
        def numbers(name=name):
            found = [re.search(rb"number (\d+)\n", path.read_bytes()).group(1)
                     for path in (local.spool / name).glob("new/*")]
            return found if len(set(found)) == sent and len(found) >= each * sent else None
        try:
            dakiya.wait_for(f"all mail for {name}", numbers, 60, 0.5)
        except AssertionError:
            local.host.tool("dakqueue", "-f")
            dakiya.wait_for(f"all mail for {name}", numbers, 60, 0.5)
    dakiya.wait_for("the queue to be empty",
                    lambda: not local.host.queue_list()
                    or local.host.tool("dakqueue", "-f") is None, 60, 1)


def pid_parent(pid):
    with contextlib.suppress(OSError):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return int(stat[stat.rindex(")") + 2:].split()[1])
    return None


def test_idle_workers_end(make_local):
    local = make_local({"virtual_worker_idle_limit": "1s"}).start()
    local.send("bob")
    local.wait_mail("bob")
    parents = 2  # of the services local and virtual
    assert len(local.host.processes()["local"]) > parents
    dakiya.wait_for("the workers to end", lambda: len(local.host.processes()["local"]) == parents, 40)
    local.send("bob")
    local.wait_mail("bob", 2)


def test_one_user_has_two_deliveries_at_a_time(make_local):
    local = make_local()
    script = local.script("count", f"""#!/bin/sh
mkdir {local.shared}/running.$$
ls -d {local.shared}/running.* | wc -l >>{local.shared}/seen
sleep 0.4
rmdir {local.shared}/running.$$
""")
    local.host.settings["mailbox_command"] = str(script)
    local.host.write_config()
    local.start()
    for _ in range(8):
        local.send("bob")
    local.host.wait_queue_empty()
    seen = (local.shared / "seen").read_text().split()
    assert len(seen) == 8 and max(map(int, seen)) <= 2 and "2" in seen


def test_prepend_delivered_header(make_local):
    local = make_local({"prepend_delivered_header": "forward"})
    script, out = dump_script(local)
    local.set_aliases({"prog": f"|{script}", "box": f"{local.shared}/box", "on": "alice"})
    local.start()
    local.send("prog", "box", "on", "bob")
    assert b"Delivered-To" not in environment_of(local.wait_file(out))[1]
    text = local.wait_file(local.shared / "box")
    assert b"Delivered-To" not in text and b"\nX-Original-To: box@local.test\nReceived" in text
    assert b"Delivered-To" not in local.wait_mail("bob")[0]
    assert local.wait_mail("alice")[0].count(b"Delivered-To: ") == 1


def test_a_drain_lets_commands_finish(make_local):
    local = make_local(aliases={"slow": "\"|sleep 2; echo done >$HOME_OUT\""})
    local.host.settings["export_environment"] = f"HOME_OUT={local.shared}/out"
    local.host.write_config()
    local.start()
    local.send("slow")
    dakiya.wait_for("the command to run", lambda: "local" in local.host.processes()
                    and any("sleep" in name for name in local.host.processes()))
    local.host.stop()
    assert (local.shared / "out").read_text() == "done\n"
    assert re.search(r"to=<slow@local.test>.*status=sent", local.host.log())
