"""Page walks, [SDM3] chapter 4; expected values worked out by hand from its tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.cpu.fake_view import FakeMemory, FakeView, raised
from vmm.cpu import registers as r
from vmm.cpu.paging import GuestFault, probe, read_linear, translate, write_linear

P, W, U, A, D, PS = 1, 2, 4, 0x20, 0x40, 0x80
NX = 1 << 63
ROOT, TABLE2, TABLE3, TABLE4 = 0x1000, 0x2000, 0x3000, 0x4000


class Rig:
    """A view with paging on and a few frames mapped from linear 0."""

    def __init__(self, cr4: int = 0, efer: int = 0) -> None:
        self.view = FakeView(FakeMemory())
        self.view.cr[0] |= r.CR0_PE | r.CR0_PG
        self.view.cr[3] = ROOT
        self.view.cr[4] = cr4
        self.view.efer = efer
        self.memory = self.view.memory
        self.size = 8 if cr4 & r.CR4_PAE else 4

    def put(self, table: int, index: int, entry: int) -> None:
        self.memory.write(table + index * self.size, entry.to_bytes(self.size, "little"))

    def get(self, table: int, index: int) -> int:
        return int.from_bytes(self.memory.read(table + index * self.size, self.size), "little")

    def to(self, linear: int, *, write: bool = False, user: bool = False, fetch: bool = False) -> int:
        return translate(self.view, linear, write=write, user=user, fetch=fetch)

    def code(self, linear: int, **access: bool) -> int | None:
        vector, code = raised(lambda: self.to(linear, **access))
        assert vector == r.PF_FAULT
        return code


def legacy(pde: int = P | W | U, pte: int = P | W | U) -> Rig:
    """Linear 0 to 7FFFh on frames 10h to 17h, all by one page directory entry."""
    rig = Rig()
    rig.put(ROOT, 0, TABLE2 | pde)
    for i in range(8):
        rig.put(TABLE2, i, 0x10000 + (i << 12) | pte)
    return rig


def long(entry: int = P | W | U, leaf: int = P | W | U, cr4: int = 0, nxe: bool = True) -> Rig:
    rig = Rig(r.CR4_PAE | cr4, r.EFER_LMA | (r.EFER_NXE if nxe else 0))
    for table, below in ((ROOT, TABLE2), (TABLE2, TABLE3), (TABLE3, TABLE4)):
        rig.put(table, 0, below | entry)
    rig.put(TABLE4, 1, 0x77000 | leaf)
    return rig


def test_without_paging_the_linear_address_is_physical() -> None:
    assert translate(FakeView(), 0x1_0000_1234, write=True, user=True) == 0x1234


def test_32_bit_walk_sets_accessed_on_both_levels_and_dirty_on_a_write() -> None:
    rig = legacy()
    assert rig.to(0x1234) == 0x11234
    assert rig.get(ROOT, 0) == TABLE2 | P | W | U | A
    assert rig.get(TABLE2, 1) == 0x11000 | P | W | U | A
    assert rig.to(0x1234, write=True) == 0x11234
    assert rig.get(TABLE2, 1) == 0x11000 | P | W | U | A | D
    assert rig.get(ROOT, 0) == TABLE2 | P | W | U | A


def test_flags_already_set_are_not_written_again() -> None:
    rig = legacy()
    rig.to(0x1234, write=True)
    rig.memory.writes.clear()
    rig.to(0x1238, write=True)
    assert rig.memory.writes == []


def test_not_present_reports_write_and_user_and_the_address() -> None:
    rig = legacy(pte=0)
    with pytest.raises(GuestFault) as caught:
        rig.to(0x2345, write=True, user=True)
    assert (caught.value.vector, caught.value.error_code, caught.value.cr2) == (14, 6, 0x2345)
    assert rig.code(0x0040_0000) == 0  # no page directory entry


def test_a_faulting_walk_sets_no_accessed_bit() -> None:
    rig = legacy(pte=0)
    rig.code(0x1000)
    assert rig.get(ROOT, 0) & A == 0


@pytest.mark.parametrize(("pde", "pte"), [(P | W, P | W | U), (P | W | U, P | W)])
def test_user_access_needs_u_at_every_level(pde: int, pte: int) -> None:
    rig = legacy(pde, pte)
    assert rig.code(0x1000, user=True) == 5
    assert rig.to(0x1000) == 0x11000


@pytest.mark.parametrize(("pde", "pte"), [(P | U, P | W | U), (P | W | U, P | U)])
def test_user_write_needs_w_at_every_level(pde: int, pte: int) -> None:
    assert legacy(pde, pte).code(0x1000, user=True, write=True) == 7


def test_supervisor_writes_read_only_pages_until_cr0_wp() -> None:
    rig = legacy(pte=P)
    assert rig.to(0x1000, write=True) == 0x11000
    rig.view.cr[0] |= r.CR0_WP
    assert rig.code(0x1000, write=True) == 3


def test_4_mib_page_needs_cr4_pse() -> None:
    rig = Rig(r.CR4_PSE)
    rig.put(ROOT, 1, P | W | PS)
    assert rig.to(0x0041_2345, write=True) == 0x0001_2345
    assert rig.get(ROOT, 1) == P | W | PS | A | D
    rig.view.cr[4] = 0
    assert rig.code(0x0041_2345) == 0  # now the entry names a page table at 0, which is empty


def test_pse36_takes_address_bits_39_to_32_from_bits_20_to_13() -> None:
    rig = Rig(r.CR4_PSE)
    rig.put(ROOT, 0, 0x0080_0000 | 0x03 << 13 | P | PS)
    assert rig.to(5) == 0x3_0080_0005


def test_bit_21_of_a_4_mib_page_is_reserved() -> None:
    rig = Rig(r.CR4_PSE)
    rig.put(ROOT, 0, 0x0020_0000 | P | PS)
    assert rig.code(0) == 9


def test_pae_walk_has_three_levels_and_no_rights_in_the_pdpte() -> None:
    rig = Rig(r.CR4_PAE)
    rig.view.cr[3] = ROOT + 0x20  # PAE tables need only 32-byte alignment
    rig.put(ROOT + 0x20, 3, TABLE2 | P)
    rig.put(TABLE2, 1, TABLE3 | P | W | U)
    rig.put(TABLE3, 2, 0x5_0000_0000 | P | W | U)
    assert rig.to(0xC020_2003, write=True, user=True) == 0x5_0000_0003
    assert rig.get(ROOT + 0x20, 3) == TABLE2 | P
    rig.put(TABLE2, 2, 0x0040_0000 | P | PS)
    assert rig.to(0xC041_2345) == 0x0041_2345
    assert rig.code(0x8000_0000) == 0


def test_4_level_walk_with_nx() -> None:
    rig = long(leaf=P | W | U | NX)
    assert rig.to(0x1010) == 0x77010
    assert rig.get(TABLE4, 1) == 0x77000 | P | W | U | A | NX
    assert rig.code(0x1010, fetch=True) == 0x11
    assert rig.code(0x1010, fetch=True, user=True) == 0x15


def test_nx_is_a_reserved_bit_without_efer_nxe() -> None:
    rig = long(leaf=P | W | U | NX, nxe=False)
    assert rig.code(0x1010) == 9
    assert rig.code(0x1010, fetch=True) == 9  # the I/D bit is not reported either


def test_large_pages_of_2_mib_and_1_gib() -> None:
    rig = long()
    rig.put(TABLE3, 1, 0x0040_0000 | P | W | PS)
    assert rig.to(0x0020_0123) == 0x0040_0123
    rig.put(TABLE2, 1, 0x8000_0000 | P | W | PS)
    assert rig.to(0x4123_4567, write=True) == 0x8123_4567
    rig.put(TABLE3, 2, 0x0040_2000 | P | PS)
    assert rig.code(0x0040_0000) == 9


def test_bits_above_the_physical_width_are_reserved() -> None:
    assert long(leaf=P | 1 << 51).code(0x1000) == 9


def test_non_canonical_address_is_a_general_protection_fault() -> None:
    assert raised(lambda: long().to(0x8000_0000_0000)) == (r.GP, 0)


def test_smep_stops_supervisor_fetches_from_user_pages() -> None:
    rig = long(cr4=r.CR4_SMEP)
    assert rig.code(0x1000, fetch=True) == 0x11
    assert rig.to(0x1000) == 0x77000
    assert rig.to(0x1000, fetch=True, user=True) == 0x77000


def test_smap_stops_supervisor_data_accesses_unless_ac_is_set() -> None:
    rig = long(cr4=r.CR4_SMAP)
    assert rig.code(0x1000) == 1
    assert rig.code(0x1000, write=True) == 3
    rig.view.rflags |= r.AC
    assert rig.to(0x1000) == 0x77000


def test_probe_ignores_protection_and_touches_nothing() -> None:
    rig = legacy(pte=P)
    rig.memory.writes.clear()
    assert probe(rig.view, 0x1234) == 0x11234
    assert probe(rig.view, 0x0040_0000) is None
    assert rig.memory.writes == []


def test_write_checks_every_page_before_storing_a_byte() -> None:
    rig = legacy()
    rig.put(TABLE2, 2, 0)
    with pytest.raises(GuestFault) as caught:
        write_linear(rig.view, 0x1FFE, b"abcd")
    assert caught.value.cr2 == 0x2000
    assert rig.memory.read(0x11FFE, 2) == b"\0\0"


def test_linear_addresses_wrap_at_4_gib() -> None:
    view = FakeView()
    view.memory.write(0, b"cd")
    assert read_linear(view, 0xFFFF_FFFE, 4) == b"\xff\xffcd"


@given(offset=st.integers(0, 0x5FFF), data=st.binary(min_size=1, max_size=0x1800))
def test_what_is_written_is_read_and_lands_in_the_mapped_frames(offset: int, data: bytes) -> None:
    rig = legacy()
    write_linear(rig.view, offset, data, user=True)
    assert read_linear(rig.view, offset, len(data), user=True) == data
    assert rig.memory.read(0x10000 + offset, len(data)) == data
