"""The Linux boot protocol by the 16-bit entry: the kernel's own setup code asks the BIOS.

Setup goes to 90000h, or lower where the BIOS's data area begins lower; heap and command line follow
it. Old zImages, which load at 10000h, are taken too, and kernels from protocol 2.00 on.

Not modelled: command lines in the way of protocols before 2.02 outside the setup's segment.

Sources: [BOOT] Linux Documentation/arch/x86/boot.rst, "Loading The Rest of The Kernel", "Sample Boot
Configuration" and "Running the Kernel".
"""

from __future__ import annotations

import struct
from typing import Final

from vmm.errors import ConfigError
from vmm.firmware import linux_boot as lx
from vmm.firmware.boot_state import AREA_ALIGN, AREA_BYTES, BootState, Chunk, RealEntry, enter_real_mode
from vmm.firmware.kernel import KernelRequest, command_line, modules_together
from vmm.firmware.layout import Layout
from vmm.firmware.post_state import PostState

OLDEST: Final = 0x0200
VERSION_HEAP: Final = 0x0201
VERSION_CMD_LINE_PTR: Final = 0x0202
VERSION_INITRD_MAX: Final = 0x0203
USUAL_BASE: Final = 0x90000
LOW_KERNEL: Final = 0x10000
HEAP_END: Final = 0xE000  # offset in the setup's segment: stack top; the command line follows
HEAP_END_LOW: Final = 0x9800  # where the kernel itself is low
HEAP_RESERVE: Final = 0x200
HEAP_END_PTR: Final = 0x224
CAN_USE_HEAP: Final = 0x80
OLD_CMD_LINE_MAGIC: Final = 0x20
OLD_CMD_LINE_MAGIC_VALUE: Final = 0xA33F
SETUP_MOVE_SIZE: Final = 0x212
OLD_INITRD_MAX: Final = 0x37FF_FFFF
OLD_CMDLINE_MAX: Final = 255
ENTRY_PARAGRAPHS: Final = 0x20  # setup's code begins 512 bytes in
PAGE_BYTES: Final = 0x1000
SETUP_MAX: Final = 0x8000


class LinuxSetup:
    """A bzImage or zImage whose real-mode code is run."""

    after_post = True
    video = None

    def __init__(self, request: KernelRequest) -> None:
        self.name = request.name
        self._kernel = lx.parse_kernel(request.data, request.name, oldest=OLDEST)
        self._setup = request.data[: self._kernel.setup_bytes]
        if self._kernel.setup_bytes > SETUP_MAX:
            raise ConfigError(
                f"{self.name}: setup of {self._kernel.setup_bytes} bytes by setup_sects at "
                f"{lx.SETUP_SECTS:#x}; expected at most {SETUP_MAX}"
            )
        self._initrd = modules_together(request.modules, request.name)
        self._text = command_line(request.append)
        most = self._kernel.command_line_max if self._kernel.version >= lx.VERSION_CMDLINE_SIZE else 0
        most = most or OLD_CMDLINE_MAX
        if len(self._text) - 1 > most:
            raise ConfigError(
                f"{self.name}: command line of {len(self._text) - 1} bytes; this kernel takes {most}"
            )

    def boot(self, post: PostState) -> BootState:
        """Return memory and processor for its start."""
        kernel, layout = self._kernel, Layout(self.name, post)
        heap_end = HEAP_END if kernel.loaded_high else HEAP_END_LOW
        length = heap_end + len(self._text)
        base = self._base(post, length)
        layout.claim("the kernel's setup", base, length)
        address = lx.KERNEL if kernel.loaded_high else LOW_KERNEL
        layout.claim("the kernel", address, max(len(kernel.payload), kernel.needs_bytes - lx.KERNEL))
        initrd_at = self._place_initrd(post)
        area = layout.place_low("the loader", AREA_BYTES, AREA_ALIGN)
        chunks = [
            Chunk(base, self._patched(base, heap_end, initrd_at)),
            Chunk(base + heap_end, self._text),
            Chunk(address, kernel.payload),
        ]
        if self._initrd:
            chunks.append(Chunk(initrd_at, self._initrd))
        segment = base >> 4
        entry = RealEntry(cs=segment + ENTRY_PARAGRAPHS, ip=0, data=segment, ss=segment, sp=heap_end)
        return enter_real_mode(entry, chunks, area)

    def _base(self, post: PostState, length: int) -> int:
        """Return where setup goes: as usual, or lower where conventional memory ends too early."""
        if not self._kernel.loaded_high or self._kernel.version < VERSION_CMD_LINE_PTR:
            return USUAL_BASE
        return max(min(USUAL_BASE, (post.low_end - length) & -PAGE_BYTES), 0)

    def _place_initrd(self, post: PostState) -> int:
        if not self._initrd:
            return 0
        initrd_max = self._kernel.initrd_max
        if self._kernel.version < VERSION_INITRD_MAX:
            initrd_max = OLD_INITRD_MAX
        return lx.place_initrd(len(self._initrd), self._kernel, post.high_end, initrd_max, self.name)

    def _patched(self, base: int, heap_end: int, initrd_at: int) -> bytes:
        """Return the setup with the loader's fields filled in."""
        setup = bytearray(self._setup)
        setup[lx.TYPE_OF_LOADER] = lx.UNDEFINED_LOADER
        struct.pack_into("<II", setup, lx.RAMDISK_IMAGE, initrd_at, len(self._initrd))
        if self._kernel.version >= VERSION_HEAP:
            setup[lx.LOADFLAGS] |= CAN_USE_HEAP
            struct.pack_into("<H", setup, HEAP_END_PTR, heap_end - HEAP_RESERVE)
        if self._kernel.version >= VERSION_CMD_LINE_PTR:
            struct.pack_into("<I", setup, lx.CMD_LINE_PTR, base + heap_end)
        else:
            struct.pack_into("<HH", setup, OLD_CMD_LINE_MAGIC, OLD_CMD_LINE_MAGIC_VALUE, heap_end)
            struct.pack_into("<H", setup, SETUP_MOVE_SIZE, heap_end + len(self._text))
        return bytes(setup)
