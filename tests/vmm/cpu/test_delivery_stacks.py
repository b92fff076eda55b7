"""Delivery that changes stacks: inner privilege, VM86, IA-32e mode; [SDM3] §6.12.1, §20.3, §6.14."""

from __future__ import annotations

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_view import (
    HANDLER,
    KCODE,
    KDATA,
    KERNEL_STACK,
    TSS_AT,
    USER_STACK,
    gate,
    long_view,
    protected_view,
    raised,
    vm86_view,
)
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.delivery import deliver
from vmm.cpu.paging import GuestFault

INT32, TRAP32 = d.TYPE_INTERRUPT_GATE32, d.TYPE_TRAP_GATE32


def refused(view: f.FakeView, vector: int = 0x30) -> tuple[int, int | None]:
    before, memory = view.snapshot(), bytes(view.memory.ram)
    fault = raised(lambda: deliver(view, vector, external=True))
    assert (view.snapshot(), bytes(view.memory.ram)) == (before, memory)
    return fault


class TestInnerPrivilege:
    def view(self) -> f.FakeView:
        view = protected_view(cpl=3)
        view.put_gate(0x30, d.pack_gate(gate(INT32)))
        return view

    def put_stack(self, view: f.FakeView, sp: int, ss: int) -> None:
        view.memory.write(TSS_AT + 4, sp.to_bytes(4, "little") + ss.to_bytes(4, "little"))

    def test_stack_comes_from_the_tss_and_the_old_one_is_pushed_first(self) -> None:
        view = self.view()
        deliver(view, 0x30, error_code=7)
        frame = view.memory.words(KERNEL_STACK - 24, 6, 4)
        assert frame == [7, 0x100, f.UCODE, 2 | r.IF, USER_STACK, f.UDATA]
        assert (view.cpl, view.segs[r.SS].selector, view.segs[r.CS].selector) == (0, KDATA, KCODE)
        assert (view.regs[r.RSP], view.rip) == (KERNEL_STACK - 24, HANDLER)
        assert view.segs[r.DS].selector == f.UDATA

    def test_16_bit_tss_holds_sp_and_ss_as_words(self) -> None:
        view = self.view()
        view.tr.flags, view.tr.limit = 0x8100, 0x2B
        view.memory.write(TSS_AT + 2, bytes.fromhex("0070") + KDATA.to_bytes(2, "little"))
        deliver(view, 0x30, external=True)
        assert view.regs[r.RSP] == 0x7000 - 20

    def test_16_bit_stack_uses_sp_and_keeps_the_upper_half_of_the_new_esp(self) -> None:
        view = self.view()
        self.put_stack(view, 0x1234_0010, f.KDATA16)
        deliver(view, 0x30, external=True)
        assert view.regs[r.RSP] == 0x1234_FFFC
        assert view.memory.u32(0xFFFC) == 0x100  # 20 bytes from 10h wrap to FFFCh

    def test_tss_too_short_for_the_stack(self) -> None:
        view = self.view()
        view.tr.limit = 8  # ESP0 and SS0 end at offset 9
        assert refused(view) == (r.TS, f.TSS | 1)

    @pytest.mark.parametrize(
        ("ss", "fault"),
        [
            (0, (r.TS, 1)),
            (0x88, (r.TS, 0x89)),  # beyond the GDT
            (KDATA | 3, (r.TS, KDATA | 1)),  # RPL is not the new CPL
            (0x20, (r.TS, 0x21)),  # DPL 3
            (KCODE, (r.TS, KCODE | 1)),  # not writable data
        ],
    )
    def test_bad_stack_segment(self, ss: int, fault: tuple[int, int]) -> None:
        view = self.view()
        self.put_stack(view, KERNEL_STACK, ss)
        assert refused(view) == fault

    def test_stack_segment_not_present(self) -> None:
        view = self.view()
        view.put_descriptor(KDATA, d.pack_segment(0, f.FLAT, 0xC0_1300))
        assert refused(view) == (r.SS_FAULT, KDATA | 1)

    def test_no_room_on_the_new_stack_names_its_selector(self) -> None:
        view = self.view()
        self.put_stack(view, 0x1_0002, f.KDATA16)  # SP is 2: a dword does not fit below FFFFh
        view.put_descriptor(f.KDATA16, d.pack_segment(0, 0xFF, f.DATA16))
        assert refused(view) == (r.SS_FAULT, f.KDATA16 | 1)

    def test_page_fault_on_the_new_stack_changes_nothing(self) -> None:
        view = self.view()
        view.cr[0] |= r.CR0_PG
        view.cr[3] = 0x2_0000
        view.memory.write(0x2_0000, (0x2_1003).to_bytes(4, "little"))
        for page in range(1, 7):  # all but the page of the stack, which ends at 8000h
            view.memory.write(0x2_1000 + page * 4, (page << 12 | 3).to_bytes(4, "little"))
        before = view.snapshot()
        with pytest.raises(GuestFault) as caught:
            deliver(view, 0x30, external=True)
        assert (caught.value.vector, caught.value.error_code) == (r.PF_FAULT, 2)
        assert caught.value.cr2 == KERNEL_STACK - 20
        assert view.snapshot() == before


class TestVm86:
    def view(self, kind: int = INT32) -> f.FakeView:
        view = vm86_view()
        view.put_gate(0x30, d.pack_gate(gate(kind, dpl=3)))
        return view

    def test_nine_dword_frame_and_null_data_segments(self) -> None:
        view = self.view()
        deliver(view, 0x30, external=True)
        frame = view.memory.words(KERNEL_STACK - 36, 9, 4)
        flags = 2 | r.IF | r.VM
        assert frame == [0x100, 0x2000, flags, 0x0FFE, 0x3000, 0x1111, 0x4444, 0x5555, 0x6666]
        assert (view.cpl, view.rflags) == (0, 2)
        assert [view.segs[i].selector for i in range(6)] == [0, KCODE, KDATA, 0, 0, 0]
        assert view.segs[r.DS].flags & r.DESC_P == 0

    def test_software_interrupt_needs_iopl_3(self) -> None:
        view = self.view()
        assert raised(lambda: deliver(view, 0x30, software=True, next_rip=0x102)) == (r.GP, 0)
        view.rflags |= r.IOPL
        deliver(view, 0x30, software=True, next_rip=0x102)
        assert view.memory.u32(KERNEL_STACK - 36) == 0x102

    def test_int3_does_not_need_iopl_3(self) -> None:
        view = self.view()
        view.put_gate(r.BP, d.pack_gate(gate(TRAP32, dpl=3)))
        assert raised(lambda: deliver(view, r.BP, software=True, next_rip=0x102)) == (r.GP, 0)
        deliver(view, r.BP, software=True, next_rip=0x101)
        assert view.cpl == 0

    def test_handler_must_be_non_conforming_ring_0(self) -> None:
        view = vm86_view()
        view.put_gate(0x30, d.pack_gate(gate(INT32, f.CONFORMING)))
        assert refused(view) == (r.GP, f.CONFORMING | 1)
        view.put_gate(0x30, d.pack_gate(gate(INT32, f.UCODE)))
        assert refused(view) == (r.GP, 0x19)


class TestLongMode:
    HANDLER = 0xFFFF_8000_0000_1234

    def view(self, cpl: int = 0, ist: int = 0, kind: int = INT32) -> f.FakeView:
        view = long_view(cpl)
        view.put_gate(0x30, d.pack_gate64(gate(kind, offset=self.HANDLER, ist=ist)))
        return view

    def test_ss_and_rsp_are_always_pushed_on_an_aligned_stack(self) -> None:
        view = self.view()
        view.regs[r.RSP] = KERNEL_STACK - 3
        deliver(view, 0x30, external=True)
        frame = view.memory.words(KERNEL_STACK - 16 - 40, 5, 8)
        assert frame == [0x100, KCODE, 2 | r.IF, KERNEL_STACK - 3, KDATA]
        assert (view.regs[r.RSP], view.rip) == (KERNEL_STACK - 56, self.HANDLER)
        assert view.segs[r.SS].selector == KDATA  # no change of privilege, no change of SS

    def test_inner_privilege_takes_rsp0_and_a_null_ss(self) -> None:
        view = self.view(cpl=3)
        deliver(view, 0x30, error_code=2)
        frame = view.memory.words(KERNEL_STACK - 48, 6, 8)
        assert frame == [2, 0x100, f.UCODE, 2 | r.IF, USER_STACK, f.UDATA]
        assert (view.cpl, view.segs[r.SS].selector, view.segs[r.CS].selector) == (0, 0, KCODE)

    def test_ist_is_taken_whatever_the_privilege(self) -> None:
        for cpl in (0, 3):
            view = self.view(cpl, ist=1)
            deliver(view, 0x30, external=True)
            assert view.regs[r.RSP] == 0x9000 - 40  # IST1 is 9008h, aligned down to 16

    def test_compatibility_mode_source_is_entered_in_64_bit_mode(self) -> None:
        view = self.view(cpl=3)
        view.load_segment(r.CS, f.UCODE, 0, f.FLAT, f.CODE32 | f.RING_3)
        deliver(view, 0x30, external=True)
        assert view.segs[r.CS].flags & r.DESC_L
        assert view.memory.u64(KERNEL_STACK - 8) == f.UDATA

    def test_handler_must_be_a_64_bit_segment(self) -> None:
        view = self.view()
        view.put_descriptor(KCODE, d.pack_segment(0, f.FLAT, 0xC0_9B00))
        assert refused(view) == (r.GP, KCODE | 1)

    @pytest.mark.parametrize("kind", [d.TYPE_TASK_GATE, d.TYPE_INTERRUPT_GATE16, d.TYPE_TRAP_GATE16])
    def test_task_and_16_bit_gates_do_not_exist(self, kind: int) -> None:
        assert refused(self.view(kind=kind)) == (r.GP, 0x183)

    def test_entry_of_16_bytes_must_be_inside_the_idt(self) -> None:
        view = self.view()
        view.idt.limit = 0x30 * 16 + 14
        assert refused(view) == (r.GP, 0x183)

    def test_tss_too_short_for_the_ist(self) -> None:
        view = self.view(ist=7)
        view.tr.limit = 7 * 8 + 28 + 6
        assert refused(view) == (r.TS, f.TSS | 1)

    def test_non_canonical_stack_and_handler(self) -> None:
        view = self.view()
        view.regs[r.RSP] = 0x1_0000_0000_0000
        assert refused(view) == (r.SS_FAULT, 1)
        view = self.view()
        view.put_gate(0x30, d.pack_gate64(gate(INT32, offset=0x8000_0000_0000)))
        assert refused(view) == (r.GP, 1)
