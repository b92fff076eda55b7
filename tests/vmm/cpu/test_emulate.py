"""Flags, MSRs, CPUID, HLT, and the rules all emulated instructions share; [SDM2]."""

from __future__ import annotations

import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_services import FakeServices
from tests.vmm.cpu.fake_view import FakeView, long_view, protected_view, raised, vm86_view
from vmm.cpu import registers as r
from vmm.cpu.emulate import Outcome, emulate
from vmm.cpu.paging import GuestFault

PRIVILEGED = {
    "lgdt": "0f0115 00600000", "lidt": "0f011d 00600000", "lldt": "0f00d0", "ltr": "0f00d8",
    "lmsw": "0f01f0", "clts": "0f06", "invd": "0f08", "wbinvd": "0f09", "hlt": "f4",
    "mov cr0": "0f22c0", "mov from cr3": "0f20d8", "mov dr7": "0f23f8", "mov from dr0": "0f21c0",
    "wrmsr": "0f30", "rdmsr": "0f32", "invlpg": "0f0138", "cli": "fa", "sti": "fb",
}  # fmt: skip


class Rig:
    """A view with an instruction at CS:RIP."""

    def __init__(self, code: str, view: FakeView | None = None) -> None:
        self.view = view or protected_view()
        self.services = FakeServices()
        self.code = bytes.fromhex(code)
        self.view.memory.write(self.view.segs[r.CS].base + self.view.rip, self.code)

    def run(self) -> Outcome:
        """Emulate; RIP must move by exactly the instruction."""
        start = self.view.rip
        outcome = emulate(self.view, self.services)
        assert self.view.rip == start + len(self.code)
        return outcome

    def refused(self) -> tuple[int, int | None]:
        """The fault, which may have changed nothing."""
        before = self.view.snapshot()
        fault = raised(lambda: emulate(self.view, self.services))
        assert self.view.snapshot() == before
        return fault


@pytest.mark.parametrize("code", PRIVILEGED.values(), ids=PRIVILEGED.keys())
def test_privileged_instructions_fault_above_ring_0(code: str) -> None:
    assert Rig(code, protected_view(cpl=3)).refused() == (r.GP, 0)


@pytest.mark.parametrize("code", ["90", "0f01c1", "0f01d9", "0fae38", "0f0128"])
def test_other_instructions_are_left_to_the_caller(code: str) -> None:
    rig = Rig(code)
    before = rig.view.snapshot()
    assert emulate(rig.view, rig.services) is Outcome.UNHANDLED
    assert rig.view.snapshot() == before


def test_cr8_is_the_task_priority() -> None:
    rig = Rig("440f20c0", long_view())
    assert emulate(rig.view, rig.services) is Outcome.DONE
    assert rig.view.regs[r.RAX] == 9
    rig = Rig("440f22c3", long_view())
    rig.view.regs[r.RBX] = 15
    assert emulate(rig.view, rig.services) is Outcome.DONE
    assert rig.services.cr8 == 15


def test_cr8_has_four_bits_and_belongs_to_ring_0() -> None:
    """[SDM3] §10.8.6.1: the others are reserved."""
    rig = Rig("440f22c3", long_view())
    rig.view.regs[r.RBX] = 16
    assert rig.refused() == (r.GP, 0)
    assert Rig("440f20c0", long_view(cpl=3)).refused() == (r.GP, 0)


def test_lock_prefix_is_an_invalid_opcode() -> None:
    assert Rig("f0 0f06").refused() == (r.UD, None)


def test_more_than_15_bytes_is_a_general_protection_fault() -> None:
    assert Rig("66" * 15 + "f4").refused() == (r.GP, 0)
    assert Rig("66" * 14 + "f4").run() is Outcome.HALTED


def test_ip_wraps_at_64_kib_in_16_bit_code() -> None:
    rig = Rig("", FakeView())
    rig.view.rip = 0xFFFF
    rig.view.memory.write(0xFFFF, b"\xfa")
    emulate(rig.view, rig.services)
    assert rig.view.rip == 0


def test_an_instruction_may_cross_into_a_page_that_is_not_there_only_if_it_needs_it() -> None:
    rig = Rig("")
    rig.view.cr[0] |= r.CR0_PG
    rig.view.cr[3] = 0x2_0000
    rig.view.memory.write(0x2_0000, (0x2_1003).to_bytes(4, "little"))
    rig.view.memory.write(0x2_1000, (0x0003).to_bytes(4, "little"))
    rig.view.rip = 0xFFF
    rig.view.memory.write(0xFFF, b"\xfa")
    assert emulate(rig.view, rig.services) is Outcome.DONE
    rig.view.rip = 0xFFF
    rig.view.memory.write(0xFFF, b"\x0f")
    with pytest.raises(GuestFault) as caught:
        emulate(rig.view, rig.services)
    assert (caught.value.vector, caught.value.error_code, caught.value.cr2) == (r.PF_FAULT, 0, 0x1000)


class TestInterruptFlag:
    def test_sti_shadows_one_instruction_only_when_if_was_clear(self) -> None:
        rig = Rig("fb")
        assert rig.run() is Outcome.DONE
        rig = Rig("fb")
        rig.view.rflags = 2
        assert rig.run() is Outcome.INTERRUPT_SHADOW
        assert rig.view.rflags == 2 | r.IF

    def test_iopl_allows_cli_at_cpl_3(self) -> None:
        rig = Rig("fa", protected_view(cpl=3))
        rig.view.rflags |= r.IOPL
        rig.run()
        assert rig.view.rflags == 2 | r.IOPL

    @pytest.mark.parametrize("code", ["fa", "fb", "9c", "9d", "669c"])
    def test_vm86_needs_iopl_3(self, code: str) -> None:
        rig = Rig(code, vm86_view())
        assert rig.refused() == (r.GP, 0)
        rig.view.rflags |= r.IOPL
        rig.run()


class TestPushfPopf:
    def test_pushf_stores_the_flags_without_vm_and_rf(self) -> None:
        rig = Rig("9c")
        rig.view.rflags |= r.RF | r.CF
        rig.run()
        assert rig.view.memory.u32(f.KERNEL_STACK - 4) == 2 | r.IF | r.CF
        assert rig.view.regs[r.RSP] == f.KERNEL_STACK - 4

    @pytest.mark.parametrize(("view", "code", "size"), [
        (protected_view, "669c", 2), (long_view, "9c", 8), (long_view, "669c", 2), (FakeView, "9c", 2),
        (FakeView, "669c", 4),
    ])  # fmt: skip
    def test_operand_sizes(self, view: type[FakeView], code: str, size: int) -> None:
        rig = Rig(code, view())
        rig.view.regs[r.RSP] = 0x8000
        rig.run()
        assert rig.view.regs[r.RSP] == 0x8000 - size
        rig = Rig(code.replace("9c", "9d"), view())
        rig.view.regs[r.RSP] = 0x8000
        rig.run()
        assert rig.view.regs[r.RSP] == 0x8000 + size

    @pytest.mark.parametrize(
        ("cpl", "iopl", "changed"),
        [(0, 0, r.IF | r.IOPL), (3, 3, r.IF), (3, 0, 0)],
    )
    def test_popf_changes_if_and_iopl_by_privilege(self, cpl: int, iopl: int, changed: int) -> None:
        rig = Rig("9d", protected_view(cpl))
        rig.view.rflags = 2 | iopl << r.IOPL_SHIFT
        rig.view.memory.write(rig.view.regs[r.RSP], (0xFFFF_FFFF).to_bytes(4, "little"))
        rig.run()
        always = r.ARITHMETIC_FLAGS | r.TF | r.DF | r.NT | r.AC | r.ID
        assert rig.view.rflags == 2 | iopl << r.IOPL_SHIFT | always | changed

    def test_popf_of_16_bits_leaves_the_upper_flags(self) -> None:
        rig = Rig("669d")
        rig.view.rflags |= r.AC | r.ID
        rig.run()
        assert rig.view.rflags == 2 | r.AC | r.ID

    def test_stack_fault(self) -> None:
        rig = Rig("9c")
        rig.view.segs[r.SS].limit = f.KERNEL_STACK - 2
        assert rig.refused() == (r.SS_FAULT, 0)


def test_hlt_halts_with_rip_past_it() -> None:
    rig = Rig("f4")
    assert rig.run() is Outcome.HALTED
    assert rig.services.halts == 1


def test_cpuid_at_any_privilege() -> None:
    rig = Rig("0fa2", protected_view(cpl=3))
    rig.view.regs[r.RAX], rig.view.regs[r.RCX] = 0xFFFF_FFFF_0000_0007, 1
    rig.run()
    assert [rig.view.regs[i] for i in (r.RAX, r.RBX, r.RCX, r.RDX)] == [8, 3, 3, 4]


def test_rdmsr_and_wrmsr_use_ecx_and_edx_eax() -> None:
    rig = Rig("0f32")
    rig.view.regs[r.RCX] = 0x174
    rig.run()
    assert (rig.view.regs[r.RDX], rig.view.regs[r.RAX]) == (0x1122_3344, 0x5566_7788)
    rig = Rig("0f30")
    rig.view.regs[r.RCX], rig.view.regs[r.RDX], rig.view.regs[r.RAX] = 0x174, 1, 2
    rig.run()
    assert rig.services.msrs[0x174] == 0x1_0000_0002


@pytest.mark.parametrize("code", ["0f32", "0f30"])
def test_unknown_msr_is_a_general_protection_fault(code: str) -> None:
    assert Rig(code).refused() == (r.GP, 0)


def test_rdtsc_is_free_until_cr4_tsd() -> None:
    rig = Rig("0f31", protected_view(cpl=3))
    rig.run()
    assert (rig.view.regs[r.RDX], rig.view.regs[r.RAX]) == (0x1234_5678, 0x9ABC_DEF0)
    rig = Rig("0f31", protected_view(cpl=3))
    rig.view.cr[4] = 4
    assert rig.refused() == (r.GP, 0)
