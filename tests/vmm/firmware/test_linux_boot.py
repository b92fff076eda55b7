"""The Linux boot protocol."""

from __future__ import annotations

import itertools
import os
import struct

import pytest

from tests.vmm.firmware.rig import FakeView
from vmm.cpu import registers as r
from vmm.errors import ConfigError
from vmm.firmware import boot_state
from vmm.firmware.boot_state import BootState
from vmm.firmware.kernel import KernelRequest, Module
from vmm.firmware.linux_boot import COMMAND_LINE, LinuxKernel, parse_kernel
from vmm.firmware.post_state import PostState
from vmm.memory import Memory

MIB = 1 << 20
RAM = 64 * MIB
SETUP_SECTORS = 3


def kernel(
    *, version: int = 0x20F, xloadflags: int = 0, loadflags: int = 1, initrd_max: int = 0x7FFFFFFF,
    init_size: int = 8 * MIB, payload: bytes = b"\xf4" * 4096,
) -> bytes:  # fmt: skip
    """A bzImage with nothing but a header and a body."""
    setup = bytearray((SETUP_SECTORS + 1) * 512)
    setup[0x1F1] = SETUP_SECTORS
    struct.pack_into("<I", setup, 0x1F4, len(payload) // 16)
    struct.pack_into("<H", setup, 0x1FE, 0xAA55)
    setup[0x200:0x202] = b"\xeb\x66"  # the header ends at 268h
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    setup[0x211] = loadflags
    struct.pack_into("<I", setup, 0x22C, initrd_max)
    setup[0x234] = 1
    struct.pack_into("<H", setup, 0x236, xloadflags)
    struct.pack_into("<I", setup, 0x238, 100)
    struct.pack_into("<Q", setup, 0x258, 16 * MIB)
    struct.pack_into("<I", setup, 0x260, init_size)
    return bytes(setup) + payload


def load(
    data: bytes,
    initrd: bytes | None,
    append: str,
    ram_bytes: int,
    *,
    name: str = "kernel",
    long_mode: bool = True,
) -> BootState:
    modules = () if initrd is None else (Module("initrd", initrd),)
    request = KernelRequest(name=name, data=data, modules=modules, append=append, long_mode=long_mode)
    return LinuxKernel(request).boot(PostState.expected(ram_bytes))


def chunk(state: BootState, address: int) -> bytes:
    return next(data for at, data, _ in state.chunks if at == address)


def test_zero_page_holds_header_command_line_and_memory_map() -> None:
    state = load(kernel(), None, "console=ttyS0", RAM)
    page = chunk(state, 0x10000)
    assert page[0x202:0x206] == b"HdrS"
    assert page[0x210] == 0xFF
    assert chunk(state, struct.unpack_from("<I", page, 0x228)[0]) == b"console=ttyS0\0"
    assert page[0x1E8] == 4
    assert struct.unpack_from("<QQI", page, 0x2D0) == (0, 0x9FC00, 1)
    assert struct.unpack_from("<QQI", page, 0x2D0 + 60) == (MIB, RAM - MIB, 1)


def test_byte_of_the_command_line_that_is_no_utf_8_arrives_as_it_was_typed() -> None:
    assert chunk(load(kernel(), None, os.fsdecode(b"x\xff\xc3\xa9"), RAM), COMMAND_LINE) == b"x\xff\xc3\xa9\0"


def test_screen_info_is_vga_text_80_by_25() -> None:
    page = chunk(load(kernel(), None, "", RAM), 0x10000)
    assert (page[0x06], page[0x07], page[0x0E], page[0x0F], page[0x10]) == (3, 80, 25, 1, 16)


def test_kernel_goes_to_1_mib_without_its_setup() -> None:
    assert chunk(load(kernel(payload=b"K" * 4096), None, "", RAM), MIB) == b"K" * 4096


@pytest.mark.parametrize(("limit", "expected"), [(0x7FFFFFFF, RAM - 0x2000), (0x2FFFFFF, 0x3000000 - 0x2000)])
def test_initrd_lies_as_high_as_allowed(limit: int, expected: int) -> None:
    state = load(kernel(initrd_max=limit), b"i" * 0x1800, "", RAM)
    assert struct.unpack_from("<II", chunk(state, 0x10000), 0x218) == (expected, 0x1800)
    assert chunk(state, expected) == b"i" * 0x1800


def test_processor_starts_in_real_mode_at_the_stub() -> None:
    memory = Memory(RAM)
    view = FakeView(memory)
    load(kernel(), None, "", RAM).apply(view, memory)
    assert view.segs[r.CS].base + view.rip == boot_state.STUB
    assert memory.read(boot_state.STUB, 1) == b"\xfa"
    assert memory.read(MIB, 2) == b"\xf4\xf4"


def test_64_bit_entry_gets_page_tables_that_map_4_gib_one_to_one() -> None:
    state = load(kernel(xloadflags=1), None, "", RAM)
    tables = chunk(state, boot_state.PAGE_TABLES)
    assert struct.unpack_from("<Q", tables, 0)[0] == boot_state.PAGE_TABLES + 0x1003
    assert struct.unpack_from("<Q", tables, 0x2000 + 8)[0] == 0x200083
    assert struct.unpack_from("<Q", tables, len(tables) - 8)[0] == 0xFFE00083
    assert struct.pack("<I", MIB + 0x200) in chunk(state, boot_state.STUB)


def test_32_bit_entry_is_taken_where_the_processor_has_no_long_mode() -> None:
    state = load(kernel(xloadflags=1), None, "", RAM, long_mode=False)
    assert chunk(state, boot_state.STUB).endswith(b"\x68\x00\x00\x10\x00\xc3")  # push 100000h; ret


def test_our_low_tables_do_not_overlap() -> None:
    state = load(kernel(xloadflags=1), b"i", "x" * 100, RAM)
    spans = sorted((at, at + len(data)) for at, data, _ in state.chunks)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too few"),
        (b"\x7fELF" + bytes(4096), "not a Linux bzImage"),
        (kernel()[:-1000], "truncated"),
        (kernel(payload=b""), "truncated"),
        (kernel(version=0x204), "boot protocol 2.04"),
        (kernel(loadflags=0), "zImage"),
        (kernel(init_size=100 * MIB), "needs 116 MiB of memory, the machine has 64"),
    ],
)
def test_what_cannot_be_booted_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(data, None, "", RAM, name="vmlinuz")
    assert str(caught.value).startswith("vmlinuz: ")
    assert "\n" not in str(caught.value)


def test_initrd_and_command_line_must_fit() -> None:
    with pytest.raises(ConfigError, match="need 17 MiB more memory"):
        load(kernel(), bytes(56 * MIB + 5), "", RAM)
    with pytest.raises(ConfigError, match="command line of 101 bytes; this kernel takes 100"):
        load(kernel(), None, "x" * 101, RAM)


@pytest.mark.parametrize("length", [0, 1, 0x1F1, 0x201, 0x267, 0x268, 0x400])
def test_no_prefix_of_a_kernel_raises_anything_else(length: int) -> None:
    with pytest.raises(ConfigError):
        parse_kernel(kernel()[:length])
