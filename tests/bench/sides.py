"""What the benchmarks share: ours and its peers, ready to be measured in turns.

Directories are removed at the very end. For a minute after files were removed ext4 steps over each
freed inode when it makes a file near there: whoever is measured next would pay for it.
"""
import atexit
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import peers  # noqa: E402
from peers import dakiya  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "3"))
MESSAGES = int(os.environ.get("MESSAGES", "4000"))
USERS = 100
BENCH = dakiya.BUILD / "bench"
NAMES = [f"user{number}" for number in range(USERS)]
SINK_ADDRESS, SINK_PORT = dakiya.new_address(), 2626
SINK = f"{SINK_ADDRESS}:{SINK_PORT}"
NEXT_HOST = f"[{SINK_ADDRESS}]:{SINK_PORT}"
SETTINGS = {
    "smtpd_client_connection_count_limit": 0,
    "mynetworks": "127.0.0.0/8",
    "mail_max_userip_connections": 100000,
    "auth_allow_cleartext": "yes",
    # What the peers log and do not do, too.
    "smtpd_peername_lookup": "no",
}


class Ours:
    name = "Dakiya"

    def __init__(self, authority=None, **settings):
        self.directory = dakiya.new_directory("bench")
        self.host = dakiya.Host(self.directory, authority=authority, users=[],
                                settings={**SETTINGS, **settings})
        self.host.tool("dakuser", "add", "--stdin", f"{NAMES[0]}@example.test",
                       stdin=dakiya.PASSWORD + "\n")
        for name in NAMES[1:]:
            self.host.add_user(name)
        self.address, self.port = self.host.address, self.host.ports["smtp"]
        self.pop3_port, self.pop3s_port = self.host.ports["pop3"], self.host.ports["pop3s"]
        self.log_file, self.mail = self.host.log_file, self.host.mail

    def start(self):
        self.host.start()
        return self

    def root_pid(self):
        return self.host.master_pid()

    def stop(self):
        self.host.stop(check=False)
        atexit.register(dakiya.remove_directory, self.directory)


class PostfixPeer(peers.Postfix):
    def __init__(self, **options):
        super().__init__(dakiya.new_directory("peer"), "127.0.0.1", users=NAMES, **options)
        self.log_file = self.directory / "mail.log"

    def root_pid(self):
        return self.master_pid()

    def stop(self):
        super().stop()
        atexit.register(dakiya.remove_directory, self.directory)


def count_sent(side, counted):
    """How many deliveries the log holds; counted = [offset, count] goes on where it was."""
    try:
        with open(side.log_file, "rb") as log:
            log.seek(counted[0])
            text = log.read()
    except FileNotFoundError:
        return 0
    end = text.rfind(b"\n") + 1
    counted[0] += end
    counted[1] += text[:end].count(getattr(side, "sent", b" status=sent "))
    return counted[1]


def source(side, sessions, messages, *options, size=4096):
    return [BENCH / "smtp-source", "-s", str(sessions), "-m", str(messages), "-u", str(USERS),
            "-l", str(size), *options, f"{side.address}:{side.port}"]


def execute(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {result.returncode}\n"
                         f"{result.stdout}{result.stderr}")
    return result.stdout


def measure(side, what):
    """Seconds and CPU milliseconds of what(side)."""
    cpu, start = peers.cpu_seconds(side.root_pid()), time.monotonic()
    what(side)
    seconds = time.monotonic() - start
    return seconds, (peers.cpu_seconds(side.root_pid()) - cpu) * 1000


def deliver(side, sessions, messages, *options, size=4096):
    """All messages sent and in their mailboxes."""
    counted = [side.log_file.stat().st_size if side.log_file.exists() else 0, 0]
    execute(source(side, sessions, messages, *options, size=size))
    dakiya.wait_for("all deliveries", lambda: count_sent(side, counted) >= messages, 300, 0.02)


def relay(side, messages, *options, sessions=20, size=4096):
    """All messages sent and at the sink."""
    sink = subprocess.Popen([BENCH / "smtp-sink", "-n", str(messages), SINK],
                            stdout=subprocess.DEVNULL)
    time.sleep(0.1)
    execute(source(side, sessions, messages, "-t", "user%d@sink.test", *options, size=size))
    sink.wait(300)


def format_per_message(cpu_ms, _):
    return f"{cpu_ms:6.2f} ms CPU"


def compare(title, sides, what, messages, format_cpu=format_per_message, warm_up=None):
    """Takes turns with the sides; prints medians and the ratio of each pair of runs."""
    rates = {side.name: [] for side in sides}
    cpus = {side.name: [] for side in sides}
    for side in sides:
        what(side, warm_up or max(50, messages // 10))
    for _ in range(ROUNDS):
        for side in sides:
            seconds, cpu = measure(side, lambda side=side: what(side, messages))
            rates[side.name].append(messages / seconds)
            cpus[side.name].append(cpu / messages)
    line = f"{title:34}"
    for side in sides:
        rate = statistics.median(rates[side.name])
        line += (f"  {side.name} {rate:8.{0 if rate >= 100 else 1}f}/s "
                 f"{format_cpu(statistics.median(cpus[side.name]), messages)}")
    for side in sides[1:]:
        ratios = sorted(a / b for a, b in zip(rates[sides[0].name], rates[side.name]))
        line += f"  ratio {statistics.median(ratios):.1f} ({ratios[0]:.1f}-{ratios[-1]:.1f})"
    print(line, flush=True)


class PeakMemory:
    """The most proportional memory of a side's processes, beyond what they had, while it runs."""

    def __init__(self, side):
        self.side, self.is_over = side, threading.Event()
        self.before_kb = self.peak_kb = peers.memory_kb(side.root_pid())
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.is_over.wait(0.02):
            self.peak_kb = max(self.peak_kb, peers.memory_kb(self.side.root_pid()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
