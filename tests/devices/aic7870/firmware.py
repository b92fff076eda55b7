"""The firmware that Linux downloads into an AIC-7870, out of the driver in Debian's kernel package.

The driver holds it assembled for the widest form of the instruction, with notes which instructions a
chip without this or that feature leaves out. What the driver's loader does with them is done here; the
program itself is the kernel's and stays in its package.

Sources:
    Linux 6.1, drivers/scsi/aic7xxx: aic7xxx_reg.h, aic7xxx_core.c (ahc_loadseq).
    [ELF] TIS Executable and Linking Format 1.2, book I chapter 1; book III: R_386_32, its addend in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from construct import Array, Bytes, Int8ul, Int16ul, Int32ul, Struct

from devices.aic7870.instruction import FIRST_BRANCH, alu, branch
from tests.guests.assets.initramfs import kernel_package, module_files
from tests.oracles import MissingError

DRIVER: Final = "aic7xxx"
PATCH: Final = "ahc_patch{}_func"

HOLDS: Final = frozenset((4, 6, 8, 15, 17, 21, 22))
"""The patches of an AIC-7870 in a PC: paged SCBs, no DT, initiator, no Ultra2, the bug with odd bytes,
no queue registers, no command channel."""
HOLDS_WIDE: Final = HOLDS | {20}

CONSTANTS: Final = (0, 1, 0xFF, 0x00, 16, 0xF0, 0x0F)
"""What the driver fills in: places of its queues, cache line size 0, S/G elements fetched at once."""

HEADER: Final = Struct("magic" / Bytes(32), "sections" / Int32ul, "rest" / Bytes(12), "count" / Int16ul)
SECTION: Final = Struct(
    "name" / Int32ul, "type" / Int32ul, "flags" / Int32ul, "address" / Int32ul, "offset" / Int32ul,
    "size" / Int32ul, "link" / Int32ul, "info" / Int32ul, "align" / Int32ul, "entry" / Int32ul,
)  # fmt: skip
SYMBOL: Final = Struct(
    "name" / Int32ul, "value" / Int32ul, "size" / Int32ul, "info" / Int8ul, "other" / Int8ul,
    "section" / Int16ul,
)  # fmt: skip
SYMBOL_TABLE: Final = 2
PATCH_BYTES: Final = 8

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


class _Module:
    """A relocatable file: what its symbols name."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        header = HEADER.parse(data)
        self._sections = Array(header.count, SECTION).parse(data[header.sections :])
        table = next(section for section in self._sections if section.type == SYMBOL_TABLE)
        symbols = Array(table.size // SYMBOL.sizeof(), SYMBOL).parse(data[table.offset :])
        names = self._sections[table.link].offset
        self.symbols: dict[str, Any] = {
            data[names + symbol.name : data.index(b"\0", names + symbol.name)].decode(): symbol
            for symbol in symbols
        }

    def contents(self, name: str) -> bytes:
        """Return the bytes of an object."""
        symbol = self.symbols[name]
        start = self._sections[symbol.section].offset + symbol.value
        return self._data[start : start + symbol.size]


@cache
def firmware(wide: bool = False) -> Firmware:
    """Return what Linux downloads into an AIC-7870.

    Raises:
        MissingError: Debian's kernel cannot be had.
    """
    return load(driver(), HOLDS_WIDE if wide else HOLDS)


def driver() -> bytes:
    """Return the kernel's module.

    Raises:
        MissingError: the package cannot be had, or has no such module.
    """
    package = kernel_package("i386")
    found = module_files(package, (DRIVER,)).get(f"{DRIVER}.ko")
    if found is None:
        raise MissingError(
            f"{package} has no {DRIVER}.ko; remove that folder to have the package fetched again"
        )
    return found


def load(data: bytes, holds: frozenset[int]) -> Firmware:
    """Read the driver and leave out what the chip does not need."""
    module = _Module(data)
    words = [word for (word,) in _table(module, "seqprog", 4)]
    kept = _kept(len(words), list(_patches(module, holds)))
    moved = {}
    for at in range(len(words), -1, -1):
        moved[at] = moved[at + 1] - (at in kept) if at < len(words) else len(kept)
    sections = ((pair & 0xFFFF, pair >> 16) for (pair,) in _table(module, "critical_sections", 4))
    critical = [range(moved[begin], moved[end]) for begin, end in sections]
    return Firmware([_packed(words[at], moved) for at in sorted(kept)], [part for part in critical if part])


def _table(module: _Module, name: str, entry_bytes: int) -> Iterator[list[int]]:
    """Return the double words of each entry of an array."""
    data = module.contents(name)
    for at in range(0, len(data), entry_bytes):
        yield list(Array(entry_bytes // 4, Int32ul).parse(data[at:]))


def _patches(module: _Module, holds: frozenset[int]) -> Iterator[Patch]:
    """Return the patches; each begins with the address of a function that decides."""
    functions = {
        symbol.value: name for name, symbol in module.symbols.items() if name.startswith("ahc_patch")
    }
    true = {PATCH.format(number) for number in holds}
    for function, place in _table(module, "patches", PATCH_BYTES):
        yield Patch(functions[function] in true, place & 0x3FF, place >> 10 & 0x3FF, place >> 20)


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
