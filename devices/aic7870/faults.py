"""Targets that misbehave on purpose, so that a driver's error handling can be seen at work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from devices.scsi.commands import decode

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

    `target`, `operation` (the first byte of the CDB) and `lba` (the first block it names) narrow down
    which; None is any.
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
        if kind == HANG and self.lba not in (None, decode(cdb).lba):
            return False
        self.times -= 1
        return True


class _Option(NamedTuple):
    """An option of a fault: the field it sets, the base of its number, and which numbers it takes."""

    field: str
    base: int
    allowed: range
    shown: str


_TIMES: Final = _Option("times", 10, range(1, 1 << 31), "1 or more")
_ID: Final = _Option("target", 10, range(16), "0 to 15")
_OPTIONS: Final = {
    HANG: {
        "id": _ID,
        "op": _Option("operation", 16, range(0x100), "00 to ff"),
        "lba": _Option("lba", 10, range(1 << 64), "a block"),
        "times": _TIMES,
    },
    ABSENT: {"id": _ID, "times": _TIMES},
}


def parse_fault(text: str) -> Fault:
    """Read `hang,id=0,op=28,lba=4096,times=1` (op hexadecimal). Raises ValueError that says what is wrong."""
    kind, *options = text.split(",")
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no fault; write {' or '.join(KINDS)}, as in hang,id=0,op=28")
    fault, known = Fault(kind), _OPTIONS[kind]
    for given in options:
        key, _, value = given.partition("=")
        if key not in known or not value:
            forms = ", ".join(f"{name}={'HEX' if o.base == 16 else 'N'}" for name, o in known.items())
            raise ValueError(f"{given!r} in fault {text!r}: the options are {forms}")
        option = known[key]
        try:
            number = int(value, option.base)
        except ValueError:
            raise ValueError(f"{value!r} in fault {text!r} is not a number") from None
        if number not in option.allowed:
            raise ValueError(f"{given} in fault {text!r}: expected {option.shown}")
        setattr(fault, option.field, number)
    return fault
