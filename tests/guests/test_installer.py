"""Debian's installer shows its first dialog, as text and drawn on a frame buffer by its own driver."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests.guests.assets.debian import unpacked
from tests.guests.assets.machines import run_until_shown, shown
from vmm.config import MachineConfig
from vmm.display.screenshot import draw
from vmm.machine import Machine

pytestmark = [pytest.mark.guest, pytest.mark.verify, pytest.mark.timeout(900)]

MIB: Final = 1 << 20
FIRST_DIALOG_S: Final = 600
LOOK_S: Final = 5  # a picture takes the guest's time
APPEND: Final = "acpi=off nolapic noapic vga=normal fb=false"
NO_FRAME_BUFFER: Final = "module_blacklist=bochs"  # the kernel's driver of our display
BLUE, GREY, RED = (0, 0, 170), (170, 170, 170), (170, 0, 0)  # newt's screen, window, chosen line


def installer(engine: str, append: str) -> Machine:
    package = unpacked("debian-installer-12-netboot-i386", "all")
    folder = package / "usr/lib/debian-installer/images/12/i386/text/debian-installer/i386"
    return Machine(
        MachineConfig(
            kernel=str(folder / "linux"),
            initrd=(str(folder / "initrd.gz"),),
            append=append,
            memory_bytes=512 * MIB,
            engine=engine,  # type: ignore[arg-type]
        )
    )


def share(machine: Machine, colour: tuple[int, int, int]) -> float:
    """Return how much of the screen has a colour, 0 to 1."""
    return float(np.all(draw(machine.board.vga) == colour, axis=2).mean())


def test_it_asks_for_the_language(accelerated: str, tmp_path: Path) -> None:
    with installer(accelerated, f"{APPEND} {NO_FRAME_BUFFER}") as machine:
        run_until_shown(machine, "Select a language", FIRST_DIALOG_S)
        run_until_shown(machine, "<Go Back>")
        assert "English" in shown(machine)


def test_its_display_driver_draws_the_dialog_on_the_frame_buffer(accelerated: str) -> None:
    with installer(accelerated, APPEND) as machine:
        result = machine.run(lambda: machine.board.vga.is_graphics, FIRST_DIALOG_S)
        assert result.reason == "until", (result, shown(machine))
        for _ in range(FIRST_DIALOG_S // LOOK_S):
            machine.run(timeout_s=LOOK_S)
            if machine.board.vga.is_graphics and share(machine, RED) > 0.005:
                break
        assert draw(machine.board.vga).shape == (768, 1024, 3)
        assert share(machine, RED) > 0.005
        assert share(machine, BLUE) > 0.05
        assert share(machine, GREY) > 0.5
