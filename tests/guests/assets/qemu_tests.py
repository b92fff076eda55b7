"""QEMU's own system tests (`tests/tcg`), from Debian's source package, built as its makefiles do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.guests.assets.debian import source, unpacked
from tests.oracles import MissingError, run_tool

GCC_LIBRARY: Final = "lib32gcc-12-dev"
FLAGS: Final = ("-m32", "-nostdlib", "-static", "-O0", "-ffreestanding", "-fno-pic", "-no-pie",
                "-fno-stack-protector", "-fcf-protection=none", "-DCHECK_UNALIGNED=1",
                "-Wl,-melf_i386", "-Wl,--build-id=none", "-Wl,--no-warnings")  # fmt: skip


def system_test(name: str, folder: Path) -> Path:
    """Build a test of `tests/tcg/multiarch/system` in `folder`; return it, an ELF with a Multiboot header.

    Raises:
        MissingError: a package cannot be had.
    """
    tests, library = source("qemu", "tests/tcg"), unpacked(GCC_LIBRARY, "amd64")
    archive = next(library.rglob("32/libgcc.a"), None)
    if archive is None:
        raise MissingError(f"Debian package {GCC_LIBRARY} holds no 32/libgcc.a")
    start, kernel = tests / "i386" / "system", folder / name
    run_tool("gcc", *FLAGS, f"-I{tests / 'minilib'}", f"-Wl,-T{start / 'kernel.ld'}", start / "boot.S",
             tests / "multiarch" / "system" / f"{name}.c", tests / "minilib" / "printf.c", archive,
             "-o", kernel)  # fmt: skip
    return kernel
