"""A client of authd on its channel (ipc.py), and SCRAM's client side."""
import base64
import contextlib
import hashlib
import hmac
import os
import socket
import types

from ipc import Channel

OK, CONTINUE, FAILED, TRY_LATER, CANCELLED, BAD_MECHANISM, MALFORMED, NO_MAILBOX = range(8)


class Done(types.SimpleNamespace):
    """auth_done: status, user, reason, success_data, delay_ms, and the mailbox's descriptor or None."""


def connected(path):
    made = socket.socket(socket.AF_UNIX)
    # A path may be longer than a socket address: by way of the directory's descriptor.
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        made.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)
    return made


class AuthChannel:
    def __init__(self, path):
        self.channel = Channel(connected(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def receive(self):
        """The next message as (name, fields)."""
        message = self.channel.receive(timeout=70)
        if message is None:
            raise EOFError("authd closed the channel")
        return message

    def mechanisms(self, service="smtp", has_tls=True):
        self.channel.send("auth_mechanisms", service=service, has_tls=has_tls)
        name, fields = self.receive()
        assert name == "auth_mechanism_list", name
        return fields["names"].decode().split()

    def answer(self):
        """bytes for a challenge, Done at the end."""
        name, fields = self.receive()
        if name == "auth_challenge":
            return fields["challenge"]
        assert name == "auth_done", name
        return Done(**{**fields, "user": fields["user"].decode(),
                       "reason": fields["reason"].decode()})

    def start(self, mechanism, initial=None, service="smtp", has_tls=True, want_mailbox=False,
              address="192.0.2.7"):
        self.channel.send("auth_start", service=service, mechanism=mechanism,
                          has_initial=initial is not None, initial=initial,
                          client_address=address, client_name="client.test",
                          server_address="192.0.2.1", has_tls=has_tls, want_mailbox=want_mailbox)
        return self.answer()

    def respond(self, response):
        self.channel.send("auth_response", response=response)
        return self.answer()

    def cancel(self):
        self.channel.send("auth_cancel")

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
