"""Flat binaries: a file of bytes for an address, started at its first.

In real mode it is started as a BIOS starts a boot sector, at 0000:7C00 unless another address is
given: DS = ES = CS, DL the boot drive, interrupts on, a stack below or elsewhere. `--entry 32` starts it in
flat protected mode without paging, interrupts off, with no descriptor table it may rely on.

Sources: [BBS] BIOS Boot Specification 1.01 §6.5.1 (what a boot sector finds).
"""

from __future__ import annotations

from typing import Final

from vmm.errors import ConfigError
from vmm.firmware.boot_state import (
    AREA_ALIGN,
    AREA_BYTES,
    BootState,
    Chunk,
    RealEntry,
    enter_kernel,
    enter_real_mode,
)
from vmm.firmware.e820 import HIGH
from vmm.firmware.kernel import KernelRequest, LoadAddress
from vmm.firmware.layout import Layout
from vmm.firmware.post_state import PostState

BOOT_ADDRESS: Final = 0x7C00
STACK_BYTES: Final = 0x1000
SEGMENT_BYTES: Final = 0x1_0000


class FlatKernel:
    """A file without a header."""

    after_post: Final = True
    video: Final = None

    def __init__(self, request: KernelRequest) -> None:
        self.name = request.name
        self._data = request.data
        self._where = request.load_address or LoadAddress(BOOT_ADDRESS)
        self._protected = request.entry == "32"
        if request.entry == "64":
            raise ConfigError(f"{self.name}: a flat binary starts in 16-bit or 32-bit mode, not 64")
        if request.modules or request.append:
            raise ConfigError(
                f"{self.name}: taken for a flat binary (no header of Linux or Multiboot), "
                "which --initrd and --append do not reach"
            )
        if not self._protected and self._where.address >= HIGH:
            raise ConfigError(
                f"{self.name}: real mode does not reach --load-address {self._where.address:#x}; "
                "give --entry 32 as well, or an address below 0x100000"
            )

    def boot(self, post: PostState) -> BootState:
        """Return memory and processor for its start."""
        address = self._where.address
        layout = Layout(self.name, post)
        layout.claim("the flat binary", address, len(self._data))
        stack = self._stack(layout)
        area = layout.place_low("the loader", AREA_BYTES, AREA_ALIGN)
        chunks = [Chunk(address, self._data)]
        if self._protected:
            return enter_kernel(address, chunks, {4: stack}, long_mode=False, area=area)
        segment = self._where.segment
        if segment is None:  # the same address with the segment 0 where it can be
            segment = address >> 4 & 0xF000
        base = 0 if stack <= SEGMENT_BYTES - 1 else stack - STACK_BYTES
        entry = RealEntry(
            cs=segment, ip=address - (segment << 4), data=segment, ss=base >> 4, sp=stack - base,
            dx=post.boot_drive, interrupts=True,
        )  # fmt: skip
        return enter_real_mode(entry, chunks, area)

    def _stack(self, layout: Layout) -> int:
        """Return the top of a stack: a boot sector's, or where that is taken another."""
        try:
            layout.claim("the stack", BOOT_ADDRESS - STACK_BYTES, STACK_BYTES)
        except ConfigError:
            return layout.place_low("the stack", STACK_BYTES, AREA_ALIGN) + STACK_BYTES
        return BOOT_ADDRESS
