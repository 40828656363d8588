"""Fixtures: an authority a run, hosts a test (host) or a module (shared_host)."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import dakiya  # noqa: E402


@pytest.fixture(scope="session")
def authority():
    directory = dakiya.new_directory("ca")
    yield dakiya.Authority(directory)
    dakiya.remove_directory(directory)


@pytest.fixture
def make_host(authority):
    """A function that makes hosts (not yet started) which are stopped after the test."""
    hosts = []

    def make(kind=dakiya.Host, **options):
        directory = dakiya.new_directory("host")
        options.setdefault("authority", authority)
        host = kind(directory, **options)
        hosts.append(host)
        return host

    yield make
    try:
        for host in hosts:
            host.stop(check=False)
            host.check_log()
    finally:
        for host in hosts:
            host.stop(check=False)
            dakiya.remove_directory(host.directory)


@pytest.fixture
def host(make_host):
    """One running host for example.test with users alice and bob."""
    return make_host().start()


@pytest.fixture(scope="module")
def shared_host(authority):
    """One running host for all tests of a module: they must not mind each other's mail."""
    directory = dakiya.new_directory("host")
    host = dakiya.Host(directory, authority=authority)
    host.start()
    yield host
    host.stop(check=False)
    try:
        host.check_log()
    finally:
        dakiya.remove_directory(directory)
