"""Snare on each of its media, and the array that its self-test has to print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from guests.snare import build
from vmm.config import DriveConfig
from vmm.machine import Machine

MEDIA: Final = ("hd", "cd", "floppy", "multiboot")
LIMIT_S: Final = 120
PROMPT: Final = "snare> "
ARRAY: Final = (build.HERE / "array.txt").read_text().splitlines()
BUILDERS: Final[dict[str, Callable[[Path, str], None]]] = {
    "hd": build.make_vhd,
    "cd": build.make_cd,
    "floppy": build.make_floppy,
}
SUFFIXES: Final = {"hd": "snare.vhd", "cd": "snare.iso", "floppy": "snare.img"}


def medium(kind: str, folder: Path, command_line: str = "") -> Path:
    """Write a medium of that kind."""
    path = folder / SUFFIXES[kind]
    BUILDERS[kind](path, command_line)
    return path


def fields(kind: str, folder: Path, command_line: str = "") -> dict[str, Any]:
    """Return the fields of a MachineConfig that start Snare from a new medium of that kind."""
    if kind == "multiboot":
        return {"kernel": str(build.KERNEL), "initrd": (str(build.FILES),), "append": command_line}
    return {kind: (DriveConfig(path=str(medium(kind, folder, command_line))),)}


def array(output: bytes) -> list[str]:
    """Return the lines of the self-test."""
    return [line for line in output.decode().splitlines() if line.startswith("snare[") or "self-test" in line]


def failures(output: bytes) -> list[str]:
    """Return the elements that are not what they should be."""
    return [line for line in array(output) if "<-" in line]


class Shell:
    """A running Snare, talked with line by line over COM1 or by the keyboard."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.seen = 0

    def wait(self, text: str = PROMPT) -> str:
        """Run until a text comes; return what came since the last time."""
        start = self.seen
        wanted = text.encode()
        port = self.machine.serial[0]
        result = self.machine.run(lambda: wanted in port.since(start), timeout_s=LIMIT_S)
        output = port.since(start)
        assert result.reason == "until", (text, output)
        end = output.index(wanted) + len(wanted)
        self.seen = start + end
        return output[:end].decode().replace("\r\n", "\n")

    def type(self, line: str) -> str:
        """Give a command over the serial port; return all up to the next prompt."""
        self.machine.send_serial(f"{line}\n".encode())
        return self.wait()
