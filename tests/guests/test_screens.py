"""Guests with pictures and menus: GRUB's graphical menu over VBE, iPXE from its CD."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.guests.assets import grub
from tests.guests.assets.debian import unpacked
from tests.guests.assets.machines import BOOT_S, Firmware, run_until_shown
from vmm.config import DriveConfig, MachineConfig
from vmm.display.screenshot import draw
from vmm.machine import Machine

pytestmark = pytest.mark.guest

CTRL_B: Final = "\x02"
MENU: Final = """
insmod all_video
set gfxmode=640x480x32
loadfont unicode
insmod gfxterm
terminal_output gfxterm
terminal_input console
set timeout=-1
menuentry 'First entry' { true }
menuentry 'Second entry' { true }
"""
STILL_S: Final = 5


def still_picture(disc: Path, firmware: Firmware) -> bytes:
    """Return the screen once it is in a graphics mode, not black, and has stood still."""
    seen = b""
    with Machine(MachineConfig(cd=(DriveConfig(path=str(disc)),), **firmware)) as machine:  # type: ignore[arg-type]
        display = machine.board.vga
        result = machine.run(lambda: display.is_graphics, BOOT_S)
        assert result.reason == "until", result
        for _ in range(BOOT_S // STILL_S):
            machine.run(timeout_s=STILL_S)
            before, seen = seen, draw(display).tobytes()
            if any(seen) and seen == before:
                break
        assert seen == before, "the picture does not stand still"
        assert draw(display).shape == (480, 640, 3)
    return seen


@pytest.mark.verify
def test_grub_draws_the_same_menu_on_both_video_bioses(seabios: Path, vgabios: Path, tmp_path: Path) -> None:
    disc = grub.disc(tmp_path, MENU, terminal="")
    theirs = still_picture(disc, {"bios": str(seabios), "vgabios": str(vgabios)})
    assert still_picture(disc, {}) == theirs


def test_ipxe_answers_at_the_prompt_of_its_cd(firmware: Firmware) -> None:
    disc = unpacked("ipxe", "all") / "usr/lib/ipxe/ipxe.iso"
    with Machine(MachineConfig(cd=(DriveConfig(path=str(disc)),), **firmware)) as machine:  # type: ignore[arg-type]
        run_until_shown(machine, "Ctrl-B")
        machine.send_keys(CTRL_B)
        run_until_shown(machine, "iPXE>")
        machine.send_keys("config\n")
        run_until_shown(machine, "iPXE configuration settings")
