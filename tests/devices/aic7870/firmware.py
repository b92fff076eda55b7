"""The firmware that Linux downloads into an AIC-7870, out of Debian's source of the kernel.

The kernel's tree holds it assembled for the widest form of the instruction, with notes which
instructions a chip without this or that feature leaves out. What the driver's loader does with
them is done here; the text itself is the kernel's and stays in its package.

Sources:
    Linux 6.1, drivers/scsi/aic7xxx: aic7xxx_seq.h_shipped, aic7xxx_core.c (ahc_loadseq).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from devices.aic7870.instruction import FIRST_BRANCH, alu, branch
from tests.guests.assets.debian import unpacked_source

PACKAGE: Final = "linux"
FOLDER: Final = "drivers/scsi/aic7xxx"

CHIP: Final = frozenset(("AHC_PAGESCBS", "AHC_INITIATORROLE", "AHC_TMODE_WIDEODD_BUG", "AHC_PCI_MWI_BUG"))
"""What an AIC-7870 in a PC is and has."""

CONSTANTS: Final = (0, 1, 0xFF, 0x00, 16, 0xF0, 0x0F)
"""What the driver fills in: places of its queues, cache line size 0, S/G elements fetched at once."""

BLOCK_MOVE: Final = 6  # of one byte: what later chips have for AND FFh


class Patch(NamedTuple):
    """`length` instructions from `begin` stay if `holds`, else so many patches are passed over."""

    holds: bool
    begin: int
    length: int
    skip: int


class Firmware(NamedTuple):
    """Packed words, and the ranges that the driver single-steps out of before it looks at the card."""

    words: list[int]
    critical: list[range]


def firmware(wide: bool = False) -> Firmware:
    """Return what Linux downloads into an AIC-7870.

    Raises:
        MissingError: Debian's source of the kernel cannot be had.
    """
    return load(unpacked_source(PACKAGE, FOLDER) / "aic7xxx_seq.h_shipped", wide)


def load(path: Path, wide: bool = False) -> Firmware:
    """Read the kernel's file and leave out what the chip does not need."""
    text = path.read_text()
    true = CHIP | {"AHC_WIDE"} if wide else CHIP
    program = [int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})", _table(text, "seqprog"))]
    words = [int.from_bytes(bytes(program[at : at + 4]), "little") for at in range(0, len(program), 4)]
    kept = _kept(len(words), _patches(text, true))
    moved = {}
    for at in range(len(words), -1, -1):
        moved[at] = moved[at + 1] - (at in kept) if at < len(words) else len(kept)
    critical = [
        range(moved[int(begin)], moved[int(end)])
        for begin, end in re.findall(r"\{ (\d+), (\d+) \}", _table(text, "critical_sections"))
    ]
    return Firmware([_packed(words[at], moved) for at in sorted(kept)], [part for part in critical if part])


def _table(text: str, name: str) -> str:
    start = text.index(f"{name}[] = {{")
    return text[start : text.index("};", start)]


def _patches(text: str, true: frozenset[str]) -> list[Patch]:
    """Return the patches with what their functions say about the chip."""
    holds = {}
    for number, body in re.findall(r"\nahc_patch(\d+)_func\(.*\)\n\{\n(.*)\n\}", text):
        terms = re.findall(r"& (AHC_\w+)\) ([!=])= 0", body)
        cached = "pci_cachesize" not in body  # the chip's cache line size is 0
        holds[number] = (
            bool(terms) and cached and all((name in true) == (sign == "!") for name, sign in terms)
        )
    return [
        Patch(holds[number], int(begin), int(length), int(skip))
        for number, begin, length, skip in re.findall(
            r"\{ ahc_patch(\d+)_func, (\d+), (\d+), (\d+) \}", _table(text, "patches")
        )
    ]


def _kept(length: int, patches: list[Patch]) -> set[int]:
    kept = set()
    at = skipped_to = 0
    for place in range(length):
        while at < len(patches) and patches[at].begin == place:
            if patches[at].holds:
                at += 1
            else:
                skipped_to = place + patches[at].length
                at += patches[at].skip
        if place >= skipped_to:
            kept.add(place)
    return kept


def _packed(word: int, moved: dict[int, int]) -> int:
    """Return the form of 29 bits of an instruction of the kernel's file."""
    operation, source, immediate = word >> 27 & 0xF, word >> 8 & 0xFF, word & 0xFF
    if word >> 31:
        immediate = CONSTANTS[immediate]
    if operation >= FIRST_BRANCH:
        return branch(operation, source, immediate, moved[word >> 17 & 0x3FF])
    if operation == BLOCK_MOVE:
        operation, immediate = 1, 0xFF
    return alu(operation, word >> 17 & 0xFF, source, immediate, bool(word >> 26 & 1))
