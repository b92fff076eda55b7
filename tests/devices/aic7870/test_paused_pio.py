"""Whole commands by the recipe of a driver that leaves the sequencer of an AIC-7870 paused."""

from __future__ import annotations

from devices.aic7870 import registers as r
from devices.aic7870.nexus import COMMAND, DATA_IN, MESSAGE_IN, MESSAGE_OUT, STATUS
from tests.devices.aic7870.rig import Rig, inquiry, pattern, write10

ALL_OF_IT = [MESSAGE_OUT, COMMAND, STATUS, MESSAGE_IN]


def test_inquiry_by_paused_pio() -> None:
    rig = Rig()
    result = rig.command(inquiry(36), 0x1000, 36)
    assert (result.status, result.phases) == (0, [MESSAGE_OUT, COMMAND, DATA_IN, STATUS, MESSAGE_IN])
    assert rig.memory.data[0x1000:0x1024] == pattern(36)


def test_write_by_paused_pio() -> None:
    rig = Rig()
    rig.memory.data[0x3000:0x3200] = pattern(512)
    assert rig.command(write10(512), 0x3000, 512).status == 0
    assert rig.target.written == pattern(512)


def test_a_selection_that_times_out_by_paused_pio_leaves_the_bus_for_the_next() -> None:
    rig = Rig()
    assert rig.command(bytes(6), target=5).status is None
    assert rig.command(bytes(6)).status == 0


def test_check_condition_by_paused_pio() -> None:
    rig = Rig()
    assert rig.command(bytes((1, 0, 0, 0, 0, 0)))[:2] == (2, ALL_OF_IT)


def test_underrun_by_paused_pio_leaves_the_rest_in_the_counter() -> None:
    rig = Rig()
    assert rig.command(inquiry(36), 0x1000, 255).left == 255 - 36


def test_no_interrupt_is_needed_for_any_of_it() -> None:
    rig = Rig()
    rig.command(inquiry(36), 0x1000, 36)
    assert not rig.irq
    assert rig.read(r.INTSTAT) == 0
