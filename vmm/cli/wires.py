"""The options of `trapline run` that say where screen, keyboard and ports end on the host."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from vmm.cli.job import DEFAULT_PNG, DisplayOptions, RunOptions
from vmm.config import SerialConfig
from vmm.errors import ConfigError, UsageError

WIRES: Final = "Screen, keyboard, serial ports"
STDIO: Final = SerialConfig("stdio")
LOOPBACK: Final = "127.0.0.1"
VNC_FIRST_PORT: Final = 5900
VNC_DISPLAYS: Final = 100  # a number below this is a display, from this on a port
DISPLAY_FORMS: Final = "none, terminal, png, png:FILE, vnc, vnc:DISPLAY, vnc:PORT or vnc:HOST:PORT"

SerialOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="END",
        help="COM1, then COM2: stdio, pty, null or file:PATH. Default stdio, unless the screen is shown.",
        rich_help_panel=WIRES,
        autocompletion=lambda: ["stdio", "pty", "null", "file:"],
    ),
]
ParallelOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Connect a printer that prints on this file.", rich_help_panel=WIRES),
]
DisplayOption = Annotated[
    str | None,
    typer.Option(
        metavar="WHERE",
        help="The screen: terminal, png[:FILE], vnc[:[HOST:]PORT] or none. "
        "Default terminal when in one, else none.",
        rich_help_panel=WIRES,
        autocompletion=lambda: ["terminal", "png", "png:", "vnc", "vnc:", "none"],
    ),
]
ScreenshotOption = Annotated[
    str | None,
    typer.Option(metavar="FILE.png", help="Write the last screen as an image.", rich_help_panel=WIRES),
]


def parse_display(text: str) -> DisplayOptions:
    """Read one `--display`."""
    kind, colon, rest = text.partition(":")
    if kind in ("none", "terminal") and not colon:
        return DisplayOptions(kind=kind)  # type: ignore[arg-type]  # narrowed by the tuple above
    if kind == "png" and bool(rest) == bool(colon):
        path = Path(rest or DEFAULT_PNG)
        _check_png("--display png", path)
        return DisplayOptions(kind="png", path=str(path))
    if kind == "vnc" and bool(rest) == bool(colon):
        host, _, number = rest.rpartition(":")
        if number.isascii() and number.isdigit() and len(number) <= 5 and int(number) <= 65535:
            port = int(number)
            port += VNC_FIRST_PORT if port < VNC_DISPLAYS else 0
            return DisplayOptions(kind="vnc", host=host.strip("[]") or LOOPBACK, port=port)
        if not rest:
            return DisplayOptions(kind="vnc", host=LOOPBACK, port=VNC_FIRST_PORT)
    raise UsageError(f"--display {text!r}: expected {DISPLAY_FORMS}")


def with_display(
    options: RunOptions, asked: str | None, serial: list[str] | None, append: str | None
) -> RunOptions:
    """Return the options with the display asked for, or the one that a plain run in a terminal has."""
    if asked is not None:
        display = parse_display(asked)
    else:
        display = DisplayOptions(kind="terminal" if _is_plain(options, serial, append) else "none")
    if display.kind == "terminal":
        if not sys.stdout.isatty():
            raise UsageError("--display terminal needs a terminal on stdout")
        if _traces_here(options):
            raise UsageError("a trace and --display terminal both want this terminal; use --trace KIND=FILE")
    return msgspec.structs.replace(options, display=display)


def _is_plain(options: RunOptions, serial: list[str] | None, append: str | None) -> bool:
    """Whether a user sits at the run, in a terminal that nothing else wants.

    A kernel told to use a serial console wants it.
    """
    driven = options.expect or options.send or options.json or options.quiet or _traces_here(options)
    here = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    wanted = "stdio" in (serial or ()) or re.search(r"\bconsole=(ttyS|com|uart)", append or "")
    return here and not driven and not wanted


def _traces_here(options: RunOptions) -> bool:
    return sys.stderr.isatty() and any(trace.path is None for trace in options.traces)


def serial_ports(
    ends: list[str] | None, given: tuple[SerialConfig, ...], options: RunOptions
) -> tuple[SerialConfig, ...]:
    """Return the serial ports: as asked for, else COM1 on stdio unless something else needs it."""
    ports = tuple(SerialConfig.parse(end) for end in ends) if ends else given
    shown = options.display.kind == "terminal"
    if not ports and not shown and not options.json:
        return (STDIO,)
    if shown and STDIO in ports:
        raise UsageError("--display terminal and --serial stdio both want this terminal; give one of them")
    if options.json and STDIO in ports:
        raise UsageError("--json and --serial stdio both want standard output; give the serial port a file")
    return ports


def check_screenshot(path: Path) -> None:
    """Raise ConfigError if `--screenshot` cannot be written."""
    _check_png("--screenshot", path)


def _check_png(option: str, path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise UsageError(f"{option} {str(path)!r}: expected a name that ends in .png")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{option} {path}: no such directory")
    if path.is_dir():
        raise ConfigError(f"{option} {path}: it is a directory")
