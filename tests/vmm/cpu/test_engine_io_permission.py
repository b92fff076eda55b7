"""Port access by IOPL and by the bitmap of the TSS, [SDM1] §19.5. Unicorn's translator allows it all."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import both_engines, long, prot, run
from vmm.cpu import registers as r

pytestmark = both_engines

IN_RING_3 = """
    mov word [TSS_AT + 0x66], {bitmap}
    {setup}
    pushfd
    or dword [esp], {iopl} << 12
    popfd
    to_ring3 user
user:
    mov edx, {port}
    mov eax, 0x5a5a5a5a
    mov edi, 0x20000
    mov esi, 0x20000
    mov ecx, 3
    try {instruction}
    mov ebx, eax
    to_ring0 done
done:
    log ebx
    log ecx
    log esi
    finish
"""
NO_BITMAP = 0xFFFF


@pytest.mark.parametrize("instruction", [
    "in al, dx", "in eax, dx", "in al, NUMBER", "out dx, al", "out SERVICE, eax", "insb", "outsb",
    "rep outsd",
])  # fmt: skip
def test_without_iopl_or_bitmap_every_access_faults(engine: str, instruction: str) -> None:
    """#GP(0) at the instruction: no register has changed, and no device has heard of it."""
    rig = run(engine, prot(IN_RING_3.format(
        bitmap=NO_BITMAP, setup="", iopl=0, port=0xE8, instruction=instruction
    )))  # fmt: skip
    assert rig.briefs == [(r.GP, 0, 0)]
    assert rig.frames[0].cs == 0x1B
    assert rig.log == [0x5A5A_5A5A, 3, 0x20000]
    assert rig.ports.number == 0


@pytest.mark.parametrize("iopl", [0, 3])
def test_iopl_3_allows_ring_3(engine: str, iopl: int) -> None:
    guest = prot(IN_RING_3.format(bitmap=NO_BITMAP, setup="", iopl=iopl, port=0xE8, instruction="in eax, dx"))
    rig = run(engine, guest)
    assert rig.briefs == ([] if iopl == 3 else [(r.GP, 0, 0)])
    assert rig.log[0] == (1 if iopl == 3 else 0x5A5A_5A5A)


@pytest.mark.parametrize(("port", "size", "allowed"), [
    (0xE8, "al", True), (0xE9, "al", False), (0xE8, "ax", False), (0xE7, "ax", True), (0xE5, "eax", True),
    (0xE6, "eax", False), (0xF0, "al", False),
])  # fmt: skip
def test_the_bitmap_has_a_bit_for_every_port_of_an_access(
    engine: str, port: int, size: str, allowed: bool
) -> None:
    """The TSS holds bits up to EFh; E9h is closed; ports behind the limit are too."""
    setup = """
        mov word [GDT_AT + TSS], 0x68 + 0x1e
        mov byte [GDT_AT + TSS + 5], 0x89
        mov ax, TSS
        ltr ax
        mov edi, TSS_AT + 0x68
        mov ecx, 0x1e
        xor al, al
        rep stosb
        mov word [TSS_AT + 0x68 + 0x1d], 0xff02
    """
    guest = prot(IN_RING_3.format(bitmap=0x68, setup=setup, iopl=0, port=port, instruction=f"in {size}, dx"))
    assert run(engine, guest).briefs == ([] if allowed else [(r.GP, 0, 0)])


def test_ring_0_needs_no_permission(engine: str) -> None:
    rig = run(engine, prot("mov word [TSS_AT + 0x66], 0xffff\n try in eax, NUMBER\n log eax\n finish"))
    assert (rig.log, rig.frames) == ([1], [])


def test_vm86_asks_the_bitmap_even_with_iopl_3(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        mov word [TSS_AT + 0x66], 0xffff
        gate 6, leave_ring3, 0x8e00
        mov dword [back], done
        push dword 0
        push dword 0
        push dword 0
        push dword 0
        push dword 0x300
        push dword 0xffe
        push dword 0x23002
        push dword 0
        push dword task
        iretd
    bits 16
    task:
        mov dword [cs:tried], first
        mov dword [cs:resume], next
    first:
        in al, NUMBER
    next:
        ud2
    bits 32
    done:
        finish"""),
    )
    assert rig.briefs == [(r.GP, 0, 0)]
    assert rig.ports.number == 0


def test_64_bit_code_is_checked_as_well(engine: str) -> None:
    rig = run(
        engine,
        long("""
        mov word [TSS_AT + 0x66], 0xffff
        to_ring3 UCODE, user
    user:
        try in al, NUMBER
        try out SERVICE, al
        to_ring0 done
    done:
        log 1
        finish"""),
    )
    assert rig.briefs == [(r.GP, 0, 0)] * 2
    assert rig.log == [1]
