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
                  if os.access(path, os.X_OK) and "." not in path.name)


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
