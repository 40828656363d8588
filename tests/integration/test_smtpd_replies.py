"""What some six hundred single commands are answered, recorded beside Postfix's answers.

smtpd_replies.txt holds one command, the state in which it is said, our answer (D) and Postfix's
where it is another (P). A change of an answer shows here, and says whether it goes towards
Postfix or away from it.
"""
import concurrent.futures
import pathlib
import socket

import pytest

import dakiya

DATA = pathlib.Path(__file__).with_name("smtpd_replies.txt")
BEFORE = ["EHLO c.test", "MAIL FROM:<s@good.test>", "RCPT TO:<alice@example.test>"]


def rows():
    """(state, command, our answer, Postfix's answer) of the file."""
    found = []
    for line in DATA.read_text().splitlines():
        kind, _, text = line.partition(" ")
        if kind.isdigit():
            found.append([int(kind), text.encode().decode("unicode_escape"), None, None])
        elif kind in ("D", "P"):
            found[-1][2 if kind == "D" else 3] = text.encode().decode("unicode_escape")
    return found


@pytest.fixture(scope="module")
def server():
    directory = dakiya.new_directory("replies")
    host = dakiya.Host(directory, settings={
        "mynetworks": "192.0.2.0/24", "smtpd_peername_lookup": "no",
        "smtpd_error_sleep_time": "0", "smtpd_client_connection_count_limit": "0"})
    host.start()
    yield host
    host.stop(check=False)
    dakiya.remove_directory(directory)


def reply(stream):
    """The first line of the next reply, once all of it is there."""
    first = line = stream.readline()
    while line[3:4] == b"-":
        line = stream.readline()
    return first


def answer(server, state, command):
    with socket.create_connection((server.address, server.ports["smtp"]), timeout=20) as client:
        stream = client.makefile("rb")
        assert reply(stream).startswith(b"220 ")
        for line in BEFORE[:state]:
            client.sendall(line.encode() + b"\r\n")
            assert reply(stream)[:3] == b"250"
        client.sendall(command.encode() + b"\r\n")
        text = reply(stream).decode().rstrip("\r\n").replace(server.name, "HOST")
        if text.startswith(("221", "421", "521")) and not stream.read(1):
            text += " <END>"
        return text


def test_every_command_is_answered_as_recorded(server):
    table = rows()
    assert len(table) > 600
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda row: answer(server, row[0], row[1]), table)
        wrong = [f"{row[0]} {row[1]!r}: {got!r}, recorded {row[2]!r}, Postfix {row[3]!r}"
                 for row, got in zip(table, answers) if got != row[2]]
    assert not wrong, "\n".join(wrong)
