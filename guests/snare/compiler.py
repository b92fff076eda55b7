"""Compiles Snare: boot program, kernel, the kernel's paravirtual port, file system with its programs.

They are boot.bin, snare.bin, snare-para.bin and snare.fs. The same compiler gives the same bytes on
every machine; `toolchain.txt` says which one gave the committed files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING or __package__:
    from guests.snare import snarefs
else:
    import snarefs

HERE: Final = Path(__file__).resolve().parent
TOOLCHAIN: Final = HERE / "toolchain.txt"
COMPILERS: Final = ("gcc-12", "gcc")
FS_BLOCKS: Final = 256
PROGRAMS: Final = ("hello", "touch", "primes", "rogue", "ring3")
COMPILE: Final = (
    *("-m32", "-march=i486", "-std=gnu11", "-O2", "-ffreestanding", "-fno-pic", "-fno-stack-protector"),
    *(
        "-fno-asynchronous-unwind-tables",
        "-fcf-protection=none",
        "-fno-strict-aliasing",
        "-mno-sse",
        "-mno-mmx",
    ),
    *("-mno-80387", "-fno-tree-loop-distribute-patterns", "-fno-ident", "-Wall", "-Wextra", "-Werror"),
)
LINK: Final = ("-m", "elf_i386", "--build-id=none", "--no-warn-rwx-segments", "-z", "noexecstack")
README: Final = b"""Snare, a single-user system in the spirit of CMS.

help lists the commands, dir the files. hello, touch, primes and rogue
are programs; ring3 belongs to the self-test.
"""


class ToolchainError(Exception):
    """A tool is missing, or is not the one that gave the committed files."""


def tool(*names: str) -> str:
    """Return the path of the first of these programs that is there."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise ToolchainError(f"{names[0]} is not installed")


def _first_line(program: str, option: str) -> str:
    done = subprocess.run([program, option], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.splitlines()[0].strip()


def toolchain() -> str:
    """Return the versions of compiler, linker and assembler, as `toolchain.txt` has them."""
    compiler = _first_line(tool(*COMPILERS), "--version").replace("gcc-12 ", "gcc ", 1)
    assembler = _first_line(tool("nasm"), "-v").partition(" compiled")[0]
    return "\n".join((compiler, _first_line(tool("ld"), "--version"), assembler)) + "\n"


def check_toolchain() -> None:
    """Raise ToolchainError unless the tools here are those that gave the committed files."""
    have, pinned = toolchain(), TOOLCHAIN.read_text()
    if have != pinned:
        wanted = "; ".join(pinned.splitlines())
        raise ToolchainError(
            f"other tools: {'; '.join(have.splitlines())}; the files were built with {wanted}"
        )


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], cwd=HERE, check=True)  # noqa: S603 - our own source


def _assemble_flat(source: str, target: Path) -> None:
    _run(tool("nasm"), "-w+all", "-f", "bin", "-i", f"{Path(source).parent}/", "-o", target, source)


def _object(source: Path, folder: Path, defines: tuple[str, ...]) -> Path:
    made = folder / (str(source).replace("/", "_") + ".o")
    if source.suffix == ".asm":
        _run(tool("nasm"), "-w+all", *defines, "-f", "elf32", "-o", made, source)
    else:
        _run(
            tool(*COMPILERS),
            *COMPILE,
            *defines,
            f"-I{source.parts[0]}",
            f"-ffile-prefix-map={HERE}=.",
            "-c",
            source,
            "-o",
            made,
        )
    return made


def _link(
    sources: list[Path], script: str, folder: Path, target: Path, defines: tuple[str, ...] = ()
) -> None:
    """Compile, link and reduce to the bytes that are to be in memory."""
    objects = [_object(source, folder, defines) for source in sources]
    linked = folder / f"{target.name}.elf"
    _run(tool("ld"), *LINK, "-T", script, "-o", linked, *objects)
    _run(tool("objcopy"), "-O", "binary", linked, target)
    target.chmod(0o644)


def _sources(*folders: str) -> list[Path]:
    """Return the sources below the project, in the order of their names: it decides the layout."""
    found = [
        path for folder in folders for suffix in ("asm", "c") for path in (HERE / folder).glob(f"*.{suffix}")
    ]
    return sorted(path.relative_to(HERE) for path in found)


def _paravirtual(sources: list[Path]) -> list[Path]:
    """Return the kernel's sources with those of kernel/para/, which take the place of their namesakes."""
    para = _sources("kernel/para")
    replaced = {Path("kernel") / path.name for path in para}
    return sorted([*(path for path in sources if path not in replaced), *para])


def build(target: Path = HERE) -> None:
    """Write the four files to the folder `target`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _assemble_flat("boot/boot.asm", target / "boot.bin")
        kernel = _sources("kernel", "kernel/selftest")
        _link(kernel, "kernel/kernel.ld", folder, target / "snare.bin")
        para = folder / "para"
        para.mkdir()
        _link(_paravirtual(kernel), "kernel/kernel.ld", para, target / "snare-para.bin", ("-DPARA",))
        files = {"readme": README}
        common = [Path("user/start.asm"), Path("user/lib.c")]
        for program in PROGRAMS:
            _link([*common, Path(f"user/{program}.c")], "user/user.ld", folder, folder / program)
            files[program] = (folder / program).read_bytes()
    (target / "snare.fs").write_bytes(snarefs.FileSystem.new(FS_BLOCKS, files).data)


def main(target: Path) -> None:
    """Build, or say what is missing."""
    try:
        build(target)
    except (ToolchainError, subprocess.CalledProcessError) as error:
        sys.exit(f"compiler.py: {error}")
    if toolchain() != TOOLCHAIN.read_text():
        print(f"built by other tools than {TOOLCHAIN.name} names: do not commit the files", file=sys.stderr)


if __name__ == "__main__":
    main(HERE)
