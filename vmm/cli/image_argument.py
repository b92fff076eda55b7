"""The argument of `trapline run`: an image, a machine file, or a guest by name."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from vmm.config import DriveConfig, MachineConfig, check_file, is_floppy_size

ISO_MAGIC: Final = b"CD001"
ISO_MAGIC_OFFSET: Final = 0x8001  # volume descriptor of sector 16, [ECMA-119] §8.1
MBR_MAGIC: Final = b"\x55\xaa"
MBR_MAGIC_OFFSET: Final = 510
GUEST_PREFIX: Final = "guest:"
IMAGE_SUFFIXES: Final = (".vhd", ".img", ".raw", ".iso", ".ima", ".flp", ".toml")


def machine_of(image: Path | None, cleanup: ExitStack, *, paravirtual: bool = False) -> MachineConfig:
    """Return the machine that the argument stands for; `cleanup` removes what was made for it.

    Of a guest of ours that has one, `paravirtual` takes the port that knows its monitor.
    """
    if image is None:
        return MachineConfig()
    if str(image).startswith(GUEST_PREFIX):
        from vmm.guests import temporary_machine

        return temporary_machine(str(image).removeprefix(GUEST_PREFIX), cleanup, paravirtual=paravirtual)
    if image.suffix.lower() == ".toml":
        from vmm.machine_toml import load_machine

        return load_machine(image)
    size = check_file(str(image), "image")
    if is_cd(image):
        return MachineConfig(cd=(DriveConfig(path=str(image), read_only=True),))
    drive = DriveConfig(path=str(image))
    return MachineConfig(floppy=(drive,)) if is_floppy_size(size) else MachineConfig(hd=(drive,))


def is_cd(image: Path) -> bool:
    """Whether an image is a CD by its name, or by its contents without being a disk as well."""
    if image.suffix.lower() == ".iso":
        return True
    with image.open("rb") as file:
        first = file.read(MBR_MAGIC_OFFSET + len(MBR_MAGIC))
        file.seek(ISO_MAGIC_OFFSET)
        return file.read(len(ISO_MAGIC)) == ISO_MAGIC and not first.endswith(MBR_MAGIC)


def complete_image(incomplete: str) -> list[str]:
    """Return what the argument may become: images, machine files, folders, guests."""
    from vmm.guests import SHIPPED

    guests = [f"{GUEST_PREFIX}{guest.name}" for guest in SHIPPED]
    media = [f"{GUEST_PREFIX}{guest.name}/{medium}" for guest in SHIPPED for medium in guest.media]
    if incomplete.startswith(GUEST_PREFIX):
        return [word for word in (*guests, *media) if word.startswith(incomplete)]
    folder, _, start = incomplete.rpartition("/")
    place = Path(f"{folder}/" if incomplete.startswith("/") or folder else ".").expanduser()
    try:
        entries = sorted(place.iterdir())
    except OSError:
        entries = []
    hidden = start.startswith(".")
    names = [
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in entries
        if (entry.is_dir() or entry.suffix.lower() in IMAGE_SUFFIXES)
        and entry.name.startswith(start)
        and (hidden or not entry.name.startswith("."))
    ]
    prefix = incomplete[: len(incomplete) - len(start)]
    return [prefix + name for name in names] + [word for word in guests if word.startswith(incomplete)]
