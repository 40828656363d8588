"""daklog, also under the name postlog: lines of scripts in the mail system's log."""
import os
import re
import subprocess

import dakiya
import pytest

DATE = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ "


@pytest.fixture
def config():
    directory = dakiya.new_directory("log")
    (directory / "main.cf").write_text(
        f"maillog_file = {directory}/mail.log\nsyslog_name = postfix\n")
    link = directory / "postlog"
    link.symlink_to(dakiya.BUILD / "bin" / "daklog")
    yield directory
    dakiya.remove_directory(directory)


def postlog(config, *words, stdin="", code=0, **options):
    done = subprocess.run([str(config / "postlog"), *words], input=stdin, text=True,
                          capture_output=True, check=False, timeout=60,
                          env={"MAIL_CONFIG": str(config), "PATH": "/usr/bin:/bin"}, **options)
    assert done.returncode == code, done
    return done


def lines(config):
    return (config / "mail.log").read_text().splitlines()


def test_words_are_one_line_with_the_daemons_shape(config):
    postlog(config, "-i", "starting", "the  thing")
    assert re.fullmatch(DATE + r"postfix/postlog\[\d+\]: starting the  thing", lines(config)[0])


@pytest.mark.parametrize("priority, label", [
    ("info", ""), ("warn", "warning: "), ("error", "error: "), ("fatal", "fatal: "),
    ("panic", "panic: ")])
def test_a_priority_is_a_word_in_the_text(config, priority, label):
    postlog(config, "-p", priority, "-t", "postfix/script", "text")
    assert re.fullmatch(DATE + r"postfix/script\[\d+\]: " + label + "text", lines(config)[0])


def test_each_line_of_input_is_logged_and_none_is_forged(config):
    postlog(config, "-p", "warn", stdin="one\ntwo \x1b[31m\x00\rNov 28 x\nthree")
    texts = [line.split("]: ", 1)[1] for line in lines(config)]
    assert texts == ["warning: one", "warning: two ?[31m", "warning: three"]


def test_the_program_under_its_own_name(config):
    done = subprocess.run([str(dakiya.BUILD / "bin" / "daklog"), "-c", str(config), "x"],
                          check=False, timeout=60)
    assert done.returncode == 0
    assert re.fullmatch(DATE + r"postfix/daklog\[\d+\]: x", lines(config)[0])


def test_wrong_usage(config):
    assert "the priorities are" in postlog(config, "-p", "loud", "x", code=64).stderr
    assert "usage: postlog" in postlog(config, "-z", code=64).stderr
    assert "usage: postlog" in postlog(config, "--help").stdout


@pytest.mark.skipif(os.geteuid() != 0 or os.path.exists("/dev/log"),
                    reason="needs another user, and no syslog on this machine")
def test_who_may_write_nowhere_is_told(config):
    (config / "mail.log").touch(mode=0o600)
    assert "can be written to" in postlog(config, "x", code=69, user=65534).stderr
