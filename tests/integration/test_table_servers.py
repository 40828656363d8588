"""Tables behind servers: PostgreSQL, Redis, SQLite and socketmap, asked by dakmap and by a mail host.

What a server's failure must never do is make mail bounce: it is "try later", and accepted again
as soon as the server is back.
"""
import concurrent.futures
import contextlib
import os
import shutil
import signal
import socket
import socketserver
import sqlite3
import threading
import time

import dakiya
import pytest
import table_servers

DAKMAP = dakiya.BUILD / "bin" / "dakmap"
MODULES = dakiya.BUILD / "lib" / "dakiya"


def needs(module, *programs):
    if not (MODULES / f"table_{module}.so").exists():
        pytest.skip(f"table_{module}.so is not built: its library's development package is missing")
    if programs and not table_servers.find(*programs):
        pytest.skip(f"{programs[0]} is not installed")


@pytest.fixture
def work():
    directory = dakiya.new_directory("cf")
    yield directory
    dakiya.remove_directory(directory)


def cf(path, **settings):
    path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    return path


def ask(table, *keys):
    """What dakmap says for each key: the value, None for not found, False for trouble."""
    done = dakiya.run(DAKMAP, "-q", "-", table, stdin="".join(key + "\n" for key in keys),
                      check=False)
    if "fatal" in done.stderr:
        return False
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    return [found.get(key) for key in keys]


# ---- PostgreSQL ----

SCHEMA = """
CREATE ROLE mail LOGIN PASSWORD 'geheim''s \\ word';
CREATE TABLE domains (name text PRIMARY KEY);
CREATE TABLE mailboxes (address text PRIMARY KEY, path text);
CREATE TABLE aliases (address text, goto text);
INSERT INTO domains VALUES ('sql.test');
INSERT INTO mailboxes VALUES ('carol@sql.test', 'sql.test/carol/'), ('dave@sql.test', 'sql.test/dave/');
INSERT INTO aliases VALUES ('both@sql.test', 'carol@sql.test'), ('both@sql.test', 'dave@sql.test'),
    ('o''neil@sql.test', 'carol@sql.test'), ('back\\slash@sql.test', 'dave@sql.test'), ('empty@sql.test', NULL);
GRANT SELECT ON domains, mailboxes, aliases TO mail;
"""


@pytest.fixture(scope="module")
def postgres(authority):
    needs("pgsql", table_servers.Postgres.PROGRAMS)
    server = table_servers.Postgres(authority)
    try:
        server.start()
        server.sql(SCHEMA)
        yield server
    finally:
        server.remove()


def login(server, by="unix"):
    host = {"unix": f"unix:{server.directory}/.s.PGSQL.{server.PORT}",
            "inet": f"inet:{server.address}:{server.PORT}"}[by]
    return {"hosts": host, "user": "mail", "password": "geheim's \\ word", "dbname": "postgres"}


@pytest.mark.parametrize("by", ["unix", "inet"])
def test_query_with_quoting(postgres, work, by):
    table = cf(work / "a.cf", **login(postgres, by),
               query="SELECT goto FROM aliases WHERE address = '%s'")
    assert ask(f"pgsql:{table}", "both@sql.test", "o'neil@sql.test", "back\\slash@sql.test",
               "x' OR 'a'='a", "empty@sql.test", "nobody@sql.test") == [
                   "carol@sql.test,dave@sql.test", "carol@sql.test", "dave@sql.test", None, None,
                   None]


def test_parts_formats_filters_and_limits(postgres, work):
    query = "SELECT goto FROM aliases WHERE address = '%u@%2.%1'"
    base = dict(login(postgres), query=query)
    keys = ("both@sql.test", "both", "@sql.test", "both@test")
    assert ask(f"pgsql:{cf(work / '1', **base)}", *keys) == [
        "carol@sql.test,dave@sql.test", None, None, None]
    formatted = cf(work / "2", **base, result_format="<%u+%d of %1%%>")
    assert ask(f"proxy:pgsql:{formatted}", keys[0]) == [
        "<carol+sql.test of test%>,<dave+sql.test of test%>"]
    assert ask(f"pgsql:{cf(work / '3', **base, domain='other.test')}", keys[0]) == [None]
    assert ask(f"pgsql:{cf(work / '4', **base, domain='inline:{sql.test=x}')}", keys[0]) != [None]
    assert ask(f"pgsql:{cf(work / '5', **base, expansion_limit=1)}", keys[0]) is False
    assert ask(f"pgsql:{cf(work / '6', **base, expansion_limit=2)}", keys[0]) != [None]


def test_query_of_before_postfix_2_2(postgres, work):
    table = cf(work / "t.cf", **login(postgres), table="aliases", select_field="goto",
               where_field="address", additional_conditions="AND goto LIKE 'd%%'")
    assert ask(f"pgsql:{table}", "both@sql.test") == ["dave@sql.test"]


def test_certificates_are_checked_when_asked(postgres, work, authority):
    base = dict(login(postgres, "inet"), query="SELECT ssl FROM pg_stat_ssl WHERE '%s' = 'k'"
                " AND pid = pg_backend_pid()")
    assert ask(f"pgsql:{cf(work / '1', **base)}", "k") == ["t"]
    assert ask(f"pgsql:{cf(work / '2', **base, tls_mode='disable')}", "k") == ["f"]
    checked = dict(base, tls_mode="verify-full")
    assert ask(f"pgsql:{cf(work / '3', **checked)}", "k") is False
    assert ask(f"pgsql:{cf(work / '4', **checked, tls_CAfile=authority.certificate)}",
               "k") == ["t"]


def test_wrong_settings_are_named(postgres, work):
    def trouble(**settings):
        table = cf(work / "t.cf", **{**login(postgres), "query": "SELECT 1", **settings})
        return dakiya.run(DAKMAP, "-q", "k", f"pgsql:{table}", check=False).stderr

    assert "password authentication failed" in trouble(password="wrong")
    assert "syntax error" in trouble(query="SELEKT '%s'")
    assert "permission denied" in trouble(query="SELECT rolpassword FROM pg_authid")
    assert '"%x" means nothing' in trouble(query="SELECT '%x'")
    assert "dbname is not set" in trouble(dbname="")
    assert 'unknown parameter "qurey"' in trouble(qurey="x")
    assert "Connection refused" in trouble(hosts="127.0.0.1:1")


def test_second_host_serves_while_the_first_is_dead(postgres, work):
    hosts = f"127.0.0.1:1 {postgres.address}:{postgres.PORT}"
    table = cf(work / "t.cf", **{**login(postgres), "hosts": hosts},
               query="SELECT path FROM mailboxes WHERE address = '%s'")
    for _ in range(4):
        assert ask(f"pgsql:{table}", "carol@sql.test", "dave@sql.test") == [
            "sql.test/carol/", "sql.test/dave/"]


def rcpt(host, recipient):
    with host.smtp() as client:
        client.ehlo("client.test")
        client.mail("sender@client.test")
        return client.rcpt(recipient)


@pytest.mark.parametrize("by", ["unix", "inet"])
def test_a_host_whose_domains_are_in_postgres(postgres, make_host, work, by, authority):
    """Virtual domains, mailboxes and aliases by SQL; the server goes and comes back."""
    base = dict(login(postgres, by), retry_interval=1)
    if by == "inet":
        base |= {"tls_mode": "verify-full", "tls_CAfile": authority.certificate}
    for name, query in (("domains", "SELECT name FROM domains WHERE name = '%s'"),
                        ("mailboxes", "SELECT path FROM mailboxes WHERE address = '%s'"),
                        ("aliases", "SELECT goto FROM aliases WHERE address = '%s'")):
        os.chmod(cf(work / f"{name}.cf", **base, query=query), 0o600)
    host = make_host(domain="sql.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": f"proxy:pgsql:{work}/domains.cf",
        "virtual_mailbox_maps": f"pgsql:{work}/mailboxes.cf",
        "virtual_alias_maps": f"pgsql:{work}/aliases.cf",
        "minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "queue_run_delay": "1s",
    }).start()
    host.send("sender@client.test", ["carol@sql.test", "both@sql.test"],
              dakiya.message("first", to="both@sql.test"))
    assert len(host.wait_messages("carol")) >= 1 and len(host.wait_messages("dave")) >= 1
    assert rcpt(host, "nobody@sql.test")[0] == 550
    postgres.stop()
    for recipient in ("carol@sql.test", "nobody@sql.test", "both@sql.test"):
        code, text = rcpt(host, recipient)
        assert (code, text[:5]) == (451, b"4.3.0"), text
    host.wait_log(r"warning: .*pgsql:.*(connect|server)")
    postgres.start()

    def accepted():
        return rcpt(host, "carol@sql.test")[0] == 250

    dakiya.wait_for("mail to be accepted again", accepted, timeout=20, step=0.2)
    dakiya.wait_for("an unknown user to be one again",
                    lambda: rcpt(host, "nobody@sql.test")[0] == 550, timeout=20, step=0.2)
    host.send("sender@client.test", "dave@sql.test", dakiya.message("second", to="dave@sql.test"))
    host.wait_messages("dave", 2)
    postgres.sql("INSERT INTO aliases VALUES ('later@sql.test', 'dave@sql.test')")
    assert rcpt(host, "later@sql.test")[0] == 250
    postgres.sql("DELETE FROM aliases WHERE address = 'later@sql.test'")
    assert "status=bounced" not in host.log()


def test_a_changed_cf_file_counts_without_a_reload(postgres, make_host, work):
    table = cf(work / "t.cf", **login(postgres, "inet"),
               query="SELECT path FROM mailboxes WHERE address = '%s' AND false")
    host = make_host(domain="sql.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "sql.test", "virtual_mailbox_maps": f"pgsql:{table}"}).start()
    assert rcpt(host, "carol@sql.test")[0] == 550
    cf(work / "new", **login(postgres, "inet"),
       query="SELECT path FROM mailboxes WHERE address = '%s'").rename(table)
    dakiya.wait_for("the new query", lambda: rcpt(host, "carol@sql.test")[0] == 250, timeout=10)


def test_many_sessions_share_one_connection(postgres, make_host, work):
    table = cf(work / "t.cf", **login(postgres, "inet"), connection_limit=1,
               query="SELECT path FROM mailboxes WHERE address = '%s'")
    host = make_host(domain="sql.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "sql.test",
        "virtual_mailbox_maps": f"pgsql:{table}"}).start()
    with concurrent.futures.ThreadPoolExecutor(25) as pool:
        found = list(pool.map(lambda number: rcpt(host, f"{('carol', 'x')[number % 2]}@sql.test")[0],
                              range(100)))
    assert found == [250, 550] * 50
    count = postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'mail'"
                         " AND state IS NOT NULL")
    assert 1 <= int(count) <= 4  # one a daemon: smtpd twice, qmgr, authd


def test_tcp_is_open_only_when_a_table_needs_it(postgres, make_host, work):
    """The cf file moves from a socket to TCP behind closed doors: that takes a reload."""
    query = "SELECT path FROM mailboxes WHERE address = '%s'"
    table = cf(work / "t.cf", **login(postgres), query=query)
    host = make_host(domain="sql.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "sql.test",
        "virtual_mailbox_maps": f"pgsql:{table}"}).start()
    assert rcpt(host, "carol@sql.test")[0] == 250
    cf(work / "new", **login(postgres, "inet"), query=query).rename(table)
    dakiya.wait_for("the door to be found closed",
                    lambda: rcpt(host, "carol@sql.test")[0] == 451, timeout=10)
    host.tool("dakiya", "reload")
    dakiya.wait_for("the door to be open", lambda: rcpt(host, "carol@sql.test")[0] == 250,
                    timeout=20)


def test_a_cf_file_that_comes_later_counts_without_a_reload(postgres, make_host, work):
    host = make_host(domain="sql.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "sql.test",
        "virtual_mailbox_maps": f"pgsql:{work}/t.cf"}).start()
    assert rcpt(host, "carol@sql.test")[0] == 451
    cf(work / "new", **login(postgres, "inet"),
       query="SELECT path FROM mailboxes WHERE address = '%s'").rename(work / "t.cf")
    dakiya.wait_for("the table", lambda: rcpt(host, "carol@sql.test")[0] == 250, timeout=10)


def test_host_names_are_resolved_before_the_doors_close(postgres, make_host, work):
    """A change of the cf file behind closed doors: the old content stays, with a warning."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 1)
    except OSError:
        pytest.skip("this machine's own name cannot be resolved")
    hosts = f"unix:{postgres.directory}/.s.PGSQL.{postgres.PORT}"
    settings = dict(login(postgres), hosts=f"{hosts} {name}:1",
                    query="SELECT path FROM mailboxes WHERE address = '%s'")
    table = cf(work / "t.cf", **settings)
    host = make_host(domain="sql.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "sql.test",
        "virtual_mailbox_maps": f"pgsql:{table}"}).start()
    assert rcpt(host, "carol@sql.test")[0] == 250
    cf(work / "new", **dict(settings, hosts="unknown.invalid:1")).rename(table)
    time.sleep(0.3)
    assert rcpt(host, "carol@sql.test")[0] == 250
    host.wait_log("the content of before stays in use|resolved when a daemon starts")


# ---- Redis ----

@pytest.fixture(scope="module")
def redis():
    needs("redis", *table_servers.Redis.PROGRAMS)
    server = table_servers.Redis()
    try:
        server.start()
        for words in (("SET", "mail:alice@redis.test", "redis.test/alice/"),
                      ("SADD", "mail:one@redis.test", "member"),
                      ("RPUSH", "mail:list@redis.test", "a@x", "b@x"),
                      ("HSET", "fields", "alice@redis.test", "from a field"),
                      ("HSET", "mail:hash@redis.test", "f", "v")):
            server.cli(*words)
        yield server
    finally:
        server.remove()


@pytest.mark.parametrize("by", ["unix", "inet"])
def test_redis_strings_and_collections(redis, work, by):
    host = {"unix": f"unix:{redis.directory}/socket", "inet": f"{redis.address}:{redis.PORT}"}[by]
    table = cf(work / "r.cf", hosts=host, password="pass word", query="mail:%s")
    assert ask(f"redis:{table}", "alice@redis.test", "one@redis.test", "list@redis.test",
               "hash@redis.test", "none@redis.test") == [
                   "redis.test/alice/", "member", "a@x,b@x", "v", None]
    table = cf(work / "f.cf", hosts=host, password="pass word", query="fields", field="%s")
    assert ask(f"redis:{table}", "alice@redis.test", "bob@redis.test") == ["from a field", None]
    assert ask(f"redis:{cf(work / 'w', hosts=host, password='wrong')}", "k") is False


def test_redis_that_goes_and_comes(redis, make_host, work):
    table = cf(work / "r.cf", hosts=f"{redis.address}:{redis.PORT}", password="pass word",
               query="mail:%s", retry_interval=1)
    host = make_host(domain="redis.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "redis.test", "virtual_mailbox_maps": f"redis:{table}"}).start()
    assert rcpt(host, "alice@redis.test")[0] == 250
    redis.stop()
    assert rcpt(host, "alice@redis.test")[0] == 451
    assert rcpt(host, "nobody@redis.test")[0] == 451
    redis.start()
    redis.cli("SET", "mail:alice@redis.test", "redis.test/alice/")
    dakiya.wait_for("mail to be accepted again",
                    lambda: rcpt(host, "alice@redis.test")[0] == 250, timeout=20, step=0.2)


# ---- MariaDB and OpenLDAP, where they are installed ----

@pytest.fixture(scope="module")
def mariadb():
    needs("mysql", *table_servers.MariaDB.PROGRAMS)
    server = table_servers.MariaDB()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.mark.parametrize("by", ["unix", "inet"])
def test_mysql_queries_and_procedures(mariadb, work, by):
    host = {"unix": f"unix:{mariadb.directory}/socket",
            "inet": f"{mariadb.address}:{mariadb.PORT}"}[by]
    base = {"hosts": host, "user": "mail", "password": "geheim's word", "dbname": "mail"}
    table = cf(work / "m.cf", **base, query="SELECT goto FROM aliases WHERE address = '%s'")
    assert ask(f"mysql:{table}", "both@sql.test", "o'neil@sql.test", "back\\slash@sql.test",
               "x' OR 'a'='a", "none@sql.test") == [
                   "carol@sql.test,dave@sql.test", "carol@sql.test", "dave@sql.test", None, None]
    table = cf(work / "p.cf", **base, query="CALL find('%s')")
    assert ask(f"mysql:{table}", "both@sql.test", "none", "o'neil@sql.test") == [
        "carol@sql.test,dave@sql.test", None, "carol@sql.test"]
    assert ask(f"mysql:{cf(work / 'n.cf', **base, query='DO 1')}", "k") is False
    assert ask(f"mysql:{cf(work / 'o.cf', **base, query='DO 1', require_result_set='no')}",
               "k") == [None]
    assert ask(f"mysql:{cf(work / 'w.cf', **{**base, 'password': 'x'}, query='SELECT 1')}",
               "k") is False


def test_mysql_that_goes_and_comes(mariadb, make_host, work):
    table = cf(work / "m.cf", hosts=f"{mariadb.address}:{mariadb.PORT}", user="mail",
               password="geheim's word", dbname="mail", retry_interval=1,
               query="SELECT goto FROM aliases WHERE address = CONCAT('box:', '%s')")
    host = make_host(domain="sql.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "sql.test",
        "virtual_mailbox_maps": f"mysql:{table}"}).start()
    assert rcpt(host, "carol@sql.test")[0] == 250 and rcpt(host, "nobody@sql.test")[0] == 550
    mariadb.stop(signal.SIGTERM)
    assert rcpt(host, "carol@sql.test")[0] == 451 and rcpt(host, "nobody@sql.test")[0] == 451
    mariadb.start()
    dakiya.wait_for("mail to be accepted again",
                    lambda: rcpt(host, "carol@sql.test")[0] == 250, timeout=20, step=0.2)


@pytest.fixture(scope="module")
def openldap(authority):
    needs("ldap", *table_servers.OpenLDAP.PROGRAMS)
    server = table_servers.OpenLDAP(authority)
    try:
        yield server.start()
    finally:
        server.remove()


LDAP = {"search_base": "dc=ldap,dc=test", "bind_dn": "cn=admin,dc=ldap,dc=test",
        "bind_pw": "admin word", "query_filter": "(mail=%s)"}


def test_ldap_filters_are_quoted_and_groups_followed(openldap, work, authority):
    by = {"tcp": {"server_host": openldap.address, "server_port": openldap.PORT},
          "url": {"server_host": f"ldap://{openldap.address}:{openldap.PORT}"},
          "unix": {"server_host": f"unix:{openldap.directory}/socket"},
          "starttls": {"server_host": openldap.address, "server_port": openldap.PORT,
                       "start_tls": "yes", "tls_require_cert": "yes",
                       "tls_ca_cert_file": authority.certificate},
          "ldaps": {"server_host": f"ldaps://{openldap.address}:{openldap.PORT + 1}",
                    "tls_require_cert": "yes", "tls_ca_cert_file": authority.certificate}}
    for name, where in by.items():
        table = cf(work / f"{name}.cf", **where, **LDAP, result_attribute="description")
        assert ask(f"ldap:{table}", "carol@ldap.test", "star*(x)@ldap.test", "*", "none@x") == [
            "ldap.test/carol/", "ldap.test/star/", None, None], name
    base = {**by["unix"], **LDAP}
    untrusted = {key: value for key, value in by["ldaps"].items() if key != "tls_ca_cert_file"}
    assert ask(f"ldap:{cf(work / 'u', **untrusted, **LDAP)}", "carol@ldap.test") is False
    table = cf(work / "g.cf", **base, result_attribute="mail", special_result_attribute="member")
    assert ask(f"ldap:{table}", "staff@ldap.test") == [
        "staff@ldap.test,carol@ldap.test,star*(x)@ldap.test"]
    table = cf(work / "l.cf", **base, result_attribute="", leaf_result_attribute="mail",
               special_result_attribute="member")
    assert ask(f"ldap:{table}", "staff@ldap.test") == ["carol@ldap.test,star*(x)@ldap.test"]
    table = cf(work / "b.cf", **{**base, "search_base": "dc=%2,dc=%1"}, result_attribute="sn")
    assert ask(f"ldap:{table}", "carol@ldap.test", "carol@other.test", "carol") == [
        "C", None, None]
    for wrong in ({"bind_pw": "x"}, {"query_filter": "((mail=%s)"}, {"scope": "far"},
                  {"bind": "sasl"}):
        assert ask(f"ldap:{cf(work / 'w.cf', **{**base, **wrong})}", "carol@ldap.test") is False


def test_ldap_that_goes_and_comes(openldap, make_host, work, authority):
    table = cf(work / "m.cf", server_host=f"ldaps://{openldap.address}:{openldap.PORT + 1}",
               tls_require_cert="yes", tls_ca_cert_file=authority.certificate, **LDAP,
               retry_interval=1, result_attribute="description")
    host = make_host(domain="ldap.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "ldap.test",
        "virtual_mailbox_maps": f"ldap:{table}"}).start()
    assert rcpt(host, "carol@ldap.test")[0] == 250 and rcpt(host, "nobody@ldap.test")[0] == 550
    openldap.stop(signal.SIGTERM)
    assert rcpt(host, "carol@ldap.test")[0] == 451 and rcpt(host, "nobody@ldap.test")[0] == 451
    openldap.start()
    dakiya.wait_for("mail to be accepted again",
                    lambda: rcpt(host, "carol@ldap.test")[0] == 250, timeout=20, step=0.2)


# ---- SQLite ----

def test_sqlite_in_a_host(make_host, work):
    needs("sqlite")
    with contextlib.closing(sqlite3.connect(work / "mail.sqlite")) as database, database:
        database.execute("CREATE TABLE boxes (address TEXT, path TEXT)")
        database.execute("INSERT INTO boxes VALUES ('alice@lite.test', 'lite.test/alice/'),"
                         "('o''neil@lite.test', 'lite.test/oneil/')")
    table = cf(work / "s.cf", dbpath=work / "mail.sqlite",
               query="SELECT path FROM boxes WHERE address = '%s'")
    assert ask(f"sqlite:{table}", "alice@lite.test", "o'neil@lite.test", "' OR 1=1 --") == [
        "lite.test/alice/", "lite.test/oneil/", None]
    host = make_host(domain="lite.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "lite.test", "virtual_mailbox_maps": f"sqlite:{table}"}).start()
    host.send("sender@client.test", "alice@lite.test", dakiya.message(to="alice@lite.test"))
    host.wait_messages("alice")
    assert rcpt(host, "new@lite.test")[0] == 550
    with contextlib.closing(sqlite3.connect(work / "mail.sqlite")) as database, database:
        database.execute("INSERT INTO boxes VALUES ('new@lite.test', 'lite.test/new/')")
    assert rcpt(host, "new@lite.test")[0] == 250
    (work / "mail.sqlite").write_bytes(b"this is no database" * 100)
    assert rcpt(host, "new@lite.test")[0] == 451


# ---- socketmap and tcp ----

class Maps(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A socketmap or tcp server that answers from a dictionary of raw replies."""
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address, protocol, replies):
        handler = {"socketmap": self.SocketMap, "tcp": self.Tcp}[protocol]
        super().__init__((address, 0), handler)
        self.replies, self.asked = replies, []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    class SocketMap(socketserver.StreamRequestHandler):
        def handle(self):
            while True:
                length = b""
                while not length.endswith(b":"):
                    byte = self.rfile.read(1)
                    if not byte:
                        return
                    length += byte
                request = self.rfile.read(int(length[:-1]) + 1)[:-1].decode()
                self.server.asked.append(request)
                reply = self.server.replies.get(request, "NOTFOUND ").encode()
                self.wfile.write(b"%d:%s," % (len(reply), reply))

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                request = line.decode().rstrip("\n")
                self.server.asked.append(request)
                self.wfile.write((self.server.replies.get(request, "500 none") + "\n").encode())


@pytest.fixture
def maps():
    servers = []

    def make(protocol, replies):
        servers.append(Maps(dakiya.new_address(), protocol, replies))
        return servers[-1]

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_socketmap_sees_whole_keys_and_keeps_errors_apart(maps):
    server = maps("socketmap", {"users Alice@x.test": "OK found it", "users long@x": "OK " + "v" * 99000,
                                "users temp@x": "TEMP later", "users perm@x": "PERM no",
                                "users slow@x": "TIMEOUT asked"})
    table = "socketmap:inet:%s:%d:users" % server.server_address
    assert ask(table, "Alice@x.test", "alice@x.test") == ["found it", None]
    assert ask(table, "long@x") == ["v" * 99000]
    for key in ("temp@x", "perm@x", "slow@x"):
        assert ask(table, key) is False
    server.replies["users bad@x"] = "MAYBE"
    assert ask(table, "bad@x") is False


def test_tcp_quotes_what_is_not_printable(maps):
    server = maps("tcp", {"get a%20b": "200 x%20y%25", "get later": "400 not%20now",
                          "get bad": "200 %zz", "get odd": "300 x"})
    table = "tcp:%s:%d" % server.server_address
    assert ask(table, "a b", "none") == ["x y%", None]
    for key in ("later", "bad", "odd"):
        assert ask(table, key) is False


def test_socketmap_in_a_host(maps, make_host):
    server = maps("socketmap", {"boxes alice@map.test": "OK map.test/alice/",
                                "boxes temp@map.test": "TEMP the database is asleep"})
    host = make_host(domain="map.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "map.test",
        "virtual_mailbox_maps": "socketmap:inet:%s:%d:boxes" % server.server_address}).start()
    host.send("sender@client.test", "alice@map.test", dakiya.message(to="alice@map.test"))
    host.wait_messages("alice")
    assert rcpt(host, "nobody@map.test")[0] == 550
    assert rcpt(host, "temp@map.test")[0] == 451
    host.wait_log("TEMP the database is asleep")
    # Whole addresses only: neither the bare name nor @domain was asked for.
    assert not [key for key in server.asked if key.split()[1][0] == "@" or "@" not in key]
    server.shutdown()
    server.server_close()


def test_tables_of_restriction_classes_are_reached(maps, make_host):
    """The class is named only in what an access table answers."""
    server = maps("socketmap", {"check alice@example.test": "OK REJECT not today"})
    table = "socketmap:inet:%s:%d:check" % server.server_address
    host = make_host(settings={
        "smtpd_restriction_classes": "careful",
        "careful": f"check_recipient_access {table}",
        "smtpd_sender_restrictions": "check_sender_access inline:{sender@client.test=careful}",
    }).start()
    assert rcpt(host, "bob@example.test")[0] == 250
    code, text = rcpt(host, "alice@example.test")
    assert code == 554 and b"not today" in text


# ---- modules ----

def test_a_missing_module_is_named_with_its_package(work):
    needs("pgsql")
    program = work / "bin" / "dakmap"
    program.parent.mkdir()
    shutil.copy(DAKMAP, program)
    done = dakiya.run(program, "-q", "x", f"pgsql:{cf(work / 't.cf', dbname='x', query='x')}",
                      check=False)
    assert done.returncode == 1 and "need the package dakiya-pgsql" in done.stderr


# ---- files that change under a running host ----

@pytest.mark.parametrize("kind", ["hash", "lmdb", "cdb", "texthash"])
def test_a_changed_file_counts_without_a_reload(make_host, work, kind):
    source = work / "boxes"

    def build(*names):
        new = work / "new"
        new.write_text("".join(f"{name}@file.test file.test/{name}/\n" for name in names))
        new.rename(source)
        if kind != "texthash":
            dakiya.run(DAKMAP, f"{kind}:{source}")

    build("alice")
    host = make_host(domain="file.test", users=(), settings={
        "virtual_mailbox_quota_maps": "", "virtual_mailbox_domains": "file.test", "virtual_mailbox_maps": f"{kind}:{source}"}).start()
    assert rcpt(host, "alice@file.test")[0] == 250 and rcpt(host, "bob@file.test")[0] == 550
    build("bob")
    dakiya.wait_for("the new table", lambda: rcpt(host, "bob@file.test")[0] == 250, timeout=10)
    assert rcpt(host, "alice@file.test")[0] == 550


def test_lmdb_changed_in_place_counts_at_once(work):
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(work / "t.lmdb"), subdir=False, lock=False, map_size=1 << 28)
    with environment.begin(write=True) as transaction:
        transaction.put(b"a\0", b"1\0")
    assert ask(f"lmdb:{work}/t", "a", "b") == ["1", None]
    with environment.begin(write=True) as transaction:
        transaction.put(b"b", b"2")
        transaction.delete(b"a\0")
    assert ask(f"lmdb:{work}/t", "a", "b") == [None, "2"]
    with environment.begin(write=True) as transaction:
        for number in range(5000):
            transaction.put(b"key%d\0" % number, b"v" * (number % 7000))
    assert ask(f"lmdb:{work}/t", "key4999", "key0", "key5000") == ["v" * 4999, "", None]
    environment.close()
