"""Calls of the firmware: ours answers them in Python, SeaBIOS with guest code on QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.benchmarks.guest import MARK_PORT, BootedPc, Loop, boot_disk, on_qemu
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Row

US: Final = 1e6
FLOPPY_BYTES: Final = 1440 << 10
CALLS: Final = 5_000
READS: Final = 300
READ_SECTOR: Final = "mov ax, 0x0201\nmov bx, 0x9000\nmov cx, 5\nxor dx, dx\nint 0x13"
SERVICES: Final = (
    ("INT 16h AH=01h, no key", "mov ah, 1\nint 0x16", CALLS),
    ("INT 10h AH=0Eh, teletype", "mov ax, 0x0e41\nmov bx, 7\nint 0x10", CALLS),
    ("INT 13h AH=02h, a sector of a floppy", READ_SECTOR, READS),
)


def services(lab: Lab) -> Iterator[Row]:
    """Measure calls that programs make over and over."""
    loops = [Loop(body, lab.loops(count), "real") for _, body, count in SERVICES]
    mine = boot_disk(loops, lab.folder / "ours.raw", mark=MARK_PORT)
    theirs = boot_disk(loops, lab.folder / "qemu.raw")
    floppy = lab.folder / "floppy.raw"
    floppy.write_bytes(bytes(FLOPPY_BYTES))
    pc = BootedPc(mine, floppy)
    options = ("-vga", "std", "-drive", f"file={floppy},format=raw,if=floppy,snapshot=on")
    ours, peers = lab.medians_each(lambda: pc.time(loops), lambda: on_qemu(loops, theirs, *options))
    for (what, _, _), us, them in zip(SERVICES, ours, peers, strict=True):
        yield Row(what, us * US, "SeaBIOS on QEMU TCG", them * US, "us")
