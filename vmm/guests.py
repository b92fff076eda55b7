"""Guests that Trapline ships, and real ones that Debian's packages bring: what they are and how to run them.

A shipped guest is a folder with a `build.py` that writes its media: `guests/NAME` in a checkout,
`share/trapline/NAME` where Trapline is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from vmm.config import DriveConfig, MachineConfig
from vmm.errors import ConfigError, UsageError

ROOT: Final = Path(__file__).resolve().parents[1]
PLACES: Final = (ROOT / "guests", Path(sys.prefix) / "share" / "trapline")
BUILDER: Final = "build.py"
BUILD_TIMEOUT_S: Final = 120
SUFFIXES: Final = {"raw": ".img", "vhd": ".vhd", "cd": ".iso", "floppy": ".img"}
WORDS: Final = {"hd": "vhd"}  # other names of media


class ShippedGuest(NamedTuple):
    """A guest of ours; the first medium is the one that `guest:NAME` boots.

    `done` is what COM1 gets when its results are all there, nothing if the guest ends by itself.
    `ported` means that there is a paravirtual port of it.
    """

    name: str
    title: str
    media: tuple[str, ...]
    done: str = ""
    ported: bool = False


class PackagedGuest(NamedTuple):
    """A guest of Debian's; `file` is where its package puts it, `{file}` in the command stands for it."""

    name: str
    title: str
    package: str
    files: tuple[str, ...]
    command: str

    def found(self) -> Path | None:
        """Return its file, if it is installed."""
        return next((Path(file) for file in self.files if Path(file).is_file()), None)


SHIPPED: Final = (
    ShippedGuest("selftest", "Boot program that checks BIOS, chips and exceptions", ("vhd", "raw", "cd")),
    ShippedGuest(
        "snare",
        "Toy operating system with a shell",
        ("vhd", "raw", "floppy", "cd"),
        "snare: self-test ",
        True,
    ),
)
PACKAGED: Final = (
    PackagedGuest(
        "memtest86+", "Memory test", "memtest86+",
        ("/boot/memtest86+ia32.bin",),
        "trapline run --kernel {file}",
    ),
    PackagedGuest(
        "ipxe", "Network boot firmware, to its prompt", "ipxe", ("/usr/lib/ipxe/ipxe.iso",),
        "trapline run {file}",
    ),
    PackagedGuest(
        "grub", "Boot loader's prompt, from a CD made by: grub-mkrescue -o grub.iso /var/empty",
        "grub-pc-bin", ("/usr/lib/grub/i386-pc/boot.img",),
        "trapline run grub.iso",
    ),
    PackagedGuest(
        "debian-installer", "Debian 12's installer", "debian-installer-12-netboot-i386",
        ("/usr/lib/debian-installer/images/12/i386/text/debian-installer/i386/linux",),
        "trapline run --memory 512M --kernel {file} --initrd {folder}/initrd.gz "
        "--append modprobe.blacklist=bochs-drm,bochs",
    ),
    PackagedGuest(
        "gnumach", "GNU's microkernel, up to \"No bootstrap code\"", "gnumach-image-1.8-486",
        ("/boot/gnumach-1.8-486.gz",),
        "trapline run --kernel {file}",
    ),
    PackagedGuest(
        "xen", "Hypervisor, up to \"dom0 kernel not specified\"", "xen-hypervisor-4.17-amd64",
        ("/boot/xen-4.17-amd64.gz",),
        "trapline run --memory 512M --kernel {file} "
        "--append 'com1=115200,8n1 console=com1 noreboot'",
    ),
    PackagedGuest(
        "seabios", "Another BIOS, for any image", "seabios vgabios",
        ("/usr/share/seabios/bios-256k.bin",),
        "trapline run --bios {file} --vgabios {folder}/vgabios-stdvga.bin IMAGE",
    ),
)  # fmt: skip


def command_of(guest: ShippedGuest | PackagedGuest) -> str:
    """Return what to type to run it."""
    if isinstance(guest, ShippedGuest):
        return f"trapline run guest:{guest.name}"
    file = guest.found() or Path(guest.files[0])
    return guest.command.format(file=file, folder=file.parent)


def folder_of(guest: ShippedGuest) -> Path | None:
    """Return the folder with the guest's files, if they are there."""
    return next((place / guest.name for place in PLACES if (place / guest.name / BUILDER).is_file()), None)


def find_guest(name: str) -> ShippedGuest:
    """Return the shipped guest of that name; UsageError naming all if there is none."""
    found = next((guest for guest in SHIPPED if guest.name == name), None)
    if found is None:
        names = ", ".join(guest.name for guest in SHIPPED)
        raise UsageError(f"no guest {name!r} is shipped; there are {names} (see trapline guests)")
    return found


def find_medium(guest: ShippedGuest, name: str) -> str:
    """Return the medium's name; UsageError naming all if the guest has none of it."""
    medium = WORDS.get(name, name) or guest.media[0]
    if medium not in guest.media:
        raise UsageError(f"guest {guest.name} has no medium {name!r}; there are {', '.join(guest.media)}")
    return medium


def write_medium(guest: ShippedGuest, medium: str, path: Path, *, paravirtual: bool = False) -> None:
    """Write an image of the guest, or of its port if it has one and that is wanted."""
    folder = folder_of(guest)
    if folder is None:
        raise ConfigError(f"the files of guest {guest.name} are missing; install Trapline again")
    port = ["--para"] if paravirtual and guest.ported else []
    command = [sys.executable, str(folder / BUILDER), medium, str(path), *port]
    environment: Mapping[str, str] = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=BUILD_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConfigError(f"guest {guest.name}: making its {medium} took too long") from None
    if done.returncode or not path.is_file():
        why = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise ConfigError(f"guest {guest.name}: its {medium} could not be made: {why}")


def temporary_machine(text: str, cleanup: ExitStack, *, paravirtual: bool = False) -> MachineConfig:
    """Return a machine with a guest given as `NAME` or `NAME/MEDIUM` in its drive; writes are dropped."""
    name, _, word = text.partition("/")
    guest = find_guest(name)
    medium = find_medium(guest, word)
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="trapline-")))
    path = folder / f"{name}{SUFFIXES[medium]}"
    write_medium(guest, medium, path, paravirtual=paravirtual)
    drive = DriveConfig(path=str(path), snapshot=medium != "cd", read_only=medium == "cd")
    if medium == "cd":
        return MachineConfig(name=name, cd=(drive,))
    return (
        MachineConfig(name=name, floppy=(drive,))
        if medium == "floppy"
        else MachineConfig(name=name, hd=(drive,))
    )
