"""Small guests of ours run under techniques: assembled once, run to their end, their lines compared."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.oracles import MissingError, require_tool
from vmm.config import FULL_TECHNIQUES, DriveConfig, MachineConfig
from vmm.cpu.accel import LIBRARY
from vmm.machine import Machine
from vmm.techniques.exits import Finding

SOURCES: Final = Path(__file__).with_name("techniques")
COMMON: Final = Path(__file__).with_name("programs")
DISK_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 60
FULL: Final = ("translation-patch", "translation-cache", "hardware-shadow", "hardware-nested")
"""Those under which a guest is to see no difference from bare."""
NEEDS_ACCELERATOR: Final = frozenset({"translation-patch", "hardware-shadow"})


class Outcome(NamedTuple):
    """How a guest ended and what it said."""

    reason: str
    lines: list[str]
    exits: dict[str, int]
    findings: list[Finding]


@cache
def image_of(name: str, defines: tuple[str, ...] = ()) -> bytes:
    """Assemble a guest into a disk."""
    return assemble(str(SOURCES / f"{name}.asm"), defines)


def assemble(source: str, defines: tuple[str, ...] = ()) -> bytes:
    """Assemble a file into a disk."""
    nasm = require_tool("nasm")
    with tempfile.TemporaryDirectory() as folder:  # nasm removes its output where it fails: no device's name
        output = Path(folder) / "guest.bin"
        command = (nasm, "-f", "bin", f"-I{COMMON}/", f"-I{SOURCES}/", "-o", output, *defines, source)
        subprocess.run(command, check=True, timeout=60)
        image = output.read_bytes()
    return image.ljust(DISK_BYTES, b"\0")


def require_engine(engine: str, technique: str = "bare") -> None:
    """Skip where the engine is not there, or refuses the technique."""
    if engine == "accelerated" and not LIBRARY.exists():
        raise MissingError(f"{LIBRARY.name} is not built (it needs a C compiler on install)")
    if engine == "portable" and technique in NEEDS_ACCELERATOR:
        pytest.skip(f"{technique} needs the accelerated engine")


def config_of(disk: Path, technique: str, engine: str, **options: object) -> MachineConfig:
    """A small machine that starts this disk."""
    return MachineConfig(
        hd=(DriveConfig(path=str(disk), format="raw"),),
        boot=("hd",),
        memory_bytes=16 << 20,
        engine=engine,  # type: ignore[arg-type]
        clock="virtual",
        **FULL_TECHNIQUES[technique],  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def run_guest(
    name: str, technique: str, engine: str, folder: Path, nmi_at: bytes = b"", timeout_s: float = TIMEOUT_S
) -> Outcome:
    """Run a guest to its end; the NMI button is pressed each time it says `nmi_at`."""
    return run_image(image_of(name), technique, engine, folder, nmi_at, timeout_s)


def run_image(
    image: bytes, technique: str, engine: str, folder: Path, nmi_at: bytes = b"", timeout_s: float = TIMEOUT_S
) -> Outcome:
    """The same for a disk made elsewhere."""
    disk = folder / "disk.img"
    disk.write_bytes(image)
    with Machine(config_of(disk, technique, engine)) as machine:
        result = machine.run(until=nmi_at or None, timeout_s=timeout_s)
        while result.reason == "until":
            machine.nmi()
            result = machine.run(until=nmi_at, timeout_s=timeout_s)
        lines = machine.debug_output().decode("latin1").splitlines()
        exits = {reason: count.count for reason, count in machine.exits.items()}
        return Outcome(result.reason, lines, exits, machine.technique.findings)
