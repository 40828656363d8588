"""Rules for what leaves: smtp_header_checks and its kin, smtp_reply_filter, status filters."""
import dakiya
from dakiya import message
from smtp_peer import Peer

RULES = {
    "smtp_header_checks": "pcre:{ {/^Received: from .*submission/ IGNORE}, "
                          "{/^Subject: secret/ REPLACE Subject: (none)}, "
                          "{/^X-Bad:/ REJECT} }",
    "smtp_mime_header_checks": "pcre:{ {/^X-Part:/ WARN a part} }",
    "smtp_body_checks": "pcre:{ {/^line 0 (.*)/ PREPEND first}, {/^line 59999 / STRIP last} }",
    "smtp_reply_filter": "pcre:{ {/^550 5\\.1\\.1 (.*rebuilding.*)/ 450 4.1.1 $$1} }",
    "default_delivery_status_filter": "pcre:{ {/^5(\\.7\\.1 .*blocked for now.*)/ 4$$1} }",
}


def test_what_leaves_is_changed_and_what_servers_say_is_read_as_told(make_host):
    address = dakiya.new_address()
    answers = {"busy": iter(["550 5.1.1 rebuilding users"]),
               "blocked": iter(["550 5.7.1 blocked for now"])}

    def rcpt(session, argument):
        word = next((word for word in answers if word in argument), None)
        session.say(next(answers[word], "250 Ok") if word else "250 Ok")

    peer = Peer(address, offers=["PIPELINING", "SIZE 0"], RCPT=rcpt)
    host = make_host(settings=dict(RULES, relayhost=f"[{address}]", mynetworks="127.0.0.0/8", minimal_backoff_time="1s",
                                   maximal_backoff_time="1s"),
                     users=["alice"])
    host.start()
    try:
        body = "".join(f"line {number} {'x' * 40}\n" for number in range(60000))
        host.send("alice@example.test", "bob@peer.test",
                  message(to="bob@peer.test", subject="secret plans", body=body))
        dakiya.wait_for("the large message", lambda: peer.messages, timeout=40)
        header, _, content = peer.messages[0][1].partition(b"\r\n\r\n")
        assert b"\r\nSubject: (none)" in header and b"secret" not in header
        lines = content.decode().splitlines()
        assert lines[:2] == ["first", "line 0 " + "x" * 40]
        assert lines[-1] == "line 59998 " + "x" * 40 and len(lines) == 60000
        host.wait_log(r"smtp\[\d+\]: \w+: replace: header Subject: secret plans: Subject: \(none\)")
        host.wait_log(r"smtp\[\d+\]: \w+: strip: body line 59999 x+: last")

        # What the queue holds is what came in: delivered here it is as it was.
        host.send("alice@example.test", "alice@example.test",
                  message(to="alice@example.test", subject="secret plans"))
        assert b"Subject: secret plans" in host.wait_messages("alice")[0]

        for name in ("busy", "blocked"):
            host.send("alice@example.test", f"{name}@peer.test", message(to=f"{name}@peer.test"))
        host.wait_log(r"to=<busy@peer\.test>, .* dsn=4\.1\.1, status=deferred "
                      r"\(host \S+ said: 450 4\.1\.1 rebuilding users \(in reply to RCPT")
        host.wait_log(r"to=<blocked@peer\.test>, .* dsn=4\.7\.1, status=deferred "
                      r"\(host \S+ said: 550 5\.7\.1 blocked for now \(in reply to RCPT")
        dakiya.wait_for("second attempts", lambda: len(peer.messages) == 3)

        # A rule that cannot be carried out lets nothing pass.
        host.send("alice@example.test", "bob@peer.test",
                  "X-Bad: 1\n" + message(to="bob@peer.test"))
        host.wait_log(r"to=<bob@peer\.test>, relay=none, .* dsn=4\.3\.5, status=deferred "
                      r"\(smtp_header_checks: unknown action \"REJECT\"\)")
        assert len(peer.messages) == 3
    finally:
        peer.close()


def test_results_of_commands_are_read_as_told(make_host):
    host = make_host(settings={"relay_domains": "gate.test", "transport_maps":
                               "inline:{gate.test=gate:}",
                               "pipe_delivery_status_filter":
                               "pcre:{ {/^5\\.1\\.1 (.*)/ 4.1.1 wait: $$1} }"},
                     extra_services="gate unix - n n - - pipe flags=R user=nobody:nogroup "
                                    "argv=/bin/sh -c {echo 5.1.1 no such thing; exit 67}\n")
    host.start()
    host.send("alice@example.test", "x@gate.test", message(to="x@gate.test"))
    host.wait_log(r"pipe\[\d+\]: \w+: to=<x@gate\.test>, relay=gate, .* dsn=4\.1\.1, "
                  r"status=deferred \(wait: .*no such thing")
