"""dakmap: builds, asks, lists, changes; and files that Postfix's postmap reads and writes."""
import os
import pathlib
import shutil
import subprocess

import dakiya
import pytest

DAKMAP = dakiya.BUILD / "bin" / "dakmap"


class Work:
    """A directory with tables in it."""

    def __init__(self, directory):
        self.directory = directory

    def run(self, *arguments, stdin=None, program=DAKMAP):
        return subprocess.run([str(program), *map(str, arguments)], cwd=self.directory,
                              input=stdin, text=True, capture_output=True, timeout=60, check=False)

    def write(self, name, text):
        (self.directory / name).write_text(text)
        return self.directory / name

    def entries(self, table):
        return dict(line.split("\t", 1) for line in self.run("-s", table).stdout.splitlines())


@pytest.fixture
def work():
    directory = dakiya.new_directory("map")
    yield Work(directory)
    dakiya.remove_directory(directory)


def test_build_and_ask(work):
    work.write("t", "# comment\nUser@Dom  value one\n   and more\n\nother\tx\n")
    assert work.run("hash:t").returncode == 0
    assert work.run("-q", "USER@dom", "hash:t").stdout == "value one   and more\n"
    assert work.run("-q", "other", work.directory / "t").stdout == "x\n"
    nothing = work.run("-q", "none", "hash:t")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (1, "", "")
    assert [path.name for path in work.directory.iterdir() if path.name not in ("t", "t.db")] == []


def test_problems_are_named_with_file_and_line(work):
    work.write("t", "a 1\nA 2\nlonely\nb: 3\n")
    done = work.run("t")
    assert done.returncode == 0
    assert "t, line 2: duplicate entry: \"a\"" in done.stderr
    assert "t, line 3: expected format: key whitespace value" in done.stderr
    assert "t, line 4: record is in \"key: value\" format" in done.stderr
    assert work.entries("t") == {"a": "1", "b:": "3"}
    assert work.run("-w", "t").stderr.count("duplicate") == 0
    work.run("-r", "t")
    assert work.entries("t")["a"] == "2"


def test_case_is_kept_when_asked(work):
    work.write("t", "Key 1\n")
    work.run("-f", "t")
    assert work.entries("t") == {"Key": "1"}


def test_standard_input_asks_many(work):
    work.write("t", "a 1\nb 2\n")
    work.run("btree:t")
    done = work.run("-q", "-", "btree:t", stdin="a\nx\nb\n")
    assert (done.returncode, done.stdout) == (0, "a\t1\nb\t2\n")
    assert work.run("-q", "-", "btree:t", stdin="x\n").returncode == 1


def test_entries_are_added_and_removed(work):
    work.write("t", "a 1\n")
    work.run("t")
    assert work.run("-i", "t", stdin="b 2\na 9\n").returncode == 0
    assert work.entries("t") == {"a": "1", "b": "2"}
    assert work.run("-d", "A", "t").returncode == 0
    assert work.run("-d", "a", "t").returncode == 1
    assert work.entries("t") == {"b": "2"}


def test_patterns_can_be_asked(work):
    work.write("c", "192.0.2.0/24 net\n")
    work.write("p", "/^(.+)@x$/ <$1>\n")
    assert work.run("-q", "192.0.2.9", "cidr:c").stdout == "net\n"
    assert work.run("-q", "a@x", "pcre:p").stdout == "<a>\n"
    work.write("p", "/(/ x\n")
    bad = work.run("-q", "a@x", "pcre:p")
    assert bad.returncode == 1 and "p:1:" in bad.stderr


def test_aliases_are_read_as_postalias(work):
    work.write("aliases", "postmaster: root\n\"odd name\": a,\n  b\nRoot:alice@example.org\nbad\n")
    os.symlink(DAKMAP, work.directory / "postalias")
    done = work.run("hash:aliases", program=work.directory / "postalias")
    assert "line 5: expected format: name: value" in done.stderr
    entries = work.entries("aliases")
    assert entries["postmaster"] == "root" and entries["root"] == "alice@example.org"
    assert entries["odd name"].split() == ["a,", "b"]


def test_failed_build_leaves_the_old_table(work):
    work.write("t", "a 1\n")
    work.run("t")
    work.write("t", "a 2\n" + "k" * 3000 + " v\n")
    failed = work.run("t")
    assert failed.returncode == 1 and "line 2" in failed.stderr
    assert work.entries("t") == {"a": "1"}
    (work.directory / "t").unlink()
    assert work.run("t").returncode == 1
    assert work.entries("t") == {"a": "1"}
    assert sorted(path.name for path in work.directory.iterdir()) == ["t.db"]


def test_mode_follows_the_source(work):
    os.chmod(work.write("t", "a 1\n"), 0o640)
    work.run("t")
    assert (work.directory / "t.db").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_works_on_a_users_file_as_that_user(work):
    source = work.write("t", "a 1\n")
    os.chown(work.directory, 64310, 64310)
    os.chown(source, 64310, 64310)
    assert work.run("t").returncode == 0
    made = (work.directory / "t.db").stat()
    assert (made.st_uid, made.st_gid) == (64310, 64310)
    # Where that user may not write, root's hand is not lent.
    os.chown(work.directory, 0, 0)
    os.chmod(work.directory, 0o755)
    refused = work.run("t")
    assert refused.returncode == 1 and "Permission denied" in refused.stderr


def test_configuration_file_of_berkeley_db_is_not_read(work):
    work.write("DB_CONFIG", "nonsense that would be an error\n")
    work.write("t", "a 1\n")
    done = work.run("t")
    assert (done.returncode, done.stderr) == (0, "")
    assert work.run("-q", "a", "t").stdout == "1\n"


def test_wrong_usage(work):
    assert work.run().returncode == 64
    assert work.run("-Z", "t").returncode == 64
    assert "not here" in work.run("-h", "-q", "-", "t").stderr
    assert work.run("--help").returncode == 0


@pytest.fixture(scope="module")
def postmap():
    """A command line that runs Debian's postmap."""
    directory = dakiya.new_directory("postfix")
    found = shutil.which("postmap") or shutil.which("postmap", path="/tmp/peers/root/usr/sbin")
    if found is None:
        subprocess.run(["apt-get", "download", "-qq", "postfix"], cwd=directory, check=False,
                       capture_output=True, timeout=60)
        for package in directory.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(directory)], check=False)
        found = shutil.which("postmap", path=str(directory / "usr/sbin"))
    if found is None:
        dakiya.remove_directory(directory)
        pytest.skip("Postfix's postmap is not to be had")
    library = pathlib.Path(found).parent.parent / "lib" / "postfix"
    (directory / "main.cf").write_text("compatibility_level = 3.6\nmydomain = example.test\n"
                                       "myhostname = mail.example.test\n"
                                       "mail_owner = mail\nsetgid_group = games\n")

    def run(*arguments, cwd):
        environment = dict(os.environ, LD_LIBRARY_PATH=str(library))
        done = subprocess.run([found, "-c", str(directory), *arguments], cwd=cwd, text=True,
                              capture_output=True, timeout=60, env=environment, check=False)
        return done

    yield run
    dakiya.remove_directory(directory)


TEXT = "".join(f"User{n}@example.org value {n} {'x' * (n % 50)}\n" for n in range(3000))


@pytest.mark.parametrize("kind", ["hash", "btree"])
@pytest.mark.parametrize("option", [[], ["-n"]], ids=["nul", "no-nul"])
def test_postmap_reads_what_dakmap_wrote(work, postmap, kind, option):
    work.write("t", TEXT)
    assert work.run(*option, f"{kind}:t").returncode == 0
    for key in ("user0@example.org", "user2999@example.org"):
        number = key[4:].split("@")[0]
        done = postmap("-q", key, f"{kind}:{work.directory}/t", cwd=work.directory)
        assert done.stdout.startswith(f"value {number}"), done.stderr
    listed = postmap("-s", f"{kind}:{work.directory}/t", cwd=work.directory).stdout
    assert len(listed.splitlines()) == 3000


@pytest.mark.parametrize("kind", ["hash", "btree"])
@pytest.mark.parametrize("option", [[], ["-n"]], ids=["nul", "no-nul"])
def test_dakmap_reads_what_postmap_wrote(work, postmap, kind, option):
    work.write("t", TEXT)
    made = postmap(*option, f"{kind}:{work.directory}/t", cwd=work.directory)
    assert made.returncode == 0, made.stderr
    assert work.run("-q", "USER7@example.org", f"{kind}:t").stdout == "value 7 xxxxxxx\n"
    assert len(work.entries(f"{kind}:t")) == 3000
