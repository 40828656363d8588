"""Certificates by name, and replaced while the system runs: openssl s_client, Python's ssl."""
import base64
import json
import os
import re
import shutil
import smtplib
import socket
import ssl

import pytest

import dakiya
from dakiya import run, wait_for

SETTINGS = {"tls_certificate_check_interval": "1s"}


def make(directory, stem, names, days=60, key=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
    """DIR/STEM.key and STEM.pem, self-signed for names."""
    alternatives = ",".join("DNS:" + name for name in names)
    run("openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", days, "-subj",
        f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}", "-keyout",
        directory / f"{stem}.key", "-out", directory / f"{stem}.pem")
    os.chmod(directory / f"{stem}.key", 0o600)
    return directory / f"{stem}.key", directory / f"{stem}.pem"


def make_expired(directory, stem, names):
    key, certificate = make(directory, stem, names)
    request = directory / f"{stem}.req"
    run("openssl", "req", "-new", "-key", key, "-subj", f"/CN={names[0]}", "-out", request)
    run("openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", "-1", "-out",
        certificate)
    return key, certificate


def fingerprint(path):
    out = run("openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256").stdout
    return out.split("=")[1].strip()


def served(host, name=None, port="submissions", *options):
    """The fingerprint of what openssl s_client is shown."""
    where = ["-connect", f"{host.address}:{host.ports[port]}"]
    names = ["-servername", name] if name else ["-noservername"]
    if port == "smtp":
        where += ["-starttls", "smtp"]
    shown = run("openssl", "s_client", *where, *names, *options, stdin="", check=False).stdout
    block = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", shown, re.S)
    if not block:
        return None
    out = run("openssl", "x509", "-noout", "-fingerprint", "-sha256", stdin=block.group(0)).stdout
    return out.split("=")[1].strip()


def replace(source_key, source_certificate, key, certificate):
    """As a careful script does it: aside, then renamed."""
    for source, target in ((source_key, key), (source_certificate, certificate)):
        shutil.copy(source, f"{target}.new")
        os.rename(f"{target}.new", target)


@pytest.fixture(name="place")
def place_fixture():
    directory = dakiya.new_directory("certificates")
    (directory / "pki").mkdir()
    yield directory
    dakiya.remove_directory(directory)


def host_of(place, chain_files, **settings):
    return dakiya.Host(place / "host", authority=dakiya.Authority(place / "ca"), settings={
        "smtpd_tls_chain_files": chain_files, **SETTINGS, **settings})


@pytest.mark.sanitized
def test_the_name_that_a_client_asks_for_decides(place):
    pki = place / "pki"
    first = make(pki, "first", ["mail.example.test"])
    second = make(pki, "second", ["mx.example.org", "example.org"])
    wild = make(pki, "wild", ["*.wild.test"])
    # What certbot leaves: a directory for each name, links, a chain without key, a README.
    live = place / "live"
    (live / "customer.test").mkdir(parents=True)
    (live / "README").write_text("Do not move these files.\n")
    customer = make(place, "customer", ["customer.test"])
    os.symlink(customer[0], live / "customer.test" / "privkey.pem")
    os.symlink(customer[1], live / "customer.test" / "cert.pem")
    full = live / "customer.test" / "fullchain.pem"
    full.write_text(customer[1].read_text() + first[1].read_text())
    shutil.copy(first[1], live / "customer.test" / "chain.pem")
    with host_of(place, ", ".join(map(str, (*first, *second, *wild, live)))) as host:
        for name, expected in ((None, first), ("mail.example.test", first),
                               ("nobody.test", first), ("mx.example.org", second),
                               ("EXAMPLE.ORG", second), ("a.wild.test", wild),
                               ("a.b.wild.test", first), ("wild.test", first),
                               ("customer.test", customer)):
            for port in ("submissions", "pop3s", "smtp"):
                assert served(host, name, port) == fingerprint(expected[1]), (name, port)
        shown = run("openssl", "s_client", "-connect", f"{host.address}:{host.ports['pop3s']}",
                    "-servername", "customer.test", "-showcerts", stdin="", check=False).stdout
        assert shown.count("BEGIN CERTIFICATE") >= 2, "the issuers of fullchain.pem"
        context = ssl.create_default_context(cafile=str(second[1]))
        with socket.create_connection((host.address, host.ports["submissions"])) as raw, \
                context.wrap_socket(raw, server_hostname="mx.example.org") as secured:
            assert secured.recv(3) == b"220"
        host.stop()
        host.check_log()


def test_rsa_and_ecdsa_for_one_name(place):
    pki = place / "pki"
    ec = make(pki, "ec", ["mail.example.test"])
    rsa = make(pki, "rsa", ["mail.example.test"], key=("rsa:2048",))
    other = make(pki, "other", ["other.test"])
    with host_of(place, ", ".join(map(str, (*other, *ec, *rsa)))) as host:
        for options, expected in (
                (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), rsa),
                (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), ec),
                (("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"), rsa),
                (("-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"), ec)):
            assert served(host, "mail.example.test", "submissions", *options) == \
                fingerprint(expected[1]), options
        assert served(host, None) == fingerprint(other[1])
        # Without a name, a client that can do RSA only still gets something.
        assert served(host, None, "submissions", "-tls1_2", "-cipher",
                      "ECDHE-RSA-AES128-GCM-SHA256") == fingerprint(rsa[1])


@pytest.mark.sanitized
def test_replaced_files_are_served_and_running_sessions_go_on(place):
    pki = place / "pki"
    key, certificate = make(pki, "now", ["mail.example.test"])
    new = make(pki, "new", ["mail.example.test"])
    before, after = fingerprint(certificate), fingerprint(new[1])
    with host_of(place, f"{key}, {certificate}",
                 smtpd_client_connection_count_limit="200") as host:
        pids = {name: host.processes()[name] for name in ("smtpd", "pop3d")}
        context = ssl.create_default_context(cafile=str(certificate))
        sessions = []
        for _ in range(100):
            client = smtplib.SMTP_SSL(host.address, host.ports["submissions"], timeout=20,
                                      local_hostname="client.test",
                                      context=_unnamed(context))
            client.ehlo()
            sessions.append(client)
        assert served(host, "mail.example.test") == before
        replace(*new, key, certificate)
        for port in ("submissions", "pop3s", "smtp"):
            wait_for("the new certificate", lambda at=port: served(host, None, at) == after, 30)
        for client in sessions:
            assert client.noop()[0] == 250
            client.quit()
        assert {name: host.processes()[name] for name in pids} == pids, "no process was replaced"
        assert host.log().count("the replaced files are in use") == 1
        host.stop()
        host.check_log()


def _unnamed(context):
    context.check_hostname = False
    return context


def test_what_is_no_good_is_refused_once_and_the_old_stays(place):
    pki = place / "pki"
    key, certificate = make(pki, "now", ["mail.example.test"])
    other = make(pki, "other", ["mail.example.test"])
    expired = make_expired(pki, "expired", ["mail.example.test"])
    second = make(pki, "second", ["second.test"])
    renewed = make(pki, "renewed", ["second.test"])
    good = fingerprint(certificate), key.read_bytes(), certificate.read_bytes()
    with host_of(place, f"{key}, {certificate}, {second[0]}, {second[1]}") as host:
        def refused(pattern):
            host.wait_log(r"warning: certificates: .*" + pattern +
                          r".*what was served before stays", 30)
            assert served(host, "mail.example.test") == good[0]
            assert served(host, "mail.example.test", "pop3s") == good[0]

        shutil.copy(other[0], key)
        refused("the private key does not belong to the certificate")
        # The rest of the list is taken nevertheless.
        replace(*renewed, *second)
        wait_for("the second name's", lambda: served(host, "second.test") ==
                 fingerprint(renewed[1]), 30)
        assert served(host, "mail.example.test") == good[0]
        status = json.loads(host.tool("dakiya", "status", "--json").stdout)
        assert "does not belong" in status["certificate_problems"][0]["problem"]
        assert "certificates: refused: " in host.tool("dakiya", "status").stdout
        # A daemon that dies meanwhile comes back with what was sound.
        pid = host.processes()["smtpd"]
        for one in pid:
            os.kill(one, 9)
        wait_for("smtpd to be back", lambda: set(host.processes().get("smtpd", [])).isdisjoint(
            pid) and served(host, "mail.example.test") == good[0], 30)
        wait_for("the second name's again",
                 lambda: served(host, "second.test") == fingerprint(renewed[1]), 30)

        key.write_bytes(good[1])
        certificate.write_bytes(good[2][:len(good[2]) // 2])
        refused("now.pem: damaged PEM block")
        certificate.unlink()
        refused("cannot open .*now.pem")
        replace(*expired, key, certificate)
        refused("the new certificate has expired")
        assert len(re.findall(r"the new certificate has expired", host.log())) == 1
        replace(*other, key, certificate)
        wait_for("what is sound again", lambda: served(host, "mail.example.test") ==
                 fingerprint(other[1]), 30)
        status = json.loads(host.tool("dakiya", "status", "--json").stdout)
        assert status["certificate_problems"] == []


def test_tables_name_certificates_as_in_postfix(place):
    """tls_server_sni_maps: file names in a text table, file contents in a hash table."""
    pki = place / "pki"
    first = make(pki, "first", ["mail.example.test", "mapped.test", "inline.test"])
    mapped = make(pki, "mapped", ["anything.test"])
    inline = make(pki, "inline", ["whatever.test"])
    renewed = make(pki, "renewed", ["anything.test"])
    text = place / "sni"
    text.write_text(f"mapped.test {mapped[0]}, {mapped[1]}\n.below.test {mapped[0]} {mapped[1]}\n")
    content = base64.b64encode(inline[0].read_bytes() + inline[1].read_bytes()).decode()
    (place / "sni-hash").write_text(f"inline.test {content}\n")
    run(dakiya.BUILD / "bin" / "dakmap", f"hash:{place}/sni-hash")
    with host_of(place, f"{first[0]}, {first[1]}",
                 tls_server_sni_maps=f"texthash:{text}, hash:{place}/sni-hash") as host:
        for name, expected in (("mapped.test", mapped), ("a.b.below.test", mapped),
                               ("inline.test", inline), ("mail.example.test", first),
                               (None, first), ("below.test", first)):
            assert served(host, name) == fingerprint(expected[1]), name
            assert served(host, name, "pop3s") == fingerprint(expected[1]), name
        replace(*renewed, *mapped)
        wait_for("the renewed one", lambda: served(host, "mapped.test") ==
                 fingerprint(renewed[1]), 30)
        text.write_text(f"other.test {inline[0]} {inline[1]}\n")
        wait_for("the table's new row", lambda: served(host, "other.test") ==
                 fingerprint(inline[1]), 30)
        assert served(host, "mapped.test") == fingerprint(first[1])
        text.write_text("broken\n")
        host.wait_log(r"warning: certificates: tls_server_sni_maps: \S+/sni, line 1: want a name "
                      r"and files; what was served before stays", 30)
        assert served(host, "other.test") == fingerprint(inline[1])
        text.unlink()
        host.wait_log(r"certificates: tls_server_sni_maps: .*No such file.*stays", 30)
        assert served(host, "other.test") == fingerprint(inline[1])


def test_days_left_are_shown_and_an_end_that_is_near_is_logged(place):
    pki = place / "pki"
    near = make(pki, "near", ["mail.example.test", "also.test"], days=9)
    far = make(pki, "far", ["far.test"], days=100)
    with host_of(place, ", ".join(map(str, (*near, *far)))) as host:
        found = wait_for("certificates in status", lambda: json.loads(
            host.tool("dakiya", "status", "--json").stdout)["certificates"])
        assert [(one["file"], one["names"], one["key"]) for one in found] == [
            (str(near[1]), ["mail.example.test", "also.test"], "EC"),
            (str(far[1]), ["far.test"], "EC")]
        assert found[0]["days_left"] in (8, 9) and found[1]["days_left"] in (99, 100)
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", found[0]["not_after"])
        text = host.tool("dakiya", "status").stdout
        assert re.search(rf"^certificate {re.escape(str(far[1]))}: EC, (99|100) days left \(", text,
                         re.M), text
        host.wait_log(r"warning: certificate \S+near.pem \(EC, mail.example.test also.test\) "
                      r"expires in [89] days")
        assert "far.pem (EC" not in host.log()
        assert host.log().count("expires in") == 1


def test_a_reload_takes_what_was_replaced_at_once(place):
    pki = place / "pki"
    key, certificate = make(pki, "now", ["mail.example.test"])
    new = make(pki, "new", ["mail.example.test"])
    with host_of(place, f"{key}, {certificate}", tls_certificate_check_interval="1d") as host:
        assert served(host, None) == fingerprint(certificate)
        replace(*new, key, certificate)
        host.tool("dakiya", "reload")
        wait_for("the new one", lambda: served(host, None) == fingerprint(new[1]))


def test_a_directory_with_one_bad_pair_serves_the_others(place):
    pki = place / "pki"
    good = make(place, "good", ["mail.example.test"])
    bad, stray = make(place, "bad", ["bad.test"]), make(place, "stray", ["stray.test"])
    shutil.copy(good[0], pki / "good.key")
    shutil.copy(good[1], pki / "good.pem")
    shutil.copy(bad[0], pki / "bad.key")
    shutil.copy(stray[1], pki / "bad.pem")
    with host_of(place, pki) as host:
        host.wait_log(r"warning: certificates: \S+bad.key: no certificate beside it belongs")
        assert served(host, "bad.test") == fingerprint(good[1])
        shutil.copy(bad[1], pki / "bad.pem")
        wait_for("the pair that is whole now",
                 lambda: served(host, "bad.test") == fingerprint(bad[1]), 30)
        (pki / "bad.key").unlink()
        (pki / "bad.pem").unlink()
        wait_for("the name that is gone", lambda: served(host, "bad.test") ==
                 fingerprint(good[1]), 30)
