"""Daemons whose calls fail when told to: see faults.c, which has the same layout and bits."""
import contextlib
import mmap
import os
import pathlib
import shutil
import struct

from dakiya import BUILD

CALLS = {"write": 1, "sync": 2, "open": 4, "rename": 8, "link": 16, "memory": 32, "mkdir": 64,
         "truncate": 128, "read": 256, "stat": 512, "list": 1024, "thread": 2048, "socket": 4096, "change": 8192}
NEVER = 0x7FFFFFFF


class Faults:
    """A copy of the daemons in `directory` and the page that rules them."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        shutil.copytree(BUILD / "crash", self.directory)
        path = self.directory / "faults.ctl"
        path.write_bytes(bytes(4096))
        os.chmod(path, 0o666)  # each daemon opens it as whoever it is
        os.chmod(self.directory, 0o755)
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)

    def set(self, index, value):
        struct.pack_into("i", self.page, index * 4, value)

    def get(self, index):
        return struct.unpack_from("i", self.page, index * 4)[0]

    def ignore_syncs(self, is_ignored=True):
        self.set(0, int(is_ignored))

    def limit_descriptors(self, number):
        """Daemons get no descriptor from this number on; 0: as many as they like."""
        self.set(15, number)

    def arm(self, call, error, first, last=None, program=""):
        """The calls first..last of this class fail with the errno; error 0: only half is done."""
        self.disarm()
        self.page[28:60] = program.encode().ljust(32, b"\0")
        for index, value in ((2, error), (3, 0), (4, first), (5, last or first), (6, 0),
                             (1, CALLS[call])):
            self.set(index, value)

    def disarm(self):
        self.set(1, 0)

    @property
    def counted(self):
        return self.get(3)

    @property
    def crash(self):
        """Where the last crash was."""
        return self.page[64:2064].split(b"\0")[0].decode()

    @property
    def hits(self):
        return self.get(6)

    @contextlib.contextmanager
    def armed(self, *arguments, **options):
        self.arm(*arguments, **options)
        try:
            yield self
        finally:
            self.disarm()
