"""The boot program: its source gives the committed bytes, and QEMU's PC passes it."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.oracles import require_tool

SELFTEST = Path(__file__).parents[2] / "guests" / "selftest"
QEMU_EXIT_PASSED = 1  # isa-debug-exit ends QEMU with value * 2 + 1


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("selftest_build", SELFTEST / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_qemu(*arguments: str) -> list[str]:
    """Run the program on QEMU; return its lines, having checked the exit status."""
    done = subprocess.run(
        [
            *(require_tool("qemu-system-i386"), "-nodefaults", "-display", "none", "-serial", "stdio"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-vga", "std", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == QEMU_EXIT_PASSED, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.oracle
def test_source_assembles_to_the_committed_bytes(build: ModuleType, tmp_path: Path) -> None:
    require_tool("nasm")
    build.assemble(tmp_path / "selftest.bin")
    assert (tmp_path / "selftest.bin").read_bytes() == (SELFTEST / "selftest.bin").read_bytes()


def test_program_is_8_kib_with_a_boot_sector_and_an_end_mark() -> None:
    program = (SELFTEST / "selftest.bin").read_bytes()
    assert len(program) == 8192
    assert program[510:512] == b"\x55\xaa"
    assert program[446:510] == bytes(64)
    assert program[-4:] == b"MDNE"


def test_pattern_is_the_one_the_program_checks(build: ModuleType) -> None:
    image = build.boot_image()
    assert len(image) == 64 * 512
    assert (
        int.from_bytes(image[33 * 512 + 4 : 33 * 512 + 8], "little")
        == (33 * 128 + 1) * 0x9E3779B1 & 0xFFFFFFFF
    )


@pytest.mark.guest
@pytest.mark.oracle
def test_qemu_passes_it_from_a_dynamic_vhd(build: ModuleType, tmp_path: Path) -> None:
    require_tool("qemu-system-i386")
    build.make_vhd(tmp_path / "selftest.vhd")
    lines = on_qemu("-drive", f"file={tmp_path}/selftest.vhd,format=vpc,if=ide")
    assert lines[-1] == "self-test: 26 of 26 passed"
    assert not [line for line in lines if "skip" in line]


@pytest.mark.guest
@pytest.mark.oracle
def test_qemu_passes_it_from_a_cd_without_a_disk(build: ModuleType, tmp_path: Path) -> None:
    require_tool("qemu-system-i386")
    require_tool("xorriso")
    build.make_cd(tmp_path / "selftest.iso")
    lines = on_qemu("-cdrom", f"{tmp_path}/selftest.iso")
    assert lines[-1] == "self-test: 26 of 26 passed"
    assert len([line for line in lines if line.endswith("# skip: no hard disk")]) == 4
