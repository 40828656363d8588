"""The first minutes of somebody new: what is said when nothing is set up yet, and exit codes."""
import os
import pathlib
import shlex
import shutil

import pytest

from dakiya import BUILD, OWNERS, TOP, new_address, new_directory, remove_directory, run


@pytest.fixture
def shipped():
    """The shipped configuration on high ports below a directory of its own."""
    directory = new_directory("first")
    shutil.copytree(TOP / "conf", directory / "etc")
    yield directory
    run(BUILD / "bin/dakiya", "-c", directory / "etc", "abort", check=False)
    remove_directory(directory)


def dakiya(directory, *arguments):
    return run(BUILD / "bin/dakiya", "-c", directory / "etc", *arguments, check=False)


def place(directory, owners=True):
    """Sets what a package would have set: directories, ports that need no root."""
    main = directory / "etc/main.cf"
    values = {"queue_directory": directory / "spool", "data_directory": directory / "data",
              "daemon_directory": BUILD / "libexec", "maillog_file": directory / "mail.log",
              "myhostname": "mail.example.test", "mynetworks": "127.0.0.0/8",
              "inet_interfaces": new_address()}
    if owners and os.geteuid() == 0:
        values |= {f"{role}_owner": owner for role, owner in OWNERS.items()}
    with open(main, "a", encoding="ascii") as file:
        file.writelines(f"{name} = {value}\n" for name, value in values.items())
    master = directory / "etc/master.cf"
    text = master.read_text()
    for name, port in (("smtp  ", "2525"), ("submission ", "2587"), ("submissions ", "2465"),
                       ("pop3 ", "2110"), ("pop3s ", "2995")):
        text = text.replace(f"\n{name}", f"\n{port} ", 1)
    master.write_text(text)


def hint(result, words):
    """The command behind words in what was said."""
    lines = [line for line in result.stderr.splitlines() if words in line]
    assert lines, result.stderr
    return shlex.split(lines[0].split(words, 1)[1])


def test_nothing_is_installed_and_each_thing_that_lacks_is_named_once(shipped):
    result = dakiya(shipped, "check")
    assert result.returncode == 78
    assert result.stderr.count("error: daemon_directory /") == 1 or os.path.exists("/usr/lib/dakiya")
    assert result.stderr.count("openssl req") == 1


@pytest.mark.parametrize("command", ["status", "stop", "abort", "reload", "flush", "logrotate"])
def test_before_the_first_start_commands_say_that_nothing_runs(shipped, command):
    place(shipped)
    result = dakiya(shipped, command)
    assert result.returncode == 69
    assert "the mail system is not running" in result.stderr
    assert "dakiya start" in result.stderr


def test_the_command_for_a_certificate_is_complete_and_what_follows_starts(shipped):
    place(shipped)
    result = dakiya(shipped, "start")
    assert result.returncode == 78
    assert "not started" in result.stderr
    run(*hint(result, "make them yourself: "))
    settings = result.stderr.split("into main.cf: ")[1].split(". To begin")[0].split(" and ")
    run(BUILD / "bin/dakconf", "-c", shipped / "etc", "-e", *settings)
    run(BUILD / "bin/dakuser", "-c", shipped / "etc", "add", "--stdin", "a@example.test",
        stdin="a long password\n")
    result = dakiya(shipped, "start")
    assert result.returncode == 0, result.stderr
    assert dakiya(shipped, "status").returncode == 0
    assert dakiya(shipped, "stop").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="without root nobody needs to exist")
def test_an_account_that_is_missing_is_named_with_the_command_that_makes_it(shipped):
    place(shipped, owners=False)
    for name in ("mail", "net"):
        with open(shipped / "etc/main.cf", "a", encoding="ascii") as file:
            file.write(f"{name}_owner = no-such-{name}\n")
    result = dakiya(shipped, "check")
    assert hint(result, 'no user "no-such-mail"; make it: ')[-1] == "no-such-mail"
    command = hint(result, 'no user "no-such-net"; make it: ')
    assert command[0] == "useradd" and command[-1] == "no-such-net"
    assert command[command.index("--gid") + 1] == "no-such-mail"


@pytest.mark.parametrize("arguments, code", [
    (["--version"], 0), (["--help"], 0), ([], 64), (["nonsense"], 64), (["--nonsense"], 64),
    (["start", "stop"], 64), (["-c"], 64), (["-c", "/nonexistent", "check"], 66)])
def test_exit_codes_of_the_command_line(arguments, code):
    result = run(BUILD / "bin/dakiya", *arguments, check=False)
    assert result.returncode == code
    assert (result.stdout == "") == (code != 0) and (result.stderr == "") == (code == 0)


PROGRAMS = sorted(path.name for part in ("bin", "libexec") for path in (BUILD / part).iterdir()
                  if os.access(path, os.X_OK) and "." not in path.name and not path.is_symlink())


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("option", ["--version", "--help"])
def test_every_program_tells_its_version_and_its_use(program, option):
    path = next(p for p in (BUILD / "bin" / program, BUILD / "libexec" / program) if p.exists())
    result = run(path, option, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    if option == "--version":
        assert result.stdout == f"{program} {version()}\n"
    else:
        assert program in result.stdout


def version():
    return run(BUILD / "bin/dakiya", "--version").stdout.split()[1]


def test_every_program_has_a_manual_page():
    pages = {path.stem for path in (TOP / "docs/man").iterdir()}
    assert not set(PROGRAMS) - pages


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
@pytest.mark.parametrize("page", sorted(path.name for path in (TOP / "docs/man").iterdir()))
def test_manual_pages_have_no_errors(page):
    result = run("mandoc", "-T", "lint", "-W", "error", TOP / "docs/man" / page, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert pathlib.Path(page).suffix in (".1", ".5", ".8")


@pytest.fixture
def with_certificate(shipped):
    place(shipped)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "90", "-subj", "/CN=mail.example.test", "-addext",
        "subjectAltName=DNS:mail.example.test", "-keyout", shipped / "etc/host.key", "-out",
        shipped / "etc/host.pem")
    os.makedirs(shipped / "data/mail", exist_ok=True)
    if os.geteuid() == 0:
        os.chown(shipped / "data/mail", 5000, 5000)
    conf(shipped, f"smtpd_tls_chain_files={shipped}/etc/host.key {shipped}/etc/host.pem",
         "smtpd_tls_security_level=may")
    user(shipped, "alice@example.test")
    return shipped


def conf(directory, *settings):
    run(BUILD / "bin/dakconf", "-c", directory / "etc", "-e", *settings)


def user(directory, address):
    run(BUILD / "bin/dakuser", "-c", directory / "etc", "add", "--stdin", address,
        stdin="a long password\n")


def test_check_says_that_postmaster_reaches_nobody_until_somebody_is_named(with_certificate):
    words = "mail for postmaster reaches nobody"
    result = dakiya(with_certificate, "check")
    assert result.returncode == 0 and words in result.stderr
    assert f"dakconf -c {with_certificate}/etc -e postmaster_recipient=" in result.stderr
    conf(with_certificate, "postmaster_recipient=bob@example.test")  # who is no user
    assert words in dakiya(with_certificate, "check").stderr
    conf(with_certificate, "postmaster_recipient=alice@example.test")
    assert words not in dakiya(with_certificate, "check").stderr


def test_a_mailbox_postmaster_in_mydomain_is_somebody(with_certificate):
    user(with_certificate, "postmaster@example.test")
    result = dakiya(with_certificate, "check")
    assert result.stderr == ""


def test_an_alias_postmaster_is_somebody(with_certificate):
    conf(with_certificate, "virtual_alias_maps=inline:{ postmaster=alice@example.test }")
    assert "postmaster" not in dakiya(with_certificate, "check").stderr


def test_a_key_of_another_certificate_is_refused_before_the_start(with_certificate):
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-out", with_certificate / "etc/host.key")
    result = dakiya(with_certificate, "start")
    assert result.returncode == 78
    assert "the private key does not belong to the certificate" in result.stderr
    assert dakiya(with_certificate, "status").returncode == 69


def test_a_certificate_of_another_name_is_told_once_and_starts(with_certificate):
    conf(with_certificate, "myhostname=other.example.test")
    result = dakiya(with_certificate, "start")
    assert result.returncode == 0
    assert result.stderr.count("is for mail.example.test, not for myhostname") == 1
