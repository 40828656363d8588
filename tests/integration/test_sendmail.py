"""Mail from this host's users: sendmail(1), its programs, the drop directory, and killed daemons."""
import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import threading
import time

import dakiya
import ipc
import pytest

pytestmark = pytest.mark.sanitized

NOBODY = 65534  # a user with a name
NAMELESS = 54321  # and one without
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can be several users")


class MailHost(dakiya.Host):
    def __init__(self, directory, settings=None, **options):
        settings = {"myorigin": "example.test", "virtual_alias_maps":
                    "inline:{ { root@example.test = alice@example.test } }"} | (settings or {})
        options.setdefault("extra_services", "pickup unix n - n 60 1 pickup\n")
        super().__init__(directory, settings=settings, **options)
        self.bin = self.directory / "bin"
        self.bin.mkdir(exist_ok=True)
        for name, program in (("sendmail", "sendmail"), ("mailq", "sendmail"),
                              ("postdrop", "sendmail"), ("postqueue", "dakqueue"),
                              ("postsuper", "dakqueue"), ("postcat", "dakqueue")):
            (self.bin / name).symlink_to(dakiya.BUILD / "bin" / program)

    def environment(self, **more):
        return dict({"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(self.config), "HOME": "/tmp",
                     "LC_ALL": "C.UTF-8"}, **more)

    def call(self, *words, stdin="", user=NOBODY, timeout=120, **environment):
        """Runs a program as a user of this host."""
        who = {"user": user, "group": user, "extra_groups": []} if IS_ROOT else {}
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True,
                              timeout=timeout, check=False, cwd="/tmp",
                              env=self.environment(**environment), **who)
        done.stdout, done.stderr = done.stdout.decode(errors="replace"), done.stderr.decode()
        return done

    def sendmail(self, *words, stdin="Subject: x\n\nbody\n", code=0, **options):
        done = self.call(self.bin / "sendmail", *words, stdin=stdin, **options)
        assert done.returncode == code, (done, self.log()[-3000:])
        return done

    def waiting(self):
        return [path for path in (self.queue / "maildrop").iterdir()]

    def subjects(self, user="alice"):
        return collections.Counter(
            found.group(1).decode() for text in self.messages(user)
            if (found := re.search(rb"^Subject: (.*)$", text, re.M)))

    def wait_subject(self, subject, user="alice", timeout=30):
        """The message with that subject, of which there is one."""
        def found():
            return [text for text in self.messages(user)
                    if re.search(rb"^Subject: " + re.escape(subject.encode()) + rb"$", text, re.M)]
        try:
            dakiya.wait_for(f"mail about {subject}", found, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-5000:]}") from None
        assert len(found()) == 1
        return found()[0].decode()

    def kill_daemon(self, name):
        for pid in self.processes().get(name, []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def mail_host(**options):
    directory = dakiya.new_directory("sendmail")
    host = MailHost(directory, **options)
    try:
        yield host
        host.stop(check=False)
        host.check_log()
    finally:
        host.stop(check=False)
        dakiya.remove_directory(directory)


@pytest.fixture(scope="module")
def up():
    """One running host: the tests know their messages by subject."""
    with mail_host() as host:
        yield host.start()


@pytest.fixture
def down():
    """A host that has run and is stopped."""
    with mail_host() as host:
        host.start()
        host.stop()
        yield host


@pytest.fixture
def fresh():
    """A running host of the test's own."""
    with mail_host() as host:
        yield host.start()


def header(text, name):
    unfolded = re.sub(r"\r?\n[ \t]+", " ", text.replace("\r\n", "\n").split("\n\n")[0])
    return [line.split(":", 1)[1].strip() for line in unfolded.split("\n")
            if line.lower().startswith(name.lower() + ":")]


# ---- the message ----

def test_crons_call(up):
    """As cron makes it, for root and for a user of the host."""
    up.sendmail("-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root", user=0, stdin=(
        "From: root (Cron Daemon)\nTo: root\nSubject: cron\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=UTF-8\nX-Cron-Env: <SHELL=/bin/sh>\n\nj\u00fc\n.\nend\n"))
    text = up.wait_subject("cron")
    assert "j\u00fc\n.\nend\n" in text
    assert header(text, "From") == ["root@example.test (Cron Daemon)"]
    uid = 0 if IS_ROOT else os.getuid()
    received = header(text, "Received")[0]
    assert re.fullmatch(rf"by mail\.example\.test \(Dakiya, from userid {uid}\) id \w+; .*", received)
    queue_id = received.split(" id ")[1].split(";")[0]
    up.wait_log(rf"/pickup\[\d+\]: {queue_id}: uid={uid} from=<\w+>$")
    up.wait_log(rf"{queue_id}: to=<alice@example.test>, orig_to=<root>, .*status=sent")


def test_missing_fields_are_added(up):
    up.sendmail("-F", "Jane, Doe", "-f", "jane@sender.test", "alice@example.test",
                stdin="Subject: missing\n\nx\n")
    text = up.wait_subject("missing")
    assert header(text, "From") == ['"Jane, Doe" <jane@sender.test>']
    assert len(header(text, "Date")) == len(header(text, "Message-Id")) == 1
    assert header(text, "Return-Path") == ["<jane@sender.test>"]


def test_the_name_comes_from_the_environment_and_the_sender_is_the_user(up):
    up.sendmail("alice@example.test", stdin="Subject: name\n\nx\n", NAME="The Nobody")
    text = up.wait_subject("name")
    if IS_ROOT:
        assert header(text, "From") == ["The Nobody <nobody@example.test>"]
        assert header(text, "Return-Path") == ["<nobody@example.test>"]


@pytest.mark.parametrize("sender", ["", "<>"])
def test_the_null_sender(up, sender):
    subject = f"null{len(sender)}"
    up.sendmail("-f", sender, "alice@example.test", stdin=f"Subject: {subject}\n\nx\n")
    text = up.wait_subject(subject)
    assert header(text, "Return-Path") == ["<>"]
    assert header(text, "From") == ["MAILER-DAEMON@mail.example.test"]


def test_recipients_from_the_header_and_the_command_line_add_up(up):
    up.sendmail("-t", "-i", "bob@example.test", stdin=(
        "To: \"Alice, A\" <alice@example.test>\nBcc: bob@example.test,\n bob@example.test\n"
        "Subject: dash-t\n\nx\n"))
    for user in ("alice", "bob"):
        text = up.wait_subject("dash-t", user)
        assert header(text, "Bcc") == []
        assert header(text, "To") == ['"Alice, A" <alice@example.test>']


def test_resent_recipients_are_taken_alone(up):
    up.sendmail("-t", stdin="Resent-To: bob@example.test\nTo: alice@example.test\n"
                            "Subject: resent\n\nx\n")
    up.wait_subject("resent", "bob")
    assert up.subjects("alice")["resent"] == 0


def test_where_the_message_ends(up):
    up.sendmail("alice@example.test", stdin="Subject: dot\n\none\n..\n.\nnot this\n")
    assert up.wait_subject("dot").endswith("\n\none\n..\n")
    up.sendmail("-oi", "alice@example.test", stdin="Subject: dots\n\none\n.\nthis, too")
    assert up.wait_subject("dots").endswith("\n\none\n.\nthis, too\n")


def test_line_ends_are_those_of_mail(up):
    up.sendmail("-i", "alice@example.test", stdin=b"Subject: crlf\r\n\r\none\r\ntwo\nthr\ree\r\n.\r\n")
    text = up.wait_subject("crlf")
    assert "\r" not in text and text.endswith("\n\none\ntwo\nthr ee\n.\n")


def test_mbox_separators_in_front_are_dropped(up):
    up.sendmail("alice@example.test", stdin=">From x y\nFrom x y\nSubject: mbox\n\nFrom here\n")
    text = up.wait_subject("mbox")
    assert text.split("Subject")[0].count("From ") == 0 and text.endswith("\nFrom here\n")


def test_a_message_without_header_and_without_anything(up):
    up.sendmail("bob@example.test", stdin="no header here: at all\n.\n")
    up.sendmail("-f", "empty@sender.test", "bob@example.test", stdin="")
    dakiya.wait_for("both", lambda: [m for m in up.messages("bob") if b"empty@sender.test" in m])
    assert any(b"\n\nno header here: at all\n" in text or b"no header here" in text
               for text in up.messages("bob"))


def test_a_large_message_and_one_that_is_too_large(up):
    body = "x" * 70 + "\n"
    up.sendmail("alice@example.test", stdin="Subject: large\n\n" + body * 50000)
    assert up.wait_subject("large").endswith(body * 50000)
    done = up.sendmail("alice@example.test", stdin="Subject: huge\n\n" + body * 150000, code=69)
    assert re.fullmatch(r"sendmail: fatal: .*message file too big.*\n", done.stderr)
    # Counted with the line ends that it will have.
    lines = "\n" * (10240000 // 2 - 2)
    up.sendmail("alice@example.test", stdin=lines, code=0)
    up.sendmail("alice@example.test", stdin=lines + "\n\n\n", code=69)


def test_dsn_options_reach_the_envelope(up):
    up.sendmail("-N", "success", "-R", "hdrs", "-V", "job 7", "-f", "bob@example.test",
                "alice@example.test", stdin="Subject: notify\n\nx\n")
    up.wait_subject("notify")
    report = up.wait_subject("Successful Mail Delivery Report", "bob")
    assert "Original-Envelope-Id: job 7\n" in report


def test_the_sender_gets_a_bounce(up):
    up.sendmail("-f", "bob@example.test", "nobody-here@example.test",
                stdin="Subject: to nobody\n\nx\n")
    assert "to nobody" in up.wait_subject("Undelivered Mail Returned to Sender", "bob")


def test_closed_standard_streams_are_no_trouble(up):
    done = up.call("/bin/sh", "-c", f"exec {up.bin}/sendmail -f closed@sender.test bob@example.test "
                                    "<&- >&- 2>&-")
    assert done.returncode == 0, done
    dakiya.wait_for("an empty message", lambda: [
        text for text in up.messages("bob") if b"Return-Path: <closed@sender.test>" in text])


def test_a_limit_of_the_callers_is_an_error(up):
    done = up.call("/bin/sh", "-c", f"ulimit -f 8; exec {up.bin}/sendmail -i alice@example.test",
                   stdin="Subject: limited\n\n" + "x\n" * 100000)
    assert done.returncode == 75 and "no room for the message" in done.stderr, done


# ---- exit codes ----

@pytest.mark.parametrize("words, code, says", [
    (["-Z"], 64, "no option -Z"),
    ([], 64, "Recipient addresses must be specified"),
    (["-t"], 64, "No recipient addresses found in message header"),
    (["--", "-f"], 64, "must not begin"),
    (["two words"], 65, "malformed recipient address: two words"),
    (["good@example.test", "bad@"], 65, "malformed recipient address: bad@"),
    (["-f", "two words", "good@example.test"], 65, "malformed sender address"),
    (["-XV+", "alice@example.test"], 64, "VERP"),
    (["-XV@=", "-f", "alice@example.test", "alice@example.test"], 65, "verp_delimiter_filter"),
    (["-bv"], 64, "Recipient addresses must be specified"),
    (["-bv", "-t"], 64, "-bv reads no message"),
    (["-C", "/nonexistent", "alice@example.test"], 78, "/nonexistent/main.cf cannot be read"),
])
def test_what_cannot_be_sent(up, words, code, says):
    done = up.sendmail(*words, code=code)
    assert re.fullmatch(r"sendmail: fatal: .*" + re.escape(says) + r".*\n", done.stderr), done.stderr


@needs_root
def test_a_uid_without_a_name_needs_a_sender(up):
    done = up.sendmail("alice@example.test", user=NAMELESS, code=71)
    assert re.fullmatch(r"sendmail: fatal: uid 54321 has no login name.*\n", done.stderr)
    up.sendmail("-f", "x@sender.test", "alice@example.test", user=NAMELESS,
                stdin="Subject: nameless\n\nx\n")
    assert f"from userid {NAMELESS})" in up.wait_subject("nameless")


def test_help_and_version(up):
    assert "usage: sendmail" in up.sendmail("--help").stdout
    assert up.sendmail("--version").stdout.startswith("sendmail ")
    assert "not needed" in up.call(up.bin / "postdrop", "--help").stdout
    assert up.call(up.bin / "postdrop").returncode == 64


# ---- other programs of the suite ----

def test_mailq_and_flush(up):
    listing = up.sendmail("-bp").stdout
    assert listing == up.call(up.bin / "mailq").stdout
    assert listing == up.call(up.bin / "postqueue", "-p").stdout
    assert "Mail queue is empty" in listing or "-- " in listing
    up.sendmail("-q")
    up.sendmail("-q15m")
    up.sendmail("-qRexample.net")
    up.sendmail("-qInosuchid123")  # it may be delivered by now, as in Postfix


def test_newaliases(tmp_path):
    """Each table of alias_database is built; by root they are root's, as others are theirs."""
    with mail_host() as host:
        tables = []
        for name in ("aliases", "more"):
            (host.config / name).write_text(f"{name}: alice@example.test\n")
            tables.append(f"hash:{host.config}/{name}")
        with open(host.config / "main.cf", "a", encoding="ascii") as config:
            config.write(f"alias_database = {', '.join(tables)}\n")
        (host.bin / "newaliases").symlink_to(dakiya.BUILD / "bin" / "sendmail")
        for words in ([host.bin / "newaliases"], [host.bin / "sendmail", "-bi"]):
            for table in tables:
                pathlib.Path(table[5:] + ".db").unlink(missing_ok=True)
            done = host.call(*words, user=0)
            assert (done.returncode, done.stderr) == (0, ""), done
            for table in tables:
                asked = dakiya.run(dakiya.BUILD / "bin" / "dakmap", "-q", table.rsplit("/")[-1], table)
                assert asked.stdout == "alice@example.test\n"
        (host.config / "more").unlink()
        assert host.call(host.bin / "newaliases", user=0).returncode != 0


def test_smtp_on_standard_input(up):
    done = up.sendmail("-bs", stdin=(
        "EHLO here\r\nMAIL FROM:<jane@sender.test> SIZE=20 BODY=8BITMIME\r\n"
        "RCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test> NOTIFY=NEVER\r\n"
        "DATA\r\nSubject: smtp\r\n\r\n..dot\r\n.\r\n"
        "MAIL FROM:<jane@sender.test>\r\nDATA\r\nRCPT TO:<@>\r\nBDAT 3\r\nNOOP\r\nRSET\r\n"
        "DATA\r\nMAIL FROM:<>\r\nVRFY x\r\nQUIT\r\nNOOP\r\n"))
    codes = [line[:3] for line in done.stdout.splitlines() if line[3] == " "]
    assert codes == ["220", "250", "250", "250", "250", "354", "250",
                     "250", "554", "501", "502", "250", "250", "503", "250", "252", "221"]
    assert re.search(r"^250 2\.0\.0 Ok: queued as \w+\r$", done.stdout, re.M)
    for user in ("alice", "bob"):
        assert up.wait_subject("smtp", user).endswith("\n\n.dot\n")


# ---- programs that we did not write ----

def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@needs("s-nail")
def test_s_nail(up, tmp_path):
    done = up.call("s-nail", "-n", "-S", "v15-compat", "-S", f"mta={up.bin}/sendmail", "-S",
                   "sendwait", "-r", "nail@sender.test", "-s", "s-nail", "alice@example.test",
                   stdin="by s-nail\n.\nall of it\n")
    assert done.returncode == 0, done
    text = up.wait_subject("s-nail")
    assert text.endswith("\n\nby s-nail\n.\nall of it\n")
    assert header(text, "Return-Path") == ["<nail@sender.test>"]


@needs("mutt")
def test_mutt(up):
    done = up.call("mutt", "-n", "-F", "/dev/null", "-e",
                   f"set sendmail=\"{up.bin}/sendmail -oem -oi\" use_envelope_from=yes copy=no "
                   "envelope_from_address=mutt@sender.test from=mutt@sender.test sendmail_wait=0 "
                   "use_8bitmime=yes send_charset=utf-8",
                   "-s", "mutt", "-b", "bob@example.test", "alice@example.test",
                   stdin="by mutt: J\u00fcrgen\n", TERM="dumb")
    assert done.returncode == 0, done
    text = up.wait_subject("mutt")
    assert header(text, "Return-Path") == ["<mutt@sender.test>"] and header(text, "Bcc") == []
    up.wait_subject("mutt", "bob")


@needs("php")
def test_php_mail(up):
    script = ("exit(mail('alice@example.test', 'php', \"by PHP\\r\\n.\\r\\nall\", "
              "['From' => 'web@sender.test', 'Bcc' => 'bob@example.test'], "
              "'-fbounce@sender.test') ? 0 : 1);")
    done = up.call("php", "-n", "-d", f"sendmail_path={up.bin}/sendmail -t -i", "-r", script)
    assert done.returncode == 0, done
    text = up.wait_subject("php")
    assert header(text, "Return-Path") == ["<bounce@sender.test>"]
    assert text.rstrip("\n").endswith("by PHP\n.\nall")
    assert header(up.wait_subject("php", "bob"), "Bcc") == []


@pytest.mark.skipif(not pathlib.Path("/usr/lib/git-core/git-send-email").exists(),
                    reason="git-email is not installed")
def test_git_send_email(up, tmp_path):
    work = dakiya.new_directory("git")
    try:
        if IS_ROOT:
            os.chown(work, NOBODY, NOBODY)

        def git(*words):
            done = up.call("git", "-c", "user.name=Git", "-c", "user.email=git@sender.test", "-C",
                           work, *words, HOME=str(work), GIT_CONFIG_NOSYSTEM="1")
            assert done.returncode == 0, done
            return done
        git("init", "-q", ".")
        for number in (1, 2):
            git("commit", "-q", "--allow-empty", "-m", f"git {number}")
        git("format-patch", "-q", "--always", "--root", "-o", str(work / "out"), "HEAD")
        git("send-email", "--quiet", "--confirm=never", f"--sendmail-cmd={up.bin}/sendmail",
            "--envelope-sender=git@sender.test", "--from=git@sender.test",
            "--to=alice@example.test", "--cc=bob@example.test", "--suppress-cc=all",
            str(work / "out"))
        for number in (1, 2):
            text = up.wait_subject(f"[PATCH {number}/2] git {number}")
            assert header(text, "Return-Path") == ["<git@sender.test>"]
    finally:
        dakiya.remove_directory(work)


@needs("s-nail")
@needs("mutt")
@needs("php")
def test_the_guide_works_as_written(up, tmp_path):
    guide = (dakiya.TOP / "docs" / "local-mail.md").read_text()
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", guide, re.M | re.S))
    for name, program in (("postlog", "daklog"),):
        (up.bin / name).symlink_to(dakiya.BUILD / "bin" / program)
    result = subprocess.run(
        ["bash", "-ec", script], text=True, capture_output=True, check=False, timeout=120,
        env=up.environment(PATH=f"{up.bin}:/usr/bin:/bin", HOME=str(tmp_path), TERM="dumb"))
    assert result.returncode == 0, result
    for subject in ("hello", "Cron <root@host> backup", "from PHP", "from s-nail", "from mutt"):
        up.wait_subject(subject)
    assert "sendmailCmd" in (tmp_path / ".gitconfig").read_text()
    up.wait_log(r"postfix/test\[\d+\]: looking for a lost message")
    master = (dakiya.TOP / "conf" / "master.cf").read_text()
    assert re.search(r"^```\n(pickup .*)\n```", guide, re.M).group(1) in master


# ---- many at once ----

def test_many_users_at_once(up):
    users = [NOBODY, 33, 1, NAMELESS] if IS_ROOT else [os.getuid()]

    def one(number):
        up.sendmail("-f", f"s{number}@sender.test", "alice@example.test",
                    user=users[number % len(users)], stdin=f"Subject: many {number}\n\nx\n")
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        list(pool.map(one, range(200)))
    wanted = {f"many {number}": 1 for number in range(200)}
    dakiya.wait_for("all of them", lambda: len(
        [s for s in up.subjects() if s.startswith("many ")]) == 200, 60)
    found = {s: n for s, n in up.subjects().items() if s.startswith("many ")}
    assert found == wanted


def begin(host, **fields):
    channel = ipc.Channel(host.queue / "public" / "pickup")
    channel.send("submit_begin", **fields)
    return channel


def test_one_user_has_a_limit_and_slow_senders_hold_up_nobody(up):
    """200 programs that say nothing more: the next one is told so, and others go on when it ends."""
    slow = [begin(up, sender="slow@sender.test") for _ in range(200)]
    try:
        for channel in slow:
            name, _ = channel.receive()
            assert name == "submit_started"
        extra = begin(up, sender="slow@sender.test")
        extra.send("submit_recipients", recipients=[{"address": "bob@example.test"}])
        extra.send("submit_end", content_bytes=0)
        name, fields = extra.receive()
        assert name == "submit_done" and fields["status"] == 3  # SUBMIT_BUSY
        extra.close()
        if IS_ROOT:  # somebody else
            started = time.monotonic()
            up.sendmail("-f", "quick@sender.test", "alice@example.test", user=NOBODY,
                        stdin="Subject: not held up\n\nx\n")
            assert time.monotonic() - started < 10
            up.wait_subject("not held up")
    finally:
        for channel in slow:
            channel.close()


@pytest.mark.parametrize("frame", [
    b"\xff" * 64, b"\0" * 8, b"\x10\0\0\0\xb4\0\x01\0" + b"x" * 16, b"\xff\xff\xff\x7f\xb4\0\0\0",
    b"\4\0\0\0\xb4\0\0\0abcd", b"\0\0\0\1\x05\0\0\0",
])
def test_a_malformed_message_ends_its_sender_only(up, frame):
    channel = ipc.Channel(up.queue / "public" / "pickup")
    channel.socket.sendall(frame)
    channel.socket.settimeout(20)
    assert channel.socket.recv(100) == b""
    channel.close()
    up.sendmail("alice@example.test", stdin="Subject: after malformed\n\nx\n")
    dakiya.wait_for("mail", lambda: up.subjects()["after malformed"] > 0)
    assert len(up.processes()["pickup"]) == 1


# ---- authorized_submit_users ----

@needs_root
def test_who_may_send():
    with mail_host(settings={"authorized_submit_users": "!nobody, static:anyone"}) as host:
        host.start()
        done = host.sendmail("alice@example.test", code=77)
        assert re.fullmatch(r"sendmail: fatal: nobody\(65534\): you are not allowed to submit mail\n",
                            done.stderr)
        host.sendmail("alice@example.test", user=33, stdin="Subject: allowed\n\nx\n")
        host.wait_subject("allowed")
        # Whoever asks pickup himself is told the same; the kernel says who he is.
        script = ("import sys; sys.path.insert(0, sys.argv[1]); import ipc\n"
                  "c = ipc.Channel(sys.argv[2])\n"
                  "c.send('submit_begin', sender='a@b.test')\n"
                  "c.send('submit_recipients', recipients=[{'address': 'alice@example.test'}])\n"
                  "c.send('submit_end', content_bytes=0)\n"
                  "print(c.receive()[1]['status'])\n")
        told = host.call("/usr/bin/python3", "-B", "-c", script, pathlib.Path(__file__).parent,
                         host.queue / "public" / "pickup")
        assert told.stdout == "4\n", told  # SUBMIT_NOT_ALLOWED
        host.wait_log(r"pickup\[\d+\]: uid=65534 may not send mail")
        # And whoever leaves it in the drop directory, by himself.
        host.stop()
        copy_of_a_drop(host, host.queue / "maildrop" / "by-hand", NOBODY)
        host.start()
        host.wait_log(r"by-hand of uid=65534: this user may not send mail.*set aside")
        assert host.subjects() == {"allowed": 1}


# ---- the drop directory ----

def drop_bytes(subject="dropped", recipient="alice@example.test"):
    """A submission as sendmail writes it."""
    content = f"Subject: {subject}\n\nx\n".encode()
    channel = ipc.Channel.__new__(ipc.Channel)
    frames = [("submit_begin", {"sender": "drop@sender.test"}),
              ("submit_recipients", {"recipients": [{"address": recipient}]}),
              ("submit_content", {"content": content}),
              ("submit_end", {"content_bytes": len(content)})]
    return b"".join(channel.encode(name, values)[0] for name, values in frames)


def copy_of_a_drop(host, path, uid=None, data=None, **options):
    path.write_bytes(drop_bytes(**options) if data is None else data)
    os.chmod(path, 0o640)
    if IS_ROOT and uid is not None:
        os.chown(path, uid, -1)
    return path


def test_mail_of_a_system_that_is_down_waits(down):
    for number in range(20):
        down.sendmail("-f", f"d{number}@sender.test", "alice@example.test",
                      stdin=f"Subject: waited {number}\n\nx\n")
    files = down.waiting()
    assert len(files) == 20
    directory = (down.queue / "maildrop").stat()
    assert stat.S_IMODE(directory.st_mode) == 0o3733
    for path in files:
        info = path.stat()
        assert stat.S_IMODE(info.st_mode) == 0o640
        if IS_ROOT:
            assert (info.st_uid, info.st_gid) == (NOBODY, directory.st_gid)
    if IS_ROOT:  # nobody else may look, and not even its owner may list
        for user, allowed in ((NOBODY, True), (33, False)):
            done = down.call("cat", files[0], user=user)
            assert (done.returncode == 0) == allowed
            assert down.call("ls", down.queue / "maildrop", user=user).returncode != 0
        assert down.call("rm", "-f", files[0], user=33).returncode != 0
    down.start()
    dakiya.wait_for("all of it", lambda: sum(down.subjects().values()) == 20, 30)
    assert down.subjects() == {f"waited {number}": 1 for number in range(20)}
    dakiya.wait_for("an empty directory", lambda: not down.waiting())
    if IS_ROOT:
        assert f"uid={NOBODY} from=<d0@sender.test>" in down.log()


def test_before_the_first_start_there_is_nowhere_to_leave_mail():
    with mail_host() as host:
        done = host.sendmail("alice@example.test", code=75)
        assert re.fullmatch(r"sendmail: fatal: .*maildrop.*\n", done.stderr)


def test_mail_that_appears_while_it_is_up_is_taken_at_once(up):
    temporary = up.queue / "maildrop" / ".late"
    copy_of_a_drop(up, temporary, NOBODY, subject="late")
    started = time.monotonic()
    temporary.rename(up.queue / "maildrop" / "late")
    up.wait_subject("late")
    assert time.monotonic() - started < 20


def test_a_queue_that_is_away_does_not_keep_mail_out(fresh):
    """qmgr does not answer: what is sent meanwhile waits in the drop directory."""
    (qmgr,) = fresh.processes()["qmgr"]
    fresh.kill_daemon("qmgr")
    fresh.sendmail("alice@example.test", stdin="Subject: meanwhile\n\nx\n")
    fresh.wait_subject("meanwhile", timeout=60)
    assert fresh.processes()["qmgr"] != [qmgr]


def test_a_message_that_is_refused_later_comes_back(down):
    """sendmail said yes while the system was down; a rule says no afterwards."""
    hops = "Received: by somebody\n" * 60
    down.sendmail("-f", "bob@example.test", "alice@example.test", "x@elsewhere.test",
                  stdin=hops + "Subject: round and round\n\nx\n")
    down.start()
    text = down.wait_subject("Undelivered Mail Returned to Sender", "bob")
    assert "<alice@example.test>: Error: too many hops" in text.replace("\n    ", " ")
    assert text.count("Final-Recipient:") == 2
    assert down.subjects("alice") == {}
    (kept,) = (down.queue / "corrupt").iterdir()
    assert b"round and round" in kept.read_bytes()
    assert not [path for path in (down.queue / "pickup").iterdir() if path.name != ".lock"]


def test_what_cannot_be_taken_yet_holds_up_nobody():
    """A table that does not answer (an alias that leads in a circle): kept, tried more rarely."""
    loop = "inline:{ { l1@example.test = l2@example.test }, { l2@example.test = l1@example.test } }"
    with mail_host(settings={"virtual_alias_maps": loop}) as host:
        host.start()
        host.stop()
        for number in range(30):
            copy_of_a_drop(host, host.queue / "maildrop" / f"a{number}", NOBODY,
                           subject=f"loop {number}", recipient="l1@example.test")
        copy_of_a_drop(host, host.queue / "maildrop" / "z", NOBODY, subject="behind")
        host.start()
        host.wait_subject("behind")
        time.sleep(7)  # one more try of the others
        for name, subject in ((".new", "meanwhile"),):
            path = copy_of_a_drop(host, host.queue / "maildrop" / name, NOBODY, subject=subject)
            path.rename(path.with_name("new"))
        host.wait_subject("meanwhile", timeout=10)
        claims = [path for path in (host.queue / "pickup").iterdir() if path.name != ".lock"]
        assert len(claims) == 30 and not host.waiting()
        assert 30 <= host.log().count("Temporary lookup failure") <= 120
        # Told to him who waits for it; then it stays here, too.
        host.sendmail("l1@example.test", stdin="Subject: sent\n\nx\n")
        dakiya.wait_for("it to be claimed", lambda: len(list((host.queue / "pickup").iterdir())) == 32)
        assert sum(host.subjects().values()) == 2


@needs_root
def test_what_is_hostile_is_set_aside(down):
    drop, outside = down.queue / "maildrop", down.directory / "outside"
    outside.mkdir()
    copy_of_a_drop(down, outside / "secret", 0, subject="secret")
    os.chmod(outside / "secret", 0o644)
    whole = drop_bytes("cut")
    (drop / "symlink").symlink_to(outside / "secret")
    os.link(outside / "secret", drop / "hardlink")
    os.mkfifo(drop / "fifo")
    copy_of_a_drop(down, outside / "moved", NOBODY, subject="moved")
    os.chmod(outside / "moved", 0o644)
    (outside / "moved").rename(drop / "moved")  # keeps the group that it had
    copy_of_a_drop(down, drop / "cut", NOBODY, data=whole[:-5])
    copy_of_a_drop(down, drop / "more", NOBODY, data=whole + b"x")
    copy_of_a_drop(down, drop / "garbage", NOBODY, data=os.urandom(5000))
    copy_of_a_drop(down, drop / "empty", NOBODY, data=b"")
    copy_of_a_drop(down, drop / "answer", NOBODY, data=ipc.Channel.__new__(ipc.Channel).encode(
        "submit_done", {"status": 0})[0])
    copy_of_a_drop(down, drop / "log\nNov 28 forged", NOBODY, data=b"")
    (drop / "directory").mkdir()
    unreadable = copy_of_a_drop(down, drop / "unreadable", NOBODY)
    os.chmod(unreadable, 0)
    old = copy_of_a_drop(down, drop / ".unfinished", NOBODY)
    os.utime(old, (time.time() - 90000,) * 2)
    copy_of_a_drop(down, drop / ".writing", NOBODY)
    copy_of_a_drop(down, drop / "good", NOBODY, subject="good")
    down.start()
    down.wait_subject("good")
    dakiya.wait_for("the rest to go", lambda: {path.name for path in down.waiting()} == {".writing"})
    assert down.subjects() == {"good": 1}
    log = down.log()
    for name, why in (("symlink", "it cannot be opened"), ("hardlink", "it has several names"),
                      ("fifo", "it is no file"), ("moved", "it was not made here"),
                      ("cut", "malformed or cut"), ("more", "malformed or cut"),
                      ("garbage", "malformed or cut"), ("empty", "malformed or cut"),
                      ("answer", "malformed or cut"), ("unreadable", "it cannot be opened"),
                      (r"log.Nov 28 forged", "malformed or cut")):
        assert re.search(rf"warning: maildrop: {name} of uid=\d+: {why}", log), name
    assert (outside / "secret").read_bytes() == drop_bytes("secret")
    kept = [path for path in (down.queue / "corrupt").iterdir()]
    assert len(kept) == 9 and all(path.name.startswith("maildrop-") for path in kept)


def test_a_claim_is_asked_for_by_its_id(fresh):
    """Killed after the commit and before the file was removed: it is not sent twice."""
    fresh.sendmail("alice@example.test", stdin="Subject: committed\n\nx\n")
    text = fresh.wait_subject("committed")
    queue_id = re.search(r"\tid (\w+);", text).group(1)
    fresh.wait_log(rf"{queue_id}: removed")
    claims = fresh.queue / "pickup"
    fresh.kill_daemon("pickup")
    owner = (fresh.queue / "active").stat()
    for name, subject in ((queue_id, "committed"), ("4jc000000zzz", "never committed")):
        path = copy_of_a_drop(fresh, claims / name, NOBODY, subject=subject)
        if IS_ROOT:
            os.chown(path, NOBODY, owner.st_gid)
    fresh.wait_subject("never committed")
    fresh.wait_log(rf"{queue_id}: was taken from maildrop before")
    # The same when all was killed: the journal tells.
    fresh.kill()
    path = copy_of_a_drop(fresh, claims / queue_id, NOBODY, subject="committed")
    if IS_ROOT:
        os.chown(path, NOBODY, owner.st_gid)
    fresh.start()
    dakiya.wait_for("the claim to go", lambda: not path.exists())
    time.sleep(0.5)
    assert fresh.subjects() == {"committed": 1, "never committed": 1}


# ---- kill -9 ----

def kill_again_and_again(host, names, until):
    for _ in range(10):
        until.wait(0.35)
        if until.is_set():
            break
        for name in names:
            host.kill_daemon(name)


@pytest.mark.parametrize("victims", [["pickup"], ["qmgr"], ["qmgr", "pickup"]], ids="+".join)
def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_sent_twice(fresh, victims):
    over = threading.Event()
    killer = threading.Thread(target=kill_again_and_again, args=(fresh, victims, over))

    def one(number):
        fresh.sendmail("-f", f"s{number}@sender.test", "alice@example.test",
                       stdin=f"Subject: killed {number}\n\n" + "x\n" * (40000 * (number % 3 == 0)))
    killer.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            list(pool.map(one, range(200)))
        dakiya.wait_for("two that were killed",
                        lambda: fresh.log().count("killed by signal 9") >= 2, 30)
    finally:
        over.set()
        killer.join()
    dakiya.wait_for("all of it", lambda: len(fresh.subjects()) == 200, 90)
    dakiya.wait_for("no more to do", lambda: not fresh.waiting() and not [
        path for path in (fresh.queue / "pickup").iterdir() if path.name != ".lock"], 60)
    fresh.wait_queue_empty()
    assert fresh.subjects() == {f"killed {number}": 1 for number in range(200)}


@pytest.mark.parametrize("victims", [["pickup"], ["qmgr", "pickup"]], ids="+".join)
def test_a_backlog_is_taken_once_whatever_dies(down, victims):
    """300 messages in the drop directory, and daemons killed again while they are taken."""
    for number in range(300):
        copy_of_a_drop(down, down.queue / "maildrop" / f"b{number}", NOBODY,
                       subject=f"backlog {number}")
    over = threading.Event()
    down.start()
    killer = threading.Thread(target=kill_again_and_again, args=(down, victims, over))
    killer.start()
    time.sleep(3)
    over.set()
    killer.join()
    dakiya.wait_for("all of it", lambda: len(down.subjects()) == 300, 90)
    down.wait_queue_empty()
    dakiya.wait_for("no claims", lambda: not [
        path for path in (down.queue / "pickup").iterdir() if path.name != ".lock"])
    assert down.subjects() == {f"backlog {number}": 1 for number in range(300)}


def test_a_reload_loses_and_doubles_nothing(fresh):
    over = threading.Event()
    sent = []

    def send():
        while not over.is_set():
            fresh.sendmail("alice@example.test", stdin=f"Subject: reload {len(sent)}\n\nx\n")
            sent.append(1)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        for round_ in range(3):
            copy_of_a_drop(fresh, fresh.queue / "maildrop" / f"r{round_}", NOBODY,
                           subject=f"drop {round_}")
            fresh.tool("dakiya", "reload")
            time.sleep(0.5)
    finally:
        over.set()
        thread.join()
    fresh.tool("dakiya", "reload")
    wanted = {f"reload {number}": 1 for number in range(len(sent))} | {
        f"drop {round_}": 1 for round_ in range(3)}
    dakiya.wait_for("all of it", lambda: len(fresh.subjects()) == len(wanted), 90)
    assert fresh.subjects() == wanted
