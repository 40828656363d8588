"""smtpd_milters and non_smtpd_milters, with a milter that speaks the protocol byte by byte."""
import os
import re
import smtplib
import subprocess
import sys

import pytest

import dakiya
import milter_server as m
from dakiya import PASSWORD, message
from packages import unpacked
from test_sendmail import MailHost

LARGE = "".join(f"{line:07d} " + "x" * 60 + "\n" for line in range(4000))  # beyond inline content


@pytest.fixture
def milters(make_host):
    """A function: a running host and milters, one for each dict of options."""
    servers = []

    def make(*options, over_tcp=False, setting="smtpd_milters", braces="", kind=None, **settings):
        host = make_host(settings={"smtpd_error_sleep_time": "0"}, **({"kind": kind} if kind else {}))
        specs = []
        for number, each in enumerate(options or ({},)):
            address = ((host.address, 10030 + number) if over_tcp
                       else str(host.directory / f"milter{number}"))
            servers.append(m.Milter(address, **each))
            spec = f"inet:{host.address}:{10030 + number}" if over_tcp else f"unix:{address}"
            specs.append(f"{{ {spec}, {braces} }}" if braces else spec)
        values = {setting: " ".join(specs)} | settings
        with open(host.config / "main.cf", "a", encoding="ascii") as file:
            file.writelines(f"{name} = {value}\n" for name, value in values.items())
        return (host.start(), *servers[-len(options or ({},)):])

    yield make
    for server in servers:
        server.close()


def send(host, text=None, sender="carol@elsewhere.test", recipients=("alice@example.test",)):
    with host.smtp() as client:
        client.sendmail(sender, list(recipients), text or message())


def split(raw):
    header, body = raw.split(b"\n\n", 1)
    return header.decode(), body


@pytest.mark.sanitized
@pytest.mark.parametrize("over_tcp", [False, True])
def test_a_milter_is_told_everything_in_order(milters, over_tcp):
    host, milter = milters(over_tcp=over_tcp)
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("carol@elsewhere.test", ["SIZE=300", "BODY=8BITMIME"])
        client.rcpt("alice@example.test")
        client.rcpt("bob@example.test", ["NOTIFY=NEVER"])
        assert client.data("Subject: one\r\n  folded\r\nX-Tight:value\r\n\r\nHello.\r\n.dot\r\n"
                           )[0] == 250
    dakiya.wait_for("quit", lambda: milter.of(m.QUIT))
    assert "".join(letter for letter, _, _ in milter.events) == "OCHMRRTLLNBEQ"
    [[name, family, port, address]] = milter.of(m.CONNECT)
    assert (name, family, address) == ("localhost", "4", "127.0.0.1") or address.startswith("127.")
    assert port > 0
    assert milter.of(m.HELO) == [["client.test"]]
    assert milter.of(m.MAIL) == [["<carol@elsewhere.test>", "SIZE=300", "BODY=8BITMIME"]]
    assert milter.of(m.RCPT) == [["<alice@example.test>"],
                                 ["<bob@example.test>", "NOTIFY=NEVER"]]
    assert milter.of(m.HEADER) == [["Subject", "one\n  folded"], ["X-Tight", "value"]]
    assert milter.of(m.BODY) == [b"Hello.\r\n.dot\r\n"]
    [connect] = milter.macros(m.CONNECT)
    assert connect["j"] == connect["{daemon_name}"] == "mail.example.test"
    assert connect["{daemon_addr}"] == host.address
    [mail] = milter.macros(m.MAIL)
    assert mail["{mail_addr}"] == "carol@elsewhere.test"
    assert mail["{mail_host}"] == "elsewhere.test"
    second = milter.macros(m.RCPT)[1]
    assert second["{rcpt_addr}"] == "bob@example.test"
    queue_id = milter.macros(m.END)[0]["i"]
    assert milter.macros(m.DATA)[0]["i"] == second["i"] == queue_id
    host.wait_log(rf"{queue_id}: from=<carol@elsewhere\.test>")


@pytest.mark.sanitized
def test_changes_of_all_kinds(milters):
    host, milter = milters()
    milter.answers[m.END] = [
        m.PROGRESS,
        m.insert_field(0, "X-Top", "first\nsecond"),
        m.insert_field(2, "X-Below-Received", "yes"),
        m.add_field("X-Bottom", "end"),
        m.change_field(1, "Subject", "changed"),
        m.change_field(2, "X-Twice", "two, changed"),
        m.change_field(1, "X-Gone", ""),
        m.change_field(1, "X-New", "by change"),
        m.change_field(1, "Received", "not ours"),
        m.add_recipient("<bob@example.test>"),
        m.change_sender("<boss@elsewhere.test>"),
        m.new_body(b"A new\r\n"), m.new_body(b"body."),
        m.ACCEPT]
    send(host, "Received: from far by away; Tue, 1 Jan 2030 00:00:00 +0000\nSubject: test\n"
               "X-Twice: one\nX-Twice: two\nX-Gone: x\n\nThe old body.\n")
    [raw] = host.wait_messages("alice")
    [copy] = host.wait_messages("bob")
    header, body = split(raw)
    assert body == b"A new\nbody.\n"
    assert split(copy)[1] == body
    names = re.findall(r"^([\w-]+):", header, re.M)
    assert names[names.index("X-Top"):][:4] == ["X-Top", "Received", "X-Below-Received", "Received"]
    assert "X-Top: first\n\tsecond\n" in header
    assert "Subject: changed\n" in header and "X-Bottom: end" in header
    assert re.findall(r"^X-Twice: (.*)", header, re.M) == ["one", "two, changed"]
    assert "X-Gone" not in header and "X-New: by change" in header
    assert re.findall(r"^Received: (.*)", header, re.M)[1:] == ["not ours"]
    assert header.startswith("Return-Path: <boss@elsewhere.test>")


@pytest.mark.parametrize("value", ["end\n", "end\n\n", "end\r\n\r\nX-Evil: 1\n", "\n", "\n\nevil"])
def test_no_value_of_a_field_ends_the_header(milters, value):
    host, milter = milters()
    milter.answers[m.END] = [m.insert_field(1, "X-Odd", value), m.CONTINUE]
    send(host, "Subject: below\n\nThe body.\n")
    header, body = split(host.wait_messages("alice")[0])
    assert body == b"The body.\n"
    assert "Subject: below" in header and "X-Odd:" in header
    assert not re.search(r"^(X-Evil|evil)", header, re.M)


@pytest.mark.sanitized
@pytest.mark.parametrize("edits", [
    [m.insert_field(0, "X-Long", "y" * 900)], [m.change_field(1, "X-Padding", "")],
    [m.change_field(1, "Subject", "TEST")], [m.new_body(b"short\r\n")],
    [m.new_body(b"z" * 70 + b"\r\n")] * 2000],
    ids=("longer header", "shorter header", "field replaced", "short body", "large body"))
def test_changes_of_a_large_message(milters, edits):
    host, milter = milters()
    milter.answers[m.END] = [*edits, m.CONTINUE]
    padding = "X-Padding: " + "p" * 500 + "\n"
    send(host, "Subject: test\n" + padding + "\n" + LARGE)
    header, body = split(host.wait_messages("alice")[0])
    seen = b"".join(milter.of(m.BODY))
    assert seen.decode() == LARGE.replace("\n", "\r\n")
    new = b"".join(data for letter, data in edits if letter == "b").replace(b"\r\n", b"\n")
    assert body == (new or LARGE.encode())
    assert ("X-Long" in header) == ("i" == edits[0][0])
    assert ("X-Padding" in header) == (edits[0] != m.change_field(1, "X-Padding", ""))


def test_a_small_message_may_become_a_large_one(milters):
    host, milter = milters()
    milter.answers[m.END] = [m.new_body(LARGE.replace("\n", "\r\n").encode()), m.CONTINUE]
    send(host)
    assert split(host.wait_messages("alice")[0])[1] == LARGE.encode()


ANSWERS = [(m.REJECT, 550, "5.7.1 Command rejected"),
           (m.TEMPFAIL, 451, "4.7.1 Service unavailable - try again later"),
           (m.reply("554 5.7.9 Not with 100%% of us"), 554, "5.7.9 Not with 100% of us")]


def talk_until(host, milter, letter):
    """The replies by place, up to the one that the milter's answer to letter makes."""
    client, replies = smtplib.SMTP(), {}
    replies["CONNECT"] = client.connect(host.address, host.ports["smtp"])
    if letter != m.CONNECT:
        replies["EHLO"] = client.ehlo("client.test")
    if letter == m.HELO: # another greeting may be better
        milter.answers[letter] = [m.CONTINUE]
        assert client.ehlo("other.test")[0] == 250
    elif letter != m.CONNECT:
        replies["MAIL"] = client.mail("carol@elsewhere.test")
        if letter != m.MAIL:
            replies["RCPT"] = client.rcpt("alice@example.test")
        if letter not in (m.MAIL, m.RCPT):
            replies["DATA"] = client.docmd("DATA")
            if letter != m.DATA:
                client.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")
                replies["END-OF-MESSAGE"] = client.getreply()
    client.close()
    return replies


@pytest.mark.parametrize("letter, place", [
    (m.CONNECT, "CONNECT"), (m.HELO, "EHLO"), (m.MAIL, "MAIL"), (m.RCPT, "RCPT"),
    (m.DATA, "DATA"), (m.HEADER, "END-OF-MESSAGE"), (m.EOH, "END-OF-MESSAGE"),
    (m.BODY, "END-OF-MESSAGE"), (m.END, "END-OF-MESSAGE")])
def test_refusals_at_each_step(milters, letter, place):
    host, milter = milters()
    for answer, code, text in ANSWERS:
        milter.answers[letter] = [answer]
        reply = talk_until(host, milter, letter)[place]
        assert reply == (code, text.encode()) or (
            place in ("CONNECT", "EHLO") and reply[0] == code)
        in_log = text if place == "END-OF-MESSAGE" else f"{code} {text}"
        host.wait_log(rf"\S+: milter-reject: {place} from \S+: {re.escape(in_log)};")
    assert host.messages("alice") == []


def test_a_recipient_may_be_refused_and_others_kept(milters):
    host, milter = milters()
    milter.answers[m.RCPT] = lambda parts: [m.REJECT if "bob" in parts[0] else m.CONTINUE]
    with host.smtp() as client:
        assert "bob@example.test" in client.sendmail(
            "carol@elsewhere.test", ["bob@example.test", "alice@example.test"], message())
    assert host.wait_messages("alice") and host.messages("bob") == []
    # The next message of the session begins anew.
    with host.smtp() as client:
        client.sendmail("carol@elsewhere.test", ["alice@example.test"], message())
        client.ehlo("again.test")
        client.mail("carol@elsewhere.test")
        client.rset()
        client.sendmail("carol@elsewhere.test", ["alice@example.test"], message())
    host.wait_messages("alice", 3)
    assert milter.connections == 2 and len(milter.of(m.ABORT)) >= 1


@pytest.mark.sanitized
def test_discard_and_hold(milters):
    host, milter = milters()
    milter.answers[m.END] = [m.DISCARD]
    send(host)
    host.wait_log(r": milter-discard: END-OF-MESSAGE from .*: milter triggers DISCARD action;")
    milter.answers = {m.RCPT: [m.DISCARD]}
    send(host)
    host.wait_log(r": milter-discard: RCPT from .*: milter triggers DISCARD action;")
    milter.answers = {m.END: [m.remove_recipient("<alice@example.test>"), m.CONTINUE]}
    send(host)
    host.wait_log(r": milter-discard: END-OF-MESSAGE from .*: milters leave no recipient;")
    milter.answers = {m.END: [m.quarantine("looks odd"), m.CONTINUE]}
    send(host)
    host.wait_log(r": milter-hold: END-OF-MESSAGE .*: milter triggers HOLD action: looks odd;")
    assert host.messages("alice") == []
    assert "!" in host.tool("mailq").stdout
    host.tool("postsuper", "-H", "ALL")
    assert host.wait_messages("alice", 1)


def test_several_milters_see_what_those_before_have_changed(milters):
    host, first, second = milters({}, {})
    first.answers[m.END] = [m.add_field("X-First", "1"), m.new_body(b"by the first\r\n"),
                            m.change_field(1, "Subject", "first"), m.CONTINUE]
    second.answers[m.END] = [m.add_field("X-Second", "2"), m.CONTINUE]
    send(host)
    header, body = split(host.wait_messages("alice")[0])
    assert ["X-First", "1"] in second.of(m.HEADER) and ["Subject", "first"] in second.of(m.HEADER)
    assert second.of(m.BODY) == [b"by the first\r\n"]
    assert "X-First: 1" in header and "X-Second: 2" in header and body == b"by the first\n"
    # One that accepts is not asked again, the other is.
    first.answers = {m.MAIL: [m.ACCEPT]}
    before = len(first.of(m.RCPT))
    send(host)
    host.wait_messages("alice", 2)
    assert len(first.of(m.RCPT)) == before and len(second.of(m.END)) == 2


@pytest.mark.parametrize("wants, letters", [
    (0x1 | 0x2 | 0x100, "OMRTLLLLLNBEQ"), (0x10 | 0x20 | 0x40 | 0x200, "OCHMREQ"),
    (0x4 | 0x8 | 0x10, "OCHTLLLLLNEQ")])
def test_events_that_are_not_wanted(milters, wants, letters):
    host, milter = milters({"wants": wants})
    send(host)
    host.wait_messages("alice")
    dakiya.wait_for("quit", lambda: milter.of(m.QUIT))
    heard = "".join(letter for letter, _, _ in milter.events)
    assert re.sub("L+", "L", heard) == re.sub("L+", "L", letters)


def test_events_without_an_answer_and_a_body_that_is_skipped(milters):
    host, milter = milters({"wants": 0x80 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x40000
                            | 0x400 | 0x100000})
    for letter in (m.CONNECT, m.HELO, m.MAIL, m.RCPT, m.DATA, m.HEADER, m.EOH):
        milter.answers[letter] = m.NO_ANSWER
    milter.answers[m.BODY] = [m.SKIP]
    milter.answers[m.END] = [m.add_field("X-Tight", "as it is"), m.CONTINUE]
    send(host, "Subject:  spaced\n\n" + LARGE)
    header, body = split(host.wait_messages("alice")[0])
    assert body == LARGE.encode() and len(milter.of(m.BODY)) == 1
    assert ["Subject", "  spaced"] in milter.of(m.HEADER)
    assert "X-Tight:as it is" in header


def test_a_milter_names_the_macros_it_wants(milters):
    host, milter = milters({"macros": [(0, "j {client_port}"), (5, "i {auth_authen} {cipher}")]})
    with host.smtp("submission") as client:
        client.starttls(context=host.tls_context())
        client.login("alice@example.test", PASSWORD)
        client.sendmail("alice@example.test", ["bob@example.test"], message())
    host.wait_messages("bob")
    assert set(milter.macros(m.CONNECT)[0]) == {"j", "{client_port}"}
    end = milter.macros(m.END)[0]
    assert end["{auth_authen}"] == "alice@example.test" and end["{cipher}"]


@pytest.mark.parametrize("version", [2, 3, 4])
def test_old_versions_of_the_protocol(milters, version):
    host, milter = milters({"version": version, "may": 0x1f})
    send(host)
    host.wait_messages("alice")
    assert len(milter.of(m.END)) == 1


def code_of_sending(host):
    try:
        send(host)
        return 250
    except smtplib.SMTPResponseException as problem:
        return problem.smtp_code
    except smtplib.SMTPRecipientsRefused as problem:
        return list(problem.recipients.values())[0][0]
    except smtplib.SMTPServerDisconnected:
        return 421


@pytest.mark.parametrize("action, code", [
    ("accept", 250), ("tempfail", 451), ("reject", 550), ("shutdown", 421),
    ("451 4.7.9 milters sleep", 451), ("quarantine", 250)])
def test_a_milter_that_fails_is_answered_for(milters, action, code):
    host, milter = milters(milter_default_action=action)
    for answers in ({m.MAIL: m.HANG_UP}, {m.END: m.HANG_UP}, {m.RCPT: [("?", b"what")]}, None):
        if answers is None:
            milter.close()
        else:
            milter.answers = answers
        got = code_of_sending(host)
        assert got == code or (answers is None and code >= 400 and got >= 400)
    host.wait_log(r"warning: milter unix:\S+: .*Connection refused|No such file")
    if action == "quarantine":
        dakiya.wait_for("all held", lambda: host.log().count("milter-hold: END-OF-MESSAGE") == 4)
        assert host.messages("alice") == []
    elif action == "accept":
        host.wait_messages("alice", 4)


def test_timeouts_and_settings_of_one_milter(milters):
    host, milter = milters(braces="command_timeout=1s, default_action=accept, "
                                  "{ mail_macros = {mail_addr} }")
    milter.answers[m.RCPT] = m.NO_ANSWER
    send(host)
    host.wait_messages("alice")
    host.wait_log(r"warning: milter unix:\S+: .*time")
    assert list(milter.macros(m.MAIL)[0]) == ["{mail_addr}"]


def test_maps_and_overrides(milters, make_host):
    host, milter = milters(smtpd_milter_maps="inline:{{127.0.0.1 = DISABLE}}")
    with smtplib.SMTP(host.address, host.ports["smtp"], source_address=("127.0.0.1", 0)) as client:
        client.sendmail("carol@elsewhere.test", ["alice@example.test"], message())
    host.wait_messages("alice")
    assert milter.events == []
    with smtplib.SMTP(host.address, host.ports["smtp"], source_address=("127.9.9.9", 0)) as client:
        client.sendmail("carol@elsewhere.test", ["alice@example.test"], message())
    host.wait_messages("alice", 2)
    assert len(milter.of(m.END)) == 1
    host, milter = milters(receive_override_options="no_milters")
    send(host)
    host.wait_messages("alice")
    assert milter.connections == 0


def test_milter_header_checks(milters):
    host, milter = milters(milter_header_checks="inline:{{X-Flag: YES = PREPEND X-Seen: 1}}")
    milter.answers[m.END] = [m.add_field("X-Flag", "YES"), m.CONTINUE]
    send(host)
    header, _ = split(host.wait_messages("alice")[0])
    assert "X-Seen: 1" in header and "X-Flag: YES" in header


@pytest.mark.sanitized
def test_mail_of_this_hosts_users(milters):
    host, milter = milters(setting="non_smtpd_milters", kind=MailHost)
    milter.answers[m.END] = [m.add_field("X-Local", "seen"), m.CONTINUE]
    host.sendmail("-f", "bob@example.test", "alice@example.test",
                  stdin="Subject: by sendmail\n\nHello.\n")
    header, _ = split(host.wait_messages("alice")[0])
    assert "X-Local: seen" in header
    assert milter.of(m.CONNECT) == [["localhost", "4", 0, "127.0.0.1"]]
    assert milter.of(m.MAIL) == [["<bob@example.test>"]]
    assert milter.of(m.RCPT) == [["<alice@example.test>"]]
    assert milter.macros(m.RCPT)[0]["{rcpt_addr}"] == "alice@example.test"
    # A client of smtpd does not concern it.
    send(host)
    host.wait_messages("alice", 2)
    assert len(milter.of(m.END)) == 1
    milter.answers[m.END] = [m.reply("550 5.7.1 not from here")]
    refused = host.sendmail("-f", "bob@example.test", "alice@example.test",
                            stdin="Subject: no\n\nHello.\n", code=69)
    assert "not from here" in refused.stderr


def test_dakiya_check_reads_milters(milters, make_host):
    host = make_host()
    main_cf = host.config / "main.cf"
    text = main_cf.read_text()
    for setting, expected in (("smtpd_milters = inet:localhost:nowhere", "no port number"),
                              ("smtpd_milters = { unix:m, wrong=1 }", "there is no setting wrong"),
                              ("smtpd_milters = { unix:m, default_action=maybe }",
                               "default_action is")):
        main_cf.write_text(text + setting + "\n")
        result = host.tool("dakiya", "check", check=False)
        assert result.returncode != 0 and expected in result.stdout + result.stderr, setting


OPENDKIM = ("opendkim", "libopendkim11", "libmilter1.0.1", "libvbr2", "librbl1", "libmemcached11",
            "libhashkit2", "libopendbx1", "liblua5.3-0")


@pytest.fixture
def opendkim(tmp_path):
    """Debian's opendkim, signing for example.test; skips where its packages cannot be had."""
    roots = [unpacked(package) for package in OPENDKIM]
    libraries = ":".join(str(path) for root in roots for path in (*root.glob("usr/lib"),
                                                              *root.glob("usr/lib/*-gnu")))
    key, public = tmp_path / "key", tmp_path / "public"
    dakiya.run("openssl", "genrsa", "-out", key, "2048")
    key.chmod(0o600)
    dakiya.run("openssl", "rsa", "-in", key, "-pubout", "-out", public)
    programs = []

    def start(host):
        (tmp_path / "conf").write_text(
            f"Domain example.test\nSelector s1\nKeyFile {key}\nSocket inet:10040@{host.address}\n"
            "Mode s\nCanonicalization relaxed/simple\nInternalHosts 127.0.0.0/8\nSyslog no\n"
            "OversignHeaders From\nUMask 002\nRequireSafeKeys no\n")
        programs.append(subprocess.Popen(
            [roots[0] / "usr/sbin/opendkim", "-f", "-x", tmp_path / "conf"],
            env=dict(os.environ, LD_LIBRARY_PATH=libraries)))
        dakiya.wait_for("opendkim", lambda: dakiya.port_is_open(host.address, 10040))

    start.public = "".join(public.read_text().splitlines()[1:-1])
    yield start
    for program in programs:
        program.terminate()
        program.wait(20)


@pytest.mark.parametrize("text", ["Subject: short\nFrom: <alice@example.test>\n\nHello.\n",
                                  "Subject: large\nFrom: <alice@example.test>\n\n" + LARGE],
                         ids=("short", "large"))
def test_opendkim_signs_and_the_signature_holds(make_host, opendkim, text):
    host = make_host()
    with open(host.config / "main.cf", "a", encoding="ascii") as file:
        file.write(f"smtpd_milters = inet:{host.address}:10040\nalways_add_missing_headers = yes\n")
    host.start()
    opendkim(host)
    with host.smtp("submission") as client:
        client.starttls(context=host.tls_context())
        client.login("alice@example.test", PASSWORD)
        client.sendmail("alice@example.test", ["bob@example.test"], text)
    [raw] = host.wait_messages("bob")
    sys.path.append(str(unpacked("python3-dkim") / "usr/lib/python3/dist-packages"))
    import dkim # pylint: disable=import-outside-toplevel,import-error
    start = raw.index(b"DKIM-Signature:")
    assert dkim.verify(raw[start:].replace(b"\n", b"\r\n"), dnsfunc=lambda name, timeout=5:
                       f"v=DKIM1; k=rsa; p={opendkim.public}".encode())
    # Above our own trace field, as from any mail server with this filter.
    assert start < raw.index(b"\nReceived:")
