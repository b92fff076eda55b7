"""Single steps and instruction breakpoints on both engines, [SDM3] chapter 17."""

from __future__ import annotations

from tests.vmm.cpu.engine_rig import both_engines, prot, run
from vmm.cpu import registers as r

pytestmark = both_engines


def test_single_step_traps_after_every_instruction(engine: str) -> None:
    """[SDM3] §17.3.2: #DB after each instruction with TF set before it; the handler itself runs free."""
    rig = run(
        engine,
        prot("""
        mov dword [tried], begin
        pushfd
        or dword [esp], 0x100
        popfd
    begin:
        nop
        inc ecx
        mov eax, 5
        cpuid
        in al, NUMBER
        pushfd
        and dword [esp], ~0x100
        popfd
        nop
        finish"""),
    )
    assert [frame.offset for frame in rig.frames] == [1, 2, 7, 9, 11, 12, 19, 20]
    assert {(frame.vector, frame.flags & r.TF) for frame in rig.frames} == {(r.DB, r.TF)} | {(r.DB, 0)}


def test_single_step_shows_in_dr6(engine: str) -> None:
    rig = run(
        engine,
        prot("""
        gate 1, handler, 0x8e00
        pushfd
        or dword [esp], 0x100
        popfd
        nop
        finish
    handler:
        mov eax, dr6
        log eax
        and dword [esp + 8], ~0x100
        iretd"""),
    )
    assert rig.log == [0xFFFF_4FF0]


def test_single_step_over_an_emulated_instruction(engine: str) -> None:
    """An intercepted instruction also ends with the trap."""
    rig = run(
        engine,
        prot("""
        mov dword [tried], begin
        mov ecx, 0x10
        pushfd
        or dword [esp], 0x100
        popfd
    begin:
        rdmsr
        nop
        pushfd
        and dword [esp], ~0x100
        popfd
        finish"""),
    )
    assert [frame.offset for frame in rig.frames][:3] == [2, 3, 4]


def test_an_instruction_breakpoint_and_its_resume_flag(engine: str) -> None:
    """[SDM3] §17.3.1.1: RF in the handler's frame steps over it. (Data breakpoints are not modelled.)"""
    rig = run(
        engine,
        prot("""
        gate 1, handler, 0x8e00
        mov eax, here
        mov dr0, eax
        mov eax, 0x402
        mov dr7, eax
    here:
        nop
        nop
        log 9
        finish
    handler:
        mov eax, dr6
        and eax, 0xf
        log eax
        mov eax, [esp]
        sub eax, here
        log eax
        or dword [esp + 8], 0x10000
        iretd"""),
    )
    assert rig.log == [1, 0, 9]
