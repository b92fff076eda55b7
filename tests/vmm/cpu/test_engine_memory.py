"""RAM, ROM, windows and holes as guests of both engines see them."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import ROM_AT, Rig, both_engines, prot, real, run
from vmm.cpu import registers as r
from vmm.cpu.engine import StopReason
from vmm.memory import MIB

pytestmark = both_engines


def jump(address: int, name: str = "returned") -> str:
    """Jump to an address; an exception there comes back behind the jump."""
    return f"""
        mov dword [resume], {name}
        mov dword [tried], {address:#x}
        mov eax, {address:#x}
        jmp eax
    {name}:
        mov dword [resume], 0
        """


def test_a_hole_reads_ones_and_drops_writes(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        mov edi, 0x10000000
        mov dword [edi], 0x12345678
        log [edi]
        movzx eax, byte [edi + 3]
        log eax
        movzx eax, word [0xb0000000 + 1]
        log eax
        log [0x400000 - 2]              ; two bytes of RAM, two of nothing
        finish"""),
    )
    assert rig.log == [0xFFFF_FFFF, 0xFF, 0xFFFF, 0xFFFF_0000]


@pytest.mark.parametrize("address", [0x1000_0000, 0xA0010, 0xFED0_0000, 0x40_0000])
def test_code_in_a_hole_or_window_is_an_invalid_opcode(engine: str, address: int) -> None:
    """FFh FFh is no instruction. Without our handling Unicorn stops for good with FETCH_UNMAPPED."""
    rig = run(engine, prot(jump(address) + "log 1\n" + jump(address, "again") + "finish"))
    assert rig.briefs == [(r.UD, 0, 0)] * 2
    assert rig.log == [1]


@pytest.mark.parametrize("tail", [b"\x90", b"\x90\xb8", b"\x90\x66\xb8\xff"])
def test_an_instruction_from_ram_into_a_hole(engine: str, tail: bytes) -> None:
    """The NOP runs; then #UD at the first instruction that needs the hole, though a block holds both.

    Deliberately not exact: a bus reads FFh there and MOV EAX, imm32 would run, with #UD behind it.
    """
    at = 4 * MIB - len(tail)
    rig = Rig(engine)
    rig.memory.write(at, tail)
    rig.load(prot("mov ebx, 0\n" + jump(at) + "finish"))
    assert rig.run() is StopReason.HALTED
    assert rig.briefs == [(r.UD, 0, 1)]


def test_rom_keeps_its_bytes(engine: str) -> None:
    """Unicorn stops emulation at a write to ROM unless a hook says to go on (C8)."""
    rig = run(
        engine,
        prot(f"""
        mov edi, {ROM_AT:#x}
        mov dword [edi], 0x12345678
        mov byte [edi + 5], 1
        xor eax, eax
        xchg [edi + 8], eax
        inc dword [edi + 12]
        mov ecx, 4
        rep stosd
        log [{ROM_AT:#x}]
        log [{ROM_AT:#x} + 4]
        log [{ROM_AT:#x} + 8]
        log [{ROM_AT:#x} + 12]
        finish"""),
    )
    assert rig.log == [0x0302_0100, 0x0706_0504, 0x0B0A_0908, 0x0F0E_0D0C]


def test_shadow_segments_are_protected_and_opened_while_the_guest_runs(engine: str) -> None:
    """[440FX] PAM: only the segment named changes; a store whose translation is cached obeys at once."""
    rig = Rig(engine)
    rig.service = lambda value: rig.memory.protect_shadow(0xC8000, 0x4000, writable=bool(value))
    rig.load(
        prot("""
        mov edi, 0xc8000
        mov dword [edi], 1
        mov al, 0
        out SERVICE, al                     ; protect
        mov dword [edi], 2
        mov dword [edi + 0x4000], 3     ; the next segment
        log [edi]
        log [edi + 0x4000]
        mov al, 1
        out SERVICE, al
        mov dword [edi], 4
        log [edi]
        mov al, 0
        out SERVICE, al
        lock inc dword [edi]
        log [edi]
        finish""")
    )
    assert rig.run() is StopReason.HALTED
    assert rig.log == [1, 3, 4, 4]
    rig.memory.write(0xC8000, b"\x05")
    assert rig.memory.read(0xC8000, 1) == b"\x04"


def test_mmio_has_the_size_and_offset_of_each_access(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        mov edi, 0xa0000
        mov byte [edi + 1], 0x11
        mov word [edi + 2], 0x2222
        mov dword [edi + 4], 0x44444444
        mov al, [edi + 1]
        mov ax, [edi + 2]
        mov eax, [edi + 4]
        inc byte [edi + 1]
        finish"""),
    )
    assert rig.window.accesses == [
        ("write", 1, 1, 0x11), ("write", 2, 2, 0x2222), ("write", 4, 4, 0x4444_4444),
        ("read", 1, 1, 0x11), ("read", 2, 2, 0x2222), ("read", 4, 4, 0x4444_4444),
        ("read", 1, 1, 0x11), ("write", 1, 1, 0x12),
    ]  # fmt: skip


def test_unaligned_mmio_keeps_its_meaning(engine: str) -> None:
    """Unicorn splits it: a read into two aligned ones, a write into bytes (C14). The value is right."""
    rig = run(
        engine,
        prot("""
        mov edi, 0xa0000
        mov dword [edi + 0], 0x03020100
        mov dword [edi + 4], 0x07060504
        log [edi + 1]
        log [edi + 3]
        mov dword [edi + 0x11], 0xddccbbaa
        movzx eax, word [edi + 3]
        log eax
        finish"""),
    )
    assert rig.log == [0x0403_0201, 0x0605_0403, 0x0403]
    assert rig.window.bytes[0x11:0x15] == b"\xaa\xbb\xcc\xdd"
    sizes = {size for _, _, size, _ in rig.window.accesses}
    assert sizes <= {1, 2, 4}


def test_64_bit_mmio_arrives_as_halves(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        fninit
        mov edi, 0xa0000
        fild qword [value]
        fistp qword [edi]
        fild qword [edi]
        fistp qword [back64]
        log [back64]
        log [back64 + 4]
        finish
    value: dq 0x1122334455667788
    back64: dq 0"""),
    )
    assert rig.log == [0x5566_7788, 0x1122_3344]
    assert {size for _, _, size, _ in rig.window.accesses} == {4}


def test_rep_movs_from_and_to_a_window(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        mov esi, 0x20000
        mov edi, 0xa0000
        mov ecx, 64
        rep movsb
        mov esi, 0xa0000
        mov edi, 0x30000
        mov ecx, 16
        rep movsd
        finish"""),
    )
    assert rig.memory.read(0x30000, 64) == rig.memory.read(0x20000, 64)
    assert len(rig.window.accesses) == 64 + 16


def test_with_a20_off_the_second_mib_is_the_first(engine: str) -> None:
    """Stores, loads and fetches: FFFF:0010 is 0 with the gate off, 100000h with it on."""
    rig = run(
        engine,
        real("""
        mov ax, 0xffff
        mov es, ax
        mov word [0x500], 0x1111
        mov word [es:0x510], 0x2222
        log [0x500]
        xor al, al
        out A20, al
        mov ax, [es:0x510]
        log eax
        mov word [es:0x510], 0x3333
        mov ax, [0x500]
        log eax
        mov byte [0x600], 0xc3          ; RET
        mov al, 1
        out A20, al
        mov ax, [es:0x510]
        log eax
        finish"""),
    )
    assert [value & 0xFFFF for value in rig.log] == [0x1111, 0x1111, 0x3333, 0x2222]
    assert rig.memory.read(0x10_0500, 2) == b"\x22\x22"


def test_a20_also_gates_fetches(engine: str) -> None:
    """The same linear address holds two routines, one a gate position; neither is run for the other."""
    rig = run(
        engine,
        prot("""
        mov dword [0x100700], 0xc301b0  ; mov al, 1; ret
        mov dword [0x000700], 0xc302b0  ; mov al, 2; ret
        mov ebx, 4
    again:
        mov eax, ebx
        and eax, 1
        out A20, al
        mov ecx, 0x100700
        xor eax, eax
        call ecx
        log eax
        dec ebx
        jnz again
        mov al, 1
        out A20, al
        finish"""),
    )
    assert rig.log == [2, 1, 2, 1]


def test_blocks_of_growing_size_are_not_confused(engine: str) -> None:
    """Unicorn gives colliding RAM offsets when a larger block follows a smaller one (C2).

    Translated code is found by linear address and RAM offset: here many physical pages run at one linear
    address. Without the order of sizes and the freed dummy one runs for another (101 for 102), unless
    our proof of the offsets has refused the engine before.
    """
    places = [0, 0x2_0000, 0x4_0000, 0x8_0000, 0xC_0000, 0xC_4000, 0xE_C000, 0xF_0000, 0xF_8000]
    places += [0x10_0000 + at for at in (0, 0x1000, 0x4000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000)]
    stores = "".join(f"mov dword [{p:#x}], {0xC3_00B0 | i + 1 << 8:#x}\n" for i, p in enumerate(places))
    calls = "".join(
        f"mov dword [PTE + 0x3f0 * 4], {p | 7:#x}\n mov eax, cr3\n mov cr3, eax\n xor eax, eax\n"
        "mov ecx, 0x3f0000\n call ecx\n log eax\n"
        for p in places
    )
    rig = run(engine, prot(stores + "paging\n" + calls * 2 + "finish"))
    assert rig.log == [i + 1 for i in range(len(places))] * 2


def test_code_at_address_0_runs(engine: str) -> None:
    """Unless exits are enabled Unicorn takes `until`, 0, for the address at which to stop."""
    rig = run(
        engine,
        prot("""
        mov dword [0], 0xc307b0
        xor eax, eax
        xor ecx, ecx
        call ecx
        log eax
        finish"""),
    )
    assert rig.log == [7]
