"""Sequencer code as Python functions: one function for a path through the program.

A path begins where the sequencer comes by often, follows jumps and branches forward and calls with
their returns, and leaves where the sequencer has not gone on before. What it keeps in local variables (the
accumulator, the indices, the flags, the stack) is stored before it leaves and before any access
that could look at it or end the run, so that the results are the interpreter's to the bit. How
instructions become lines of Python is in `translation.py`, how registers are read and written in
`accesses.py`, and what is found to be one thing in several instructions in `moves.py`.

A path is dropped when the sequencer RAM changes. Text that was translated once, for another
adapter or before the same program was downloaded again, is not translated again.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from devices.aic7870.instruction import Instruction
from devices.aic7870.register_file import RegisterFile
from devices.aic7870.translation import Translation

if TYPE_CHECKING:
    from devices.aic7870.sequencer import Sequencer

CODE_CACHE: Final = 4096

Compiled = Callable[[], tuple[int, int, int]]
"""A path: returns the next PC, how many instructions were executed, and why it left."""


class Compiler:
    """Makes paths for one sequencer."""

    __slots__ = ("_ends", "_registers", "_sequencer")

    def __init__(self, sequencer: Sequencer, registers: RegisterFile, ends: frozenset[int] | None) -> None:
        self._sequencer = sequencer
        self._registers = registers
        self._ends = ends

    def compile(self, fetch: Callable[[int], Instruction], pc: int, sides: Set[tuple[int, bool]]) -> Compiled:
        """Return the path that begins at `pc`; `fetch` gives the instruction at an address.

        It takes those sides of branches that are in `sides`: address, and whether it is taken there.
        """
        registers = self._registers
        translation = Translation(registers, self._ends, fetch, sides)
        translation.follow(pc)
        names = {"S": self._sequencer, "F": registers, "P": registers.plain, "M": registers.words,
                 "R": registers.readers, "W": registers.writers}  # fmt: skip
        for function in sorted(translation.path.functions):
            names[function] = _function(registers, function[0], int(function[1:]))
        made: dict[str, Any] = {}
        exec(_code(translation.text(tuple(names))), made)  # noqa: S102 - the text is made from numbers alone
        return made["make"](**names)  # type: ignore[no-any-return]


def _function(registers: RegisterFile, kind: str, address: int) -> Callable[..., Any] | None:
    if kind == "t":
        return registers.keeping[address].then
    if kind == "g":
        return registers.queues[address].take
    if kind == "p":
        return registers.queues[address].put
    return registers.readers[address] if kind == "r" else registers.writers[address]


@lru_cache(maxsize=CODE_CACHE)
def _code(text: str) -> CodeType:
    return compile(text, "<sequencer path>", "exec")
