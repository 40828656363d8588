"""dakconf: the same output as postconf, edits that keep comments, a manual page that is current."""
import json
import os
import re
import subprocess

import pytest

from dakiya import BUILD, TOP, new_directory, remove_directory, run

MAIN_CF = """# a comment
myhostname = mail.example.org
# about relays
relayhost =
  [relay.example.org]
own = $myhostname
smtpd_banner = $own ESMTP
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
        f"config_directory = {config}\nmyhostname = mail.example.org\nown = $myhostname\n"
        "relayhost = [relay.example.org]\nsmtpd_banner = $own ESMTP\n")


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
    assert len(names) > 100 and "own" in names
    assert "own" not in [line.split(" =")[0] for line in dakconf(config, "-d").stdout.splitlines()]


def test_services_are_shown_in_columns(config):
    assert dakconf(config, "-Mf").stdout == (
        "smtp       inet  n       -       n       -       -       smtpd -v\n"
        "    -o syslog_name=mine\n"
        "    -o {smtpd_banner=two words}\n"
        "qmgr       unix  n       -       n       300     1       qmgr\n"
        "mail       unix  -       n       n       -       -       pipe "
        "flags=R user=mail\n    argv=/bin/cat ${recipient}\n")


def test_an_edit_replaces_one_entry_and_keeps_all_else(config):
    dakconf(config, "-e", "relayhost=[other.example.org]", "myorigin = $mydomain")
    assert (config / "main.cf").read_text() == (
        "# a comment\nmyhostname = mail.example.org\n# about relays\n"
        "relayhost = [other.example.org]\nown = $myhostname\nsmtpd_banner = $own ESMTP\n"
        "myorigin = $mydomain\n")
    assert os.stat(config / "main.cf").st_mode & 0o777 == 0o640


def test_a_malformed_edit_changes_nothing(config):
    assert dakconf(config, "-e", "relayhost=x", "no equals", check=False).returncode == 64
    assert (config / "main.cf").read_text() == MAIN_CF


def test_comments_between_stay_where_they_are(config):
    (config / "master.cf").write_text("smtp inet n - n - - smtpd\n# within\n  -v\n\n# behind\n"
                                      "qmgr unix n - n 300 1 qmgr\n")
    dakconf(config, "-Pe", "smtp/inet/x=two words", "smtp/inet/y={ braced }")
    assert (config / "master.cf").read_text() == (
        "smtp       inet  n       -       n       -       -       smtpd -v\n"
        "    -o {x=two words}\n    -o y=braced\n# within\n\n# behind\nqmgr unix n - n 300 1 qmgr\n")
    dakconf(config, "-MX", "smtp/inet")
    assert (config / "master.cf").read_text() == "# within\n\n# behind\nqmgr unix n - n 300 1 qmgr\n"


def test_an_edit_follows_links_and_keeps_owner_and_mode(config):
    real = config / "real" / "main.cf"
    real.parent.mkdir()
    (config / "main.cf").rename(real)
    (config / "main.cf").symlink_to("real/main.cf")
    if os.geteuid() == 0:
        os.chown(real, 1234, 2345)
    os.chmod(real, 0o604)
    dakconf(config, "relayhost=")
    assert (config / "main.cf").is_symlink() and "relayhost = \nown" in real.read_text()
    status = real.stat()
    assert status.st_mode & 0o7777 == 0o604
    if os.geteuid() == 0:
        assert (status.st_uid, status.st_gid) == (1234, 2345)
    assert os.listdir(real.parent) == ["main.cf"], "nothing is left beside it"


def test_edits_at_the_same_time_all_count(config):
    processes = [subprocess.Popen([BUILD / "bin/dakconf", "-c", config, "-e", f"own{i} = {i}"])
                 for i in range(20)]
    assert [process.wait(60) for process in processes] == [0] * 20
    lines = (config / "main.cf").read_text().splitlines()
    assert all(lines.count(f"own{i} = {i}") == 1 for i in range(20))


def test_json_for_programs(config):
    def lines(*arguments):
        return [json.loads(line) for line in dakconf(config, *arguments).stdout.splitlines()]

    assert lines("-j", "relayhost") == [{"name": "relayhost", "value": "[relay.example.org]"}]
    assert len(lines("-j")) > 300
    assert lines("-Mj", "qmgr") == [
        {"service": "qmgr", "type": "unix", "private": "n", "unprivileged": "-", "chroot": "n",
         "wakeup": "300", "process_limit": "1", "command": "qmgr"}]
    assert lines("-Fj", "qmgr/unix/wakeup") == [
        {"service": "qmgr", "type": "unix", "field": "wakeup", "value": "300"}]
    assert lines("-Pj", "smtp/inet/smtpd_banner") == [
        {"service": "smtp", "type": "inet", "parameter": "smtpd_banner", "value": "two words"}]
    assert {"name": "hash"} in lines("-mj")


def test_warnings_can_be_silenced_and_exit_codes_tell(config):
    assert dakconf(config, "-q", "nonesuch", check=False).stderr == ""
    assert dakconf(config, "-M", "nonesuch", check=False).returncode == 65
    assert dakconf(config, "-dn", check=False).returncode == 64
    assert dakconf("/nonexistent", "relayhost", check=False).returncode == 66
    postconf = run(BUILD / "bin/postconf", "-c", config, "nonesuch", check=False)
    assert (postconf.returncode, postconf.stdout) == (0, "")
    assert postconf.stderr.startswith("postconf: warning: nonesuch: unknown parameter\n")
    assert run(BUILD / "bin/postconf", "-c", config, "-dn", check=False).returncode == 1


def test_names_of_postfix_that_are_not_used_here_have_their_default(config):
    assert dakconf(config, "-h", "smtpd_proxy_timeout", "qmqpd_timeout").stdout == "100s\n300s\n"


def test_the_texts_of_notices(config):
    plain, filled = (dakconf(config, option).stdout for option in ("-t", "-b"))
    assert "failure_template = <<EOF\n" in plain and "at host $myhostname." in plain
    assert filled == plain.replace("$myhostname", "mail.example.org")
    # postconf's form is the text alone.
    text = run(BUILD / "bin/postconf", "-c", config, "-b").stdout
    assert re.findall(r"^(\w+) = <<EOF$", text, re.M) == [
        "expanded_failure_text", "expanded_delay_text", "expanded_success_text",
        "expanded_verify_text"]
    assert text.startswith("expanded_failure_text = <<EOF\nThis is the mail system at host "
                           "mail.example.org.\n") and "Subject:" not in text
    broken = config / "bounce.cf"
    broken.write_text("failure_template = <<EOF\nat $nosuchname\nEOF\n")
    told = run(BUILD / "bin/postconf", "-c", config, "-b", broken, check=False)
    assert told.returncode == 1 and "$nosuchname" in told.stderr and told.stdout == ""


def test_what_scripts_ask_of_the_queue_has_postfix_defaults(config):
    """FACTS 2.2; nothing of it may look as if it were empty."""
    for name, value in {
            "queue_run_delay": "300s", "delay_logging_resolution_limit": "2", "ipc_timeout": "3600s",
            "process_id_directory": "pid", "smtp_always_send_ehlo": "yes", "smtp_host_lookup": "dns",
            "qmgr_message_recipient_minimum": "10", "qmgr_fudge_factor": "100",
            "qmgr_clog_warn_time": "300s", "default_delivery_slot_cost": "5",
            "default_delivery_slot_discount": "50", "default_delivery_slot_loan": "3",
            "default_minimum_delivery_slots": "3", "default_extra_recipient_limit": "1000",
            "hash_queue_names": "deferred, defer", "hash_queue_depth": "1",
            "helpful_warnings": "yes"}.items():
        assert dakconf(config, "-dh", name).stdout == value + "\n", name


def test_the_manual_page_is_current(config):
    page = run(BUILD / "bin/dakconf", "--mdoc").stdout
    assert page == (TOP / "docs/man/main.cf.5").read_text(), "run `make manual`"


def test_the_shipped_configuration_lacks_only_accounts_daemons_and_a_certificate():
    result = run(BUILD / "bin/dakiya", "-c", TOP / "conf", "check", check=False)
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    to_do = ("there is no user", "error: daemon_directory /", "needs a certificate for TLS")
    assert all(any(words in line for words in to_do) for line in errors), errors
