"""dakqueue against a running host: listings byte for byte, every command, Postfix's names, and the
queue while qmgr is down. Mail stays in the queue since transport_maps says retry: to it."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import dakiya

OK, USAGE, NO_INPUT, DOWN, NOT_ALLOWED = 0, 64, 65, 69, 77
LONG = "the host said a great deal about why it would not take this mail today, and then more"
ROUTES = {"one.test": "retry:4.2.1 first reason", "two.test": "retry:4.2.2 second reason",
          "moving.test": "retry:4.2.9 old reason",
          "sub.long.test": "retry:4.2.4 no reason",
          "long.test": f"retry:4.2.3 {LONG}", "slow.test": "smtp:[127.0.0.1]:9"}
NOBODY = 65534


@pytest.fixture(scope="module")
def queue_host(authority):
    directory = dakiya.new_directory("host")
    host = dakiya.Host(directory, authority=authority, users=("alice",), settings={
        "smtpd_reject_unlisted_recipient": "no",  # or RCPT would say what retry: says
        "mynetworks": "127.0.0.0/8",
        "transport_maps": f"hash:{directory}/etc/transport",
        "virtual_alias_maps": f"hash:{directory}/etc/virtual"})
    (host.config / "transport").write_text(
        "".join(f"{domain} {where}\n" for domain, where in ROUTES.items()))
    (host.config / "virtual").write_text("team@example.test member@one.test\n")
    for name in ("transport", "virtual"):
        host.tool("dakmap", f"hash:{host.config}/{name}")
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


def defer(host, *recipients, sender="carol@client.test"):
    """Commits a message that will be deferred; its id when it rests in its file."""
    reply = host.send(sender, list(recipients), dakiya.message(to=recipients[0]))
    queue_id = re.search(r"queued as (\w+)", reply).group(1)
    dakiya.wait_for("the message to rest", lambda: [
        path for path in host.queue.glob(f"deferred/?/{queue_id}")])
    dakiya.wait_for("it to be listed as deferred",
                    lambda: entry(host, queue_id)["queue_name"] == "deferred")
    return queue_id


def entry(host, queue_id):
    return next((one for one in host.queue_list() if one["queue_id"] == queue_id), None)


def run_as(host, name, *arguments, uid=None, stdin=""):
    """The program under another name, perhaps by another user."""
    link = host.directory / name
    if not link.exists():
        link.symlink_to(dakiya.BUILD / "bin" / "dakqueue")
    return subprocess.run([str(link), "-c", str(host.config), *arguments], input=stdin, text=True,
                          capture_output=True, timeout=60, check=False, user=uid)


def expected_listing(*messages):
    """Made by hand from FACTS 2.8: (id and mark, size, arrival, sender, lines) each."""
    lines = ["----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"]
    for name, size, arrival, sender, rest in messages:
        when = time.strftime("%a %b %e %H:%M:%S", time.localtime(arrival))
        lines += [name.ljust(17) + " " + str(size).rjust(8) + " " + when + " " + sender, *rest, ""]
    total = sum(size for _, size, *_ in messages) // 1024
    plural = "" if len(messages) == 1 else "s"
    return "\n".join(lines) + f"\n-- {total} Kbytes in {len(messages)} Request{plural}.\n"


def to(address):
    return " " * 47 + address


def why(reason):
    return f"({reason})".rjust(78)


def test_a_listing_has_postfix_bytes(queue):
    queue_id = defer(queue, "a@one.test", "b@one.test", "c@two.test", "d@one.test", "e@long.test")
    known = entry(queue, queue_id)
    assert queue.tool("dakqueue", "list").stdout == expected_listing(
        (queue_id, known["message_size"], known["arrival_time"], "carol@client.test", [
            why("first reason"), to("a@one.test"), to("b@one.test"),
            why("second reason"), to("c@two.test"),
            why("first reason"), to("d@one.test"),
            f"({LONG})", to("e@long.test")]))


def test_a_null_sender_and_the_hold_mark_are_listed(queue):
    queue_id = defer(queue, "a@one.test", sender="")
    queue.tool("dakqueue", "hold", queue_id)
    dakiya.wait_for("hold", lambda: entry(queue, queue_id)["queue_name"] == "hold")
    known = entry(queue, queue_id)
    assert queue.tool("dakqueue", "list").stdout == expected_listing(
        (queue_id + "!", known["message_size"], known["arrival_time"], "MAILER-DAEMON",
         [why("first reason"), to("a@one.test")]))
    assert known["sender"] == "MAILER-DAEMON"


def test_a_message_that_is_to_be_returned_has_its_mark(queue):
    """On the wire and on disk: expired, and its only way out, bounce, is not reachable."""
    queue_id = defer(queue, "a@one.test", sender="alice@example.test")
    path = next(queue.queue.glob(f"deferred/?/{queue_id}"))
    for pid in queue.processes()["bounce"]:
        os.kill(pid, signal.SIGSTOP)
    try:
        queue.tool("dakqueue", "expire", queue_id)
        dakiya.wait_for("the mark", lambda: f"{queue_id}*#" in queue.tool("dakqueue", "list").stdout)
        assert entry(queue, queue_id)["forced_expire"] is True and path.exists()
    finally:
        for pid in queue.processes()["bounce"]:
            os.kill(pid, signal.SIGCONT)
    queue.wait_queue_empty()


def test_an_empty_queue_is_said_to_be_empty(queue):
    assert queue.tool("dakqueue", "list").stdout == "Mail queue is empty\n"
    assert queue.tool("dakqueue", "-j").stdout == ""


def test_json_has_every_member(queue):
    before = int(time.time())
    queue_id = defer(queue, "team@example.test", "x@slow.test")
    line = queue.tool("dakqueue", "-j").stdout
    assert line.count("\n") == 1
    known = json.loads(line)
    assert known["queue_name"] == "deferred" and known["queue_id"] == queue_id
    assert before <= known["arrival_time"] <= time.time()
    assert known["message_size"] > 50 and known["forced_expire"] is False
    assert known["sender"] == "carol@client.test"
    assert known["attempts"] == 1 and known["next_attempt"] > before + 200
    aliased, slow = known["recipients"]
    assert aliased == {"address": "member@one.test", "orig_address": "team@example.test",
                       "delay_reason": "first reason", "transport": "retry"}
    assert slow == {"address": "x@slow.test", "transport": "smtp", "nexthop": "[127.0.0.1]:9",
                    "delay_reason": "connect to 127.0.0.1[127.0.0.1]:9: Connection refused"}
    assert known["last_reply"] == slow["delay_reason"]


def test_one_message_or_one_site_is_listed(queue):
    one, two = defer(queue, "a@one.test"), defer(queue, "b@two.test")
    assert two not in queue.tool("dakqueue", "list", "-i", one).stdout
    only = queue.tool("dakqueue", "list", "-j", "-s", "two.test").stdout
    assert json.loads(only)["queue_id"] == two


def test_show_prints_the_parts_that_are_asked_for(queue):
    queue_id = defer(queue, "a@one.test")
    whole = queue.tool("dakqueue", "show", queue_id).stdout
    marks = re.findall(r"^\*\*\* ([A-Z ]+) deferred/[0-9A-F]/(\w+) \*\*\*$", whole, re.M)
    assert [mark for mark, _ in marks] == ["ENVELOPE RECORDS", "MESSAGE CONTENTS",
                                           "HEADER EXTRACTED", "MESSAGE FILE END"]
    assert {name for _, name in marks} == {queue_id}
    assert "sender: carol@client.test\n" in whole and "recipient: a@one.test\n" in whole
    body = queue.tool("dakqueue", "show", "-b", queue_id).stdout
    assert body == "Hello.\n"
    header = queue.tool("dakqueue", "show", "-h", queue_id).stdout
    assert header.endswith("Subject: test\n") and "Hello" not in header
    both = run_as(queue, "postcat", "-bh", "-q", queue_id).stdout
    assert both == header + "\n" + body
    assert run_as(queue, "postcat", "-b", "-q", queue_id).stdout == "\n" + body
    envelope = queue.tool("dakqueue", "show", "-e", queue_id).stdout
    assert "Subject" not in envelope and "a@one.test" in envelope


def test_hold_release_and_delete_say_how_many(queue):
    ids = [defer(queue, f"a{number}@one.test") for number in range(3)]
    held = queue.tool("dakqueue", "hold", *ids[:2])
    assert held.stderr == "dakqueue: Placed on hold: 2 messages\n"
    dakiya.wait_for("both on hold", lambda: len(list(queue.queue.glob("hold/*"))) == 2)
    assert queue.tool("dakqueue", "release", "ALL").stderr == \
        "dakqueue: Released from hold: 2 messages\n"
    dakiya.wait_for("none on hold", lambda: not list(queue.queue.glob("hold/*")))
    gone = queue.tool("dakqueue", "delete", "-", stdin=f"{ids[0]}\n\nnoSuchId1\n{ids[1]}\n")
    assert gone.stderr == "dakqueue: Deleted: 2 messages\n"
    # The answer comes when qmgr has forgotten them; their files go a moment later.
    dakiya.wait_for("one to be left",
                    lambda: [one["queue_id"] for one in queue.queue_list()] == [ids[2]])
    assert queue.tool("dakqueue", "delete", "ALL").stderr == "dakqueue: Deleted: 1 message\n"
    assert queue.log().count(f"{ids[2]}: removed") == 1


def test_an_unknown_id_does_not_keep_the_others(queue):
    queue_id = defer(queue, "a@one.test")
    result = queue.tool("dakqueue", "delete", "noSuchId1", queue_id, check=False)
    assert result.returncode == NO_INPUT
    assert "noSuchId1: no such message" in result.stderr
    assert "Deleted: 1 message\n" in result.stderr
    queue.wait_queue_empty()


def test_flush_tries_all_one_message_or_one_site(queue):
    one, two = defer(queue, "a@one.test"), defer(queue, "b@two.test")

    def attempts():
        return [(entry(queue, queue_id) or {}).get("attempts") for queue_id in (one, two)]

    assert attempts() == [1, 1]
    queue.tool("dakqueue", "flush", "-i", one)
    dakiya.wait_for("one tried", lambda: attempts() == [2, 1])
    queue.tool("dakqueue", "flush", "-s", "two.test")
    dakiya.wait_for("the site tried", lambda: attempts() == [2, 2])
    queue.tool("dakqueue", "flush")
    dakiya.wait_for("all tried", lambda: attempts() == [3, 3])


def test_a_hold_is_heeded_while_the_message_is_being_put_back(queue):
    """It was forgotten when it came between the end of a round and the file's update."""
    ids = [defer(queue, f"a{number}@one.test") for number in range(10)]
    for _ in range(5):
        queue.tool("dakqueue", "flush")
        queue.tool("dakqueue", "hold", *ids)
        dakiya.wait_for("all on hold", lambda: len(list(queue.queue.glob("hold/*"))) == 10, 5)
        queue.tool("dakqueue", "release", "ALL")
        dakiya.wait_for("none on hold", lambda: not list(queue.queue.glob("hold/*")), 5)


def test_requeue_routes_anew(queue):
    queue_id = defer(queue, "a@moving.test")
    transport = queue.config / "transport"
    transport.write_text(transport.read_text().replace("old reason", "new reason"))
    queue.tool("dakmap", f"hash:{transport}")

    def has_new_route():
        """A table that was replaced is seen within a second or so."""
        said = queue.tool("dakqueue", "requeue", queue_id).stderr
        assert said == "dakqueue: Requeued: 1 message\n"
        time.sleep(0.3)
        return "new reason" in json.dumps(entry(queue, queue_id) or {})

    dakiya.wait_for("the new route", has_new_route)


def test_expire_returns_the_message(queue):
    defer(queue, "a@one.test", sender="alice@example.test")
    said = queue.tool("dakqueue", "expire", "ALL").stderr
    assert said == "dakqueue: Force-expired: 1 message\n"
    queue.wait_log(r"from=<alice@example\.test>, status=force-expired, returned to sender")
    notice = queue.wait_messages("alice")[-1]
    assert b"Status: 4.2.1" in notice, notice.decode()
    queue.wait_queue_empty()


def test_wrong_usage_is_64(queue):
    for arguments in ([], ["list", "x"], ["delete"], ["show"], ["nonsense"], ["-Z"]):
        result = queue.tool("dakqueue", *arguments, check=False)
        assert result.returncode == USAGE, arguments
        assert result.stderr.splitlines()[-1].endswith("as postqueue"), arguments
    for name, arguments in (("postqueue", []), ("postqueue", ["-p", "x"]),
                            ("postsuper", ["-d"]), ("postsuper", ["-d", "ALL", "nonsense"]),
                            ("postcat", []), ("mailq", ["x"])):
        result = run_as(queue, name, *arguments)
        assert result.returncode == USAGE and f"usage: {name} " in result.stderr, (name, arguments)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_others_may_list_and_flush_and_no_more(queue):
    queue_id = defer(queue, "a@one.test")
    assert queue_id in run_as(queue, "mailq", uid=NOBODY).stdout
    assert run_as(queue, "postqueue", "-i", queue_id, uid=NOBODY).returncode == OK
    for name, arguments in (("postsuper", ["-d", queue_id]), ("postsuper", ["-h", "ALL"]),
                            ("dakqueue", ["expire", queue_id])):
        result = run_as(queue, name, *arguments, uid=NOBODY)
        assert result.returncode == NOT_ALLOWED, (name, arguments)
        fatal = "" if name == "dakqueue" else "fatal: "
        assert result.stderr == f"{name}: {fatal}only root may change the queue\n"
    result = run_as(queue, "postcat", "-q", queue_id, uid=NOBODY)
    assert (result.returncode, result.stderr) == (
        NOT_ALLOWED, "postcat: fatal: only root may read mail\n")
    assert entry(queue, queue_id) is not None


def test_postfix_names_take_postfix_options(queue):
    ids = [defer(queue, f"a{number}@one.test") for number in range(4)]
    assert run_as(queue, "postqueue", "-p").stdout == run_as(queue, "mailq").stdout
    assert len(run_as(queue, "postqueue", "-j").stdout.splitlines()) == 4
    for arguments in (["-f"], ["-i", ids[0]], ["-s", "one.test"]):
        assert run_as(queue, "postqueue", *arguments).returncode == OK
    dakiya.wait_for("them to rest", lambda: all(
        one["queue_name"] == "deferred" for one in queue.queue_list()))
    held = run_as(queue, "postsuper", "-h", ids[0], "-h", ids[1])
    assert (held.returncode, held.stderr) == (OK, (
        f"postsuper: {ids[0]}: placed on hold\npostsuper: {ids[1]}: placed on hold\n"
        "postsuper: Placed on hold: 2 messages\n"))
    dakiya.wait_for("both on hold", lambda: len(list(queue.queue.glob("hold/*"))) == 2)
    gone = run_as(queue, "postsuper", "-d", "ALL", "deferred")
    assert gone.stderr == "postsuper: Deleted: 2 messages\n"
    dakiya.wait_for("two to be left", lambda: {
        one["queue_id"] for one in queue.queue_list()} == set(ids[:2]))
    assert run_as(queue, "postsuper", "-H", "-", stdin=f"{ids[0]}\n").stderr == \
        f"postsuper: {ids[0]}: released from hold\npostsuper: Released from hold: 1 message\n"
    assert run_as(queue, "postsuper", "-r", "ALL").stderr == "postsuper: Requeued: 2 messages\n"
    unknown = run_as(queue, "postsuper", "-d", "noSuchId1")
    assert (unknown.returncode, unknown.stderr) == (OK, "postsuper: Deleted: 0 messages\n")
    assert run_as(queue, "postsuper", "-s").returncode == OK


def test_postcat_shows_the_same_with_options_that_mean_nothing_here(queue):
    queue_id = defer(queue, "a@one.test")
    whole = run_as(queue, "postcat", "-q", queue_id).stdout
    path = next(queue.queue.glob(f"deferred/?/{queue_id}")).relative_to(queue.queue)
    assert re.fullmatch(
        r"\*\*\* ENVELOPE RECORDS PATH \*\*\*\nmessage_size: +\d+ .*"
        r"\*\*\* MESSAGE CONTENTS PATH \*\*\*\n.*"
        r"\*\*\* HEADER EXTRACTED PATH \*\*\*\n.*"
        r"\*\*\* MESSAGE FILE END PATH \*\*\*\n".replace("PATH", str(path)), whole, re.S)
    for arguments in (["-q", "-v", queue_id], ["-d", "-o", "-f", "-r", "-q", queue_id],
                      [f"{queue.queue}/deferred/x/{queue_id}"]):
        assert run_as(queue, "postcat", *arguments).stdout == whole, arguments


def test_what_is_on_hold_expires_there_and_is_returned_when_it_is_released(queue):
    """Measured with Postfix 3.7.11: -e marks it, -f also releases it, and nothing is tried."""
    held, waiting = defer(queue, "a@one.test", sender=""), defer(queue, "b@one.test", sender="")
    assert run_as(queue, "postsuper", "-h", held).returncode == OK
    dakiya.wait_for("hold", lambda: entry(queue, held)["queue_name"] == "hold")
    assert run_as(queue, "postsuper", "-e", held).stderr == \
        f"postsuper: {held}: expired\npostsuper: Force-expired: 1 message\n"
    assert run_as(queue, "postsuper", "-e", held).stderr == "postsuper: Force-expired: 0 messages\n"
    dakiya.wait_for("the mark", lambda: entry(queue, held)["forced_expire"])
    assert f"{held}!#" in run_as(queue, "postqueue", "-p").stdout
    forced = run_as(queue, "postsuper", "-f", "-", "deferred", "hold",
                    stdin=f"{held}\n\n{waiting}\nnoSuchId1\n")
    assert (forced.returncode, forced.stderr) == (OK, (
        f"postsuper: {held}: released from hold\npostsuper: {waiting}: expired\n"
        "postsuper: Force-expired: 1 message\npostsuper: Released from hold: 1 message\n"))
    queue.wait_queue_empty()  # the null sender is told nothing
    assert run_as(queue, "postsuper", "-d", "ALL", "maildrop").returncode == OK


def test_the_mark_of_what_is_on_hold_is_known_after_a_restart(queue):
    held = defer(queue, "a@one.test", sender="alice@example.test")
    queue.tool("dakqueue", "hold", held)
    dakiya.wait_for("hold", lambda: entry(queue, held)["queue_name"] == "hold")
    queue.tool("dakqueue", "expire", held)
    dakiya.wait_for("the mark", lambda: entry(queue, held)["forced_expire"])
    queue.stop()
    queue.start()
    dakiya.wait_for("the mark again", lambda: entry(queue, held)["forced_expire"])
    queue.tool("dakqueue", "release", held)
    queue.wait_log(rf"{held}: from=<alice@example\.test>, status=force-expired")
    queue.wait_queue_empty()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_list_and_flush_is_configured(authority):
    directory = dakiya.new_directory("host")
    host = dakiya.Host(directory, authority=authority, users=("alice",), settings={
        "authorized_mailq_users": "!nobody, static:anyone",
        "authorized_flush_users": "root, www-data"})
    try:
        host.start()
        for uid, name, listed, flushed in ((0, "root", OK, OK), (64300, "unknown", OK, OK),
                                           (NOBODY, "nobody", NOT_ALLOWED, NOT_ALLOWED),
                                           (33, "www-data", OK, OK), (1, "daemon", OK, NOT_ALLOWED),
                                           (54321, "unknown", OK, NOT_ALLOWED)):
            for arguments, code, what in ((["-p"], listed, "view"), (["-j"], listed, "view"),
                                          (["-f"], flushed, "flush"),
                                          (["-s", "one.test"], flushed, "flush")):
                result = run_as(host, "postqueue", *arguments, uid=uid)
                assert result.returncode == code, (uid, arguments, result)
                if code != OK:
                    assert result.stderr == (f"postqueue: fatal: User {name}({uid}) is not allowed to "
                                             f"{what} the mail queue\n")
    finally:
        host.stop(check=False)
        dakiya.remove_directory(directory)


def test_while_the_mail_system_is_down_the_owner_reads_the_queue(queue):
    held, waiting = defer(queue, "a@one.test"), defer(queue, "b@two.test", "x@slow.test")
    queue.tool("dakqueue", "hold", held)
    dakiya.wait_for("hold", lambda: list(queue.queue.glob("hold/*")))
    text, objects = queue.tool("dakqueue", "list").stdout, queue.queue_list()
    shown = queue.tool("dakqueue", "show", waiting).stdout
    queue.stop()
    try:
        down = queue.tool("dakqueue", "list")
        assert down.stderr == \
            "dakqueue: warning: the mail system is down, the queue is read from disk\n"
        assert sorted(down.stdout.splitlines()) == sorted(text.splitlines())
        by_id = {one["queue_id"]: one for one in queue.queue_list()}
        assert by_id == {one["queue_id"]: one for one in objects}
        assert queue.tool("dakqueue", "show", waiting).stdout == shown
        assert queue.tool("dakqueue", "show", "noSuchId1", check=False).returncode == NO_INPUT
        for arguments in (["flush"], ["flush", "-s", "one.test"], ["why", held], ["suspended"]):
            result = queue.tool("dakqueue", *arguments, check=False)
            assert result.returncode == DOWN and result.stdout == ""
            assert result.stderr == "dakqueue: the mail system is down\n"
        if os.geteuid() == 0:
            result = run_as(queue, "postqueue", "-p", uid=NOBODY)
            assert result.returncode == DOWN, result
            assert result.stderr == (
                "postqueue: fatal: Queue report unavailable - mail system is down\n")
    finally:
        queue.start()


# ---- what users left in maildrop/: this host has no pickup ----

def leave(host, *recipients, sender="carol@client.test"):
    """A message by sendmail(1); the only thing in maildrop/ that is new: its id."""
    known = {path.name for path in (host.queue / "maildrop").iterdir()}
    dakiya.run(dakiya.BUILD / "bin" / "sendmail", "-C", host.config, "-f", sender, *recipients,
               stdin="Subject: left\n\nhello\n")
    (queue_id,) = {path.name for path in (host.queue / "maildrop").iterdir()} - known
    return queue_id


def test_mail_that_is_not_taken_in_yet_is_listed(queue):
    queue_id = leave(queue, "a@one.test", '"b c"@two.test')
    deferred = defer(queue, "d@one.test")
    known = entry(queue, queue_id)
    assert known["queue_name"] == "maildrop" and known["sender"] == "carol@client.test"
    assert [one["address"] for one in known["recipients"]] == ["a@one.test", '"b c"@two.test']
    assert abs(known["arrival_time"] - time.time()) < 60 and 10 < known["message_size"] < 200
    assert f"\n{queue_id} " in queue.tool("dakqueue", "list").stdout
    assert queue_id not in queue.tool("dakqueue", "list", "--state", "deferred").stdout
    assert deferred not in queue.tool("dakqueue", "list", "--state", "maildrop").stdout
    assert run_as(queue, "qshape", "maildrop").stdout.splitlines()[1].split()[1] == "2"
    assert queue_id in run_as(queue, "mailq", uid=NOBODY if os.geteuid() == 0 else None).stdout
    queue.stop()
    try:
        assert entry(queue, queue_id) == known
        also = leave(queue, "e@two.test", sender="")
        assert entry(queue, also)["sender"] == "MAILER-DAEMON"
        assert run_as(queue, "postsuper", "-d", also).stderr.endswith("Deleted: 1 message\n")
        assert entry(queue, also) is None and entry(queue, queue_id) == known
    finally:
        queue.start()
    assert run_as(queue, "postsuper", "-h", queue_id).stderr == \
        "postsuper: Placed on hold: 0 messages\n"
    assert run_as(queue, "postsuper", "-d", "ALL", "maildrop").stderr == \
        "postsuper: Deleted: 1 message\n"
    assert not list((queue.queue / "maildrop").iterdir())
    assert entry(queue, deferred)["queue_name"] == "deferred"


def test_what_is_no_mail_in_maildrop_hurts_no_listing(queue):
    """Any user may put anything there."""
    drop = queue.queue / "maildrop"
    (drop / "garbage").write_bytes(b"\0\xff" * 5000)
    (drop / "emptyone").write_bytes(b"")
    (drop / "hugehead").write_bytes(b"\xff\xff\xff\x7f\xb4\0\0\0" + b"x" * 100)
    os.mkfifo(drop / "fifofifo")
    (drop / "linkedto").symlink_to("/etc/shadow")
    (drop / "directory").mkdir()
    (drop / ".unfinished").write_bytes(b"x")
    try:
        assert queue.tool("dakqueue", "list", timeout=10).stdout == "Mail queue is empty\n"
    finally:
        for path in drop.iterdir():
            path.rmdir() if path.name == "directory" else path.unlink()


def test_one_of_several_recipients_that_control_a_terminal_in_maildrop(queue):
    """A file that was made by hand: what sendmail(1) refuses is shown without its controls."""
    queue_id = leave(queue, "a@one.test")
    path = queue.queue / "maildrop" / queue_id
    path.write_bytes(path.read_bytes().replace(b"a@one.test", b"\x1b]2;x@o.t"))
    assert entry(queue, queue_id)["recipients"][0]["address"]
    assert not re.search("[\x00-\x09\x0b-\x1f]", queue.tool("dakqueue", "list").stdout)
    queue.tool("dakqueue", "delete", queue_id)


# ---- what an administrator changes while the mail system is down ----

def test_all_that_changes_messages_is_done_while_the_mail_system_is_down(queue):
    names = "held released requeued expired forced other".split()
    ids = {name: defer(queue, f"{name}@one.test", sender="alice@example.test") for name in names}
    queue.tool("dakqueue", "hold", ids["released"], ids["requeued"], ids["forced"])
    dakiya.wait_for("hold", lambda: len(list(queue.queue.glob("hold/*"))) == 3)
    told = len(queue.messages("alice"))
    queue.stop()
    try:
        def says(option, *which):
            words = [word for name in which for word in (option, ids.get(name, name))]
            return run_as(queue, "postsuper", *words).stderr.split("directly\n", 1)[1]

        known = dict(ids)
        assert says("-h", "held") == (f"postsuper: {known['held']}: placed on hold\n"
                                      "postsuper: Placed on hold: 1 message\n")
        assert says("-h", "held") == "postsuper: Placed on hold: 0 messages\n"
        assert says("-H", "released") == (f"postsuper: {known['released']}: released from hold\n"
                                          "postsuper: Released from hold: 1 message\n")
        assert says("-r", "requeued", "other").endswith("postsuper: Requeued: 2 messages\n")
        assert says("-e", "expired") == (f"postsuper: {known['expired']}: expired\n"
                                         "postsuper: Force-expired: 1 message\n")
        assert says("-e", "expired") == "postsuper: Force-expired: 0 messages\n"
        assert says("-f", "forced") == (
            f"postsuper: {known['forced']}: expired\npostsuper: {known['forced']}: released from "
            "hold\npostsuper: Force-expired: 1 message\npostsuper: Released from hold: 1 message\n")
        result = queue.tool("dakqueue", "hold", ids["held"], ids["other"], "noSuchId1", check=False)
        assert result.returncode == NO_INPUT and "Placed on hold: 1 message" in result.stderr
        for name in (ids["held"], "noSuchId1"):
            assert f"{name}: no such message in the queue, or not in that state\n" in result.stderr
        listed = {one["queue_id"]: one for one in queue.queue_list()}
        assert {name: listed[ids[name]]["queue_name"] for name in names} == {
            "held": "hold", "released": "deferred", "requeued": "deferred", "expired": "deferred",
            "forced": "deferred", "other": "hold"}
        assert {name for name in names if listed[ids[name]]["forced_expire"]} == {"expired", "forced"}
    finally:
        queue.start()
    # What is due is tried at the start, what has expired is returned.
    queue.wait_messages("alice", count=told + 2)
    dakiya.wait_for("the others to rest", lambda: {
        one["queue_id"]: (one["queue_name"], one["attempts"]) for one in queue.queue_list()} == {
        ids["held"]: ("hold", 1), ids["other"]: ("hold", 1), ids["released"]: ("deferred", 2),
        ids["requeued"]: ("deferred", 2)})


def test_what_lies_in_the_journal_is_held_and_expired_there(queue):
    """Mail that was active when the mail system was killed: one recipient of it is delivered."""
    for pid in queue.processes()["smtp"]:
        os.kill(pid, signal.SIGSTOP)
    queue.tool("dakqueue", "flush")
    before = len(queue.messages("alice"))
    replies = [queue.send("alice@example.test", ["alice@example.test", "x@slow.test"],
                          dakiya.message(to="x@slow.test", subject=f"journal {number}"))
               for number in range(3)]
    held, expired, other = [re.search(r"queued as (\w+)", reply).group(1) for reply in replies]
    queue.wait_messages("alice", count=before + 3)
    dakiya.wait_for("results", lambda: all(
        [one["address"] for one in (entry(queue, name) or {"recipients": []})["recipients"]] ==
        ["x@slow.test"] for name in (held, expired, other)))
    # What is committed later lies behind their results in the journal.
    queue.send("alice@example.test", ["alice@example.test"], dakiya.message(subject="later"))
    queue.wait_messages("alice", count=before + 4)
    # qmgr ends first and is not started again: it must not see its agents die, or go on, as the
    # kernel makes stopped processes do when their parent is gone.
    os.kill(queue.master_pid(), signal.SIGSTOP)
    for pid in queue.processes()["qmgr"]:
        os.kill(pid, signal.SIGKILL)
    queue.kill()
    try:
        dakiya.wait_for("the end", lambda: "is read from disk" in
                        queue.tool("dakqueue", "list", check=False).stderr)
        listed = {one["queue_id"]: one for one in queue.queue_list()}
        assert [one["address"] for one in listed[held]["recipients"]] == ["x@slow.test"]
        assert "Placed on hold: 1 message\n" in queue.tool("dakqueue", "hold", held).stderr
        assert "Force-expired: 1 message\n" in queue.tool("dakqueue", "expire", expired).stderr
        listed = {one["queue_id"]: one for one in queue.queue_list()}
        assert {name: (one["queue_name"], one["forced_expire"]) for name, one in listed.items()} == {
            held: ("hold", False), expired: ("active", True), other: ("active", False)}
        assert [one["address"] for one in listed[held]["recipients"]] == ["x@slow.test"]
    finally:
        queue.start()
    assert not re.search(r"[1-9]\d* damaged", queue.log())
    queue.wait_log(rf"{expired}: from=<alice@example\.test>, status=force-expired")
    notice = queue.wait_messages("alice", count=before + 5)[-1]
    assert b"message is administratively expired" in notice and b"x@slow.test" in notice
    dakiya.wait_for("the other to be tried", lambda: (
        entry(queue, other) or {}).get("queue_name") == "deferred")
    assert entry(queue, held)["queue_name"] == "hold"
    queue.tool("dakqueue", "release", held)
    dakiya.wait_for("it to be tried", lambda: (entry(queue, held) or {}).get("attempts") == 1)
    assert len(queue.messages("alice")) == before + 5


LOST = """set -e
mount -t tmpfs none "$1" && cp -a "$2/." "$1/" && mkdir "$1/lost+found"
mv "$1"/deferred/?/"$3" "$1/lost+found/#77"
cp "$1/lost+found/#77" "$1/lost+found/#78" && chown 65534 "$1/lost+found/#78"
echo "DkR1 no more than that" > "$1/lost+found/#79"
ln -s "#77" "$1/lost+found/#80"
"$4" -c "$5" check || true
mv "$1/lost+found/#77" "$1/deferred/$6/$3"
"$4" -c "$5" check"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_queue_file_in_lost_and_found_is_told(queue, tmp_path):
    """As e2fsck leaves them there; what others own, is damaged or a link is not named."""
    queue_id = defer(queue, "a@one.test")
    letter = next(queue.queue.glob(f"deferred/?/{queue_id}")).parent.name
    queue.stop()
    try:
        subprocess.run(["cp", "-a", f"{queue.queue}/.", tmp_path / "copy"], check=True)
        result = subprocess.run(
            ["unshare", "-m", "sh", "-c", LOST, "sh", queue.queue, tmp_path / "copy", queue_id,
             dakiya.BUILD / "bin/dakiya", queue.config, letter],
            capture_output=True, text=True, timeout=60, check=False)
        if "unshare failed" in result.stderr or "permission denied" in result.stderr:
            pytest.skip("no mount namespaces here")
        assert result.returncode == 0, result.stderr
        told = [line for line in result.stderr.splitlines() if "lost its name" in line]
        assert len(told) == 1 and "lost+found" in told[0], result.stderr  # and not when it is back
        assert f"#77 is the queue file of {queue_id}," in told[0]
        assert (f"mv '{queue.queue}/lost+found/#77' '{queue.queue}/deferred/{letter}/{queue_id}'"
                in told[0])
    finally:
        queue.start()
