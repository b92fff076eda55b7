"""Translated code that is overwritten: by the guest, through aliases, by bus masters; stores beside it."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, long, prot, real, run
from vmm.cpu.engine import StopReason

pytestmark = both_engines


def test_a_guest_patches_the_code_it_runs_next(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        mov ecx, 3
    again:
        mov byte [patched + 1], cl
    patched:
        mov al, 0
        movzx eax, al
        log eax
        loop again
        finish"""),
    )
    assert rig.log == [3, 2, 1]


def test_a_guest_patches_the_instruction_behind_in_the_same_block(engine: str) -> None:
    rig = run(
        engine,
        real("""
        mov bx, 5
    again:
        mov [patched + 1], bl
    patched:
        mov al, 0
        mov ah, 0
        log eax
        dec bx
        jnz again
        finish"""),
    )
    assert [value & 0xFFFF for value in rig.log] == [5, 4, 3, 2, 1]


def test_code_patched_through_another_linear_address(engine: str) -> None:
    """The page at 300000h is mapped a second time; a store there must be seen at the first."""
    rig = run(
        engine,
        prot("""
        mov dword [0x300000], 0xc301b0
        paging
        mov dword [PTE + 0x200 * 4], 0x300007
        mov eax, cr3
        mov cr3, eax
        mov ebx, 5
        mov ecx, 0x300000
    again:
        xor eax, eax
        call ecx
        log eax
        mov [0x200001], bl
        dec ebx
        jnz again
        xor eax, eax
        call ecx
        log eax
        finish"""),
    )
    assert rig.log == [1, 5, 4, 3, 2, 1]


def test_a_page_becomes_code_and_data_and_code_again(engine: str) -> None:
    """The store fast path: a page that was only written is not watched until the first fetch from it.

    Interleaves stores through a warm translation with calls, also across pages, many times over.
    """
    rig = run(
        engine,
        prot("""
        mov edi, 0x200000
        mov ebx, 200
    again:
        mov eax, ebx                    ; data: the whole page
        mov ecx, 0x400
        push edi
        rep stosd
        pop edi
        mov word [edi], 0xb8            ; code: mov eax, ebx; ret
        mov [edi + 1], ebx
        mov byte [edi + 5], 0xc3
        call edi
        cmp eax, ebx
        jne bad
        inc byte [edi + 1]              ; patch through the translation that is warm
        call edi
        lea edx, [ebx + 1]
        cmp al, dl
        jne bad
        add edi, 0x1000
        test ebx, 7
        jnz .keep
        mov edi, 0x200000
    .keep:
        dec ebx
        jnz again
        log 1
    bad:
        log ebx
        finish"""),
    )
    assert rig.log == [1, 0]


def test_stores_beside_code_do_not_disturb_it(engine: str) -> None:
    """Variables in the page of the code that changes them, as in every boot sector."""
    rig = run(
        engine,
        prot("""
        mov ecx, 20000
    again:
        inc dword [counter]
        mov eax, [counter]
        loop again
        log [counter]
        finish
        align 4
    counter: dd 0"""),
    )
    assert rig.log == [20000]


def test_a_data_alias_of_a_code_page_is_seen_whichever_comes_first(engine: str) -> None:
    """Three linear addresses of one page: one writes first, one runs, one patches."""
    rig = run(
        engine,
        prot("""
        paging
        mov dword [PTE + 0x201 * 4], 0x200007
        mov dword [PTE + 0x202 * 4], 0x200007
        mov eax, cr3
        mov cr3, eax
        mov ebx, 30
    again:
        mov dword [0x200000], 0xc300b0
        mov [0x200001], bl
        mov ecx, 0x201000
        xor eax, eax
        call ecx
        cmp al, bl
        jne bad
        inc byte [0x202001]
        call ecx
        dec al
        cmp al, bl
        jne bad
        mov byte [0x200001], 77         ; through what was filled before the page held code
        call ecx
        cmp al, 77
        jne bad
        mov eax, cr3
        test ebx, 3
        jnz .warm
        mov cr3, eax
    .warm:
        dec ebx
        jnz again
    bad:
        log ebx
        finish"""),
    )
    assert rig.log == [0]


@pytest.mark.parametrize("at", [0x30000, 0x20_0000, 0x20_0FFE, 0xC0000, 0xF8000])
def test_a_bus_master_overwrites_code(engine: str, at: int) -> None:
    """`Memory.write` is DMA. Without invalidation the old translation runs on (C3). Also over a page end."""
    rig = Rig(engine)
    rig.service = lambda number: rig.memory.write(at, bytes([0xB0, 0, 0xB0, number, 0xC3]))
    rig.load(
        prot(f"""
        mov ebx, 4
    again:
        mov al, bl
        out SERVICE, al
        xor eax, eax
        mov ecx, {at:#x}
        call ecx
        log eax
        dec ebx
        jnz again
        finish""")
    )
    assert rig.run() is StopReason.HALTED
    assert rig.log == [4, 3, 2, 1]


def test_dma_over_the_code_that_waits_for_it(engine: str) -> None:
    """A driver polls in a loop that the transfer itself replaces."""
    rig = Rig(engine).load(
        prot("""
    spin:
        mov al, 1
        test al, al
        jnz spin
        log 5
        finish""")
    )
    binary = rig.memory.read(0x7C00, 0x2000)
    at = 0x7C00 + binary.index(b"\xb0\x01\x84\xc0")
    rig.engine.run(rig.engine.wiring.now_ns() + 2_000_000)
    rig.memory.write(at + 1, b"\x00")
    assert rig.run() is StopReason.HALTED
    assert rig.log == [5]


def test_a_rep_store_over_the_code_that_does_it(engine: str) -> None:
    """`rep stosb` overwrites its own instruction with NOPs and goes on behind: the run ends, orderly."""
    rig = run(
        engine,
        prot("""
        mov edi, target
        mov ecx, after - target
        mov al, 0x90
    target:
        rep stosb
        nop
        nop
    after:
        log 3
        finish"""),
    )
    assert rig.log == [3]


def test_invlpg_and_cr3_forget_translations(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        mov dword [0x200000], 2
        mov dword [0x201000], 3
        paging
        log [0x300000 - 0x100000]
        mov dword [PTE + 0x200 * 4], 0x201007
        invlpg [0x200000]
        log [0x200000]
        mov dword [PTE + 0x200 * 4], 0x200007
        mov eax, cr3
        mov cr3, eax
        log [0x200000]
        finish"""),
    )
    assert rig.log == [2, 3, 2]


def test_long_mode_code_is_patched_too(engine: str) -> None:
    rig = run(
        engine,
        long("""
        mov rbx, 3
    again:
        mov [rel patched + 1], bl
    patched:
        mov al, 0
        movzx eax, al
        log eax
        dec rbx
        jnz again
        finish"""),
    )
    assert rig.log == [3, 2, 1]
