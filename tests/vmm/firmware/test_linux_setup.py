"""The Linux boot protocol by the 16-bit entry."""

from __future__ import annotations

import os
import struct

import pytest

from tests.vmm.firmware.kernels import MIB, RAM, boot, request
from tests.vmm.firmware.test_flat import stub
from tests.vmm.firmware.test_linux_boot import kernel
from vmm.errors import ConfigError
from vmm.firmware.e820 import Region
from vmm.firmware.kernel import Module
from vmm.firmware.linux_boot import LinuxKernel
from vmm.firmware.linux_setup import LinuxSetup
from vmm.firmware.loaders import kernel_for
from vmm.firmware.post_state import PostState


def start(data: bytes, append: str = "", post: PostState | None = None, **fields: object) -> dict[int, bytes]:
    state = boot(data, post, entry="16", append=append, **fields)
    return {chunk.address: chunk.data for chunk in state.chunks}


def test_setup_goes_to_90000h_the_rest_to_1_mib() -> None:
    found = start(kernel(payload=b"K" * 4096), "quiet")
    assert found[MIB] == b"K" * 4096
    assert len(found[0x90000]) == 2048
    assert found[0x9E000] == b"quiet\0"


def test_byte_of_the_command_line_that_is_no_utf_8_arrives_as_it_was_typed() -> None:
    assert start(kernel(), os.fsdecode(b"x\xff\xc3\xa9"))[0x9E000] == b"x\xff\xc3\xa9\0"


def test_setup_is_told_of_loader_heap_and_command_line() -> None:
    setup = start(kernel(), "quiet")[0x90000]
    assert setup[0x210] == 0xFF  # type_of_loader
    assert setup[0x211] & 0x81 == 0x81  # LOADED_HIGH, CAN_USE_HEAP
    assert struct.unpack_from("<H", setup, 0x224)[0] == 0xE000 - 0x200  # heap_end_ptr
    assert struct.unpack_from("<I", setup, 0x228)[0] == 0x9E000  # cmd_line_ptr


def test_kernel_is_entered_at_setup_plus_20h_with_interrupts_off() -> None:
    code = stub(boot(kernel(), entry="16")).rstrip(b"\0")
    assert code.startswith(b"\xfa\xb8\x00\x90\x8e\xd0\xbc\x00\xe0")  # cli; SS:SP = 9000:E000
    assert b"\xb8\x00\x90\x8e\xd8\x8e\xc0\x8e\xe0\x8e\xe8" in code  # DS = ES = FS = GS = 9000h
    assert code.endswith(b"\x66\xba\0\0\0\0\xea\x00\x00\x20\x90")  # jmp 9020:0, no sti before


def test_setup_moves_down_where_the_bios_needs_more() -> None:
    post = PostState([Region(0, 0x98000, 1), Region(MIB, RAM - MIB, 1)], 0x98000)
    found = start(kernel(), "quiet", post)
    assert 0x89000 in found
    assert struct.unpack_from("<I", found[0x89000], 0x228)[0] == 0x89000 + 0xE000


def test_ram_disk_is_high_and_told_in_the_header() -> None:
    found = start(kernel(), modules=(Module("a", b"a" * 5), Module("b", b"b")))
    address, size = struct.unpack_from("<II", found[0x90000], 0x218)
    assert found[address] == b"a" * 5 + bytes(3) + b"b" + bytes(3)
    assert (address + 0x1000, size) == (RAM, 12)


def test_zimage_loads_low_and_its_setup_stays_at_90000h() -> None:
    found = start(kernel(loadflags=0, version=0x201, payload=b"Z" * 512), "old")
    assert found[0x10000] == b"Z" * 512
    magic, offset = struct.unpack_from("<HH", found[0x90000], 0x20)
    assert (magic, offset) == (0xA33F, 0x9800)
    assert found[0x90000 + 0x9800] == b"old\0"
    assert struct.unpack_from("<H", found[0x90000], 0x212)[0] == 0x9800 + 4


def test_kernel_without_a_32_bit_entry_starts_by_its_16_bit_one() -> None:
    data = bytearray(kernel())
    assert not any(data[0x214:0x218])
    assert isinstance(kernel_for(request(bytes(data))), LinuxSetup)
    struct.pack_into("<I", data, 0x214, MIB)
    assert isinstance(kernel_for(request(bytes(data))), LinuxKernel)


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (kernel(version=0x1FF), {}, "boot protocol 1.255 or zImage; 2.00 is needed"),
        (kernel(), {"append": "x" * 101}, "command line of 101 bytes; this kernel takes 100"),
        (kernel(version=0x203), {"append": "x" * 256}, "command line of 256 bytes; this kernel takes 255"),
        (kernel(init_size=RAM), {}, "the kernel needs 100000h-"),
        (kernel(), {"modules": (Module("m", bytes(60 * MIB)),)}, "need .* MiB more memory"),
        (kernel(), {"modules": (Module("m", b"", "args"),)}, "only a Multiboot kernel takes them"),
    ],
)
def test_what_cannot_start_is_refused(data: bytes, fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start(data, **fields)  # type: ignore[arg-type]


def test_setup_that_is_too_long_is_refused() -> None:
    data = bytearray(kernel(payload=bytes(200 * 512)))
    data[0x1F1] = 100
    struct.pack_into("<I", data, 0x1F4, 16)
    with pytest.raises(
        ConfigError, match="setup of 51712 bytes by setup_sects at 0x1f1; expected at most 32768"
    ):
        start(bytes(data))


def test_64_bit_entry_has_to_be_there() -> None:
    with pytest.raises(ConfigError, match="this kernel has no 64-bit mode"):
        boot(kernel(), entry="64")
    with pytest.raises(ConfigError, match=r"this processor \(--cpu\) has no 64-bit mode"):
        boot(kernel(xloadflags=1), entry="64", long_mode=False)
