"""Delivery in real and protected mode, [SDM3] chapter 6, [SDM2] INT n; frames worked out by hand."""

from __future__ import annotations

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_view import HANDLER, KCODE, KDATA, KERNEL_STACK, gate, protected_view, raised
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.delivery import deliver
from vmm.cpu.state import SegmentCache

INT32, TRAP32, INT16 = d.TYPE_INTERRUPT_GATE32, d.TYPE_TRAP_GATE32, d.TYPE_INTERRUPT_GATE16


def refused(view: f.FakeView, vector: int, **event: object) -> tuple[int, int | None]:
    """The fault a delivery raises; nothing but it may have happened."""
    before, memory = view.snapshot(), bytes(view.memory.ram)
    fault = raised(lambda: deliver(view, vector, **event))  # type: ignore[arg-type]
    assert view.snapshot() == before
    assert view.memory.ram == memory
    return fault


class TestRealMode:
    def view(self, sp: int = 0x1000) -> f.FakeView:
        view = f.FakeView()
        view.memory.write(0x21 * 4, bytes.fromhex("34125678"))  # 7856:1234
        view.rip, view.regs[r.RSP] = 0x7C00, sp
        view.rflags = 2 | r.IF | r.TF | r.AC | r.CF
        return view

    def test_pushes_flags_cs_ip_and_clears_if_tf_ac(self) -> None:
        view = self.view()
        view.segs[r.SS] = SegmentCache(selector=0x100, base=0x1000, limit=0xFFFF, flags=f.REAL_DATA)
        view.segs[r.CS].selector = 0x50
        deliver(view, 0x21, software=True, next_rip=0x7C02)
        assert view.memory.words(0x1FFA, 3, 2) == [0x7C02, 0x50, 2 | r.IF | r.TF | r.CF]
        assert (view.rip, view.segs[r.CS].selector, view.segs[r.CS].base) == (0x1234, 0x7856, 0x78560)
        assert view.rflags == 2 | r.CF
        assert view.regs[r.RSP] == 0xFFA

    def test_no_error_code_is_pushed(self) -> None:
        view = self.view()
        deliver(view, 0x21, error_code=0)
        assert view.regs[r.RSP] == 0xFFA

    def test_a_fault_returns_to_its_instruction(self) -> None:
        view = self.view()
        deliver(view, 0x21, external=True)
        assert view.memory.u16(0xFFA) == 0x7C00

    def test_sp_wraps_between_words(self) -> None:
        view = self.view(sp=4)
        view.regs[r.RSP] |= 0xABCD_0000
        deliver(view, 0x21, external=True)
        assert view.memory.words(0, 2, 2) == [0, 2 | r.IF | r.TF | r.CF]
        assert view.memory.u16(0xFFFE) == 0x7C00
        assert view.regs[r.RSP] == 0xABCD_FFFE

    def test_a_word_across_the_stack_limit_is_a_stack_fault(self) -> None:
        assert refused(self.view(sp=1), 0x21)[0] == r.SS_FAULT

    def test_vector_beyond_the_idt_limit_is_a_general_protection_fault(self) -> None:
        view = self.view()
        view.idt.limit = 0x21 * 4 + 2
        assert refused(view, 0x21)[0] == r.GP


class TestSamePrivilege:
    def view(self, kind: int = INT32, selector: int = KCODE) -> f.FakeView:
        view = protected_view()
        view.put_gate(0x30, d.pack_gate(gate(kind, selector)))
        view.rip = 0xC0DE
        view.rflags |= r.TF | r.NT | r.AC
        return view

    def test_interrupt_gate_pushes_eflags_cs_eip_and_clears_if_tf_nt(self) -> None:
        view = self.view()
        deliver(view, 0x30, external=True)
        assert view.regs[r.RSP] == KERNEL_STACK - 12
        flags = 2 | r.IF | r.TF | r.NT | r.AC
        assert view.memory.words(KERNEL_STACK - 12, 3, 4) == [0xC0DE, KCODE, flags]
        assert view.rflags == 2 | r.AC
        assert (view.rip, view.segs[r.CS].selector, view.segs[r.SS].selector) == (HANDLER, KCODE, KDATA)

    def test_trap_gate_leaves_if(self) -> None:
        view = self.view(TRAP32)
        deliver(view, 0x30, software=True, next_rip=0xC0E0)
        assert view.rflags & r.IF
        assert view.memory.u32(KERNEL_STACK - 12) == 0xC0E0

    def test_error_code_is_pushed_last_and_a_fault_sets_rf_in_the_image(self) -> None:
        view = protected_view()
        view.put_gate(r.GP, d.pack_gate(gate(INT32)))
        deliver(view, r.GP, error_code=0x58)
        frame = view.memory.words(KERNEL_STACK - 16, 4, 4)
        assert frame == [0x58, 0x100, KCODE, 2 | r.IF | r.RF]
        assert not view.rflags & r.RF

    @pytest.mark.parametrize("vector", [r.DB, r.NMI, r.BP, r.OF_TRAP, r.DF_FAULT, r.MC])
    def test_traps_and_aborts_do_not_set_rf(self, vector: int) -> None:
        view = protected_view()
        view.put_gate(vector, d.pack_gate(gate(INT32)))
        deliver(view, vector)
        assert view.memory.u32(KERNEL_STACK - 4) == 2 | r.IF

    def test_16_bit_gate_pushes_words(self) -> None:
        view = self.view(INT16, f.KCODE16)
        view.rip = 0x1_C0DE
        deliver(view, 0x30, error_code=0x1_0042)
        assert view.memory.words(KERNEL_STACK - 8, 3, 2) == [0x42, 0xC0DE, KCODE]
        assert view.regs[r.RSP] == KERNEL_STACK - 8
        assert view.rip == HANDLER

    def test_conforming_handler_keeps_the_cpl_and_takes_it_as_rpl(self) -> None:
        view = protected_view(cpl=3)
        view.put_gate(0x30, d.pack_gate(gate(INT32, f.CONFORMING)))
        deliver(view, 0x30, external=True)
        assert (view.cpl, view.segs[r.CS].selector) == (3, f.CONFORMING | 3)
        assert view.regs[r.RSP] == f.USER_STACK - 12

    def test_accessed_bit_of_the_handlers_segment_is_set(self) -> None:
        view = self.view()
        view.put_descriptor(KCODE, d.pack_segment(0, f.FLAT, 0xC0_9A00))
        deliver(view, 0x30, external=True)
        assert view.memory.read(f.GDT_AT + KCODE + 5, 1) == b"\x9b"
        assert view.segs[r.CS].flags == 0xC0_9B00

    def test_stack_limit_on_the_current_stack_reports_ext_alone(self) -> None:
        view = self.view()
        view.segs[r.SS].limit = KERNEL_STACK - 2
        assert refused(view, 0x30, external=True) == (r.SS_FAULT, 1)
        assert refused(view, 0x30, software=True) == (r.SS_FAULT, 0)

    def test_expand_down_stack_grows_only_above_its_limit(self) -> None:
        view = self.view()
        view.segs[r.SS].flags |= 1 << 10
        view.segs[r.SS].limit = KERNEL_STACK - 13
        deliver(view, 0x30, external=True)
        view = self.view()
        view.segs[r.SS].flags |= 1 << 10
        view.segs[r.SS].limit = KERNEL_STACK - 12
        assert refused(view, 0x30, external=True) == (r.SS_FAULT, 1)


class TestChecks:
    """Error codes by [SDM2] INT n: vector·8 + IDT + EXT for gates, selector + EXT for segments."""

    def test_vector_beyond_the_idt(self) -> None:
        view = protected_view()
        view.idt.limit = 0x30 * 8 + 6
        assert refused(view, 0x30, external=True) == (r.GP, 0x183)
        assert refused(view, 0x30, software=True) == (r.GP, 0x182)

    @pytest.mark.parametrize("kind", [0, 2, d.TYPE_CALL_GATE32, 9, 11])
    def test_other_types_than_gates(self, kind: int) -> None:
        view = protected_view()
        view.put_gate(0x30, d.pack_gate(gate(kind)))
        assert refused(view, 0x30) == (r.GP, 0x183)

    def test_gate_dpl_guards_software_interrupts_only(self) -> None:
        view = protected_view(cpl=3)
        view.put_gate(0x30, d.pack_gate(gate(INT32, dpl=2)))
        assert refused(view, 0x30, software=True, next_rip=0x102) == (r.GP, 0x182)
        deliver(view, 0x30, external=True)
        assert view.cpl == 0

    def test_dpl_is_judged_before_presence(self) -> None:
        view = protected_view(cpl=3)
        view.put_gate(0x30, d.pack_gate(gate(INT32, present=False)))
        assert refused(view, 0x30, software=True) == (r.GP, 0x182)
        assert refused(view, 0x30, external=True) == (r.NP, 0x183)

    @pytest.mark.parametrize(
        ("selector", "fault"),
        [
            (0, (r.GP, 1)),
            (3, (r.GP, 1)),
            (0x88, (r.GP, 0x89)),  # beyond the GDT
            (KDATA, (r.GP, KDATA | 1)),
            (f.TSS, (r.GP, f.TSS | 1)),
            (f.UCODE, (r.GP, 0x19)),  # DPL 3 > CPL 0
        ],
    )
    def test_handler_segment(self, selector: int, fault: tuple[int, int]) -> None:
        view = protected_view()
        view.put_gate(0x30, d.pack_gate(gate(INT32, selector)))
        assert refused(view, 0x30) == fault

    def test_handler_segment_not_present(self) -> None:
        view = protected_view()
        view.put_gate(0x30, d.pack_gate(gate(INT32)))
        view.put_descriptor(KCODE, d.pack_segment(0, f.FLAT, 0xC0_1B00))
        assert refused(view, 0x30) == (r.NP, KCODE | 1)

    def test_handler_offset_beyond_its_segment(self) -> None:
        view = protected_view()
        view.put_gate(0x30, d.pack_gate(gate(INT32, f.KCODE16, offset=0x1_0000)))
        assert refused(view, 0x30) == (r.GP, 1)
