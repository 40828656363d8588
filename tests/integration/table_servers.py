"""Servers behind tables, for tests: PostgreSQL and Redis, each in a directory of its own.

They run as an unprivileged user, on a socket in that directory and on a loopback address of their
own, and are stopped by their process id.
"""
import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import time

import dakiya


def find(*names):
    """The first program that there is; None otherwise."""
    for name in names:
        found = sorted(glob.glob(name), reverse=True) if "/" in name else [shutil.which(name)]
        if found and found[0]:
            return found[0]
    return None


def unprivileged():
    """Arguments for subprocess: as a user that is no root and has a name."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}


class Server:
    """A process that is started, stopped (at once) and started again."""

    def __init__(self, name):
        self.directory = dakiya.new_directory(name)
        self.address = dakiya.new_address()
        self.process = None
        identity = unprivileged()
        if identity:
            os.chown(self.directory, identity["user"], identity["group"])

    def command(self):
        raise NotImplementedError

    def is_up(self):
        raise NotImplementedError

    def run(self, *command, check=True):
        done = subprocess.run([str(word) for word in command], text=True, capture_output=True,
                              timeout=60, cwd=self.directory, check=False, **unprivileged())
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self):
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen([str(word) for word in self.command()], stdout=log,
                                            stderr=log, cwd=self.directory, **unprivileged())
        until = time.monotonic() + 30
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > until:
                text = (self.directory / "server.log").read_text(errors="replace")
                raise AssertionError(f"the server does not start:\n{text}")
            time.sleep(0.02)
        return self

    def stop(self, how=signal.SIGQUIT):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def remove(self):
        self.stop()
        dakiya.remove_directory(self.directory)


class Postgres(Server):
    """A PostgreSQL cluster; None of it touches the machine's own."""

    PROGRAMS = "/usr/lib/postgresql/*/bin/postgres"
    PORT = 5433

    def __init__(self, authority):
        super().__init__("postgres")
        authority.issue([self.address], self.directory / "key.pem", self.directory / "cert.pem")
        identity = unprivileged()
        if identity:
            os.chown(self.directory / "key.pem", identity["user"], identity["group"])
        self.bin = pathlib.Path(find(self.PROGRAMS)).parent
        (self.directory / "password").write_text("owner password\n")
        self.run(self.bin / "initdb", "-D", self.directory / "data", "-N", "-A", "scram-sha-256",
                 "-U", "owner", "--pwfile", self.directory / "password", "-E", "UTF8",
                 "--no-locale")

    def command(self):
        return [self.bin / "postgres", "-D", self.directory / "data", "-k", self.directory, "-h",
                self.address, "-p", self.PORT, "-F", "-c", "shared_buffers=1MB", "-c",
                "max_connections=40", "-c", "autovacuum=off", "-c", "ssl=on", "-c",
                f"ssl_cert_file={self.directory}/cert.pem", "-c",
                f"ssl_key_file={self.directory}/key.pem"]

    def is_up(self):
        return self.run(self.bin / "pg_isready", "-q", "-h", self.directory, "-p", self.PORT,
                        check=False).returncode == 0

    def sql(self, text):
        environment = dict(os.environ, PGPASSWORD="owner password")
        done = subprocess.run([self.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-A", "-t", "-h",
                               self.directory, "-p", str(self.PORT), "-U", "owner", "postgres"],
                              input=text, text=True, capture_output=True, timeout=60,
                              env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


class Redis(Server):
    """A Redis server without persistence."""

    PROGRAMS = ("redis-server", "redis-check-rdb")
    PORT = 6380

    def __init__(self):
        super().__init__("redis")
        # One program under several names: redis-tools has it, too.
        (self.directory / "redis-server").symlink_to(os.path.realpath(find(*self.PROGRAMS)))

    def command(self):
        return [self.directory / "redis-server", "--port", self.PORT, "--bind", self.address,
                "--unixsocket", self.directory / "socket", "--unixsocketperm", "777", "--save", "",
                "--requirepass", "pass word"]

    def is_up(self):
        return "PONG" in self.cli("PING", check=False)

    def cli(self, *words, check=True):
        return self.run("redis-cli", "--no-auth-warning", "-a", "pass word", "-s",
                        self.directory / "socket", *words, check=check).stdout


class MariaDB(Server):
    """A MariaDB server with one user who has a password."""

    PROGRAMS = ("mariadbd", "/usr/sbin/mariadbd")
    PORT = 3307

    def __init__(self):
        super().__init__("mariadb")
        self.program = find(*self.PROGRAMS)
        self.base = pathlib.Path(self.program).parent.parent
        (self.directory / "data").mkdir()
        identity = unprivileged()
        if identity:
            os.chown(self.directory / "data", identity["user"], identity["group"])
        share = self.base / "share" / "mysql"
        script = "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\n" + "".join(
            (share / name).read_text() for name in ("mysql_system_tables.sql",
                                                    "mysql_performance_tables.sql",
                                                    "mysql_system_tables_data.sql"))
        done = subprocess.run([*self.options(), "--bootstrap"], input=script, text=True,
                              capture_output=True, timeout=60, check=False, cwd=self.directory,
                              **identity)
        assert done.returncode == 0, done.stderr

    def options(self):
        return [str(self.program), "--no-defaults", f"--basedir={self.base}",
                f"--datadir={self.directory}/data", "--innodb-buffer-pool-size=8M",
                "--innodb-log-file-size=4M", f"--lc-messages-dir={self.base}/share/mysql"]

    def command(self):
        (self.directory / "init.sql").write_text(
            "CREATE OR REPLACE USER mail@'%' IDENTIFIED BY 'geheim\\'s word';\n"
            "CREATE DATABASE IF NOT EXISTS mail;\nGRANT SELECT, EXECUTE ON mail.* TO mail@'%';\n"
            "CREATE TABLE IF NOT EXISTS mail.aliases (address VARCHAR(200), goto VARCHAR(200));\n"
            "DELETE FROM mail.aliases;\n"
            "INSERT INTO mail.aliases VALUES ('both@sql.test', 'carol@sql.test'), "
            "('both@sql.test', 'dave@sql.test'), ('o\\'neil@sql.test', 'carol@sql.test'), "
            "('back\\\\slash@sql.test', 'dave@sql.test');\n"
            "INSERT INTO mail.aliases VALUES ('box:carol@sql.test', 'sql.test/carol/');\n"
            "DROP PROCEDURE IF EXISTS mail.find;\n"
            "CREATE DEFINER=mail@'%' PROCEDURE mail.find(IN a VARCHAR(200)) "
            "SELECT goto FROM mail.aliases WHERE address = a;\n")
        return [*self.options(), f"--socket={self.directory}/socket", f"--port={self.PORT}",
                f"--bind-address={self.address}", f"--init-file={self.directory}/init.sql",
                f"--pid-file={self.directory}/pid"]

    def is_up(self):
        log = (self.directory / "server.log").read_text(errors="replace")
        return (self.directory / "socket").exists() and "ready for connections" in log


class OpenLDAP(Server):
    """A slapd with some people and a group."""

    PROGRAMS = ("slapd", "/usr/sbin/slapd")
    PORT = 3389
    ENTRIES = """dn: dc=ldap,dc=test
objectClass: dcObject
objectClass: organization
o: test
dc: ldap

dn: cn=Carol,dc=ldap,dc=test
objectClass: inetOrgPerson
cn: Carol
sn: C
mail: carol@ldap.test
description: ldap.test/carol/

dn: cn=Star*(x),dc=ldap,dc=test
objectClass: inetOrgPerson
cn: Star*(x)
sn: S
mail: star*(x)@ldap.test
description: ldap.test/star/

dn: cn=Staff,dc=ldap,dc=test
objectClass: groupOfNames
objectClass: extensibleObject
cn: Staff
mail: staff@ldap.test
member: cn=Carol,dc=ldap,dc=test
member: cn=Star*(x),dc=ldap,dc=test
member: cn=Gone,dc=ldap,dc=test
"""

    def __init__(self, authority):
        super().__init__("slapd")
        authority.issue([self.address], self.directory / "cert.key", self.directory / "cert.pem")
        os.chmod(self.directory / "cert.key", 0o644)
        self.program = pathlib.Path(find(*self.PROGRAMS))
        root = self.program.parent.parent.parent
        (self.directory / "data").mkdir()
        (self.directory / "slapd.conf").write_text(f"""
include {root}/etc/ldap/schema/core.schema
include {root}/etc/ldap/schema/cosine.schema
include {root}/etc/ldap/schema/inetorgperson.schema
modulepath {root}/usr/lib/ldap
moduleload back_mdb
pidfile {self.directory}/pid
TLSCertificateFile {self.directory}/cert.pem
TLSCertificateKeyFile {self.directory}/cert.key
database mdb
suffix "dc=ldap,dc=test"
rootdn "cn=admin,dc=ldap,dc=test"
rootpw "admin word"
directory {self.directory}/data
""")
        (self.directory / "entries").write_text(self.ENTRIES)
        identity = unprivileged()
        if identity:
            os.chown(self.directory / "data", identity["user"], identity["group"])
        self.run(self.program, "-T", "add", "-f", self.directory / "slapd.conf", "-l",
                 self.directory / "entries")

    def command(self):
        socket = str(self.directory / "socket").replace("/", "%2f")
        return [self.program, "-d", "0", "-f", self.directory / "slapd.conf", "-h",
                f"ldap://{self.address}:{self.PORT} ldaps://{self.address}:{self.PORT + 1} "
                f"ldapi://{socket}"]

    def is_up(self):
        return dakiya.port_is_open(self.address, self.PORT)
