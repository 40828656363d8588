"""Disks in files: file systems on loop devices whose power can be cut.

A cut is what a machine without power leaves: the file system is shut down without flushing, and
what the device has got by then is what the next mount sees. Needs root.
"""
import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import time

import pytest

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: the same number
NO_LOG_FLUSH = 2
KINDS = {
    "ext4": (["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "ext4", 160),
    "ext4-without-journal": (["mkfs.ext4", "-q", "-F", "-O", "^has_journal"], "ext4", 160),
    "xfs": (["mkfs.xfs", "-q", "-f"], "xfs", 320),
}


def run(*command, check=True):
    return subprocess.run([str(word) for word in command], check=check, capture_output=True,
                          text=True, timeout=120)


class Disk:
    """A file system of one of KINDS in a file, mounted on `directory`."""

    def __init__(self, kind, directory, megabytes=None, options=()):
        self.kind = kind
        self.directory = pathlib.Path(directory)
        self.image = self.directory.with_suffix(".image")
        self.is_mounted = False
        self.directory.mkdir(parents=True)
        command, self.type, size = KINDS[kind]
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        if shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin") is None:
            pytest.skip(f"no {command[0]} on this machine")
        with open(self.image, "wb") as image:
            image.truncate((megabytes or size) << 20)
        run(*command, *options, self.image)
        try:
            self.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine cannot mount {kind}: {error.stderr.strip()}")

    def mount(self):
        # nouuid: another mount namespace of the machine may still hold what was here before the cut.
        options = "loop,nouuid" if self.type == "xfs" else "loop"
        run("mount", "-t", self.type, "-o", options, self.image, self.directory)
        self.is_mounted = True

    def cut(self, network_off=lambda: None):
        """The power goes. Nothing reaches the disk after this, and nobody outside."""
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            network_off()
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def restore(self):
        """Power is back: what is mounted is what the device had when it went."""
        # Without a journal, blocks that wait in the device's cache would still go out at umount.
        run("cp", "--sparse=always", self.image, self.image.with_suffix(".cut"))
        self.unmount()
        self.image.with_suffix(".cut").replace(self.image)
        if self.kind == "ext4-without-journal":  # what every boot does
            done = run("e2fsck", "-fy", self.image, check=False)
            assert done.returncode <= 2, done.stdout + done.stderr
        self.mount()

    def unmount(self):
        if not self.is_mounted:
            return
        until = time.monotonic() + 20
        while run("umount", self.directory, check=False).returncode != 0:
            for pid in self.users():  # daemons that were started while others were killed
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                run("umount", "-l", self.directory, check=False)
                break
            time.sleep(0.05)
        self.is_mounted = False

    def users(self):
        """Processes whose working directory is on this disk: only our own daemons go there."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if os.readlink(entry / "cwd").startswith(f"{self.directory}/"):
                    found.append(int(entry.name))
        return found

    def close(self):
        self.unmount()
        for path in (self.image, self.image.with_suffix(".cut")):
            path.unlink(missing_ok=True)
