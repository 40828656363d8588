"""The Debian packages: built, unpacked, looked into, and the unpacked tree at work."""
import os
import re
import shutil

import pytest

import dakiya
import test_install
from dakiya import BUILD, TOP, run

CONTROL = (TOP / "debian" / "control").read_text()


def stanza(package):
    return re.search(rf"^Package: {package}\n(.*?)(\n\n|\Z)", CONTROL, re.S | re.M).group(1)


def test_control_says_what_the_package_is():
    text = stanza("dakiya")
    for field in ("Provides", "Conflicts", "Replaces"):
        assert re.search(rf"^{field}: mail-transport-agent$", text, re.M), field
    assert "Conflicts: postfix" in stanza("dakiya-postfix-names")
    rules = (TOP / "debian" / "rules").read_text()
    for module in re.search(r"^MODULES += (.*)$", rules, re.M).group(1).split():
        assert f"The table type {module}:" in stanza(f"dakiya-{module}")
    install = (TOP / "scripts" / "install.mk").read_text()
    installed = re.search(r"^POSTFIX_NAMES +:= (.*?)\n\w", install, re.M | re.S).group(1)
    for name in re.findall(r"(\w+)=\w+", installed):
        assert name in " ".join(stanza("dakiya-postfix-names").split()), name
    version = re.search(r'mail_version, "([^"]+)"',
                        (TOP / "lib/conf/parameters/common.def").read_text()).group(1)
    assert (TOP / "debian" / "changelog").read_text().startswith(f"dakiya ({version})")


def test_no_script_asks_a_question():
    for name in ("postinst", "prerm", "postrm"):
        path = TOP / "debian" / f"dakiya.{name}"
        run("sh", "-n", path)
        text = path.read_text()
        assert "#DEBHELPER#" in text and "set -e" in text
        assert not re.search(r"\b(read|debconf|confmodule)\b", text.split("\n", 1)[1])


@pytest.mark.skipif(not shutil.which("dh"), reason="debhelper is not installed")
def test_the_packages_are_built_and_work():
    place = dakiya.new_directory("deb")
    try:
        out = place / "deb"
        run(TOP / "scripts" / "make-deb", out, timeout=600,
            env={key: value for key, value in os.environ.items()
                 if key not in ("OUT", "MAKEFLAGS", "CFLAGS")})
        root = place / "root"
        packages = {path.name.split("_")[0]: path for path in out.glob("*.deb")}
        for package in ("dakiya", "dakiya-postfix-names"):
            run("dpkg", "-x", packages[package], root)
        for module in (BUILD / "lib" / "dakiya").glob("table_*.so"):
            name = module.stem.removeprefix("table_")
            listed = run("dpkg", "-c", packages[f"dakiya-{name}"]).stdout
            assert f"./usr/lib/dakiya/{module.name}" in listed
        assert "table_" not in run("dpkg", "-c", packages["dakiya"]).stdout
        shown = run("dpkg", "-f", packages["dakiya"]).stdout
        assert re.search(r"^Depends: .*\blibssl3\b.*\blibunbound8\b", shown, re.M)
        scripts = place / "scripts"
        run("dpkg", "-e", packages["dakiya"], scripts)
        assert sorted((scripts / "conffiles").read_text().split()) == [
            "/etc/dakiya/aliases", "/etc/dakiya/main.cf", "/etc/dakiya/master.cf",
            "/etc/init.d/dakiya"]
        postinst = (scripts / "postinst").read_text()
        assert postinst.index("systemd-sysusers") < postinst.index("systemd-tmpfiles")
        assert "deb-systemd-helper enable" in postinst
        assert os.readlink(root / "usr/sbin/postmap") == "dakmap"
        assert (root / "usr/share/man/man1/postmap.1.gz").exists()
        assert (root / "lib/systemd/system/dakiya.service").exists()
        address, tool = dakiya.new_address(), root / "usr/sbin/dakiya"
        config = place / "tree" / "etc"
        run(tool, "setup", "--directory", place / "tree", "--listen", address, "--no-probe",
            "--user", "alice", "--password-stdin", "example.org",
            stdin=test_install.PASSWORD + "\n")
        run(tool, "-c", config, "start")
        try:
            test_install.send_and_read(address, 2525, 2995)
        finally:
            run(tool, "-c", config, "stop")
    finally:
        dakiya.remove_directory(place)
