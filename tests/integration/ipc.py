"""The messages between daemons, for tests that stand in for one side: read from messages.def.

Channel speaks over a Unix socket; a message is its name and a dict of fields. LaunchedDaemon is a
master with one daemon.
"""
import array
import os
import pathlib
import re
import select
import socket
import struct
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / os.environ.get("OUT", "build")
OWNER = 64300  # of all roles, when root runs the test
NUMBERS = {"U32": "<I", "U64": "<Q", "I64": "<q", "BOOL": "<?"}


def _read_definitions():
    text = re.sub(r"/\*.*?\*/", "", (TOP / "lib/ipc/messages.def").read_text(), flags=re.S)
    records, messages = {}, {}
    for match in re.finditer(r"(RECORD|MESSAGE)\((\w+)(?:, (\d+), [^)]*)?\)(.*?)\nEND", text,
                             flags=re.S):
        kind, name, number, body = match.groups()
        fields = re.findall(r"(U32|U64|I64|BOOL|BYTES|LIST|DESCRIPTOR|TAIL)\((\w+)(?:, (\w+))?\)",
                            body)
        if kind == "RECORD":
            records[name] = fields
        else:
            messages[name] = (int(number), fields)
    return records, messages


RECORDS, MESSAGES = _read_definitions()
NAMES = {number: name for name, (number, _) in MESSAGES.items()}


def _bytes(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def _encode(fields, values, descriptors):
    unknown = set(values) - {name for _, name, _ in fields}
    assert not unknown, unknown
    out = b""
    for kind, name, record in fields:
        value = values.get(name)
        if kind in NUMBERS:
            out += struct.pack(NUMBERS[kind], value or 0)
        elif kind == "BYTES":
            data = _bytes(value or b"")
            out += struct.pack("<I", len(data)) + data
        elif kind == "LIST":
            data = b""
            for one in value or []:
                encoded = _encode(RECORDS[record], one, descriptors)
                data += struct.pack("<I", len(encoded)) + encoded
            out += struct.pack("<I", len(data)) + data
        elif kind == "DESCRIPTOR":
            out += bytes([value is not None])
            if value is not None:
                descriptors.append(value if isinstance(value, int) else value.fileno())
        else:
            out += _bytes(value or b"")
    return out


def _decode(fields, data, descriptors):
    values = {}
    for kind, name, record in fields:
        if kind in NUMBERS:
            size = struct.calcsize(NUMBERS[kind])
            values[name], data = struct.unpack(NUMBERS[kind], data[:size])[0], data[size:]
        elif kind in ("BYTES", "LIST"):
            length = struct.unpack("<I", data[:4])[0]
            part, data = data[4:4 + length], data[4 + length:]
            values[name] = part
            if kind == "LIST":
                values[name] = []
                while part:
                    size = struct.unpack("<I", part[:4])[0]
                    values[name].append(_decode(RECORDS[record], part[4:4 + size], descriptors))
                    part = part[4 + size:]
        elif kind == "DESCRIPTOR":
            values[name], data = (descriptors.pop(0) if data[0] else None), data[1:]
        else:
            values[name], data = data, b""
    assert data == b"", "bytes left over"
    return values


class Channel:
    """One end of a channel between daemons."""

    def __init__(self, peer):
        if isinstance(peer, socket.socket):
            self.socket = peer
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(str(peer))
        self.buffer, self.descriptors = b"", []

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def encode(self, name, values):
        descriptors = []
        number, fields = MESSAGES[name]
        payload = _encode(fields, values, descriptors)
        return struct.pack("<IHH", len(payload), number, len(descriptors)) + payload, descriptors

    def send(self, name, /, **values):
        frame, descriptors = self.encode(name, values)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        sent = self.socket.sendmsg([frame], control if descriptors else [])
        if sent < len(frame):  # an empty send would notice that the peer, answering, has left
            self.socket.sendall(frame[sent:])

    def receive(self, timeout=20):
        """The next message as (name, fields); None at end of file."""
        until = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 8:
                length, number, count = struct.unpack("<IHH", self.buffer[:8])
                if len(self.buffer) >= 8 + length:
                    payload, self.buffer = self.buffer[8:8 + length], self.buffer[8 + length:]
                    mine, self.descriptors = self.descriptors[:count], self.descriptors[count:]
                    return NAMES[number], _decode(MESSAGES[NAMES[number]][1], payload, mine)
            ready, _, _ = select.select([self.socket], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("no message in time")
            try:
                data, control, _, _ = self.socket.recvmsg(1 << 20, 4096)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.buffer += data
            for level, kind, value in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(value[:len(value) - len(value) % fds.itemsize])
                    self.descriptors += list(fds)

    def ask(self, name, /, **values):
        self.send(name, **values)
        return self.receive()


def _snapshot(settings):
    data = b"dakiya-snapshot 1\0"
    for name, value in settings.items():
        data += f"{name}\0{value}\0".encode()
    fd = os.memfd_create("snapshot")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class LaunchedDaemon:
    """Starts build/libexec/PROGRAM as master does, with one listening socket."""

    def __init__(self, program, directory, listener, settings, service=None, wrapper=()):
        self.directory = pathlib.Path(directory)
        self.path = self.directory / listener
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.log_path = self.directory / "log"
        settings = {"queue_directory": self.directory, "daemon_directory": BUILD / "libexec",
                    "maillog_file": self.log_path, **settings}
        if os.geteuid() == 0:
            for role in ("mail", "net", "auth", "dns"):
                settings.setdefault(f"{role}_owner", f"{OWNER}:{OWNER}")
        if self.path.exists():
            self.path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self.path))
        os.chmod(self.path, 0o777)
        listening.listen(100)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

        def become_child():
            os.dup2(theirs.fileno(), 3)

        self.process = subprocess.Popen([*wrapper, BUILD / "libexec" / program],
                                        pass_fds=(3,) if theirs.fileno() == 3 else (),
                                        preexec_fn=become_child, close_fds=False)
        theirs.close()
        self.control = Channel(ours)
        self.control.send("daemon_listener", address=listener, socket=listening)
        snapshot = _snapshot(settings)
        self.control.send("daemon_start", service=service or program, process_limit=10,
                          is_unprivileged=os.geteuid() != 0, log_target=0, log=log,
                          snapshot=snapshot)
        listening.close()
        os.close(log)
        os.close(snapshot)
        message = self.control.receive()
        assert message and message[0] == "daemon_ready", f"{message}\n{self.log()}"

    def log(self):
        return self.log_path.read_text(errors="replace")

    def connect(self, uid=OWNER):
        """A channel as the daemon sees one from another role (as root: by effective uid)."""
        if os.geteuid() != 0:
            return Channel(self.path)
        os.seteuid(uid)
        try:
            return Channel(self.path)
        finally:
            os.seteuid(0)

    def stop(self, timeout=20):
        """Drains; the exit status."""
        if self.process.poll() is None:
            try:
                self.control.send("daemon_drain", deadline_ms=5000)
            except OSError:
                pass
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.control.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
