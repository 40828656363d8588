"""Delivery to commands: real hosts, real scripts, as mailing lists, filters and LDAs have them."""
import os
import re
import signal
import threading
import time

import pytest

import dakiya

USER = 64311 if os.geteuid() == 0 else os.getuid()
GROUP = 64311 if os.geteuid() == 0 else os.getgid()


class Place:
    """A directory that the commands' user may write to, with scripts."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "out").mkdir()
        if os.geteuid() == 0:
            os.chown(directory / "out", USER, GROUP)

    def script(self, name, text):
        path = self.directory / name
        path.write_text(text.replace("@OUT@", str(self.directory / "out")))
        path.chmod(0o755)
        return path

    def out(self, name):
        path = self.directory / "out" / name
        return path.read_text() if path.exists() else ""

    def wait_out(self, name, timeout=20):
        dakiya.wait_for(f"the command's output {name}", lambda: self.out(name), timeout)
        return self.out(name)


@pytest.fixture
def place():
    directory = dakiya.new_directory("pipe")
    yield Place(directory)
    dakiya.remove_directory(directory)


@pytest.fixture
def make_list_host(make_host):
    """A host whose lists.test goes to the service list with these arguments."""
    def make(arguments, extra="", **settings):
        maps = settings.pop("transport_maps", "inline:{ lists.test=list: }")
        return make_host(
            settings={"relay_domains": "lists.test other.test", "transport_maps": maps,
                      "recipient_delimiter": "+", "minimal_backoff_time": "1s",
                      "maximal_backoff_time": "2s", "queue_run_delay": "1s", **settings},
            extra_services=f"list unix - n n - 10 pipe\n  {arguments}\n{extra}")
    return make


def user():
    return f"user={USER}:{GROUP}"


SHOW = """#!/bin/sh
# as mailman's wrapper: arguments, then the message
{
    printf '<%s>' "$@"; echo
    id -u; id -g; id -G; umask; pwd
    env | sort
    cat
    echo END
} >@OUT@/tmp.$$
mv @OUT@/tmp.$$ @OUT@/shown
"""


def test_command_runs_as_the_user_with_arguments_and_message(place, make_list_host):
    script = place.script("show", SHOW)
    host = make_list_host(
        f"flags=FRhu {user()} directory=/usr argv={script} ${{nexthop}} ${{user}} ${{extension}} "
        f"-f ${{sender}} -- ${{recipient}} {{two words}} ${{size}} ${{client_address}} $$x",
        export_environment="TEST=yes").start()
    host.send("Sender@client.test", "Staff+News@Lists.test", "Subject: x\r\n\r\n.dot\r\nFrom x\r\n")
    shown = place.wait_out("shown").splitlines()
    size = re.search(r"size=(\d+), nrcpt", host.log()).group(1)
    assert shown[0] == ("<lists.test><staff><news><-f><Sender@client.test><-->"
                        f"<staff+news@lists.test><two words><{size}><127.0.0.1><$x>")
    assert shown[1:6] == [str(USER), str(GROUP), str(GROUP) if os.geteuid() == 0 else shown[3],
                          "0077", "/usr"]
    environment = [line for line in shown[6:] if re.match(r"(PATH|TEST|HOME|LD_)", line)]
    assert environment == ["PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TEST=yes"]
    text = "\n".join(shown)
    assert re.search(r"\nFrom Sender@client\.test \w{3} \w{3} [ \d]\d \S+ \d{4}\n"
                     r"Return-Path: <Sender@client\.test>\nReceived: ", text)
    assert text.endswith("Subject: x\n\n.dot\nFrom x\nEND")
    host.wait_log(r"postfix/pipe\[\d+\]: \w+: to=<Staff\+News@lists\.test>, "
                  r"relay=list, delay=[\d.]+, delays=\S+, dsn=2\.0\.0, "
                  r"status=sent \(delivered via list service\)")


def test_exit_codes_and_output_become_outcomes(place, make_list_host):
    script = place.script("judge", """#!/bin/sh
case $1 in
ok) echo all fine; exit 0 ;;
nouser) echo "no such box"; exit 67 ;;
later) exit 75 ;;
policy) echo "5.7.1 not wanted here"; exit 1 ;;
full) echo "4.2.2 mailbox full"; exit 1 ;;
odd) exit 3 ;;
crash) kill -SEGV $$ ;;
quiet) exec <&- >&- 2>&-; exit 0 ;;
esac
""")
    host = make_list_host(f"{user()} argv={script} ${{user}}",
                          list_destination_recipient_limit="1").start()
    expected = {
        "ok": r"dsn=2\.0\.0, status=sent \(delivered via list service \(all fine\)\)",
        "nouser": r"dsn=5\.1\.1, status=bounced \(user unknown\. Command output: no such box\)",
        "later": r"dsn=4\.3\.0, status=deferred \(temporary failure\)",
        "policy": r"dsn=5\.7\.1, status=bounced \(not wanted here\)",
        "full": r"dsn=4\.2\.2, status=deferred \(mailbox full\)",
        "odd": r'dsn=5\.3\.0, status=bounced \(Command died with status 3: "\S*/judge"\)',
        "crash": r'dsn=4\.3\.0, status=deferred \(Command died with signal 11: "\S*/judge"\)',
        "quiet": r"dsn=2\.0\.0, status=sent \(delivered via list service\)",
    }
    # Larger than any pipe, so that those that read nothing are seen.
    body = ("x" * 70 + "\r\n") * 3000
    host.send("alice@example.test", [f"{name}@lists.test" for name in expected], f"\r\n{body}")
    for name, shape in expected.items():
        host.wait_log(rf"to=<{name}@lists\.test>, .*{shape}")
    notices = b"".join(host.wait_messages("alice"))
    assert b"user unknown. Command output: no such box" in notices
    assert b"Status: 5.7.1" in notices


def test_thousand_recipients_each_get_their_argument(place, make_list_host):
    script = place.script("many", """#!/bin/sh
cat >/dev/null
for name; do echo "$name"; done >@OUT@/args.$$
""")
    host = make_list_host(f"{user()} argv={script} ${{recipient}}",
                          list_destination_recipient_limit="1000", smtpd_recipient_limit="2000",
                          list_destination_concurrency_limit="2").start()
    # Long enough for two lists of arguments.
    names = [f"member-{number:04d}-{'x' * 180}@lists.test" for number in range(1000)]
    host.send("s@client.test", names, "Subject: x\r\n\r\nhi\r\n")
    host.wait_queue_empty(60)
    files = sorted((place.directory / "out").iterdir())
    told = [line for path in files for line in path.read_text().splitlines()]
    assert sorted(told) == names
    assert 2 <= len(files) <= 8
    assert host.log().count("status=sent (delivered via list service)") == 1000


def test_slow_command_is_killed_and_tried_again(place, make_list_host):
    script = place.script("slow", """#!/bin/sh
if [ -e @OUT@/second ]; then cat >@OUT@/message; exit 0; fi
echo started >@OUT@/second
sleep 1000 &
echo $! $$ >@OUT@/pids
echo still here
wait
""")
    host = make_list_host(f"{user()} argv={script}", list_time_limit="2s").start()
    host.send("s@client.test", "a@lists.test", "Subject: slow\r\n\r\nhi\r\n")
    host.wait_log(r'dsn=4\.3\.0, status=deferred \(Command time limit exceeded: "\S+/slow"\. '
                  r"Command output: still here\)")
    for pid in place.out("pids").split():
        dakiya.wait_for("its processes to be gone", lambda pid=pid: not os.path.exists(
            f"/proc/{pid}") or ") Z " in open(f"/proc/{pid}/stat", encoding="utf-8").read())
    assert "Subject: slow" in place.wait_out("message")
    host.wait_queue_empty()


def test_missing_command_and_directory_wait(place, make_list_host):
    host = make_list_host(
        f"{user()} argv={place.directory}/nothing",
        extra=f"other unix - n n - 2 pipe {user()} directory=/no/where argv=/bin/cat\n",
        transport_maps="inline:{ lists.test=list:, other.test=other: }")
    said = host.tool("dakiya", "check", check=False).stderr
    assert re.search(r"warning: pipe: argv=\S+/nothing: No such file or directory: mail for list will "
                     "wait", said)
    host.start()
    host.send("s@client.test", ["a@lists.test", "b@other.test"], "Subject: x\r\n\r\nhi\r\n")
    host.wait_log(r"to=<a@lists\.test>.*dsn=4\.3\.0, status=deferred \(temporary failure\. Command "
                  r"output: execute \S+/nothing: No such file or directory\)")
    host.wait_log(r"to=<b@other\.test>.*dsn=4\.3\.0, status=deferred \(temporary failure\. Command "
                  r"output: change to directory /no/where: No such file or directory\)")
    place.script("nothing", "#!/bin/sh\ncat >@OUT@/came\n")
    assert "Subject: x" in place.wait_out("came")


def test_content_filter_gives_mail_back_by_smtp(place, make_list_host):
    """A spam filter script: it marks the message and injects it again at another port."""
    script = place.script("filter", """#!/usr/bin/python3
import smtplib, sys
message = sys.stdin.buffer.read()
if b"VIRUS" in message:
    print("5.7.1 Virus found")
    sys.exit(69)
with smtplib.SMTP(sys.argv[1], int(sys.argv[2]), local_hostname="filter.test") as client:
    client.sendmail(sys.argv[3], sys.argv[4:], b"X-Checked: yes\\r\\n" + message)
""")
    port = 2600
    host = make_list_host("", transport_maps="inline:{ lists.test=filter: }")
    host.extra_services = (
        f"filter unix - n n - 5 pipe flags=q {user()} null_sender=\n"
        f"  argv={script} {host.address} {port} ${{sender}} ${{recipient}}\n"
        f"{host.address}:{port} inet n - n - - smtpd -o syslog_name=postfix/back\n"
        "  -o smtpd_relay_restrictions=reject_unauth_destination\n")
    host.write_config()
    host.start()
    host.send("bob@example.test", "x@lists.test", "Subject: VIRUS\r\n\r\nhi\r\n")
    host.wait_log(r"to=<x@lists\.test>, relay=filter, .*dsn=5\.7\.1, status=bounced \(Virus found\)")
    host.wait_messages("bob")
    script.write_text(script.read_text().replace("sys.argv[4:]", "['alice@example.test']"))
    host.send("", "y@lists.test", "Subject: fine\r\n\r\nhi\r\n")
    assert b"X-Checked: yes\n" in host.wait_messages("alice")[0]
    assert b"Return-Path: <>\n" in host.messages("alice")[0]
    host.wait_log(r"to=<y@lists\.test>, relay=filter, .*status=sent \(delivered via filter service\)")


def test_vacation_like_script_answers_by_sendmail_interface(place, make_list_host):
    """A script that answers each sender once, as vacation(1) does, by SMTP to its own host."""
    script = place.script("vacation", """#!/usr/bin/python3
import email, os, smtplib, sys
sender, recipient, address, port = sys.argv[1:5]
message = email.message_from_binary_file(sys.stdin.buffer)
if sender in ("MAILER-DAEMON", "") or message["Auto-Submitted"]:
    sys.exit(0)
seen = "@OUT@/seen"
if os.path.exists(seen) and sender in open(seen).read().split():
    sys.exit(0)
with smtplib.SMTP(address, int(port), local_hostname="vacation.test") as client:
    client.sendmail("", [sender], f"From: {recipient}\\r\\nTo: {sender}\\r\\nAuto-Submitted: auto-replied"
                    f"\\r\\nSubject: Re: {message['Subject']}\\r\\n\\r\\nAway.\\r\\n")
with open(seen, "a") as file:
    file.write(sender + "\\n")
""")
    host = make_list_host("")
    host.extra_services = (f"list unix - n n - 1 pipe {user()} argv={script} ${{sender}} "
                           f"${{recipient}} {host.address} {host.ports['smtp']}\n")
    host.write_config()
    host.start()
    for subject in ("one", "two"):
        host.send("alice@example.test", "bob@lists.test", f"Subject: {subject}\r\n\r\nhi\r\n")
        host.wait_queue_empty()
    host.send("", "bob@lists.test", "Subject: bounce\r\n\r\nhi\r\n")
    host.wait_queue_empty()
    assert [re.search(rb"^Subject: (.*)$", text, re.M).group(1)
            for text in host.wait_messages("alice")] == [b"Re: one"]


def test_delivery_agent_with_one_recipient_at_a_time(place, make_list_host):
    """As dovecot-lda is called; D and O need one recipient a run, and D breaks loops."""
    script = place.script("lda", """#!/bin/sh
while getopts f:d: option; do case $option in f) from=$OPTARG ;; d) to=$OPTARG ;; esac; done
{ echo "from $from"; cat; } >"@OUT@/$to"
""")
    host = make_list_host(f"flags=DORhuX {user()} argv={script} -f ${{sender}} -d ${{recipient}}",
                          list_destination_recipient_limit="50").start()
    host.send("s@client.test", ["A@lists.test", "b@lists.test"], "Subject: x\r\n\r\nhi\r\n")
    host.wait_queue_empty()
    assert place.out("a@lists.test").startswith(
        "from s@client.test\nReturn-Path: <s@client.test>\nX-Original-To: A@lists.test\n"
        "Delivered-To: A@lists.test\nReceived: ")
    assert "Delivered-To: b@lists.test\nReceived: " in place.out("b@lists.test")
    assert "A@lists.test" not in place.out("b@lists.test").split("Received:")[0]
    host.send("s@client.test", "a@lists.test", "Delivered-To: a@LISTS.test\r\n\r\nhi\r\n")
    host.wait_log(r"dsn=5\.4\.6, status=bounced \(mail forwarding loop for a@lists\.test\)")


def test_size_limit_and_addresses_that_look_like_options(place, make_list_host):
    script = place.script("show", SHOW)
    host = make_list_host(f"{user()} size=2000 argv={script} ${{user}} -f ${{sender}}").start()
    host.send("s@client.test", "a@lists.test", "Subject: x\r\n\r\n" + ("x" * 70 + "\r\n") * 40)
    host.wait_log(r"dsn=5\.2\.3, status=bounced \(message size \d+ exceeds size limit 2000 for "
                  r"transport list\)")
    host.send("s@client.test", "-oQ/tmp@lists.test", "Subject: x\r\n\r\nhi\r\n")
    host.wait_log(r"dsn=5\.1\.3, status=bounced \(bad address syntax")
    host.send("-be@client.test", "a@lists.test", "Subject: x\r\n\r\nhi\r\n")
    host.wait_log(r"dsn=5\.1\.7, status=bounced \(bad address syntax")
    host.wait_queue_empty()
    assert place.out("shown") == ""
    host.send("s@client.test", "`touch$IFS@lists.test", "Subject: x\r\n\r\nhi\r\n")
    assert place.wait_out("shown").startswith("<`touch$IFS><-f><s@client.test>\n")


def test_bad_arguments_are_refused_by_check_and_at_reload(place, make_list_host):
    host = make_list_host(f"{user()} argv=/bin/cat").start()
    good = host.extra_services
    host.extra_services = good.replace("argv=", "flags=Z directry=/x argv=").replace(
        "/bin/cat", "/bin/cat ${recipent}")
    host.write_config()
    result = host.tool("dakiya", "reload", check=False)
    assert result.returncode != 0
    for text in ('flags=: there is no flag "Z"', "did you mean directory=", "did you mean ${recipient}"):
        assert text in result.stderr
    if os.geteuid() == 0:
        for name, why in (("root", "must not be root"), ("64300:64301", "must not be mail_owner"),
                          ("64999:64300", "must not have the group of mail_owner")):
            host.extra_services = good.replace(user(), f"user={name}")
            host.write_config()
            result = host.tool("dakiya", "check", check=False)
            assert result.returncode == 78 and why in result.stderr, result.stderr
        # What a distribution ships for a program that is not there keeps nothing from running.
        host.extra_services = good + "maildrop unix - n n - - pipe user=no-such-user argv=/bin/x\n"
        host.write_config()
        result = host.tool("dakiya", "check")
        assert 'user=no-such-user: there is no user "no-such-user": service maildrop is not run' \
            in result.stderr
        host.settings["default_transport"] = "maildrop"
        host.write_config()
        result = host.tool("dakiya", "check", check=False)
        assert "default_transport: service maildrop" in result.stderr and result.returncode == 78
        del host.settings["default_transport"]
    host.extra_services = good
    host.write_config()
    host.tool("dakiya", "reload")
    host.send("s@client.test", "a@lists.test", "Subject: x\r\n\r\nhi\r\n")
    host.wait_log(r"status=sent \(delivered via list service")


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot and other users need root")
def test_room_and_command_have_no_way_back_to_root(place, make_list_host):
    os.makedirs(place.directory / "root" / "bin")
    (place.directory / "keep.c").write_text(
        '#include <stdio.h>\nint main(void)\n{\nFILE *file = fopen("message", "w");\nint c;\n'
        "while ((c = getchar()) != EOF)\nputc(c, file);\nreturn fclose(file);\n}\n")
    dakiya.run("gcc", "-static", "-o", place.directory / "root/bin/keep", place.directory / "keep.c")
    (place.directory / "root" / "out").mkdir()
    os.chown(place.directory / "root" / "out", USER, GROUP)
    host = make_list_host(f"{user()} chroot={place.directory}/root directory=/out "
                          "argv=/bin/keep").start()
    host.send("s@client.test", "a@lists.test", "Subject: jailed\r\n\r\nhi\r\n")
    host.wait_log(r"relay=list.*status=sent")
    assert "Subject: jailed" in (place.directory / "root/out/message").read_text()
    for name in ("pipe", "command-helper"):
        for pid in host.processes()[name]:
            status = open(f"/proc/{pid}/status", encoding="utf-8").read()
            assert f"\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
            assert f"\nGid:\t{GROUP}\t{GROUP}\t{GROUP}\t{GROUP}\nFDSize" in status
            assert re.search(rf"\nGroups:\t{GROUP} \n", status)
            assert "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" in status
            assert ("NoNewPrivs:\t1" if name == "pipe" else "NoNewPrivs:\t0") in status
            assert os.readlink(f"/proc/{pid}/root") == f"{place.directory}/root"


def test_kills_and_restarts_under_load_lose_nothing(place, make_list_host):
    """kill -9 of the room, of its helper, of the commands and of qmgr: each message arrives."""
    script = place.script("keep", """#!/bin/sh
cat >@OUT@/tmp.$$ && sleep 0.05 && mv @OUT@/tmp.$$ "@OUT@/$1.$$"
""")
    host = make_list_host(f"{user()} argv={script} ${{user}}").start()
    sent, is_over = [], threading.Event()

    def send():
        while not is_over.is_set():
            number = len(sent)
            try:
                host.send("s@client.test", f"n{number}@lists.test",
                          f"Subject: {number}\r\n\r\n" + "x" * 70 + "\r\nend\r\n")
            except (OSError, AssertionError):
                time.sleep(0.05)
                continue
            sent.append(number)
            time.sleep(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for name in ("pipe", "command-helper", "keep", "command-helper", "pipe", "qmgr", "pipe"):
            time.sleep(0.7)
            for pid in host.processes().get(name, []):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
    finally:
        time.sleep(1)
        is_over.set()
        thread.join(30)
    assert len(sent) > 50
    host.wait_queue_empty(60)
    arrived = {}
    for path in (place.directory / "out").iterdir():
        if path.name.startswith("n"):
            text = path.read_text()
            assert text.endswith("end\n"), f"{path.name} is not whole"
            arrived.setdefault(int(path.name[1:].split(".")[0]), []).append(path.name)
    assert set(sent) <= set(arrived)
    # Twice only what was under way at a kill.
    assert sum(len(names) - 1 for names in arrived.values()) <= 7 * 10


def test_stop_waits_for_a_command_and_reload_lets_it_finish(place, make_list_host):
    script = place.script("slow", """#!/bin/sh
echo >@OUT@/started; sleep 3; cat >@OUT@/done.$$
""")
    host = make_list_host(f"{user()} argv={script}").start()
    host.send("s@client.test", "a@lists.test", "Subject: one\r\n\r\nhi\r\n")
    dakiya.wait_for("it to start", (place.directory / "out/started").exists)
    host.tool("dakiya", "reload")
    host.wait_log(r"relay=list.*status=sent \(delivered via list service\)")
    (place.directory / "out/started").unlink()
    host.send("s@client.test", "a@lists.test", "Subject: two\r\n\r\nhi\r\n")
    dakiya.wait_for("it to start", (place.directory / "out/started").exists)
    host.stop()
    done = [path for path in (place.directory / "out").iterdir() if path.name.startswith("done")]
    assert len(done) == 2
    assert host.log().count("status=sent (delivered via list service)") == 2


def test_command_that_outlasts_the_drain_is_ended_and_runs_again(place, make_list_host):
    script = place.script("slow", """#!/bin/sh
if [ -e @OUT@/started ]; then cat >@OUT@/done; exit 0; fi
echo $$ >@OUT@/started; exec sleep 1000
""")
    host = make_list_host(f"{user()} argv={script}", drain_timeout="2s").start()
    host.send("s@client.test", "a@lists.test", "Subject: one\r\n\r\nhi\r\n")
    pid = int(place.wait_out("started"))
    host.stop()
    assert not os.path.exists(f"/proc/{pid}")
    assert re.search(r"status=deferred \(temporary failure\. Command output: the mail system stops\)",
                     host.log())
    assert "killed by signal" not in host.log()
    host.start()
    assert "Subject: one" in place.wait_out("done")


def test_procmail_and_maildrop_sort_mail_with_the_rights_they_are_installed_with(place,
                                                                                make_list_host):
    """procmail is set-uid root, maildrop set-gid mail: neither must fail for want of rights."""
    out = place.directory / "out"
    rules = place.directory / "procmailrc"
    rules.write_text(f"DEFAULT={out}/procmail.mbox\n:0:\n* ^Subject:.*list\n{out}/lists.mbox\n")
    filters = place.directory / "mailfilter"
    filters.write_text(f'if (/^Subject:.*list/)\n{{\n    to "{out}/lists.dir"\n}}\n'
                       f'to "{out}/maildrop.mbox"\n')
    filters.chmod(0o600)
    who = "user=nobody:nogroup"  # both want a user that has a name
    dakiya.run("mkdir", "-p", *(out / "lists.dir" / part for part in ("new", "cur", "tmp")))
    if os.geteuid() == 0:
        dakiya.run("chown", "-R", "nobody:nogroup", out, filters)
    host = make_list_host(
        f"flags=R {who} directory={out} argv=/usr/bin/procmail -t -m {rules}",
        extra=f"other unix - n n - 2 pipe\n  flags=R {who} directory={out}\n"
              f"  argv=/usr/bin/maildrop {filters}\n",
        transport_maps="inline:{ lists.test=list:, other.test=other: }",
        export_environment=f"HOME={out}").start()
    for subject in ("plain", "a list"):
        host.send("s@client.test", ["a@lists.test", "b@other.test"],
                  f"Subject: {subject}\r\n\r\nFrom the body of {subject}\r\n")
    for name in ("list", "other"):
        host.wait_log(rf"(?s)(status=sent \(delivered via {name} service.*){{2}}")
    assert "From the body of plain\n" in (out / "procmail.mbox").read_text()
    assert "From the body of a list\n" in (out / "lists.mbox").read_text()
    assert "From the body of plain\n" in (out / "maildrop.mbox").read_text()
    stored, = (out / "lists.dir" / "new").iterdir()
    assert stored.read_text().startswith("Return-Path: <s@client.test>\nReceived: ")
