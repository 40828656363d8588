#!/usr/bin/env python3
"""Records beside our results what Postfix makes of the cases in tests/integration/rewriting.py.

Writes tests/integration/rewriting.txt: for each variant of the settings and each case what we make
of it (D) and what Postfix makes of it where that is another (P). Needs root, and Debian's postfix
package, which is unpacked and not installed (see peers.py).
"""
import pathlib
import sys

import peers
import dakiya
import rewriting
from smtp_peer import Peer

OUT = peers.TOP / "tests" / "integration" / "rewriting.txt"


class Postfix(peers.Postfix):
    def __init__(self, directory, address, sink, settings):
        super().__init__(directory, address, relayhost=f"[{sink}]:2525")
        settings = rewriting.COMMON | rewriting.transports(sink) | settings
        with (self.config / "main.cf").open("a") as main_cf:
            main_cf.write("".join(f"{name} = {value}\n" for name, value in settings.items()))


def of_postfix(directory, settings):
    address, sink = "127.0.0.1", dakiya.new_address()  # Postfix wants an interface's address
    peer = Peer(sink, offers=["8BITMIME", "SMTPUTF8"])
    server = Postfix(directory / "postfix", address, sink, settings).start()
    try:
        return rewriting.observe(address, server.port, peer)
    finally:
        server.stop()
        peer.close()


def of_ours(directory, settings):
    host, peer = rewriting.make_host(directory / "ours", settings)
    try:
        return rewriting.observe(host.address, host.ports["smtp"], peer)
    finally:
        host.stop(check=False)
        peer.close()


def main():
    if not peers.are_available():
        sys.exit("Postfix cannot be had here")
    lines = [line for line in OUT.read_text().splitlines() if line.startswith("#")] \
        if OUT.exists() else []
    for name, settings in rewriting.VARIANTS.items():
        directory = pathlib.Path(dakiya.new_directory(f"record-{name}"))
        theirs, ours = of_postfix(directory, settings), of_ours(directory, settings)
        lines.append(f"[{name}]")
        for (kind, case), result in ours.items():
            lines.append(f"{kind} {rewriting.escaped(case)}")
            lines.append(f"D {rewriting.escaped(result)}")
            if " ".join(theirs[kind, case].split()) != " ".join(result.split()):
                lines.append(f"P {rewriting.escaped(theirs[kind, case])}")
        dakiya.remove_directory(directory)
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
