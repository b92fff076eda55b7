"""Kernels made for tests: Multiboot headers and ELF files with one thing wrong or none."""

from __future__ import annotations

import struct

from vmm.firmware.boot_state import BootState
from vmm.firmware.kernel import KernelRequest
from vmm.firmware.loaders import kernel_for
from vmm.firmware.post_state import PostState

MIB = 1 << 20
RAM = 64 * MIB
MAGIC = 0x1BADB002
HEADER_AT = 0x60
FILE_BYTES = 0x1000
LATE_AT = 0x3000


def header(flags: int = 0, addresses: tuple[int, ...] = (0,) * 5, video: tuple[int, ...] = ()) -> bytes:
    """A Multiboot header with a right checksum."""
    words = (MAGIC, flags, -(MAGIC + flags) & 0xFFFFFFFF)
    words += addresses if flags & 0x1_0000 or video else ()
    return struct.pack(f"<{len(words) + len(video)}I", *words, *video)


def elf(
    content: bytes,
    *,
    ident: int = 1,
    machine: int = 3,
    kind: int = 2,
    count: int = 1,
    entry: int | None = None,
    physical: int = MIB,
    virtual: int | None = None,
    file_bytes: int = FILE_BYTES,
    memory_bytes: int | None = None,
    late: bytes = b"",
    twice: bool = False,
) -> bytes:
    """An ELF file of one segment, which is the file itself, with `content` at 60h and `late` at 3000h."""
    count = 2 if twice else count
    entry = physical + 0x10 if entry is None else entry
    identity = b"\x7fELF" + bytes((ident, 1, 1)) + bytes(9)
    top = struct.pack(
        "<16sHHIIIIIHHHHHH", identity, kind, machine, 1, entry, 52, 0, 0, 52, 32, count, 0, 0, 0
    )
    memory = file_bytes if memory_bytes is None else memory_bytes
    where = physical if virtual is None else virtual
    segment = struct.pack("<8I", 1, 0, where, physical, file_bytes, memory, 7, 0x1000)
    data = bytearray(top + segment)
    if twice:
        data = data[:52] + segment + segment
        content = bytes(32) + content
    data = data.ljust(HEADER_AT, b"\0") + content
    data = data.ljust(FILE_BYTES, b"\0")
    return bytes(data.ljust(LATE_AT, b"\0") + late if late else data)


def request(data: bytes, **fields: object) -> KernelRequest:
    return KernelRequest(**{"name": "kernel", "data": data, **fields})


def boot(data: bytes, post: PostState | None = None, **fields: object) -> BootState:
    """What the loader that takes `data` makes of it on a machine of `RAM` bytes."""
    return kernel_for(request(data, **fields)).boot(post or PostState.expected(RAM))
