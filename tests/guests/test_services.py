"""The firmware's services as programs nobody here wrote use them: SYSLINUX and its modules, memdisk, GRUB.

Where the machine and not the BIOS decides, our firmware and SeaBIOS must give the same answers.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guests.assets import grub, loaders
from tests.guests.assets.trapline import SERIAL_ONLY, trapline
from tests.oracles import require_file

pytestmark = pytest.mark.guest

BOOT_S = 90
PROMPT = b"boot: "
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()%].|\r")
HDT_PROMPT = b"hdt> "


@pytest.fixture(params=["ours", "seabios"])
def firmware(request: pytest.FixtureRequest, accelerated: str) -> tuple[str | Path, ...]:
    options: tuple[str | Path, ...] = (*SERIAL_ONLY, "--engine", accelerated)
    if request.param == "seabios":
        bios, vgabios = request.getfixturevalue("seabios"), request.getfixturevalue("vgabios")
        options = (*options, "--bios", bios, "--vgabios", vgabios)
    return options


def shown(options: tuple[str | Path, ...], *arguments: str | Path, until: bytes = PROMPT) -> str:
    """Run a machine until its serial port has shown `until`; return all it showed."""
    with trapline("run", *options, *arguments) as machine:
        machine.wait_for(until, BOOT_S)
        return ESCAPES.sub(b"", bytes(machine.output)).decode("latin-1")


def check_memory(text: str) -> None:
    """What meminfo.c32 prints, for 64 MiB: INT 12h, 15h 88h, E801h and E820h."""
    assert "INT 12h: 639K (0x9fc00)" in text
    assert "INT 15 88: 0xfc00 (64512K)" in text
    assert "INT 15 E801: 0x3c00 (15360K) 0x0300 (49152K)" in text
    assert "0000000000100000x 0000000003f00000x 0000000004000000x 1 [-] usable" in text


@pytest.mark.quick("ours")
def test_memory_services_by_meminfo(firmware: tuple[str | Path, ...], tmp_path: Path) -> None:
    disc = loaders.isolinux_disc(tmp_path, ("meminfo",), "  COM32 meminfo.c32")
    text = shown(firmware, "--cd", disc, "--memory", "64M")
    assert "ISOLINUX" in text
    assert "INT 12h: 639K (0x9fc00)" in text
    if "--bios" not in firmware:  # SeaBIOS keeps some memory at the top for its own tables
        check_memory(text)


@pytest.mark.long("seabios-1200", "seabios-2880")
@pytest.mark.parametrize("kib", [1200, 1440, 2880])
def test_el_torito_floppy_boots(kib: int, firmware: tuple[str | Path, ...], tmp_path: Path) -> None:
    floppy = loaders.syslinux_floppy(tmp_path, kib, "meminfo")
    text = shown(firmware, "--cd", loaders.emulating_disc(tmp_path, floppy), "--memory", "64M")
    assert "SYSLINUX" in text
    assert "INT 12h: 639K (0x9fc00)" in text


@pytest.mark.quick("ours")
def test_el_torito_hard_disk_boots(firmware: tuple[str | Path, ...], tmp_path: Path) -> None:
    disk = loaders.syslinux_disk(tmp_path, "meminfo")
    text = shown(firmware, "--cd", loaders.emulating_disc(tmp_path, disk, hard_disk=True), "--memory", "64M")
    assert "SYSLINUX" in text
    assert "INT 12h: 639K (0x9fc00)" in text


@pytest.mark.quick("ours")
def test_memdisk_takes_the_disk_service_over(firmware: tuple[str | Path, ...], tmp_path: Path) -> None:
    floppy = loaders.syslinux_floppy(tmp_path, 1440, "meminfo")
    memdisk = require_file("/usr/lib/syslinux/memdisk", "syslinux-common")
    entry = ("  KERNEL memdisk", f"  INITRD {floppy.name}")
    disc = loaders.isolinux_disc(tmp_path, (), *entry, files=(memdisk, floppy))
    text = shown(firmware, "--cd", disc, "--memory", "64M")
    assert re.search(r"INT 12h: 63[0-9]K", text)  # memdisk has taken some, and INT 12h tells
    assert text.count("Copyright") == 2  # ISOLINUX from the CD, SYSLINUX from the RAM disk


@pytest.mark.quick("ours")
def test_disk_keeps_the_geometry_it_was_partitioned_under(
    firmware: tuple[str | Path, ...], accelerated: str, tmp_path: Path
) -> None:
    disk = loaders.syslinux_disk(tmp_path, "meminfo")
    if "--bios" not in firmware:  # of SeaBIOS we cannot ask this: it shows the drive's own, 16 heads
        text = shown(firmware, disk)
        assert "SYSLINUX" in text
    disc = loaders.isolinux_disc(tmp_path, ("hdt",), "  COM32 hdt.c32", "  APPEND nomenu")
    heads, track = (15, 17) if "--bios" not in firmware else (16, 63)
    assert f"{heads} heads, {track} sectors/track" in hdt(firmware, disc, disk, "show disk")["show disk"]


def hdt(options: tuple[str | Path, ...], disc: Path, disk: Path, *commands: str) -> dict[str, str]:
    """Give commands to the Hardware Detection Tool on `disc`; return what each printed."""
    answers = {}
    with trapline("run", *options, "--cd", disc, "--hd", disk, "--boot", "cd", "--memory", "64M") as machine:
        at = machine.wait_for(HDT_PROMPT, BOOT_S) + 1
        for command in commands:
            machine.send(command.encode() + b"\r")
            end = machine.wait_for(HDT_PROMPT, BOOT_S, at)
            answers[command] = ESCAPES.sub(b"", bytes(machine.output[at:end])).decode("latin-1")
            at = end + 1
    return answers


def test_hardware_detection_tool_reads_dmi_pci_and_edd(accelerated: str, tmp_path: Path) -> None:
    disc = loaders.isolinux_disc(tmp_path, ("hdt",), "  COM32 hdt.c32", "  APPEND nomenu")
    disk = loaders.syslinux_disk(tmp_path, "meminfo")
    found = hdt((*SERIAL_ONLY, "--engine", accelerated), disc, disk,
                "show summary", "show dmi", "show memory", "show disk", "show pci")  # fmt: skip
    for command, texts in {
        "show summary": ("Manufacturer : Trapline", "Product Name : Virtual PC/AT", "Memory Size   : 64 MB"),
        "show dmi": ("DMI Table version 2.4 found", "chassis", "cpu", "system"),
        "show memory": ("bank 00      : 64 MB RAM",),
        "show disk": (
            "DISK 0x80",
            "EDD:   Version: 30, size:   8.09 MiB",
            "Host bus: PCI",
            "Interface type: ATA",
        ),
        "show pci": ("NB Devices   : 4",),
    }.items():
        for text in texts:
            assert text in found[command], (command, found[command])


GRUB_SCRIPT = """
insmod lspci
insmod lsmmap
insmod smbios
insmod part_msdos
insmod fat
insmod date
insmod sleep
echo BEGIN
ls -l
lspci
lsmmap
smbios -t 17 -w 12
sleep 1
echo FINISHED
halt
"""


def grub_answers(options: tuple[str | Path, ...], disc: Path, disk: Path) -> list[str]:
    text = shown(options, "--cd", disc, "--hd", disk, "--boot", "cd", "--memory", "64M", until=b"FINISHED")
    return text[text.index("BEGIN") : text.index("FINISHED")].splitlines()


@pytest.mark.verify
def test_grub_finds_the_same_machine_under_both_firmwares(
    accelerated: str, seabios: Path, vgabios: Path, tmp_path: Path
) -> None:
    disc, disk = grub.disc(tmp_path, GRUB_SCRIPT), loaders.syslinux_disk(tmp_path, "meminfo")
    options = (*SERIAL_ONLY, "--engine", accelerated)
    ours = grub_answers(options, disc, disk)
    theirs = grub_answers((*options, "--bios", seabios, "--vgabios", vgabios), disc, disk)

    def kept(lines: list[str]) -> list[str]:
        return [line for line in lines if "base_addr" not in line]

    assert kept(ours) == kept(theirs)
    assert "00:01.1 8086:7010 [0101] IDE Controller [PI 80]" in ours
    assert any("hd0,msdos1" in line and "fat" in line for line in ours)
    assert "64" in ours
    assert "base_addr = 0x100000, length = 0x3f00000, available RAM" in ours
