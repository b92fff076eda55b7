"""What CPUID tells of a monitor, and the hypercall page."""

from __future__ import annotations

from tests.vmm.techniques.para_rig import Ram
from vmm.cpu.cpuid import ECX_HYPERVISOR, Cpuid, model
from vmm.techniques.para import abi
from vmm.techniques.para.introduction import HypercallMsr, hypercall_page
from vmm.techniques.para.leaves import FEATURES_FULL, HYPERCALL_MSR, MonitorLeaves
from vmm.trace.events import ExitCount

EXITS = {
    "emulate.cli": ExitCount(5, 0, 50),  # no exit of VT-x
    "cpuid": ExitCount(7, 0, 0),
    "hypercall.version": ExitCount(3, 0, 0x2_0000_0001),
    "hypercall.iret": ExitCount(1, 0, 1),
}
LEAF = 0x4FFF_FFFC


def leaves(first: int = LEAF) -> MonitorLeaves:
    return MonitorLeaves(lambda: EXITS, FEATURES_FULL, first)


def test_the_signature_is_twelve_bytes() -> None:
    top, *words = leaves()(0x4000_0000, 0)
    assert b"".join(word.to_bytes(4, "little") for word in words) == b"TraplineVMM\0"
    assert top == 0x4000_0003


def test_the_leaves_tell_of_the_page_and_of_where_the_exits_are() -> None:
    assert leaves()(0x4000_0001, 0)[:2] == (0x0001_0000, FEATURES_FULL)
    assert leaves()(0x4000_0002, 0)[:2] == (1, HYPERCALL_MSR)
    assert leaves(0x4000_1000)(0x4000_0003, 0)[0] == 0x4000_1000


def test_all_exits_and_all_cycles() -> None:
    assert leaves()(LEAF, 99) == (16, 0, 0, 0)
    assert leaves()(LEAF + 1, 99) == (0, 2, 52, 0)


def test_exits_and_cycles_of_a_reason_of_vtx() -> None:
    assert leaves()(LEAF + 2, 10) == (7, 0, 0, 0)  # CPUID
    assert leaves()(LEAF + 2, 18) == (4, 0, 0, 0)  # VMCALL
    assert leaves()(LEAF + 3, 18) == (0, 2, 2, 0)
    assert leaves()(LEAF + 2, 54) == (0, 0, 0, 0)


def test_a_number_that_is_no_reason_is_told_by_edx() -> None:
    for reason in (35, 38, 42, 65, 70, 0xFFFF_FFFF):
        assert leaves()(LEAF + 2, reason) == leaves()(LEAF + 3, reason) == (0, 0, 0, 0xFFFF_FFFF)


def test_another_leaf_is_nobody_s() -> None:
    assert leaves()(0x4000_0004, 0) is None
    assert leaves(0x4000_1000)(LEAF, 0) is None


def test_without_a_monitor_the_leaves_are_zero_and_leaf_1_says_nothing() -> None:
    cpuid = Cpuid(model("core2duo"))
    assert cpuid(0x4000_0000, 0) == cpuid(LEAF, 0) == (0, 0, 0, 0)
    assert not cpuid(1, 0)[2] & ECX_HYPERVISOR
    cpuid.monitor = leaves()
    assert cpuid(LEAF + 2, 10)[0] == 7
    assert not cpuid(1, 0)[2] & ECX_HYPERVISOR
    cpuid.show_monitor()
    assert cpuid(1, 0)[2] & ECX_HYPERVISOR


def test_an_entry_of_the_page_calls_its_number() -> None:
    page = hypercall_page()
    assert len(page) == 4096
    assert page[32 * 18 : 32 * 18 + 9] == bytes.fromhex("b8 12 00 00 00 0f 01 c1 c3")


def test_the_msr_places_the_page_in_ram_and_nowhere_else() -> None:
    ram = Ram()
    msr = HypercallMsr(ram)
    assert msr(HYPERCALL_MSR, 0x5000)
    assert ram.read(0x5000, 4096) == hypercall_page()
    assert not msr(HYPERCALL_MSR, 0x5001)
    assert not msr(HYPERCALL_MSR, 0x10_0000)
    assert not msr(HYPERCALL_MSR, 0xFFFF_FFFF_FFFF_F000)
    assert not msr(0x4000_0001, 0x5000)


def test_only_a_page_that_was_taken_counts_and_until_a_reset() -> None:
    msr = HypercallMsr(Ram())
    assert not msr.placed
    msr(HYPERCALL_MSR, 0x5001)
    assert not msr.placed
    msr(HYPERCALL_MSR, 0x5000)
    assert msr.placed
    msr.reset()
    assert not msr.placed


def test_the_abi_has_a_name_for_each_number_once() -> None:
    assert len(set(abi.NAMES.values())) == len(abi.NAMES) == 20
