"""Snare's files: the pinned compiler gives the committed bytes, and the media hold what they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.snare import build, compiler
from tests.oracles import MissingError, run_tool

KERNELS = (build.KERNEL, build.PARA_KERNEL)
FILES = (build.BOOT, *KERNELS, build.FILES)


@pytest.mark.oracle
def test_the_pinned_compiler_gives_the_committed_bytes(tmp_path: Path) -> None:
    try:
        compiler.check_toolchain()
    except compiler.ToolchainError as error:
        raise MissingError(str(error)) from error
    compiler.build(tmp_path)
    for file in FILES:
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_committed_files_are_small() -> None:
    assert sum(file.stat().st_size for file in FILES) < 256 << 10


def test_boot_program_is_eight_sectors_with_signatures() -> None:
    program = build.BOOT.read_bytes()
    assert len(program) == 8 * 512
    assert program[3:11] == b"SNARE   "
    assert program[510:512] == b"\x55\xaa"


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.name)
def test_kernel_begins_with_a_multiboot_header_with_addresses(kernel: Path) -> None:
    words = [int.from_bytes(kernel.read_bytes()[i : i + 4], "little") for i in range(0, 32, 4)]
    magic, flags, checksum, header, load, load_end, bss_end, entry = words
    assert magic == 0x1BADB002
    assert flags & 1 << 16
    assert (magic + flags + checksum) & 0xFFFF_FFFF == 0
    assert header == load == 0x100000
    assert load_end - load == kernel.stat().st_size
    assert load < entry < load_end < bss_end


def test_files_name_no_path_of_the_machine_that_built_them() -> None:
    for file in FILES:
        assert str(Path.home()).encode() not in file.read_bytes()
        assert b"guests/snare" not in file.read_bytes()


def test_hard_disk_has_one_active_partition_the_file_system() -> None:
    disk = build.hard_disk()
    entry = disk[446:462]
    assert entry[0] == 0x80
    assert entry[4] == build.PARTITION_TYPE
    start = int.from_bytes(entry[8:12], "little")
    assert disk[start * 512 : start * 512 + 8] == b"SNAREFS1"
    assert disk[462:510] == bytes(48)


def test_a_command_line_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="a command line of 64 bytes: at most 63 have room"):
        build.boot_image("x" * 64, ramdisk=True)


@pytest.mark.oracle
def test_cd_boots_by_el_torito_for_xorriso(tmp_path: Path) -> None:
    build.make_cd(tmp_path / "snare.iso")
    report = run_tool("xorriso", "-indev", tmp_path / "snare.iso", "-report_el_torito", "plain")
    assert "El Torito boot img :   1  BIOS  y   none" in report
    assert "/SNARE.IMG" in report


@pytest.mark.oracle
def test_cd_is_a_volume_for_7zip(tmp_path: Path) -> None:
    build.make_cd(tmp_path / "snare.iso")
    run_tool("7zz", "x", "-y", f"-o{tmp_path}", tmp_path / "snare.iso", "SNARE.IMG")
    image = build.boot_image(ramdisk=True, all_loaded=True)
    assert (tmp_path / "SNARE.IMG").read_bytes().rstrip(b"\0") == image.rstrip(b"\0")


def test_the_port_takes_files_of_the_kernel_s_place_and_leaves_the_others() -> None:
    kernel = compiler._sources("kernel", "kernel/selftest")
    port = compiler._paravirtual(kernel)
    replaced = {Path("kernel/machine.c"), Path("kernel/serial.c")}
    assert set(kernel) - set(port) == replaced
    added = {path.name for path in port if path.parent == Path("kernel/para")}
    assert added == {"machine.c", "serial.c", "ring.c"}


def test_a_medium_may_carry_the_port() -> None:
    image = build.hard_disk(kernel=build.PARA_KERNEL)
    port = build.PARA_KERNEL.read_bytes()
    assert image[8 * 512 : 8 * 512 + len(port)] == port
