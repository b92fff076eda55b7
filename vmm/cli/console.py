"""The host's ends of the guest's wires: serial ports on stdio, files and ptys, and the text screen.

`pump` moves what is there and never waits. While stdin is a terminal it is raw, so that every key
reaches the guest; Ctrl-A x ends the run, Ctrl-A Ctrl-A is one Ctrl-A.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vmm.config import SerialConfig
from vmm.errors import ConfigError

if TYPE_CHECKING:
    from vmm.machine import Machine

ESCAPE: Final = 0x01  # Ctrl-A
READ_BYTES: Final = 256
ENTER_SCREEN: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
LEAVE_SCREEN: Final = "\x1b[?25h\x1b[?1049l"
HINT: Final = "Ctrl-A x ends the run"


class Keyboard:
    """Standard input: raw if it is a terminal. `quit` becomes true on Ctrl-A x."""

    def __init__(self) -> None:
        self._descriptor = 0
        self._open = True
        self._escaped = False
        self._saved: list[Any] | None = None
        self.quit = False
        self.is_terminal = os.isatty(self._descriptor)
        if self.is_terminal:
            self._saved = termios.tcgetattr(self._descriptor)
            tty.setraw(self._descriptor, termios.TCSANOW)
            self._keep_newlines()

    def _keep_newlines(self) -> None:
        attributes = termios.tcgetattr(self._descriptor)
        attributes[1] |= termios.OPOST | termios.ONLCR  # our own messages still begin at the margin
        termios.tcsetattr(self._descriptor, termios.TCSANOW, attributes)

    def read(self) -> bytes:
        """Return what was typed since the last call, without the escapes meant for us."""
        if not self._open or not select.select([self._descriptor], [], [], 0)[0]:
            return b""
        data = os.read(self._descriptor, READ_BYTES)
        self._open = bool(data)
        return self._without_escapes(data) if self.is_terminal else data

    def _without_escapes(self, data: bytes) -> bytes:
        kept = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte in b"xX":
                    self.quit = True
                elif byte == ESCAPE:
                    kept.append(byte)
            elif byte == ESCAPE:
                self._escaped = True
            else:
                kept.append(byte)
        return bytes(kept)

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._saved is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)
            self._saved = None


class SerialEnd:
    """The host's end of one serial port."""

    def __init__(self, number: int, config: SerialConfig) -> None:
        self._number = number
        self._sent = 0
        self._input = self._output = self._slave = -1
        if config.kind == "stdio":
            self._output = os.dup(1)
        elif config.kind == "file":
            self._output = _open_file(config.path or "")
        elif config.kind == "pty":
            self._input, self._slave = os.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self._input, False)
            self._output = self._input
            print(f"trapline: COM{number + 1} is {os.ttyname(self._slave)}", file=sys.stderr, flush=True)

    @property
    def written(self) -> int:
        """Bytes that went out so far."""
        return self._sent

    def pump(self, machine: Machine) -> None:
        """Move new output of the guest out, and from a pty input in."""
        data = machine.serial_output(self._number)[self._sent :]
        if data and self._output >= 0:
            self._sent += self._write(data)
        if self._input >= 0 and select.select([self._input], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                machine.send_serial(os.read(self._input, READ_BYTES), self._number)

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._output, data)
        except BlockingIOError:  # nobody reads the pty: the guest does not wait for them
            return len(data) if self._input >= 0 else 0

    def close(self) -> None:
        """Close what was opened."""
        for descriptor in {self._output, self._input, self._slave} - {-1}:
            os.close(descriptor)
        self._output = self._input = self._slave = -1


class TerminalScreen:
    """Shows the guest's text screen in the host's terminal, redrawing the lines that changed."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        sys.stdout.write(ENTER_SCREEN)

    def draw(self, lines: list[str]) -> None:
        """Make the terminal show `lines`."""
        if lines == self._shown:
            return
        if len(lines) != len(self._shown):
            self._shown = [""] * len(lines)
            sys.stdout.write(f"\x1b[2J\x1b[{len(lines) + 1};1H\x1b[2m{HINT}\x1b[0m")
        for row, (line, shown) in enumerate(zip(lines, self._shown, strict=True), start=1):
            if line != shown:
                sys.stdout.write(f"\x1b[{row};1H{line}\x1b[K")
        sys.stdout.flush()
        self._shown = lines

    def close(self) -> None:
        """Return to what the terminal showed before."""
        sys.stdout.write(LEAVE_SCREEN)
        sys.stdout.flush()


class Console:
    """All of a run's ends on the host."""

    def __init__(self, ports: tuple[SerialConfig, ...], display: str) -> None:
        self._ends = [SerialEnd(number, port) for number, port in enumerate(ports)]
        self._stdio = next((number for number, port in enumerate(ports) if port.kind == "stdio"), None)
        self._screen = TerminalScreen() if display == "terminal" else None
        self._keyboard = Keyboard() if self._screen or self._stdio is not None else None
        if self._keyboard and self._keyboard.is_terminal and not self._screen:
            print(
                f"trapline: COM{(self._stdio or 0) + 1} is this terminal; {HINT}", file=sys.stderr, flush=True
            )

    @property
    def quit(self) -> bool:
        """Whether the user asked to end the run."""
        return self._keyboard is not None and self._keyboard.quit

    @property
    def shown(self) -> bool:
        """Whether the user has seen anything of the guest: serial output on stdio, or the screen."""
        return self._screen is not None or (self._stdio is not None and self._ends[self._stdio].written > 0)

    def pump(self, machine: Machine) -> None:
        """Move bytes, keys and the screen, without waiting."""
        for end in self._ends:
            end.pump(machine)
        if self._screen is not None:
            self._screen.draw(machine.screen_text())
        typed = self._keyboard.read() if self._keyboard is not None else b""
        if typed and self._screen is not None:
            machine.send_keys(typed.decode("latin-1").replace("\r", "\n").replace("\x7f", "\b"))
        elif typed:
            machine.send_serial(typed, self._stdio or 0)

    def close(self) -> None:
        """Restore the terminal and close files."""
        if self._screen is not None:
            self._screen.close()
        if self._keyboard is not None:
            self._keyboard.close()
        for end in self._ends:
            end.close()


def _open_file(path: str) -> int:
    try:
        return os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        raise ConfigError(f"serial port file:{path}: {error.strerror}") from None
