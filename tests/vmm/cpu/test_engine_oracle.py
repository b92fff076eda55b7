"""Our delivery and our page walk against the engine's own, on random gates, stacks and page tables.

The engine's `x86_cpu_do_interrupt` and its TLB fill are called on a processor of their own, without
any of our hooks; the portable engine's Python runs on the fake view. Deliberate differences, masked:
Unicorn pushes RF clear for faults and loads a null SS with an IST even where the ring stays.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.vmm.cpu import fake_view as f
from tests.vmm.cpu.fake_view import FakeView, gate, long_view, protected_view, vm86_view
from tests.vmm.cpu.native import (
    FETCH,
    MMU_KERNEL_NO_SMAP,
    MMU_KERNEL_SMAP,
    MMU_USER,
    STORE,
    Native,
    segments,
)
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.delivery import Event, deliver
from vmm.cpu.paging import GuestFault, translate

PD_AT, PT_AT = 0x2_0000, 0x2_1000


@pytest.fixture(scope="module")
def native() -> Native:
    return Native()


def real_mode(rng: random.Random, vector: int) -> FakeView:
    view = FakeView()
    view.regs[r.RSP] = rng.choice([0, 2, 4, 0x1000, 0xFFFE, 0x1234_1000, rng.randrange(0, 0x10000, 2)])
    view.memory.write(vector * 4, rng.randbytes(4))
    view.load_segment(r.SS, 0x2000, 0x20000, 0xFFFF, f.REAL_DATA)
    return view


def long_mode(rng: random.Random, vector: int) -> FakeView:
    cpl = rng.choice([0, 3])
    view = long_view(cpl)
    view.cr[3], view.cr[4] = PD_AT, r.CR4_PAE
    view.cr[0] |= r.CR0_PG
    for at, entry in ((PD_AT, 0x2_1007), (PT_AT, 0x2_2007), (0x2_2000, 0xE7)):
        view.memory.write(at, entry.to_bytes(8, "little"))
    ist = rng.choice([0, 0, 1])
    kind = rng.choice([d.TYPE_INTERRUPT_GATE32, d.TYPE_TRAP_GATE32])
    view.put_gate(vector, d.pack_gate64(gate(kind, offset=rng.randrange(1 << 47), dpl=3, ist=ist)))
    view.regs[r.RSP] = rng.randrange(0x7000, 0x8000)
    if cpl and rng.random() < 0.5:
        view.load_segment(r.CS, f.UCODE, 0, f.FLAT, f.CODE32 | f.GRANULAR | f.RING_3)
    return view


def protected_mode(rng: random.Random, vector: int, kind: str) -> FakeView:
    cpl = rng.choice([0, 3])
    view = vm86_view() if kind == "vm86" else protected_view(cpl)
    selector = f.KCODE16 if kind == "16" else f.KCODE
    if kind == "32" and rng.random() < 0.3:
        selector = f.CONFORMING
    narrow = kind == "16" or rng.random() < 0.2
    types = (
        (d.TYPE_INTERRUPT_GATE16, d.TYPE_TRAP_GATE16)
        if narrow
        else (d.TYPE_INTERRUPT_GATE32, d.TYPE_TRAP_GATE32)
    )
    view.put_gate(vector, d.pack_gate(gate(rng.choice(types), selector, dpl=3)))
    if rng.random() < 0.3:
        stack = rng.randrange(0x6000, 0x8000).to_bytes(4, "little") + f.KDATA16.to_bytes(4, "little")
        view.memory.write(f.TSS_AT + 4, stack)
    if kind == "vm86":
        view.rflags |= r.IOPL
    elif cpl == 0 and rng.random() < 0.3:
        view.load_segment(r.SS, f.KDATA16, 0, 0xFFFF, f.DATA16)
        view.regs[r.RSP] = rng.choice([0x1234_7000, 0x8, 0x7654])
    if rng.random() < 0.5:
        view.cr[0] |= r.CR0_PG
        view.cr[3] = PD_AT
        view.memory.write(PD_AT, (PT_AT | 0x67).to_bytes(4, "little"))
        for page in range(0x100):
            view.memory.write(PT_AT + page * 4, (page << 12 | 0x67).to_bytes(4, "little"))
    if rng.random() < 0.3:
        view.tr.flags = 0x8100
        view.memory.write(f.TSS_AT + 2, (0x7000).to_bytes(2, "little") + f.KDATA.to_bytes(2, "little"))
    return view


def draw(rng: random.Random) -> tuple[FakeView, Event]:
    """A processor in some mode, and an event that some gate there takes."""
    kind = rng.choice(["real", "32", "32", "16", "vm86", "long", "long"])
    vector = rng.choice([r.DE, r.DB, r.BP, r.UD, r.GP, r.PF_FAULT, 0x30, 0x80])
    software = rng.random() < 0.4
    if kind == "real":
        view = real_mode(rng, vector)
    else:
        view = long_mode(rng, vector) if kind == "long" else protected_mode(rng, vector, kind)
    view.rip = rng.randrange(0x10000)
    for flags in (r.IF, r.TF, r.NT, r.AC, r.CF | r.ZF):
        view.rflags |= rng.choice([0, flags])
    code = 0x1234 if vector in r.VECTORS_WITH_ERROR_CODE and not software and kind != "real" else None
    return view, Event(vector, code, software=software, next_rip=view.rip + 2 if software else None)


@pytest.mark.parametrize("seed", range(4))
def test_delivery_is_that_of_the_engine(native: Native, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(150):
        view, event = draw(rng)
        native.be(view)
        native.deliver(event)
        long, ring = bool(view.efer & r.EFER_LMA), view.cpl
        deliver(
            view, event.vector, error_code=event.error_code, software=event.software, next_rip=event.next_rip
        )
        ours = [view.rip, view.regs[r.RSP], view.rflags, view.cpl, segments(view)]
        theirs = list(native.outcome())
        if long and view.cpl == ring:
            ours[4][r.SS] = theirs[4][r.SS]
        where = f"seed {seed}, number {number}: {event}, ring {ring}"
        assert ours == theirs, where
        assert _without_rf(view.memory.ram, native.memory(), event), where


def _without_rf(ours: bytearray, theirs: bytes, event: Event) -> bool:
    """Whether memory is the same but for RF, which our delivery sets in the flags a fault pushes."""
    if ours == theirs:
        return True
    bits = np.frombuffer(ours, np.uint8) ^ np.frombuffer(theirs, np.uint8)
    return event.is_fault and bits[bits != 0].tolist() == [r.RF >> 16]


LEVELS = {"32": (22, 12), "pae": (30, 21, 12), "64": (39, 30, 21, 12)}


def page_tables(rng: random.Random, mode: str) -> tuple[FakeView, int]:
    """One random walk, and a linear address that takes it."""
    view = FakeView()
    view.cr[0] |= r.CR0_PE | r.CR0_PG | rng.choice([0, r.CR0_WP])
    view.cr[3] = 0x1000
    view.cr[4] = (0 if mode == "32" else r.CR4_PAE) | rng.choice([0, r.CR4_PSE])
    view.cr[4] |= rng.choice([0, 0, r.CR4_SMEP]) | rng.choice([0, 0, r.CR4_SMAP])
    view.efer = (r.EFER_LMA | r.EFER_LME if mode == "64" else 0) | rng.choice([0, r.EFER_NXE])
    size = 4 if mode == "32" else 8
    linear = rng.randrange(1 << (47 if mode == "64" else 32))
    if mode == "64" and rng.random() < 0.3:
        linear |= 0xFFFF_8000_0000_0000
    shifts = LEVELS[mode]
    for level, shift in enumerate(shifts):
        below = 0x9_0000 if level == len(shifts) - 1 else 0x2000 + level * 0x1000
        top = mode == "pae" and level == 0
        index = linear >> shift & (0x3FF if mode == "32" else 3 if top else 0x1FF)
        entry = below | rng.choice([1, 1, 1, 0]) if top else _entry(rng, below, size)
        view.memory.write(0x1000 + level * 0x1000 + index * size, entry.to_bytes(size, "little"))
    view.cpl = rng.choice([0, 3])
    view.rflags |= rng.choice([0, r.AC])
    return view, linear


def _entry(rng: random.Random, below: int, size: int) -> int:
    entry = below
    for bits in ((1, 1, 1, 1, 1, 0), (2, 2, 0), (4, 4, 0), (0, 0x20), (0, 0x40), (0, 0, 0, 0, 0x80)):
        entry |= rng.choice(bits)
    if size == 8:
        entry |= rng.choice([0, 0, 0, 0, 1 << 63])
        if rng.random() < 0.05:
            entry |= 1 << rng.randrange(40, 52)
    return entry | (1 << rng.randrange(12, 20) if rng.random() < 0.05 else 0)


@pytest.mark.parametrize("mode", LEVELS)
def test_page_walks_are_those_of_the_engine(native: Native, mode: str) -> None:
    """Address, fault, error code, and accessed and dirty bits."""
    rng = random.Random(mode)
    passed = 0
    for number in range(300):
        view, linear = page_tables(rng, mode)
        user, access = view.cpl == 3, rng.choice([0, STORE, FETCH])
        native.be(view)
        checks_smap = view.cr[4] & r.CR4_SMAP and not view.rflags & r.AC
        mmu = MMU_USER if user else MMU_KERNEL_SMAP if checks_smap else MMU_KERNEL_NO_SMAP
        filled = native.fill(native.cpu, linear, 0, access, mmu, True, None)
        theirs = None if filled else (native.vector.value, native.env.error_code)
        ours = None
        try:
            translate(view, linear, write=access == STORE, user=user, fetch=access == FETCH)
        except GuestFault as fault:
            ours = (fault.vector, fault.error_code)
        assert ours == theirs, (mode, number, hex(linear), access, user)
        if filled:
            passed += 1
            assert view.memory.ram == native.memory(), (mode, number)
    assert passed > 5
