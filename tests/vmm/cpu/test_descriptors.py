"""Descriptors and gates, [SDM3] §3.4.5, §3.5, §6.11; byte patterns worked out by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.cpu.fake_view import (
    GDT_AT,
    IDT_AT,
    KCODE,
    LDT,
    LDT_AT,
    TSS,
    FakeView,
    long_view,
    protected_view,
    raised,
)
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r


def parse(raw: str) -> d.Descriptor:
    data = bytes.fromhex(raw)
    return d.parse_descriptor(int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little"))


def test_flat_code_segment() -> None:
    code = parse("ffff0000009bcf00")
    assert (code.base, code.limit, code.flags) == (0, 0xFFFF_FFFF, 0xC0_9B00)
    assert code.is_code
    assert code.is_readable
    assert code.present
    assert not code.is_writable_data
    assert not code.is_conforming


def test_base_and_limit_are_scattered_over_the_descriptor() -> None:
    data = parse("785634 12 9a f2 0f de".replace(" ", ""))
    assert data.base == 0xDE9A_1234
    assert data.limit == 0xF5678
    assert data.dpl == 3
    assert data.is_writable_data


def test_granularity_scales_the_limit_by_4096_and_fills_with_ones() -> None:
    assert parse("0000000000938000").limit == 0xFFF
    assert parse("0100000000938000").limit == 0x1FFF


def test_execute_only_code_is_not_readable() -> None:
    assert not parse("ffff0000 00 98 cf 00".replace(" ", "")).is_readable


def test_system_descriptors_are_neither_code_nor_data() -> None:
    tss = parse("6700003000890000")
    assert tss.type == d.TYPE_TSS32
    assert not any((tss.is_code, tss.is_writable_data, tss.is_readable, tss.is_conforming))


def test_32_bit_interrupt_gate() -> None:
    gate = d.parse_gate(bytes.fromhex("7856 0800 00 ee 3412".replace(" ", "")))
    assert gate == d.Gate(8, 0x1234_5678, d.TYPE_INTERRUPT_GATE32, 3, present=True)


def test_a_16_bit_gate_has_no_upper_offset() -> None:
    assert d.parse_gate(bytes.fromhex("785608000086ffff")).offset == 0x5678


def test_64_bit_gate_has_an_ist_index_and_a_third_offset_part() -> None:
    gate = d.parse_gate(bytes.fromhex("7856 1000 03 8e 3412 efcdab89 00000000".replace(" ", "")))
    assert (gate.offset, gate.parameter, gate.selector) == (0x89AB_CDEF_1234_5678, 3, 0x10)


def test_selector_beyond_the_limit_faults_with_the_selector_and_ti_but_no_rpl() -> None:
    view = protected_view()
    assert raised(lambda: d.read_descriptor(view, 0x83)) == (r.GP, 0x80)
    assert raised(lambda: d.read_descriptor(view, 0x0F, vector=r.TS, ext=1)) == (r.TS, 0x0D)


def test_the_last_byte_of_a_descriptor_must_be_inside_the_limit() -> None:
    view = protected_view()
    view.gdt.limit = KCODE + 7
    assert d.read_descriptor(view, KCODE).is_code
    view.gdt.limit -= 1
    assert raised(lambda: d.read_descriptor(view, KCODE)) == (r.GP, KCODE)


def test_ti_selects_the_ldt() -> None:
    view = protected_view()
    view.ldt.base, view.ldt.limit = LDT_AT, 0x3F
    view.put_descriptor(0x0C, d.pack_segment(0x1000, 0x42, 0x9300))
    found = d.read_descriptor(view, 0x0F)
    assert (found.base, found.limit, found.address) == (0x1000, 0x42, LDT_AT + 8)


def test_system_descriptor_must_be_in_the_gdt() -> None:
    view = protected_view()
    view.ldt.limit = 0x3F
    assert d.read_system_descriptor(view, TSS).base == view.tr.base
    assert raised(lambda: d.read_system_descriptor(view, 0x0C)) == (r.GP, 0x0C)


def test_system_descriptor_of_ia_32e_mode_has_16_bytes() -> None:
    view = long_view()
    view.put_descriptor(LDT, d.pack_system64(0xFFFF_8000_1234_5678, 0x67, 0x8900))
    assert d.read_system_descriptor(view, LDT).base == 0xFFFF_8000_1234_5678
    view.gdt.limit = LDT + 14
    assert raised(lambda: d.read_system_descriptor(view, LDT)) == (r.GP, LDT)


def test_upper_type_field_of_ia_32e_mode_must_be_zero() -> None:
    view = long_view()
    view.put_descriptor(LDT, d.pack_system64(0, 0x67, 0x8900))
    view.memory.write(GDT_AT + LDT + 13, b"\x01")
    assert raised(lambda: d.read_system_descriptor(view, LDT)) == (r.GP, LDT)


def test_accessed_bit_is_planned_only_where_it_is_clear() -> None:
    view = protected_view()
    assert d.plan_accessed(view, d.read_descriptor(view, KCODE)) == (0xC0_9B00, [])
    fresh = d.Descriptor(0, 0xFFFF, 0xC0_9A00, address=0x2000)
    assert d.plan_accessed(view, fresh) == (0xC0_9B00, [(0x2005, b"\x9b")])


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xF_FFFF), st.integers(0, 0xFF))
def test_a_packed_segment_parses_back(base: int, limit: int, access: int) -> None:
    packed = d.pack_segment(base, limit, access << 8 | r.DESC_B)
    view = FakeView()
    view.memory.write(IDT_AT, packed)
    view.gdt.base, view.gdt.limit = IDT_AT, 7
    assert d.read_descriptor(view, 0) == d.Descriptor(base, limit, access << 8 | r.DESC_B, IDT_AT)


@given(st.integers(0, 0xFFFF_FFFF_FFFF_FFFF), st.integers(0, 0xFFFF), st.integers(0, 3), st.integers(0, 7))
def test_a_packed_gate_parses_back(offset: int, selector: int, dpl: int, ist: int) -> None:
    gate = d.Gate(selector, offset, d.TYPE_TRAP_GATE32, dpl, present=True, parameter=ist)
    assert d.parse_gate(d.pack_gate64(gate)) == gate
