"""The guides to set-up, certificates and containers: their commands, run as they stand."""
import os
import re
import signal
import subprocess

import pytest

import dakiya
import test_certificates
import test_install
from dakiya import BUILD, TOP, run, wait_for


def blocks(guide, kind="sh"):
    text = (TOP / "docs" / guide).read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture(name="place")
def place_fixture():
    directory = dakiya.new_directory("guide")
    yield directory
    dakiya.remove_directory(directory)


NAMESPACE = r"""
set -eu
cp -a /etc $PLACE/etc
rm -rf $PLACE/etc/dakiya
mkdir -p $PLACE/upper $PLACE/work
mount -t overlay overlay -o lowerdir=/usr,upperdir=$PLACE/upper,workdir=$PLACE/work /usr
mount --bind $PLACE/etc /etc
mount -t tmpfs tmpfs /var/spool
mount -t tmpfs tmpfs /var/lib
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")
def test_first_domain(place):
    if subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"],
                      capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces here")
    address = dakiya.new_address()
    script = NAMESPACE + "\n".join(blocks("first-domain.md"))
    script = script.replace("make install", f"make -s OUT={BUILD.name} install")
    script = script.replace("make uninstall", f"make -s OUT={BUILD.name} uninstall")
    script = script.replace("dakiya setup ", f"dakiya setup --listen {address} --no-probe "
                                             f"--log {place}/mail.log ")
    script = script.replace("dakiya stop", "echo '---- stops'\ndakiya stop")
    result = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=TOP, text=True,
                            capture_output=True, timeout=180, check=False,
                            env=dict(os.environ, PLACE=str(place)))
    assert result.returncode == 0, result.stdout + result.stderr
    said = result.stdout
    assert re.search(r"password of alice@example\.org is  (\w{5}-){3}\w{5} ", said)
    assert said.count("nothing was changed") == 1
    assert "makes  user zoe@second.example" in said
    assert re.search(r"^/etc/dakiya: 0 errors, \d+ warnings$", said, re.M)
    assert re.search(r"^submissions +smtpd +\d+ +1 ready", said, re.M)
    assert re.search(r"^bob@example\.org +enabled", said, re.M)
    left = {path.name for path in (place / "etc" / "dakiya").iterdir()}
    assert left == {"main.cf", "master.cf", "aliases", "virtual", "host.pem"}


def test_the_guide_to_certificates(place):
    pki = place / "pki"
    pki.mkdir()
    host_key = test_certificates.make(place, "host", ["mail.example.test"])
    second = test_certificates.make(place, "second", ["mx.second.example"])
    lineage = place / "live" / "mx.second.example"
    lineage.mkdir(parents=True)
    hook = place / "dakiya-hook"
    hook.write_text(blocks("certificates.md", "sh hook")[0])
    script = "\n".join(blocks("certificates.md"))
    with test_certificates.host_of(place, f"{host_key[0]}, {host_key[1]}, {pki}") as host:
        script = script.replace("$SERVER:465", f"{host.address}:{host.ports['submissions']}")
        environment = dict(os.environ, MAIL_CONFIG=str(host.config), RENEWED_LINEAGE=str(lineage),
                           DAKIYA_CERTIFICATES=str(pki),
                           PATH=f"{BUILD}/bin:{os.environ['PATH']}")

        def shown():
            return run("sh", "-ec", script, env=environment).stdout
        assert "subject=CN = mail.example.test" in shown()
        (lineage / "privkey.pem").write_bytes(second[0].read_bytes())
        (lineage / "fullchain.pem").write_bytes(second[1].read_bytes())
        run("sh", hook, env=environment)
        assert (pki / "mx.second.example.pem").stat().st_mode & 0o777 == 0o600
        wait_for("what certbot has got",
                 lambda: "subject=CN = mx.second.example" in shown(), 30)
        assert re.search(r"^certificate \S+/mx\.second\.example\.pem: EC, (59|60) days left",
                         shown(), re.M)


def ordinary_user(place):
    """Whom to run it as: somebody without rights, in a home of his own."""
    if os.geteuid() != 0:
        return {}
    os.chown(place, 64399, 64399)
    return {"user": 64399, "group": 64399, "extra_groups": []}


def test_without_root(place):
    script = blocks("containers.md")[0].replace("127.0.0.1", dakiya.new_address())
    result = subprocess.run(["bash", "-ec", script], text=True, capture_output=True, timeout=60,
                            check=False, **ordinary_user(place),
                            env=dict(os.environ, HOME=str(place),
                                     PATH=f"{BUILD}/bin:{os.environ['PATH']}"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^2465 +smtpd +\d+ +1 ready", result.stdout, re.M), result.stdout


def test_the_entry_of_a_container(place):
    entry, address = place / "entry.sh", dakiya.new_address()
    entry.write_text(blocks("containers.md", "sh entry")[0])
    recipe = blocks("containers.md", "Dockerfile")[0]
    assert "entry.sh /" in recipe and 'ENTRYPOINT ["/bin/sh", "/entry.sh"]' in recipe
    as_user = ordinary_user(place)
    environment = dict(os.environ, MAIL_TREE=str(place / "tree"), MAIL_LISTEN=address,
                       MAIL_HOST="mail.example.org", MAIL_USER="alice",
                       MAIL_DOMAIN="example.org", PATH=f"{BUILD}/bin:{os.environ['PATH']}")
    password = None
    for start in (1, 2):
        out = place / f"out{start}"
        with open(out, "wb") as log, \
                subprocess.Popen(["sh", entry], stdout=log, stderr=log, env=environment,
                                 **as_user) as process:
            try:
                wait_for("the host to be up", lambda at=out: process.poll() is not None or
                         "daemon started" in at.read_text(), 30)
                found = re.search(r"password of alice@example\.org is  (\S+)", out.read_text())
                assert (found is not None) == (start == 1), out.read_text()
                password = found.group(1) if found else password
                if start == 1:
                    test_install.send_and_read(address, 2525, 2995, password)
                else:
                    wait_for("the mailbox to be there still", lambda: test_install.subjects(
                        address, 2995, password) == [b"Subject: installed"], 30)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        assert process.returncode == 0, out.read_text()
        assert "status=sent" in (place / "out1").read_text()
    assert "nothing was changed" in (place / "out2").read_text()
