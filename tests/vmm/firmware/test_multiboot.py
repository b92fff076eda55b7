"""Multiboot kernels: the header, where they go, and what they are told."""

from __future__ import annotations

import gzip
import os
import struct
from itertools import pairwise

import pytest

from tests.vmm.firmware.kernels import MIB, RAM, boot, elf, header, request
from vmm.errors import ConfigError
from vmm.firmware import boot_state
from vmm.firmware.boot_state import BootState
from vmm.firmware.e820 import Region
from vmm.firmware.kernel import Module, unpacked
from vmm.firmware.loaders import kernel_for
from vmm.firmware.post_state import PostState, VbeMode
from vmm.memory import Memory

FLAT_FLAGS = 0x1_0000


def info_of(state: BootState) -> tuple[Memory, int]:
    """Fill memory and return it with the information's address, which the stub loads into EBX."""
    memory = Memory(RAM)
    state.fill(memory)
    stub = memory.read(state.area, boot_state.GDT_AT)
    assert stub[stub.index(b"\xb8\x02\xb0\xad\x2b")] == 0xB8  # mov eax, 2BADB002h
    at = stub.index(b"\xbb", stub.index(b"\xb8\x02\xb0\xad\x2b"))  # mov ebx, the next but two
    return memory, struct.unpack_from("<I", stub, at + 1)[0]


def words(memory: Memory, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}I", memory.read(at, 4 * count))


def text(memory: Memory, at: int) -> bytes:
    return memory.read(at, 200).split(b"\0")[0]


def test_elf_segments_go_to_their_physical_addresses_and_zeros_follow() -> None:
    memory = Memory(RAM)
    memory.write(MIB + 0x1000, b"\xff" * 0x2000)
    boot(elf(header(), memory_bytes=0x2000)).fill(memory)
    assert memory.read(MIB + 0x60, 4) == struct.pack("<I", 0x1BADB002)
    assert memory.read(MIB + 0x1000, 0x2000) == bytes(0x1000) + b"\xff" * 0x1000


def test_entry_that_is_a_virtual_address_is_translated() -> None:
    state = boot(elf(header(), virtual=0xC010_0000, entry=0xC010_0040))
    assert any(
        data.endswith(b"\x68" + struct.pack("<I", MIB + 0x40) + b"\xc3") for _, data, _ in state.chunks
    )


def test_address_fields_load_a_file_of_any_kind() -> None:
    fields = (2 * MIB + 16, 2 * MIB, 2 * MIB + 512, 2 * MIB + 1024, 2 * MIB + 64)
    data = bytes(16) + header(FLAT_FLAGS, fields) + bytes(1000)
    state = boot(data)
    assert state.chunks[0] == (2 * MIB, data[:512], 512)


def test_load_end_of_0_loads_the_whole_file() -> None:
    data = header(FLAT_FLAGS, (2 * MIB, 2 * MIB, 0, 0, 2 * MIB)) + bytes(77)
    assert boot(data).chunks[0] == (2 * MIB, data, 0)


def test_address_fields_win_over_elf() -> None:
    data = elf(header(FLAT_FLAGS, (3 * MIB + 0x60, 3 * MIB, 0, 0, 3 * MIB + 0x100)))
    assert boot(data).chunks[0].address == 3 * MIB


def test_kernel_is_told_memory_command_line_and_loader() -> None:
    memory, info = info_of(boot(elf(header()), append="console=com0", name="/boot/gnumach"))
    flags, lower, upper, _, command_line = words(memory, info, 5)
    assert flags == 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
    assert (lower, upper) == (639, RAM // 1024 - 1024)
    assert text(memory, command_line) == b"gnumach console=com0"
    assert text(memory, words(memory, info + 64, 1)[0]) == b"Trapline"


def test_bytes_of_names_and_arguments_that_are_no_utf_8_arrive_as_they_were_typed() -> None:
    odd = os.fsdecode(b"m\xff")
    memory, info = info_of(boot(elf(header()), append=odd, name=odd, modules=(Module(odd, b"1", odd),)))
    assert text(memory, words(memory, info + 16, 1)[0]) == b"m\xff m\xff"
    assert text(memory, words(memory, words(memory, info + 24, 1)[0] + 8, 1)[0]) == b"m\xff m\xff"


def test_memory_map_is_the_one_the_bios_tells() -> None:
    regions = [Region(0, 0x9F000, 1), Region(MIB, 31 * MIB, 1), Region(0xFFFC0000, 0x40000, 2)]
    memory, info = info_of(boot(elf(header()), post=PostState(regions, 0x9F000)))
    length, at = words(memory, info + 44, 2)
    table = memory.read(at, length)
    assert list(struct.iter_unpack("<IQQI", table)) == [(20, *region) for region in regions]
    assert words(memory, info + 4, 2) == (0x9F000 // 1024, 31 * 1024)


def test_modules_are_on_page_borders_behind_the_kernel_with_name_and_arguments() -> None:
    modules = (Module("/tmp/one", b"1" * 5000, "a b"), Module("two", b"2"))
    memory, info = info_of(boot(elf(header(), memory_bytes=0x2001), modules=modules))
    count, at = words(memory, info + 20, 2)
    assert words(memory, info, 1)[0] & 1 << 3
    first, second = words(memory, at, 4), words(memory, at + 16, 4)
    assert count == 2
    assert first[:2] == (MIB + 0x3000, MIB + 0x3000 + 5000)
    assert second[:2] == (MIB + 0x5000, MIB + 0x5001)
    assert (text(memory, first[2]), text(memory, second[2])) == (b"one a b", b"two")
    assert memory.read(first[0], 5000) == b"1" * 5000


def test_kernel_that_asks_for_text_is_told_of_the_text_screen() -> None:
    memory, info = info_of(boot(elf(header(4, video=(1, 80, 25, 0)))))
    assert words(memory, info, 1)[0] & 1 << 12
    assert struct.unpack("<QIIIBB", memory.read(info + 88, 22)) == (0xB8000, 160, 80, 25, 16, 2)


def vbe_mode(bits: int) -> bytes:
    block = bytearray(256)
    struct.pack_into("<HHH", block, 0x10, 3200, 800, 600)
    block[0x19] = bits
    block[0x1F:0x25] = bytes((8, 16, 8, 8, 8, 0))
    struct.pack_into("<I", block, 0x28, 0xFD000000)
    return bytes(block)


def test_kernel_that_asks_for_graphics_is_told_of_the_frame_buffer() -> None:
    post = PostState(PostState.expected(RAM).regions, vbe=VbeMode(0x4143, b"VESA" + bytes(508), vbe_mode(32)))
    memory, info = info_of(boot(elf(header(4, video=(0, 800, 600, 32))), post=post))
    assert words(memory, info, 1)[0] & (1 << 11 | 1 << 12) == 1 << 11 | 1 << 12
    control, mode = words(memory, info + 72, 2)
    assert (memory.read(control, 4), memory.read(mode, 256)) == (b"VESA", vbe_mode(32))
    assert struct.unpack("<H", memory.read(info + 80, 2))[0] == 0x4143
    assert struct.unpack("<QIIIBB", memory.read(info + 88, 22)) == (0xFD000000, 3200, 800, 600, 32, 1)
    assert memory.read(info + 110, 6) == bytes((16, 8, 8, 8, 0, 8))


def test_indexed_frame_buffer_comes_with_its_colours() -> None:
    post = PostState(PostState.expected(RAM).regions, vbe=VbeMode(0x4103, bytes(512), vbe_mode(8)))
    memory, info = info_of(boot(elf(header(4, video=(0, 800, 600, 8))), post=post))
    at, count = struct.unpack("<IH", memory.read(info + 110, 6))
    assert (count, memory.read(at + 3 * 15, 3)) == (256, b"\xff\xff\xff")


def test_nothing_overlaps_even_where_the_kernel_is_low() -> None:
    state = boot(elf(header(), physical=0x7000, memory_bytes=0x91000))
    spans = sorted((c.address, c.address + len(c.data) + c.zeros) for c in state.chunks)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_kernel_packed_by_gzip_is_refused_when_it_is_cut_or_too_large() -> None:
    packed = gzip.compress(bytes(100_000))
    assert unpacked(packed, "k", MIB) == bytes(100_000)
    for data, most, message in (
        (packed[:-20], MIB, "truncated"),
        (packed, 50_000, "unpacks to more than the machine's memory"),
        (packed[:20] + b"\xff" * 40, MIB, "cannot be unpacked"),
    ):
        with pytest.raises(ConfigError, match=message):
            unpacked(data, "k", most)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (elf(header())[:40], "an ELF file without a Multiboot header"),
        (elf(header(), ident=2), r"a 64-bit ELF file \(byte 4 is 2\)"),
        (elf(header(), machine=62), "machine 62; expected 1, 1, 3"),
        (elf(header(), kind=3), r"ELF type 3, expected 2 \(executable\)"),
        (elf(header(), count=0), "0 program headers of 32 bytes; expected 1 to 256"),
        (elf(header(), count=200), "program headers at 0x34-"),
        (elf(header(), entry=0x10), "the entry 0x10 .* lies in no segment"),
        (elf(header(), file_bytes=0x5000), "wants bytes 0x0-0x4fff, the file has"),
        (elf(header(), file_bytes=0x5000, memory_bytes=0x10), "20480 bytes of the file for 16 of memory"),
        (elf(header(), memory_bytes=RAM), "segment 0 of the kernel needs 100000h-40FFFFFh; free memory is"),
        (elf(header(), physical=0), "needs 0h-FFFh; free memory is 500h-9FBFFh"),
        (elf(b""), "and none anywhere else"),
        (elf(b"", late=header()), "one at 0x3000 is too late"),
        (elf(b"\0\0" + header()), "header at 0x62: expected a multiple of 4"),
        (elf(header()[:8] + bytes(4)), "checksum 0x00000000, expected 0xe4524ffe for flags 0x0"),
        (elf(header(8)), "insists on flags 0x0008, which are not known; known are 0x0007"),
        (elf(struct.pack("<I", 0xE85250D6)), r"a Multiboot 2 kernel \(header at 0x60\)"),
        (bytes(64) + header(), r"has no addresses \(flag 16\), and the file is not ELF"),
        (header(FLAT_FLAGS, (MIB, 2 * MIB, 0, 0, MIB)), "put the start of the kernel at offset"),
        (
            header(FLAT_FLAGS, (MIB, MIB, 2 * MIB, 0, MIB)),
            "load_end_addr 0x200000 asks for bytes 0x0-0xfffff",
        ),
        (header(FLAT_FLAGS, (MIB, MIB, 0, MIB + 1, MIB)), "bss_end_addr 0x100001 is below the end"),
        (header(FLAT_FLAGS, (MIB, MIB, 0, 0, 5)), "entry_addr 0x5 is not in 0x100000-0x10001f"),
        (header(FLAT_FLAGS, (MIB, MIB, 0, 0, MIB))[:20], "has 32 bytes by its flags 0x10000"),
    ],
)
def test_what_is_wrong_is_told_with_place_found_and_expected(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        boot(data, name="os.elf")
    assert str(caught.value).startswith("os.elf: ")
    assert "\n" not in str(caught.value)


def test_segments_that_overlap_are_refused() -> None:
    with pytest.raises(ConfigError, match="segment 1 of the kernel at 100000h-100FFFh overlaps segment 0"):
        boot(elf(header(), twice=True))


def test_module_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="no 67000000 bytes are free for module big above 101000h"):
        boot(elf(header()), modules=(Module("big", bytes(67_000_000)),))


@pytest.mark.parametrize("entry", ["16", "64"])
def test_multiboot_kernel_has_only_its_32_bit_entry(entry: str) -> None:
    with pytest.raises(ConfigError, match=f"not by --entry {entry}"):
        kernel_for(request(elf(header()), entry=entry))
