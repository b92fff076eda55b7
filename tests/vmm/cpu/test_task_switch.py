"""Hardware task switches, [SDM3] chapter 7; TSS images worked out from figures 7-2 and 7-10."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_view import KCODE, KDATA, LDT, TSS, TSS2, TSS_AT, UCODE, UDATA, gate, raised
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.delivery import deliver
from vmm.cpu.paging import GuestFault
from vmm.cpu.task_switch import TaskCause, return_from_task, switch_task

NEW_AT = 0x4800
GENERAL = tuple(range(0x100, 0x108))  # EAX ECX EDX EBX ESP EBP ESI EDI


def tss32(
    *, cs: int = KCODE, ss: int = KDATA, ds: int = KDATA, ldt: int = 0, eip: int = 0x7777, eflags: int = 2
) -> bytes:
    """A 32-bit TSS; ES, FS and GS are null."""
    head = struct.pack("<7I", 0, 0, 0, 0, 0, 0, 0)
    segments = struct.pack("<6I", 0, cs, ss, ds, 0, 0)
    return head + struct.pack("<3I8I", 0x5000, eip, eflags, *GENERAL) + segments + struct.pack("<II", ldt, 0)


def view_with(tss: bytes, cpl: int = 0) -> f.FakeView:
    view = f.protected_view(cpl)
    view.memory.write(NEW_AT, tss)
    view.rip = 0x100
    for index in range(8):
        view.regs[index] = 0xAA00 + index
    return view


def access(view: f.FakeView, selector: int) -> int:
    return view.memory.read(f.GDT_AT + selector + 5, 1)[0]


def test_call_saves_the_old_task_and_loads_the_new_one() -> None:
    view = view_with(tss32())
    assert switch_task(view, TSS2, TaskCause.CALL, return_rip=0x105)
    saved = struct.unpack("<10I", view.memory.read(TSS_AT + 0x20, 40))
    assert saved == (0x105, 2 | r.IF, *range(0xAA00, 0xAA08))
    assert view.memory.words(TSS_AT + 0x48, 6, 4) == [KDATA, KCODE, KDATA, KDATA, KDATA, KDATA]
    assert (view.rip, tuple(view.regs[:8])) == (0x7777, GENERAL)
    assert [segment.selector for segment in view.segs] == [0, KCODE, KDATA, KDATA, 0, 0]


def test_call_and_gate_nest() -> None:
    for cause in (TaskCause.CALL, TaskCause.GATE):
        view = view_with(tss32())
        switch_task(view, TSS2, cause, return_rip=0x105)
        assert view.rflags & r.NT
        assert view.memory.u16(NEW_AT) == TSS
        assert (access(view, TSS), access(view, TSS2)) == (0x8B, 0x8B)  # both busy


def test_jump_clears_the_old_busy_bit_and_does_not_nest() -> None:
    view = view_with(tss32())
    switch_task(view, TSS2, TaskCause.JUMP, return_rip=0x105)
    assert not view.rflags & r.NT
    assert view.memory.u16(NEW_AT) == 0
    assert (access(view, TSS), access(view, TSS2)) == (0x89, 0x8B)


def test_iret_follows_the_back_link_to_a_busy_task_and_saves_nt_clear() -> None:
    view = view_with(tss32())
    switch_task(view, TSS2, TaskCause.CALL, return_rip=0x105)
    return_from_task(view, 0x7778)
    assert (view.rip, view.tr.selector) == (0x105, TSS)
    assert (access(view, TSS), access(view, TSS2)) == (0x8B, 0x89)
    assert struct.unpack("<2I", view.memory.read(NEW_AT + 0x20, 8)) == (0x7778, 2)
    assert tuple(view.regs[:8]) == tuple(range(0xAA00, 0xAA08))


def test_tr_keeps_the_available_type_and_cr0_ts_is_set() -> None:
    view = view_with(tss32())
    switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)
    assert (view.tr.selector, view.tr.base, view.tr.limit, view.tr.flags) == (TSS2, NEW_AT, 0x67, 0x8900)
    assert view.cr[0] & r.CR0_TS


def test_cr3_is_loaded_only_under_paging() -> None:
    view = view_with(tss32())
    switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)
    assert view.cr[3] == 0
    view = view_with(tss32())
    view.cr[0] |= r.CR0_PG
    view.cr[3], view.cr[4] = 0x6000, r.CR4_PSE
    view.memory.write(0x6000, bytes([0x83]) + bytes(3))  # one 4 MiB page at 0
    view.memory.write(0x5000, bytes([0x83]) + bytes(3))
    switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)
    assert view.cr[3] == 0x5000


def test_ldt_of_the_new_task() -> None:
    view = view_with(tss32(ldt=LDT))
    switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)
    assert (view.ldt.selector, view.ldt.base, view.ldt.limit) == (LDT, f.LDT_AT, 0x3F)


def test_to_ring_3_and_to_vm86() -> None:
    view = view_with(tss32(cs=UCODE, ss=UDATA, ds=UDATA))
    switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)
    assert (view.cpl, view.segs[r.SS].selector) == (3, UDATA)
    view = view_with(tss32(cs=0x1234, ss=0x2345, eflags=2 | r.VM))
    switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)
    cs = view.segs[r.CS]
    assert (view.cpl, cs.selector, cs.base, cs.limit) == (3, 0x1234, 0x12340, 0xFFFF)


def test_16_bit_tss() -> None:
    view = f.protected_view()
    view.put_descriptor(TSS2, d.pack_segment(NEW_AT, 0x2B, 0x8100))
    words = (0x7777, 2, *range(0x100, 0x108), 0, KCODE, KDATA, KDATA, 0)
    view.memory.write(NEW_AT + 14, struct.pack("<15H", *words))
    assert not switch_task(view, TSS2, TaskCause.CALL, return_rip=0x105)
    assert (view.rip, view.regs[r.RAX], view.segs[r.FS].selector) == (0x7777, 0xFFFF_0100, 0)
    view.memory.write(f.GDT_AT + TSS2 + 5, b"\x83")
    return_from_task(view, 0x1_7778)
    assert view.memory.words(NEW_AT + 14, 2, 2) == [0x7778, 2]
    assert view.rip == 0x105


@pytest.mark.parametrize(
    ("selector", "flags", "limit", "fault"),
    [
        (TSS2, 0x8B00, 0x67, (r.GP, TSS2)),  # busy
        (TSS2, 0x8200, 0x67, (r.GP, TSS2)),  # an LDT
        (TSS2, 0x0900, 0x67, (r.NP, TSS2)),
        (TSS2, 0x8900, 0x66, (r.TS, TSS2)),  # one byte short
        (TSS2 | 4, 0x8900, 0x67, (r.GP, TSS2 | 4)),  # in the LDT
        (0x80, 0x8900, 0x67, (r.GP, 0x80)),  # beyond the GDT
        (3, 0x8900, 0x67, (r.GP, 0)),
    ],
)
def test_a_bad_tss_changes_nothing(selector: int, flags: int, limit: int, fault: tuple[int, int]) -> None:
    view = view_with(tss32())
    view.put_descriptor(TSS2, d.pack_segment(NEW_AT, limit, flags))
    before, memory = view.snapshot(), bytes(view.memory.ram)
    assert raised(lambda: switch_task(view, selector, TaskCause.CALL, return_rip=0)) == fault
    assert (view.snapshot(), bytes(view.memory.ram)) == (before, memory)


def test_iret_to_a_task_that_is_not_busy_is_an_invalid_tss() -> None:
    view = view_with(tss32())
    view.memory.write(TSS_AT, TSS2.to_bytes(2, "little"))
    assert raised(lambda: return_from_task(view, 0)) == (r.TS, TSS2)


@pytest.mark.parametrize(
    ("segments", "fault"),
    [
        ({"cs": 0}, (r.TS, 0)),
        ({"cs": KDATA}, (r.TS, KDATA)),
        ({"cs": KCODE | 3}, (r.TS, KCODE)),  # DPL 0 is not the RPL
        ({"ss": 0}, (r.TS, 0)),
        ({"ss": KCODE}, (r.TS, KCODE)),
        ({"ss": UDATA}, (r.TS, UDATA & ~3)),  # RPL is not the CPL
        ({"ds": 0x88}, (r.TS, 0x88)),
        ({"ds": TSS}, (r.TS, TSS)),
        ({"ldt": TSS}, (r.TS, TSS)),
        ({"cs": UCODE, "ss": UDATA, "ds": KDATA}, (r.TS, KDATA)),  # CPL 3 > DPL 0
        ({"cs": f.KCODE16, "eip": 0x1_0000}, (r.GP, 0)),
    ],
)
def test_bad_segments_fault_in_the_new_task(segments: dict[str, int], fault: tuple[int, int]) -> None:
    view = view_with(tss32(**segments))
    assert raised(lambda: switch_task(view, TSS2, TaskCause.CALL, return_rip=0x105)) == fault
    assert view.tr.selector == TSS2
    assert view.rip == segments.get("eip", 0x7777)


@pytest.mark.parametrize(("selector", "vector"), [(KCODE, r.NP), (KDATA, r.SS_FAULT)])
def test_segments_not_present_report_np_and_for_ss_the_stack_fault(selector: int, vector: int) -> None:
    view = view_with(tss32())
    view.memory.write(f.GDT_AT + selector + 5, bytes([access(view, selector) & 0x7F]))
    assert raised(lambda: switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)) == (vector, selector)


def test_task_gate_pushes_the_error_code_on_the_new_stack() -> None:
    view = view_with(tss32(), cpl=3)
    view.put_gate(r.GP, d.pack_gate(gate(d.TYPE_TASK_GATE, TSS2)))
    deliver(view, r.GP, error_code=0x42)
    assert (view.cpl, view.regs[r.RSP]) == (0, 0x100)
    assert view.memory.u32(0x100) == 0x42
    assert view.memory.u32(TSS_AT + 0x24) & r.RF  # a fault restarts with RF set
    assert view.memory.u32(TSS_AT + 0x20) == 0x100


def test_a_page_fault_on_either_tss_comes_before_the_switch() -> None:
    view = view_with(tss32())
    view.cr[0] |= r.CR0_PG
    view.cr[3] = 0x2_0000
    view.memory.write(0x2_0000, (0x2_1003).to_bytes(4, "little"))
    view.memory.write(0x2_1004, (0x1003).to_bytes(4, "little"))  # the GDT's page only
    before = view.snapshot()
    with pytest.raises(GuestFault) as caught:
        switch_task(view, TSS2, TaskCause.JUMP, return_rip=0)
    assert (caught.value.vector, caught.value.cr2) == (r.PF_FAULT, NEW_AT)
    assert view.snapshot() == before
