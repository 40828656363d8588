"""The suite's messages between daemons, read from lib/ipc/messages.def, for tests in Python."""
import array
import pathlib
import re
import socket
import struct

TOP = pathlib.Path(__file__).resolve().parents[2]


def _load():
    text = re.sub(r"/\*.*?\*/", "", (TOP / "lib/ipc/messages.def").read_text(), flags=re.S)
    records, messages, current = {}, {}, None
    for word, arguments in re.findall(r"^\s*([A-Z0-9]+)(?:\(([^)]*)\))?\s*$", text, flags=re.M):
        parts = [part.strip() for part in arguments.split(",")] if arguments else []
        if word == "RECORD":
            current = records.setdefault(parts[0], [])
        elif word == "MESSAGE":
            current = []
            messages[parts[0]] = (int(parts[1]), current)
        elif word == "END":
            current = None
        elif current is not None:
            current.append((word, parts))
    return records, messages


RECORDS, MESSAGES = _load()
NAMES = {number: name for name, (number, _) in MESSAGES.items()}


def _bytes(value):
    return value.encode() if isinstance(value, str) else value


def _encode(fields, values, descriptors):
    out = bytearray()
    for kind, (name, *record) in fields:
        value = values.get(name)
        if kind == "U32":
            out += struct.pack("<I", value or 0)
        elif kind == "U64":
            out += struct.pack("<Q", value or 0)
        elif kind == "I64":
            out += struct.pack("<q", value or 0)
        elif kind == "BOOL":
            out += bytes([1 if value else 0])
        elif kind == "BYTES":
            data = _bytes(value or b"")
            out += struct.pack("<I", len(data)) + data
        elif kind == "LIST":
            items = b""
            for item in value or []:
                one = _encode(RECORDS[record[0]], item, descriptors)
                items += struct.pack("<I", len(one)) + one
            out += struct.pack("<I", len(items)) + items
        elif kind == "DESCRIPTOR":
            is_there = value is not None and value >= 0
            out += bytes([1 if is_there else 0])
            if is_there:
                descriptors.append(value)
        elif kind == "TAIL":
            out += _bytes(value or b"")
    return bytes(out)


def _decode(fields, data, descriptors):
    values, at = {}, 0

    def take(count):
        nonlocal at
        piece = data[at:at + count]
        assert len(piece) == count, "short message"
        at += count
        return piece

    for kind, (name, *record) in fields:
        if kind in ("U32", "U64", "I64"):
            form = {"U32": "<I", "U64": "<Q", "I64": "<q"}[kind]
            values[name] = struct.unpack(form, take(struct.calcsize(form)))[0]
        elif kind == "BOOL":
            values[name] = take(1) == b"\1"
        elif kind == "BYTES":
            values[name] = take(struct.unpack("<I", take(4))[0])
        elif kind == "LIST":
            items, rest = [], take(struct.unpack("<I", take(4))[0])
            while rest:
                length = struct.unpack("<I", rest[:4])[0]
                items.append(_decode(RECORDS[record[0]], rest[4:4 + length], descriptors))
                rest = rest[4 + length:]
            values[name] = items
        elif kind == "DESCRIPTOR":
            values[name] = descriptors.pop(0) if take(1) == b"\1" else -1
        elif kind == "TAIL":
            values[name] = data[at:]
            at = len(data)
    return values


def encode(message, values):
    """The payload of a message, and its descriptors."""
    descriptors = []
    return _encode(MESSAGES[message][1], values, descriptors), descriptors


class Closed(Exception):
    """The other side closed the channel."""


class Channel:
    """Typed messages over a Unix socket, waiting."""

    def __init__(self, where):
        if isinstance(where, socket.socket):
            self.socket = where
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(str(where))
        self.data = b""
        self.descriptors = []

    def send(self, message, **values):
        payload, descriptors = encode(message, values)
        frame = struct.pack("<IHH", len(payload), MESSAGES[message][0], len(descriptors)) + payload
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] \
            if descriptors else []
        try:
            sent = self.socket.sendmsg([frame], control)
            if sent < len(frame):
                self.socket.sendall(frame[sent:])
        except OSError as error:
            raise Closed(str(error)) from error

    def _more(self):
        try:
            data, control, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(64))
        except (ConnectionError, socket.timeout) as error:
            raise Closed(str(error)) from error
        for level, kind, payload in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.descriptors += array.array("i", payload[:len(payload) // 4 * 4])
        if not data:
            raise Closed("end of file")
        self.data += data

    def has_message(self):
        if len(self.data) < 8:
            return False
        return len(self.data) >= 8 + struct.unpack("<I", self.data[:4])[0]

    def receive(self, timeout=30):
        """(name, values) of the next message."""
        self.socket.settimeout(timeout)
        while not self.has_message():
            self._more()
        length, number, _ = struct.unpack("<IHH", self.data[:8])
        payload, self.data = self.data[8:8 + length], self.data[8 + length:]
        name = NAMES[number]
        return name, _decode(MESSAGES[name][1], payload, self.descriptors)

    def close(self):
        self.socket.close()
