"""dakconf: the same output as postconf, edits that keep comments, a manual page that is current."""
import os

import pytest

from dakiya import BUILD, TOP, new_directory, remove_directory, run

MAIN_CF = """# a comment
myhostname = mail.example.org
# about relays
relayhost =
  [relay.example.org]
own = $myhostname
"""
MASTER_CF = """smtp inet n - n - - smtpd -v
  -o syslog_name=mine -o { smtpd_banner = two words }
qmgr unix n - n 300 1 qmgr
mail unix - n n - - pipe
  flags=R user=mail argv=/bin/cat ${recipient}
"""


@pytest.fixture
def config():
    directory = new_directory("conf")
    (directory / "main.cf").write_text(MAIN_CF)
    (directory / "master.cf").write_text(MASTER_CF)
    os.chmod(directory / "main.cf", 0o640)
    yield directory
    remove_directory(directory)


def dakconf(config, *arguments, check=True):
    return run(BUILD / "bin/dakconf", "-c", config, *arguments, check=check)


def test_names_are_printed_with_their_unexpanded_values(config):
    assert dakconf(config, "relayhost", "mydestination", "virtual_maps_x", check=False).stdout == (
        "relayhost = [relay.example.org]\n"
        "mydestination = $myhostname, localhost.$mydomain, localhost\n")


def test_an_unknown_name_is_a_warning_and_an_exit_status(config):
    result = dakconf(config, "nonesuch", check=False)
    assert result.returncode == 65
    assert result.stderr == "dakconf: warning: nonesuch: unknown parameter\n"


def test_only_what_is_set_sorted_by_name(config):
    assert dakconf(config, "-n").stdout == (
        "myhostname = mail.example.org\nown = $myhostname\nrelayhost = [relay.example.org]\n")


def test_values_only_and_expanded(config):
    assert dakconf(config, "-h", "own").stdout == "$myhostname\n"
    assert dakconf(config, "-xh", "own", "mydomain").stdout == "mail.example.org\nexample.org\n"
    assert dakconf(config, "-x", "mydestination").stdout == (
        "mydestination = mail.example.org, localhost.example.org, localhost\n")


def test_defaults_need_no_main_cf(config):
    assert dakconf("/nonexistent", "-d", "relayhost", "hopcount_limit").stdout == (
        "relayhost =\nhopcount_limit = 50\n")


def test_all_parameters_come_sorted_and_once(config):
    names = [line.split(" =")[0] for line in dakconf(config).stdout.splitlines()]
    assert names == sorted(set(names))
    assert len(names) > 100 and "own" not in names


def test_services_are_shown_in_columns(config):
    assert dakconf(config, "-M").stdout == (
        "smtp       inet  n       -       n       -       -       smtpd -v\n"
        "    -o syslog_name=mine\n"
        "    -o { smtpd_banner = two words }\n"
        "qmgr       unix  n       -       n       300     1       qmgr\n"
        "mail       unix  -       n       n       -       -       pipe "
        "flags=R user=mail argv=/bin/cat ${recipient}\n")


def test_an_edit_replaces_one_entry_and_keeps_all_else(config):
    dakconf(config, "-e", "relayhost=[other.example.org]", "myorigin = $mydomain")
    assert (config / "main.cf").read_text() == (
        "# a comment\nmyhostname = mail.example.org\n# about relays\n"
        "relayhost = [other.example.org]\nown = $myhostname\nmyorigin = $mydomain\n")
    assert os.stat(config / "main.cf").st_mode & 0o777 == 0o640


def test_a_malformed_edit_changes_nothing(config):
    assert dakconf(config, "-e", "relayhost=x", "no equals", check=False).returncode == 64
    assert (config / "main.cf").read_text() == MAIN_CF


def test_the_manual_page_is_current(config):
    page = run(BUILD / "bin/dakconf", "--mdoc").stdout
    assert page == (TOP / "docs/man/main.cf.5").read_text(), "run `make manual`"


def test_the_shipped_configuration_lacks_only_accounts_daemons_and_a_certificate():
    result = run(BUILD / "bin/dakiya", "-c", TOP / "conf", "check", check=False)
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    to_do = ("there is no user", "error: daemon_directory /", "needs a certificate for TLS")
    assert all(any(words in line for words in to_do) for line in errors), errors
