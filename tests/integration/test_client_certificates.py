"""Certificates of SMTP clients: permit_tls_clientcerts, check_ccert_access, what is told of them."""
import re
import smtplib

import pytest

import dakiya
from dakiya import message

ELSEWHERE = "who@elsewhere.test"


def fingerprints(certificate):
    """Of the certificate and of its public key, as openssl makes them."""
    text = dakiya.run("openssl", "x509", "-in", certificate, "-noout", "-fingerprint",
                      "-sha256").stdout
    key = dakiya.run("sh", "-c", f"openssl x509 -in {certificate} -noout -pubkey | openssl pkey "
                     "-pubin -outform DER | openssl dgst -sha256 -c").stdout
    return text.strip().split("=")[1], key.strip().split("= ")[1].upper()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A key and a certificate that no authority has signed."""
    place = tmp_path_factory.mktemp("client")
    dakiya.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9", "-subj",
               "/O=Clients (Inc)/CN=client\\; one", "-keyout", place / "key", "-out",
               place / "certificate")
    return place


def host_for(make_host, **settings):
    host = make_host(settings={"smtpd_tls_ask_ccert": "yes", "smtpd_tls_loglevel": "1",
                               "smtpd_tls_received_header": "yes", "mynetworks": "192.0.2.0/24",
                               "smtpd_error_sleep_time": "0", "default_transport": "discard:",
                               "defer_transports": "discard"} | settings,
                     extra_services="discard unix - - n - - discard\n")
    return host.start()


def rcpt(host, client, recipient=ELSEWHERE):
    context = host.tls_context()
    if client is not None:
        context.load_cert_chain(client / "certificate", client / "key")
    with smtplib.SMTP(host.address, host.ports["smtp"]) as smtp:
        smtp.starttls(context=context)
        smtp.ehlo("client.test")
        smtp.mail("carol@elsewhere.test")
        code, text = smtp.rcpt(recipient)
        if code == 250 and recipient != ELSEWHERE:
            smtp.data(message())
        smtp.rset()
        return code, text.decode()


@pytest.mark.sanitized
@pytest.mark.parametrize("which", [0, 1])
def test_relaying_is_permitted_by_fingerprint(make_host, client, which):
    own = fingerprints(client / "certificate")
    host = host_for(make_host, relay_clientcerts=f"inline:{{ {own[which]}=laptop }}",
                    smtpd_relay_restrictions="permit_tls_clientcerts, reject_unauth_destination")
    assert rcpt(host, client)[0] == 250
    assert rcpt(host, None)[0] == 554
    host.wait_log(r"\[127\.\S+\]: Untrusted: subject_CN=client; one, "
                  rf"issuer=client; one, fingerprint={own[0]}, pkey_fingerprint={own[1]}")
    assert rcpt(host, client, "alice@example.test")[0] == 250
    [raw] = host.wait_messages("alice")
    assert b'(Client CN "client? one", Issuer "client? one" (not verified))' in raw


def test_another_certificate_is_not_permitted(make_host, client):
    host = host_for(make_host, relay_clientcerts="inline:{ AA:BB=other }",
                    smtpd_relay_restrictions="permit_tls_clientcerts, reject_unauth_destination")
    assert rcpt(host, client)[0] == 554
    host = host_for(make_host, relay_clientcerts="fail:closed",
                    smtpd_relay_restrictions="permit_tls_clientcerts, reject_unauth_destination")
    assert rcpt(host, client)[0] == 451


def test_access_by_certificate(make_host, client):
    own = fingerprints(client / "certificate")
    table = f"inline:{{ {{ {own[0]} = REJECT the certificate }}, {{ {own[1]} = REJECT the key }} }}"
    host = host_for(make_host, smtpd_client_restrictions=f"check_ccert_access {table}")
    assert rcpt(host, client, "alice@example.test")[1].endswith("rejected: the certificate")
    assert rcpt(host, None, "alice@example.test")[0] == 250
    host = host_for(make_host, smtpd_client_restrictions=
                    f"check_ccert_access {{ {table}, {{ search_order = pubkey_fingerprint, "
                    "cert_fingerprint } }")
    assert rcpt(host, client, "alice@example.test")[1].endswith("rejected: the key")


def test_a_wrong_order_is_named(make_host):
    host = make_host(settings={"smtpd_client_restrictions":
                               "check_ccert_access { inline:{a=b}, search_order=colour }"})
    with pytest.raises(AssertionError):
        host.start(timeout=3)
    assert re.search("search_order has cert_fingerprint and pubkey_fingerprint, not colour",
                     host.log())
