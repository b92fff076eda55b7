"""What the monitor's prompt can do: one method a command, found by any unambiguous beginning of its name."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from devices.scancodes import KEYS
from vmm.cli import report, sequencer_command
from vmm.cli.devices_table import device_lines, device_names
from vmm.cli.vmcb_command import DOES, MOST_WORDS, USAGE, vmcb_lines, vmcb_words
from vmm.trace.table import print_exits

if TYPE_CHECKING:
    from vmm.machine import Machine

COLUMNS: Final = 79
NS_PER_S: Final = 1e9
SHORT_NAMES: Final = {
    "ctrl": "left_ctrl", "control": "left_ctrl", "alt": "left_alt", "shift": "left_shift", "del": "delete",
    "ins": "insert", "pgup": "page_up", "pgdn": "page_down", "escape": "esc", "return": "enter",
    "altgr": "right_alt", "win": "left_meta", "sysrq": "print_screen", "print": "print_screen",
    "bs": "backspace",
}  # fmt: skip


class _Command(NamedTuple):
    usage: str
    does: str
    call: Callable[[list[str]], list[str]]
    complete: Callable[[], list[str]] = list
    most_words: int = 1  # after its name, if it takes any


class MachineMonitor:
    """Commands about one machine. `quit` ends the run; `picture` is where screenshots go by default."""

    def __init__(self, machine: Machine, on_quit: Callable[[], None], picture: str) -> None:
        self._machine, self._on_quit, self._picture = machine, on_quit, picture
        self._commands = {
            "quit": _Command("", "end the run", self._quit),
            "reset": _Command("", "press the reset button", self._reset),
            "pause": _Command("", "stop the processor and the guest's time", self._pause),
            "continue": _Command("", "go on", self._continue),
            "screenshot": _Command("[FILE]", f"write the screen as a PNG, by default {picture}", self._shoot),
            "registers": _Command("", "the processor's registers", self._registers),
            "devices": _Command(
                "[NAME]",
                "the board's devices, or one in full",
                self._devices,
                lambda: device_names(machine.board),
            ),
            "exits": _Command("", "what has left the guest so far", self._exits),
            "send": _Command(
                "KEYS", "strike keys together, such as ctrl-alt-f2", self._send, lambda: [*SHORT_NAMES, *KEYS]
            ),
            "keys": _Command("", "the names that send takes", self._keys),
            "ctrl-alt-del": _Command("", "strike these three", self._ctrl_alt_del),
            "vmcb": _Command(USAGE, DOES, self._vmcb, vmcb_words, MOST_WORDS),
            "sequencer": _Command(
                sequencer_command.USAGE,
                sequencer_command.DOES,
                self._sequencer,
                sequencer_command.sequencer_words,
                sequencer_command.MOST_WORDS,
            ),
            "nmi": _Command("", "pulse the processor's NMI line", self._nmi),
            "help": _Command("", "this list", self._help),
        }  # fmt: skip

    def run(self, line: str) -> list[str]:
        """Carry out a line."""
        word, *arguments = line.split()
        command = self._commands[self._found(word.lower())]
        most = command.most_words if command.usage else 0
        if len(arguments) > most:
            raise ValueError(f"{line}: too many words; expected {word} {command.usage}".rstrip())
        return command.call(arguments)

    def complete(self, line: str) -> list[str]:
        """Return the lines that this one may become."""
        word, space, rest = line.lstrip().partition(" ")
        if not space:
            return [name for name in self._commands if name.startswith(word.lower())]
        try:
            command = self._commands[self._found(word.lower())]
        except ValueError:
            return []
        head, dash, last = rest.rpartition("-") if command.usage == "KEYS" else ("", "", rest)
        return [f"{word} {head}{dash}{name}" for name in command.complete() if name.startswith(last)]

    def _found(self, word: str) -> str:
        if word in self._commands:
            return word
        found = [name for name in self._commands if name.startswith(word)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{word}: that may be {', '.join(found)}; write more of it")
        raise ValueError(f"{word}: no such command; help lists them")

    def _quit(self, _arguments: list[str]) -> list[str]:
        self._on_quit()
        return []

    def _reset(self, _arguments: list[str]) -> list[str]:
        self._machine.reset()
        return ["reset"]

    def _pause(self, _arguments: list[str]) -> list[str]:
        self._machine.pause()
        return [f"paused at {self._machine.now_ns() / NS_PER_S:.3f} s"]

    def _continue(self, _arguments: list[str]) -> list[str]:
        self._machine.resume()
        return ["running"]

    def _shoot(self, arguments: list[str]) -> list[str]:
        path = arguments[0] if arguments else self._picture
        if not path.lower().endswith(".png"):
            path += ".png"
        try:
            self._machine.screenshot(path)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}; name another file") from None
        return [f"written: {path}"]

    def _registers(self, _arguments: list[str]) -> list[str]:
        text = io.StringIO()
        report.print_registers(self._machine.registers(), text)
        return text.getvalue().splitlines()

    def _devices(self, arguments: list[str]) -> list[str]:
        return device_lines(self._machine.board, arguments[0] if arguments else None)

    def _exits(self, _arguments: list[str]) -> list[str]:
        text = io.StringIO()
        print_exits(self._machine.exits, text, width=COLUMNS)
        return [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]

    def _send(self, arguments: list[str]) -> list[str]:
        if not arguments or not arguments[0].strip("-"):
            raise ValueError("send: which keys? For example send ctrl-alt-f2; keys lists the names")
        names = [SHORT_NAMES.get(name, name) for name in arguments[0].lower().split("-") if name]
        for name in names:
            if name not in KEYS:
                raise ValueError(f"send: no key is named {name!r}; keys lists the names")
        self._machine.board.keyboard.type_keys(tuple(names))
        return [f"sent {arguments[0]}"]

    def _keys(self, _arguments: list[str]) -> list[str]:
        return _columns([*SHORT_NAMES, *KEYS])

    def _ctrl_alt_del(self, _arguments: list[str]) -> list[str]:
        return self._send(["ctrl-alt-del"])

    def _vmcb(self, arguments: list[str]) -> list[str]:
        return vmcb_lines(self._machine, arguments)

    def _sequencer(self, arguments: list[str]) -> list[str]:
        return sequencer_command.sequencer_lines(self._machine, arguments)

    def _nmi(self, _arguments: list[str]) -> list[str]:
        self._machine.nmi()
        return ["NMI"]

    def _help(self, _arguments: list[str]) -> list[str]:
        rows = [
            (f"{name} {command.usage}".rstrip(), command.does) for name, command in self._commands.items()
        ]
        lines = [f"{usage:<18} {does}" for usage, does in rows]
        return [*lines, "Any clear beginning will do. Ctrl-] sends one to the guest; Esc goes back to it."]


def _columns(words: list[str]) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > COLUMNS:
            lines.append("")
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]
