"""An SMTP or LMTP server in threads that says what a test wants."""
import socket
import ssl
import threading


class Peer:
    """An SMTP server in threads. handlers: verb -> function(session, argument) or reply text."""

    def __init__(self, address, port=2525, offers=(), certificate=None, lmtp=False, **handlers):
        self.address = address
        self.offers, self.certificate, self.lmtp = list(offers), certificate, lmtp
        self.handlers = handlers
        self.messages, self.commands, self.connections = [], [], 0
        self.envelopes = []  # (MAIL's argument, RCPTs' arguments, content)
        self.seen_tls = []  # a bool a message: whether it came under TLS
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.create_server((address, port), family=family, reuse_port=False)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            # Replies follow each other: none waits for the client's kernel to acknowledge the last.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self, connection):
        try:
            Session(self, connection).run()
        except (OSError, ConnectionError, ssl.SSLError, StopIteration):
            pass
        finally:
            connection.close()


class Session:
    def __init__(self, peer, connection):
        self.peer, self.connection = peer, connection
        self.file = connection.makefile("rb")
        self.has_tls = False
        self.sender, self.recipients = "", []

    def say(self, text):
        self.connection.sendall(text.encode("latin-1") + b"\r\n")

    def line(self):
        line = self.file.readline()
        if not line:
            raise StopIteration
        return line.rstrip(b"\r\n").decode("latin-1")

    def run(self):
        self.handle("GREETING", "", "220 peer.test ESMTP")
        while True:
            line = self.line()
            self.peer.commands.append(line)
            verb, _, argument = line.partition(" ")
            verb = verb.upper()
            if verb in ("EHLO", "LHLO") and verb not in self.peer.handlers:
                offers = [o for o in self.peer.offers if not (self.has_tls and o == "STARTTLS")]
                lines = ["peer.test", *offers]
                for i, text in enumerate(lines):
                    self.say(f"250{' ' if i == len(lines) - 1 else '-'}{text}")
            elif verb == "STARTTLS" and verb not in self.peer.handlers:
                self.say("220 go ahead")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.peer.certificate)
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.file = self.connection.makefile("rb")
                self.has_tls = True
            elif verb == "MAIL":
                self.sender, self.recipients = argument, []
                self.handle(verb, argument, "250 2.1.0 Ok")
            elif verb == "RCPT":
                self.recipients.append(argument)
                self.handle(verb, argument, "250 2.1.5 Ok")
            elif verb == "DATA":
                self.data()
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.handle(verb, argument, "250 Ok")

    def handle(self, verb, argument, default):
        handler = self.peer.handlers.get(verb, default)
        if callable(handler):
            handler(self, argument)
        else:
            self.say(handler)

    def data(self):
        handler = self.peer.handlers.get("DATA")
        if handler is not None:
            self.handle("DATA", "", "")
            return
        self.say("354 go")
        content = []
        while True:
            line = self.file.readline()
            if not line:
                raise StopIteration
            if line == b".\r\n":
                break
            content.append(line[1:] if line.startswith(b".") else line)
        self.peer.seen_tls.append(self.has_tls)
        self.peer.messages.append((list(self.recipients), b"".join(content)))
        self.peer.envelopes.append((self.sender, list(self.recipients), b"".join(content)))
        for _ in self.recipients if self.peer.lmtp else [None]:
            self.handle("DOT", "", "250 2.0.0 Ok: queued as PEER1")
