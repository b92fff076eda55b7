"""Faults while an event is delivered: serial, double, triple; [SDM3] table 6-5."""

from __future__ import annotations

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_view import KCODE, KERNEL_STACK, gate, protected_view
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.delivery import DeliveryOutcome, Event, deliver_event

INT32 = d.TYPE_INTERRUPT_GATE32
NP_GATE, BAD_GATE = gate(INT32, present=False), gate(0)


def view_with(**gates: d.Gate) -> f.FakeView:
    """Protected mode with good gates for #DF, #NP, #GP and #PF, each at 1000h + vector, or as given."""
    view = protected_view()
    names = {"de": r.DE, "df": r.DF_FAULT, "np": r.NP, "gp": r.GP, "pf": r.PF_FAULT, "irq": 0x30}
    for name, vector in names.items():
        entry = gates.get(name, gate(INT32, offset=0x1000 + vector))
        view.put_gate(vector, d.pack_gate(entry))
    return view


def page_the_idt(view: f.FakeView, *, present: bool = True) -> None:
    """Turn paging on with everything mapped but the page of user data, or of the IDT too."""
    view.cr[0] |= r.CR0_PG
    view.cr[3] = 0x2_0000
    view.memory.write(0x2_0000, (0x2_1003).to_bytes(4, "little"))
    for page in range(1, 0x20):
        entry = page << 12 | 3
        if page == f.IDT_AT >> 12 and not present:
            entry = 0
        view.memory.write(0x2_1000 + page * 4, entry.to_bytes(4, "little"))


def test_an_event_without_trouble_is_delivered() -> None:
    view = view_with()
    assert deliver_event(view, Event(0x30, external=True)) is DeliveryOutcome.DELIVERED
    assert view.rip == 0x1030


def test_a_page_fault_writes_cr2() -> None:
    view = view_with()
    deliver_event(view, Event(r.PF_FAULT, 2, cr2=0xDEAD_B000))
    assert (view.cr[2], view.rip) == (0xDEAD_B000, 0x1000 + r.PF_FAULT)
    assert view.memory.u32(KERNEL_STACK - 16) == 2


@pytest.mark.parametrize("event", [Event(0x30, external=True), Event(0x30, software=True, next_rip=0x102)])
def test_a_fault_after_a_benign_event_is_delivered_instead(event: Event) -> None:
    view = view_with(irq=NP_GATE)
    assert deliver_event(view, event) is DeliveryOutcome.NESTED_FAULT
    assert view.rip == 0x1000 + r.NP
    code, rip, cs, flags = view.memory.words(KERNEL_STACK - 16, 4, 4)
    assert code == 0x30 * 8 | 2 | event.ext
    assert (rip, cs, flags) == (0x100, KCODE, 2 | r.IF | r.RF)  # restarts the interrupted instruction


def test_contributory_after_contributory_is_a_double_fault() -> None:
    view = view_with(de=NP_GATE)
    assert deliver_event(view, Event(r.DE)) is DeliveryOutcome.DOUBLE_FAULT
    assert view.rip == 0x1000 + r.DF_FAULT
    assert view.memory.u32(KERNEL_STACK - 16) == 0


def test_contributory_after_a_page_fault_is_a_double_fault() -> None:
    view = view_with(pf=BAD_GATE)
    assert deliver_event(view, Event(r.PF_FAULT, 0, cr2=5)) is DeliveryOutcome.DOUBLE_FAULT
    assert view.cr[2] == 5


def test_software_interrupt_to_a_contributory_vector_is_benign() -> None:
    view = view_with(gp=NP_GATE)
    event = Event(r.GP, software=True, next_rip=0x102)
    assert deliver_event(view, event) is DeliveryOutcome.NESTED_FAULT
    assert view.rip == 0x1000 + r.NP


def test_benign_exception_then_two_contributory_ones_is_a_double_fault() -> None:
    view = view_with(irq=NP_GATE, np=BAD_GATE)
    assert deliver_event(view, Event(0x30, external=True)) is DeliveryOutcome.DOUBLE_FAULT


def test_a_page_fault_after_a_contributory_fault_is_handled_serially() -> None:
    view = view_with()
    page_the_idt(view)
    view.put_descriptor(0x60, d.pack_segment(0, f.FLAT, 0xC0_9B00))
    view.put_gate(r.DE, d.pack_gate(gate(INT32, 0x0C)))  # its segment is in the LDT, whose page is missing
    view.ldt.base, view.ldt.limit = 0x0040_0000, 0xFF
    assert deliver_event(view, Event(r.DE)) is DeliveryOutcome.NESTED_FAULT
    assert (view.rip, view.cr[2]) == (0x1000 + r.PF_FAULT, 0x0040_0008)


def test_a_page_fault_after_a_page_fault_is_a_double_fault() -> None:
    view = view_with(pf=gate(INT32, 0x0C))
    page_the_idt(view)
    view.ldt.base, view.ldt.limit = 0x0040_0000, 0xFF
    assert deliver_event(view, Event(r.PF_FAULT, 0, cr2=5)) is DeliveryOutcome.DOUBLE_FAULT
    assert view.cr[2] == 0x0040_0008


def test_a_fault_in_delivering_a_double_fault_is_a_triple_fault() -> None:
    view = view_with(de=NP_GATE, df=NP_GATE)
    before = view.snapshot()
    assert deliver_event(view, Event(r.DE)) is DeliveryOutcome.TRIPLE_FAULT
    assert view.snapshot() == before


def test_an_unreadable_idt_is_a_triple_fault() -> None:
    view = view_with()
    page_the_idt(view, present=False)
    assert deliver_event(view, Event(0x30, external=True)) is DeliveryOutcome.TRIPLE_FAULT
    assert view.cr[2] == f.IDT_AT + r.DF_FAULT * 8


def test_the_empty_idt_of_a_reboot_is_a_triple_fault() -> None:
    for view in (f.FakeView(), protected_view()):
        view.idt.limit = 0
        event = Event(r.BP, software=True, next_rip=0x101)
        assert deliver_event(view, event) is DeliveryOutcome.TRIPLE_FAULT


def test_double_fault_by_task_gate_runs_on_a_stack_of_its_own() -> None:
    view = view_with(de=NP_GATE, df=gate(d.TYPE_TASK_GATE, f.TSS2))
    tss = bytearray(0x68)
    tss[0x20:0x24] = (0x7777).to_bytes(4, "little")
    tss[0x38:0x3C] = (0x6000).to_bytes(4, "little")
    for at, selector in ((0x4C, KCODE), (0x50, f.KDATA), (0x54, f.KDATA)):
        tss[at : at + 2] = selector.to_bytes(2, "little")
    view.memory.write(0x4800, tss)
    assert deliver_event(view, Event(r.DE)) is DeliveryOutcome.DOUBLE_FAULT
    assert (view.rip, view.regs[r.RSP], view.tr.selector) == (0x7777, 0x6000 - 4, f.TSS2)
    assert view.memory.u32(0x6000 - 4) == 0
