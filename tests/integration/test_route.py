"""Where addresses lead: aliases, extensions, postmaster, transports, over real sockets."""
import pytest

import dakiya
from dakiya import message

ALIASES = ("inline:{ { team@example.test = alice@example.test, bob@example.test }, "
           "{ sales@example.test = team@example.test }, "
           "{ loop@example.test = loop2@example.test }, "
           "{ loop2@example.test = loop@example.test }, "
           "@other.test=@example.test }")


@pytest.fixture(scope="module")
def aliased(authority):
    directory = dakiya.new_directory("route")
    host = dakiya.Host(directory, authority=authority, users=["alice", "bob", "postmaster"],
                       settings={"virtual_alias_maps": ALIASES,
                                 "virtual_alias_domains": "other.test",
                                 "recipient_delimiter": "+"})
    host.start()
    yield host
    host.stop(check=False)
    dakiya.remove_directory(directory)


def wait_for_subject(host, user, subject):
    needle = f"Subject: {subject}\n".encode()
    return dakiya.wait_for(f"{subject} for {user}\n{host.log()[-3000:]}", lambda: next(
        (stored for stored in host.messages(user) if needle in stored), None))


def test_an_alias_of_aliases_reaches_everybody_once(aliased):
    aliased.send("carol@client.test", ["sales@example.test", "SALES@example.test"],
                 message(subject="for the team"))
    wait_for_subject(aliased, "alice", "for the team")
    wait_for_subject(aliased, "bob", "for the team")
    aliased.wait_log(r"to=<bob@example\.test>, orig_to=<sales@example\.test>, relay=virtual")
    assert sum(b"Subject: for the team\n" in stored for stored in aliased.messages("alice")) == 1


def test_two_ways_to_a_mailbox_are_two_copies_that_tell_their_way(aliased):
    aliased.send("carol@client.test", ["sales@example.test", "alice@example.test"],
                 message(subject="for alice and the team"))
    stored = dakiya.wait_for("two copies", lambda: (lambda found: found if len(found) == 2 else
                                                    None)(
        [stored for stored in aliased.messages("alice")
         if b"Subject: for alice and the team\n" in stored]))
    assert sorted(line for one in stored for line in one.split(b"\n")
                  if line.startswith(b"X-Original-To:")) == [
        b"X-Original-To: alice@example.test", b"X-Original-To: sales@example.test"]


@pytest.mark.parametrize("recipient", ["alice+lists@example.test", "alice@other.test",
                                       "ALICE@EXAMPLE.TEST", "\"alice\"@example.test"])
def test_forms_of_an_address_reach_its_mailbox(aliased, recipient):
    subject = "for " + recipient.replace('"', "").replace("@", " at ")
    aliased.send("carol@client.test", recipient, message(subject=subject))
    wait_for_subject(aliased, "alice", subject)


@pytest.mark.parametrize("recipient", ["<postmaster>", "<Postmaster>", "<postmaster@other.test>"])
def test_postmaster_is_always_there(aliased, recipient):
    subject = f"to {recipient[1:-1]}"
    with aliased.smtp() as client:
        client.ehlo("client.test")
        client.docmd("MAIL FROM:<>")
        code, reply = client.docmd(f"RCPT TO:{recipient}")
        assert code == 250, reply
        assert client.data(message(subject=subject))[0] == 250
    wait_for_subject(aliased, "postmaster", subject)


def test_aliases_in_a_circle_are_a_temporary_failure_and_a_warning(aliased):
    with aliased.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@client.test")
        assert client.rcpt("loop@example.test")[0] == 250
        code, reply = client.data(message())
    assert (code, reply) == (451, b"4.3.0 Temporary lookup failure")
    aliased.wait_log(r"warning: \w+: virtual_alias_maps: loop@example.test: "
                     r"aliases lead in a circle")


def test_unknown_users_are_named_by_their_table(aliased):
    with aliased.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@client.test")
        code, reply = client.rcpt("nobody@example.test")
        assert (code, reply) == (550, b"5.1.1 <nobody@example.test>: Recipient address rejected: "
                                      b"User unknown in virtual mailbox table")
