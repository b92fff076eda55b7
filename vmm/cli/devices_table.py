"""The board's devices as lines of text: name, ports, interrupts, and the registers that say most."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vmm.bus import PORTS

if TYPE_CHECKING:
    from vmm.board import Board
    from vmm.bus import PortBus

COLUMNS: Final = 79
SHOWN: Final = 100  # elements of a list or bytes in full


def device_names(board: Board) -> list[str]:
    """Return what `device_lines` takes."""
    return [device.name.replace(" ", "-") for device in board.devices]


def device_lines(board: Board, name: str | None = None) -> list[str]:
    """Return the table, or everything about the device of that name; ValueError if there is none."""
    if name is not None:
        found = next(
            (d for d in board.devices if d.name.replace(" ", "-").lower().startswith(name.lower())), None
        )
        if found is None:
            raise ValueError(f"devices: none is named {name}; there are {', '.join(device_names(board))}")
        return [f"{found.name}:", *(f"  {key} = {_full(value)}" for key, value in _fields(found.save()))]
    ports = _ports(board.bus)
    irqs = board.irq_numbers()
    lines = [f"{'device':<14} {'IRQ':<6} {'ports':<22} state"]
    for device in board.devices:
        claimed = [place for owner, place in ports if owner.startswith(device.name)]
        numbers = ",".join(map(str, irqs.get(device.name, ())))
        state = " ".join(
            f"{key}={_short(value)}" for key, value in _fields(device.save()) if isinstance(value, int | str)
        )
        lines.append(f"{device.name:<14} {numbers:<6} {' '.join(claimed):<22} {state}"[:COLUMNS].rstrip())
    return lines


def _ports(bus: PortBus) -> list[tuple[str, str]]:
    """Return owner and place of every range of ports that are claimed."""
    found = []
    for owner, run in groupby(range(PORTS), bus.owner):
        if owner is not None:
            ports = list(run)
            found.append((owner, f"{ports[0]:X}h" if len(ports) == 1 else f"{ports[0]:X}h-{ports[-1]:X}h"))
    return found


def _fields(state: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - each chip has a structure of its own
    return [(key, value) for key, value in msgspec.structs.asdict(state).items() if key != "version"]


def _short(value: int | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:x}h" if isinstance(value, int) and value > 9 else str(value)


def _full(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, msgspec.Struct):
        return " ".join(f"{key}={_full(part)}" for key, part in _fields(value))
    if isinstance(value, bytes):
        return value.hex(" ") if len(value) <= SHOWN else f"{len(value)} bytes"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_full, value[:SHOWN])) + ")"
    return _short(value) if isinstance(value, int | str) else str(value)
