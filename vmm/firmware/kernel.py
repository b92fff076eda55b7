"""What `--kernel` is given, and which loader takes it.

A file is what it looks like: a Linux bzImage by its boot flag and `HdrS`, a Multiboot kernel by its
header, anything else a flat binary, unless it is of a kind that surely is none. A kernel packed by
gzip is unpacked first.

Sources: [BOOT] Linux Documentation/arch/x86/boot.rst; [MB1] Multiboot Specification 0.6.96 §3.1.
"""

from __future__ import annotations

import zlib
from typing import Final, Literal, Protocol

import msgspec

from vmm.errors import ConfigError
from vmm.firmware.boot_state import BootState
from vmm.firmware.post_state import PostState, VideoWish

EntryMode = Literal["auto", "16", "32", "64"]
GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class Module(msgspec.Struct, frozen=True):
    """A file that goes with the kernel (`--initrd`), and the text after its name."""

    name: str
    data: bytes
    arguments: str = ""


def command_line(text: str) -> bytes:
    """Return what the kernel reads: UTF-8, any other byte as it was typed, a NUL."""
    return text.encode("utf-8", "surrogateescape") + b"\0"


class LoadAddress(msgspec.Struct, frozen=True):
    """Where a flat binary goes; `segment` only if the user named one."""

    address: int
    segment: int | None = None


class KernelRequest(msgspec.Struct, frozen=True):
    """The kernel's file and how it is to be started."""

    name: str
    data: bytes
    modules: tuple[Module, ...] = ()
    append: str = ""
    entry: EntryMode = "auto"
    load_address: LoadAddress | None = None
    long_mode: bool = True  # whether the processor has it


class Kernel(Protocol):
    """A checked kernel."""

    name: str

    @property
    def after_post(self) -> bool:
        """Whether it needs a BIOS underneath."""

    @property
    def video(self) -> VideoWish | None:
        """The screen it asks for."""

    def boot(self, post: PostState) -> BootState:
        """Return memory and processor for its start.

        Raises:
            ConfigError: it does not fit this machine.
        """


def unpacked(data: bytes, name: str, most: int) -> bytes:
    """Return a kernel's bytes, without gzip around them.

    Raises:
        ConfigError: the packed data is damaged, or is more than `most` bytes.
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    unpacker = zlib.decompressobj(GZIP_WINDOW)
    try:
        found = unpacker.decompress(data, most)
    except zlib.error as error:
        raise ConfigError(f"{name}: looks packed by gzip, but cannot be unpacked: {error}") from None
    if unpacker.unconsumed_tail:
        raise ConfigError(f"{name}: unpacks to more than the machine's memory of {most >> 20} MiB")
    if not unpacker.eof:
        raise ConfigError(f"{name}: truncated: the end of the packed data is missing")
    return found


def modules_together(modules: tuple[Module, ...], name: str) -> bytes:
    """Return the RAM disk of a Linux kernel: archives one after the other, each from a multiple of 4.

    Raises:
        ConfigError: one has arguments, which Linux has no place for.
    """
    for module in modules:
        if module.arguments:
            raise ConfigError(
                f"{name}: initrd {module.name!r} has arguments ({module.arguments!r}); "
                "only a Multiboot kernel takes them"
            )
    return b"".join(module.data + bytes(-len(module.data) % 4) for module in modules)
