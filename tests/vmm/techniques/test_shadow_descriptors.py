"""Shadow descriptor tables: what ring 1 may load is the guest's, and a change is never missed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.vmm.cpu.fake_view import CODE32, DATA32, GDT_AT, KCODE, KDATA, LDT, TSS, UCODE, protected_view
from vmm.cpu import registers as r
from vmm.cpu.descriptors import Descriptor, pack_segment, parse_descriptor
from vmm.cpu.state import CpuState
from vmm.memory import MONITOR_BASE, Memory
from vmm.techniques import shadow_descriptors
from vmm.techniques.hidden import BYTES, HiddenMemory
from vmm.techniques.shadow_descriptors import MONITOR_LINEAR, ShadowDescriptors
from vmm.techniques.shadow_pager import ShadowPager


class Engine:
    """Nobody runs: there is nothing to flush."""

    view = SimpleNamespace(state=SimpleNamespace(a20_mask=-1))

    def flush_page(self, linear: int) -> None:
        """Nothing."""

    def flush_tlb(self) -> None:
        """Nothing."""


class Rig:
    """A guest in protected mode, its shadow tables, and the real processor's registers."""

    def __init__(self) -> None:
        self.view = protected_view()
        self.view.state = CpuState()  # type: ignore[attr-defined]
        self.view.inner = 0  # type: ignore[attr-defined]
        machine = Memory(1 << 20)
        machine.add_monitor(BYTES)
        self.hidden = HiddenMemory(machine)
        self.pager = ShadowPager(self.hidden, self.view, Engine())  # type: ignore[arg-type]
        self.tables = ShadowDescriptors(self.hidden, self.pager, self.view)  # type: ignore[arg-type]
        self.tables.load()
        self.state = self.view.state  # type: ignore[attr-defined]

    def copy(self, selector: int) -> Descriptor:
        """The descriptor the processor reads."""
        linear = (self.state.ldt if selector & 4 else self.state.gdt).base + (selector & ~7)
        physical = self.physical(linear)
        low, high = (
            int.from_bytes(self.hidden.bytes[at : at + 4], "little") for at in (physical, physical + 4)
        )
        return parse_descriptor(low, high)

    def physical(self, linear: int) -> int:
        """Offset in the monitor's memory of one of its own linear addresses."""
        table = self.pager.root
        for shift in (39, 30, 21, 12):
            table = (
                self.hidden.words[(table - MONITOR_BASE >> 3) + (linear >> shift & 511)] & 0xF_FFFF_FFFF_F000
            )
        return table - MONITOR_BASE + (linear & 0xFFF)


def test_the_processors_tables_are_where_32_bit_code_cannot_name_them() -> None:
    rig = Rig()
    for table in (rig.state.gdt, rig.state.idt, rig.state.ldt, rig.state.tr):
        assert table.base >= MONITOR_LINEAR > 1 << 32


@pytest.mark.parametrize(("selector", "flags"), [(KCODE, CODE32), (KDATA, DATA32)])
def test_dpl_0_becomes_1_and_the_accessed_bit_is_set(selector: int, flags: int) -> None:
    copy = Rig().copy(selector)
    assert copy.dpl == 1
    assert copy.flags == flags | r.DESC_G | r.DESC_ACCESSED | 1 << r.DESC_DPL_SHIFT
    assert copy.limit == 0xFFFF_FFFF


def test_the_guests_own_ring_1_is_not_given_ring_0s_segments() -> None:
    rig = Rig()
    rig.view.inner = 1  # type: ignore[attr-defined]
    rig.tables.stale()
    rig.tables.follow()
    assert rig.copy(KDATA).dpl == 0


def test_ring_3_keeps_its_own() -> None:
    assert Rig().copy(UCODE).dpl == 3


@pytest.mark.parametrize("selector", [TSS, LDT, 0])
def test_system_descriptors_and_the_null_one_are_left_out(selector: int) -> None:
    copy = Rig().copy(selector)
    assert (copy.flags, copy.base, copy.limit) == (0, 0, 0)


def test_the_tss_has_no_bitmap_so_that_every_port_asked_of_it_is_refused() -> None:
    rig = Rig()
    at = rig.physical(rig.state.tr.base) + 0x66
    assert int.from_bytes(rig.hidden.bytes[at : at + 2], "little") > rig.state.tr.limit


def test_a_write_to_the_guests_table_makes_every_load_fault_until_the_copy_is_new() -> None:
    rig = Rig()
    assert rig.pager.is_protected(GDT_AT)
    rig.pager.written(GDT_AT + 3, 1)
    assert not rig.tables.fresh
    assert not rig.copy(KDATA).present
    assert rig.copy(KDATA).dpl == 1  # LAR and its like see what they saw
    assert not rig.pager.is_protected(GDT_AT)
    rig.view.put_descriptor(KDATA, pack_segment(0x1234, 0xFF, DATA32))
    rig.tables.follow()
    assert (rig.copy(KDATA).base, rig.copy(KDATA).present) == (0x1234, True)
    assert rig.pager.is_protected(GDT_AT)


def test_a_shorter_table_leaves_nothing_of_the_longer() -> None:
    rig = Rig()
    rig.view.gdt.limit = KCODE + 7
    rig.tables.follow()
    assert rig.copy(KCODE).present
    assert not rig.copy(KDATA).present


def test_an_ldt_is_there_only_while_it_is_loaded() -> None:
    rig = Rig()
    rig.view.memory.write(0x5000, pack_segment(0x77, 0xF, DATA32))
    assert not rig.copy(4).present
    rig.view.ldt.selector, rig.view.ldt.base, rig.view.ldt.limit = LDT, 0x5000, 0x3F
    rig.tables.follow()
    assert rig.copy(4).base == 0x77
    assert rig.pager.is_protected(0x5000)
    rig.view.ldt.selector = 0
    rig.tables.follow()
    assert not rig.copy(4).present
    assert not rig.pager.is_protected(0x5000)


def test_an_ldt_of_4_gib_costs_no_more_than_what_selectors_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.view.ldt.selector, rig.view.ldt.base, rig.view.ldt.limit = LDT, 0x5000, 0xFFFF_FFFF
    rig.tables.follow()
    looked: list[int] = []
    monkeypatch.setattr(shadow_descriptors, "probe", lambda view, linear: looked.append(linear))
    rig.tables.moved()
    assert len(looked) <= 2 * 17
