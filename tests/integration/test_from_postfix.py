"""A master.cf as Debian's postfix package installs it runs, with nothing added to it."""
import dakiya
from packages import unpacked


def test_debians_master_cf_takes_mail_in_and_delivers_it(make_host):
    shipped = unpacked("postfix") / "usr" / "share" / "postfix" / "master.cf.dist"
    host = make_host()
    text = shipped.read_text()
    assert "resolver" not in text and "authd" not in text
    # Ports and address are the test's; what else the file says stays.
    text = text.replace("\nsmtp      inet", f"\n{host.address}:{host.ports['smtp']} inet")
    (host.config / "master.cf").write_text(text)
    result = host.tool("dakiya", "check", check=False)
    assert result.returncode == 0, result.stderr
    host.start()
    host.send("carol@elsewhere.test", ["alice@example.test"], dakiya.message())
    assert host.wait_messages("alice")
    services = host.tool("dakiya", "status").stdout
    assert "resolver" in services and "qmgr" in services


def test_logins_bring_authd_without_a_line_for_it(make_host):
    host = make_host()
    master_cf = host.config / "master.cf"
    lines = [line for line in master_cf.read_text().splitlines()
             if not line.startswith(("authd", "resolver"))]
    master_cf.write_text("\n".join(lines) + "\n")
    host.start()
    client = host.pop3()
    assert client.stat()[0] == 0
    client.quit()
