"""QEMU's system tests for i386 pass: Multiboot kernels that speak on port E9h, and fail by port F4h."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.assets.machines import BOOT_S, Firmware
from tests.guests.assets.qemu_tests import system_test
from vmm.config import MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest


def run(name: str, passed: bytes, engine: str, firmware: Firmware, folder: Path) -> None:
    kernel = str(system_test(name, folder))
    with Machine(MachineConfig(kernel=kernel, engine=engine, **firmware)) as machine:  # type: ignore[arg-type]
        result = machine.run(timeout_s=BOOT_S)
        output = machine.debug_output()
    assert result.reason == "halted", (result, output[-500:])  # a test that fails writes to port F4h
    assert output.endswith(passed), output[-500:]


def test_hello(firmware: Firmware, engine: str, tmp_path: Path) -> None:
    run("hello", b"Hello World\n", engine, firmware, tmp_path)


def test_memory(firmware: Firmware, accelerated: str, tmp_path: Path) -> None:
    run("memory", b"Test complete: PASSED\n", accelerated, firmware, tmp_path)
