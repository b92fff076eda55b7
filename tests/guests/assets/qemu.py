"""QEMU's translator (TCG) as the yardstick: the same guest on an independent PC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.guests.assets.console import ConsoleProcess
from tests.guests.assets.initramfs import LinuxGuest
from tests.oracles import require_tool

PROGRAMS: Final = {"i386": "qemu-system-i386", "amd64": "qemu-system-x86_64"}
PROCESSOR: Final = "core2duo"  # what our machine has when it is not told otherwise


def qemu(
    *arguments: str | Path, architecture: str = "i386", memory_mib: int = 256, files: Sequence[int] = ()
) -> ConsoleProcess:
    """Start a PC of the i440FX kind with COM1 on the streams and nothing that was not asked for."""
    return ConsoleProcess(
        [
            require_tool(PROGRAMS[architecture]),
            *("-accel", "tcg", "-M", "pc", "-cpu", PROCESSOR, "-m", str(memory_mib)),
            *("-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *arguments,
        ],
        files=files,
    )


def linux_arguments(guest: LinuxGuest, mode: str) -> list[str | Path]:
    """Return the options by which QEMU loads a kernel itself, with no boot disk."""
    return ["-kernel", guest.kernel, "-initrd", guest.initramfs, "-append", guest.command_line(mode)]


def ide_disk(image: Path, kind: str = "vpc", index: int = 0) -> list[str | Path]:
    """Return the options that attach an image as an IDE disk."""
    return ["-drive", f"file={image},format={kind},if=ide,index={index}"]
