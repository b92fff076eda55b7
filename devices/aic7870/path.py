"""Lines of Python for a path through a sequencer program, and what they keep in local variables.

The function made of them sees S, the sequencer; F, the register file; P, its plain bytes, and M, the
double words they are; R and W, its readers and writers; and `r12`, `w34`, `t56`, `g78`, `p90` for the
functions of the registers it names.
"""

from __future__ import annotations

from copy import copy
from typing import Final

from devices.aic7870.instruction import ADDRESS_BITS, ADDRESS_WIDTH, BYTE, STACK_DEPTH
from devices.aic7870.register_file import SCRATCH
from devices.aic7870.sequencer_registers import ACCUM, DINDEX, SINDEX

KEPT: Final = frozenset((ACCUM, SINDEX, DINDEX))

Value = int | str
"""What a byte is at this place of the path: known, or the name of a local variable."""


class ReturnStack:
    """The return addresses at this place of a path, which knows those of the calls it has followed.

    Entries are addresses or, inverted, places in the stack as it is stored. Nothing of it costs
    anything before it has to be stored.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Something else may change the stack now; it has been stored."""
        self._entries = [~place for place in range(STACK_DEPTH)]
        self._known: dict[int, int] = {}

    def push(self, address: int) -> None:
        """A call; the oldest address falls off."""
        self._entries = [address, *self._entries[:-1]]

    def pop(self) -> Value:
        """A return: the newest address goes round to be the oldest. Return it, or an expression for it."""
        newest, *older = self._entries
        self._entries = [*older, newest]
        if newest >= 0:
            return newest
        return self._known.get(~newest, f"S.return_stack >> {~newest * ADDRESS_WIDTH} & {ADDRESS_BITS}")

    def lines(self) -> list[str]:
        """Return the line that stores it, if it is not as it was stored."""
        entries = self._entries
        if entries == [~place for place in range(STACK_DEPTH)]:
            return []
        terms: list[str] = []
        known = at = 0
        while at < STACK_DEPTH:
            first, length = entries[at], 1
            if first >= 0:
                known |= first << at * ADDRESS_WIDTH
            else:
                while at + length < STACK_DEPTH and entries[at + length] == first - length:
                    length += 1
                bits = (1 << length * ADDRESS_WIDTH) - 1
                terms.append(f"(S.return_stack >> {~first * ADDRESS_WIDTH} & {bits}) << {at * ADDRESS_WIDTH}")
            at += length
        return [f"S.return_stack = {' | '.join([*terms, str(known)])}"]

    def stored(self) -> None:
        """It has been stored."""
        known = {
            at: entry if entry >= 0 else self._known.get(~entry) for at, entry in enumerate(self._entries)
        }
        self.forget()
        self._known = {at: address for at, address in known.items() if address is not None}


class Path:
    """The lines so far, and what the locals stand for at their end."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.functions: set[str] = set()
        self.stack = ReturnStack()
        self._names = 0
        self._kept: dict[int, Value] = {}
        self._stale: set[int] = set()  # kept, and newer than what is stored
        self._zero: str | None = None
        self._carry: str | None = None
        self._known: dict[int, Value] = {}  # plain bytes that have been read or written
        self._possible: dict[str, int] = {}  # which bits a local variable may have, if not all
        self.quiet: set[tuple[int, int]] = set()  # plain bytes and bits of them known to be clear

    def fork(self) -> Path:
        """Return a path that goes on from here, without the lines so far."""
        other = copy(self)
        other.lines = []
        other._kept, other._stale = dict(self._kept), set(self._stale)
        other._known, other.quiet = dict(self._known), set(self.quiet)
        other.stack = copy(self.stack)
        return other

    def emit(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def name(self, expression: str, possible: int = BYTE) -> str:
        """Add a local variable for `expression`, which has no but the `possible` bits; return its name."""
        name = f"v{self._names}"
        self._names += 1
        self.emit(f"{name} = {expression}")
        self._possible[name] = possible
        return name

    def possible(self, value: Value) -> int:
        """Return which bits a value may have."""
        return value if isinstance(value, int) else self._possible.get(value, BYTE)

    def exclude(self, value: Value, bits: int) -> None:
        """Know that a value has none of `bits`: with them the path has been left."""
        if isinstance(value, str):
            self._possible[value] = self.possible(value) & ~bits

    def byte(self, address: int, possible: int) -> Value:
        """Return a plain byte, read if it is not known."""
        if address not in self._known:
            self._known[address] = self.name(f"P[{address}]", possible)
        return self._known[address]

    def put(self, address: int, value: Value) -> None:
        """Store a plain byte."""
        self.emit(f"P[{address}] = {value}")
        self._known[address] = value
        self.quiet -= {(at, bits) for at, bits in self.quiet if at == address}

    def is_quiet(self, address: int, bits: int) -> bool:
        """Tell whether `bits` of a plain byte are known to be clear."""
        if (address, bits) in self.quiet:
            return True
        return address in self._known and not self.possible(self._known[address]) & bits

    def forget(self) -> None:
        """Any byte may have been changed."""
        self._known = {}
        self.quiet = set()

    def changed(self, first: int, length: int) -> None:
        """Lines before this have stored other bytes."""
        for address in range(first, first + length):
            self._known.pop(address, None)
        self.quiet -= {(at, bits) for at, bits in self.quiet if first <= at < first + length}

    def called(self) -> None:
        """A function has been called, and may have changed what does not lie in scratch RAM."""
        self._known = {address: value for address, value in self._known.items() if address in SCRATCH}
        self.quiet = set()

    def function(self, kind: str, address: int) -> str:
        """Return the name of a function, which is called next.

        `r` and `w` are a register's reader and writer, `t` is what follows a write, and `g` and `p` are
        how a queue gives and is put several bytes.
        """
        name = f"{kind}{address}"
        self.functions.add(name)
        self.called()
        return name

    def value(self, register: int) -> Value:
        """Return what the accumulator or an index is."""
        if register not in self._kept:
            self._kept[register] = self.name(f"P[{register}]")
        return self._kept[register]

    def index(self, register: int) -> int | None:
        """Return what the accumulator or an index is, if that is known."""
        value = self._kept.get(register)
        return value if isinstance(value, int) else None

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

    def store(self, indent: str = "") -> None:
        """Add the lines that store what is newer here; the path goes on as before."""
        lines = [f"P[{register}] = {self._kept[register]}" for register in sorted(self._stale)]
        if self._zero is not None:
            lines.append(f"S.zero = {self._zero}")
        if self._carry is not None:
            lines.append(f"S.carry = {self._carry}")
        self.lines += [indent + line for line in (*lines, *self.stack.lines())]

    def settle(self) -> None:
        """Store everything: what follows on this path need not do so again."""
        self.store()
        self._stale.clear()
        self._zero = self._carry = None
        self.stack.stored()

    def leave(self, pc: Value, executed: Value, why: Value, indent: str = "") -> None:
        """Add the lines that end the path here."""
        self.store(indent)
        self.emit(f"{indent}return {pc}, {executed}, {why}")
