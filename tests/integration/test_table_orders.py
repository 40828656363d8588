"""Which keys are looked up, in which order (Postfix's manuals): seen by debug: in front of tables."""
import re

import dakiya
import pytest

DOMAIN = "mail.order.test"


def table(name):
    """A table that knows no key of a test, and says in the log what it was asked."""
    return f"debug:inline:{{table={name}}}"


SETTINGS = {
    "recipient_delimiter": "+",
    "virtual_mailbox_domains": DOMAIN,
    "virtual_mailbox_quota_maps": "",
    "virtual_alias_maps": table("alias"),
    "virtual_alias_domains": "",
    "virtual_mailbox_maps": table("mailbox"),
    "transport_maps": table("transport"),
    "smtpd_sender_login_maps": table("login"),
    "relay_domains": "relay.order.test",
    "relay_recipient_maps": table("relay"),
    "smtpd_recipient_restrictions": ", ".join((
        f"check_client_access {table('client')}", f"check_helo_access {table('helo')}",
        f"check_sender_access {table('sender')}", f"check_recipient_access {table('recipient')}",
        "reject_sender_login_mismatch", "permit_mynetworks")),
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
}


@pytest.fixture(scope="module")
def keys(authority):
    """A function that gives the keys that a RCPT made a table be asked for."""
    directory = dakiya.new_directory("orders")
    hosts = {}

    def get(name, sender, recipient, helo="client.order.test", settings=None):
        which = str(settings)
        if which not in hosts:
            hosts[which] = dakiya.Host(directory / str(len(hosts)), authority=authority,
                                       users=(), settings={**SETTINGS, **(settings or {})}).start()
        host = hosts[which]
        before = len(host.log())
        with host.smtp() as client:
            client.ehlo(helo)
            client.mail(sender)
            client.rcpt(recipient)
        found = re.findall(r"debug:inline:\{table=" + name + r"\} lookup: \"(.*)\" = not found",
                           host.log()[before:])
        return list(dict.fromkeys(found))

    try:
        yield get
    finally:
        for host in hosts.values():
            host.stop(check=False)
        dakiya.remove_directory(directory)


def test_virtual_aliases(keys):
    assert keys("alias", "a@b.test", f"User+Ext@{DOMAIN}") == [
        f"user+ext@{DOMAIN}", f"user@{DOMAIN}", f"@{DOMAIN}"]


def test_virtual_aliases_of_the_own_domain_try_bare_names(keys):
    found = keys("alias", "a@b.test", f"user+ext@{DOMAIN}", settings={"myorigin": DOMAIN})
    assert found == [f"user+ext@{DOMAIN}", f"user@{DOMAIN}", "user+ext", "user", f"@{DOMAIN}"]


def test_virtual_mailboxes(keys):
    assert keys("mailbox", "a@b.test", f"user+ext@{DOMAIN}") == [
        f"user+ext@{DOMAIN}", f"user@{DOMAIN}", f"@{DOMAIN}"]


def test_relay_recipients(keys):
    assert keys("relay", "a@b.test", "user+ext@relay.order.test") == [
        "user+ext@relay.order.test", "user@relay.order.test", "@relay.order.test"]


def test_access_by_address(keys):
    """The domain and its parents (smtpd_access_maps is in parent_domain_matches_subdomains)."""
    assert keys("recipient", "a@b.test", f"user+ext@{DOMAIN}") == [
        f"user+ext@{DOMAIN}", f"user@{DOMAIN}", DOMAIN, "order.test", "test", "user+ext@",
        "user@"]
    assert keys("sender", "Me@sub.Sender.test", f"user@{DOMAIN}") == [
        "me@sub.sender.test", "sub.sender.test", "sender.test", "test", "me@"]
    assert keys("sender", "", f"user@{DOMAIN}") == ["<>"]


def test_access_with_dotted_parents(keys):
    found = keys("recipient", "a@b.test", f"user@{DOMAIN}",
                 settings={"parent_domain_matches_subdomains": ""})
    assert found == [f"user@{DOMAIN}", DOMAIN, ".order.test", ".test", "user@"]


def test_access_by_host(keys):
    assert keys("helo", "a@b.test", f"user@{DOMAIN}", helo="one.two.Helo.test") == [
        "one.two.helo.test", "two.helo.test", "helo.test", "test"]
    # Linux connects to all of 127/8 from 127.0.0.1.
    found = keys("client", "a@b.test", f"user@{DOMAIN}")
    assert found[-4:] == ["127.0.0.1", "127.0.0", "127.0", "127"]


def test_sender_logins(keys):
    assert keys("login", "me+x@sender.test", f"user@{DOMAIN}") == [
        "me+x@sender.test", "me@sender.test", "@sender.test"]
