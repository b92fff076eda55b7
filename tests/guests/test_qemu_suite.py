"""QEMU's own system tests of its i386 target, compiled from Debian's source package, on our machine.

Each is a Multiboot kernel that writes to port E9h. One that fails writes its result to the exit port; one
that passes asks for ACPI's power-off, which this machine has not, and halts for good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.guests.assets.debian import unpacked, unpacked_source
from tests.guests.assets.machines import Firmware
from tests.oracles import run_tool
from vmm.config import MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

COMPILER_OPTIONS: Final = (
    "-m32", "-O0", "-nostdlib", "-static", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector",
    "-fcf-protection=none", "-DCHECK_UNALIGNED=1",
)  # fmt: skip
LINKER_OPTIONS: Final = ("-Wl,-melf_i386", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments")
LONG_S: Final = 600
PASSED: Final = {"hello": b"Hello World\n", "memory": b"Test complete: PASSED\n"}


def compiled(name: str, target: Path) -> Path:
    source = unpacked_source("qemu", "tests/tcg")
    system = source / "i386/system"
    parts = (system / "boot.S", source / f"multiarch/system/{name}.c", source / "minilib/printf.c")
    libgcc = unpacked("libgcc-12-dev", "i386") / "usr/lib/gcc/i686-linux-gnu/12/libgcc.a"
    script = f"-Wl,-T{system / 'kernel.ld'}"
    sources = (f"-I{source / 'minilib'}", *parts, libgcc)
    run_tool("gcc", *COMPILER_OPTIONS, *sources, *LINKER_OPTIONS, script, "-o", target)
    return target


def test_these_are_all_there_are() -> None:
    system = unpacked_source("qemu", "tests/tcg") / "multiarch/system"
    assert {file.stem for file in system.glob("*.c")} == set(PASSED)


def run(name: str, engine: str, firmware: Firmware, folder: Path) -> None:
    kernel = compiled(name, folder / name)
    with Machine(MachineConfig(kernel=str(kernel), engine=engine, **firmware)) as machine:  # type: ignore[arg-type]
        result = machine.run(timeout_s=LONG_S)
        output = machine.debug_output()
    assert result.reason == "halted", (result, output[-500:])
    assert output.endswith(PASSED[name])


@pytest.mark.parametrize("name", PASSED)
def test_it_passes(name: str, accelerated: str, firmware: Firmware, tmp_path: Path) -> None:
    run(name, accelerated, firmware, tmp_path)


def test_hello_on_the_portable_engine(tmp_path: Path) -> None:
    run("hello", "portable", {}, tmp_path)


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_memory_on_the_portable_engine(firmware: Firmware, tmp_path: Path) -> None:
    run("memory", "portable", firmware, tmp_path)
