"""Debian's Linux on our PC, loaded by `--kernel`: a shell, a disk, and the end of the run."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from tests.benchmarks.boot_linux import GOAL, compare
from tests.guests.assets import bootdisk, initramfs
from tests.guests.assets.initramfs import HALTED, PROMPT, READY, LinuxGuest
from tests.guests.assets.trapline import linux_options, trapline
from tests.oracles import run_tool

pytestmark = pytest.mark.guest

HALTED_FOREVER = 6  # exit status of `trapline run` after HLT with interrupts off
BOOT_S = 120
JOB_S = 240
PORTABLE_BOOT_S = 5400  # minutes of the processor, of which a busy host gives it a tenth
MACHINES = {"linux_i386": b"i686", "linux_amd64": b"x86_64"}

both = pytest.mark.parametrize("fixture", ["linux_i386", "linux_amd64"])


@pytest.fixture
def guest(fixture: str, request: pytest.FixtureRequest) -> LinuxGuest:
    found: LinuxGuest = request.getfixturevalue(fixture)
    return found


@pytest.mark.quick("linux_amd64")
@both
def test_shell_on_the_serial_console_answers_commands(
    guest: LinuxGuest, fixture: str, accelerated: str
) -> None:
    with trapline("run", *linux_options(guest, "shell"), "--engine", accelerated) as machine:
        machine.wait_for(READY, BOOT_S)
        machine.wait_for(PROMPT, BOOT_S)
        machine.send(b"echo $((6 * 7))\n")
        answered = machine.wait_for(b"\n42\r\n", BOOT_S)
        machine.send(b"uname -m\n")
        machine.wait_for(b"\n" + MACHINES[fixture] + b"\r\n", BOOT_S, answered)
        machine.send(b"exit\n")
        machine.wait_for(HALTED, BOOT_S)
        assert machine.wait_for_end(BOOT_S) == HALTED_FOREVER


@pytest.mark.quick("linux_i386")
@both
def test_disk_is_partitioned_formatted_written_and_read_back(
    guest: LinuxGuest, accelerated: str, tmp_path: Path
) -> None:
    disk = bootdisk.empty_vhd(tmp_path / "disk.vhd", 128)
    with trapline("run", *linux_options(guest, "disk"), "--engine", accelerated, "--hd", disk) as machine:
        machine.wait_for(HALTED, JOB_S)
        machine.wait_for(initramfs.DISK_OK, timeout_s=0)
        assert machine.wait_for_end(BOOT_S) == HALTED_FOREVER
    check_with_other_tools(disk)


def check_with_other_tools(disk: Path) -> None:
    """QEMU reads the VHD, e2fsck finds nothing wrong in it, and 7-Zip finds the guest's data."""
    run_tool("7zz", "t", disk)
    raw = disk.with_suffix(".raw")
    run_tool("qemu-img", "convert", "-f", "vpc", "-O", "raw", disk, raw)
    check_raw_with_other_tools(raw)


def check_raw_with_other_tools(raw: Path) -> None:
    """e2fsck finds nothing wrong in the partition, and the guest's data are there."""
    with raw.open("rb") as file:
        sector = file.read(512)
    first_lba, sectors = struct.unpack_from("<II", sector, bootdisk.TABLE_OFFSET + 8)
    assert sectors > 64 * 2048
    file_system = raw.with_suffix(".ext2")
    with raw.open("rb") as file:
        file.seek(first_lba * bootdisk.SECTOR_BYTES)
        file_system.write_bytes(file.read(sectors * bootdisk.SECTOR_BYTES))
    run_tool("e2fsck", "-f", "-n", file_system)
    copy = raw.with_suffix(".data")
    run_tool("debugfs", "-R", f"dump /data {copy}", file_system)
    found = hashlib.sha256(copy.read_bytes()).hexdigest()
    assert found == hashlib.sha256(initramfs.expected_data()).hexdigest()


@pytest.mark.verify
@pytest.mark.timeout(PORTABLE_BOOT_S + 5 * BOOT_S)
def test_i686_boots_on_the_portable_engine(linux_i386: LinuxGuest) -> None:
    with trapline("run", *linux_options(linux_i386, "boot"), "--engine", "portable") as machine:
        machine.wait_for(READY, PORTABLE_BOOT_S)
        machine.wait_for(HALTED, 2 * BOOT_S)
        assert machine.wait_for_end(2 * BOOT_S) == HALTED_FOREVER


@pytest.mark.verify
@pytest.mark.oracle
@both
def test_boots_in_at_most_one_and_a_half_times_the_time_of_qemu(guest: LinuxGuest, accelerated: str) -> None:
    times = compare(guest, runs=5, options=("--engine", accelerated))
    assert times.ratio <= GOAL, times
