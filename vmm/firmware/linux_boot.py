"""The Linux boot protocol: a bzImage entered at its 32-bit or 64-bit entry, which need no firmware.

`load_linux` turns kernel, initrd and command line into a `BootState`: what to put in memory and
what the processor's registers hold. Kernels before protocol 2.06 (Linux 2.6.21) are refused, as are
zImages, which load low: their 16-bit entry is linux_setup.py. KASLR is the kernel's own affair.

Sources: [BOOT] Linux Documentation/arch/x86/boot.rst; [ZERO] Documentation/arch/x86/zero-page.rst;
[SDM3] Intel Software Developer's Manual, volume 3A.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from vmm.cpu import registers as r
from vmm.errors import ConfigError
from vmm.firmware.boot_state import BootState, Chunk, enter_kernel
from vmm.firmware.e820 import ENTRY_BYTES, HIGH, Region
from vmm.firmware.kernel import KernelRequest, command_line, modules_together
from vmm.firmware.post_state import PostState

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
VERSION_SYSSIZE_32: Final = 0x0204
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
    loaded_high: bool
    has_64bit_entry: bool


def is_linux(data: bytes) -> bool:
    """Whether a file says that it is a Linux kernel of protocol 2.00 or later."""
    flag = data[BOOT_FLAG : BOOT_FLAG + 2]
    return flag == BOOT_FLAG_VALUE.to_bytes(2, "little") and data[MAGIC : MAGIC + 4] == MAGIC_VALUE


def has_protected_entry(data: bytes) -> bool:
    """Whether a Linux kernel tells where its 32-bit code is; one that is all real mode tells 0."""
    return any(data[CODE32_START : CODE32_START + 4])


def parse_kernel(data: bytes, name: str = "kernel", *, oldest: int = VERSION_CMDLINE_SIZE) -> KernelHeader:
    """Check a bzImage of protocol `oldest` or later; where that is before 2.06 it may be a zImage.

    Raises:
        ConfigError: it is none, is cut short, or is too old.
    """
    if len(data) < HEADER_MIN_BYTES:
        raise ConfigError(f"{name}: {len(data)} bytes are too few for a Linux kernel")
    if not is_linux(data):
        raise ConfigError(f"{name}: not a Linux bzImage (no boot flag and 'HdrS' at {BOOT_FLAG:#x})")
    version = _field(data, VERSION, "H")
    loaded_high = bool(data[LOADFLAGS] & LOADED_HIGH)
    if version < oldest or (not loaded_high and oldest >= VERSION_CMDLINE_SIZE):
        hint = "; --entry 16 takes older ones" if oldest >= VERSION_CMDLINE_SIZE else ""
        raise ConfigError(
            f"{name}: boot protocol {version >> 8}.{version & 0xFF:02} or zImage; "
            f"{oldest >> 8}.{oldest & 0xFF:02} is needed{hint}"
        )
    setup_bytes = ((data[SETUP_SECTS] or DEFAULT_SETUP_SECTS) + 1) * SECTOR_BYTES
    # Before protocol 2.04 the field has 16 bits, which say nothing about a large kernel
    payload_bytes = _field(data, SYSSIZE, "I") * PARAGRAPH_BYTES if version >= VERSION_SYSSIZE_32 else 1
    if not payload_bytes or setup_bytes + payload_bytes > len(data) + PARAGRAPH_BYTES - 1:
        raise ConfigError(
            f"{name}: truncated: {len(data)} bytes, the header speaks of {setup_bytes + payload_bytes}"
        )
    xloadflags = _field(data, XLOADFLAGS, "H") if version >= VERSION_XLOADFLAGS else 0
    return KernelHeader(
        version=version,
        setup_bytes=setup_bytes,
        header=data[SETUP_SECTS : MAGIC + data[JUMP + 1]],
        payload=data[setup_bytes:],
        initrd_max=_field(data, INITRD_ADDR_MAX, "I"),
        command_line_max=_field(data, CMDLINE_SIZE, "I"),
        needs_bytes=_needs(data, version, len(data) - setup_bytes),
        loaded_high=loaded_high,
        has_64bit_entry=bool(xloadflags & XLF_KERNEL_64),
    )


def _field(data: bytes, offset: int, form: str) -> int:
    return int(struct.unpack_from("<" + form, data, offset)[0])


def _needs(data: bytes, version: int, payload_bytes: int) -> int:
    """Return the end of the RAM that the kernel needs before it reads the memory map."""
    needs = KERNEL + payload_bytes
    if version >= VERSION_INIT_SIZE:
        preferred = _field(data, PREF_ADDRESS, "Q")
        start = max(KERNEL, preferred) if data[RELOCATABLE] else preferred
        needs = max(needs, start + _field(data, INIT_SIZE, "I"))
    return needs


class LinuxKernel:
    """A bzImage for its 32-bit or 64-bit entry.

    The 64-bit entry is taken where the kernel has one and the processor has long mode; without, an
    amd64 kernel says by its 32-bit entry that it cannot run.
    """

    after_post = False
    video = None

    def __init__(self, request: KernelRequest) -> None:
        self.name = request.name
        self._request = request
        self._kernel = parse_kernel(request.data, request.name)
        self._initrd = modules_together(request.modules, request.name)
        self._long_mode = request.long_mode and self._kernel.has_64bit_entry and request.entry != "32"
        if request.entry == "64" and not self._long_mode:
            whose = "kernel" if request.long_mode else "processor (--cpu)"
            raise ConfigError(f"{self.name}: --entry 64: this {whose} has no 64-bit mode")

    def boot(self, post: PostState) -> BootState:
        """Return memory and processor for its start."""
        return load_linux(
            self._kernel, self._initrd, self._request.append, post, name=self.name, long_mode=self._long_mode
        )


def load_linux(
    kernel: KernelHeader,
    initrd: bytes,
    append: str,
    post: PostState,
    *,
    name: str = "kernel",
    long_mode: bool = False,
) -> BootState:
    """Return memory contents and processor state with which `kernel` starts.

    Raises:
        ConfigError: kernel, initrd or command line do not fit.
    """
    end = post.high_end
    if kernel.needs_bytes > end:
        raise ConfigError(
            f"{name}: needs {-(-kernel.needs_bytes // MIB)} MiB of memory, the machine has {end // MIB}"
        )
    text = command_line(append)
    if len(text) - 1 > kernel.command_line_max:
        raise ConfigError(
            f"{name}: command line of {len(text) - 1} bytes; this kernel takes {kernel.command_line_max}"
        )
    chunks = [Chunk(KERNEL, kernel.payload), Chunk(COMMAND_LINE, text)]
    initrd_at = 0
    if initrd:
        initrd_at = place_initrd(len(initrd), kernel, end, kernel.initrd_max, name)
        chunks.append(Chunk(initrd_at, initrd))
    chunks.append(Chunk(BOOT_PARAMS, boot_params(kernel, initrd_at, len(initrd), post.regions)))
    entry = KERNEL + (ENTRY_64_OFFSET if long_mode else 0)
    return enter_kernel(entry, chunks, {r.RSI: BOOT_PARAMS}, long_mode=long_mode)


def place_initrd(size: int, kernel: KernelHeader, ram_end: int, highest: int, name: str = "kernel") -> int:
    """Return the highest page-aligned address the kernel accepts.

    Raises:
        ConfigError: there is not so much memory.
    """
    end = min(ram_end, highest + 1)
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
