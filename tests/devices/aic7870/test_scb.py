"""SCB memory and queues of an AIC-7870 (90h, 9Ah-9Eh, A0h-BFh)."""

from __future__ import annotations

from devices.aic7870 import registers as r
from tests.devices.aic7870.rig import Rig


def test_scbptr_decodes_four_bits_and_reads_back_eight() -> None:
    rig = Rig()
    rig.write(r.SCBPTR, 0x13)
    rig.write(r.SCB, 0x5A)
    assert rig.read(r.SCBPTR) == 0x13
    rig.write(r.SCBPTR, 3)
    assert rig.read(r.SCB) == 0x5A


def test_each_of_sixteen_pages_keeps_32_bytes() -> None:
    rig = Rig()
    for page in range(16):
        rig.write(r.SCBPTR, page)
        for at in range(32):
            rig.write(r.SCB + at, 16 * page + at & 0xFF)
    for page in reversed(range(16)):
        rig.write(r.SCBPTR, page)
        assert [rig.read(r.SCB + at) for at in range(32)] == [16 * page + at & 0xFF for at in range(32)]


def test_the_drivers_count_of_scbs_is_16() -> None:
    rig = Rig()
    for number in range(255):
        rig.write(r.SCBPTR, number)
        rig.write(r.SCB, number)
        if rig.read(r.SCB) != number:
            break
        rig.write(r.SCBPTR, 0)
        if rig.read(r.SCB) != 0:
            break
    assert number == 16


def test_scbauto_counts_host_accesses_of_the_window() -> None:
    rig = Rig()
    rig.write(r.SCBCNT, r.SCBAUTO | 30)
    for value in (1, 2, 3):
        rig.write(r.SCB, value)
    assert rig.read(r.SCBCNT) == r.SCBAUTO | 1
    rig.write(r.SCBCNT, 0)
    assert [rig.read(r.SCB + at) for at in (30, 31, 0)] == [1, 2, 3]
    rig.write(r.SCBCNT, r.SCBAUTO | 30)
    assert [rig.read(r.SCB) for _ in range(3)] == [1, 2, 3]


def test_the_sequencer_does_not_count() -> None:
    rig = Rig()
    rig.write(r.SCBCNT, r.SCBAUTO | 5)
    rig.chip.registers.write(r.SCB + 1, 0x77)
    assert rig.chip.registers.read(r.SCB + 1) == 0x77
    assert rig.read(r.SCBCNT) == r.SCBAUTO | 5


def test_qinfifo_is_a_queue_of_sixteen() -> None:
    rig = Rig()
    for number in range(20):
        rig.write(r.QINFIFO, number)
    assert rig.read(r.QINCNT) == 16
    assert [rig.chip.registers.read(r.QINFIFO) for _ in range(16)] == list(range(16))
    assert rig.read(r.QINCNT) == 0


def test_qoutfifo_reads_ff_when_empty() -> None:
    rig = Rig()
    rig.chip.registers.write(r.QOUTFIFO, 9)
    assert rig.read(r.QOUTCNT) == 1
    assert [rig.read(r.QOUTFIFO), rig.read(r.QOUTFIFO)] == [9, 0xFF]


def test_chiprst_empties_the_queues() -> None:
    rig = Rig()
    rig.write(r.QINFIFO, 1)
    rig.chip.registers.write(r.QOUTFIFO, 1)
    rig.write(r.HCNTRL, r.CHIPRST)
    assert (rig.read(r.QINCNT), rig.read(r.QOUTCNT)) == (0, 0)
