"""A corpus of broken configurations, each named by `dakiya check` (broken_configs.txt)."""
import json
import os
import re

import pytest

from dakiya import BUILD, OWNERS, TOP, new_directory, remove_directory, run

CORPUS = TOP / "tests/integration/broken_configs.txt"
REST = """smtp unix - - n - - smtp
relay unix - - n - - smtp
virtual unix - n n - - virtual
qmgr unix - - n - 1 qmgr
resolver unix - - n - 1 resolver
authd unix - - n - 1 authd
bounce unix - - n - 2 bounce
"""


class Case:
    def __init__(self, title):
        self.title = title
        self.files = {"main.cf": ""}
        self.tables = []
        self.said, self.unsaid = [], []


def read_corpus():
    cases, name = [], "main.cf"
    for line in CORPUS.read_text().splitlines():
        if line.startswith("== "):
            cases.append(Case(line[3:]))
            name = "main.cf"
        elif not cases or not line.strip():
            continue
        elif line.startswith("-- "):
            name, *options = line[3:].split()
            cases[-1].files[name] = ""
            if "hash" in options:
                cases[-1].tables.append(name)
        elif line.startswith("=> "):
            severity, _, text = line[3:].partition(": ")
            cases[-1].said.append((severity, text))
        elif line.startswith("!> "):
            cases[-1].unsaid.append(line[3:])
        else:
            cases[-1].files[name] += line + "\n"
    return cases


CASES = read_corpus()


@pytest.fixture(scope="module")
def place():
    directory = new_directory("broken")
    yield directory
    remove_directory(directory)


def beginning(place):
    lines = ["myhostname = mail.example.org", f"daemon_directory = {BUILD / 'libexec'}",
             f"queue_directory = {place}", f"data_directory = {place}", "mydestination ="]
    owners = OWNERS if os.geteuid() == 0 else dict.fromkeys(OWNERS, "1:1")
    lines += [f"{role}_owner = {owner}" for role, owner in owners.items()]
    return "\n".join(lines) + "\n"


def check(place, case):
    directory = place / re.sub(r"\W+", "-", case.title)
    directory.mkdir()
    files = {"master.cf": "2525 inet n - n - - smtpd\n"} | case.files
    files["master.cf"] += REST
    for name, text in files.items():
        start = ""
        # A case about the first line has nothing in front of it.
        if name == "main.cf" and "main.cf:1" not in [text for _, text in case.said]:
            start = beginning(place)
        (directory / name).write_text(start + text.replace("@/", f"{directory}/"))
    for name in case.tables:
        run(BUILD / "bin/dakmap", f"hash:{directory / name}")
    result = run(BUILD / "bin/dakiya", "-c", directory, "check", check=False)
    return result, result.stderr.replace(f"{directory}/", "@/")


def test_the_corpus_has_every_rule():
    rules = {case.title.split()[0] for case in CASES}
    assert {f"C{number}" for number in range(1, 21)} - rules == {"C14"}, "C14 needs the network"
    assert len(CASES) >= 60
    assert len({case.title for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_each_mistake_is_named(place, case):
    result, said = check(place, case)
    for severity, part in case.said:
        lines = [line for line in said.splitlines() if part in line]
        assert lines, f"{part!r} is not in:\n{said}"
        assert any(f"{severity}: " in line for line in lines), said
    for part in case.unsaid:
        assert part not in said
    assert case.said or case.unsaid
    has_error = any(severity == "error" for severity, _ in case.said)
    assert result.returncode == (78 if has_error else 0), said
    # Errors that are counted are the errors that are shown.
    count = len(re.findall(r"^(?:\S+: )?error: ", said, flags=re.M))
    assert f": {count} errors, " in result.stdout


def test_json_and_the_word_on_strangers(place):
    """As docs/check.md shows them."""
    case = Case("json")
    case.files["main.cf"] = "relay_hots = x\n"
    result, _ = check(place, case)
    directory = place / "json"
    result = run(BUILD / "bin/dakiya", "-c", directory, "check", "--json", check=False)
    told = json.loads(result.stdout)
    assert result.returncode == 78 and not result.stderr
    assert (told["errors"], told["warnings"], told["services"]) == (1, 0, [])
    assert told["problems"] == [{"severity": "error", "file": f"{directory}/main.cf", "line": 10,
                                 "text": "relay_hots is no parameter; did you mean relayhost?"}]
    (directory / "main.cf").write_text(beginning(place))
    told = json.loads(run(BUILD / "bin/dakiya", "-c", directory, "check", "--json").stdout)
    assert told["services"] == [{"service": "2525", "relay_for_strangers": "none", "how":
                                 "smtpd_relay_restrictions: defer_unauth_destination"}]
    text = run(BUILD / "bin/dakiya", "-c", directory, "check").stdout
    line = re.search(r"^service smtp: (strangers .*)$", (TOP / "docs/check.md").read_text(), re.M)
    assert f"service 2525: {line.group(1)}\n" in text
    documented = (TOP / "docs/check.md").read_text()
    for rule in range(1, 21):
        assert f"| C{rule} |" in documented


def said_with(place, name, main_text, prepare):
    """What check says when something beside main.cf is as prepare(directory) makes it."""
    case = Case(name)
    case.files["main.cf"] = main_text
    check(place, case)
    directory = place / name
    prepare(directory)
    return run(BUILD / "bin/dakiya", "-c", directory, "check", check=False).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read what others may not")
def test_c5_a_table_that_the_daemons_cannot_read(place):
    def prepare(directory):
        (directory / "transport").write_text("example.net smtp:\n")
        os.chmod(directory / "transport", 0o600)

    said = said_with(place, "unreadable", "transport_maps = texthash:@/transport\n", prepare)
    assert "transport cannot be read by net_owner: when it changes" in said
    assert "chgrp 64300 " in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mailboxes of others")
def test_c18_a_directory_of_somebody_else(place):
    said = said_with(place, "base", "virtual_mailbox_domains = m.example\nvirtual_mailbox_base = "
                     "@/mail\nvirtual_mailbox_maps = inline:{a@m.example=a/}\nvirtual_uid_maps = "
                     "static:5000\nvirtual_gid_maps = static:5000\n",
                     lambda directory: (directory / "mail").mkdir())
    assert re.search(r"virtual_mailbox_base \S+/mail belongs to uid 0, .*: chown 5000 ", said)


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no tmpfs")
def test_c20_a_queue_in_memory(place):
    said = said_with(place, "memory", "queue_directory = /dev/shm\n", lambda directory: None)
    assert "queue_directory /dev/shm is in memory: mail in it is lost" in said
