"""What an AIC-7870 tells a tracer of its sequencer."""

from __future__ import annotations

from devices.backplane import TraceEvent


class SequencerRunaway(TraceEvent, frozen=True):
    """A program went on and on: it was left at `pc` after `instructions`, to go on a little later."""

    adapter: str
    pc: int
    instructions: int
