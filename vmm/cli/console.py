"""The host's ends of the guest's wires: serial ports on stdio, files and ptys, and the text screen.

`pump` moves what is there and never waits. While COM1 is a terminal, it is raw, so that every key
reaches the guest; Ctrl-] q ends the run and Ctrl-] Ctrl-] is one Ctrl-], as with the screen.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vmm.clock import host_ns
from vmm.config import MachineConfig, SerialConfig
from vmm.errors import ConfigError

if TYPE_CHECKING:
    from vmm.machine import Machine
    from vmm.outputs import Output

STDIN: Final = 0
STDOUT: Final = 1
MONITOR_KEY: Final = 0x1D  # Ctrl-]
READ_BYTES: Final = 256
PUMP_BYTES: Final = 256 << 10  # of one port's output at a time
DRAIN_NS: Final = 2_000_000_000  # how long nobody may take what is left at the end
HINT: Final = "Ctrl-] q ends the run"


class SerialKeyboard:
    """Standard input as what is typed at a serial terminal; raw if it is a terminal."""

    def __init__(self, on_quit: Callable[[], None]) -> None:
        self._on_quit = on_quit
        self._after_monitor_key = False
        self._saved: list[Any] | None = None
        self.at_end = False
        self.is_terminal = os.isatty(STDIN)
        if self.is_terminal:
            self._saved = termios.tcgetattr(STDIN)
            tty.setraw(STDIN, termios.TCSANOW)
            raw = termios.tcgetattr(STDIN)
            raw[1] |= termios.OPOST | termios.ONLCR  # messages of ours still begin at the margin
            termios.tcsetattr(STDIN, termios.TCSANOW, raw)

    def read(self) -> bytes:
        """Return what was typed since the last call, without what is meant for us."""
        if self.at_end or not select.select([STDIN], [], [], 0)[0]:
            return b""
        data = os.read(STDIN, READ_BYTES)
        self.at_end = not data
        return self._without_commands(data) if self.is_terminal else data

    def _without_commands(self, data: bytes) -> bytes:
        kept = bytearray()
        for byte in data:
            if not self._after_monitor_key and byte == MONITOR_KEY:
                self._after_monitor_key = True
                continue
            if self._after_monitor_key and byte in b"qQ":
                self._on_quit()
            elif not self._after_monitor_key or byte == MONITOR_KEY:
                kept.append(byte)
            self._after_monitor_key = False
        return bytes(kept)

    def close(self) -> None:
        """Give the terminal back as it was. Idempotent."""
        saved, self._saved = self._saved, None
        if saved is not None:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, saved)


class PortEnd:
    """The host's end of a serial port, or of the parallel port, which receives nothing."""

    def __init__(
        self, config: SerialConfig, output: Output, receive: Callable[[bytes], None], name: str
    ) -> None:
        self._source, self._receive = output, receive
        self._where = "standard output" if config.kind == "stdio" else f"{name} file:{config.path}"
        self._slave = self._output = -1
        self.input = -1
        self.written = 0
        if config.kind == "stdio":
            self._output = os.dup(STDOUT)
        elif config.kind == "file":
            self._output = _open_file(config.path or "", self._where)
        elif config.kind == "pty":
            self.input, self._slave = os.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self.input, False)
            self._output = self.input
            print(f"trapline: {name} is {os.ttyname(self._slave)}", file=sys.stderr, flush=True)

    def pump(self) -> None:
        """Move new output of the guest out as far as it is taken, and from a pty input in."""
        self._move()
        if self.input >= 0:
            with contextlib.suppress(BlockingIOError):
                self._receive(os.read(self.input, READ_BYTES))

    def drain(self) -> None:
        """Move what is left, for as long as somebody takes it."""
        give_up = host_ns() + DRAIN_NS
        while self._output >= 0 and self.written < self._source.end and host_ns() < give_up:
            if self._move():
                give_up = host_ns() + DRAIN_NS
            else:
                select.select([], [self._output], [], 0.05)

    def _move(self) -> int:
        """Write what is new in pieces that cannot block, `PUMP_BYTES` at the most; return how many."""
        output, moved = self._source, 0
        if self._output < 0 or output.end <= self.written:
            return 0
        data = output.since(self.written)
        self.written = output.end - len(data)
        while moved < min(len(data), PUMP_BYTES) and select.select([], [self._output], [], 0)[1]:
            try:
                moved += os.write(self._output, data[moved : moved + select.PIPE_BUF])
            except BlockingIOError:  # nobody reads the pty, and the guest does not wait for them
                moved = len(data)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise ConfigError(f"{self._where}: {error.strerror}") from None
        self.written += moved
        return moved

    def close(self) -> None:
        """Close what was opened. Idempotent."""
        for descriptor in {self._output, self.input, self._slave} - {-1}:
            os.close(descriptor)
        self._output = self.input = self._slave = -1


class Console:
    """All of a run's ends on the host. `quit` becomes true when the user asks to end the run."""

    def __init__(self, machine: Machine, config: MachineConfig, display: str, screenshot: str | None) -> None:
        ports = config.serial
        self._machine = machine
        self._cleanup = contextlib.ExitStack()
        self.quit = False
        self._ends: list[PortEnd] = []
        for number, port in enumerate(ports):
            receive = partial(machine.send_serial, number=number)
            self._add_end(PortEnd(port, machine.serial[number], receive, f"COM{number + 1}"))
        if config.parallel is not None:
            printer = SerialConfig("file", config.parallel)
            self._add_end(PortEnd(printer, machine.parallel, _ignore, "LPT1"))
        self._stdio = next((number for number, port in enumerate(ports) if port.kind == "stdio"), None)
        self._keyboard = self._open_keyboard() if self._stdio is not None else None
        self._pump_screen = self._open_screen(screenshot) if display == "terminal" else None

    def _add_end(self, end: PortEnd) -> None:
        self._cleanup.callback(end.close)
        self._ends.append(end)
        if end.input >= 0:
            self._machine.wait_fds.append(end.input)

    @property
    def shown(self) -> bool:
        """Whether the user has seen anything of the guest: the screen, or serial output on stdout."""
        return self._pump_screen is not None or (
            self._stdio is not None and self._ends[self._stdio].written > 0
        )

    def pump(self) -> None:
        """Move bytes, keys and the screen, without waiting."""
        for end in self._ends:
            end.pump()
        if self._pump_screen is not None:
            self._pump_screen()
        keyboard = self._keyboard
        if keyboard is not None and not keyboard.at_end:
            if typed := keyboard.read():
                self._machine.send_serial(typed, self._stdio or 0)
            if keyboard.at_end:
                self._machine.wait_fds.remove(STDIN)

    def drain(self) -> None:
        """Move what is left of the guest's output, unless nobody takes it."""
        self.pump()
        for end in self._ends:
            end.drain()

    def close(self) -> None:
        """Restore the terminal and close files. Idempotent."""
        self._cleanup.close()

    def _ask_to_quit(self) -> None:
        self.quit = True

    def _open_keyboard(self) -> SerialKeyboard:
        keyboard = SerialKeyboard(self._ask_to_quit)
        self._cleanup.callback(keyboard.close)
        self._machine.wait_fds.append(STDIN)
        if keyboard.is_terminal:
            print(
                f"trapline: this terminal is COM{(self._stdio or 0) + 1}; {HINT}", file=sys.stderr, flush=True
            )
        return keyboard

    def _open_screen(self, screenshot: str | None) -> Callable[[], None]:
        """Show the guest's screen on stdout, and read keys if stdin is a terminal."""
        from vmm.display.keyboard_input import TerminalKeyboard
        from vmm.display.terminal import TerminalDisplay

        machine = self._machine
        display = self._cleanup.enter_context(TerminalDisplay(machine.board.vga, sys.stdout, host_ns))
        if not os.isatty(STDIN):
            return display.refresh

        def take_picture() -> None:
            path = screenshot or "trapline.png"
            machine.screenshot(path)
            display.message(f"written: {path}")

        keyboard = TerminalKeyboard(
            STDIN,
            machine.board.keyboard.type_keys,
            {"q": self._ask_to_quit, "s": take_picture},
            lambda key: display.message(f"Ctrl-] {key}: no such command; q quits, s takes a picture"),
        )
        self._cleanup.enter_context(keyboard)
        machine.wait_fds.append(STDIN)

        def pump() -> None:
            keyboard.poll()
            display.refresh()

        return pump


def _ignore(_data: bytes) -> None:
    """What is received where nothing can be sent."""


def _open_file(path: str, where: str) -> int:
    try:
        return os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from None
