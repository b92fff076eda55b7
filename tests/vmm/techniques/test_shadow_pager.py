"""The shadow pager: entries are what the guest's own tables allow, and go when the guest says so."""

from __future__ import annotations

import contextlib
import random
from types import SimpleNamespace

import pytest

from tests.vmm.cpu.fake_view import FakeView
from vmm.cpu import registers as r
from vmm.cpu.paging import PF_P, PF_U, PF_W, PTE_A, PTE_D, PTE_P, PTE_PS, PTE_U, PTE_W, GuestFault
from vmm.memory import MONITOR_BASE, Memory
from vmm.techniques.hidden import BYTES, HiddenMemory
from vmm.techniques.shadow_pager import ShadowPager

DIRECTORY, TABLE, OTHER, FRAME = 0x1000, 0x2000, 0x4000, 0x7000
G = 1 << 8
LINEAR = 0x40_3000  # directory entry 1, table entry 3
ADDRESS = ((1 << 52) - 1) & ~0xFFF


class Flushes:
    """An engine of which the pager asks only to forget, and for address line 20."""

    def __init__(self) -> None:
        self.view = SimpleNamespace(state=SimpleNamespace(a20_mask=-1))
        self.pages: list[int] = []
        self.all = 0

    def flush_page(self, linear: int) -> None:
        self.pages.append(linear)

    def flush_tlb(self) -> None:
        self.all += 1


class Rig:
    """A guest with one page at LINEAR, and its shadow."""

    def __init__(self, entry: int = PTE_P | PTE_W | PTE_U, cr4: int = r.CR4_PSE) -> None:
        self.view = FakeView()
        self.view.cr[0] = r.CR0_PE | r.CR0_PG | r.CR0_WP
        self.view.cr[3] = DIRECTORY
        self.view.cr[4] = cr4
        self.put(DIRECTORY + 4, TABLE | PTE_P | PTE_W | PTE_U)
        self.put(TABLE + 12, FRAME | entry)
        machine = Memory(1 << 20)
        machine.add_monitor(BYTES)
        self.hidden = HiddenMemory(machine)
        self.flushes = Flushes()
        self.pager = ShadowPager(self.hidden, self.view, self.flushes)  # type: ignore[arg-type]

    def put(self, address: int, entry: int) -> None:
        self.view.memory.write(address, entry.to_bytes(4, "little"))

    def get(self, address: int) -> int:
        return self.view.memory.u32(address)

    def shadow(self, linear: int = LINEAR) -> int:
        """Walk the shadow tables as the processor does; 0 where an entry is absent."""
        table = self.pager.root
        for shift in (39, 30, 21, 12):
            entry = self.hidden.words[(table - MONITOR_BASE >> 3) + (linear >> shift & 511)]
            if not entry & PTE_P:
                return 0
            table = entry & ADDRESS
        return int(entry)


def test_without_paging_linear_is_physical() -> None:
    rig = Rig()
    rig.view.cr[0] = r.CR0_PE
    rig.pager.fill(0x5123, PF_W)
    assert rig.shadow(0x5000) & (ADDRESS | PTE_P | PTE_W) == 0x5000 | PTE_P | PTE_W


@pytest.mark.parametrize("user", [0, PTE_U])
@pytest.mark.parametrize("writable", [0, PTE_W])
def test_rights_are_those_of_the_whole_walk(user: int, writable: int) -> None:
    rig = Rig(PTE_P | PTE_D | user | writable)
    rig.pager.fill(LINEAR, 0)
    assert rig.shadow() & (ADDRESS | PTE_P | PTE_U | PTE_W) == FRAME | PTE_P | user | writable


def test_a_clean_page_is_read_only_until_its_first_write_which_sets_the_guests_dirty_bit() -> None:
    rig = Rig()
    rig.pager.fill(LINEAR, 0)
    assert not rig.shadow() & PTE_W
    assert rig.get(TABLE + 12) & (PTE_A | PTE_D) == PTE_A
    rig.pager.fill(LINEAR, PF_P | PF_W)
    assert rig.shadow() & PTE_W
    assert rig.get(TABLE + 12) & PTE_D


@pytest.mark.parametrize(
    ("entry", "access", "code"),
    [(0, PF_W, PF_W), (PTE_P | PTE_U, PF_W | PF_U, PF_P | PF_W | PF_U), (PTE_P | PTE_W, PF_U, PF_P | PF_U)],
)
def test_what_the_guest_denies_is_the_guests_fault(entry: int, access: int, code: int) -> None:
    rig = Rig(entry)
    with pytest.raises(GuestFault) as caught:
        rig.pager.fill(LINEAR + 5, access)
    assert (caught.value.vector, caught.value.error_code, caught.value.cr2) == (r.PF_FAULT, code, LINEAR + 5)
    assert rig.shadow() == 0


def test_without_wp_ring_0_writes_a_read_only_page_and_ring_3_still_faults() -> None:
    rig = Rig(PTE_P | PTE_U)
    rig.view.cr[0] = r.CR0_PE | r.CR0_PG
    rig.pager.fill(LINEAR, PF_W)
    assert rig.shadow() & (PTE_W | PTE_U) == PTE_W


@pytest.mark.parametrize("pge", [0, r.CR4_PGE])
@pytest.mark.parametrize("entry", [0, G])
def test_a_new_address_space_keeps_what_is_global_where_that_is_on(entry: int, pge: int) -> None:
    rig = Rig(PTE_P | PTE_D | PTE_W | entry, pge)
    rig.pager.fill(LINEAR, 0)
    rig.put(TABLE + 12, 0)
    rig.pager.new_address_space()
    assert bool(rig.shadow()) == bool(entry and pge)
    assert rig.flushes.all


def switched(rig: Rig, directory: int) -> None:
    rig.view.cr[3] = directory
    rig.pager.new_address_space()


def test_an_address_space_that_comes_again_finds_what_is_as_it_was() -> None:
    rig = Rig()
    rig.put(TABLE + 16, 0x8000 | PTE_P)
    rig.pager.fill(LINEAR, PF_W)
    rig.pager.fill(LINEAR + 0x1000, 0)
    fills, entry = rig.pager.fills, rig.shadow()
    switched(rig, OTHER)
    assert rig.shadow() == rig.shadow(LINEAR + 0x1000) == 0
    rig.put(TABLE + 16, 0x9000 | PTE_P)
    switched(rig, DIRECTORY)
    assert rig.shadow() == entry
    assert rig.shadow(LINEAR + 0x1000) == 0
    assert rig.pager.fills == fills


@pytest.mark.parametrize(
    ("address", "entry"),
    [
        (TABLE + 12, FRAME | PTE_P | PTE_W | PTE_U | PTE_D),  # the accessed bit is to be set again
        (TABLE + 12, FRAME | PTE_P | PTE_U | PTE_A | PTE_D),
        (DIRECTORY + 4, TABLE | PTE_P | PTE_U | PTE_A),
        (DIRECTORY + 4, 0),
    ],
)
def test_an_address_space_that_comes_again_has_forgotten_what_differs(address: int, entry: int) -> None:
    rig = Rig()
    rig.pager.fill(LINEAR, PF_W)
    switched(rig, OTHER)
    rig.put(address, entry)
    switched(rig, DIRECTORY)
    assert rig.shadow() == 0


def test_what_was_made_before_a_change_nobody_flushed_does_not_come_again() -> None:
    rig = Rig()
    rig.pager.fill(LINEAR, 0)
    rig.put(DIRECTORY + 4, OTHER | PTE_P | PTE_W | PTE_U)
    rig.put(OTHER + 16, FRAME | PTE_P | PTE_W | PTE_U)
    rig.pager.fill(LINEAR + 0x1000, 0)
    assert rig.shadow()
    switched(rig, DIRECTORY)
    assert rig.shadow() == rig.shadow(LINEAR + 0x1000) == 0


def test_a_page_protected_meanwhile_comes_again_read_only() -> None:
    rig = Rig()
    rig.pager.fill(LINEAR, PF_W)
    switched(rig, OTHER)
    rig.pager.protect(FRAME, lambda _: None)
    switched(rig, DIRECTORY)
    assert rig.shadow() & (PTE_P | PTE_W) == PTE_P


def test_a_change_of_mode_forgets_every_address_space() -> None:
    rig = Rig()
    rig.pager.fill(LINEAR, 0)
    switched(rig, OTHER)
    rig.pager.drop_all()
    switched(rig, DIRECTORY)
    assert rig.shadow() == 0


def test_a_page_directory_pointer_table_is_read_anew() -> None:
    """PAE paging: its entries are loaded by MOV to CR3, [SDM3] §4.4.1."""
    rig = Rig(0)
    rig.view.cr[4] = r.CR4_PAE
    pointers = rig.view.cr[3] = 0x3000
    for at, entry in ((pointers, DIRECTORY | PTE_P), (DIRECTORY + 16, TABLE | 7), (TABLE + 24, FRAME | 7)):
        rig.put(at, entry)
        rig.put(at + 4, 0)
    rig.pager.drop_all()
    rig.pager.fill(LINEAR, 0)
    assert rig.shadow() & ADDRESS == FRAME
    switched(rig, pointers)
    assert rig.shadow() & ADDRESS == FRAME
    rig.put(pointers, OTHER | PTE_P)
    switched(rig, pointers)
    assert rig.shadow() == 0


def test_what_is_kept_of_address_spaces_is_bounded() -> None:
    rig = Rig()
    before = len(rig.hidden._free)
    for number in range(300):
        rig.pager.fill(LINEAR, 0)
        rig.view.cr[3] = DIRECTORY | number % 150 << 3  # PCD, PWT and bits nobody reads
        rig.pager.new_address_space()
    rig.pager.drop_all()
    used = (rig.hidden._next - MONITOR_BASE) // 4096 - len(rig.hidden._free)
    assert before <= len(rig.hidden._free)
    assert used < 40 + 2 * 16 + 1


def test_invlpg_forgets_one_page() -> None:
    rig = Rig()
    rig.put(TABLE + 16, 0x8000 | PTE_P)
    rig.pager.fill(LINEAR, 0)
    rig.pager.fill(LINEAR + 0x1000, 0)
    rig.pager.invalidate_page(LINEAR)
    assert rig.shadow() == 0
    assert rig.shadow(LINEAR + 0x1000)
    assert LINEAR in rig.flushes.pages


def test_invlpg_of_a_large_page_forgets_all_of_it() -> None:
    rig = Rig()
    rig.put(DIRECTORY + 8, 0x40_0000 | PTE_P | PTE_W | PTE_PS)
    for linear in (0x80_0000, 0xA0_0000, 0xBF_F000):
        rig.pager.fill(linear, PF_W)
    rig.pager.invalidate_page(0x80_5000)
    assert [rig.shadow(linear) for linear in (0x80_0000, 0xA0_0000, 0xBF_F000)] == [0, 0, 0]


def test_no_frame_above_four_gib_is_reached_the_monitors_least_of_all() -> None:
    """PSE-36 lets a 32-bit guest name 40 bits of physical address, [SDM3] table 4-4."""
    rig = Rig()
    rig.put(DIRECTORY + 8, (MONITOR_BASE >> 32) << 13 | PTE_P | PTE_W | PTE_PS)
    rig.pager.fill(0x80_0000, PF_W)
    frame = rig.shadow(0x80_0000) & ADDRESS
    assert frame < MONITOR_BASE
    assert frame >= 1 << 32


def test_the_first_write_to_a_protected_page_is_told_by_whomever() -> None:
    rig = Rig(PTE_P | PTE_W | PTE_D)
    told: list[int] = []

    def on_write(frame: int) -> None:
        told.append(frame)
        rig.pager.unprotect(frame, on_write)

    rig.pager.fill(LINEAR, PF_W)
    rig.pager.protect(FRAME, on_write)
    assert not rig.shadow() & PTE_W  # though it was mapped before
    rig.pager.fill(LINEAR, 0)
    assert told == []
    rig.pager.fill(LINEAR, PF_P | PF_W)
    assert told == [FRAME]
    assert rig.shadow() & PTE_W
    rig.pager.protect(FRAME, on_write)
    rig.pager.written(FRAME - 1, 1)
    assert told == [FRAME]
    rig.pager.written(FRAME - 1, 2)  # a bus master's
    assert told == [FRAME, FRAME]


def test_running_out_of_pages_drops_the_shadow_and_goes_on() -> None:
    rig = Rig()
    rig.view.cr[0] = r.CR0_PE
    drops = rig.pager.drops
    free = [rig.hidden.allocate() for _ in range(BYTES // 4096 // 2 - 40)]
    for number in range(64):
        rig.pager.fill(number << 21, 0)
    assert rig.pager.drops > drops
    assert rig.shadow(63 << 21)
    assert free


def test_lookup_says_what_the_shadow_tables_say() -> None:
    rig = Rig(PTE_P | PTE_W)
    assert rig.pager.lookup(LINEAR, False, False, False) is None
    rig.pager.fill(LINEAR, 0)
    assert rig.pager.lookup(LINEAR + 5, False, False, False) == FRAME + 5
    assert rig.pager.lookup(LINEAR, False, True, False) is None  # ring 3
    assert rig.pager.lookup(LINEAR, True, False, False) is None  # clean
    rig.pager.fill(LINEAR, PF_P | PF_W)
    assert rig.pager.lookup(LINEAR, True, False, False) == FRAME


def test_an_access_over_four_gib_goes_on_at_linear_0() -> None:
    rig = Rig()
    rig.put(DIRECTORY, TABLE | PTE_P)
    rig.put(TABLE, FRAME | PTE_P)
    rig.pager.fill(1 << 32, 0)
    assert rig.shadow(1 << 32) & ADDRESS == FRAME


def test_entries_never_allow_more_than_the_guests_tables() -> None:
    """Random tables and accesses: whatever the shadow lets through, the guest's own walk lets through."""
    chance = random.Random(5)
    rig = Rig()
    for index in range(16):
        bits = sum(bit for bit in (PTE_P, PTE_W, PTE_U, PTE_D, G) if chance.random() < 0.7)
        rig.put(TABLE + 4 * index, chance.choice((FRAME, 0x9000, 0xB000)) | bits)
    for _ in range(2000):
        index = chance.randrange(16)
        linear = 0x40_0000 + index * 0x1000
        if chance.random() < 0.1:
            rig.pager.invalidate_page(linear)
        with contextlib.suppress(GuestFault):
            rig.pager.fill(linear, chance.choice((0, PF_W, PF_U, PF_U | PF_W)))
        entry, own = rig.shadow(linear), rig.get(TABLE + 4 * index)
        if entry:
            assert own & PTE_P
            assert entry & ADDRESS == own & ADDRESS & 0xFFFF_F000
            assert not entry & PTE_U or own & PTE_U
            assert not entry & PTE_W or (own & PTE_W and own & PTE_D)
