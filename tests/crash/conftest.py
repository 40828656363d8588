"""Helpers shared with the integration tests, and a place for hosts."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from mailhost import workplace  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitized: also run against the ASan build")


@pytest.fixture
def place():
    """A directory that daemons under other uids may enter."""
    with workplace("crash") as path:
        yield path
