"""Power cuts under load: what was answered 250 is in a mailbox, in a bounce or at the next server,
exactly as sent; what POP3 deleted stays deleted; the start needs nobody.

CRASH_CUTS: cuts for each file system (2). The control runs without syncs: it must lose mail.
"""
import os
import random
import re
import time

import pytest

from disk import Disk
from faults import Faults
from mailhost import Account, Host, Load, Sink, report, wait_for

CUTS = int(os.environ.get("CRASH_CUTS", "2"))


class Run:
    """One host on one disk, cut again and again."""

    def __init__(self, place, kind, **options):
        self.disk = Disk(kind, place / "disk")
        try:
            self.host = Host(place, place / "disk", **options)
            self.sink = Sink(self.host)
        except BaseException:
            self.disk.close()
            raise
        self.account = Account(self.host, self.sink)
        self.failed_starts, self.seconds, self.cuts = 0, [], 0

    def start(self):
        begin = time.monotonic()
        try:
            self.host.start(60)
        except AssertionError as error:
            self.failed_starts += 1
            print(str(error)[-3000:])
            wait_for("a start at the second attempt", lambda: self.host.start(60), 5)
        self.seconds.append(time.monotonic() - begin)

    def cut(self, after):
        with Load(self.account) as load:
            time.sleep(after)
            load.is_over.set()  # what is under way is what the cut meets
            self.disk.cut(self.sink.go_off)
            self.host.kill()
        self.sink.is_off = False
        self.cuts += 1
        self.disk.restore()

    def settle(self):
        """Waits until everything that is left has been delivered, then looks through it."""
        self.host.wait_queue_empty(90)
        time.sleep(0.2)
        self.account.collect()
        # A directory that grows is several blocks, which only a journal writes all or none: a cut in
        # between takes names away that were synced long before. e2fsck keeps their files.
        if self.disk.kind == "ext4-without-journal":
            self.account.collect_aside(self.disk.directory / "lost+found")

    def close(self):
        self.host.kill()
        self.sink.close()
        self.disk.close()

    def figures(self, what):
        account = self.account
        local, bounces, relayed = account.duplicates()
        report(f"{what}: {self.cuts} cuts, {len(account.accepted)} messages answered 250, "
               f"{len(account.lost())} lost, {len(account.corrupt_all())} corrupt, duplicates: "
               f"{local} in mailboxes, {bounces} bounces, {relayed} relayed; "
               f"{len(account.aside)} whole in lost+found; "
               f"{len(account.deleted)} deleted by POP3, {len(account.returned)} came back; "
               f"{self.failed_starts} failed starts, slowest start {max(self.seconds):.1f} s")


    def explain_lost(self):
        """What the log knows of what is missing, for whoever has to find out."""
        for name in self.account.lost()[:8]:
            found = re.search(rf"(\w+): message-id=<{re.escape(name)}@", self.host.log())
            lines = [line for line in self.host.log().splitlines() if found and f" {found[1]}: " in line]
            print(f"lost: {name}, for {self.account.accepted[name]}, after {self.cuts} cuts", *lines, sep="\n  ")


def run_cuts(run, cuts, seed):
    chance = random.Random(seed)
    run.start()
    for _ in range(cuts):
        run.cut(chance.uniform(0.3, 2.0))
        run.start()
        run.settle()
        if run.account.lost():
            run.explain_lost()
            break


@pytest.mark.parametrize("kind", [pytest.param("ext4", marks=pytest.mark.sanitized), "xfs",
                                  "ext4-without-journal"])
def test_nothing_promised_is_lost_in_a_power_cut(place, kind):
    run = Run(place, kind, log_on_disk=kind == "xfs")
    try:
        run_cuts(run, CUTS, os.environ.get("CRASH_SEED", time.time()))
        run.figures(f"power cut, {kind}")
        run.host.check_log()
        account = run.account
        assert not account.lost() and not account.corrupt_all() and not account.returned
        assert run.failed_starts == 0
        assert len(account.accepted) > 20 * run.cuts
        local, bounces, relayed = account.duplicates()
        assert local <= run.cuts
        assert bounces == 0
        # Between another server's acknowledgement and our note lie a report, the sync that is under
        # way and the next: how many that meets follows from the disk and from how busy the machine is.
        assert relayed <= 8 * run.cuts
    finally:
        run.close()


def test_without_syncs_the_same_test_reports_losses(place):
    faults = Faults(place / "libexec")
    run = Run(place, "ext4", libexec=faults.directory)
    try:
        faults.ignore_syncs()
        run.start()
        for _ in range(3):
            run.cut(1.5)
            run.start()
            run.settle()
            if run.account.lost():
                break
        run.figures("control without syncs")
        assert run.account.lost(), "a test that finds nothing without syncs tests nothing"
    finally:
        run.close()
