"""Whether a sequencer only waits: it has come back to where it was, and nothing has changed on the way.

Such a loop would go round for ever. Indices may change on the way, if they are the same again in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devices.aic7870.sequencer_registers import ACCUM, DINDEX

if TYPE_CHECKING:
    from devices.aic7870.sequencer import Sequencer

Key = tuple[int, int, int, bytes, bool, int, int]
"""All that decides how the sequencer goes on: the epoch, and what has no part in it."""
MOST_SEEN: Final = 4096  # keys kept of one run
FIRST_STEADY: Final = DINDEX + 1  # above the indices


class Waiting:
    """What has been seen at the jumps back of a run; `epoch` is that of the last one."""

    __slots__ = ("_idle", "_plain", "_seen", "_sequencer", "epoch")

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._seen: set[Key] = set()
        self._plain = b""
        self._idle: Key | None = None  # where it was found waiting
        self.epoch = 0

    def forget(self) -> None:
        """The sequencer is another one now, or has another program."""
        self._idle = None

    def begin(self) -> bool:
        """Begin a run; tell whether the sequencer was found waiting, and nothing has changed since."""
        key = self._key()
        self.epoch, self._plain, self._seen = key[0], key[3], {key}
        return key == self._idle

    def again(self) -> bool:
        """Tell whether the sequencer waits, at a jump back."""
        epoch, last = self._sequencer.registers.epoch, self._plain
        if epoch != self.epoch:
            self.epoch = epoch
            return False
        key = self._key()
        plain = self._plain = key[3]
        if plain != last and (plain[:ACCUM], plain[FIRST_STEADY:]) != (last[:ACCUM], last[FIRST_STEADY:]):
            self._seen.clear()
        elif key in self._seen:
            self._idle = key
            return True
        if len(self._seen) == MOST_SEEN:
            self._seen.clear()
        self._seen.add(key)
        return False

    def _key(self) -> Key:
        sequencer = self._sequencer
        registers = sequencer.registers
        plain = bytes(registers.plain)
        return (
            registers.epoch,
            sequencer.pc,
            sequencer.return_stack,
            plain,
            sequencer.zero,
            sequencer.carry,
            sequencer.function1,
        )
