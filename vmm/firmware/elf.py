"""The part of an ELF file that a loader needs: what goes where, and where to begin.

32-bit little-endian executables for the 80386. Symbols, sections and relocations are not looked at.

Sources: [ELF] Tool Interface Standard (TIS) Executable and Linking Format 1.2, book I chapters 1 and
2, book III (Intel architecture).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from vmm.errors import ConfigError

MAGIC: Final = b"\x7fELF"
HEADER: Final = struct.Struct("<16sHHIIIIIHHHHHH")  # [ELF] figure 1-3
PROGRAM_HEADER: Final = struct.Struct("<8I")  # [ELF] figure 2-1
CLASS_AT, CLASS_32, CLASS_64 = 4, 1, 2
DATA_AT, LITTLE_ENDIAN = 5, 1
TYPE_EXECUTABLE: Final = 2
MACHINE_386: Final = 3
LOAD: Final = 1
SEGMENTS_MAX: Final = 256


class Segment(NamedTuple):
    """A piece of the file for a physical address; `memory_bytes` beyond the file's are zeros."""

    offset: int
    virtual: int
    physical: int
    file_bytes: int
    memory_bytes: int


class Elf(NamedTuple):
    """A checked executable."""

    entry: int  # physical
    segments: list[Segment]


def parse_elf(data: bytes, name: str) -> Elf:
    """Check an ELF file.

    Raises:
        ConfigError: it is no 32-bit executable for this processor, or is cut short.
    """
    if len(data) < HEADER.size:
        raise ConfigError(f"{name}: truncated: {len(data)} bytes, an ELF header has {HEADER.size}")
    ident, kind, machine, _, entry, table, *_, size, count, _, _, _ = HEADER.unpack_from(data)
    if ident[CLASS_AT] == CLASS_64:
        raise ConfigError(
            f"{name}: a 64-bit ELF file (byte 4 is 2); Multiboot takes 32-bit ones: "
            "objcopy -O elf32-i386 makes one"
        )
    if (ident[CLASS_AT], ident[DATA_AT], machine) != (CLASS_32, LITTLE_ENDIAN, MACHINE_386):
        raise ConfigError(
            f"{name}: ELF class {ident[CLASS_AT]}, byte order {ident[DATA_AT]}, machine {machine}; "
            f"expected {CLASS_32}, {LITTLE_ENDIAN}, {MACHINE_386} (32 bits, little endian, 80386)"
        )
    if kind != TYPE_EXECUTABLE:
        raise ConfigError(f"{name}: ELF type {kind}, expected {TYPE_EXECUTABLE} (executable): link it")
    if size != PROGRAM_HEADER.size or not 0 < count <= SEGMENTS_MAX:
        raise ConfigError(
            f"{name}: {count} program headers of {size} bytes; expected 1 to {SEGMENTS_MAX} "
            f"of {PROGRAM_HEADER.size}"
        )
    if table + count * size > len(data):
        raise ConfigError(
            f"{name}: truncated: {len(data):#x} bytes, program headers at "
            f"{table:#x}-{table + count * size - 1:#x}"
        )
    segments = [_segment(data, table + index * size, index, name) for index in range(count)]
    loaded = [segment for segment in segments if segment is not None]
    return Elf(_physical(entry, loaded, name), loaded)


def _segment(data: bytes, at: int, index: int, name: str) -> Segment | None:
    """Return the segment that a program header describes, if it is to be loaded."""
    kind, offset, virtual, physical, file_bytes, memory_bytes, _, _ = PROGRAM_HEADER.unpack_from(data, at)
    if kind != LOAD or not memory_bytes:
        return None
    if file_bytes > memory_bytes:
        raise ConfigError(
            f"{name}: program header {index} at {at:#x}: {file_bytes} bytes of the file "
            f"for {memory_bytes} of memory"
        )
    if offset + file_bytes > len(data):
        raise ConfigError(
            f"{name}: truncated: program header {index} at {at:#x} wants bytes "
            f"{offset:#x}-{offset + file_bytes - 1:#x}, the file has {len(data):#x}"
        )
    return Segment(offset, virtual, physical, file_bytes, memory_bytes)


def _physical(entry: int, segments: list[Segment], name: str) -> int:
    """Return the entry as a physical address, whichever kind of address the linker wrote."""
    for segment in segments:
        if segment.virtual <= entry < segment.virtual + segment.memory_bytes:
            return entry - segment.virtual + segment.physical
    for segment in segments:
        if segment.physical <= entry < segment.physical + segment.memory_bytes:
            return entry
    raise ConfigError(f"{name}: the entry {entry:#x} (at 0x18) lies in no segment that is loaded")
