#!/usr/bin/env python3
"""Records beside our results what Postfix makes of addresses and of header and body checks.

Writes rewriting.txt and contentchecks.txt beside the modules of tests/integration that hold their
cases: for each case what we make of it (D) and what Postfix makes of it where that is another (P).
Needs root, and Debian's postfix package, which is unpacked and not installed (see peers.py).
"""
import pathlib
import sys

import peers
import contentchecks
import dakiya
import rewriting
from smtp_peer import Peer

FOLDER = peers.TOP / "tests" / "integration"


class Postfix(peers.Postfix):
    def __init__(self, directory, address, sink, settings):
        super().__init__(directory, address, relayhost=f"[{sink}]:2525")
        settings = rewriting.COMMON | rewriting.transports(sink) | settings
        with (self.config / "main.cf").open("a") as main_cf:
            main_cf.write("".join(f"{name} = {value}\n" for name, value in settings.items()))


def of_postfix(directory, settings, observe):
    address, sink = "127.0.0.1", dakiya.new_address()  # Postfix wants an interface's address
    peer = Peer(sink, offers=["8BITMIME", "SMTPUTF8"])
    server = Postfix(directory / "postfix", address, sink, settings).start()
    try:
        return observe(address, server.port, peer, (server.directory / "mail.log").read_text)
    finally:
        server.stop()
        peer.close()


def of_ours(directory, settings, observe):
    host, peer = rewriting.make_host(directory / "ours", settings)
    try:
        return observe(host.address, host.ports["smtp"], peer, host.log)
    finally:
        host.stop(check=False)
        peer.close()


def both(name, settings, observe):
    """Lines of the recording."""
    directory = pathlib.Path(dakiya.new_directory(f"record-{name}"))
    theirs = of_postfix(directory, settings, observe)
    ours = of_ours(directory, settings, observe)
    dakiya.remove_directory(directory)
    assert theirs.keys() == ours.keys()
    for (kind, case), result in ours.items():
        yield f"{kind} {rewriting.escaped(case)}"
        yield f"D {rewriting.escaped(result)}"
        if " ".join(theirs[kind, case].split()) != " ".join(result.split()):
            yield f"P {rewriting.escaped(theirs[kind, case])}"


def write(name, lines):
    path = FOLDER / name
    remarks = [line for line in path.read_text().splitlines() if line.startswith("#")]
    path.write_text("\n".join(remarks + lines) + "\n")


def main():
    if not peers.are_available():
        sys.exit("Postfix cannot be had here")
    lines = []
    for name, settings in rewriting.VARIANTS.items():
        lines += [f"[{name}]", *both(name, settings, rewriting.observe)]
    write("rewriting.txt", lines)
    write("contentchecks.txt", list(both("checks", contentchecks.SETTINGS,
                                         contentchecks.observe)))


if __name__ == "__main__":
    main()
