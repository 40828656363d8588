"""qmgr alone, with this process in the place of master, smtpd and the delivery agents."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import ipc  # noqa: E402
from ipc import BUILD  # noqa: E402,F401

SOCKETS = ("private/intake", "private/jobs", "public/queue")


class Closed(Exception):
    """The other side closed the channel."""


class Channel(ipc.Channel):
    """A channel whose end is an exception, for loops that begin again with another."""

    def receive(self, timeout=30):
        message = super().receive(timeout)
        if message is None:
            raise Closed
        return message


def sealed(data):
    fd = os.memfd_create("snapshot", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class QueueHost:
    """A queue directory with a qmgr that can be started, killed and started again."""

    def __init__(self, directory, libexec=None, **parameters):
        self.directory = pathlib.Path(directory)
        self.program = pathlib.Path(libexec or BUILD / "libexec") / "qmgr"
        self.parameters = {
            "queue_directory": str(self.directory), "data_directory": str(self.directory / "data"),
            "myhostname": "queue.test", "mydestination": "", "virtual_mailbox_domains": "",
            "minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "mynetworks": "127.0.0.0/8",
            "mail_owner": f"{os.getuid()}:{os.getgid()}", "net_owner": f"{os.getuid()}:{os.getgid()}",
            **{name: str(value) for name, value in parameters.items()}}
        for name in ("private", "public", "data"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self.listeners = {}
        for path in SOCKETS:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            (self.directory / path).unlink(missing_ok=True)
            listener.bind(str(self.directory / path))
            listener.listen(512)
            self.listeners[path] = listener
        self.log_path = self.directory / "log"
        self.process = None
        self.control = None

    def start(self):
        ours, theirs = socket.socketpair()
        snapshot = b"dakiya-snapshot 1\0" + b"".join(
            name.encode() + b"\0" + value.encode() + b"\0" for name, value in
            self.parameters.items())
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        memory = sealed(snapshot)

        def place():
            os.dup2(theirs.fileno(), 3)

        self.process = subprocess.Popen([str(self.program)], cwd=self.directory,
                                        preexec_fn=place, close_fds=False, stderr=log)
        theirs.close()
        self.control = Channel(ours)
        for path, listener in self.listeners.items():
            self.control.send("daemon_listener", address=path, socket=listener.fileno())
        self.control.send("daemon_start", service="qmgr", generation=1, process_limit=1,
                          is_unprivileged=True, log_target=0, log=log, snapshot=memory)
        os.close(memory)
        os.close(log)
        while True:
            name, _ = self.control.receive(20)
            if name == "daemon_ready":
                return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.control.close()

    def stop(self, deadline_ms=5000):
        self.control.send("daemon_drain", deadline_ms=deadline_ms)
        self.process.wait(deadline_ms / 1000 + 10)
        self.control.close()
        return self.process.returncode

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for listener in self.listeners.values():
            listener.close()
        found = re.search("AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:", self.log())
        assert not found, self.log()[found.start() - 200:][:6000]

    def path(self, name):
        return self.directory / name

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def connect(self, path, **hello):
        channel = Channel(self.path(path))
        if hello:
            channel.send("agent_hello", **hello)
        return channel


class Intake:
    """What smtpd is to qmgr: commits messages, one at a time."""

    def __init__(self, host):
        self.channel = Channel(host.path("private/intake"))
        self.channel.send("intake_hello", service="test")
        name, welcome = self.channel.receive()
        assert name == "intake_welcome"
        self.instance = welcome["instance"]
        self.count = 0

    def make_id(self):
        self.count += 1
        return f"t{self.instance}x{self.count:06d}"

    def commit(self, content=b"Subject: x\r\n\r\nbody\r\n", recipients=("bob@example.net",),
               sender="alice@example.org", queue_id=None, timeout=30, **envelope):
        """The queue id and the status of intake_result."""
        queue_id = queue_id or self.make_id()
        content = content(queue_id) if callable(content) else content
        self.channel.send(
            "intake_commit", queue_id=queue_id,
            envelope=[{"sender": sender, "arrival_us": int(time.time() * 1e6),
                       "size": len(content), "service": "test", **envelope}],
            recipients=[r if isinstance(r, dict) else {"address": r} for r in recipients],
            content=content)
        name, result = self.channel.receive(timeout)
        assert name == "intake_result", name
        return queue_id, result["status"]

    def close(self):
        self.channel.close()


class Agent(threading.Thread):
    """A delivery agent: calls deliver(job) -> outcome action for each job, in a thread."""

    def __init__(self, host, deliver, transport="smtp", window=1):
        super().__init__(daemon=True)
        self.host, self.deliver, self.transport, self.window = host, deliver, transport, window
        self.is_over = False
        self.start()

    def outcome(self, index, answer):
        if isinstance(answer, dict):
            return {"recipient": index, "status": "2.0.0", "reason": "ok", "relay": "sink", **answer}
        words = {0: ("2.0.0", "ok"), 1: ("2.0.0", "ok"), 2: ("4.0.0", "later"), 3: ("5.0.0", "no"),
                 4: ("2.0.0", "ok")}
        status, reason = words[answer]
        return {"recipient": index, "action": answer, "status": status, "reason": reason,
                "relay": "sink"}

    def serve(self, channel):
        while not self.is_over:
            name, job = channel.receive(3600)
            assert name == "job", name
            answer = self.deliver(job)
            report = {"destination": 0}
            if isinstance(answer, dict) and "answers" in answer:
                report.update(answer)
                answer = report.pop("answers")
                answer = answer * len(job["recipients"]) if isinstance(answer, list) else answer
            outcomes = [self.outcome(i, answer) for i in range(len(job["recipients"]))] \
                if not isinstance(answer, list) else \
                [self.outcome(i, one) for i, one in enumerate(answer)]
            channel.send("job_result", job=job["job"], outcomes=outcomes, **report)

    def run(self):
        while not self.is_over:
            try:
                channel = self.host.connect("private/jobs", transport=self.transport,
                                            window=self.window)
                self.serve(channel)
            except (Closed, OSError):
                time.sleep(0.01)


def wait_for(what, condition, timeout=20):
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"waited {timeout} s in vain: {what}"
        time.sleep(0.02)
