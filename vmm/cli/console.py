"""All the host's ends of the guest's wires: ports, the terminal, and the screen wherever it is shown.

`pump` moves what is there and never waits. While the terminal is the guest's, as its screen and keyboard
or as COM1, it is raw, so that every key reaches the guest; Ctrl-] opens the monitor's prompt.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmm.cli.job import DEFAULT_PNG, DisplayOptions
from vmm.cli.monitor import MachineMonitor
from vmm.cli.port_end import PortEnd
from vmm.cli.prompt import Prompt
from vmm.cli.report import print_note
from vmm.cli.serial_terminal import SerialTerminal
from vmm.clock import host_ns
from vmm.config import MachineConfig, SerialConfig
from vmm.display.keys import Token, chord_of
from vmm.errors import ConfigError

if TYPE_CHECKING:
    from vmm.display.keyboard_input import TerminalKeyboard
    from vmm.display.png_file import PngFile
    from vmm.display.terminal import TerminalDisplay
    from vmm.display.vnc import VncServer
    from vmm.machine import Machine

STDIN: Final = 0
HINT: Final = "Ctrl-] opens the monitor's prompt; there, quit ends the run"
STATUS: Final = "Ctrl-] monitor"


class Console:
    """All of a run's ends on the host. `quit` becomes true when the user asks to end the run."""

    def __init__(
        self, machine: Machine, config: MachineConfig, display: DisplayOptions, screenshot: str | None
    ) -> None:
        self._machine = machine
        self._cleanup = contextlib.ExitStack()
        self.quit = False
        self._ends: list[PortEnd] = []
        self._monitor = MachineMonitor(machine, self._ask_to_quit, screenshot or DEFAULT_PNG)
        self._screen: TerminalDisplay | None = None
        self._keyboard: TerminalKeyboard | None = None
        self._png: PngFile | None = None
        self._vnc: VncServer | None = None
        try:
            self._open_ports(config)
            self._open_display(display)
            self._serial_terminal = self._open_serial_terminal()
        except BaseException:
            self.close()
            raise

    def _open_ports(self, config: MachineConfig) -> None:
        for number, port in enumerate(config.serial):
            receive = partial(self._machine.send_serial, number=number)
            self._add_end(PortEnd(port, self._machine.serial[number], receive, f"COM{number + 1}"))
        if config.parallel is not None:
            printer = SerialConfig("file", config.parallel)
            self._add_end(PortEnd(printer, self._machine.parallel, _ignore, "LPT1"))
        self._stdio = next(
            (number for number, port in enumerate(config.serial) if port.kind == "stdio"), None
        )

    def _add_end(self, end: PortEnd) -> None:
        self._cleanup.callback(end.close)
        self._ends.append(end)
        if end.input >= 0:
            self._machine.wait_fds.append(end.input)

    @property
    def shown(self) -> bool:
        """Whether the user still sees what the guest sent last: serial output on stdout."""
        return self._stdio is not None and self._ends[self._stdio].written > 0

    def pump(self) -> None:
        """Move bytes, keys and the screen, without waiting."""
        self._pump_terminal()
        held = self._stdio if self._serial_terminal is not None and self._serial_terminal.is_busy else None
        for number, end in enumerate(self._ends):
            if number != held:
                end.pump()
        if self._screen is not None:
            self._screen.refresh()
        if self._png is not None:
            self._write_png()
        if self._vnc is not None:
            self._vnc.pump()

    def _pump_terminal(self) -> None:
        for keys in (self._keyboard, self._serial_terminal):
            if keys is None:
                continue
            before = keys.at_end
            keys.poll()
            if keys.at_end and not before:
                self._machine.wait_fds.remove(STDIN)

    def drain(self) -> None:
        """Move what is left of the guest's output, unless nobody takes it."""
        self.pump()
        for end in self._ends:
            end.drain()
        if self._png is not None:
            self._write_png(force=True)

    def close(self) -> None:
        """Restore the terminal and close files. Idempotent."""
        self._cleanup.close()

    def _ask_to_quit(self) -> None:
        self.quit = True

    def _open_serial_terminal(self) -> SerialTerminal | None:
        if self._stdio is None:
            return None
        terminal = SerialTerminal(partial(self._machine.send_serial, number=self._stdio), self._monitor)
        self._cleanup.callback(terminal.close)
        self._machine.wait_fds.append(STDIN)
        if terminal.is_terminal:
            _tell(f"this terminal is COM{self._stdio + 1}; {HINT}")
        return terminal

    def _open_display(self, display: DisplayOptions) -> None:
        vga = self._machine.board.vga
        if display.kind == "terminal":
            self._open_screen()
        elif display.kind == "png":
            from vmm.display.png_file import PngFile

            self._png = PngFile(vga, Path(display.path), host_ns)
        elif display.kind == "vnc":
            from vmm.display.vnc import VncServer

            board, fds = self._machine.board, self._machine.wait_fds
            where, inputs = (display.host, display.port), (board.keyboard, board.mouse)
            self._vnc = VncServer(where, vga, inputs, fds, host_ns, _tell)
            self._cleanup.callback(self._vnc.close)

    def _open_screen(self) -> None:
        """Show the guest's screen on stdout, and read keys if stdin is a terminal."""
        from vmm.display.keyboard_input import RawTerminal, TerminalKeyboard
        from vmm.display.terminal import TerminalDisplay

        reads_keys = os.isatty(STDIN)
        if reads_keys:
            self._cleanup.callback(RawTerminal(STDIN).close)
        screen = TerminalDisplay(
            self._machine.board.vga, sys.stdout, host_ns, status=self._status if reads_keys else lambda: ""
        )
        self._screen = self._cleanup.enter_context(screen)
        if reads_keys:
            self._keyboard = TerminalKeyboard(STDIN, Prompt(self._monitor, screen, self._type).take)
            self._machine.wait_fds.append(STDIN)
            screen.message("the guest has the keyboard")

    def _type(self, token: Token) -> None:
        """Strike the keys that a token of the terminal stands for."""
        if chord := chord_of(token):
            self._machine.board.keyboard.type_keys(chord)
        elif self._screen is not None:
            self._screen.message(f"no key of a US keyboard types {token!r}")

    def _status(self) -> str:
        sent = self._machine.serial[0].end
        parts = [
            "paused" if self._machine.paused else "",
            STATUS,
            "COM1 has output: --serial stdio shows it" if sent else "",
        ]
        return " · ".join(filter(None, parts))

    def _write_png(self, *, force: bool = False) -> None:
        assert self._png is not None
        try:
            self._png.refresh(force=force)
        except OSError as error:
            raise ConfigError(f"--display png: {error.filename}: {error.strerror}") from None


def _tell(text: str) -> None:
    print_note(text, sys.stderr)


def _ignore(_data: bytes) -> None:
    """What is received where nothing can be sent."""
