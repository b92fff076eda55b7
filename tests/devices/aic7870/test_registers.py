"""The table of the registers: whole, without contradictions, and in step with the constants."""

from __future__ import annotations

from itertools import pairwise

import pytest

from devices.aic7870 import registers as r


@pytest.mark.parametrize("row", r.TABLE, ids=lambda row: f"{row.name}-{row.access}")
def test_bits_of_a_row_do_not_overlap_and_go_down(row: r.ChipRegister) -> None:
    bits = r.bits_of(row)
    assert all(higher.mask > lower.mask for higher, lower in pairwise(bits))
    assert sum(bit.mask for bit in bits) <= 0xFF


def test_no_address_is_told_twice_for_the_same_access() -> None:
    told = [(row.address + at, way) for row in r.TABLE for at in range(row.length) for way in row.access]
    assert len(told) == len(set(told))


def test_rows_are_in_order() -> None:
    assert [row.address for row in r.TABLE] == sorted(row.address for row in r.TABLE)


def test_constants_of_registers_are_those_of_the_table() -> None:
    for row in r.TABLE:
        constant = getattr(r, row.name, None)
        assert constant in (None, row.address), row.name


def test_constants_of_bits_are_those_of_the_table() -> None:
    seen = set()
    for row in r.TABLE:
        for bit in r.bits_of(row):
            constant = getattr(r, bit.name, None)
            if constant is not None:
                seen.add(bit.name)
                assert constant == bit.mask, bit.name
    assert {"ENSELO", "SELTO", "REQINIT", "DMADONE", "HDMAEN", "PAUSE", "SEERDY", "SCBAUTO"} <= seen


@pytest.mark.parametrize(
    ("address", "writing", "name"),
    [
        (0x0C, False, "SSTAT1"), (0x0C, True, "CLRSINT1"), (0x09, False, "STCNT+1"),
        (0x3C, True, "SCRATCH+1C"),
        (0x63, False, "SEQADDR+1"), (0x6D, False, "DINDIR"), (0xC4, False, "C4h"),
    ],
)  # fmt: skip
def test_addresses_have_names(address: int, writing: bool, name: str) -> None:
    assert r.name_of(address, writing) == name


def test_values_are_told_by_their_bits() -> None:
    assert r.describe(0x0C, 0x09) == "09 BUSFREE REQINIT"
    assert r.describe(0x91, 0x71) == "71 SEQINT_CODE=7 SEQINT"
    assert r.describe(0x20, 0x12) == "12"
