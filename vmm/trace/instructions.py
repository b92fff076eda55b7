"""The instruction trace: which instructions are wanted, and what each changed.

An instruction's effect is known when the next one starts. The recorder therefore holds one back,
and compares the registers at its start with those at the start of whatever runs next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from devices.backplane import Tracer
from vmm.errors import UsageError
from vmm.trace.events import Instruction

NOT_A_CHANGE: Final = frozenset({"rip", "eip", "ip"})  # every instruction moves it


class InstructionFilter(msgspec.Struct, frozen=True):
    """Which instructions to record: any of some linear address ranges, rings, and at most how many.

    Ranges include both ends; an empty selection wants everything.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    cpl: frozenset[int] = frozenset()
    limit: int | None = None

    def wants(self, linear: int, cpl: int) -> bool:
        """Whether an instruction at `linear`, run at `cpl`, is to be recorded."""
        if self.cpl and cpl not in self.cpl:
            return False
        return not self.ranges or any(first <= linear <= last for first, last in self.ranges)


def parse_range(text: str) -> tuple[int, int]:
    """Read `FIRST-LAST`, `FIRST+LENGTH` or one address; numbers as in C, so 0x for hexadecimal."""
    head, sign, tail = text, "", ""
    for candidate in "-+":
        if candidate in text:
            head, sign, tail = text.partition(candidate)
            break
    try:
        first = int(head, 0)
        last = first if not sign else int(tail, 0) if sign == "-" else first + int(tail, 0) - 1
    except ValueError:
        last = first = -1
    if not 0 <= first <= last:
        raise UsageError(f"address range {text!r}: expected FIRST-LAST or FIRST+LENGTH, such as 0x7c00+512")
    return first, last


class InstructionRecorder:
    """Is told of every instruction about to run; emits those wanted, with their effect."""

    def __init__(self, tracer: Tracer, wanted: InstructionFilter) -> None:
        self._tracer = tracer
        self._wanted = wanted
        self._left = wanted.limit if wanted.limit is not None else -1
        self._held: Instruction | None = None
        self._before: Mapping[str, int] = {}

    @property
    def finished(self) -> bool:
        """Whether the limit is reached and the engine need not call any more."""
        return self._left == 0 and self._held is None

    def wants(self, linear: int, cpl: int) -> bool:
        """Whether `step` would hold this instruction; cheap, for the engine's hook."""
        return self._left != 0 and self._wanted.wants(linear, cpl)

    @property
    def holds_one(self) -> bool:
        """Whether an instruction waits for the registers after it."""
        return self._held is not None

    def step(self, linear: int, about_to_run: Instruction, registers: Mapping[str, int]) -> None:
        """Emit the instruction held, if any, and hold this one if it is wanted.

        `registers` are the values at this moment: after the one held, before `about_to_run`.
        """
        self.finish(registers)
        if self.wants(linear, about_to_run.cpl):
            self._left -= 1
            self._held, self._before = about_to_run, dict(registers)

    def finish(self, registers: Mapping[str, int]) -> None:
        """Emit the instruction held, if any: the run ended or another instruction starts."""
        held, self._held = self._held, None
        if held is not None:
            changed = changes(self._before, registers)
            self._tracer.emit(msgspec.structs.replace(held, changed=changed))


def changes(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the registers of `after` that differ, the instruction pointer apart."""
    return {
        name: value for name, value in after.items() if name not in NOT_A_CHANGE and before.get(name) != value
    }
