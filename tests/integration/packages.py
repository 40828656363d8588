"""Programs that are not to be installed, unpacked from Debian's packages for a test to run."""
import fcntl
import os
import subprocess

import pytest

import dakiya

PLACE = dakiya.TOP / "build-packages"


def unpacked(package):
    """The directory that the package's files lie below; skips the test when it cannot be had."""
    PLACE.mkdir(parents=True, exist_ok=True)
    root = PLACE / package
    with open(PLACE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():
            return root
        download = subprocess.run(["apt-get", "download", "-q", package], cwd=PLACE, check=False,
                                  capture_output=True, text=True, timeout=120)
        found = sorted(PLACE.glob(f"{package}_*.deb"))
        if download.returncode != 0 or not found:
            pytest.skip(f"Debian's package {package} cannot be had here: {download.stderr[-200:]}")
        partial = PLACE / f"{package}.partial"
        subprocess.run(["dpkg", "-x", found[-1], partial], check=True)
        os.rename(partial, root)
    return root


