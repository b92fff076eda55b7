"""Events that Python sees, on both engines: intercepts, claimed vectors, the ring of last exits."""

from __future__ import annotations

import pytest

from tests.vmm.cpu.engine_rig import Rig, both_engines, prot, run
from vmm.cpu import registers as r
from vmm.cpu.engine import Action, Kind, StopReason
from vmm.cpu.intercepts import ALWAYS

pytestmark = both_engines


@pytest.mark.parametrize(("selector", "event"), [
    ("0", (r.GP, 0, 0)), ("KDATA", (r.GP, 0x10, 0)), ("0xf8", (r.GP, 0xF8, 0)), ("TSS | 4", (r.GP, 0x2C, 0)),
    ("TSS", (r.GP, 0x28, 0)),
])  # fmt: skip
def test_ltr_refuses_what_is_no_available_tss(
    engine: str, selector: str, event: tuple[int, int, int]
) -> None:
    """The last case: it is busy, having been loaded once."""
    rig = run(engine, prot(f"mov ax, {selector}\n try ltr ax\n str ax\n log eax\n finish"))
    assert rig.briefs == [event]
    assert rig.log[0] & 0xFFFF == 0x28


def test_ltr_marks_the_descriptor_busy_and_the_next_ring_change_lives(engine: str) -> None:
    """A busy type in TR, as real processors keep it, makes the engine abort the whole process."""
    rig = run(
        engine,
        prot("""
        mov eax, [GDT_AT + TSS + 4]
        and eax, 0xff00
        log eax
        mov ax, TSS2
        ltr ax
        mov dword [0x6104], INNER_STACK
        mov dword [0x6108], KDATA
        to_ring3 user
    user:
        int 0x30
        to_ring0 done
    done:
        finish"""),
    )
    assert rig.log == [0x8B00]
    assert [frame.vector for frame in rig.frames] == [0x30]


def test_a_ring_change_after_a_task_switch_lives(engine: str) -> None:
    """A switch loads TR as well, from a descriptor that it has just marked busy."""
    rig = run(
        engine,
        prot("""
        mov edi, 0x6100
        mov dword [edi + 4], INNER_STACK
        mov dword [edi + 8], KDATA
        mov dword [edi + 0x20], other
        mov dword [edi + 0x24], 2
        mov dword [edi + 0x38], STACK
        mov dword [edi + 0x48], KDATA
        mov dword [edi + 0x4c], KCODE
        mov dword [edi + 0x50], KDATA
        mov dword [edi + 0x54], KDATA
        jmp TSS2:0
    other:
        to_ring3 user
    user:
        int 0x30
        to_ring0 done
    done:
        str eax
        log eax
        finish"""),
    )
    assert [frame.vector for frame in rig.frames] == [0x30]
    assert rig.log == [0x40]


def test_a_ring_change_without_a_task_register_ends_in_a_fault_not_in_an_abort(engine: str) -> None:
    """A 124-byte boot sector aborted the process: ring 3, no LTR, INT."""
    rig = Rig(engine).load(
        prot("""
        to_ring3 user
    user:
        int 0x30
        jmp $""").replace('%include "prot.inc"', '%define NO_LTR\n%include "prot.inc"')
    )
    assert rig.run() is StopReason.TRIPLE_FAULT


def test_a_claimed_vector_comes_to_python_and_may_be_resumed(engine: str) -> None:
    """An exception kept by Python leaves nothing behind: the third #GP in a row is no #DF (C4)."""
    rig = Rig(engine).load(prot("mov ax, 0xf8\n" + "mov ds, ax\n" * 4 + "try ud2\n log 1\n finish"))
    seen = []

    def handler(vector: int, code: bytes) -> Action:
        view = rig.engine.fetch()
        seen.append((vector, view.state.error_code))
        view.rip += 2
        rig.engine.commit()
        return Action.RESUME

    rig.processor.router.claim(r.GP, handler)
    assert rig.run() is StopReason.HALTED
    assert seen == [(r.GP, 0xF8)] * 4
    assert (rig.briefs, rig.log) == ([(r.UD, 0, 0)], [1])


def test_a_claimed_vector_may_be_delivered_after_all(engine: str) -> None:
    rig = Rig(engine).load(prot("mov ax, 0xf8\n try mov ds, ax\n try int3\n finish"))
    seen = []

    def handler(vector: int, code: bytes) -> Action:
        seen.append(vector)
        return Action.DELIVER

    rig.processor.router.claim(r.GP, handler)
    rig.processor.router.claim(r.BP, handler)
    assert rig.run() is StopReason.HALTED
    assert seen == [r.GP, r.BP]
    assert rig.briefs == [(r.GP, 0xF8, 0), (r.BP, 0, 1)]
    rig.processor.router.release(r.GP)


def test_python_may_deliver_another_exception_in_its_place(engine: str) -> None:
    rig = Rig(engine).load(prot("try ud2\n finish"))

    def handler(vector: int, code: bytes) -> Action:
        rig.engine.inject(r.GP, 0x1234)
        return Action.DELIVER

    rig.processor.router.claim(r.UD, handler)
    assert rig.run() is StopReason.HALTED
    assert rig.briefs == [(r.GP, 0x1234, 0)]


ARMED = [
    "sidt",
    "sgdt",
    "sldt",
    "str",
    "lgdt",
    "lldt",
    "cr0-read",
    "cr3-write",
    "invlpg",
    "cpuid",
    "dr7-read",
]


def test_armed_intercepts_change_nothing_for_the_guest(engine: str) -> None:
    body = prot("""
        sgdt [0x20000]
        sidt [0x20010]
        log [0x20002]
        log [0x20012]
        sldt eax
        log eax
        str ecx
        log ecx
        smsw eax
        mov eax, cr0
        log eax
        mov eax, 0x10000
        mov cr3, eax
        mov eax, cr3
        log eax
        invlpg [0]
        mov eax, dr7
        log eax
        lgdt [gdtr]
        xor ax, ax
        lldt ax
        mov eax, 1
        cpuid
        log ecx
        stc
        cpuid
        setc al
        movzx eax, al
        log eax
        finish""")
    plain = run(engine, body)
    rig = Rig(engine)
    rig.processor.intercepts.arm(*ARMED)
    rig.load(body)
    assert rig.run() is StopReason.HALTED
    assert rig.log == plain.log
    counted = sum(count.count for (kind, _), count in rig.engine.counts().items() if kind is Kind.INTERCEPT)
    assert counted >= 12


def test_intercepts_for_safety_stay_armed(engine: str) -> None:
    rig = Rig(engine)
    rig.processor.intercepts.disarm(*ALWAYS)
    rig.processor.reset()
    assert rig.processor.intercepts.armed >= ALWAYS
    rig.load(prot("mov ecx, 0x12345\n try rdmsr\n finish"))
    assert rig.run() is StopReason.HALTED
    assert rig.briefs == [(r.GP, 0, 0)]


def test_the_ring_of_last_exits_names_the_instruction(engine: str) -> None:
    rig = run(engine, prot("mov ecx, 5\n nop\n try ud2\n out SERVICE, al\n finish"))
    last = [record for record in rig.processor.ring.last() if record.kind in (Kind.EXCEPTION, Kind.OUT)]
    exceptions = [record for record in last if record.kind == Kind.EXCEPTION]
    assert [(record.a, record.cs) for record in exceptions] == [(r.UD, 8)]
    out = [record for record in last if record.a == 0xE9]
    assert rig.memory.read(out[-1].ip, 2) == b"\xe6\xe9"
