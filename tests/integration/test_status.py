"""dakiya status and dakiya trace: what runs, what waits, and one message's story."""
import json
import pathlib
import re

import pytest

import dakiya

TEXT = "From: a@elsewhere.test\r\nTo: x\r\nSubject: traced\r\n\r\nbody\r\n"


def tool(host, *arguments, check=True, stdin=None):
    return dakiya.run(dakiya.BUILD / "bin" / "dakiya", "-c", host.config, *arguments,
                      check=check, stdin=stdin)


@pytest.fixture
def stuck_host(make_host):
    """A host whose mail to dead.test cannot leave: nobody listens at its relay."""
    return make_host(settings={
        "mynetworks": "127.0.0.0/8", "initial_destination_concurrency": 1,
        "transport_maps": "inline:{ dead.test=smtp:[127.0.0.1]:9 }"}).start()


def deferred(host, address):
    host.send("alice@example.test", [address], TEXT)
    dakiya.wait_for("a deferral",
                    lambda: re.search(rf"to=<{address}>.*status=deferred", host.log()))


def test_status_counts_the_queue_by_state_destination_and_domain(stuck_host):
    host = stuck_host
    deferred(host, "one@dead.test")
    deferred(host, "two@dead.test")
    status = json.loads(tool(host, "status", "--json").stdout)
    assert status["state"] == "running"
    queue = status["queue"]
    assert (queue["active"], queue["deferred"], queue["hold"], queue["corrupt"]) == (0, 2, 0, 0)
    assert queue["deferred_domains"] == [{"domain": "dead.test", "messages": 2}]
    assert queue["is_complete"] is True
    dead = [d for d in queue["destinations"] if d["nexthop"] == "[127.0.0.1]:9"]
    assert dead and dead[0]["transport"] == "smtp" and dead[0]["suspended_s"] > 0
    assert "refused" in dead[0]["reason"]
    text = tool(host, "status").stdout
    assert "queue: 0 active, 2 deferred, 0 on hold" in text
    assert re.search(r"deferred +dead\.test +2", text)
    assert re.search(r"smtp +\[127\.0\.0\.1\]:9 .*suspended for \d+ s: .*refused", text)


def test_status_counts_what_is_on_hold_and_damaged(stuck_host):
    host = stuck_host
    deferred(host, "one@dead.test")
    dakiya.run(dakiya.BUILD / "bin" / "dakqueue", "-c", host.config, "hold", "ALL")
    dakiya.wait_for("the hold", lambda: list((host.queue / "hold").rglob("*")))
    (host.queue / "corrupt").mkdir(exist_ok=True)
    (host.queue / "corrupt" / "4cRk2m5WtbzBxQ").write_text("x")
    queue = json.loads(tool(host, "status", "--json").stdout)["queue"]
    assert (queue["deferred"], queue["hold"], queue["corrupt"]) == (0, 1, 1)
    assert "1 damaged (in corrupt/)" in tool(host, "status").stdout


def test_trace_tells_a_delivered_message_from_connection_to_mailbox(host):
    host.send("carol@elsewhere.test", ["alice@example.test"], TEXT)
    host.send("dave@elsewhere.test", ["bob@example.test"], TEXT)
    dakiya.wait_for("the delivery", lambda: host.log().count("status=sent") == 2 and
                    host.log().count(": removed") == 2)
    story = tool(host, "trace", "Carol@Elsewhere.test").stdout
    places = [story.index(word) for word in
              ("message ", "connect from", "client=", "message-id=<", "from=<carol@elsewhere.test>",
               "to=<alice@example.test>", "status=sent", "removed",
               "now: not in the queue any more")]
    assert places[0] == 0 and places[1] < places[2] < places[4] < places[6]
    assert "dave" not in story and story.count("message ") >= 1
    queue_id = re.match(r"message (\w+)\n", story).group(1)
    assert tool(host, "trace", queue_id).stdout == story
    data = json.loads(tool(host, "trace", "--json", queue_id).stdout)
    assert data["messages"][0]["queue_id"] == queue_id
    assert any("disconnect" in line["text"] for line in data["messages"][0]["lines"])
    assert "queue" not in data["messages"][0]


def test_trace_tells_what_a_deferred_message_waits_for(stuck_host):
    deferred(stuck_host, "one@dead.test")
    story = tool(stuck_host, "trace", "one@dead.test").stdout
    assert re.search(r"now: deferred, 1 attempts so far, the next one \w{3} +\d+ ", story)
    assert re.search(r"<one@dead\.test> by smtp to \[127\.0\.0\.1\]:9: .*refused", story)
    message = json.loads(tool(stuck_host, "trace", "--json", "@dead.test").stdout)["messages"][0]
    assert message["queue"]["queue_name"] == "deferred"
    assert message["queue"]["recipients"][0]["transport"] == "smtp"
    # Also when the log is gone.
    stuck_host.log_file.write_text("")
    assert "now: deferred" in tool(stuck_host, "trace", "one@dead.test").stdout


def test_trace_follows_a_notice_to_its_sender(make_host):
    host = make_host(settings={
        "mynetworks": "127.0.0.0/8",
        "smtpd_reject_unlisted_recipient": "no",
        "transport_maps": "inline:{ { gone.test = error:5.1.1 nobody here } }"}).start()
    host.send("alice@example.test", ["x@gone.test"], TEXT)
    dakiya.wait_for("the notice", lambda: re.search(
        r"to=<alice@example.test>.*status=sent", host.log()))
    story = tool(host, "trace", "x@gone.test").stdout
    assert len(re.findall(r"^message \w+$", story, flags=re.M)) == 2
    assert "sender non-delivery notification" in story
    assert "to=<alice@example.test>" in story


def test_trace_shows_refused_sessions(host):
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("mallory@elsewhere.test")
        assert client.rcpt("x@far.test")[0] == 454
    dakiya.wait_for("the session's end", lambda: "disconnect from" in host.log())
    story = tool(host, "trace", "mallory@elsewhere.test").stdout
    assert story.startswith("session ") and "without a message" in story
    assert "Relay access denied" in story and "disconnect from" in story


def test_trace_reads_named_logs_and_standard_input(host, tmp_path):
    log = (pathlib.Path(__file__).parent / "trace.log").read_text()
    story = tool(host, "trace", "--log", "-", "4cRk2m5WtbzBxQ", stdin=log).stdout
    assert "connect from mx.example.net[192.0.2.25]" in story
    assert "status=sent (forwarded as 4cRk2m5WtczBxR)" in story
    assert "message 4cRk2m5WtczBxR" in story and "info@example.com" in story
    assert "unrelated" not in story
    # Rotated logs of the host's own are read, oldest first.
    host.log_file.with_name("mail.log.1").write_text(log)
    assert "forwarded as" in tool(host, "trace", "alice@example.org").stdout


def test_trace_says_when_nothing_is_known(host):
    process = tool(host, "trace", "nobody@nowhere.test", check=False)
    assert process.returncode == 65 and "neither the log nor the queue" in process.stderr
    process = tool(host, "trace", "--log", "/nonexistent", "a@b.test", check=False)
    assert process.returncode == 66 and "/nonexistent" in process.stderr
    assert tool(host, "trace", check=False).returncode == 64
