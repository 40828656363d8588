"""header_checks and body_checks of a whole host: what it says, logs and passes on."""
import pathlib

import contentchecks
import dakiya
import rewriting

DATA = pathlib.Path(__file__).with_name("contentchecks.txt")


def test_replies_log_and_content_are_those_of_postfix():
    directory = dakiya.new_directory("checks")
    host, peer = rewriting.make_host(directory, contentchecks.SETTINGS)
    try:
        results = contentchecks.observe(host.address, host.ports["smtp"], peer, host.log)
    finally:
        host.stop(check=False)
        peer.close()
        dakiya.remove_directory(directory)
    table = rewriting.recorded(DATA.read_text())
    assert results.keys() == table.keys() and len(results) > 90
    wrong = [f"{case}: {result!r}, recorded {table[case][0]!r}, Postfix {table[case][1]!r}"
             for case, result in results.items() if result != table[case][0]]
    assert not wrong, "\n".join(wrong)
    assert not [case for case, (ours, theirs) in table.items() if ours != theirs]


def test_a_submission_service_hides_its_clients_and_a_second_service_checks_nothing():
    directory = dakiya.new_directory("checks")
    host = dakiya.Host(directory, users=["alice"], settings={
        "header_checks": "pcre:{ {/^Received: from/ IGNORE}, {/^Subject: no/ REJECT} }",
        "body_checks": "pcre:{ {/eicar/ DISCARD test virus}, {/hold this/ HOLD} }"})
    host.extra_services = (f"{host.address}:2626 inet n - n - - smtpd\n"
                           "  -o receive_override_options=no_header_body_checks\n")
    host.write_config()
    with host:
        header = "From: a@far.test\nTo: alice@example.test\nSubject: {}\n\n"
        for port in (host.ports["smtp"], 2626):
            rewriting.send(host.address, port, "a@far.test", ["alice@example.test"],
                           header.format("first") + "hidden or not")
        rewriting.send(host.address, host.ports["smtp"], "a@far.test", ["alice@example.test"],
                       header.format("x") + "an eicar\n")
        stored = host.wait_messages("alice", 2)
        assert sorted(b"\nReceived: from" in text for text in stored) == [False, True]
        host.wait_log(r"cleanup\[\d+\]: \w+: discard: body an eicar from \S+; from=<a@far\.test> "
                      r"to=<alice@example\.test> proto=E?SMTP helo=<client\.test>: test virus")
        # A large message whose last line decides goes on hold as any other.
        rewriting.send(host.address, host.ports["smtp"], "a@far.test", ["alice@example.test"],
                       header.format("large") + "Lorem ipsum dolor sit amet.\n" * 1500 + "hold this")
        dakiya.wait_for("the message on hold", lambda: "!" in host.tool("dakqueue", "list").stdout)
        assert len(host.messages("alice")) == 2
    dakiya.remove_directory(directory)
