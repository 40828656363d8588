"""Configurations as hand and distributions write them for Postfix: they load unchanged.

What this version cannot do yet is refused by name (WAITING); nothing else may be an error. Paths
below /etc, /var and /usr are moved to a private directory, and nothing more is changed.
"""
import os
import re

import pytest

from dakiya import BUILD, OWNERS, TOP, new_directory, remove_directory, run

CONFIGS = TOP / "tests/integration/real_configs"
NAMES = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir())

# What an error may say, for as long as the thing is not there. All others must load.
NOT_YET = re.compile(r" is not there yet: | cannot be read yet$|: service \S+ \(line \d+ of "
                     r"master.cf\) is not run: ")
WAITING = {}


@pytest.fixture(scope="module")
def place():
    directory = new_directory("real")
    etc = directory / "root/etc"
    # What the host has: a certificate, aliases.
    for path in ("etc/ssl/certs", "etc/ssl/private", "etc/pki/tls/certs", "etc/pki/tls/private",
                 "etc/letsencrypt/live/mail.example.org", "var/lib/mailman3/data",
                 "var/lib/mailman/data"):
        (directory / "root" / path).mkdir(parents=True)
    key, certificate = directory / "key", directory / "certificate"
    names = "DNS:mail.example.org,DNS:host.example.org"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "90", "-subj", "/CN=mail.example.org", "-addext",
        f"subjectAltName={names}", "-keyout", key, "-out", certificate)
    live = etc / "letsencrypt/live/mail.example.org"
    for path in (etc / "ssl/private/ssl-cert-snakeoil.key", live / "privkey.pem",
                 etc / "pki/tls/private/postfix.key"):
        path.write_text(key.read_text())
        path.chmod(0o600)
    for path in (etc / "ssl/certs/ssl-cert-snakeoil.pem", live / "fullchain.pem",
                 etc / "pki/tls/certs/postfix.pem", etc / "pki/tls/certs/ca-bundle.crt",
                 etc / "ssl/certs/ca-certificates.crt"):
        path.write_text(certificate.read_text())
    (etc / "aliases").write_text("postmaster: root\nroot: alice\n")
    (etc / "mailname").write_text("example.org\n")
    run(BUILD / "bin/dakmap", f"hash:{etc}/nothing", check=False)
    for name in ("mailman3/data/postfix_lmtp", "mailman3/data/postfix_domains",
                 "mailman/data/aliases", "mailman/data/virtual-mailman"):
        table = directory / "root/var/lib" / name
        table.write_text("# the list manager writes it\n")
        run(BUILD / "bin/dakmap", f"hash:{table}")
    yield directory
    remove_directory(directory)


def check(place, name):
    source, target = CONFIGS / name, place / name
    target.mkdir()
    root = place / "root"

    def moved(text):
        text = text.replace("/etc/postfix/sql/", f"{target}/sql_")
        text = text.replace("/etc/postfix/", f"{target}/")
        return re.sub(r"(?<![\w/.}])/(etc|var)/", rf"{root}/\1/", text)

    master = (CONFIGS / "master.cf").read_text()
    for path in source.iterdir():
        if path.name == "master.add":
            master += path.read_text()
            continue
        if path.name == "master.replace":  # of the service smtp inet, the first
            lines = master.splitlines(keepends=True)
            first = next(at for at, line in enumerate(lines) if line.startswith("smtp "))
            master = "".join(lines[:first]) + path.read_text() + "".join(lines[first + 1:])
            continue
        (target / path.name).write_text(moved(path.read_text()))
    values = {"daemon_directory": BUILD / "libexec", "queue_directory": place / "queue",
              "data_directory": place}
    if os.geteuid() == 0:
        values |= {f"{role}_owner": owner for role, owner in OWNERS.items()}
    # What a move from Postfix changes: where the daemons are, and whose.
    with open(target / "main.cf", "a", encoding="utf-8") as main:
        main.writelines(f"{key} = {value}\n" for key, value in values.items())
    master += "resolver  unix  -       -       n       -       1       resolver\n"
    (target / "master.cf").write_text(master)
    text = (target / "main.cf").read_text()
    for table in re.findall(rf"hash:({re.escape(str(target))}/\w+)", text):
        run(BUILD / "bin/dakmap", f"hash:{table}")
    result = run(BUILD / "bin/dakiya", "-c", target, "check", check=False)
    return result


def test_there_are_many_of_them_and_each_that_waits_is_there():
    assert len(NAMES) >= 14
    assert set(WAITING) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_unchanged_or_names_what_is_not_there_yet(place, name):
    result = check(place, name)
    errors = [line for line in result.stderr.splitlines() if re.search(r"(^|: )error: ", line)]
    if name in WAITING:
        assert all(NOT_YET.search(line) for line in errors), result.stderr
    else:
        assert not errors, result.stderr
        assert result.returncode == 0
    assert (result.returncode == 0) == (not errors)
    # Where it loads, the relay is closed.
    if not errors:
        told = [line for line in result.stdout.splitlines() if ": strangers " in line]
        assert told and all("strangers may not relay" in line for line in told), result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_name_that_is_not_used_is_told_once(place, name):
    target = place / f"{name}"
    if not target.exists():
        check(place, name)
    result = run(BUILD / "bin/dakiya", "-c", target, "check", check=False)
    told = re.findall(r"warning: (\S+) is a parameter of Postfix that is not used here: (.*)",
                      result.stderr)
    assert len({parameter for parameter, _ in told}) == len(told)
    assert all(why and why != "ignored" for _, why in told), told
