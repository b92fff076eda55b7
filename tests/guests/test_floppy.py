"""SYSLINUX from a floppy disk: by our firmware, and by SeaBIOS, which drives the controller itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.assets.trapline import SERIAL_ONLY, trapline
from tests.oracles import run_tool

pytestmark = pytest.mark.guest

BOOT_S = 60
CONFIG = "SERIAL 0 115200\nPROMPT 1\nDEFAULT none\n"


@pytest.fixture
def floppy(tmp_path: Path) -> Path:
    """A floppy disk that boots to the prompt of SYSLINUX on COM1."""
    image, config = tmp_path / "boot.img", tmp_path / "syslinux.cfg"
    config.write_text(CONFIG)
    run_tool("mkfs.fat", "-C", image, "1440")
    run_tool("syslinux", "--install", image)
    run_tool("mcopy", "-i", image, config, "::syslinux.cfg")
    return image


def reach_the_prompt(*options: str | Path) -> None:
    with trapline("run", *options, *SERIAL_ONLY) as machine:
        prompt = machine.wait_for(b"boot: ", BOOT_S)
        machine.send(b"nothing\n")
        machine.wait_for(b"Loading nothing... failed", BOOT_S, prompt)


def test_our_firmware_boots_it(floppy: Path, accelerated: str) -> None:
    reach_the_prompt("--floppy", floppy, "--engine", accelerated)


def test_an_image_of_a_floppys_size_needs_no_option(floppy: Path, accelerated: str) -> None:
    reach_the_prompt(floppy, "--engine", accelerated)


def test_seabios_boots_it(floppy: Path, seabios: Path, vgabios: Path, accelerated: str) -> None:
    reach_the_prompt("--floppy", floppy, "--bios", seabios, "--vgabios", vgabios, "--engine", accelerated)
