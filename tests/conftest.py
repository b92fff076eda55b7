"""For all tests: the real guests, prepared once a session, and the settings of Hypothesis.

A test that lets `oracles.MissingError` through, by itself or by a fixture, is skipped or failed as
`oracles.missing` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

from tests.guests.assets.initramfs import LinuxGuest, linux_guest
from tests.oracles import MissingError, missing, require_file
from vmm.cpu.accel import LIBRARY


def pytest_configure(config: pytest.Config) -> None:
    """No example fails because the host is busy; those of `make test` are always the same."""
    hypothesis.settings.register_profile(
        "trapline",
        deadline=None,
        derandomize="not verify" in config.option.markexpr,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("trapline")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make verify` what the marks `quick` and `long` say of a test's parameters.

    Real guests come first: what is left at the end, when one worker waits for the other, is short.
    """
    items.sort(key=lambda item: item.get_closest_marker("guest") is None)
    for item in items:
        identity = item.name.partition("[")[2].removesuffix("]")
        quick, long = item.get_closest_marker("quick"), item.get_closest_marker("long")
        if (quick is not None and identity not in quick.args) or (long is not None and identity in long.args):
            item.add_marker(pytest.mark.verify)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """End a test whose fixtures lack something of the host."""
    with lacking_ends_the_test():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """End a test that lacks something of the host."""
    with lacking_ends_the_test():
        return (yield)


@contextmanager
def lacking_ends_the_test() -> Iterator[None]:
    """Turn a MissingError into a skipped or failed test."""
    try:
        yield
    except MissingError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def linux_i386() -> LinuxGuest:
    """Debian's i686 kernel with our initramfs."""
    return linux_guest("i386")


@pytest.fixture(scope="session")
def linux_amd64() -> LinuxGuest:
    """Debian's amd64 kernel with our initramfs."""
    return linux_guest("amd64")


@pytest.fixture(scope="session")
def accelerated() -> str:
    """The name of the accelerated engine, where it is built."""
    if not LIBRARY.exists():
        raise MissingError(
            "the accelerated engine is not built: a C compiler is missing (Debian package gcc)"
        )
    return "accelerated"


@pytest.fixture(scope="session")
def seabios() -> Path:
    """Debian's SeaBIOS."""
    return require_file("/usr/share/seabios/bios-256k.bin", "seabios")


@pytest.fixture(scope="session")
def vgabios() -> Path:
    """The VGA BIOS that belongs to SeaBIOS."""
    return require_file("/usr/share/seabios/vgabios-stdvga.bin", "seabios")
