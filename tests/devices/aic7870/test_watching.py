"""Watching the sequencer: single steps, stops, and one command from end to end."""

from __future__ import annotations

import pytest

from devices.aic7870 import registers as r
from devices.aic7870.assembler import assemble
from devices.aic7870.firmware_names import names_of
from devices.aic7870.watching import (
    KEPT,
    CommandWatch,
    Stop,
    Watch,
    lines_of,
    parse_stop,
    phase_of,
    program_of,
)
from devices.backplane import TraceEvent
from tests.devices.aic7870.firmware import firmware
from tests.devices.aic7870.mini_driver import BUFFER, MiniDriver, Scb, read10
from tests.devices.aic7870.rig import Rig

COUNT = """
        clr   SCRATCH
again:  inc   SCRATCH
        mov   A, SCRATCH
        cmp   A, 0x20 jne again
wait:   jmp   wait
"""
WAIT = 4


def counting(stops: tuple[Stop, ...] = ()) -> tuple[Rig, Watch]:
    """A rig whose sequencer counts to 32 as soon as it is let go, and waits."""
    rig = Rig()
    rig.write(r.SEQCTL, 0x91)
    rig.write(r.SEQADDR, 0, 2)
    for word in assemble(COUNT):
        for at in range(4):
            rig.write(r.SEQRAM, word >> 8 * at & 0xFF)
    rig.write(r.SEQCTL, 0x90)
    rig.write(r.SEQADDR, 0, 2)
    watch = Watch(rig.chip, stops)
    rig.chip.sequencer.watcher = watch
    return rig, watch


def test_a_program_is_what_was_downloaded() -> None:
    rig, _ = counting()
    assert program_of(rig.chip) == list(assemble(COUNT))


def test_it_is_held_at_an_address_and_goes_on_when_released() -> None:
    rig, watch = counting((2,))
    rig.write(r.HCNTRL, 0)
    assert (watch.held, rig.chip.sequencer.pc, rig.read(r.SCRATCH_RAM)) == (2, 2, 1)
    rig.read(r.HCNTRL)
    assert rig.chip.sequencer.pc == 2
    watch.release()
    rig.chip.settle()
    assert (watch.held, rig.read(r.SCRATCH_RAM)) == (2, 2)


def test_it_makes_as_many_steps_as_it_is_given() -> None:
    rig, watch = counting((0,))
    rig.write(r.HCNTRL, 0)
    watch.release(2)
    rig.chip.settle()
    assert (watch.held, [step.pc for step in watch.steps]) == (2, [0, 1])
    watch.release(1)
    rig.chip.settle()
    assert watch.held == 3
    assert rig.chip.sequencer.accum == 1


def test_what_it_executes_while_it_waits_is_left_out() -> None:
    rig, watch = counting()
    rig.write(r.HCNTRL, 0)
    rig.read(r.INTSTAT)
    rig.read(r.INTSTAT)
    assert all(step.pc != WAIT for step in watch.steps)
    assert KEPT <= len(watch.steps) <= 2 * KEPT


def test_a_watched_program_does_what_it_does_unwatched() -> None:
    rig, _ = counting()
    rig.write(r.HCNTRL, 0)
    assert rig.read(r.SCRATCH_RAM) == 0x20


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("02a", 0x2A), ("L02a", 0x2A), ("0x2a", 0x2A), ("2Ah", 0x2A), ("1ff", 0x1FF), ("data-in", "data-in"),
        ("Message Out", "message-out"), ("bus-free", "bus-free"),
    ],
)  # fmt: skip
def test_stops_are_addresses_or_phases(text: str, stop: Stop) -> None:
    assert parse_stop(text) == stop


@pytest.mark.parametrize("text", ["", "200", "-1", "data", "zz"])
def test_what_is_no_stop_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_stop(text)


# --- the firmware of Debian's driver -------------------------------------------------------------


class Tap:
    """Gives a chip's events to a watch."""

    def __init__(self) -> None:
        self.watches: list[CommandWatch] = []

    def emit(self, event: TraceEvent) -> None:
        for watch in self.watches:
            watch.emit(event)


def watched(operation: int | None, *stops: Stop) -> tuple[MiniDriver, CommandWatch]:
    tap = Tap()
    rig = MiniDriver(firmware(), tracer=tap)
    rig.start()
    rig.ready()
    watch = CommandWatch(rig.chip, operation, stops)
    tap.watches.append(watch)
    rig.chip.sequencer.watcher = watch
    return rig, watch


@pytest.mark.oracle
def test_a_read_goes_through_its_phases() -> None:
    rig, watch = watched(0x28)
    rig.run(Scb(bytes((0x12, 0, 0, 0, 36, 0)), [(BUFFER, 36)]))
    rig.run(Scb(read10(100, 2), [(BUFFER, 1024)]))
    phases = list(dict.fromkeys(step.phase for step in watch.steps))
    assert watch.command is not None
    assert watch.command.name == "READ 10"
    assert watch.status is not None
    assert phases == ["bus-free", "message-out", "command", "data-in", "status", "message-in"]
    assert max(step.stcnt for step in watch.steps) == 1024
    assert {step.haddr for step in watch.steps} >= {BUFFER, BUFFER + 1024}
    assert len(watch.steps) <= watch.status.instructions
    assert watch.ended


@pytest.mark.oracle
def test_a_command_that_disconnects_has_a_time_in_which_it_waits() -> None:
    rig, watch = watched(0x28)
    rig.chip.bus.peripherals[0].policy = "before-data"
    rig.run(Scb(read10(100, 2), [(BUFFER, 1024)]))
    waits = [
        later.time_ns - earlier.time_ns
        for earlier, later in zip(watch.steps, watch.steps[1:], strict=False)
        if later.time_ns != earlier.time_ns
    ]
    assert len(waits) == 1
    assert waits[0] >= 100_000


@pytest.mark.oracle
def test_a_break_on_a_phase_holds_the_command_there() -> None:
    rig, watch = watched(0x28, "status")
    rig.queue(Scb(read10(100, 2), [(BUFFER, 1024)]))
    assert watch.held == "status"
    assert (phase_of(rig.chip), lines_of(rig.chip)) == ("status", ".BR..")
    assert watch.status is None
    watch.stops.clear()
    watch.release()
    rig.chip.settle()
    assert rig.interrupt() == r.CMDCMPLT


@pytest.mark.oracle
def test_the_driver_s_names_are_known_by_its_program() -> None:
    assert names_of(firmware().words)[0x4C] == "KERNEL_QINPOS"
    assert not names_of(list(assemble(COUNT)))
