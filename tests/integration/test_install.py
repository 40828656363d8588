"""make install, and the installed tree at work: in a directory, and as the system's mail host."""
import os
import pathlib
import poplib
import re
import shutil
import smtplib
import subprocess

import pytest

import dakiya
from dakiya import BUILD, TOP, run, wait_for

PASSWORD = "correct horse battery"


def make(*arguments):
    return run("make", "-C", TOP, "-s", f"OUT={os.environ.get('OUT', 'build')}", *arguments,
               timeout=600).stdout


@pytest.fixture(name="place")
def place_fixture():
    directory = dakiya.new_directory("install")
    yield directory
    dakiya.remove_directory(directory)


@pytest.fixture(name="installed", scope="module")
def installed_fixture():
    directory = dakiya.new_directory("installed")
    make("install", "install-postfix-names", f"DESTDIR={directory}")
    yield directory
    dakiya.remove_directory(directory)


def test_everything_is_in_its_place(installed):
    for path, mode in (("usr/sbin/dakiya", 0o755), ("usr/lib/dakiya/master", 0o755),
                       ("usr/lib/dakiya/smtpd", 0o755), ("etc/dakiya/main.cf", 0o644),
                       ("etc/dakiya/master.cf", 0o644), ("usr/share/dakiya/main.cf", 0o644),
                       ("usr/share/man/man8/dakiya.8", 0o644),
                       ("usr/share/man/man5/main.cf.5", 0o644),
                       ("usr/share/man/man1/dakconf.1", 0o644),
                       ("usr/share/doc/dakiya/first-mail.md", 0o644),
                       ("usr/lib/systemd/system/dakiya.service", 0o644),
                       ("usr/lib/sysusers.d/dakiya.conf", 0o644),
                       ("usr/lib/tmpfiles.d/dakiya.conf", 0o644)):
        assert (installed / path).stat().st_mode & 0o7777 == mode, path
    daemons = {path.name for path in (installed / "usr/lib/dakiya").iterdir()}
    assert daemons >= {path.name for path in (BUILD / "libexec").iterdir()}
    for name, tool in (("postconf", "dakconf"), ("postmap", "dakmap"), ("postsuper", "dakqueue"),
                       ("postfix", "dakiya"), ("postalias", "dakmap")):
        assert os.readlink(installed / "usr/sbin" / name) == tool
    assert (installed / "usr/share/man/man1/postmap.1").exists()
    assert (installed / "usr/share/man/man1/mailq.1").exists()
    mailq = os.readlink(installed / "usr/bin/mailq")
    assert (installed / mailq.lstrip("/")).exists()
    shown = run(installed / "usr/sbin/postconf", "-d", "daemon_directory", "config_directory")
    assert shown.stdout == "daemon_directory = /usr/lib/dakiya\nconfig_directory = /etc/dakiya\n"
    leaked = run("grep", "-rlF", str(TOP), installed / "usr/lib/systemd", installed / "etc",
                 installed / "usr/share", check=False)
    assert leaked.stdout == "", "paths of the build stand in installed files"


def test_what_an_admin_changed_stays(place):
    etc = place / "etc" / "dakiya"
    make("install", f"DESTDIR={place}")
    with open(etc / "main.cf", "a", encoding="ascii") as main:
        main.write("myhostname = mx.example.org\n")
    changed = (etc / "main.cf").read_bytes()
    said = make("install", f"DESTDIR={place}")
    assert (etc / "main.cf").read_bytes() == changed and "kept" in said
    assert (etc / "main.cf.dist").read_bytes() == (TOP / "conf" / "main.cf").read_bytes()
    assert not (etc / "master.cf.dist").exists()
    (place / "usr" / "sbin" / "postmap").write_text("somebody else's\n")
    make("uninstall", f"DESTDIR={place}")
    left = sorted(str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir())
    assert left == ["etc/dakiya/aliases", "etc/dakiya/main.cf", "etc/dakiya/master.cf",
                    "usr/sbin/postmap"]


def test_other_places_are_compiled_in(place):
    """Only what is made of the variables: nothing is built anew in the tree's own build."""
    out = place / "build"
    run("make", "-C", TOP, "-s", f"OUT={out}", "PREFIX=/opt/dakiya", "SYSCONFDIR=/opt/etc",
        "LOCALSTATEDIR=/srv", f"{out}/include/lib/conf/places.h")
    places = (out / "include/lib/conf/places.h").read_text()
    assert re.findall(r'"(.*)"', places) == ["/opt/etc/dakiya", "/srv/spool/dakiya",
                                             "/srv/lib/dakiya", "/opt/dakiya/lib/dakiya",
                                             "/opt/dakiya/sbin"]
    shutil.rmtree(out)


def test_the_installed_tree_runs_from_a_directory(installed, place):
    address, tool = dakiya.new_address(), installed / "usr/sbin/dakiya"
    run(tool, "setup", "--directory", place / "tree", "--listen", address, "--no-probe", "--user",
        "alice", "--password-stdin", "example.org", stdin=PASSWORD + "\n")
    config = place / "tree" / "etc"
    assert f"daemon_directory = {installed}/usr/lib/dakiya" in (config / "main.cf").read_text()
    run(tool, "-c", config, "start")
    try:
        send_and_read(address, 2525, 2995)
    finally:
        run(tool, "-c", config, "stop")


def subjects(address, port, password=PASSWORD):
    """Of what alice has, by POP3; nothing while the server is not up."""
    try:
        client = poplib.POP3_SSL(address, port, timeout=20)
    except OSError:
        return []
    client.user("alice@example.org")
    client.pass_(password)
    found = [line for index in range(len(client.list()[1]))
             for line in client.retr(index + 1)[1] if line.startswith(b"Subject")]
    client.quit()
    return found


def send_and_read(address, smtp_port, pop3s_port, password=PASSWORD):
    def send():
        try:
            with smtplib.SMTP(address, smtp_port, timeout=20,
                              local_hostname="client.test") as client:
                client.sendmail("carol@client.test", "alice@example.org",
                                "Subject: installed\r\n\r\nHi\r\n")
            return True
        except OSError:
            return False
    wait_for("the server", send, 30)
    assert wait_for("the message", lambda: subjects(address, pop3s_port, password),
                    30) == [b"Subject: installed"]


SYSTEM = r"""
set -eu
cp -a /etc $PLACE/etc
mkdir -p $PLACE/upper $PLACE/work
mount -t overlay overlay -o lowerdir=$INSTALLED/usr:/usr /usr
rm -rf $PLACE/etc/dakiya
cp -a $INSTALLED/etc/dakiya $PLACE/etc/
mount --bind $PLACE/etc /etc
mkdir $PLACE/spool $PLACE/lib
mount --bind $PLACE/spool /var/spool
mount --bind $PLACE/lib /var/lib
cd /
echo example.org >/etc/mailname
echo "$PASSWORD" | dakiya setup --listen $ADDRESS --no-probe --user alice --password-stdin \
    --log $PLACE/mail.log
echo ---- again
echo "$PASSWORD" | dakiya setup --listen $ADDRESS --no-probe --user alice --password-stdin \
    --log $PLACE/mail.log example.org
echo ---- checked
dakiya check
dakiya start
$PYTHON -c "import test_install; test_install.send_and_read('$ADDRESS', 25, 995)"
ls -ld /var/lib/dakiya/mail /var/spool/dakiya /etc/dakiya/host.pem
ps -eo user:20,args | grep '^dakiya' || true
for pid in $(pgrep -P $(cat /var/spool/dakiya/pid/master.pid)); do
    grep '^Uid' /proc/$pid/status; done
getent passwd dakiya dakiya-net dakiya-auth dakiya-dns dakiya-mail | cut -d: -f1,3
postfix status
dakiya stop
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount namespace")
def test_the_systems_own_mail_host(installed, place):
    """The whole host is a copy in a mount namespace: accounts, /etc, ports 25 and 995."""
    if subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"],
                      capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces here")
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", SYSTEM], text=True, capture_output=True, timeout=120,
        check=False, env=dict(os.environ, PLACE=str(place), INSTALLED=str(installed),
                              ADDRESS=dakiya.new_address(), PASSWORD=PASSWORD,
                              PYTHON="/usr/bin/python3",
                              PYTHONPATH=str(pathlib.Path(__file__).parent)))
    log = place / "mail.log"
    assert result.returncode == 0, result.stdout + result.stderr + (
        log.read_text() if log.exists() else "")
    first, again = result.stdout.split("---- again")
    again, rest = again.split("---- checked")
    assert "makes  accounts dakiya, dakiya-net" in first
    assert "nothing was changed" in again and "leaves" not in again
    assert "/etc/dakiya: 0 errors" in rest
    uids = dict(re.findall(r"^(dakiya[a-z-]*):(\d+)$", rest, re.M))
    assert len(uids) == 5 and uids["dakiya-mail"] == "5000"
    assert re.search(r"^drwxr-x--- .* dakiya-mail dakiya-mail .* /var/lib/dakiya/mail$", rest, re.M)
    assert re.search(r"^-rw------- .* root +root .* /etc/dakiya/host.pem$", rest, re.M)
    running = set(re.findall(r"^Uid:\t(\d+)\t", rest, re.M))
    assert {uids[name] for name in ("dakiya", "dakiya-net", "dakiya-auth", "dakiya-dns")} <= running
    assert "is running" in result.stderr


def test_the_unit_is_sound(installed, place):
    unit = (installed / "usr/lib/systemd/system/dakiya.service").read_text()
    assert "ExecStart=/usr/sbin/dakiya start-fg" in unit and "Type=notify" in unit
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    copy = place / "dakiya.service"
    copy.write_text(unit.replace("/usr/sbin/dakiya", f"{installed}/usr/sbin/dakiya"))
    found = run("systemd-analyze", "verify", "--man=no", copy, check=False)
    about = [line for line in (found.stdout + found.stderr).splitlines() if "dakiya" in line]
    assert found.returncode == 0 and about == [], found.stdout + found.stderr


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="no systemd-sysusers")
def test_accounts_and_directories_of_the_package(installed, place):
    root = place / "root"
    (root / "etc").mkdir(parents=True)
    run("systemd-sysusers", f"--root={root}", installed / "usr/lib/sysusers.d/dakiya.conf")
    passwd = (root / "etc" / "passwd").read_text()
    for name in ("dakiya", "dakiya-net", "dakiya-auth", "dakiya-dns", "dakiya-mail"):
        assert re.search(rf"^{name}:", passwd, re.M), passwd
    shared = re.search(r"^dakiya:[^:]*:(\d+):", (root / "etc" / "group").read_text(), re.M).group(1)
    assert re.search(rf"^dakiya-net:x:\d+:{shared}:", passwd, re.M), "one group for all roles"
    assert re.search(r"^dakiya-mail:x:5000:", passwd, re.M)
