"""Lines of Python for a path through a sequencer program, and what they keep in local variables.

The function made of them sees S, the sequencer; F, the register file; P, its plain bytes; R and W,
its readers and writers; and `r12`, `w34` for the functions of the registers it names.
"""

from __future__ import annotations

from typing import Final

from devices.aic7870.sequencer_registers import ACCUM, DINDEX, SINDEX

KEPT: Final = frozenset((ACCUM, SINDEX, DINDEX))

Value = int | str
"""What a byte is at this place of the path: known, or the name of a local variable."""


class Path:
    """The lines so far, and what the locals stand for at their end."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.functions: set[str] = set()
        self.returns: list[int] = []
        self._names = 0
        self._kept: dict[int, Value] = {}
        self._stale: set[int] = set()  # kept, and newer than what is stored
        self._zero: str | None = None
        self._carry: str | None = None
        self._stack: str | None = None
        self._stack_stale = False

    def emit(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def name(self, expression: str) -> str:
        """Add a local variable for `expression`; return its name."""
        name = f"v{self._names}"
        self._names += 1
        self.emit(f"{name} = {expression}")
        return name

    def function(self, kind: str, address: int) -> str:
        """Return the name of the reader (`r`) or writer (`w`) of a register."""
        name = f"{kind}{address}"
        self.functions.add(name)
        return name

    def value(self, register: int) -> Value:
        """Return what the accumulator or an index is."""
        if register not in self._kept:
            self._kept[register] = self.name(f"P[{register}]")
        return self._kept[register]

    def keep(self, register: int, value: Value) -> None:
        """Change the accumulator or an index."""
        self._kept[register] = value
        self._stale.add(register)

    def stored(self, register: int, value: Value) -> None:
        """The accumulator or an index is `value`, and a line before this has stored it."""
        self._kept[register] = value
        self._stale.discard(register)

    @property
    def zero(self) -> str:
        """Expression for the ZERO flag."""
        return self._zero if self._zero is not None else "S.zero"

    @zero.setter
    def zero(self, expression: str) -> None:
        self._zero = expression

    @property
    def carry(self) -> str:
        """Expression for the CARRY flag."""
        return self._carry if self._carry is not None else "S.carry"

    @carry.setter
    def carry(self, expression: str) -> None:
        self._carry = expression

    @property
    def stack(self) -> str:
        """Name of the variable that holds the stack."""
        if self._stack is None:
            self._stack = self.name("S.return_stack")
        return self._stack

    @stack.setter
    def stack(self, name: str) -> None:
        self._stack = name
        self._stack_stale = True

    def forget_stack(self) -> None:
        """Something else may change the stack now; it has been stored."""
        self._stack = None
        self.returns.clear()

    def store(self, indent: str = "") -> None:
        """Add the lines that store what is newer here; the path goes on as before."""
        lines = [f"P[{register}] = {self._kept[register]}" for register in sorted(self._stale)]
        if self._zero is not None:
            lines.append(f"S.zero = {self._zero}")
        if self._carry is not None:
            lines.append(f"S.carry = {self._carry}")
        if self._stack_stale:
            lines.append(f"S.return_stack = {self._stack}")
        self.lines += [indent + line for line in lines]

    def settle(self) -> None:
        """Store everything: what follows on this path need not do so again."""
        self.store()
        self._stale.clear()
        self._zero = self._carry = None
        self._stack_stale = False

    def leave(self, pc: Value, executed: int, why: Value, indent: str = "") -> None:
        """Add the lines that end the path here."""
        self.store(indent)
        self.emit(f"{indent}return {pc}, {executed}, {why}")
