"""What the guides say is run as it stands."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import dakiya


def test_first_mail_guide_works_as_written():
    directory = dakiya.new_directory("guide")
    text = (dakiya.TOP / "docs" / "first-mail.md").read_text()
    address = dakiya.new_address()
    script = "set -e\n"
    for kind, block in re.findall(r"^```sh( root)?\n(.*?)^```", text, re.M | re.S):
        if not kind or os.geteuid() == 0:
            script += block
    script = script.replace("/tmp/first", str(directory)).replace("127.0.25.3", address)
    script = script.replace("$PWD/build", str(dakiya.BUILD))
    stop = f"{dakiya.BUILD}/bin/dakiya -c {directory}/etc stop"
    try:
        result = subprocess.run(["bash", "-c", script], cwd=dakiya.TOP, text=True,
                                capture_output=True, timeout=120, check=False)
    finally:
        subprocess.run(stop.split(), capture_output=True, check=False)
        log = pathlib.Path(directory / "mail.log")
        logged = log.read_text() if log.exists() else ""
        dakiya.remove_directory(directory)
    assert result.returncode == 0, result.stdout + result.stderr + logged
    for wanted in ("Ok: queued as", "First mail.", "status=sent (delivered to maildir)",
                   "Mail queue is empty", f"inet_interfaces = {address}"):
        assert wanted in result.stdout, f"{wanted!r} is not in\n{result.stdout}{result.stderr}"


def blocks(guide, kind="sh"):
    text = (dakiya.TOP / "docs" / guide).read_text()
    return "\n".join(re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S))


def test_backup_guide_brings_a_lost_host_back(make_host, tmp_path):
    host = make_host(settings={
        "mynetworks": "127.0.0.0/8",
        "transport_maps": "inline:{ dead.test=smtp:[127.0.0.1]:9 }"}).start()
    host.send("carol@elsewhere.test", ["alice@example.test"], dakiya.message(subject="kept"))
    host.send("alice@example.test", ["x@dead.test"], dakiya.message(subject="waits"))
    host.wait_messages("alice")
    host.wait_log(r"to=<x@dead.test>.*status=deferred")
    environment = dict(os.environ, MAIL_CONFIG=str(host.config), BACKUP=str(tmp_path / "backup"),
                       PATH=f"{dakiya.BUILD}/bin:{os.environ['PATH']}")

    def bash(script):
        result = subprocess.run(["bash", "-ec", script], env=environment, text=True, check=False,
                                capture_output=True, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr

    bash(blocks("backup.md"))
    host.stop()
    for lost in (host.config, host.data, host.mail, host.queue):
        shutil.rmtree(lost)
    # The places are known without main.cf, which is lost.
    places = (f"CONFIG={host.config} DATA={host.data} MAIL={host.mail} QUEUE={host.queue}\n")
    bash(places + blocks("backup.md", "sh stopped"))
    host.is_running = True
    assert [b"kept" in message for message in host.messages("alice")] == [True]
    assert "x@dead.test" in host.tool("dakqueue", "list").stdout
    client = host.pop3()
    assert len(client.list()[1]) == 1
    client.quit()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_migration_guide_moves_a_postfix_and_dovecot_host(make_host, tmp_path):
    host = make_host(users=())  # its directories, accounts and certificate
    old = host.directory / "old"
    ours = re.findall(r"^(?:queue|data|daemon)_directory.*|^\w+_owner.*|^maillog_file.*|"
                      r"^smtpd_tls.*|^inet_interfaces.*|^my(?:hostname|domain|networks).*",
                      (host.config / "main.cf").read_text(), re.M)
    write(old / "postfix/main.cf", "\n".join([
        f"virtual_mailbox_domains = {host.domain}", "virtual_transport = lmtp:unix:private/dovecot-lmtp",
        f"virtual_alias_maps = hash:{old}/postfix/virtual", "smtpd_sasl_type = dovecot",
        "smtpd_sasl_path = private/auth", "smtpd_sasl_auth_enable = yes",
        "queue_directory = /var/spool/postfix", "mail_owner = postfix", "biff = no"]) + "\n")
    shutil.copy(host.config / "master.cf", old / "postfix/master.cf")
    services = (old / "postfix/master.cf").read_text()
    write(old / "postfix/master.cf", "\n".join(
        line for line in services.splitlines() if "pop3d" not in line and
        not line.startswith(("resolver", "authd"))) + "\n")
    write(old / "postfix/virtual", f"info@{host.domain} alice@{host.domain}\n")
    dakiya.run(dakiya.BUILD / "bin/dakmap", f"hash:{old}/postfix/virtual")
    password = dakiya.run("openssl", "passwd", "-6", "old password").stdout.strip()
    write(old / "users", f"alice@{host.domain}:{{SHA512-CRYPT}}{password}::::::\n")
    name = "1700000000.M1P1.old,S=52,W=54"
    mailbox = host.mail / host.domain / "alice"
    for part in ("new", "tmp"):
        (mailbox / part).mkdir(parents=True)
    write(mailbox / "cur" / f"{name}:2,S", "From: c@elsewhere.test\nSubject: from before\n\nx\n")
    write(mailbox / "dovecot-uidlist", f"3 V1275660208 N8\n7 :{name}\n")
    for path in [host.mail, *host.mail.rglob("*")] if os.geteuid() == 0 else []:
        os.chown(path, dakiya.VMAIL_UID, dakiya.VMAIL_GID)
    for path in host.config.iterdir():
        if not path.name.startswith("host."):  # key and certificate
            path.unlink()

    script = "set -e\n" + blocks("migration.md")
    script = script.replace("'pop3s/inet=pop3s", f"'{host.address}:{host.ports['pop3s']}/inet="
                            f"{host.address}:{host.ports['pop3s']}")
    # What a package sets, and where this host may listen.
    settings = "".join(f"{line}\n" for line in ours)
    script = script.replace("dakuser import", f"cat >>\"$MAIL_CONFIG/main.cf\" <<'END'\n{settings}END\n"
                            "dakuser import", 1)
    environment = dict(os.environ, MAIL_CONFIG=str(host.config), POSTFIX=str(old / "postfix"),
                       PASSWD_FILE=str(old / "users"), VMAIL=str(host.mail),
                       PATH=f"{dakiya.BUILD}/bin:{os.environ['PATH']}")
    result = subprocess.run(["bash", "-c", script], env=environment, text=True, check=False,
                            capture_output=True, timeout=120)
    host.is_running = True
    assert result.returncode == 0, result.stdout + result.stderr
    host.send("carol@elsewhere.test", [f"info@{host.domain}"], dakiya.message(subject="new"))
    dakiya.wait_for("the new message", lambda: len(host.messages("alice")) == 2)
    client = host.pop3(password="old password")
    numbers = {line.split()[1] for line in client.uidl()[1]}
    assert b"000000074c0907b0" in numbers and len(numbers) == 2
    client.quit()
    assert "virtual_transport" not in (host.config / "main.cf").read_text()
    assert "private/dovecot-lmtp" in (old / "postfix/main.cf").read_text()


def manual_examples():
    """(page, number, table type, text, [(key, value)]) of each example in the manual pages."""
    for page in sorted((dakiya.TOP / "docs" / "man").glob("*.[158]")):
        found = re.finditer(r'^\.\\" example (\w+)\n\.Bd[^\n]*\n(.*?)^\.Ed\n((?:\.\\" ask [^\n]*\n)*)',
                            page.read_text(), re.M | re.S)
        for number, match in enumerate(found):
            asked = re.findall(r'^\.\\" ask (\S+) = (.*)$', match.group(3), re.M)
            text = re.sub(r"^\\&", "", match.group(2), flags=re.M)
            yield pytest.param(match.group(1), text, asked, id=f"{page.name}-{number}")


@pytest.mark.parametrize("kind, text, asked", manual_examples())
def test_examples_of_tables_in_the_manual_answer_as_they_say(kind, text, asked, tmp_path):
    source = tmp_path / "table"
    source.write_text(text)
    dakmap = dakiya.BUILD / "bin" / "dakmap"
    if kind in ("hash", "btree"):
        assert dakiya.run(dakmap, f"{kind}:{source}").stderr == ""
    assert asked
    for key, value in asked:
        assert dakiya.run(dakmap, "-q", key, f"{kind}:{source}").stdout == value + "\n"


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("page", sorted(path.name for path in (dakiya.TOP / "docs/man").iterdir()))
def test_manual_pages_are_well_formed(page):
    result = dakiya.run("mandoc", "-T", "lint", "-W", "error", dakiya.TOP / "docs/man" / page,
                        check=False)
    assert result.returncode == 0, result.stdout


def test_every_page_that_a_page_refers_to_is_there():
    """Of ours; pages of the system and of other packages are not looked for."""
    ours = {path.name.rsplit(".", 1)[0] for path in (dakiya.TOP / "docs/man").iterdir()}
    ours |= {f"dak{name}" for name in ("iya", "conf", "map", "queue", "user", "log")}
    ours |= {"sendmail", "mailq", "newaliases", "main.cf", "master.cf", "aliases", "pipe", "pickup"}
    pages = {path.name for path in (dakiya.TOP / "docs/man").iterdir()}
    missing = []
    for page in sorted(pages):
        text = (dakiya.TOP / "docs/man" / page).read_text()
        for name, section in re.findall(r"^\.Xr (\S+) (\d)", text, re.M):
            if name in ours and f"{name}.{section}" not in pages:
                missing.append(f"{page}: {name}({section})")
    assert not missing
