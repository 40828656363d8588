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
