"""Debian's installer shows its first dialog, as text and drawn on a frame buffer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.guests.assets.debian import unpacked
from tests.guests.assets.machines import run_until_shown, shown
from vmm.config import MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

MIB: Final = 1 << 20
FIRST_DIALOG_S: Final = 400
APPEND: Final = "acpi=off nolapic noapic vga=normal fb=false"


def kernel_and_initrd() -> tuple[str, tuple[str, ...]]:
    package = unpacked("debian-installer-12-netboot-i386", "all")
    folder = package / "usr/lib/debian-installer/images/12/i386/text/debian-installer/i386"
    return str(folder / "linux"), (str(folder / "initrd.gz"),)


def test_it_asks_for_the_language(accelerated: str, tmp_path: Path) -> None:
    kernel, initrd = kernel_and_initrd()
    config = MachineConfig(
        kernel=kernel,
        initrd=initrd,
        append=APPEND,
        memory_bytes=512 * MIB,
        engine=accelerated,  # type: ignore[arg-type]
    )
    with Machine(config) as machine:
        run_until_shown(machine, "Select a language", FIRST_DIALOG_S)
        run_until_shown(machine, "<Go Back>")
        assert "English" in shown(machine)
        machine.screenshot(tmp_path / "installer.png")
    assert (tmp_path / "installer.png").stat().st_size > 1000
