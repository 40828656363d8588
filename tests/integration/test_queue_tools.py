"""postqueue, postsuper, postcat, mailq and qshape as Postfix has them: the words, the stream and the
exit code of each, measured with Postfix 3.7.11 on an equal queue; and what no address or reason may
do to a terminal. Mail stays in the queue since transport_maps says retry: to it."""
import json
import os
import pty
import re
import subprocess

import pytest

import dakiya

ESCAPE, C1 = "\x1b[31m", "\x9b31m"
LONG = "the host said a great deal " * 100 + "and ü"
ROUTES = {"one.test": "retry:4.2.1 first reason", "two.test": "retry:4.2.2 second reason",
          "evil.test": f"retry:4.2.3 grün{ESCAPE} rot{C1} \tend", "long.test": f"retry:4.2.4 {LONG}",
          "end.test": "retry:4.2.6 one\u2028two\u2029three",
          ".end.test": "retry:4.2.5 below", ".y.test": "retry:4.2.5 below"}
NAMES = ("postqueue", "postsuper", "postcat", "qshape", "mailq", "dakqueue")
NOBODY = 65534


@pytest.fixture(scope="module")
def queue_host(authority):
    directory = dakiya.new_directory("host")
    host = dakiya.Host(directory, authority=authority, users=("alice",), settings={
        "smtpd_reject_unlisted_recipient": "no", "mynetworks": "127.0.0.0/8",
        "smtpd_recipient_limit": "2000",
        "transport_maps": f"hash:{directory}/etc/transport"},
        extra_services="pickup unix n - n 60 1 pickup\n")
    (host.config / "transport").write_text(
        "".join(f"{domain} {where}\n" for domain, where in ROUTES.items()), encoding="utf-8")
    host.tool("dakmap", f"hash:{host.config}/transport")
    for name in NAMES:
        (directory / name).symlink_to(dakiya.BUILD / "bin" / "dakqueue")
    (directory / "sendmail").symlink_to(dakiya.BUILD / "bin" / "sendmail")
    host.start()
    yield host
    host.stop(check=False)
    try:
        host.check_log()
    finally:
        dakiya.remove_directory(directory)


@pytest.fixture
def queue(queue_host):
    """The host with an empty queue and qmgr up."""
    queue_host.tool("dakqueue", "delete", "ALL")
    queue_host.wait_queue_empty()
    return queue_host


def called(host, name, *arguments, stdin="", uid=None):
    """Standard output, standard error and the exit code of the program under that name."""
    done = subprocess.run([str(host.directory / name), *arguments], input=stdin, text=True, user=uid,
                          env={"MAIL_CONFIG": str(host.config), "PATH": "/usr/bin:/bin"},
                          capture_output=True, timeout=60, check=False)
    return done.stdout, done.stderr, done.returncode


def entry(host, queue_id):
    return next((one for one in host.queue_list() if one["queue_id"] == queue_id), None)


def submit(host, *recipients, sender="carol@client.test"):
    """A message by sendmail(1) that will be deferred; its id when it rests."""
    known = {one["queue_id"] for one in host.queue_list()}
    _, error, code = called(host, "sendmail", "-f", sender, *recipients,
                            stdin="Subject: hi\n\nhello\n")
    assert (error, code) == ("", 0)
    return dakiya.wait_for("the message to rest", lambda: next(
        (one["queue_id"] for one in host.queue_list()
         if one["queue_id"] not in known and one["queue_name"] == "deferred"), None))


# Name, arguments, standard error, exit code; ID is a deferred message's. Nothing on standard output.
# Postfix's exit codes for wrong usage differ among its programs: ours is 64 for all of them.
SAID = [
    ("postqueue", "-i bogus", "", 0),
    ("postqueue", "-i ABCDEF0123", "", 0),
    ("postqueue", "-i ID", "", 0),
    ("postqueue", "-s one.test", "", 0),
    ("postqueue", "-s [one.test]",
     'postqueue: fatal: Cannot flush mail queue - invalid destination: "[one.test]"\n', 69),
    ("sendmail", "-bp a@one.test", "sendmail: fatal: with -bp and -q there are no recipients\n", 64),
    ("sendmail", "-q a@one.test", "sendmail: fatal: with -bp and -q there are no recipients\n", 64),
    ("postqueue", "-s -x", 'postqueue: fatal: Cannot flush mail queue - invalid destination: "-x"\n',
     69),
    ("postqueue", "-f", "", 0),
    ("sendmail", "-qIID", "", 0),
    ("sendmail", "-qIbogus", "", 0),
    ("sendmail", "-q", "", 0),
    ("sendmail", "-q10m", "", 0),
    ("sendmail", "-qRone.test", "", 0),
    ("postsuper", "-d bogus!",
     "postsuper: warning: invalid mail queue id: bogus!\npostsuper: Deleted: 0 messages\n", 0),
    ("postsuper", "-d ABCDEF0123", "postsuper: Deleted: 0 messages\n", 0),
    ("postsuper", "-d ABCDEF0123 deferred", "postsuper: Deleted: 0 messages\n", 0),
    ("postsuper", "-H ID", "postsuper: Released from hold: 0 messages\n", 0),
    ("postsuper", "-h ID hold", "postsuper: Placed on hold: 0 messages\n", 0),
    ("postsuper", "-r ID hold", "postsuper: Requeued: 0 messages\n", 0),
    ("postsuper", "-d ID maildrop", "postsuper: Deleted: 0 messages\n", 0),
    ("postsuper", "-h ID", "postsuper: ID: placed on hold\npostsuper: Placed on hold: 1 message\n", 0),
    ("postsuper", "-h ID", "postsuper: Placed on hold: 0 messages\n", 0),
    ("postsuper", "-h ID -h ID", "postsuper: Placed on hold: 0 messages\n", 0),
    ("postsuper", "-H ID deferred", "postsuper: Released from hold: 0 messages\n", 0),
    ("postsuper", "-d ID deferred", "postsuper: Deleted: 0 messages\n", 0),
    ("postsuper", "-e ALL deferred", "postsuper: Force-expired: 0 messages\n", 0),
    ("postsuper", "-H ID",
     "postsuper: ID: released from hold\npostsuper: Released from hold: 1 message\n", 0),
    ("postsuper", "-h ID -H ABCDEF0123",
     "postsuper: ID: placed on hold\npostsuper: Placed on hold: 1 message\n"
     "postsuper: Released from hold: 0 messages\n", 0),
    ("postsuper", "-H ALL", "postsuper: Released from hold: 1 message\n", 0),
    ("postsuper", "-f ABCDEF0123",
     "postsuper: Force-expired: 0 messages\npostsuper: Released from hold: 0 messages\n", 0),
    ("postsuper", "-d ABCDEF0123 -h BCDEF01234",
     "postsuper: Deleted: 0 messages\npostsuper: Placed on hold: 0 messages\n", 0),
    ("postsuper", "-d -", "postsuper: Deleted: 0 messages\n", 0),
    ("postsuper", "-r ALL hold", "postsuper: Requeued: 0 messages\n", 0),
    ("postsuper", "-s", "", 0),
    ("postsuper", "-p", "", 0),
    ("postsuper", "", "", 0),
    ("postsuper", "deferred", "", 0),
    ("postcat", "-q bogus", "postcat: fatal: open queue file bogus: No such file or directory\n", 65),
    ("postcat", "-q ABCDEF0123",
     "postcat: fatal: open queue file ABCDEF0123: No such file or directory\n", 65),
    ("postsuper", "-d ID -d ID", "postsuper: ID: removed\npostsuper: Deleted: 1 message\n", 0),
    ("postsuper", "-d ALL", "postsuper: Deleted: 0 messages\n", 0),
]


def test_each_says_what_postfix_says(queue):
    queue_id = submit(queue, "a@one.test", "c@two.test")
    for name, arguments, expected, code in SAID:
        words = [word.replace("ID", queue_id) if word in ("ID", "-qIID") else word
                 for word in arguments.split()]
        said = called(queue, name, *words)
        assert said == ("", expected.replace("ID", queue_id), code), (name, arguments)
        # What was asked for is done a moment later: the next line of the table finds it done.
        dakiya.wait_for("it to rest", lambda: all(
            one["queue_name"] != "active" for one in queue.queue_list()))


def test_what_is_no_name_is_no_id_to_flush(queue):
    for name in ("../x", "", "a b", "x!"):
        assert called(queue, "postqueue", "-i", name) == (
            "", f'postqueue: fatal: Cannot flush queue ID - invalid name: "{name}"\n', 69)


def test_of_two_ids_or_sites_none_is_forgotten(queue):
    for arguments in (["-i", "ABCDEF0123", "-i", "BCDEF01234"], ["-s", "a.test", "-s", "b.test"]):
        _, said, code = called(queue, "postqueue", *arguments)
        assert said.startswith("usage: postqueue ") and code == 64


def test_ids_on_standard_input_that_are_none_are_told_of(queue):
    queue_id = submit(queue, "a@one.test")
    lines = f"{queue_id} and more\n../{queue_id}\n\n  \nbad!\x1b[1m\n"
    _, said, code = called(queue, "postsuper", "-h", "-", stdin=lines)
    assert (said, code) == (f"postsuper: warning: invalid mail queue id: {queue_id} and more\n"
                            f"postsuper: warning: invalid mail queue id: ../{queue_id}\n"
                            "postsuper: warning: invalid mail queue id: bad!?[1m\n"
                            "postsuper: Placed on hold: 0 messages\n", 0)
    _, said, _ = called(queue, "postsuper", "-h", "-", stdin=f"bad!\n  {queue_id}\r\nABCDEF0123")
    assert said == ("postsuper: warning: invalid mail queue id: bad!\n"
                    f"postsuper: {queue_id}: placed on hold\npostsuper: Placed on hold: 1 message\n")


def shell(host, command):
    done = subprocess.run(["bash", "-c", command], env={
        "MAIL_CONFIG": str(host.config), "PATH": f"{host.directory}:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False)
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize("command", ["postqueue -p", "postqueue -j", "mailq", "qshape deferred",
                                     "dakqueue list", "postcat -q ID"])
def test_output_that_cannot_be_written_is_an_error(queue, command):
    queue_id = submit(queue, "a@one.test")
    command = command.replace("ID", queue_id)
    name = command.split()[0]
    assert shell(queue, f"{command} >/dev/full") == (
        "", f"{name}: standard output cannot be written\n", 74)
    # Closed streams are /dev/null: the connection to qmgr must not take their place.
    assert shell(queue, f"{command} >&-") == ("", "", 0)
    assert shell(queue, f"{command} <&- | head -c 1 | wc -c") == ("1\n", "", 0)


def test_standard_input_that_cannot_be_read_is_an_error(queue):
    assert shell(queue, "postsuper -d - < /") == (
        "", "postsuper: fatal: standard input: Is a directory\n", 74)
    assert shell(queue, "postsuper -d - <&-") == ("", "postsuper: Deleted: 0 messages\n", 0)


def test_a_line_of_json_is_one_for_readers_that_know_all_line_ends_of_unicode(queue):
    submit(queue, "a@end.test")
    text, _, _ = called(queue, "postqueue", "-j")
    (line,) = text.splitlines()
    assert json.loads(line)["recipients"][0]["delay_reason"] == "one\u2028two\u2029three"


def test_the_log_names_postsuper(queue):
    queue_id = submit(queue, "a@one.test")
    for letter in "hHrhe":
        called(queue, "postsuper", f"-{letter}", queue_id)
        dakiya.wait_for("it to rest", lambda: entry(queue, queue_id)["queue_name"] != "active")
    called(queue, "postsuper", "-d", queue_id)
    queue.wait_queue_empty()
    lines = re.findall(rf"postfix/postsuper\[\d+\]: {queue_id}: (.*)", queue.log())
    assert lines == ["placed on hold", "released from hold", "requeued", "placed on hold", "expired",
                     "removed"]


def test_addresses_stand_in_listings_as_postfix_quotes_them(queue):
    submit(queue, '"two words"@one.test', '"a\\"b"@two.test', sender='"od d"@client.test')
    (known,) = queue.queue_list()
    assert known["sender"] == '"od d"@client.test'
    assert [one["address"] for one in known["recipients"]] == ['"two words"@one.test',
                                                               '"a\\"b"@two.test']
    text, _, _ = called(queue, "postqueue", "-p")
    assert "  \"od d\"@client.test\n".strip() in text and "\n" + " " * 47 + '"a\\"b"@two.test\n' in text
    for option, pattern in (("--sender", '"od d"@client.test'), ("--recipient", '"two words"@one.test'),
                            ("--recipient", "two words@one"), ("--recipient", '"two*')):
        listed = queue.tool("dakqueue", "list", "--json", option, pattern).stdout
        assert listed.count("\n") == 1, (option, pattern)


def test_the_null_sender_is_found_by_the_name_in_listings(queue):
    submit(queue, "a@one.test", sender="")
    submit(queue, "a@one.test", sender="alice@example.test")
    for pattern in ("<>", "MAILER-DAEMON", "mailer-daemon"):
        listed = queue.tool("dakqueue", "list", "--json", "--sender", pattern).stdout
        assert json.loads(listed)["sender"] == "MAILER-DAEMON", pattern


def test_no_terminal_escape_gets_through(queue):
    queue_id = submit(queue, "a@evil.test", "grün@one.test")
    for name, arguments in (("postqueue", ["-p"]), ("postqueue", ["-j"]), ("mailq", []),
                            ("dakqueue", ["why", queue_id]), ("dakqueue", ["why", "-j", queue_id]),
                            ("dakqueue", ["list", "--reason", "rot"]), ("qshape", ["deferred"])):
        text, error, code = called(queue, name, *arguments)
        assert (error, code) == ("", 0), (name, arguments)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text), (name, arguments, text)
    text, _, _ = called(queue, "postqueue", "-p")
    # As far to the right as its bytes allow, as in Postfix.
    assert "\n" + "(grün?[31m rot??31m ?end)".rjust(78 - 1) + "\n" in text, text
    reason = next(one["delay_reason"] for one in queue.queue_list()[0]["recipients"]
                  if one["address"] == "a@evil.test")
    assert reason == f"grün{ESCAPE} rot{C1} \tend"


def test_content_is_shown_as_it_is_but_not_to_a_terminal(queue):
    known = f"Subject: hi\n\nred {ESCAPE}\x0e\n"
    called(queue, "sendmail", "-f", "a@b.test", "x@one.test", stdin=known)
    queue_id = dakiya.wait_for("it to rest", lambda: next(
        (one["queue_id"] for one in queue.queue_list() if one["queue_name"] == "deferred"), None))
    assert called(queue, "postcat", "-bq", queue_id)[0] == f"\nred {ESCAPE}\x0e\n"
    ours, theirs = pty.openpty()
    subprocess.run([str(queue.directory / "postcat"), "-c", str(queue.config), "-bq", queue_id],
                   stdout=theirs, timeout=60, check=True)
    shown = os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert shown.replace(b"\r\n", b"\n") == b"\nred ?[31m?\n"


def test_a_long_reason_and_many_recipients_are_listed_whole(queue):
    names = [f"r{number}@one.test" for number in range(1000)] + ["l@long.test"]
    submit(queue, *names)
    text, _, _ = called(queue, "postqueue", "-p")
    assert f"({LONG})" in text.splitlines()
    assert re.findall(r"^ {47}(r\d+@one\.test)$", text, re.M) == names[:-1]
    assert text.count("(first reason)") == 1
    assert len(queue.queue_list()[0]["recipients"]) == 1001


def test_postcat_prints_the_lines_that_scripts_read(queue):
    reply = queue.send("s@one.test", ["a@one.test", "b@two.test"], dakiya.message(to="a@one.test"))
    queue_id = re.search(r"queued as (\w+)", reply).group(1)
    dakiya.wait_for("it to rest", lambda: entry(queue, queue_id)["queue_name"] == "deferred")
    known = entry(queue, queue_id)
    lines = called(queue, "postcat", "-eq", queue_id)[0].splitlines()
    size = known["message_size"]
    assert lines[1] == f"message_size: {size:15} {0:15} {2:15} {0:15} {size:15} {0:15}"
    assert re.fullmatch(r"message_arrival_time: \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", lines[2])
    assert lines[3] == "sender: s@one.test"
    for line in ("named_attribute: encoding=7bit", "named_attribute: protocol_name=ESMTP"):
        assert line in lines
    assert any(line.startswith("named_attribute: client_address=127.") for line in lines)
    assert [line for line in lines if "recipient: " in line] == [
        "original_recipient: a@one.test", "recipient: a@one.test",
        "original_recipient: b@two.test", "recipient: b@two.test"]


def test_several_ids_of_which_some_are_missing(queue):
    one, two = submit(queue, "a@one.test"), submit(queue, "b@two.test")
    for verb in ("why", "show"):
        done = queue.tool("dakqueue", verb, one, "noSuchId1", "no/id", two, check=False)
        assert done.returncode == 65
        assert done.stderr == ("dakqueue: noSuchId1: no such message in the queue\n"
                               "dakqueue: no/id: no such message in the queue\n")
        assert one in done.stdout and two in done.stdout
    done = queue.tool("dakqueue", "hold", one, "noSuchId1", two, check=False)
    assert done.returncode == 65
    assert done.stderr == ("dakqueue: noSuchId1: no such message in the queue, or not in that state\n"
                           "dakqueue: Placed on hold: 2 messages\n")


def test_two_administrators_delete_the_same_messages(queue):
    """Each message is deleted by one of them, and nobody fails."""
    ids = [submit(queue, "a@one.test") for _ in range(8)]
    command = [str(queue.directory / "postsuper"), "-c", str(queue.config), "-d", "-"]
    both = []
    for _ in range(2):
        both.append(subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                                     text=True))
    said = [process.communicate("\n".join(ids) + "\n", timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    removed = re.findall(r"postsuper: (\w+): removed", "".join(said))
    assert sorted(removed) == sorted(ids)
    assert sum(int(n) for n in re.findall(r"Deleted: (\d+)", "".join(said))) == 8
    queue.wait_queue_empty()


def test_expiring_tries_nothing_and_tells_the_sender(queue):
    """Postfix: error(8) defers it, "message is administratively expired", and it is returned."""
    before = len(queue.messages("alice"))
    queue.send("alice@example.test", ["x@one.test"], dakiya.message(to="x@one.test"))
    queue.wait_log(r"to=<x@one\.test>.*status=deferred")
    tried = queue.log().count("to=<x@one.test>")
    dakiya.wait_for("it to rest", lambda: [
        one for one in queue.queue_list() if one["queue_name"] == "deferred"])
    assert "Force-expired: 1 message" in called(queue, "postsuper", "-e", "ALL")[1]
    queue.wait_log(r"from=<alice@example\.test>, status=force-expired, returned to sender")
    notice = queue.wait_messages("alice", count=before + 1)[-1]
    assert b"first reason" in notice and b"Status: 4.2.1" in notice
    assert queue.log().count("to=<x@one.test>") == tried
    queue.wait_queue_empty()


def test_what_was_never_tried_says_so_when_it_is_returned(queue):
    queue.tool("dakqueue", "suspend", "never.test")
    try:
        queue_id = submit(queue, "x@never.test", sender="alice@example.test")
    finally:
        queue.tool("dakqueue", "hold", "ALL")
        queue.tool("dakqueue", "resume", "never.test")
    before = len(queue.messages("alice"))
    dakiya.wait_for("hold", lambda: entry(queue, queue_id)["queue_name"] == "hold")
    assert called(queue, "postsuper", "-f", queue_id)[1] == (
        f"postsuper: {queue_id}: expired\npostsuper: {queue_id}: released from hold\n"
        "postsuper: Force-expired: 1 message\npostsuper: Released from hold: 1 message\n")
    notice = queue.wait_messages("alice", count=before + 1)[-1]
    assert b"x@never.test" in notice
    queue.wait_queue_empty()


# ---- qshape ----

def shape(host, *arguments):
    return called(host, "qshape", *arguments)[0].splitlines()


def test_qshape_has_postfix_columns(queue):
    submit(queue, "a@one.test", "b@one.test", "c@two.test")
    assert shape(queue, "deferred") == [
        "".rjust(39) + "  T  5 10 20 40 80 160 320 640 1280 1280+",
        "TOTAL".rjust(39) + "  3  3  0  0  0  0   0   0   0    0     0",
        "one.test".rjust(39) + "  2  2  0  0  0  0   0   0   0    0     0",
        "two.test".rjust(39) + "  1  1  0  0  0  0   0   0   0    0     0"]


def test_qshape_cuts_long_names_in_front_and_counts_parents_once(queue):
    submit(queue, "a@" + "x" * 40 + ".end.test", "b@one.test")
    names = [line[:18] for line in shape(queue, "-b", "20", "deferred")[2:]]
    assert "+" + ("x" * 40 + ".end.test")[-17:] in names, names
    queue.tool("dakqueue", "delete", "ALL")
    submit(queue, "a@a.x.y.test", "b@b.x.y.test", "c@c.x.y.test")
    # Directly below .y.test there is .x.y.test alone, below that three.
    text = "\n".join(shape(queue, "-p", "-m", "2", "deferred"))
    assert " .x.y.test " in text and " .y.test " not in text
    text = "\n".join(shape(queue, "-p", "-m", "1", "deferred"))
    assert " .x.y.test " in text and " .y.test " in text and " .test " not in text


# ---- while the mail system is down ----

def test_while_it_is_down_the_words_are_postfix(queue):
    queue_id, others = submit(queue, "a@one.test"), {submit(queue, "b@one.test") for _ in range(6)}
    queue.stop()
    try:
        for arguments in (["-f"], ["-i", queue_id], ["-s", "one.test"]):
            assert called(queue, "postqueue", *arguments) == (
                "", "postqueue: fatal: Cannot flush mail queue - mail system is down\n", 69)
        for arguments in (["-p"], ["-j"]):
            text, error, code = called(queue, "postqueue", *arguments)
            assert error.startswith("postqueue: warning: Mail system is down -- accessing queue directly")
            assert queue_id in text and code == 0
        if os.geteuid() == 0:
            assert called(queue, "postqueue", "-p", uid=NOBODY) == (
                "", "postqueue: fatal: Queue report unavailable - mail system is down\n", 69)
        assert called(queue, "postsuper", "-d", "ABCDEF0123")[1].endswith(
            "postsuper: Deleted: 0 messages\n")
        assert called(queue, "postsuper", "-d", queue_id)[1].endswith(
            f"postsuper: {queue_id}: removed\npostsuper: Deleted: 1 message\n")
        assert called(queue, "postsuper", "-d", "-")[1].endswith("postsuper: Deleted: 0 messages\n")
        # Once all ids were found, everything behind them was deleted, too.
        assert {one["queue_id"] for one in queue.queue_list()} == others
    finally:
        queue.start()
    dakiya.wait_for("the others", lambda: {
        one["queue_id"] for one in queue.queue_list()} == others)
