"""authd: mechanisms, equal answers for unknown users, the cache, floods, mailbox descriptors."""
import json
import concurrent.futures
import os
import re
import statistics
import time

import authchannel
import dakiya
import pytest
from authchannel import BAD_MECHANISM, FAILED, MALFORMED, NO_MAILBOX, OK, TRY_LATER
from dakiya import PASSWORD

ALICE, BOB = "alice@example.test", "bob@example.test"


class AuthHost(dakiya.Host):
    """A host with authd alone."""

    def master_cf(self):
        return "authd unix - - n - 16 authd\n"


def make(settings=None):
    directory = dakiya.new_directory("auth")
    return AuthHost(directory, settings={"auth_failure_delay": "0s", **(settings or {})})


@pytest.fixture(scope="module")
def host():
    made = make()
    try:
        yield made.start()
    finally:
        made.stop(check=False)
        dakiya.remove_directory(made.directory)


@pytest.fixture
def auth(host):
    with authchannel.channel(host) as made:
        yield made


@pytest.fixture
def start_host():
    """Hosts of a test's own."""
    made = []

    def start(settings):
        made.append(make(settings))
        return made[-1].start()

    yield start
    for one in made:
        one.stop(check=False)
        dakiya.remove_directory(one.directory)


def test_mechanisms_without_tls_send_no_password(auth):
    assert auth.mechanisms() == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
    assert auth.mechanisms(has_tls=False) == ["SCRAM-SHA-256"]
    assert auth.plain(ALICE, PASSWORD, has_tls=False).status == BAD_MECHANISM
    assert auth.start("LOGIN", has_tls=False).status == BAD_MECHANISM
    assert auth.scram(ALICE, PASSWORD, has_tls=False).status == OK


def test_plain_login_and_scram_accept_the_right_password(auth):
    for login in (auth.plain, auth.login, auth.scram):
        done = login(ALICE, PASSWORD)
        assert (done.status, done.user) == (OK, ALICE), done.reason


def test_user_names_are_folded(auth):
    for login in (auth.plain, auth.login, auth.scram):
        done = login("Alice@Example.TEST", PASSWORD)
        assert (done.status, done.user) == (OK, ALICE), done.reason


def test_login_with_initial_response(auth):
    assert auth.start("LOGIN", ALICE) == b"Password:"
    assert auth.respond(PASSWORD).status == OK


def test_plain_without_initial_response(auth):
    assert auth.start("PLAIN") == b""
    assert auth.respond(f"\0{ALICE}\0{PASSWORD}").status == OK


@pytest.mark.parametrize("user", [ALICE, "nobody@example.test", "not-an-address", "", "x" * 300],
                         ids=["known", "unknown", "malformed", "empty", "long"])
def test_wrong_credentials_all_get_the_same_answer(auth, user):
    for login in (auth.plain, auth.login):
        if user == "" and login == auth.plain:
            continue
        done = login(user, "wrong password")
        assert (done.status, done.reason) == (FAILED, "authentication failure")
    if user:
        done = auth.scram(user, "wrong password")
        assert (done.status, done.reason) == (FAILED, "authentication failure")


def test_another_ones_name_cannot_be_taken(auth):
    for login in (auth.plain, auth.scram):
        assert login(ALICE, PASSWORD, authorize=BOB).status == FAILED
        assert login(ALICE, PASSWORD, authorize="nobody@example.test").status == FAILED
        assert login(ALICE, PASSWORD, authorize=ALICE).status == OK
        assert login(ALICE, "wrong password", authorize=ALICE).status == FAILED


def test_ones_own_password_with_anothers_name_first_is_refused(host, auth):
    host.add_user("dave", "daves own password")
    dave = "dave@example.test"
    for login in (auth.plain, auth.scram):
        assert login(ALICE, "daves own password", authorize=dave).status == FAILED
        assert login(dave, "daves own password", authorize=ALICE).status == FAILED
        assert login(dave, "daves own password").status == OK


def test_unknown_users_have_a_salt_that_stays(auth):
    known, unknown = auth.scram_salt(ALICE), auth.scram_salt("nobody@example.test")
    assert auth.scram_salt(ALICE) == known
    assert auth.scram_salt("nobody@example.test") == unknown
    assert auth.scram_salt("other@example.test") not in (known, unknown)
    assert len(known) == len(unknown)


@pytest.mark.parametrize("response", [b"", b"x", b"\0\0", b"a\0b\0", b"\0" * 100, b"\xff" * 5000])
def test_malformed_plain_is_refused_and_the_channel_lives(auth, response):
    assert auth.start("PLAIN", response).status in (FAILED, MALFORMED)
    assert auth.plain(ALICE, PASSWORD).status == OK


@pytest.mark.parametrize("message", ids=range(11), argvalues=[
    b"", b"n", b"n,,n=a", b"n,,n=alice@example.test,r=", b"x,,n=a,r=bbbbbbbbbb",
    b"p=tls-unique,,n=alice@example.test,r=abcdefgh", b"p=x,,n=a,r=bbbbbbbb", b"n,,m=1,n=a,r=bbbbb",
    b"n,,n=a=2,r=bbbbbbbbb", b"n,a=" + b"b" * 2000 + b",n=a,r=bbbbbb", b"\0" * 50])
def test_malformed_scram_is_refused_and_authd_lives(auth, message):
    answer = auth.start("SCRAM-SHA-256", message)
    if isinstance(answer, bytes):
        answer = auth.respond(b"c=biws,r=nonsense,p=AAAA")
    assert answer.status in (FAILED, MALFORMED)
    assert auth.plain(ALICE, PASSWORD).status == OK


def test_scram_asked_for_channel_binding_in_a_later_message(auth):
    assert auth.start("SCRAM-SHA-256") == b""
    assert auth.respond(b"p=tls-unique,,n=alice@example.test,r=abcdefgh").status == MALFORMED
    assert auth.plain(ALICE, PASSWORD).status == OK


def test_unknown_mechanisms_are_refused(auth):
    for name in ("CRAM-MD5", "NTLM", "ANONYMOUS", "", "PLAIN LOGIN", "X" * 200):
        assert auth.start(name, b"").status == BAD_MECHANISM


def test_cancelled_exchange_is_forgotten(auth):
    auth.start("LOGIN")
    auth.cancel()
    auth.start("LOGIN")
    assert auth.start("PLAIN", f"\0{ALICE}\0{PASSWORD}").status == OK
    with pytest.raises(EOFError):
        auth.respond(b"x")


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"\0" * 64, b"\x08\0\0\0\x50\0\0\0" + b"\xff" * 8,
                                  b"\0\0\0\0\x51\0\0\0", b"\0\0\0\0\x50\0\x03\0"])
def test_malformed_frame_ends_that_channel_only(host, auth, junk):
    with authchannel.channel(host) as other:
        other.channel.socket.sendall(junk)
        other.channel.socket.shutdown(1)
        with pytest.raises((EOFError, ConnectionResetError)):
            other.receive()
    assert auth.plain(ALICE, PASSWORD).status == OK


def test_unknown_user_costs_what_a_wrong_password_costs(auth):
    def cost(user):
        begin = time.monotonic()
        assert auth.plain(user, "wrong password").status == FAILED
        return time.monotonic() - begin

    pairs = [(cost(ALICE), cost("nobody@example.test")) for _ in range(15)]
    known, unknown = (statistics.median(times) for times in zip(*pairs))
    assert known > 0.005, "a hash was computed"
    assert 0.6 < known / unknown < 1.6, (known, unknown)


def test_repeated_login_costs_no_hash(auth):
    assert auth.plain(ALICE, PASSWORD).status == OK
    begin = time.monotonic()
    for _ in range(50):
        assert auth.plain(ALICE, PASSWORD).status == OK
    assert (time.monotonic() - begin) / 50 < 0.005


def test_changed_password_counts_at_once(host, auth):
    host.add_user("carol")
    user = "carol@example.test"
    assert auth.plain(user, PASSWORD).status == OK
    assert auth.scram(user, PASSWORD).status == OK
    host.tool("dakuser", "password", "--stdin", user, stdin="another password\n")
    assert auth.plain(user, PASSWORD).status == FAILED
    assert auth.scram(user, PASSWORD).status == FAILED
    assert auth.plain(user, "another password").status == OK
    assert auth.scram(user, "another password").status == OK
    host.tool("dakuser", "disable", user)
    assert auth.plain(user, "another password").status == FAILED
    assert auth.scram(user, "another password").status == FAILED
    host.tool("dakuser", "enable", user)
    assert auth.plain(user, "another password").status == OK
    host.tool("dakuser", "delete", user)
    assert auth.plain(user, "another password").status == FAILED


def test_many_parallel_logins_all_succeed(host):
    def work(number):
        user = (ALICE, BOB)[number % 2]
        with authchannel.channel(host) as auth:
            logins = (auth.plain, auth.login, auth.scram)
            return [logins[(number + i) % 3](user, PASSWORD).status for i in range(6)]

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        results = list(pool.map(work, range(80)))
    assert all(status == OK for statuses in results for status in statuses)


def test_flood_of_wrong_passwords_does_not_stop_a_known_user(host):
    until = time.monotonic() + 3

    def flood(number):
        count = 0
        with authchannel.channel(host) as auth:
            while time.monotonic() < until:
                auth.plain(f"user{number}@example.test", "x" * 10, address=f"198.51.100.{number}")
                count += 1
        return count

    with authchannel.channel(host) as auth, concurrent.futures.ThreadPoolExecutor(60) as pool:
        assert auth.plain(ALICE, PASSWORD).status == OK
        floods = [pool.submit(flood, number) for number in range(60)]
        time.sleep(0.5)
        times = []
        while time.monotonic() < until - 0.5:
            begin = time.monotonic()
            assert auth.scram(ALICE, PASSWORD).status == OK
            times.append(time.monotonic() - begin)
        assert sum(one.result() for one in floods) > 60
    assert len(times) > 5 and statistics.median(times) < 0.5, times


def test_failures_of_an_address_are_to_wait_longer_and_longer(start_host):
    host = start_host({"auth_failure_delay": "1s", "auth_failure_delay_limit": "2s"})
    with authchannel.channel(host) as auth:
        begin = time.monotonic()
        delays = []
        for _ in range(3):
            done = auth.plain(ALICE, "wrong password", address="192.0.2.9")
            assert done.status == FAILED
            delays.append(done.delay_ms)
            time.sleep(done.delay_ms / 1000)
        assert delays == [1000, 2000, 2000]
        assert time.monotonic() - begin < 8, "authd itself keeps nobody waiting"
        done = auth.plain(ALICE, PASSWORD, address="192.0.2.9")
        assert (done.status, done.delay_ms) == (OK, 0)
        assert auth.plain(ALICE, "wrong", address="2001:db8::1").delay_ms == 1000
        assert 1900 < auth.plain(ALICE, "wrong", address="2001:db8::2").delay_ms < 3000


def test_channels_that_are_dropped_shorten_nothing(start_host):
    host = start_host({"auth_failure_delay": "4s", "auth_client_held_limit": "3"})

    def try_one(_, password="wrong password"):
        with authchannel.channel(host) as auth:
            done = auth.plain(ALICE, password, address="192.0.2.9")
            return done.status, done.delay_ms

    begin = time.monotonic()
    answers = [try_one(number) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers += list(pool.map(try_one, range(8)))
    assert time.monotonic() - begin < 4, "no answer is held back here"
    assert [status for status, _ in answers] == [FAILED] * 3 + [TRY_LATER] * 13
    assert answers[0][1] == 4000 and answers[1][1] > 8000 and answers[2][1] > 15000
    assert all(delay == 4000 for _, delay in answers[3:])
    time.sleep(4)
    assert try_one(0, PASSWORD) == (OK, 0), "the first one's time is over"


def test_login_lines_name_the_client_and_never_the_password(host, auth):
    auth.plain(ALICE, PASSWORD)
    auth.plain(ALICE, "secret-wrong-password\tx")
    host.wait_log(r"postfix/authd\[\d+\]: login: client=client\.test\[192\.0\.2\.7\], "
                  r"service=smtp, sasl_method=PLAIN, sasl_username=alice@example\.test$")
    host.wait_log(r"login failed: client=client\.test\[192\.0\.2\.7\], service=smtp, "
                  r"sasl_method=PLAIN, sasl_username=alice@example\.test, "
                  r"reason=authentication failure")
    assert "secret-wrong" not in host.log() and PASSWORD not in host.log()


def test_names_with_control_bytes_cannot_forge_log_lines(host, auth):
    auth.start("LOGIN")
    auth.respond(b"evil\nNov 24 00:00:00 fake line")
    auth.respond(b"password")
    assert not re.search(r"^Nov 24 00:00:00 fake", host.log(), flags=re.M)


def test_without_a_mailbox_server_the_login_says_so(auth):
    done = auth.plain(ALICE, PASSWORD, service="pop3", want_mailbox=True)
    assert (done.status, done.mailbox) == (NO_MAILBOX, None)
    assert "private/virtual" in done.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_strangers_may_not_connect(host):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgid(64300)
            os.setuid(64310)
            with authchannel.channel(host) as auth:
                auth.mechanisms()
        except (OSError, EOFError):
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_missing_database_is_try_later(start_host):
    host = start_host({})
    (host.data / "users.db").rename(host.data / "users.away")
    with authchannel.channel(host) as auth:
        assert auth.plain(ALICE, PASSWORD).status == TRY_LATER
        assert auth.scram(ALICE, PASSWORD).status == TRY_LATER
        (host.data / "users.away").rename(host.data / "users.db")
        assert auth.plain(ALICE, PASSWORD).status == OK


def test_clear_text_may_be_allowed_and_mechanisms_chosen_by_service(start_host):
    host = start_host({"auth_allow_cleartext": "yes", "auth_pop3_mechanisms": "PLAIN"})
    with authchannel.channel(host) as auth:
        assert auth.mechanisms("smtp", has_tls=False) == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
        assert auth.mechanisms("pop3", has_tls=False) == ["PLAIN"]
        assert auth.plain(ALICE, PASSWORD, has_tls=False).status == OK
        assert auth.scram(ALICE, PASSWORD, service="pop3").status == BAD_MECHANISM


def test_scram_takes_app_passwords_for_their_service(start_host):
    host = start_host({"auth_password_cost": "1"})

    def app(protocol):
        return host.tool("dakuser", "app", "add", "--protocol", protocol, ALICE, protocol).stdout.strip()

    def works(password):
        with authchannel.channel(host) as auth:
            return [auth.scram(ALICE, password, service=service).status == OK
                    for service in ("smtp", "pop3")]

    smtp, pop3, both = app("smtp"), app("pop3"), app("any")
    with authchannel.channel(host) as auth:
        salt = auth.scram_salt(ALICE)
    assert works(PASSWORD) == [True, True]
    assert (works(smtp), works(pop3), works(both)) == ([True, False], [False, True], [True, True])
    assert works(both[:-1] + "?") == [False, False]
    # Another password of the user's own: the salt stays, so that the others go on.
    host.tool("dakuser", "password", "--stdin", ALICE, stdin="quite another one\n")
    with authchannel.channel(host) as auth:
        assert auth.scram_salt(ALICE) == salt
    assert (works("quite another one"), works(both), works(PASSWORD)) == (
        [True, True], [True, True], [False, False])
    assert all(json.loads(line)["last_use"] > 0 for line in
               host.tool("dakuser", "app", "list", "--json", ALICE).stdout.splitlines())
    # Somebody else's name, a stranger's nonce and an answer out of turn prove nothing.
    with authchannel.channel(host) as auth:
        assert auth.scram(ALICE, both, authorize="bob@example.test").status != OK
        first = auth.start("SCRAM-SHA-256", f"n,,n={ALICE},r=abcdefghijkl")
        done = auth.respond(f"c=biws,r=abcdefghijkl,p={'A' * 43}=")
        assert isinstance(first, bytes) and done.status != OK
    host.tool("dakuser", "disable", ALICE)
    assert works(both) == [False, False]


def test_who_has_only_app_passwords_logs_in_by_scram(start_host):
    host = start_host({"auth_password_cost": "1"})
    host.tool("dakuser", "import", "-", stdin="carol@example.test:$5$abcdefgh$"
              "RxHUO8Rsm6QH7ETdHbhUcHKfVwR0dX9tyWU7hT6j0N6\n")
    first, second = (host.tool("dakuser", "app", "add", "carol@example.test", label).stdout.strip()
                     for label in ("one", "two"))
    with authchannel.channel(host) as auth:
        assert auth.scram("carol@example.test", first).status == OK
        assert auth.scram("carol@example.test", second).status == OK
        assert auth.scram("carol@example.test", "neither").status != OK
