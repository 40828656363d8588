"""The channel to authd (lib/ipc/messages.def, auth_*), spoken by tests; SCRAM's client side."""
import array
import base64
import contextlib
import hashlib
import hmac
import os
import socket
import struct

MECHANISMS, MECHANISM_LIST, START, RESPONSE, CANCEL, CHALLENGE, DONE = range(80, 87)
OK, CONTINUE, FAILED, TRY_LATER, CANCELLED, BAD_MECHANISM, MALFORMED, NO_MAILBOX = range(8)


def pack(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<I", len(data)) + data


class Fields:
    def __init__(self, data):
        self.data, self.at = data, 0

    def u32(self):
        self.at += 4
        return struct.unpack_from("<I", self.data, self.at - 4)[0]

    def bytes(self):
        length = self.u32()
        self.at += length
        return self.data[self.at - length:self.at]

    def boolean(self):
        self.at += 1
        return self.data[self.at - 1] == 1


class Done:
    """auth_done: status, user, reason, and the mailbox's descriptor or None."""

    def __init__(self, data, descriptors):
        fields = Fields(data)
        self.status = fields.u32()
        self.user = fields.bytes().decode()
        self.reason = fields.bytes().decode()
        self.success_data = fields.bytes()
        self.mailbox = descriptors[0] if fields.boolean() else None


class AuthChannel:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(70)
        self.connect(path)

    def connect(self, path):
        # A path may be longer than a socket address: by way of the directory's descriptor.
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
        try:
            self.socket.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, kind, payload):
        self.socket.sendall(struct.pack("<IHH", len(payload), kind, 0) + payload)

    def receive(self):
        """The next message: (kind, payload, descriptors)."""
        data, descriptors, need = b"", [], 8
        while len(data) < need:
            part, ancillary, _, _ = self.socket.recvmsg(need - len(data), 256)
            if not part:
                raise EOFError("authd closed the channel")
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(value[:len(value) - len(value) % 4])
                    descriptors += numbers
            data += part
            if len(data) >= 8:
                need = 8 + struct.unpack_from("<I", data)[0]
        return struct.unpack_from("<H", data, 4)[0], data[8:], descriptors

    def mechanisms(self, service="smtp", has_tls=True):
        self.send(MECHANISMS, pack(service) + bytes([has_tls]))
        kind, data, _ = self.receive()
        assert kind == MECHANISM_LIST
        return Fields(data).bytes().decode().split()

    def answer(self):
        """bytes for a challenge, Done at the end."""
        kind, data, descriptors = self.receive()
        if kind == CHALLENGE:
            return Fields(data).bytes()
        assert kind == DONE, kind
        return Done(data, descriptors)

    def start(self, mechanism, initial=None, service="smtp", has_tls=True, want_mailbox=False,
              address="192.0.2.7"):
        self.send(START, pack(service) + pack(mechanism) + bytes([initial is not None]) +
                  pack(initial or b"") + pack(address) + pack("client.test") + pack("192.0.2.1") +
                  bytes([has_tls]) + pack(b"") + bytes([want_mailbox]))
        return self.answer()

    def respond(self, response):
        self.send(RESPONSE, pack(response))
        return self.answer()

    def cancel(self):
        self.send(CANCEL, b"")

    def plain(self, user, password, authorize="", **options):
        return self.start("PLAIN", f"{authorize}\0{user}\0{password}", **options)

    def login(self, user, password, **options):
        assert self.start("LOGIN", **options) == b"Username:"
        assert self.respond(user) == b"Password:"
        return self.respond(password)

    def scram(self, user, password, authorize="", **options):
        """SCRAM-SHA-256 as RFC 5802 and 7677 have it; checks the server's signature."""
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        header = f"n,{'a=' + authorize if authorize else ''},"
        first = self.start("SCRAM-SHA-256", header + bare, **options)
        if isinstance(first, Done):
            return first
        values = dict(part.split("=", 1) for part in first.decode().split(","))
        assert values["r"].startswith(nonce) and len(values["r"]) > len(nonce) + 8
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(values["s"]),
                                     int(values["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c={base64.b64encode(header.encode()).decode()},r={values['r']}"
        message = f"{bare},{first.decode()},{last}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        result = self.respond(f"{last},p={base64.b64encode(proof).decode()}")
        if isinstance(result, Done):
            return result
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        expected = base64.b64encode(hmac.digest(server_key, message, "sha256")).decode()
        assert result.decode() == f"v={expected}"
        return self.respond(b"")

    def scram_salt(self, user):
        first = self.start("SCRAM-SHA-256", f"n,,n={user},r=abcdefghijkl")
        assert isinstance(first, bytes), first.reason
        self.cancel()
        return dict(part.split("=", 1) for part in first.decode().split(","))["s"]


@contextlib.contextmanager
def channel(host):
    with AuthChannel(str(host.queue / "private" / "auth")) as made:
        yield made
