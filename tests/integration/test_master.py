"""master with stand-in daemons (standin.c): start, restart, reload, stop, what daemons are given."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from dakiya import BUILD, OWNERS, TOP, new_address, new_directory, remove_directory, run, wait_for

LIBRARIES = ["-lssl", "-lcrypto", "-lsasl2", "-ldb", "-lunbound", "-lseccomp", "-lpcre2-8",
             "-lidn2", "-lpsl", "-lcrypt", "-pthread"]
SANITIZE = ["-fsanitize=address,undefined"] if BUILD.name.endswith("address") else []
PORT = 2525


@pytest.fixture(scope="module")
def libexec():
    directory = new_directory("standin")
    run("gcc", "-std=gnu17", "-D_GNU_SOURCE", f"-I{TOP}", "-g", *SANITIZE, "-o",
        directory / "standin", TOP / "tests/integration/standin.c", BUILD / "libdakiya.a",
        *LIBRARIES, timeout=120)
    os.chmod(directory, 0o755)
    for name in ("smtpd", "pop3d", "qmgr", "resolver", "authd", "smtp", "local", "bounce"):
        os.symlink("standin", directory / name)
    os.symlink(BUILD / "libexec" / "master", directory / "master")
    yield directory
    remove_directory(directory)


class Mock:
    """A configuration whose daemons are all stand-ins."""

    def __init__(self, libexec, settings=None, master_cf=None, prefix=()):
        self.directory = new_directory("master")
        self.config = self.directory / "etc"
        self.queue = self.directory / "queue"
        self.log_file = self.directory / "mail.log"
        self.address = new_address()
        self.prefix = list(prefix)
        self.config.mkdir()
        self.values = {
            "myhostname": "mail.example.test", "queue_directory": self.queue,
            "data_directory": self.directory / "data", "daemon_directory": libexec,
            "maillog_file": self.log_file, "drain_timeout": "10s",
        }
        if os.geteuid() == 0:
            self.values |= {f"{role}_owner": owner for role, owner in OWNERS.items()}
        self.values |= settings or {}
        self.write(master_cf=master_cf or f"""
{self.address}:{PORT} inet n - n - - smtpd -o syslog_name=mine/$service_name
qmgr unix n - n - 1 qmgr
resolver unix - - n - 1 resolver
virtual unix - n n - - local
""")

    def write(self, master_cf=None, **settings):
        self.values |= settings
        text = "".join(f"{name} = {value}\n" for name, value in self.values.items())
        (self.config / "main.cf").write_text(text)
        if master_cf is not None:
            (self.config / "master.cf").write_text(master_cf)

    def tool(self, *arguments, check=True, timeout=60):
        return run(*self.prefix, BUILD / "bin" / "dakiya", "-c", self.config, *arguments,
                   check=check, timeout=timeout)

    def status(self):
        return json.loads(self.tool("status", "--json").stdout)

    def processes(self, program):
        return [p for p in self.status()["processes"] if p["program"] == program]

    def connect(self, path=None):
        if path is None:
            return socket.create_connection((self.address, PORT), timeout=10)
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(self.queue / path))
        return client

    def ask(self, command="", path=None):
        """What a stand-in says: its greeting's words, and the rest."""
        with self.connect(path) as client:
            client.sendall(command.encode() + b"\n")
            data = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    data += piece
        greeting, _, rest = data.decode().partition("\n")
        return greeting.split(), rest

    def hold(self, path=None):
        client = self.connect(path)
        client.sendall(b"hold\n")
        data = b""
        while b"\n" not in data:
            data += client.recv(100)
        time.sleep(0.2)
        return client

    def log(self):
        return self.log_file.read_text()

    def wait_log(self, pattern, timeout=15):
        return wait_for(f"{pattern!r} in the log of master",
                        lambda: re.search(pattern, self.log(), flags=re.M), timeout)

    def close(self):
        with contextlib.suppress(Exception):
            self.tool("abort", check=False)
        remove_directory(self.directory)


@pytest.fixture
def make_mock(libexec):
    mocks = []

    def make(**options):
        mocks.append(Mock(libexec, **options))
        return mocks[-1]

    yield make
    for mock in mocks:
        mock.close()


@pytest.fixture
def mock(make_mock):
    mock = make_mock()
    mock.tool("start")
    return mock


def test_start_returns_when_every_daemon_is_ready(make_mock):
    mock = make_mock()
    mock.tool("start")
    status = mock.status()
    assert status["state"] == "running"
    assert [p["state"] for p in status["processes"]] == ["ready"] * 4
    assert "is running: PID:" in mock.tool("status").stdout
    assert int((mock.queue / "pid/master.pid").read_text()) == status["pid"]


def test_called_as_postfix_it_speaks_as_postfix(mock):
    link = mock.directory / "postfix"
    os.symlink(BUILD / "bin/dakiya", link)
    result = run(link, "-c", mock.config, "status")
    assert result.stderr == ("postfix/postfix-script: the Postfix mail system is running: "
                             f"PID: {mock.status()['pid']}\n")
    mock.tool("stop")
    result = run(link, "-c", mock.config, "status", check=False)
    assert result.returncode == 1
    assert result.stderr.endswith("the Postfix mail system is not running\n")


def test_start_names_a_daemon_that_does_not_come_up(make_mock):
    mock = make_mock(settings={"standin_fail": "resolver", "x": "$standin_fail",
                               "relayhost": "$x"})
    result = mock.tool("start", check=False)
    assert result.returncode == 69
    assert "service resolver is not up: exit status 9" in result.stderr
    assert mock.ask()[0][0] == "smtpd"  # the others serve


def test_start_prints_all_errors_and_starts_nothing(make_mock):
    mock = make_mock(settings={"relay_hots": "x", "hopcount_limit": "many"})
    result = mock.tool("start", check=False)
    assert result.returncode == 78
    assert re.search(r"main.cf:\d+: error: relay_hots is no parameter; did you mean relayhost",
                     result.stderr)
    assert re.search(r"main.cf:\d+: error: hopcount_limit must be a number", result.stderr)
    assert mock.tool("status", check=False).returncode != 0


def test_second_start_on_the_same_queue_is_refused(mock):
    result = mock.tool("start", check=False)
    assert result.returncode != 0
    assert "already running" in result.stderr
    assert mock.ask()[0][0] == "smtpd"


def test_a_port_in_use_is_an_error_with_its_line(make_mock):
    mock = make_mock()
    with socket.create_server((mock.address, PORT)):
        result = mock.tool("start", check=False)
    assert result.returncode != 0
    assert re.search(r"master.cf:2: error: .*Address already in use", result.stderr)


def test_a_daemon_gets_its_overrides_a_clean_environment_and_no_foreign_descriptor(make_mock):
    mock = make_mock()
    os.environ["SECRET_OF_THE_CALLER"] = "1"
    try:
        mock.tool("start")
    finally:
        del os.environ["SECRET_OF_THE_CALLER"]
    assert mock.ask("snapshot syslog_name")[1] == f"mine/{mock.address}:{PORT}\n"
    assert mock.ask("snapshot syslog_name", "private/jobs")[1] == "postfix\n"
    assert mock.ask("snapshot config_directory")[1].strip() == str(mock.config)
    environment = mock.ask("env")[1].split()
    assert "LANG=C" in environment
    assert {line.split("=")[0] for line in environment} <= {"LANG", "TZ", "PATH"}
    # 0-3, listener, log, snapshot, the connection, and the directory being listed
    assert len([fd for fd in mock.ask("fds")[1].split() if fd.isdigit()]) <= 9


def test_a_service_may_have_hundreds_of_addresses(make_mock):
    mock = make_mock()
    begin = mock.address.rsplit(".", 2)[0]
    addresses = [f"{begin}.{200 + n // 200}.{n % 200 + 1}" for n in range(240)]
    text = (mock.config / "master.cf").read_text()
    mock.write(master_cf=text + "2526 inet n - n - - pop3d\n",
               inet_interfaces=", ".join(addresses))
    mock.tool("start")
    for address in (addresses[0], addresses[-1]):
        with socket.create_connection((address, 2526), timeout=10) as client:
            assert client.recv(100).startswith(b"pop3d")


def test_a_crash_is_logged_with_its_signal_and_the_daemon_is_back(mock):
    before = mock.ask()[0][1]
    mock.ask("crash")
    after = mock.ask()[0][1]  # the socket waited
    assert before != after
    mock.wait_log(rf"master\[\d+\]: warning: process \S+ \(service {mock.address}:{PORT}\) pid {before} "
                  r"killed by signal 11 \(SEGV\)")
    assert mock.status()["services"][0]["restarts"] == 1


def test_a_daemon_that_fails_again_and_again_is_started_ever_later_up_to_5_s(mock):
    begin = time.monotonic()
    for _ in range(4):
        mock.ask("exit 7")
    mock.ask()
    # 0.1 + 0.2 + 0.4 + 0.8 s
    assert 1.4 < time.monotonic() - begin < 6
    mock.wait_log(r"exit status 7")
    mock.wait_log(r"next start in 0.8 s")


def test_a_silent_daemon_is_killed_and_replaced(make_mock):
    mock = make_mock(settings={"daemon_watchdog_timeout": "5s"})
    mock.tool("start")
    before = mock.ask("mute")[0][1]
    mock.wait_log("has been silent for too long: killed")
    assert mock.ask()[0][1] != before


def test_reload_serves_new_connections_with_the_new_generation_and_lets_old_sessions_end(mock):
    held = mock.hold()
    mock.write(relayhost="[relay.example.test]")
    mock.tool("reload")
    wait_for("generation 2", lambda: mock.ask()[0][2] == "2")
    assert mock.ask("snapshot relayhost")[1] == "[relay.example.test]\n"
    states = {(p["generation"], p["state"]) for p in mock.processes("smtpd")}
    assert states == {(1, "draining"), (2, "ready")}
    held.close()
    wait_for("the old one's end", lambda: len(mock.processes("smtpd")) == 1)


def test_reload_never_refuses_a_connection(mock):
    reload = subprocess.Popen(["sh", "-c", f"for i in 1 2 3 4 5; do {BUILD}/bin/dakiya "
                               f"-c {mock.config} reload; sleep 0.3; done"])
    answers = 0
    while reload.poll() is None:
        assert mock.ask()[0][0] == "smtpd"
        answers += 1
    assert answers > 20
    assert mock.status()["generation"] == 6


def test_the_queue_never_has_two_owners(mock):
    held = mock.hold("private/jobs")
    mock.tool("reload")
    time.sleep(0.5)
    assert [p["generation"] for p in mock.processes("qmgr")] == [1]
    waiting = mock.connect("private/jobs")  # waits for the new one
    held.close()
    assert waiting.recv(100).split()[2] == b"2"
    waiting.close()
    assert [p["generation"] for p in mock.processes("qmgr")] == [2]


def test_reload_with_an_error_changes_nothing(mock):
    before = mock.ask()[0]
    mock.write(hopcount_limit="many")
    result = mock.tool("reload", check=False)
    assert result.returncode == 78
    assert re.search(r"main.cf:\d+: error: hopcount_limit must be a number", result.stderr)
    assert mock.ask()[0] == before
    mock.wait_log("reload refused")


def test_reload_that_cannot_bind_changes_nothing(mock):
    other = new_address()
    with socket.create_server((other, PORT)):
        text = (mock.config / "master.cf").read_text()
        mock.write(master_cf=f"{text}\n{other}:{PORT} inet n - n - - pop3d\n")
        assert mock.tool("reload", check=False).returncode == 78
    assert mock.ask()[0][2] == "1"
    assert mock.status()["generation"] == 1
    mock.tool("reload")
    wait_for("pop3d", lambda: mock.processes("pop3d"))


def test_a_service_taken_out_by_reload_is_no_longer_listening(mock):
    text = (mock.config / "master.cf").read_text()
    mock.write(master_cf="\n".join(line for line in text.splitlines() if "smtpd" not in line))
    mock.tool("reload")
    wait_for("no smtpd", lambda: not mock.processes("smtpd"))
    with pytest.raises(ConnectionRefusedError):
        mock.connect()


def test_stop_waits_for_sessions_and_ends_the_queue_last(mock):
    held = mock.hold()
    stop = subprocess.Popen([BUILD / "bin/dakiya", "-c", mock.config, "stop"])
    time.sleep(0.5)
    assert stop.poll() is None
    states = {p["program"]: p["state"] for p in mock.status()["processes"]}
    assert states == {"smtpd": "draining", "local": "ready", "resolver": "ready", "qmgr": "ready"}
    held.close()
    assert stop.wait(10) == 0
    assert mock.tool("status", check=False).returncode == 69
    assert not (mock.queue / "pid/master.pid").read_text()


def test_abort_does_not_wait(mock):
    held = mock.hold()
    begin = time.monotonic()
    mock.tool("abort")
    assert time.monotonic() - begin < 3
    held.close()


def test_a_start_after_kill_9_needs_no_person(mock):
    pid = mock.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for("the daemons' end", lambda: not any(
        str(mock.directory) in path.read_text(errors="replace")
        for path in pathlib.Path("/proc").glob(f"{pid}/cmdline")))
    assert (mock.queue / "private/jobs").exists()
    (mock.queue / "pid/master.pid").write_text("garbage")
    mock.tool("start")
    assert mock.ask()[0][0] == "smtpd"


def test_a_log_file_that_cannot_be_opened_stops_no_start(make_mock):
    mock = make_mock(settings={"maillog_file": "/nonexistent/directory/mail.log"})
    mock.tool("start")
    assert mock.ask()[0][0] == "smtpd"


def test_logrotate_opens_the_file_anew(mock):
    os.rename(mock.log_file, mock.directory / "mail.log.1")
    mock.tool("logrotate")
    mock.ask("crash")
    mock.wait_log("killed by signal 11")


def test_in_the_foreground_systemd_is_told_and_sigterm_stops(make_mock):
    mock = make_mock(settings={"maillog_file": "/dev/stdout"})
    path = mock.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(10)
        process = subprocess.Popen([BUILD / "bin/dakiya", "-c", mock.config, "start-fg"],
                                   env=dict(os.environ, NOTIFY_SOCKET=str(path),
                                            WATCHDOG_USEC="1000000"),
                                   stdout=subprocess.PIPE, text=True)
        told = []
        while b"WATCHDOG=1" not in told or not any(b"READY=1" in word for word in told):
            told.append(notify.recv(1000))
        process.send_signal(signal.SIGHUP)
        while not any(b"RELOADING=1" in word for word in told):
            told.append(notify.recv(1000))
        process.terminate()
        while b"STOPPING=1" not in told:
            told.append(notify.recv(1000))
    output = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert "daemon started -- version" in output and "has stopped" in output


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_runs_everything_as_himself(make_mock):
    mock = make_mock(prefix=["setpriv", "--reuid=64310", "--regid=64310", "--clear-groups"])
    for path in (mock.directory, mock.config):
        os.chown(path, 64310, 64310)
    mock.tool("start")
    pid = int(mock.ask()[0][1])
    assert os.stat(f"/proc/{pid}").st_uid == 64310
    assert "started without root: all daemons run as uid 64310" in mock.log()
    mock.tool("stop")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to set owners")
def test_sockets_and_directories_have_their_owners_and_modes(mock):
    def look(path):
        status = os.stat(mock.queue / path)
        return oct(status.st_mode & 0o7777), status.st_uid, status.st_gid

    assert look("private") == ("0o750", 0, 64300)
    assert look("private/jobs") == ("0o660", 64300, 64300)
    assert look("public/queue") == ("0o666", 64300, 64300)
    assert look("public/master") == ("0o660", 0, 64300)
    assert look("deferred") == ("0o700", 64300, 64300)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_daemon_user_may_see_the_state_and_stop_nothing(mock):
    mock.prefix = ["setpriv", "--reuid=64301", "--regid=64300", "--clear-groups"]
    assert "is running" in mock.tool("status").stdout
    assert mock.tool("stop", check=False).returncode == 77
    mock.prefix = []
    assert mock.status()["state"] == "running"


def test_a_port_added_and_one_taken_out_by_reload(mock):
    text = (mock.config / "master.cf").read_text()
    mock.write(master_cf=text.replace(f":{PORT} ", f":{PORT + 1} "))
    mock.tool("reload")
    with socket.create_connection((mock.address, PORT + 1), timeout=10) as client:
        assert client.recv(100).split()[0] == b"smtpd"
    wait_for("the old port's end", lambda: not _is_open(mock.address, PORT))


def _is_open(address, port):
    try:
        socket.create_connection((address, port), timeout=5).close()
        return True
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize("damage", ["no main.cf", "no master.cf", "empty master.cf",
                                    "main.cf is a directory", "unknown parameter"])
def test_reload_of_a_damaged_configuration_is_refused_and_the_old_one_goes_on(mock, damage):
    before = mock.ask()[0]
    main, master = mock.config / "main.cf", mock.config / "master.cf"
    saved = main.read_text(), master.read_text()
    if damage in ("no main.cf", "main.cf is a directory"):
        main.unlink()
    if damage == "main.cf is a directory":
        main.mkdir()
    if damage == "no master.cf":
        master.unlink()
    if damage == "empty master.cf":
        master.write_text("# nothing\n")
    if damage == "unknown parameter":
        main.write_text(saved[0] + "relay_hots = x\n")
    result = mock.tool("reload", check=False)
    assert result.returncode == 78, result.stdout + result.stderr
    assert result.stderr
    assert mock.ask()[0] == before
    if main.is_dir():
        main.rmdir()
    main.write_text(saved[0])
    master.write_text(saved[1])
    mock.tool("reload")
    wait_for("the new one", lambda: mock.ask()[0][2] != before[2])


def test_two_reloads_at_once_both_take_effect_in_turn(mock):
    both = [subprocess.Popen([BUILD / "bin/dakiya", "-c", mock.config, "reload"])
            for _ in range(2)]
    assert [one.wait(20) for one in both] == [0, 0]
    assert mock.status()["generation"] == 3
    wait_for("one smtpd", lambda: [p["generation"] for p in mock.processes("smtpd")] == [3])


def test_reload_during_stop_is_refused_and_the_stop_goes_on(mock):
    held = mock.hold()
    stop = subprocess.Popen([BUILD / "bin/dakiya", "-c", mock.config, "stop"])
    wait_for("stopping", lambda: mock.status()["state"] == "stopping")
    result = mock.tool("reload", check=False)
    assert result.returncode == 75
    assert "stopping" in result.stderr
    held.close()
    assert stop.wait(20) == 0
