"""main.cf and master.cf as admins of Postfix have them: what `dakiya check` says, line for line.

configs/NAME/expected is the whole of what is said; @ stands for the directory with the files.
"""
import os

import pytest

from dakiya import BUILD, OWNERS, TOP, new_directory, remove_directory, run

CONFIGS = TOP / "tests/integration/configs"


@pytest.fixture(scope="module")
def place():
    directory = new_directory("configs")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "90", "-subj", "/CN=mail.example.org", "-addext",
        "subjectAltName=DNS:mail.example.org", "-keyout", directory / "host.key", "-out",
        directory / "host.pem")
    authorities = directory / "none/ssl/certs"
    authorities.mkdir(parents=True)
    (authorities / "ca-certificates.crt").write_text((directory / "host.pem").read_text())
    yield directory
    remove_directory(directory)


def check(place, name):
    """What check says of a configuration, with what a package would have set below its lines."""
    source, target = CONFIGS / name, place / name
    target.mkdir()
    text = (source / "main.cf").read_text().replace("@/", f"{place}/")
    text = text.replace("/etc/", f"{place}/none/").replace("/var/", f"{place}/none/")
    values = {"daemon_directory": BUILD / "libexec", "queue_directory": place / "queue",
              "data_directory": place}
    if os.geteuid() == 0:
        values |= {f"{role}_owner": owner for role, owner in OWNERS.items()}
    text += "".join(f"{key} = {value}\n" for key, value in values.items())
    (target / "main.cf").write_text(text)
    # Users and programs of packages, which may be installed here or not.
    text = (source / "master.cf").read_text().replace("user=vmail:vmail", "user=nobody:nogroup")
    (target / "master.cf").write_text(text.replace("user=vmail", "user=nobody")
                                      .replace("argv=/usr/", "argv=/nowhere/"))
    result = run(BUILD / "bin/dakiya", "-c", target, "check", check=False)
    return result.returncode, result.stderr.replace(f"{place}/{name}/", "").replace(str(place), "@")


def test_there_are_twelve_of_them():
    assert len(list(CONFIGS.iterdir())) == 12


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.iterdir()))
def test_check_says_what_an_admin_has_to_know_and_nothing_else(place, name):
    code, said = check(place, name)
    if os.environ.get("UPDATE_EXPECTED"):
        (CONFIGS / name / "expected").write_text(said)
    assert said == (CONFIGS / name / "expected").read_text()
    assert code == 0
