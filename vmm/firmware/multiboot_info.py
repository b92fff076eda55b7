"""The Multiboot information structure and all that it points to, as one run of bytes.

Sources: [MB1] Multiboot Specification 0.6.96 §3.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from devices.vga.mode_table import Palette, palette
from vmm.firmware.boot_state import Chunk
from vmm.firmware.e820 import ENTRY_BYTES, HIGH
from vmm.firmware.post_state import PostState, VbeMode, VideoWish

# Which fields are filled, [MB1] §3.3
HAS_MEMORY: Final = 1 << 0
HAS_COMMAND_LINE: Final = 1 << 2
HAS_MODULES: Final = 1 << 3
HAS_MEMORY_MAP: Final = 1 << 6
HAS_LOADER_NAME: Final = 1 << 9
HAS_VBE: Final = 1 << 11
HAS_FRAMEBUFFER: Final = 1 << 12
INFO_BYTES: Final = 116
# Offsets in the structure
MEMORY: Final = 4
COMMAND_LINE: Final = 16
MODULES: Final = 20
MEMORY_MAP: Final = 44
LOADER_NAME: Final = 64
VBE: Final = 72
FRAMEBUFFER: Final = 88
COLOURS: Final = 110

LOADER: Final = b"Trapline\0"
KIB: Final = 1024
INDEXED, DIRECT, TEXT = 0, 1, 2  # framebuffer_type
TEXT_FRAMEBUFFER: Final = struct.pack("<QIIIBB", 0xB8000, 160, 80, 25, 16, TEXT)
INDEXED_BITS: Final = 8
# Offsets in the mode information block, [VBE3] 4F01h
PITCH, WIDTH, HEIGHT, BITS, MASKS, ADDRESS, LINEAR_PITCH = 0x10, 0x12, 0x14, 0x19, 0x1F, 0x28, 0x32


class LoadedModule(NamedTuple):
    """A module in memory; `text` ends with NUL."""

    first: int
    end: int
    text: bytes


class _Block:
    """Bytes behind the structure, at addresses known beforehand."""

    def __init__(self) -> None:
        self.info = bytearray(INFO_BYTES)
        self.rest = bytearray()
        self._pointers: list[tuple[int, int]] = []  # offset in all, offset pointed to
        self.flags = 0

    def put(self, data: bytes) -> int:
        """Append `data` at a multiple of 4; return its offset."""
        self.rest += bytes(-len(self.rest) % 4)
        self.rest += data
        return INFO_BYTES + len(self.rest) - len(data)

    def point(self, field: int, data: bytes) -> int:
        """Append `data`, make the 32-bit field at `field` point to it; return its offset."""
        target = self.put(data)
        self._pointers.append((field, target))
        return target

    def at(self, address: int) -> bytes:
        """Return all, for this address."""
        struct.pack_into("<I", self.info, 0, self.flags)
        image = self.info + self.rest
        for field, target in self._pointers:
            struct.pack_into("<I", image, field, address + target)
        return bytes(image)

    @property
    def length(self) -> int:
        return INFO_BYTES + len(self.rest)


def information(
    post: PostState,
    command_line: bytes,
    modules: Sequence[LoadedModule],
    video: VideoWish | None,
    place: Callable[[int], int],
) -> Chunk:
    """Return the structure with its tables, at the address that `place` finds for its length."""
    block = _Block()
    block.flags = HAS_MEMORY | HAS_COMMAND_LINE | HAS_MEMORY_MAP | HAS_LOADER_NAME
    struct.pack_into("<II", block.info, MEMORY, post.low_end // KIB, (post.high_end - HIGH) // KIB)
    block.point(COMMAND_LINE, command_line)
    block.point(LOADER_NAME, LOADER)
    entries = b"".join(struct.pack("<I", ENTRY_BYTES) + region.pack() for region in post.regions)
    struct.pack_into("<I", block.info, MEMORY_MAP, len(entries))
    block.point(MEMORY_MAP + 4, entries)
    if modules:
        _add_modules(block, modules)
    if post.vbe is not None:
        _add_graphics(block, post.vbe)
    elif video is not None:
        block.flags |= HAS_FRAMEBUFFER
        block.info[FRAMEBUFFER : FRAMEBUFFER + len(TEXT_FRAMEBUFFER)] = TEXT_FRAMEBUFFER
    address = place(block.length)
    return Chunk(address, block.at(address))


def _add_modules(block: _Block, modules: Sequence[LoadedModule]) -> None:
    block.flags |= HAS_MODULES
    struct.pack_into("<I", block.info, MODULES, len(modules))
    table = b"".join(struct.pack("<4I", module.first, module.end, 0, 0) for module in modules)
    at = block.point(MODULES + 4, table)
    for index, module in enumerate(modules):
        block.point(at + 16 * index + 8, module.text)


def _add_graphics(block: _Block, vbe: VbeMode) -> None:
    """Tell the linear frame buffer twice, as VBE does and as [MB1] does."""
    block.flags |= HAS_VBE | HAS_FRAMEBUFFER
    block.point(VBE, vbe.controller)
    block.point(VBE + 4, vbe.mode)
    struct.pack_into("<4H", block.info, VBE + 8, vbe.number, 0, 0, 0)  # no protected mode interface
    width, height = struct.unpack_from("<HH", vbe.mode, WIDTH)
    pitches = (struct.unpack_from("<H", vbe.mode, at)[0] for at in (LINEAR_PITCH, PITCH))
    pitch = next((pitch for pitch in pitches if pitch), 0)  # the first is of VBE 3
    (address,) = struct.unpack_from("<I", vbe.mode, ADDRESS)
    bits = vbe.mode[BITS]
    kind = INDEXED if bits == INDEXED_BITS else DIRECT
    struct.pack_into("<QIIIBB", block.info, FRAMEBUFFER, address, pitch, width, height, bits, kind)
    if kind == INDEXED:
        colours = bytes(part * 255 // 63 for part in palette(Palette.VGA))
        block.point(COLOURS, colours)
        struct.pack_into("<H", block.info, COLOURS + 4, len(colours) // 3)
        return
    masks = vbe.mode[MASKS : MASKS + 6]  # size and position of red, green, blue
    for index in range(3):
        block.info[COLOURS + 2 * index] = masks[2 * index + 1]
        block.info[COLOURS + 2 * index + 1] = masks[2 * index]
