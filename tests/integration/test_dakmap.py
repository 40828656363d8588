"""dakmap: builds, asks, lists, changes; and files that Postfix's postmap reads and writes."""
import json
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
    assert "line 5: need name:value pair" in done.stderr
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
    assert "specify only one of" in work.run("-s", "-q", "x", "t").stderr
    assert "only with" in work.run("-h", "-q", "x", "t").stderr
    assert work.run("--help").returncode == 0
    unknown = work.run("nis:t")
    assert unknown.returncode == 1 and "use texthash:" in unknown.stderr
    assert "not built" in work.run("cidr:t").stderr
    assert "hash" in work.run("-m").stdout.split() and "pgsql" in work.run("-m").stdout.split()


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb"])
def test_every_kind_is_built_asked_listed_changed(work, kind):
    text = "".join(f"Key{n} value {n} {'y' * (n % 60)}\n" for n in range(2000))
    work.write("t", text + "long " + "z" * 9000 + "\n")
    assert work.run(f"{kind}:t").returncode == 0
    assert work.run("-q", "KEY77", f"{kind}:t").stdout == "value 77 yyyyyyyyyyyyyyyyy\n"
    assert work.run("-q", "long", f"{kind}:t").stdout == "z" * 9000 + "\n"
    assert work.run("-q", "key2000", f"{kind}:t").returncode == 1
    assert len(work.entries(f"{kind}:t")) == 2001
    assert work.run("-d", "Key5", f"{kind}:t").returncode == 0
    assert work.run("-d", "-", f"{kind}:t", stdin="key6\nnothing\n").returncode == 0
    assert work.run("-d", "-", f"{kind}:t", stdin="key6\nnothing\n").returncode == 1
    added = work.run("-i", f"{kind}:t", stdin="key7 other\nnew x\n")
    assert added.returncode == 0 and 'stdin, line 1: duplicate entry: "key7"' in added.stderr
    assert work.run("-ri", f"{kind}:t", stdin="key8 eight\n").stderr == ""
    entries = work.entries(f"{kind}:t")
    assert len(entries) == 2000 and entries["new"] == "x" and entries["key8"] == "eight"
    assert entries["key7"].startswith("value 7")
    assert sorted(path.suffix for path in work.directory.iterdir())[0] == ""
    assert len(list(work.directory.iterdir())) == 2


def test_type_that_is_not_named_comes_from_main_cf(work):
    work.write("main.cf", "default_database_type = lmdb\n")
    work.write("t", "a 1\n")
    assert work.run("-c", work.directory, "t").returncode == 0
    assert (work.directory / "t.lmdb").exists()
    assert work.run("-c", work.directory / "none", "t").returncode == 1


def test_newaliases_builds_the_alias_database(work):
    work.write("main.cf", f"alias_database = hash:{work.directory}/aliases, "
                          f"cdb:{work.directory}/more\n")
    work.write("aliases", 'root: alice@example.org\nprog: "|/bin/cmd -x \'a b\'", '
                          ":include:/etc/list\nu@d: x\n")
    work.write("more", "b: c\n")
    done = work.run("--aliases", "-c", work.directory)
    assert done.returncode == 0 and "line 3: name must be local" in done.stderr
    assert work.entries("hash:aliases")["prog"] == '"|/bin/cmd -x \'a b\'", :include:/etc/list'
    assert work.run("-q", "b", "cdb:more").stdout == "c\n"
    (work.directory / "aliases.db").unlink()
    os.symlink(DAKMAP, work.directory / "newaliases")
    assert work.run("-c", work.directory, program=work.directory / "newaliases").returncode == 0
    assert (work.directory / "aliases.db").exists()
    os.symlink(DAKMAP, work.directory / "postalias")
    shown = work.run("-s", "hash:aliases", program=work.directory / "postalias").stdout
    assert "root:\talice@example.org\n" in shown
    assert work.run("-Z", program=work.directory / "postalias").returncode == 1


def test_json_is_one_object_a_line(work):
    work.write("u", 'k  say "hi" \\ there\n')
    work.run("u")
    assert json.loads(work.run("--json", "-q", "k", "u").stdout) == {"k": 'say "hi" \\ there'}
    assert json.loads(work.run("-j", "-s", "u").stdout) == {"k": 'say "hi" \\ there'}


def test_values_are_files_when_asked(work):
    (work.directory / "one").write_bytes(b"\x00binary\n")
    (work.directory / "two").write_bytes(b"more\n")
    work.write("t", f"k one {work.directory}/two\nmissing nofile\n")
    done = work.run("-F", "t")
    assert "line 2" in done.stderr and "nofile" in done.stderr
    out = subprocess.run([str(DAKMAP), "-F", "-q", "k", "t"], cwd=work.directory,
                         capture_output=True, check=True).stdout
    assert out == b"\x00binary\nmore\n"
    assert work.run("-q", "k", "t").stdout == "AGJpbmFyeQptb3JlCg==\n"


MESSAGE = """From: a@b
Subject: x
  y
Content-Type: multipart/mixed; boundary="cut here"

preamble
--cut here
Content-Type: text/plain

body line
--cut here
Content-Type: message/rfc822

Subject: inner

inner body
--cut here--
end
"""


def test_header_and_body_checks_are_simulated(work):
    work.write("c", "/^/ seen\n")

    def keys(*options):
        out = work.run(*options, "-q", "-", "regexp:c", stdin=MESSAGE).stdout
        return out.replace("\tseen\n", "|").split("|")[:-1]

    assert keys("-h") == ["From: a@b", "Subject: x\n  y",
                          'Content-Type: multipart/mixed; boundary="cut here"']
    assert keys("-b")[:2] == ["preamble", "--cut here"]
    assert keys("-h", "-m")[3:] == ["Content-Type: text/plain", "Content-Type: message/rfc822",
                                    "Subject: inner"]
    assert keys("-b", "-m") == ["preamble", "body line", "inner body", "end"]


def test_lines_that_are_no_utf8_are_left_out(work):
    (work.directory / "t").write_bytes(b"a\xff 1\nb 2\n")
    assert "line 1: non-UTF-8 input" in work.run("t").stderr
    assert work.entries("t") == {"b": "2"}
    assert work.run("-u", "t").stderr == ""
    assert work.run("-q", "b", "t").stdout == "2\n"


def test_quoted_keys_keep_their_blanks(work):
    work.write("t", '"odd name"@example.org  value\n')
    work.run("t")
    assert work.entries("t") == {'"odd name"@example.org': "value"}
    assert work.run("-q", '"odd name"@example.org', "texthash:t").stdout == "value\n"


def test_several_tables_are_asked_in_turn(work):
    work.write("a", "k one\n")
    work.write("b", "k two\nl three\n")
    work.run("a", "b")
    assert work.run("-q", "k", "a", "b").stdout == "one\n"
    assert work.run("-q", "-", "a", "b", stdin="k\nl\n").stdout == "k\tone\nl\tthree\n"
    failed = work.run("-q", "l", "a", "hash:nothing")
    assert failed.returncode == 1 and "nothing.db" in failed.stderr
    assert work.run("-q", "l", "fail:x", "b").stdout == ""


# Files that Debian 12's postmap and postalias 3.7.11 wrote; see the text in each test.
WRITTEN = pathlib.Path(__file__).parent / "tables"


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb"])
def test_stored_files_of_postmap_are_read(work, kind):
    suffix = {"lmdb": "lmdb", "cdb": "cdb"}.get(kind, "db")
    stored = WRITTEN / f"{kind}.{suffix}"
    shutil.copy(stored, work.directory / stored.name)
    for number in (0, 7, 199):
        found = work.run("-q", f"USER{number}@example.org", f"{kind}:{kind}")
        assert found.stdout == f"value {number}\n", found.stderr
    assert work.run("-q", "user200@example.org", f"{kind}:{kind}").returncode == 1
    assert len(work.entries(f"{kind}:{kind}")) == 200


@pytest.mark.parametrize("kind", ["hash", "btree"])
def test_stored_files_of_postalias_are_read(work, kind):
    """They mix keys with a NUL and (for NIS) without."""
    shutil.copy(WRITTEN / f"aliases-{kind}.db", work.directory / "aliases.db")
    assert work.run("-q", "root", f"{kind}:aliases").stdout == "alice@example.org\n"
    assert work.run("-q", "Odd Name", f"{kind}:aliases").stdout == "a, b\n"
    assert work.run("-q", "nobody", f"{kind}:aliases").returncode == 1


@pytest.fixture(scope="module")
def postmap():
    """A command line that runs Debian's postmap."""
    directory = dakiya.new_directory("postfix")
    found = shutil.which("postmap") or shutil.which("postmap", path="/tmp/peers/root/usr/sbin")
    if found is None:
        subprocess.run(["apt-get", "download", "-qq", "postfix", "postfix-cdb", "postfix-lmdb"],
                       cwd=directory, check=False, capture_output=True, timeout=60)
        for package in directory.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(directory)], check=False)
        found = shutil.which("postmap", path=str(directory / "usr/sbin"))
    if found is None:
        dakiya.remove_directory(directory)
        pytest.skip("Postfix's postmap is not to be had")
    library = pathlib.Path(found).parent.parent / "lib" / "postfix"
    (directory / "main.cf").write_text("compatibility_level = 3.6\nmydomain = example.test\n"
                                       "myhostname = mail.example.test\n"
                                       "mail_owner = mail\nsetgid_group = games\n"
                                       f"meta_directory = {directory}\n")
    types = [kind for kind in ("cdb", "lmdb") if (library / f"postfix-{kind}.so").exists()]
    (directory / "dynamicmaps.cf").write_text("".join(
        f"{kind} {library}/postfix-{kind}.so dict_{kind}_open mkmap_{kind}_open\n"
        for kind in types))

    def run(*arguments, cwd, program="postmap"):
        if arguments[-1].split(":")[0] in {"cdb", "lmdb"} - set(types):
            pytest.skip("Postfix's package for this type is not to be had")
        environment = dict(os.environ, LD_LIBRARY_PATH=str(library))
        found_program = pathlib.Path(found).with_name(program)
        done = subprocess.run([found_program, "-c", str(directory), *arguments], cwd=cwd,
                              text=True, capture_output=True, timeout=60, env=environment,
                              check=False)
        return done

    yield run
    dakiya.remove_directory(directory)


TEXT = "".join(f"User{n}@example.org value {n} {'x' * (n % 50)}\n" for n in range(3000))


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb"])
@pytest.mark.parametrize("option", [[], ["-n"]], ids=["nul", "no-nul"])
def test_postmap_reads_what_dakmap_wrote(work, postmap, kind, option):
    work.write("t", TEXT)
    assert work.run(*option, f"{kind}:t").returncode == 0
    for key in ("user0@example.org", "user2999@example.org"):
        number = key[4:].split("@")[0]
        done = postmap("-q", key, f"{kind}:{work.directory}/t", cwd=work.directory)
        assert done.stdout.startswith(f"value {number}"), done.stderr
    if kind != "cdb":  # which Postfix cannot list
        listed = postmap("-s", f"{kind}:{work.directory}/t", cwd=work.directory).stdout
        assert len(listed.splitlines()) == 3000


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb"])
@pytest.mark.parametrize("option", [[], ["-n"]], ids=["nul", "no-nul"])
def test_dakmap_reads_what_postmap_wrote(work, postmap, kind, option):
    work.write("t", TEXT)
    made = postmap(*option, f"{kind}:{work.directory}/t", cwd=work.directory)
    assert made.returncode == 0, made.stderr
    assert work.run("-q", "USER7@example.org", f"{kind}:t").stdout == "value 7 xxxxxxx\n"
    assert len(work.entries(f"{kind}:t")) == 3000


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb"])
def test_aliases_are_the_same_for_both(work, postmap, kind):
    work.write("aliases", 'postmaster: root\n"odd name": a,\n  b\nRoot: alice@example.org\n'
                          'prog: |"/bin/cmd -x", "|other y", /var/file, :include:/etc/list\n')
    made = postmap(f"{kind}:{work.directory}/aliases", cwd=work.directory, program="postalias")
    assert made.returncode == 0, made.stderr
    asked = ("root", "odd name", "PROG")
    theirs = [work.run("-q", key, f"{kind}:aliases").stdout.split() for key in asked]
    os.symlink(DAKMAP, work.directory / "postalias")
    assert work.run(f"{kind}:aliases", program=work.directory / "postalias").returncode == 0
    ours = [postmap("-q", key, f"{kind}:{work.directory}/aliases", cwd=work.directory,
                    program="postalias").stdout.split() for key in asked]
    assert ours == theirs and ours[0] == ["alice@example.org"] and len(ours[2]) == 6


def test_words_are_those_of_postmap(work, postmap):
    work.write("t", "lonely\nb: 3\n")
    theirs = postmap(f"hash:{work.directory}/t", cwd=work.directory).stderr
    os.symlink(DAKMAP, work.directory / "postmap")
    ours = work.run(f"hash:{work.directory}/t", program=work.directory / "postmap").stderr
    assert ours == theirs and ours.count("postmap: warning: ") == 2
