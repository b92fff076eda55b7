"""The Linux boot protocol: a bzImage entered at its 32-bit or 64-bit entry, without firmware.

`load_linux` turns kernel, initrd and command line into a `BootState`: what to put in memory and
what the processor's registers hold. Kernels before protocol 2.06 (Linux 2.6.21) are refused, as are
zImages, which load low. KASLR is the kernel's own affair.

Sources: [BOOT] Linux Documentation/arch/x86/boot.rst; [ZERO] Documentation/arch/x86/zero-page.rst;
[SDM3] Intel Software Developer's Manual, volume 3A.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from vmm.cpu import registers as r
from vmm.errors import ConfigError
from vmm.firmware.boot_state import BootState, Chunk, enter_kernel
from vmm.firmware.e820 import ENTRY_BYTES, HIGH, Region, memory_map

# Fields of the setup header, offsets in the file, [BOOT] "The Real-Mode Kernel Header"
SETUP_SECTS: Final = 0x1F1
SYSSIZE: Final = 0x1F4
BOOT_FLAG: Final = 0x1FE
JUMP: Final = 0x200
MAGIC: Final = 0x202
VERSION: Final = 0x206
TYPE_OF_LOADER: Final = 0x210
LOADFLAGS: Final = 0x211
CODE32_START: Final = 0x214
RAMDISK_IMAGE: Final = 0x218
RAMDISK_SIZE: Final = 0x21C
CMD_LINE_PTR: Final = 0x228
INITRD_ADDR_MAX: Final = 0x22C
RELOCATABLE: Final = 0x234
XLOADFLAGS: Final = 0x236
CMDLINE_SIZE: Final = 0x238
PREF_ADDRESS: Final = 0x258
INIT_SIZE: Final = 0x260
HEADER_MIN_BYTES: Final = 0x268

SECTOR_BYTES: Final = 512
PARAGRAPH_BYTES: Final = 16
BOOT_FLAG_VALUE: Final = 0xAA55
MAGIC_VALUE: Final = b"HdrS"
VERSION_CMDLINE_SIZE: Final = 0x0206
VERSION_INIT_SIZE: Final = 0x020A
VERSION_XLOADFLAGS: Final = 0x020C
LOADED_HIGH: Final = 0x01
XLF_KERNEL_64: Final = 0x0001
UNDEFINED_LOADER: Final = 0xFF
DEFAULT_SETUP_SECTS: Final = 4
ENTRY_64_OFFSET: Final = 0x200

# Fields of boot_params, [ZERO]
SCREEN_INFO: Final = 0x000
E820_ENTRIES: Final = 0x1E8
E820_TABLE: Final = 0x2D0
E820_MAX: Final = 128
# screen_info: orig_x, y, ext_mem_k, page, mode, cols, flags, unused, ega_bx, unused, lines, isVGA, points
SCREEN_TEXT_80X25: Final = struct.pack("<BBHHBBBBHHBBH", 0, 0, 0, 0, 3, 80, 0, 0, 3, 0, 25, 1, 16)

# Our places in low memory
BOOT_PARAMS: Final = 0x10000
BOOT_PARAMS_BYTES: Final = 0x1000
COMMAND_LINE: Final = 0x20000
KERNEL: Final = HIGH
PAGE_BYTES: Final = 0x1000
MIB: Final = 1 << 20


class KernelHeader(NamedTuple):
    """What the loader needs of a checked bzImage."""

    version: int
    setup_bytes: int
    header: bytes  # the setup header, for boot_params
    payload: bytes  # what goes to 1 MiB
    initrd_max: int
    command_line_max: int
    needs_bytes: int  # RAM the kernel needs before it reads the memory map
    has_64bit_entry: bool


def parse_kernel(data: bytes, name: str = "kernel") -> KernelHeader:
    """Check a bzImage.

    Raises:
        ConfigError: it is none, is cut short, or is too old.
    """

    def field(offset: int, form: str) -> int:
        return int(struct.unpack_from("<" + form, data, offset)[0])

    if len(data) < HEADER_MIN_BYTES:
        raise ConfigError(f"{name}: {len(data)} bytes are too few for a Linux kernel")
    if field(BOOT_FLAG, "H") != BOOT_FLAG_VALUE or data[MAGIC : MAGIC + 4] != MAGIC_VALUE:
        raise ConfigError(f"{name}: not a Linux bzImage (no boot flag and 'HdrS' at {BOOT_FLAG:#x})")
    version = field(VERSION, "H")
    if version < VERSION_CMDLINE_SIZE or not data[LOADFLAGS] & LOADED_HIGH:
        raise ConfigError(
            f"{name}: boot protocol {version >> 8}.{version & 0xFF:02} or zImage; 2.06 is needed"
        )
    setup_bytes = ((data[SETUP_SECTS] or DEFAULT_SETUP_SECTS) + 1) * SECTOR_BYTES
    payload_bytes = field(SYSSIZE, "I") * PARAGRAPH_BYTES
    if not payload_bytes or setup_bytes + payload_bytes > len(data) + PARAGRAPH_BYTES - 1:
        raise ConfigError(
            f"{name}: truncated: {len(data)} bytes, the header speaks of {setup_bytes + payload_bytes}"
        )
    payload = data[setup_bytes:]
    needs = KERNEL + len(payload)
    if version >= VERSION_INIT_SIZE:
        start = max(KERNEL, field(PREF_ADDRESS, "Q")) if data[RELOCATABLE] else field(PREF_ADDRESS, "Q")
        needs = max(needs, start + field(INIT_SIZE, "I"))
    return KernelHeader(
        version=version,
        setup_bytes=setup_bytes,
        header=data[SETUP_SECTS : MAGIC + data[JUMP + 1]],
        payload=payload,
        initrd_max=field(INITRD_ADDR_MAX, "I"),
        command_line_max=field(CMDLINE_SIZE, "I"),
        needs_bytes=needs,
        has_64bit_entry=version >= VERSION_XLOADFLAGS and bool(field(XLOADFLAGS, "H") & XLF_KERNEL_64),
    )


def load_linux(
    kernel: bytes,
    initrd: bytes | None,
    command_line: str,
    ram_bytes: int,
    *,
    name: str = "kernel",
    long_mode: bool = True,
) -> BootState:
    """Return memory contents and processor state with which `kernel` starts.

    The 64-bit entry is taken where the kernel has one and the processor has `long_mode`; without,
    an amd64 kernel says by its 32-bit entry that it cannot run.

    Raises:
        ConfigError: the kernel is unusable, or kernel, initrd or command line do not fit.
    """
    parsed = parse_kernel(kernel, name)
    if parsed.needs_bytes > ram_bytes:
        raise ConfigError(
            f"{name}: needs {-(-parsed.needs_bytes // MIB)} MiB of memory, the machine has {ram_bytes // MIB}"
        )
    text = command_line.encode("utf-8") + b"\0"
    if len(text) - 1 > parsed.command_line_max:
        raise ConfigError(
            f"{name}: command line of {len(text) - 1} bytes; this kernel takes {parsed.command_line_max}"
        )
    chunks = [Chunk(KERNEL, parsed.payload), Chunk(COMMAND_LINE, text)]
    initrd_at = 0
    if initrd:
        initrd_at = _place_initrd(len(initrd), parsed, ram_bytes, name)
        chunks.append(Chunk(initrd_at, initrd))
    parameters = boot_params(parsed, initrd_at, len(initrd or b""), memory_map(ram_bytes))
    chunks.append(Chunk(BOOT_PARAMS, parameters))
    long_mode = long_mode and parsed.has_64bit_entry
    entry = KERNEL + (ENTRY_64_OFFSET if long_mode else 0)
    return enter_kernel(entry, chunks, {r.RSI: BOOT_PARAMS}, long_mode=long_mode)


def _place_initrd(size: int, kernel: KernelHeader, ram_bytes: int, name: str) -> int:
    """Return the highest page-aligned address the kernel accepts."""
    end = min(ram_bytes, kernel.initrd_max + 1)
    address = (end - size) & ~(PAGE_BYTES - 1)
    if address < kernel.needs_bytes:
        short = -(-(kernel.needs_bytes + size + PAGE_BYTES - end) // MIB)
        raise ConfigError(f"{name}: kernel and initrd ({size // MIB} MiB) need {short} MiB more memory")
    return address


def boot_params(kernel: KernelHeader, initrd_at: int, initrd_bytes: int, regions: list[Region]) -> bytes:
    """Return the zero page."""
    page = bytearray(BOOT_PARAMS_BYTES)
    page[SCREEN_INFO : SCREEN_INFO + len(SCREEN_TEXT_80X25)] = SCREEN_TEXT_80X25
    page[SETUP_SECTS : SETUP_SECTS + len(kernel.header)] = kernel.header
    page[TYPE_OF_LOADER] = UNDEFINED_LOADER
    struct.pack_into("<I", page, CODE32_START, KERNEL)
    struct.pack_into("<II", page, RAMDISK_IMAGE, initrd_at, initrd_bytes)
    struct.pack_into("<I", page, CMD_LINE_PTR, COMMAND_LINE)
    page[E820_ENTRIES] = min(len(regions), E820_MAX)
    for index, region in enumerate(regions[:E820_MAX]):
        at = E820_TABLE + index * ENTRY_BYTES
        page[at : at + ENTRY_BYTES] = region.pack()
    return bytes(page)
