"""Targets that misbehave on purpose, so that a driver's error handling can be seen at work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HANG: Final = "hang"
ABSENT: Final = "absent"
KINDS: Final = (HANG, ABSENT)

# When a target lets go of the bus in the course of a command, where IDENTIFY allows it
NEVER: Final = "never"
BEFORE_DATA: Final = "before-data"
MID_DATA: Final = "mid-data"  # before the data, and once more in its middle
DISCONNECT_POLICIES: Final = (NEVER, BEFORE_DATA, MID_DATA)


@dataclass
class Fault:
    """What goes wrong `times` times: `hang` leaves a command unanswered, `absent` a selection.

    `target`, `operation` (the first byte of the CDB) and `lba` (bytes 2 to 5) narrow down which;
    None is any.
    """

    kind: str
    target: int | None = None
    operation: int | None = None
    lba: int | None = None
    times: int = 1

    def strikes(self, kind: str, target: int, cdb: bytes = b"") -> bool:
        """Tell whether this one hits, and use it up."""
        if self.kind != kind or self.times <= 0 or self.target not in (None, target):
            return False
        if kind == HANG and self.operation not in (None, cdb[0]):
            return False
        if kind == HANG and self.lba not in (None, int.from_bytes(cdb[2:6], "big")):
            return False
        self.times -= 1
        return True


def parse_fault(text: str) -> Fault:
    """Read `hang,id=0,op=28,lba=4096,times=1` (op hexadecimal). Raises ValueError that says what is wrong."""
    kind, *options = text.split(",")
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no fault; write {' or '.join(KINDS)}, as in hang,id=0,op=28")
    fault = Fault(kind)
    for option in options:
        key, _, value = option.partition("=")
        if key not in ("id", "op", "lba", "times") or not value:
            raise ValueError(f"{option!r} in fault {text!r}: the options are id=N, op=HEX, lba=N, times=N")
        try:
            number = int(value, 16 if key == "op" else 10)
        except ValueError:
            raise ValueError(f"{value!r} in fault {text!r} is not a number") from None
        setattr(fault, {"id": "target", "op": "operation"}.get(key, key), number)
    return fault
