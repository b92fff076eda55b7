"""What the SDM says of transfers, returns, loads and ports where the oracle is wrong or cannot be asked."""

from __future__ import annotations

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_services import FakeServices
from tests.vmm.cpu.fake_view import FakeView, gate, long_view, protected_view, raised, vm86_view
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import pack_gate, pack_gate64, pack_segment
from vmm.cpu.emulate import Outcome, emulate

GATE, CONFORMING_GATE = 0x60, 0x68
RAW_DATA = 0x58


def run(code: str, view: FakeView, services: FakeServices | None = None) -> Outcome:
    return emulate(view, services or FakeServices(), bytes.fromhex(code) + bytes(8))


def refused(code: str, view: FakeView) -> tuple[int, int | None]:
    """The fault; nothing may have changed."""
    before = view.snapshot()
    fault = raised(lambda: run(code, view))
    assert view.snapshot() == before
    return fault


def put_stack(view: FakeView, *values: int, size: int = 4) -> None:
    ss = view.segs[r.SS]
    data = b"".join((value & (1 << size * 8) - 1).to_bytes(size, "little") for value in values)
    view.memory.write(ss.base + view.regs[r.RSP], data)


class TestLoads:
    def test_loads_set_the_accessed_bit_in_the_table(self) -> None:
        view = protected_view()
        view.put_descriptor(RAW_DATA, pack_segment(0, f.FLAT, (f.DATA32 | r.DESC_G) & ~r.DESC_ACCESSED))
        view.regs[r.RAX] = RAW_DATA
        run("8ed8", view)
        assert view.segs[r.DS].flags & r.DESC_ACCESSED
        assert view.memory.ram[f.GDT_AT + RAW_DATA + 5] & 1

    @pytest.mark.parametrize(("code", "outcome"), [
        ("8ed0", Outcome.INTERRUPT_SHADOW), ("17", Outcome.INTERRUPT_SHADOW), ("8ed8", Outcome.DONE),
        ("1f", Outcome.DONE), ("0fb203", Outcome.DONE),
    ])  # fmt: skip
    def test_mov_and_pop_ss_shadow_one_instruction_and_lss_does_not(
        self, code: str, outcome: Outcome
    ) -> None:
        view = protected_view()
        view.regs[r.RAX], view.regs[r.RBX] = f.KDATA, 0x9000
        view.memory.write(0x9000, bytes(4) + f.KDATA.to_bytes(2, "little"))
        put_stack(view, f.KDATA)
        assert run(code, view) is outcome

    def test_cs_is_no_destination_and_there_are_six_registers(self) -> None:
        for code in ("8ec8", "8ef0", "8cf8"):
            assert refused(code, protected_view()) == (r.UD, None)


class TestTransfers:
    def conforming(self, cpl: int) -> FakeView:
        view = protected_view(cpl)
        view.put_descriptor(CONFORMING_GATE, pack_gate(gate(d.TYPE_CALL_GATE32, f.CONFORMING, dpl=3)))
        return view

    def test_a_call_gate_to_conforming_code_keeps_the_privilege_and_rpl_is_cpl(self) -> None:
        view = self.conforming(3)
        run("9a000000006b00", view)
        assert (view.segs[r.CS].selector, view.cpl, view.rip) == (f.CONFORMING | 3, 3, f.HANDLER)

    def test_jmp_through_a_gate_to_absent_code_is_np_with_its_selector(self) -> None:
        view = protected_view()
        view.put_descriptor(f.KCODE16, pack_segment(0, 0xFFFF, f.CODE16 & ~r.DESC_P))
        view.put_descriptor(GATE, pack_gate(gate(d.TYPE_CALL_GATE32, f.KCODE16)))
        assert refused("ea000000006000", view) == (r.NP, f.KCODE16)

    def test_a_call_gate_copies_its_parameters_to_the_inner_stack(self) -> None:
        view = protected_view(3)
        found = gate(d.TYPE_CALL_GATE32, f.KCODE, dpl=3, ist=2)
        view.put_descriptor(GATE, pack_gate(found))
        put_stack(view, 0x1111, 0x2222)
        run("9a000000006300", view)
        top = f.KERNEL_STACK - 24
        assert (view.regs[r.RSP], view.cpl, view.rip) == (top, 0, f.HANDLER)
        frame = [0x107, f.UCODE, 0x1111, 0x2222, f.USER_STACK, f.UDATA]
        assert view.memory.words(top, 6, 4) == frame

    def test_a_64_bit_call_gate_takes_the_stack_of_the_tss_and_a_null_ss(self) -> None:
        view = long_view(3)
        view.memory.write(f.GDT_AT + GATE, pack_gate64(gate(d.TYPE_CALL_GATE32, f.KCODE, dpl=3)))
        view.regs[r.RBX] = 0x9000
        view.memory.write(0x9000, bytes(4) + (GATE | 3).to_bytes(2, "little"))
        run("ff1b", view)
        assert (view.cpl, view.segs[r.SS].selector, view.regs[r.RSP]) == (0, 0, f.KERNEL_STACK - 32)
        assert view.memory.u64(f.KERNEL_STACK - 32) == 0x102

    @pytest.mark.parametrize(("code", "nested"), [("ea000000004800", False), ("9a000000004800", True)])
    def test_a_tss_is_another_task(self, code: str, nested: bool) -> None:
        view = protected_view()
        task = bytearray(0x68)
        task[0x20:0x28] = (0x5555).to_bytes(4, "little") + (2).to_bytes(4, "little")
        for at, selector in ((0x4C, f.KCODE), (0x50, f.KDATA)):
            task[at : at + 2] = selector.to_bytes(2, "little")
        view.memory.write(0x4800, task)
        run(code, view)
        assert (view.tr.selector, view.rip, bool(view.rflags & r.NT)) == (f.TSS2, 0x5555, nested)
        assert view.memory.u32(f.TSS_AT + 0x20) == 0x107
        if nested:
            run("cf", view)
            assert (view.tr.selector, view.rip) == (f.TSS, 0x107)

    @pytest.mark.parametrize("view", [FakeView, vm86_view])
    def test_real_mode_offsets_end_at_the_limit(self, view: type[FakeView]) -> None:
        assert refused("66ea000001000000", view()) == (r.GP, 0)


class TestIret:
    def test_only_ring_0_enters_vm86(self) -> None:
        view = protected_view(3)
        put_stack(view, 0x100, f.UCODE, r.VM | 2)
        run("cf", view)
        assert not view.rflags & r.VM

    def test_nt_in_ia32e_mode_is_a_general_protection_fault(self) -> None:
        view = long_view()
        view.rflags |= r.NT
        assert refused("48cf", view) == (r.GP, 0)

    def test_vm86_needs_iopl_3_and_cannot_change_it(self) -> None:
        view = vm86_view()
        assert refused("cf", view) == (r.GP, 0)
        view.rflags |= r.IOPL
        put_stack(view, 0x200, 0x2000, 0xFFFF & ~r.IOPL, size=2)
        run("cf", view)
        assert (view.rip, view.rflags & (r.IOPL | r.VM)) == (0x200, r.IOPL | r.VM)

    @pytest.mark.parametrize(("iopl", "changed"), [(0, 0), (3, r.IF)])
    def test_if_follows_iopl_and_iopl_needs_ring_0(self, iopl: int, changed: int) -> None:
        view = protected_view(3)
        view.rflags = 2 | iopl << r.IOPL_SHIFT
        put_stack(view, 0x100, f.UCODE, r.IF | 2 | (3 - iopl) << r.IOPL_SHIFT)
        run("cf", view)
        assert view.rflags == 2 | iopl << r.IOPL_SHIFT | changed

    def test_nmis_are_taken_again(self) -> None:
        view, services = protected_view(), FakeServices()
        put_stack(view, 0x100, f.KCODE, 2)
        run("cf", view, services)
        assert services.nmi_ends == 1


class TestInterrupts:
    @pytest.mark.parametrize(("code", "vector"), [("cd80", 0x80), ("cc", 3), ("ce", 4)])
    def test_software_interrupts_return_behind_themselves(self, code: str, vector: int) -> None:
        view = protected_view(3)
        view.rflags |= r.OF
        view.put_gate(vector, pack_gate(gate(d.TYPE_TRAP_GATE32, dpl=3)))
        run(code, view)
        assert view.rip == f.HANDLER
        assert view.memory.u32(view.regs[r.RSP]) == 0x100 + len(code) // 2

    def test_a_gates_dpl_stops_int_n_but_not_int1(self) -> None:
        view = protected_view(3)
        for vector in (1, 0x20):
            view.put_gate(vector, pack_gate(gate(d.TYPE_TRAP_GATE32)))
        assert refused("cd20", view) == (r.GP, 0x20 * 8 + 2)
        run("f1", view)
        assert view.rip == f.HANDLER

    def test_vm86_needs_iopl_3_for_int_n(self) -> None:
        assert refused("cd21", vm86_view()) == (r.GP, 0)

    def test_into_without_overflow_goes_on(self) -> None:
        view = protected_view()
        run("ce", view)
        assert view.rip == 0x101


class TestPorts:
    def view(self, cpl: int = 3) -> FakeView:
        view = protected_view(cpl)
        view.tr.limit = 0x2068
        view.memory.write(f.TSS_AT + 0x66, (0x68).to_bytes(2, "little"))
        view.memory.write(f.TSS_AT + 0x68 + 0x60 // 8, b"\x10")  # port 64h is not allowed
        return view

    def test_the_bitmap_decides_above_iopl(self) -> None:
        assert refused("e464", self.view()) == (r.GP, 0)
        assert refused("e563", self.view()) == (r.GP, 0)
        services = FakeServices()
        run("e460", self.view(), services)
        assert services.port_log == [("in", 0x60, 1, 0xD4)]
        view = self.view()
        view.rflags |= r.IOPL
        run("e464", view)

    def test_a_16_bit_tss_has_no_bitmap(self) -> None:
        view = self.view()
        view.tr.flags = 0x8100
        assert refused("e460", view) == (r.GP, 0)

    def test_vm86_is_always_asked_by_the_bitmap(self) -> None:
        view = vm86_view()
        view.rflags |= r.IOPL
        run("e464", view)
        view.memory.write(f.TSS_AT + 0x66, b"\xff\xff")
        assert refused("e464", view) == (r.GP, 0)

    def test_rep_outs_stops_at_a_segments_end_and_faults_the_next_time(self) -> None:
        view, services = self.view(0), FakeServices()
        view.load_segment(r.DS, f.KDATA, 0, 0x9003, f.DATA32)
        view.regs[r.RSI], view.regs[r.RCX], view.regs[r.RDX] = 0x9000, 10, 0x1F0
        run("f36f", view, services)
        assert (view.rip, view.regs[r.RSI], view.regs[r.RCX]) == (0x100, 0x9004, 9)
        assert refused("f36f", view) == (r.GP, 0)

    def test_ins_does_not_read_the_port_where_it_cannot_store(self) -> None:
        view, services = self.view(0), FakeServices()
        view.load_segment(r.ES, f.KDATA, 0, f.FLAT, f.DATA32 & ~r.DESC_WRITABLE)
        assert raised(lambda: run("6c", view, services)) == (r.GP, 0)
        assert services.port_log == []

    def test_rep_ins_counts_down_and_direction_counts(self) -> None:
        view = self.view(0)
        view.rflags |= r.DF
        view.regs[r.RDI], view.regs[r.RCX] = 0x9008, 3
        run("f36d", view)
        assert (view.rip, view.regs[r.RDI], view.regs[r.RCX]) == (0x102, 0x8FFC, 0)


class TestCountersAndSystemCalls:
    def test_rdpmc_needs_pce_above_ring_0_and_a_counter_that_exists(self) -> None:
        view = protected_view(3)
        assert refused("0f33", view) == (r.GP, 0)
        view.cr[4] |= 1 << 8
        view.regs[r.RCX] = 2
        assert refused("0f33", view) == (r.GP, 0)
        view.regs[r.RCX] = 1
        run("0f33", view)
        assert (view.regs[r.RAX], view.regs[r.RDX]) == (0, 0)

    def test_sysenter_and_sysexit(self) -> None:
        services, view = FakeServices(), protected_view(3)
        services.msrs = {0x174: 8, 0x175: 0x7000, 0x176: 0x1234}
        run("0f34", view, services)
        assert (view.cpl, view.segs[r.CS].selector, view.rip, view.regs[r.RSP]) == (0, 8, 0x1234, 0x7000)
        assert not view.rflags & r.IF
        view.regs[r.RDX], view.regs[r.RCX] = 0x5000, 0x6000
        run("0f35", view, services)
        assert (view.cpl, view.segs[r.CS].selector, view.rip, view.regs[r.RSP]) == (3, 0x1B, 0x5000, 0x6000)

    def test_syscall_and_sysret(self) -> None:
        services, view = FakeServices(), long_view(3)
        view.efer |= r.EFER_SCE
        services.msrs = {0xC000_0081: 0x0010_0008 << 32, 0xC000_0082: 0x1234, 0xC000_0084: r.IF}
        run("0f05", view, services)
        assert (view.cpl, view.segs[r.CS].selector, view.rip, view.regs[r.RCX]) == (0, 8, 0x1234, 0x102)
        assert not view.rflags & r.IF
        run("480f07", view, services)
        assert (view.cpl, view.segs[r.CS].selector, view.rip) == (3, 0x23, 0x102)
        assert view.rflags & r.IF

    def test_swapgs(self) -> None:
        services, view = FakeServices(), long_view()
        services.msrs[0xC000_0102] = 0x7777
        view.segs[r.GS].base = 0x1111
        run("0f01f8", view, services)
        assert (view.segs[r.GS].base, services.msrs[0xC000_0102]) == (0x7777, 0x1111)
        assert refused("0f01f8", long_view(3)) == (r.GP, 0)


@pytest.mark.parametrize("code", ["0f02c8", "0f03c8", "0f00e0", "0f00e8"])
def test_descriptors_are_asked_about_in_protected_mode_only(code: str) -> None:
    assert refused(code, FakeView()) == (r.UD, None)
    assert refused(code, vm86_view()) == (r.UD, None)


def test_lar_knows_no_16_bit_gate_in_ia32e_mode() -> None:
    view = long_view()
    view.put_descriptor(GATE, pack_gate(gate(d.TYPE_CALL_GATE16)))
    view.regs[r.RAX] = GATE
    run("0f02c8", view)
    assert not view.rflags & r.ZF
