"""Work on bytes that lie side by side, found in a sequencer program so that it can be one.

This chip has no instruction that moves a block: its firmware repeats MOV DINDIR, SINDIR, or MOV DFDAT,
SINDIR, with the indices going up. Where those are known it is known which bytes move, and they are a slice.
Nor can it count further than a byte: ADD and ADC of the bytes of a double word are one addition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.accesses import OWN
from devices.aic7870.instruction import ADC, ADD, AND, BYTE, WORDS, Instruction
from devices.aic7870.path import Path
from devices.aic7870.register_file import Keeping, RegisterFile

LEAST: Final = 3  # bytes: two are as well moved singly
LONG: Final = 4  # bytes of a double word


class Move(NamedTuple):
    """`length` bytes: from `source` up or from the queue there, to `destination` up or to the queue there."""

    length: int
    source: int
    destination: int
    takes: bool
    puts: bool
    by_sindex: bool
    by_dindex: bool
    returns: bool

    def mirrors(self, keeping: dict[int, Keeping]) -> list[tuple[int, int, int]]:
        """Return where else bytes go: the first address, which of the bytes is the first, how many."""
        found: list[tuple[int, int, int]] = []
        for at in range(self.length):
            also = keeping[self.destination + at].also if self.destination + at in keeping else None
            if also is None:
                continue
            if found and found[-1][0] + found[-1][2] == also and found[-1][1] + found[-1][2] == at:
                found[-1] = (*found[-1][:2], found[-1][2] + 1)
            else:
                found.append((also, at, 1))
        return found


class Moves:
    """Looks for them."""

    def __init__(self, registers: RegisterFile, fetch: Callable[[int], Instruction]) -> None:
        self._registers = registers
        self._fetch = fetch

    def found(self, pc: int, path: Path, room: int) -> Move | None:
        """Return the move of several bytes that begins at `pc`, of at most `room` instructions."""
        first = self._fetch(pc)
        source = path.index(reg.SINDEX) if first.source == reg.SINDIR else first.source
        destination = path.index(reg.DINDEX) if first.destination == reg.DINDIR else first.destination
        if source is None or destination is None:
            return None
        queues = self._registers.queues
        takes, puts = source in queues, destination in queues
        count, returns = 0, False
        while count < room and pc + count < WORDS and not returns:
            instruction = self._fetch(pc + count)
            at_source = source if takes else source + count
            at_destination = destination if puts else destination + count
            if not self._is_move(instruction, first, at_source, at_destination):
                break
            if puts and instruction.returns:
                break  # where it goes on is not a step further
            if not (self._gives(at_source) and self._keeps(at_destination)):
                break
            count, returns = count + 1, instruction.returns
        move = Move(count, source, destination, takes, puts, first.source == reg.SINDIR,
                    first.destination == reg.DINDIR, returns)  # fmt: skip
        return move if count >= LEAST and self._is_whole(move) else None

    def is_long_sum(self, pc: int, path: Path) -> bool:
        """Tell whether at `pc` a number is added to a double word of plain bytes."""
        first = self._fetch(pc)
        address = first.destination
        if first.operation != ADD or not first.immediate or first.source != address or address % LONG:
            return False
        if path.index(reg.ACCUM) != 0 or pc + LONG > WORDS or first.returns or not self._are_plain(address):
            return False
        return all(
            self._fetch(pc + at)[:4] == (ADC, 0, address + at, address + at)
            and (at == LONG - 1 or not self._fetch(pc + at).returns)
            for at in range(1, LONG)
        )

    def _are_plain(self, first: int) -> bool:
        registers = self._registers
        return first not in OWN and not any(
            registers.readers[address] or registers.writers[address] for address in range(first, first + LONG)
        )

    def _is_move(self, instruction: Instruction, first: Instruction, source: int, destination: int) -> bool:
        """Tell whether an instruction moves a byte on, and by an index if the first does."""
        if instruction.operation != AND or instruction.immediate != BYTE:
            return False
        return (
            instruction.source == (reg.SINDIR if first.source == reg.SINDIR else source)
            and instruction.destination == (reg.DINDIR if first.destination == reg.DINDIR else destination)
            and max(source, destination) <= BYTE
        )

    def _gives(self, address: int) -> bool:
        """Tell whether nothing but a byte comes of reading a register."""
        registers = self._registers
        return address not in OWN and (registers.readers[address] is None or address in registers.queues)

    def _keeps(self, address: int) -> bool:
        """Tell whether a register keeps all of what is written to it, or nearly always no more."""
        registers = self._registers
        if address in OWN:
            return False
        keeping = registers.keeping.get(address)
        if keeping is not None:
            return keeping.mask == BYTE and not keeping.acts and (keeping.then is None or keeping.when != ())
        return registers.writers[address] is None or address in registers.queues

    def _is_whole(self, move: Move) -> bool:
        """Tell whether no byte of it changes another, or whether the bytes may be stored."""
        if (move.takes and (move.puts or move.by_sindex)) or (move.puts and move.by_dindex):
            return False
        if move.puts:
            return True
        written = set(range(move.destination, move.destination + move.length))
        for first, _, length in move.mirrors(self._registers.keeping):
            written |= set(range(first, first + length))
        looked_at = {at for at, _ in self.conditions(move)}
        if not move.takes:
            looked_at |= set(range(move.source, move.source + move.length))
        return not written & looked_at

    def conditions(self, move: Move) -> list[tuple[int, int]]:
        """Return the plain bytes, and bits in them, with which storing does more."""
        found: dict[tuple[int, int], None] = {}
        if not move.puts:
            for address in range(move.destination, move.destination + move.length):
                keeping = self._registers.keeping.get(address)
                if keeping is not None and keeping.then is not None:
                    found |= dict.fromkeys(keeping.when)
        return list(found)
