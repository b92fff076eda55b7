"""What one line can say of each chip's state: the registers a reader asks about first.

A chip that has no line of its own here shows the plain numbers of its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devices.apic.messages import MASKED
from devices.pci.config import BAR0, BAR_IO, COMMAND, DEVICE_ID, VENDOR_ID
from devices.pit8254 import INPUT_HZ
from vmm.scsi_board import adapter_name, function_name

if TYPE_CHECKING:
    from vmm.board import Board

BARS: Final = 6
BAR_FLAGS: Final = 0xF
DIVISOR_TO_BAUD: Final = 115200
RTC_REGISTERS: Final = (0x0A, 0x0B, 0x0C)


def state_line(board: Board, name: str, state: Any) -> str:  # noqa: ANN401 - each chip has a structure
    """Return what is worth knowing of `state`, which the device of that name has saved."""
    if name == board.vga.name:
        return _screen(board)
    if name in (medium := media(board)):
        what, path = medium[name].split(" ", 1)
        return f"{what} {Path(path).name}"
    for number, fitting in enumerate(board.adapters):
        if name == adapter_name(number):
            return f"{fitting.kind} {_each('targets', sorted(fitting.targets))}"
        if name == function_name(number):
            return _pci_function(state)
    describe = _LINES.get(name)
    return _plain(state) if describe is None else describe(state)


def media(board: Board) -> dict[str, str]:
    """Return what is in each SCSI drive, by the drive's name: a word for its kind, and the image's path."""
    return {
        fitting.targets[target].name: medium
        for fitting in board.adapters
        for target, medium in fitting.media.items()
    }


def number(value: int | str) -> str:
    """Return a number, hexadecimal from 10 on, or a truth."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:x}h" if isinstance(value, int) and value > 9 else str(value)


def fields(state: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    """Return names and values, without the version."""
    return [(key, value) for key, value in msgspec.structs.asdict(state).items() if key != "version"]


def _plain(state: Any) -> str:  # noqa: ANN401
    return " ".join(f"{key}={number(value)}" for key, value in fields(state) if isinstance(value, int | str))


def _some(state: Any, *names: str) -> str:  # noqa: ANN401
    return " ".join(f"{name}={number(getattr(state, name))}" for name in names)


def _each(name: str, values: Iterable[int]) -> str:
    return f"{name}={','.join(map(number, values))}"


def _screen(board: Board) -> str:
    vga = board.vga
    if vga.is_dark:
        return "dark"
    if not vga.is_graphics:
        text = vga.text_screen()
        return f"text {text.columns}x{text.rows}"
    from vmm.display.screenshot import draw

    height, width, _ = draw(vga).shape
    return f"graphics {width}x{height}"


def _pic(state: Any) -> str:  # noqa: ANN401
    halves = (state.master, state.slave)
    names = ("imr", "irr", "isr")
    return " ".join(_each(name, (getattr(half, name) for half in halves)) for name in names)


def _pit(state: Any) -> str:  # noqa: ANN401
    modes = (counter.control >> 1 & 7 for counter in state.counters)
    reload = state.counters[0].reload
    rate = f"IRQ 0 at {INPUT_HZ / reload:.1f} Hz" if reload > 0 and state.counters[0].loaded else "idle"
    return f"{_each('mode', modes)} {rate}"


def _rtc(state: Any) -> str:  # noqa: ANN401
    return " ".join(f"{register:X}={number(state.ram[register])}" for register in RTC_REGISTERS)


def _keyboard(state: Any) -> str:  # noqa: ANN401
    return f"{_some(state, 'scanning', 'leds')} waiting={len(state.typed)}"


def _mouse(state: Any) -> str:  # noqa: ANN401
    return f"{_some(state, 'enabled', 'identity')} rate={state.rate}"


def _i8042(state: Any) -> str:  # noqa: ANN401
    return f"command={number(state.ram[0])} output_port={number(state.output_port)}"


def _system_control(state: Any) -> str:  # noqa: ANN401
    return _some(state, "a20", "port61")


def _parallel(state: Any) -> str:  # noqa: ANN401
    return _some(state, "data", "control")


def _uart(state: Any) -> str:  # noqa: ANN401
    speed = f"{DIVISOR_TO_BAUD // state.divisor} baud" if state.divisor else "no speed set"
    return f"{speed} {_some(state, 'ier', 'lcr', 'mcr')}"


def _dma(state: Any) -> str:  # noqa: ANN401
    masks = (controller.mask for controller in state.controllers)
    open_ones = [4 * half + bit for half, mask in enumerate(masks) for bit in range(4) if not mask >> bit & 1]
    return "open=" + (",".join(map(str, open_ones)) or "none")


def _fdc(state: Any) -> str:  # noqa: ANN401
    tracks = [drive.cylinder for drive in state.drives]
    return f"{_some(state, 'dor', 'rate')} {_each('cylinder', tracks) if tracks else 'no drive'}"


def _ide(state: Any) -> str:  # noqa: ANN401
    drives = [number(drive.transfer.status) if drive else "none" for drive in state.drives]
    return f"master={drives[0]} slave={drives[1]} selected={state.selected}"


def _bus_master(state: Any) -> str:  # noqa: ANN401
    names = ("command", "status")
    return " ".join(_each(name, (getattr(channel, name) for channel in state.channels)) for name in names)


def _pci_function(state: Any) -> str:  # noqa: ANN401
    config = state.config
    vendor, device, command = (
        int.from_bytes(config[at : at + 2], "little") for at in (VENDOR_ID, DEVICE_ID, COMMAND)
    )
    bars = [int.from_bytes(config[at : at + 4], "little") for at in range(BAR0, BAR0 + 4 * BARS, 4)]
    placed = [f"{bar & (~3 if bar & BAR_IO else ~BAR_FLAGS):X}h" for bar in bars if bar & ~BAR_FLAGS]
    place = f" at {','.join(placed)}" if placed else ""
    return f"{vendor:04x}:{device:04x} command={number(command)}{place}"


def _local_apic(state: Any) -> str:  # noqa: ANN401
    serving = sum(bits.bit_count() for bits in state.isr)
    return f"{_some(state, 'svr', 'tpr')} timer={number(state.timer.initial)} serving={serving}"


def _io_apic(state: Any) -> str:  # noqa: ANN401
    pins = [str(pin) for pin, entry in enumerate(state.entries) if not entry & MASKED]
    return "open=" + (",".join(pins) or "none")


_LINES: Final[dict[str, Callable[[Any], str]]] = {
    "pic": _pic, "pit": _pit, "rtc": _rtc, "keyboard": _keyboard, "mouse": _mouse, "i8042": _i8042,
    "com1": _uart, "com2": _uart, "lpt1": _parallel, "system_control": _system_control,
     "dma": _dma, "fdc": _fdc, "ide0": _ide, "ide1": _ide,
    "ide bus master": _bus_master, "i440fx": _pci_function, "piix3": _pci_function,
    "piix3 ide": _pci_function, "display": _pci_function, "boot rom card": _pci_function,
    "local apic": _local_apic, "io apic": _io_apic,
}  # fmt: skip
