"""Debian's Linux on a machine with APICs: it finds the MP table and takes every interrupt by them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guests.assets import bootdisk
from tests.guests.assets.initramfs import DISK_OK, HALTED, PROMPT, LinuxGuest
from tests.guests.assets.loaders import isolinux_disc
from tests.guests.assets.trapline import SERIAL_ONLY, linux_options, trapline

pytestmark = pytest.mark.guest

JOB_S = 240
PORTABLE_JOB_S = 5400  # minutes of the processor, of which a busy host gives it a tenth
BOOT_S = 120
# Whose interrupt is on which pin, and the least number of them. Of the keyboard and mouse only a few.
PINS = {"timer": 2, "i8042": 1, "ttyS0": 4, "ata_piix": 14}


def run(guest: LinuxGuest, engine: str, folder: Path, mode: str, timeout_s: float) -> str:
    """Have the kernel work with a disk and return all it said."""
    disk = bootdisk.empty_vhd(folder / "disk.vhd", 128)
    options = ("--engine", engine, "--hd", disk)
    with trapline("run", *linux_options(guest, mode, apic=True), *options) as machine:
        machine.wait_for(HALTED, timeout_s)
        return bytes(machine.output).decode(errors="replace").replace("\r", "")


def check(output: str) -> None:
    """The kernel uses both chips and finds nothing wrong with them."""
    assert "found SMP MP-table at [mem 0x000f0" in output
    assert "IOAPIC[0]: apic_id 1, version 17, address 0xfec00000, GSI 0-23" in output
    assert re.search(r"\.\.TIMER: vector=0x[0-9A-F]+ apic1=0 pin1=2 apic2=0 pin2=0", output)
    assert "MP-BIOS bug" not in output
    rows = dict(re.findall(r"^ *(\w+): +(\d+)", output, re.MULTILINE))
    for name, pin in PINS.items():
        found = re.search(rf"^ *\d+: +(\d+) +IO-APIC +{pin}-edge +{name}$", output, re.MULTILINE)
        assert found, name
        assert int(found[1]) > 0, name
    assert int(rows["LOC"]) > 100
    assert (rows["ERR"], rows["MIS"], rows["SPU"]) == ("0", "0", "0")


@pytest.mark.verify
@pytest.mark.parametrize("fixture", ["linux_i386", "linux_amd64"])
def test_linux_runs_on_the_apics(
    fixture: str, accelerated: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    output = run(request.getfixturevalue(fixture), accelerated, tmp_path, "apic", JOB_S)
    assert DISK_OK.decode() in output
    check(output)


@pytest.mark.verify
@pytest.mark.timeout(PORTABLE_JOB_S + 5 * BOOT_S)
def test_linux_runs_on_the_apics_on_the_portable_engine(linux_i386: LinuxGuest, tmp_path: Path) -> None:
    check(run(linux_i386, "portable", tmp_path, "apic-read", PORTABLE_JOB_S))


@pytest.mark.verify
@pytest.mark.parametrize(
    ("firmware", "timer"),
    [("ours", rb"IO-APIC +2-edge +timer"), ("seabios", rb"IO-APIC +0-edge +timer")],
    ids=["ours", "seabios"],
)
def test_linux_from_a_cd_believes_the_table_of_the_firmware(
    firmware: str,
    timer: bytes,
    accelerated: str,
    linux_i386: LinuxGuest,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """SeaBIOS has the 8254 on pin 0, where it is not; Linux finds out and takes it through the 8259 there."""
    options: list[str | Path] = []
    if firmware == "seabios":
        options += ["--bios", request.getfixturevalue("seabios")]
        options += ["--vgabios", request.getfixturevalue("vgabios")]
    files = []
    for name, source in (("vmlinuz", linux_i386.kernel), ("initrd", linux_i386.initramfs)):
        files.append(tmp_path / name)
        files[-1].write_bytes(source.read_bytes())
    append = f"APPEND initrd=initrd {linux_i386.command_line('shell', apic=True)}"
    disc = isolinux_disc(tmp_path, [], "KERNEL vmlinuz", append, files=files)
    options += ["--cd", disc, "--apic", "--memory", "256M", "--engine", accelerated, *SERIAL_ONLY]
    with trapline("run", *options) as machine:
        at = machine.wait_for(PROMPT, 2 * BOOT_S)
        machine.send(b"cat /proc/interrupts\n")
        at = machine.wait_for(b"\nMIS:", BOOT_S, at)
        output = bytes(machine.output)
    assert re.search(timer, output)
    assert re.search(rb"IO-APIC +15-edge +ata_piix", output)
    assert (b"MP-BIOS bug" in output) == (firmware == "seabios")
