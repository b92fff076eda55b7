"""Disk sectors by PIO and by bus-master DMA, from a raw image and from a dynamic VHD.

The guest's driver is a few lines: it polls, keeps no queue and reads the disk round and round. The
floor is the image alone: `BlockImage.read` of as many sectors as a command asks for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.guest import BUFFER, MIB, SECTOR_BYTES, Loop, Pc, boot_disk, on_qemu
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Row
from tests.guests.assets.bootdisk import dynamic_vhd

US: Final = 1e6
IMAGE_MIB: Final = 16
IMAGE_SECTORS: Final = IMAGE_MIB * MIB // SECTOR_BYTES
LARGE_SECTORS: Final = 128

ISSUE: Final = """
    mov eax, esi
    mov dx, 0x1f3
    out dx, al
    shr eax, 8
    inc edx
    out dx, al
    shr eax, 8
    inc edx
    out dx, al
    inc edx
    mov al, 0xe0
    out dx, al
    mov dx, 0x1f2
    mov al, {sectors}
    out dx, al
    mov dx, 0x1f7
    mov al, {opcode}
    out dx, al
    add esi, {sectors}
    and esi, IMAGE_SECTORS - 1
"""
WAIT_FOR_DATA: Final = """
%%wait:
    in al, dx
    and al, 0x88
    cmp al, 8
    jne %%wait
"""
SET_UP: Final = f"""
%define IMAGE_SECTORS {IMAGE_SECTORS}
%macro read_one 0
{ISSUE.format(sectors=1, opcode="0x20")}
{WAIT_FOR_DATA}
    mov edi, BUFFER
    mov ecx, 256
    mov dx, 0x1f0
    rep insw
%endmacro
%macro await_block 0
    mov dx, 0x1f7
{WAIT_FOR_DATA}
%endmacro
%macro read_multiple 0
{ISSUE.format(sectors=LARGE_SECTORS, opcode="0xc4")}
    mov edi, BUFFER
    mov ebx, {LARGE_SECTORS} / 16
%%block:
    await_block
    mov ecx, 256 * 16
    mov dx, 0x1f0
    rep insw
    dec ebx
    jnz %%block
%endmacro
%macro read_dma 0
    mov dx, 0xc004
    mov eax, PRD
    out dx, eax
    mov dx, 0xc002
    mov al, 6
    out dx, al
    mov dx, 0xc000
    mov al, 8
    out dx, al
{ISSUE.format(sectors=LARGE_SECTORS, opcode="0xc8")}
    mov dx, 0xc000
    mov al, 9
    out dx, al
    mov dx, 0xc002
%%wait:
    in al, dx
    test al, 4
    jz %%wait
    mov dx, 0xc000
    mov al, 0
    out dx, al
    mov dx, 0x1f7
    in al, dx
%endmacro
%macro pci_write 3              ; register of the IDE function 0:1.1, AL/AX/EAX, value
    mov dx, 0xcf8
    mov eax, 0x80000900 + %1
    out dx, eax
    mov dx, 0xcfc
    mov eax, %3
    out dx, %2
%endmacro
    pci_write 0x20, eax, 0xc001
    pci_write 0x40, eax, 0x80008000
    pci_write 0x04, ax, 5
    mov dword [PRD], BUFFER
    mov dword [PRD + 4], 0x80000000
    mov dx, 0x1f6
    mov al, 0xe0
    out dx, al
    mov dx, 0x1f2
    mov al, 16
    out dx, al
    mov dx, 0x1f7
    mov al, 0xc6                ; SET MULTIPLE MODE
    out dx, al
"""


class Reading(NamedTuple):
    """One way to read: the guest's loop and how many sectors a turn of it reads."""

    what: str
    body: str
    sectors: int
    turns: int


READINGS: Final = (
    Reading("READ SECTORS, 1 sector by REP INSW", "read_one", 1, 4000),
    Reading("READ MULTIPLE, 64 KiB in blocks of 16", "read_multiple", LARGE_SECTORS, 250),
    Reading("READ DMA, 64 KiB by the bus master", "read_dma", LARGE_SECTORS, 1500),
)


def sectors(lab: Lab) -> Iterator[Row]:
    """Measure the readings on both formats, and on QEMU from the same raw image."""
    loops = [Loop(way.body, lab.loops(way.turns), setup="xor esi, esi") for way in READINGS]
    loops[0] = replace(loops[0], setup=SET_UP + loops[0].setup)
    raw = _image(lab.folder / "disk.raw", loops)
    vhd = dynamic_vhd(raw, lab.folder / "disk.vhd")
    theirs = _image(lab.folder / "qemu.raw", loops)
    with Pc(lab.folder, disk=raw) as pc, Pc(lab.folder, disk=vhd) as pc_vhd:
        ours, alone, ours_vhd, alone_vhd, qemu = lab.medians_each(
            lambda: pc.time(*loops),
            lambda: _image_alone(pc, loops),
            lambda: pc_vhd.time(*loops),
            lambda: _image_alone(pc_vhd, loops),
            lambda: on_qemu(loops, theirs),
        )
    for index, way in enumerate(READINGS):
        yield _row(way, "raw", ours[index], "QEMU TCG", qemu[index])
        yield _row(way, "raw", ours[index], "the image alone", alone[index])
        yield _row(way, "VHD", ours_vhd[index], "the image alone", alone_vhd[index])


def _row(way: Reading, image: str, ours: float, against: str, theirs: float) -> Row:
    rate = way.sectors * SECTOR_BYTES / ours / 1e6
    unit = US / way.sectors
    return Row(
        f"{way.what}, {image}", ours * unit, against, theirs * unit, "us/sector", note=f"{rate:.0f} MB/s"
    )


def _image(path: Path, loops: list[Loop]) -> Path:
    """Write a disk of noise that starts with the guest, so that QEMU's BIOS boots it."""
    path.write_bytes(random.Random(1).randbytes(IMAGE_MIB * MIB))
    return boot_disk(loops, path)


def _image_alone(pc: Pc, loops: list[Loop]) -> list[float]:
    """Check that the guest's buffer holds what it read last, and time the machine's image by itself."""
    image = pc.machine.drives.images[0]
    last = (loops[-1].count - 1) * LARGE_SECTORS % IMAGE_SECTORS
    assert pc.machine.memory.read(BUFFER, LARGE_SECTORS * SECTOR_BYTES) == image.read(last, LARGE_SECTORS)
    times = []
    for way, loop in zip(READINGS, loops, strict=True):
        began = time.perf_counter()
        lba = 0
        for _ in range(loop.count):
            image.read(lba, way.sectors)
            lba = (lba + way.sectors) % IMAGE_SECTORS
        times.append((time.perf_counter() - began) / loop.count)
    return times
