"""Interrupts from outside on both engines: when they are taken, when not, and that nothing is lost."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, long, prot, real, run
from vmm.cpu import registers as r
from vmm.cpu.engine import StopReason
from vmm.cpu.processor import ProcessorOptions

pytestmark = both_engines

HANDLERS = """
    mov word [0x80 * 4], taken
    mov word [0x80 * 4 + 2], 0
    mov word [2 * 4], nmi
    mov word [2 * 4 + 2], 0
    jmp begin
taken:
    push eax
    mov al, 0x80
    out LOG, al
    pop eax
    iret
nmi:
    push eax
    mov al, 2
    out LOG, al
    pop eax
    iret
begin:
"""


def test_intr_waits_for_if(engine: str) -> None:
    rig = run(engine, real(HANDLERS + """
        cli
        mov al, 0x80
        out INTR, al
        log 1
        sti
        nop
        log 2
        finish"""))  # fmt: skip
    assert rig.log == [1, 0x80, 2]


def test_no_interrupt_between_sti_and_the_next_instruction(engine: str) -> None:
    """[SDM2B] STI: `sti; cli` lets no interrupt in."""
    rig = run(engine, real(HANDLERS + """
        cli
        mov al, 0x80
        out INTR, al
        mov cx, 200
    again:
        sti
        cli
        loop again
        log 1
        sti
        hlt
        cli
        log 2
        finish"""))  # fmt: skip
    assert rig.log == [1, 0x80, 2]


def test_a_loop_that_opens_a_short_window_is_interrupted(engine: str) -> None:
    """The portable engine looks between slices: were they all of the loop's length, it never would see it."""
    rig = run(engine, real(HANDLERS + """
        mov word [0x80 * 4], found
        cli
        mov al, 0x80
        out INTR, al
        mov cx, 5000
    again:
        times 45 nop
        sti
        nop
        cli
        times 51 nop
        loop again
        log 1
        finish
    found:
        log 2
        finish"""))  # fmt: skip
    assert rig.log == [2]


def test_a_pending_interrupt_is_taken_after_sti_hlt(engine: str) -> None:
    """The frame's address is that after HLT: the HLT ran, and ended."""
    rig = run(
        engine,
        real("""
        mov word [0x80 * 4], handler
        mov word [0x80 * 4 + 2], 0
        cli
        mov al, 0x80
        out INTR, al
        sti
        hlt
    after:
        log 2
        finish
    handler:
        mov bp, sp
        mov ax, [bp]
        sub ax, after
        log eax
        iret"""),
    )
    assert [value & 0xFFFF for value in rig.log] == [0, 2]


@pytest.mark.parametrize("load", ["mov ss, ax", "push ax\n pop ss"])
@pytest.mark.parametrize("line", ["INTR", "NMILINE"])
def test_nothing_comes_between_a_load_of_ss_and_what_follows(engine: str, load: str, line: str) -> None:
    """[SDM3] §6.8.3. The handler must never see the new SS with the old SP."""
    rig = run(engine, real(HANDLERS + f"""
        mov word [0x80 * 4], look
        mov word [2 * 4], look
        sti
        mov cx, 50
    again:
        mov sp, 0x7000
        mov dx, {line}
        mov al, 0x80
        out dx, al
        mov ax, 0x100
        {load}
        mov sp, 0x6000
        xor ax, ax
        mov ss, ax
        mov sp, 0x7000
        loop again
        log 99
        finish
    look:
        push bp
        mov bp, ss
        cmp bp, 0x100
        mov bp, sp
        jne .flat
        cmp bp, 0x6100
        jbe .out
        log 666
        jmp .out
    .flat:
        cmp bp, 0x6f00
        jae .out
        log 667
    .out:
        pop bp
        iret"""))  # fmt: skip
    assert rig.log == [99]


def test_nmi_ignores_if_and_waits_for_iret(engine: str) -> None:
    """[SDM3] §6.7.1: a second NMI is held until the first handler's IRET."""
    rig = run(engine, real(HANDLERS + """
        mov word [2 * 4], slow
        cli
        out NMILINE, al
        mov cx, 300
        loop $
        log 9
        finish
    slow:
        log 2
        cmp byte [seen], 0
        jne .out
        mov byte [seen], 1
        out NMILINE, al
        push cx
        mov cx, 300
        loop $
        pop cx
        log 3
    .out:
        iret
    seen: db 0"""))  # fmt: skip
    assert rig.log == [2, 3, 2, 9]


def test_an_interrupt_within_rep_movsb_resumes_it_exactly(engine: str) -> None:
    """Whoever is interrupted in a repeated instruction goes on where it was: all bytes once, in order."""
    rig = Rig(engine).load(real(HANDLERS + """
        mov word [0x80 * 4], quiet
        mov ax, 0x1000
        mov ds, ax
        mov ax, 0x2000
        mov es, ax
        sti
        mov bx, 200
    again:
        xor si, si
        xor di, di
        mov cx, 0x8000
        rep movsb
        add ax, cx
        or si, si
        dec bx
        jnz again
        log ebx
        finish
    quiet:
        iret"""))  # fmt: skip
    pattern = bytes(i * 7 & 0xFF for i in range(0x8000))
    rig.memory.write(0x10000, pattern)
    taken = 0
    while (reason := rig.engine.run(rig.engine.wiring.now_ns() + 300_000)) is StopReason.DEADLINE:
        if rig._vector is None:
            rig.raise_interrupt(0x80)
            taken += 1
        view = rig.view
        if view.segs[r.ES].selector == 0x2000 and view.rip < 0x8000:
            moved = 0x8000 - view.regs[r.RCX] & 0xFFFF
            if 0 < view.regs[r.RCX] <= 0x8000 and view.regs[r.RSI]:
                assert (view.regs[r.RSI], view.regs[r.RDI]) == (moved, moved)
    assert reason is StopReason.HALTED
    assert taken >= 3
    assert rig.memory.read(0x20000, 0x8000) == pattern


def test_hlt_wakes_by_interrupt_and_by_nmi(engine: str) -> None:
    rig = Rig(engine).load(real(HANDLERS + """
        sti
        hlt
        log 1
        cli
        hlt
        log 2
        finish"""))  # fmt: skip
    assert rig.engine.run(rig.engine.wiring.now_ns() + 10**9) is StopReason.HALTED
    rig.raise_interrupt(0x80)
    assert rig.engine.run(rig.engine.wiring.now_ns() + 10**9) is StopReason.HALTED
    assert rig.log == [0x80, 1]
    rig.engine.raise_nmi()
    assert rig.run() is StopReason.HALTED
    assert rig.log == [0x80, 1, 2, 2]


def test_an_interrupt_from_ring_3_enters_by_the_tss(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        sti
        to_ring3 user
    user:
        mov ecx, 1000
        mov al, 0x41
        out INTR, al
        loop $
        to_ring0 done
    done:
        finish"""),
    )
    (frame,) = rig.frames
    assert (frame.vector, frame.cs, frame.sp, frame.ss) == (0x41, 0x1B, 0x4800, 0x23)


def test_a_line_that_falls_again_is_not_taken(engine: str) -> None:
    rig = Rig(engine).load(real(HANDLERS + "sti\n mov cx, 1000\n loop $\n log 1\n finish"))
    rig.raise_interrupt(0x80)
    rig.engine.set_interrupt(False)
    rig._vector = None
    assert rig.run() is StopReason.HALTED
    assert rig.log == [1]


def test_a_line_that_rises_again_and_again_does_not_hold_up_code_with_interrupts_off(engine: str) -> None:
    """A timer's line falls and rises at each tick: single steps at each rise would be all the guest runs."""
    body = "cli\n again: times 30 nop\n jmp again"
    rig = Rig(engine, ProcessorOptions(virtual_clock=True)).load(real(body))
    rises = 200
    for _ in range(rises):
        rig.engine.set_interrupt(False)
        rig.engine.set_interrupt(True)
        assert rig.engine.run(rig.engine.virtual_ns + 1) is StopReason.DEADLINE
    assert rig.engine.virtual_ns > rises * 30  # one turn each time


def test_interrupts_in_long_mode_align_the_stack(engine: str) -> None:
    """[SDM3] §6.14.2: RSP is aligned to 16 bytes and SS:RSP always pushed."""
    rig = run(
        engine,
        long("""
        mov rsp, 0x4f08
        sti
        mov al, 0x41
        out INTR, al
        nop
        nop
        mov rcx, 1000
        loop $
        finish"""),
    )
    (frame,) = rig.frames
    assert (frame.vector, frame.cs, frame.sp, frame.ss) == (0x41, 0x08, 0x4F08, 0x10)
