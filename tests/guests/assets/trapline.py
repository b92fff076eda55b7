"""`trapline` as a user runs it: a child process with COM1 on its streams."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.guests.assets.console import ConsoleProcess
from tests.guests.assets.debian import TREE
from tests.guests.assets.initramfs import LinuxGuest

COMMAND: Final = (sys.executable, "-c", "from vmm.cli import main; main()")
SERIAL_ONLY: Final = ("--serial", "stdio", "--display", "none")


def trapline(*arguments: str | Path) -> ConsoleProcess:
    """Start the command from the tree, whether or not it is installed."""
    return ConsoleProcess([*COMMAND, *arguments], cwd=TREE)


def linux_options(
    guest: LinuxGuest, mode: str, memory: str = "256M", *, apic: bool = False
) -> list[str | Path]:
    """Return the options of `trapline run` that load a kernel itself, with no boot disk."""
    command_line = guest.command_line(mode, apic=apic)
    return [
        *("--kernel", guest.kernel, "--initrd", guest.initramfs, "--append", command_line),
        *("--memory", memory, *SERIAL_ONLY, *["--apic"] * apic),
    ]
