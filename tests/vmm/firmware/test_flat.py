"""Flat binaries, and the addresses users write."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from tests.vmm.firmware.kernels import MIB, RAM, boot, request
from vmm.errors import ConfigError, UsageError
from vmm.firmware.boot_state import BootState
from vmm.firmware.kernel import LoadAddress, Module
from vmm.firmware.loaders import kernel_for
from vmm.firmware.post_state import PostState
from vmm.load_address import parse_load_address
from vmm.memory import Memory

PROGRAM = b"\xeb\xfe" + b"P" * 100


def stub(state: BootState) -> bytes:
    memory = Memory(RAM)
    state.fill(memory)
    return memory.read(state.area, 0x180)


def registers(state: BootState) -> dict[str, int]:
    """What the real-mode stub loads: mov ax, ss; ..; mov sp; mov ax, ds; ..; mov edx; sti; jmp far."""
    code = stub(state)
    ss, sp, ds = (struct.unpack_from("<H", code, at)[0] for at in (2, 7, 10))
    end = code.index(b"\xfb\xea")
    (dx,) = struct.unpack_from("<I", code, end - 4)
    ip, cs = struct.unpack_from("<HH", code, end + 2)
    return {"ss": ss, "sp": sp, "ds": ds, "dx": dx, "cs": cs, "ip": ip}


def test_flat_binary_is_started_like_a_boot_sector() -> None:
    state = boot(PROGRAM)
    assert state.chunks[0] == (0x7C00, PROGRAM, 0)
    assert registers(state) == {"cs": 0, "ip": 0x7C00, "ds": 0, "ss": 0, "sp": 0x7C00, "dx": 0}


def test_dl_is_the_first_hard_disk_where_there_is_one() -> None:
    post = PostState(PostState.expected(RAM).regions, boot_drive=0x80)
    assert registers(boot(PROGRAM, post))["dx"] == 0x80


def test_segment_that_was_given_is_the_one_in_cs_and_ds() -> None:
    found = registers(boot(PROGRAM, load_address=LoadAddress(0x20100, 0x2000)))
    assert (found["cs"], found["ip"], found["ds"]) == (0x2000, 0x100, 0x2000)


def test_address_above_64_kib_has_the_segment_of_its_64_kib() -> None:
    found = registers(boot(PROGRAM, load_address=LoadAddress(0x23456)))
    assert (found["cs"], found["ip"]) == (0x2000, 0x3456)


def test_program_where_the_stack_would_be_gets_another_stack() -> None:
    found = registers(boot(PROGRAM, load_address=LoadAddress(0x7000)))
    stack = (found["ss"] << 4) + found["sp"]
    assert 0x90000 < stack <= 0x9FC00
    assert found["sp"] == 0x1000


def test_any_program_may_be_over_the_places_the_loader_likes() -> None:
    for address in (0x500, 0x7000, 0x8000, 0x90000):
        state = boot(bytes(0x9000), load_address=LoadAddress(address))
        spans = sorted((c.address, c.address + len(c.data)) for c in state.chunks)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_32_bit_start_is_flat_with_interrupts_off() -> None:
    state = boot(PROGRAM, entry="32", load_address=LoadAddress(MIB))
    assert b"\xbc\x00\x7c\x00\x00" in stub(state)  # mov esp, 7C00h
    assert stub(state).rstrip(b"\0").startswith(b"\xfa")
    assert b"\x68\x00\x00\x10\x00\xc3" in stub(state)  # push 100000h; ret


def test_load_address_makes_any_file_flat() -> None:
    assert boot(b"\x7fELF" + bytes(60), load_address=LoadAddress(0x8000)).chunks[0].address == 0x8000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"entry": "64"}, "16-bit or 32-bit mode, not 64"),
        ({"append": "x"}, "which --initrd and --append do not reach"),
        ({"modules": (Module("m", b"m"),)}, "which --initrd and --append do not reach"),
        (
            {"load_address": LoadAddress(MIB)},
            "real mode does not reach --load-address 0x100000; give --entry 32",
        ),
        ({"load_address": LoadAddress(RAM), "entry": "32"}, "the flat binary needs 4000000h-4000065h; free"),
        ({"load_address": LoadAddress(0x9FC00)}, "needs 9FC00h-9FC65h; free memory is 500h-9FBFFh"),
    ],
)
def test_what_cannot_start_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        boot(PROGRAM, **fields)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"MZ" + bytes(600), "a DOS or EFI program"), (b"\xfd7zXZ\x00" + bytes(9), "packed by xz")],
)
def test_files_that_surely_are_something_else_are_not_run(data: bytes, what: str) -> None:
    with pytest.raises(ConfigError, match=f"{what}; expected a bzImage, a Multiboot kernel or a flat binary"):
        kernel_for(request(data))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0x7c00", LoadAddress(0x7C00)),
        ("7C00h", LoadAddress(0x7C00)),
        ("31744", LoadAddress(0x7C00)),
        ("64K", LoadAddress(0x10000)),
        ("1M", LoadAddress(MIB)),
        ("1000:0100", LoadAddress(0x10100, 0x1000)),
        ("f000:fff0", LoadAddress(0xFFFF0, 0xF000)),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, expected: LoadAddress) -> None:
    assert parse_load_address(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "4096M", "0x100000000", "12345:0", "9" * 5000])
def test_what_is_no_address_is_refused_in_a_short_line(text: str) -> None:
    with pytest.raises(UsageError, match="expected an address below 4 GiB") as caught:
        parse_load_address(text)
    assert len(str(caught.value)) < 150
