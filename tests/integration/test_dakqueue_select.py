"""dakqueue's conditions, why, suspend, resume and summary against a running host."""
import json
import os
import re
import signal
import time

import pytest

import dakiya
from test_dakqueue import (DOWN, NOT_ALLOWED, NO_INPUT, NOBODY, OK, USAGE, defer, entry, queue,
                           queue_host, run_as)

assert queue and queue_host  # fixtures


def chosen(host, *conditions):
    out = host.tool("dakqueue", "list", "-j", *conditions).stdout
    return {json.loads(line)["queue_id"] for line in out.splitlines()}


def test_each_condition_chooses_and_all_must_hold(queue):
    one = defer(queue, "a@one.test", sender="alice@example.test")
    two = defer(queue, "b@two.test", "c@one.test", sender="")
    slow = defer(queue, "d@slow.test")
    queue.tool("dakqueue", "hold", one)
    dakiya.wait_for("hold", lambda: list(queue.queue.glob("hold/*")))
    both = {one, two, slow}
    for conditions, expected in (
            (["--sender", "ALICE"], {one}), (["--sender", "<>"], {two}),
            (["--recipient=d@*"], {slow}), (["--domain", "one.test"], {one, two}),
            (["--domain", "*.test"], both), (["--reason", "first reason"], {one, two}),
            (["--reason", "refused"], {slow}), (["--transport", "smtp"], {slow}),
            (["--nexthop", "[127.0.0.1]:9"], {slow}), (["--state", "hold"], {one}),
            (["--state", "hold,deferred"], both), (["--state", "active"], set()),
            (["--older", "1h"], set()), (["--newer", "1h"], both),
            (["--larger", "10"], both), (["--larger", "1M"], set()),
            (["--smaller", "1M"], both), (["--smaller", "10"], set()),
            (["--domain", "one.test", "--sender", "alice"], {one}),
            (["--domain", "one.test", "--reason", "second"], set()),
            (["--domain", "two.test", "--reason", "second"], {two})):
        assert chosen(queue, *conditions) == expected, conditions


def test_a_dry_run_shows_and_does_nothing(queue):
    one, two = defer(queue, "a@one.test"), defer(queue, "b@two.test")
    tried = queue.tool("dakqueue", "delete", "--domain", "one.test", "--dry-run")
    assert one in tried.stdout and two not in tried.stdout
    assert tried.stderr == "dakqueue: Dry run, nothing is done: Deleted: 1 message\n"
    tried = queue.tool("dakqueue", "delete", "ALL", "--dry-run", "--json")
    assert {json.loads(line)["queue_id"] for line in tried.stdout.splitlines()} == {one, two}
    assert entry(queue, one) and entry(queue, two)


def test_actions_reach_what_was_chosen(queue):
    ids = [defer(queue, f"a{number}@one.test") for number in range(3)]
    other = defer(queue, "b@two.test")

    def act(*arguments):
        return queue.tool("dakqueue", *arguments, "--domain", "one.test").stderr

    assert act("hold") == "dakqueue: Placed on hold: 3 messages\n"
    dakiya.wait_for("hold", lambda: len(list(queue.queue.glob("hold/*"))) == 3)
    assert entry(queue, other)["queue_name"] == "deferred"
    assert act("release") == "dakqueue: Released from hold: 3 messages\n"
    dakiya.wait_for("them to be tried", lambda: all(
        (entry(queue, one) or {}).get("attempts") == 2 for one in ids))
    assert act("flush") == "dakqueue: Flushed: 3 messages\n"
    dakiya.wait_for("them to be tried again", lambda: all(
        (entry(queue, one) or {}).get("attempts") == 3 for one in ids))
    assert act("requeue") == "dakqueue: Requeued: 3 messages\n"
    dakiya.wait_for("them to rest", lambda: all(
        (entry(queue, one) or {}).get("attempts") == 4 for one in ids))
    assert entry(queue, other)["attempts"] == 1
    gone = queue.tool("dakqueue", "delete", "--json", "--reason", "first").stdout
    assert json.loads(gone) == {"action": "delete", "count": 3}
    dakiya.wait_for("the other to be left",
                    lambda: [one["queue_id"] for one in queue.queue_list()] == [other])


def test_force_expires_what_is_on_hold_and_matches(queue):
    one = defer(queue, "a@one.test", sender="alice@example.test")
    queue.tool("dakqueue", "hold", one)
    dakiya.wait_for("hold", lambda: list(queue.queue.glob("hold/*")))
    assert queue.tool("dakqueue", "expire", "--state", "hold").stderr == \
        "dakqueue: Force-expired: 1 message\n"
    assert entry(queue, one)["queue_name"] == "hold"
    assert queue.tool("dakqueue", "force", "--state", "hold").stderr == \
        "dakqueue: Force-expired: 0 messages\n"
    queue.wait_log(rf"{one}: from=<alice@example\.test>, status=force-expired")
    queue.wait_queue_empty()


def test_conditions_that_make_no_sense_are_wrong_usage(queue):
    for arguments in (["list", "--older", "x"], ["list", "--larger", "1X"], ["list", "--state", "y"],
                      ["list", "--nonsense"], ["list", "--sender"], ["list", "--sender", ""],
                      ["delete", "someId99", "--sender", "x"], ["delete", "--dry-run"],
                      ["delete", "someId99", "--dry-run"], ["show", "someId99", "--sender", "x"],
                      ["why"], ["suspend"], ["suspend", "x.test", "--for", "0"],
                      ["delete", "ALL", "--for", "1h"], ["summary", "-b", "1"],
                      ["summary", "nonsense"]):
        result = queue.tool("dakqueue", *arguments, check=False)
        assert result.returncode == USAGE, arguments


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_others_may_choose_what_they_may_do(queue):
    one = defer(queue, "a@one.test")
    listed = run_as(queue, "dakqueue", "list", "--domain", "one.test", uid=NOBODY)
    assert listed.returncode == OK and one in listed.stdout
    assert run_as(queue, "dakqueue", "flush", "--domain", "one.test", uid=NOBODY).returncode == OK
    for arguments in (["delete", "--domain", "one.test"], ["suspend", "one.test"],
                      ["resume", "one.test"]):
        assert run_as(queue, "dakqueue", *arguments, uid=NOBODY).returncode == NOT_ALLOWED
    assert "attempt" in run_as(queue, "dakqueue", "why", one, uid=NOBODY).stdout


# ---- why ----

def test_why_tells_when_the_next_attempt_comes_and_how_that_was_found(queue):
    one = defer(queue, "a@one.test", "d@slow.test")
    said = queue.tool("dakqueue", "why", one).stdout
    assert f"{one}: deferred, 1 attempt so far" in said
    assert "to <a@one.test> by retry: first reason\n" in said
    assert re.search(r"to <d@slow\.test> by smtp:\[127\.0\.0\.1\]:9: connect to .* refused", said)
    assert re.search(r"next attempt: \w+ +\d+ [\d:]+, in (5m|4m \d+s)\n", said)
    assert "5m after the last one" in said
    assert "at least minimal_backoff_time (5m), at most maximal_backoff_time (1h 6m)" in said
    assert "at smtp:[127.0.0.1]:9: 0 waiting, 0 under way, at most" in said
    assert "(maximal_queue_lifetime)" in said
    known = json.loads(queue.tool("dakqueue", "why", "-j", one).stdout)
    assert known["entry"]["queue_id"] == one and known["backoff"] == 300
    assert abs(known["next_attempt"] - time.time() - 300) < 60
    assert {way["transport"] for way in known["ways"]} == {"retry", "smtp"}
    result = queue.tool("dakqueue", "why", "noSuchId1", check=False)
    assert (result.returncode, result.stderr) == (
        NO_INPUT, "dakqueue: noSuchId1: no such message in the queue\n")


def test_why_names_who_holds_a_message(queue):
    one = defer(queue, "a@one.test")
    queue.tool("dakqueue", "hold", one)
    dakiya.wait_for("hold", lambda: list(queue.queue.glob("hold/*")))
    assert "on hold by an administrator" in queue.tool("dakqueue", "why", one).stdout


# ---- suspend ----

def test_a_suspended_domain_waits_until_it_is_resumed_also_after_a_restart(queue):
    said = queue.tool("dakqueue", "suspend", "example.test", "--reason", "moving house").stderr
    assert said == "dakqueue: Suspended: example.test\n"
    try:
        one = defer(queue, "alice@example.test")
        assert entry(queue, one)["last_reply"] == "delivery temporarily suspended: moving house"
        why = queue.tool("dakqueue", "why", one).stdout
        assert "suspended by hand since" in why and "moving house" in why
        assert "example.test: by hand, since" in queue.tool("dakqueue", "suspended").stdout
        status = queue.tool("dakiya", "status").stdout
        assert "suspended  example.test until it is resumed: moving house" in status
        queue.tool("dakqueue", "flush", one)
        dakiya.wait_for("a flush to be deferred again", lambda: (
            entry(queue, one) or {}).get("attempts") == 2)
        queue.tool("dakiya", "reload")
        queue.stop()
        queue.start()
        listed = json.loads(queue.tool("dakqueue", "suspended", "-j").stdout)
        assert listed["by_hand"] is True and listed["nexthop"] == "example.test"
        assert listed["until"] == 0 and listed["reason"] == "moving house"
    finally:
        resumed = queue.tool("dakqueue", "resume", "example.test").stderr
    assert resumed == "dakqueue: Resumed: example.test, 1 message tried now\n"
    queue.wait_queue_empty()
    assert "example.test" not in queue.tool("dakqueue", "suspended").stdout
    result = queue.tool("dakqueue", "resume", "example.test", check=False)
    assert (result.returncode, result.stderr) == (
        NO_INPUT, "dakqueue: example.test: not suspended\n")


def test_a_suspension_ends_by_itself_and_its_mail_goes_then(queue):
    queue.tool("dakqueue", "suspend", "example.test", "--for", "4s")
    one = defer(queue, "alice@example.test")
    assert entry(queue, one)["next_attempt"] < time.time() + 10
    queue.wait_queue_empty()
    dakiya.wait_for("its end", lambda: "example.test" not in
                    queue.tool("dakqueue", "suspended").stdout)


def test_a_next_hop_is_suspended_for_its_transport(queue):
    queue.tool("dakqueue", "suspend", "smtp:[127.0.0.1]:9")
    try:
        one = defer(queue, "x@slow.test")
        assert entry(queue, one)["last_reply"] == \
            "delivery temporarily suspended: by an administrator"
        queue.tool("dakqueue", "resume", "smtp:[127.0.0.1]:9")
        dakiya.wait_for("it to be tried", lambda: "refused" in (
            entry(queue, one) or {}).get("last_reply", ""))
    finally:
        queue.tool("dakqueue", "resume", "smtp:[127.0.0.1]:9", check=False)


# ---- summary ----

def test_a_summary_counts_recipients_by_domain_and_age(queue):
    defer(queue, "a@one.test", "b@one.test", "c@two.test")
    defer(queue, "d@two.test", "e@sub.long.test", sender="")
    lines = queue.tool("dakqueue", "summary").stdout.splitlines()
    assert [line.split() for line in lines] == [
        "T 5 10 20 40 80 160 320 640 1280 1280+".split(),
        ["TOTAL", "5", "5"] + ["0"] * 9,
        ["one.test", "2", "2"] + ["0"] * 9,
        ["two.test", "2", "2"] + ["0"] * 9,
        ["sub.long.test", "1", "1"] + ["0"] * 9]
    assert {len(line) for line in lines} == {80}
    senders = queue.tool("dakqueue", "summary", "-s", "-b", "3", "-w", "40", "deferred").stdout
    assert [line.split() for line in senders.splitlines()] == [
        ["T", "5", "10", "10+"], ["TOTAL", "2", "2", "0", "0"],
        ["client.test", "1", "1", "0", "0"], ["MAILER-DAEMON", "1", "1", "0", "0"]]
    parents = queue.tool("dakqueue", "summary", "-p", "-m", "1", "-l", "-t", "60", "-b", "3").stdout
    assert ".long.test" in parents and parents.split()[:4] == ["T", "60", "120", "120+"]
    for option in ("-j", "--json"):
        rows = [json.loads(line) for line in queue.tool(
            "dakqueue", "summary", option, "-p", "-m", "1", "-b", "3").stdout.splitlines()]
        assert [(row["domain"], row["parent"], row["total"]) for row in rows] == [
            (None, False, 5), ("one.test", False, 2), ("two.test", False, 2),
            (".long.test", True, 1), ("sub.long.test", False, 1)]
        assert rows[0]["ages"] == {"5": 5, "10": 0, "10+": 0}
    only = queue.tool("dakqueue", "summary", "--domain", "one.test").stdout
    assert "one.test" in only and "sub.long" not in only


def test_called_qshape_it_looks_at_what_is_active(queue):
    defer(queue, "a@one.test")
    shape = run_as(queue, "qshape")
    assert shape.stdout.splitlines()[1].split()[:2] == ["TOTAL", "0"]
    assert "one.test" in run_as(queue, "qshape", "deferred").stdout
    assert run_as(queue, "qshape", "-Z").returncode == USAGE


# ---- while qmgr is down ----

def test_root_chooses_and_deletes_while_the_mail_system_is_down(queue):
    ids = [defer(queue, f"a{number}@one.test") for number in range(3)]
    other = defer(queue, "b@two.test", "x@slow.test")
    queue.tool("dakqueue", "hold", ids[0])
    dakiya.wait_for("hold", lambda: list(queue.queue.glob("hold/*")))
    queue.stop()
    try:
        assert chosen(queue, "--state", "hold") == {ids[0]}
        assert chosen(queue, "--reason", "refused") == {other}
        assert "one.test" in queue.tool("dakqueue", "summary").stdout
        tried = queue.tool("dakqueue", "delete", "--domain", "one.test", "--dry-run")
        assert "Dry run, nothing is done: Deleted: 3 messages\n" in tried.stderr
        gone = queue.tool("dakqueue", "delete", "noSuchId1", ids[1], check=False)
        assert gone.returncode == NO_INPUT and "Deleted: 1 message\n" in gone.stderr
        gone = queue.tool("dakqueue", "delete", "--domain", "one.test")
        assert "Deleted: 2 messages\n" in gone.stderr
        if os.geteuid() == 0:
            result = run_as(queue, "postsuper", "-d", "ALL", uid=NOBODY)
            assert result.returncode == DOWN
        assert queue.tool("dakqueue", "suspended", check=False).returncode == DOWN
    finally:
        queue.start()
    dakiya.wait_for("the other to be left",
                    lambda: [one["queue_id"] for one in queue.queue_list()] == [other])


def test_what_lies_in_the_journal_is_deleted_there(queue):
    """Active mail: it is in no file yet when the mail system is killed."""
    queue.tool("dakqueue", "flush")  # its next hop is not dead any more
    for pid in queue.processes()["smtp"]:
        os.kill(pid, signal.SIGSTOP)
    queue.send("carol@client.test", ["x@slow.test"], dakiya.message(to="x@slow.test"))
    dakiya.wait_for("it to be active", lambda: [
        one for one in queue.queue_list() if one["queue_name"] == "active"])
    queue.kill()
    try:
        # The sockets go with the last process that was killed.
        dakiya.wait_for("the end", lambda: "is read from disk" in
                        queue.tool("dakqueue", "list", check=False).stderr)
        gone = queue.tool("dakqueue", "delete", "ALL")
        assert "Deleted: 1 message\n" in gone.stderr
        assert queue.tool("dakqueue", "list").stdout == "Mail queue is empty\n"
    finally:
        queue.start()
    assert queue.queue_list() == []
