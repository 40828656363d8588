"""What local sends on and the end of the recipient that it is for are one record: a crash between
the two does not send it again. The test stands in for bounce, and everything stops behind its commit."""
import pathlib
import struct
import sys

import pytest
from local_host import LocalHost

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))

from queue_host import Channel, Intake  # noqa: E402
from test_damage import records  # noqa: E402

JOB_FORWARD = 4
RECORD_NOTICE = 5


class Queue:
    """The sockets of a host's queue, as queue_host wants them."""

    def __init__(self, host):
        self.host = host

    def path(self, name):
        return self.host.queue / name


def without_bounce(host):
    path = host.config / "master.cf"
    path.write_text("".join(line for line in path.read_text().splitlines(True)
                            if not line.startswith("bounce")))


def send_on_and_stop(host, settles):
    """One job of bounce: its commit, and no report."""
    channel = Channel(host.queue / "private/jobs")
    channel.send("agent_hello", transport="bounce", window=1)
    name, job = channel.receive()
    assert name == "job" and job["kind"] == JOB_FORWARD
    forward = job["recipients"][0]["forward"][0]
    intake = Intake(Queue(host))
    queue_id = intake.make_id()
    if settles:
        intake.channel.send("intake_settles", queue_id=queue_id, job=job["job"],
                            about=job["queue_id"], recipients=[{"recipient": 0}])
    addresses = [f"{one['address'].decode().partition('@')[0]}@local.test"
                 for one in forward["recipients"]]
    assert intake.commit(job["content"], addresses, queue_id=queue_id)[1] == 0
    host.kill()


@pytest.mark.parametrize("settles, times", [(True, 1), (False, 2)])
def test_what_an_alias_sends_on_is_not_sent_again(make_host, settles, times):
    local = LocalHost(make_host, aliases={"fwd": "alice"})
    host = local.host
    without_bounce(host)
    host.start()
    host.send("x@far.test", "fwd@local.test", "Subject: x\r\n\r\nbody\r\n")
    send_on_and_stop(host, settles)
    host.write_config()
    host.start()
    host.wait_queue_empty()
    assert len(local.mail("alice")) == times


def test_the_stage_behind_it_is_not_lost(make_host):
    """A user who keeps a copy: that is still to come when the rest is sent on."""
    local = LocalHost(make_host)
    host = local.host
    local.write("alice", ".forward", "\\alice, carol\n")
    without_bounce(host)
    host.start()
    host.send("x@far.test", "alice@local.test", "Subject: x\r\n\r\nbody\r\n")
    send_on_and_stop(host, True)
    host.write_config()
    host.start()
    host.wait_queue_empty()
    assert len(local.mail("alice")) == 1 and len(local.mail("carol")) >= 1


def test_bounce_says_what_its_message_settles(make_host):
    """It is seen in the journal: a NOTICE record holds both."""
    local = LocalHost(make_host, aliases={"fwd": "alice"})
    local.start().send("fwd")
    local.wait_mail("alice")
    local.host.wait_queue_empty()
    segment = next((local.host.queue / "active").iterdir()).read_bytes()
    assert RECORD_NOTICE in {struct.unpack_from("<H", segment, at + 20)[0]
                             for at, _ in records(segment)}
