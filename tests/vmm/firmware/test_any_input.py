"""Whatever registers and memory hold, a service ends and raises nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmm.firmware.rig import Rig, hard_disk, numbered_disk
from tests.vmm.firmware.test_boot import disc
from vmm.firmware.host import BootDrive

WORD = st.one_of(st.sampled_from([0, 1, 0xFFFF, 0x7FFF, 0x8000, 0xFFFE, 0x80, 0xE0]), st.integers(0, 0xFFFF))
SERVICES = [
    0x08,
    0x09,
    0x0B,
    0x10,
    0x11,
    0x12,
    0x13,
    0x14,
    0x15,
    0x16,
    0x17,
    0x18,
    0x19,
    0x1A,
    0x76,
    0xF0,
    0x33,
]
FUNCTIONS = [*range(0x20), 0x24, 0x41, 0x42, 0x43, 0x44, 0x47, 0x48, 0x4B, 0x86, 0x87, 0x88, 0xE8]


@settings(max_examples=200, deadline=None)
@given(
    vector=st.sampled_from(SERVICES),
    function=st.sampled_from(FUNCTIONS),
    low=st.one_of(st.sampled_from([0, 1, 2, 3, 0x20]), st.integers(0, 255)),
    words=st.lists(WORD, min_size=8, max_size=8),
    junk=st.binary(min_size=64, max_size=64),
    place=WORD,
)
def test_any_call_returns(
    vector: int, function: int, low: int, words: list[int], junk: bytes, place: int
) -> None:
    rig = Rig([hard_disk(numbered_disk(128)), BootDrive(0xE0, "cd", disc())], power_on=False)
    bx, cx, dx, si, di, bp, es, ds = words
    rig.memory.write(0x400, junk * 4)
    rig.memory.write((ds << 4) + si, junk)
    rig.memory.write((es << 4) + place, junk)
    rig.call(vector, ax=function << 8 | low, bx=bx, cx=cx, dx=dx, si=si, di=di, bp=bp, es=es, ds=ds)
    assert rig.bios.read(0, 1) == 0xFF


@settings(max_examples=60, deadline=None)
@given(
    regs=st.lists(st.integers(0, (1 << 64) - 1), min_size=16, max_size=16), base=st.integers(0, 0xFFFFFFFF)
)
def test_any_stack_is_taken_for_one(regs: list[int], base: int) -> None:
    rig = Rig([hard_disk(numbered_disk(128))], power_on=False)
    rig.view.regs[:] = regs
    for segment in rig.view.segs:
        segment.base, segment.flags = base, regs[0] & 0xFFFFFF00
    rig.bios.write(0, 4, 0xFFFFFFFF)
    assert rig.bios.read(0, 1) == 0xFF
