"""The board's devices as lines of text: name, ports, interrupts, and the registers that say most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vmm.bus import PORTS
from vmm.cli.device_states import fields, media, number, state_line

if TYPE_CHECKING:
    from vmm.board import Board
    from vmm.bus import PortBus

COLUMNS: Final = 79
SHOWN: Final = 256  # elements of a list or bytes in full
HEAD: Final = ("device", "IRQ", "pin", "ports (hex)", "state")


def device_names(board: Board) -> list[str]:
    """Return what `device_lines` takes."""
    return [device.name.replace(" ", "-") for device in board.devices]


def device_lines(board: Board, name: str | None = None) -> list[str]:
    """Return the table, or everything about the device of that name; ValueError if there is none."""
    if name is not None:
        names = {device.name.replace(" ", "-"): device for device in board.devices}
        found = names.get(name) or next((names[n] for n in names if n.lower().startswith(name.lower())), None)
        if found is None:
            raise ValueError(f"devices: none is named {name}; there are {', '.join(device_names(board))}")
        head = f"{found.name}: {media(board).get(found.name, '')}".rstrip()
        return [head, *(line for field in fields(found.save()) for line in _in_full(*field))]
    ports, irqs, pins = _ports(board.bus), board.irq_numbers(), board.pin_numbers()
    rows = [
        (device.name, _list(irqs.get(device.name)), _list(pins.get(device.name)),
         " ".join(place for owner, place in ports if owner.startswith(device.name)),
         state_line(board, device.name, device.save()))
        for device in board.devices
    ]  # fmt: skip
    return [_row(*row, pins=bool(pins)) for row in (HEAD, *rows)]


def _row(name: str, irqs: str, pin: str, ports: str, state: str, *, pins: bool) -> str:
    numbers = f"{irqs:<4} {pin:<5}" if pins else f"{irqs:<4}"
    return f"{name:<14} {numbers} {ports:<19} {state}"[:COLUMNS].rstrip()


def _list(numbers: Sequence[int] | None) -> str:
    """Return the numbers; several in a row as a range."""
    if numbers and len(numbers) > 2:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers or ()))


def _ports(bus: PortBus) -> list[tuple[str, str]]:
    """Return owner and place of every range of ports that are claimed."""
    found = []
    for owner, run in groupby(range(PORTS), bus.owner):
        if owner is not None:
            ports = list(run)
            found.append((owner, f"{ports[0]:X}" if len(ports) == 1 else f"{ports[0]:X}-{ports[-1]:X}"))
    return found


def _in_full(key: str, value: Any) -> list[str]:  # noqa: ANN401 - whatever a chip's state is made of
    return wrap(f"{key} = {_full(value)}", COLUMNS, initial_indent="  ", subsequent_indent="      ")


def _full(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, msgspec.Struct):
        return " ".join(f"{key}={_full(part)}" for key, part in fields(value))
    if isinstance(value, bytes):
        return value.hex(" ") if len(value) <= SHOWN else f"{len(value)} bytes"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_full, value[:SHOWN])) + ")"
    return number(value) if isinstance(value, int | str) else str(value)
