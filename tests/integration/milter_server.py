"""A milter for tests: speaks the wire protocol itself and answers as it is told.

Each command that arrives is noted in `events` as (letter, texts, macros); `answers` maps a letter
to the packets it gets in answer (a list of (letter, data)), or to a function of the texts that
returns them. What is not named gets "continue".
"""
import os
import socketserver
import struct
import threading

CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, END, ABORT, QUIT, UNKNOWN, MACROS, OPTIONS = (
    "C", "H", "M", "R", "T", "L", "N", "B", "E", "A", "Q", "U", "D", "O")
CONTINUE, ACCEPT, REJECT, TEMPFAIL, DISCARD, PROGRESS, SKIP = (
    (letter, b"") for letter in "cartdps")
NO_ANSWER = []
HANG_UP = None


def texts(*parts):
    return b"".join(part.encode("utf-8", "surrogateescape") + b"\0" for part in parts)


def reply(text):
    return ("y", texts(text))


def add_field(name, value):
    return ("h", texts(name, value))


def insert_field(index, name, value):
    return ("i", struct.pack(">I", index) + texts(name, value))


def change_field(index, name, value):
    return ("m", struct.pack(">I", index) + texts(name, value))


def new_body(data):
    return ("b", data)


def add_recipient(address):
    return ("+", texts(address))


def remove_recipient(address):
    return ("-", texts(address))


def change_sender(address):
    return ("e", texts(address))


def quarantine(reason):
    return ("q", texts(reason))


class Milter:
    def __init__(self, address, may=0x1ff, wants=0, version=6, macros=()):
        self.events, self.answers, self.connections = [], {}, 0
        self.options = struct.pack(">III", version, may, wants) + b"".join(
            struct.pack(">I", stage) + texts(names) for stage, names in macros)
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                outer.connections += 1
                macros = {}
                while (head := self.rfile.read(4)) and len(head) == 4:
                    packet = self.rfile.read(struct.unpack(">I", head)[0])
                    letter, data = chr(packet[0]), packet[1:]
                    if letter == MACROS:
                        pairs = data[1:].split(b"\0")[:-1]
                        macros = dict(zip((name.decode() for name in pairs[::2]),
                                          (value.decode() for value in pairs[1::2])))
                        continue
                    parts = data if letter == BODY else outer.parts(letter, data)
                    outer.events.append((letter, parts, macros))
                    macros = {}
                    given = outer.answer(letter, parts)
                    if given is None:
                        return
                    for answer, content in given:
                        self.wfile.write(struct.pack(">I", len(content) + 1) + answer.encode()
                                         + content)

        kind = (socketserver.ThreadingUnixStreamServer if isinstance(address, str)
                else socketserver.ThreadingTCPServer)
        kind.allow_reuse_address = kind.daemon_threads = True
        self.server = kind(address, Handler)
        if isinstance(address, str):
            os.chmod(address, 0o666)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def parts(letter, data):
        if letter == CONNECT:
            name, rest = data.split(b"\0", 1)
            return [name.decode(), chr(rest[0]), struct.unpack(">H", rest[1:3])[0],
                    rest[3:].rstrip(b"\0").decode()]
        return [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")[:-1]]

    def answer(self, letter, parts):
        if letter == OPTIONS:
            return [(OPTIONS, self.options)]
        if letter in (ABORT, QUIT):
            return NO_ANSWER
        given = self.answers.get(letter, [CONTINUE])
        return given(parts) if callable(given) else given

    def of(self, letter):
        """What came with a letter: the parts of each."""
        return [parts for kind, parts, _ in self.events if kind == letter]

    def macros(self, letter):
        return [macros for kind, _, macros in self.events if kind == letter]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
