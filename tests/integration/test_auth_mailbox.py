"""Logins through the rooms: SMTP AUTH with smtplib, POP3 that ends in one's own mailbox."""
import base64
import poplib
import smtplib

import authchannel
import dakiya
import pytest
from dakiya import PASSWORD

ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def host(authority):
    directory = dakiya.new_directory("login")
    made = dakiya.Host(directory, authority=authority, settings={"auth_failure_delay": "0s"})
    try:
        yield made.start()
    finally:
        made.stop(check=False)
        dakiya.remove_directory(directory)


@pytest.fixture
def submission(host):
    with host.smtp("submission") as client:
        client.starttls(context=host.tls_context())
        client.ehlo("client.test")
        yield client


@pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
def test_smtplib_logs_in(submission, method):
    submission.user, submission.password = ALICE, PASSWORD
    name = method.removeprefix("auth_").upper()
    code, _ = submission.auth(name, getattr(submission, method))
    assert code == 235


@pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
def test_wrong_password_is_535_and_logged_as_fail2ban_wants_it(host, submission, method):
    submission.user, submission.password = ALICE, "wrong password"
    name = method.removeprefix("auth_").upper()
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        submission.auth(name, getattr(submission, method))
    assert caught.value.smtp_code == 535
    host.wait_log(rf"warning: [^ ]*\[[0-9.]+\]: SASL {name} authentication failed:")


def test_no_password_without_tls(host):
    with host.smtp("submission") as client:
        client.ehlo("client.test")
        assert "PLAIN" not in client.esmtp_features.get("auth", "")
        initial = base64.b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
        code, _ = client.docmd("AUTH", "PLAIN " + initial)
        assert code >= 500


def test_scram_over_smtp(submission):
    """The exchange of RFC 5802 within RFC 4954's lines."""

    class OverSmtp(authchannel.AuthChannel):
        def __init__(self):  # no channel: the lines go through the SMTP client
            pass

        def start(self, mechanism, initial=None, **_):
            return self.reply(submission.docmd(
                "AUTH", f"{mechanism} {base64.b64encode(initial.encode()).decode()}"))

        def respond(self, response):
            response = response.encode() if isinstance(response, str) else response
            return self.reply(submission.docmd(base64.b64encode(response).decode()))

        def reply(self, answer):
            code, text = answer
            return base64.b64decode(text) if code == 334 else authchannel.Done(status=code)

    assert OverSmtp().scram(ALICE, PASSWORD).status == 235


def test_pop3_login_opens_the_users_own_mailbox(host):
    host.send("sender@client.test", ALICE, dakiya.message(subject="for alice"))
    host.wait_messages("alice")
    with_mail = host.pop3("alice")
    assert with_mail.stat()[0] == 1
    assert b"Subject: for alice" in with_mail.retr(1)[1]
    with_mail.quit()
    without = host.pop3("bob")
    assert without.stat()[0] == 0
    without.quit()


def test_pop3_wrong_password_is_refused(host):
    with pytest.raises(poplib.error_proto, match="AUTH"):
        host.pop3("alice", "wrong password")


def test_user_without_mailbox_row_is_told_to_come_later(host):
    host.add_user("carol")
    path = host.data / "mailboxes"
    path.write_text(f"{ALICE} example.test/alice/\n")
    host.tool("dakmap", f"hash:{path}")
    with pytest.raises(poplib.error_proto):
        host.pop3("carol")
    # dakuser names what does not fit together.
    assert "no mailbox" in host.tool("dakuser", "check", check=False).stderr
