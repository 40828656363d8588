"""What all tools have in common: --help, --version, exit codes, manual pages, completion; and
scripts that an administrator wrote for Postfix."""
import contextlib
import os
import pathlib
import pty
import re
import shutil
import subprocess

import pytest

import dakiya
from dakiya import BUILD, PASSWORD, TOP, run

TOOLS = sorted(path.parent.name for path in (TOP / "tools").glob("*/main.c"))
# Those whose options are one table (lib/base/usage.h).
TABLES = ("dakconf", "dakiya", "dakuser")
NAMES = {"postconf": "dakconf", "postmap": "dakmap", "postalias": "dakmap", "newaliases": "dakmap",
         "postqueue": "dakqueue", "postsuper": "dakqueue", "postcat": "dakqueue", "mailq": "dakqueue",
         "postfix": "dakiya"}
SCRIPTS = pathlib.Path(__file__).parent / "scripts"


def bare(*command, env=None, stdin=""):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60,
                          input=stdin, env=env)


def manual_of(tool):
    (page,) = (TOP / "docs/man").glob(f"{tool}.[18]")
    return page.read_text()


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_answers_help_and_version(tool):
    helped = bare(BUILD / "bin" / tool, "--help")
    assert (helped.returncode, helped.stdout[:6], helped.stderr) == (0, "usage:", "")
    version = bare(BUILD / "bin" / tool, "--version")
    assert re.fullmatch(rf"{tool} [0-9.]+\n", version.stdout) and version.returncode == 0
    assert bare(BUILD / "bin" / tool, "--nonesuch").returncode == 64


@pytest.mark.parametrize("name", NAMES)
def test_the_postfix_names_are_the_same_programs(name):
    link = BUILD / "bin" / name
    assert os.readlink(link) == NAMES[name]
    assert bare(link, "--version").stdout.startswith(f"{name} ")


@pytest.mark.parametrize("tool", TABLES)
def test_every_option_is_in_help_completion_and_manual(tool):
    words = bare(BUILD / "bin" / tool, "--complete").stdout.splitlines()
    assert "--help" in words and len(words) > 5
    helped, page = bare(BUILD / "bin" / tool, "--help").stdout, manual_of(tool)
    for word in words:
        assert word in helped, word
        if word.startswith("--"):
            assert re.search(rf"Fl .*-{word[2:]}\b", page), word
        elif word.startswith("-"):
            # ".Fl a | A" says Fl once.
            assert re.search(rf"\.Fl .*(?<![\w-]){re.escape(word[1:])}(?!\w)|It Fl {re.escape(word[1:])}",
                             page), word
        else:
            assert re.search(rf"\b{word}\b", page), word


def test_colours_are_for_terminals_only():
    def on_terminal(env):
        main, other = pty.openpty()
        subprocess.run([BUILD / "bin/dakuser", "--help"], stdout=other, check=True, env=env)
        os.close(other)
        text = b""
        with open(main, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
            while True:  # one read gives a line or more; EIO comes behind the last
                text += terminal.read(65536)
        return text

    assert "\033" not in bare(BUILD / "bin/dakuser", "--help").stdout
    assert b"\033[1m" in on_terminal({"TERM": "xterm"})
    assert b"\033" not in on_terminal({"TERM": "xterm", "NO_COLOR": "1"})
    assert b"\033" not in on_terminal({"TERM": "dumb"})


def complete(*words, shell="bash"):
    """What bash offers behind these words, the last one being completed."""
    line = " ".join(f"'{word}'" for word in words)
    script = (f". {TOP}/conf/completion/dakiya.bash; COMP_WORDS=({line}); "
              f"COMP_CWORD={len(words) - 1}; _dakiya; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    path = f"{BUILD}/bin:{os.environ['PATH']}"
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, PATH=path), check=True)
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_parameters():
    config = str(TOP / "conf")
    assert complete("dakiya", "sta") == {"start", "start-fg", "status"}
    assert {"add", "app", "alias", "domain"} <= complete("dakuser", "")
    assert complete("dakuser", "-c", config, "app", "") == {"add", "delete", "list"}
    assert complete("dakuser", "--q") == {"--quota"}
    assert complete("dakuser", "app", "add", "--protocol", "p") == {"pop3"}
    assert complete("dakconf", "-c", config, "smtpd_relay_r") == {"smtpd_relay_restrictions"}
    assert "mydestination" in complete("postconf", "-c", config, "-e", "my")
    assert complete("dakconf", "-C", "b") == {"builtin"}
    assert {"-c", "-p"} <= complete("daklog", "-"), "of a tool without --complete, from its help"


def test_bash_completes_the_queue_commands():
    assert {"delete", "summary", "suspend", "why"} <= complete("dakqueue", "")
    assert {"--sender", "--older", "--dry-run", "--state"} <= complete("dakqueue", "list", "--")
    assert complete("dakqueue", "list", "--state", "h") == {"hold"}
    assert complete("dakqueue", "summary", "de") == {"deferred"}
    assert complete("qshape", "inc") == {"incoming"}
    assert {"-d", "-H", "-r", "-e"} <= complete("postsuper", "-")


def test_bash_completes_ids_of_the_queue(host):
    host.start()
    host.tool("dakqueue", "suspend", "example.test")
    reply = host.send("a@client.test", ["alice@example.test"], dakiya.message())
    queue_id = reply.rsplit(" ", 1)[1].strip()
    config = str(host.config)
    assert queue_id in {one["queue_id"] for one in host.queue_list()}
    assert complete("dakqueue", "-c", config, "why", "") == {"ALL", queue_id}
    assert complete("dakqueue", "-c", config, "delete", queue_id[:4]) == {queue_id}
    assert complete("postcat", "-c", config, "-q", "") == {queue_id}
    assert complete("postsuper", "-c", config, "-d", "") == {"ALL", "-", queue_id}


# ---- an administrator's scripts ----

@pytest.fixture
def host():
    directory = dakiya.new_directory("tools")
    host = dakiya.Host(directory)
    yield host
    host.stop(check=False)
    dakiya.remove_directory(directory)


def environment(host):
    return dict(os.environ, PATH=f"{BUILD}/bin:{os.environ['PATH']}", MAIL_CONFIG=str(host.config),
                WORK=str(host.directory))


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_scripts_for_postfix_do_their_work(host, script):
    """Each script sets up or asks by the Postfix names, and exits 0 when it got what it expected."""
    done = bare("sh", "-eu", SCRIPTS / script, env=environment(host))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{host.log()}"


def test_postfix_says_what_it_does(host):
    postfix = BUILD / "bin/postfix"

    def ask(verb):
        return bare(postfix, "-c", host.config, verb)

    for verb in ("stop", "reload", "abort", "flush"):
        done = ask(verb)
        assert (done.returncode, done.stderr) == (
            1, "postfix/postfix-script: fatal: the Postfix mail system is not running\n"), verb
    assert ask("status").returncode == 1
    check = ask("check")
    assert (check.returncode, check.stdout) == (0, "")
    started = ask("start")
    assert started.returncode == 0, started.stderr
    assert "postfix/postfix-script: starting the Postfix mail system\n" in started.stderr
    assert re.fullmatch(r"postfix/postfix-script: the Postfix mail system is running: PID: \d+\n",
                        ask("status").stderr)
    again = ask("start")
    assert (again.returncode, "is already running" in again.stderr) == (1, True)
    assert "refreshing the Postfix mail system" in ask("reload").stderr
    assert [ask(verb).returncode for verb in (
        "flush", "logrotate", "set-permissions", "upgrade-configuration")] == [0] * 4
    stopped = ask("stop")
    assert (stopped.returncode, "stopping the Postfix mail system" in stopped.stderr) == (0, True)
    assert bare(postfix, "-Dv", "-c", host.config, "status").returncode == 1
    assert bare(postfix, "-c", host.config, "nonesuch").returncode != 0


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_the_completion_for_zsh_is_sound():
    subprocess.run(["zsh", "-n", TOP / "conf/completion/_dakiya"], check=True)
