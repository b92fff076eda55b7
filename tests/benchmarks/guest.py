"""Guests made of timed loops: assembled by nasm, run on our machine in this process, or on QEMU."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from devices.backplane import PortRange, Tracer
from tests.guests.assets.qemu import ide_disk, qemu
from tests.oracles import MissingError, require_tool
from vmm.config import FULL_TECHNIQUES, ClockSource, DriveConfig, Engine, MachineConfig
from vmm.cpu import registers as r
from vmm.cpu.accel import LIBRARY
from vmm.machine import Machine

Mode = Literal["real", "ring0", "ring3"]
MODES: Final[tuple[Mode, ...]] = ("real", "ring0", "ring3")
BORDERS: Final = b"\1\2"  # what a guest writes where a loop starts and where it ends
MARK_PORT: Final = 0xE0  # nothing of the board is here
COM1: Final = 0x3F8
ORIGIN: Final = 0x7C00
SECTOR_BYTES: Final = 512
BUFFER: Final = 0x10_0000  # as in guest.inc
TIMEOUT_S: Final = 60
MIB: Final = 1 << 20
HALT_ROM: Final = b"\xf4" * 4096


@dataclass(frozen=True)
class Loop:
    """`body` runs `count` times after `setup`; EBP is the counter."""

    body: str
    count: int
    mode: Mode = "ring0"
    setup: str = ""


def _source(loops: Sequence[Loop]) -> str:
    """Return the text behind guest.inc: per mode its loops, then the way to the next mode."""
    parts = []
    onward = {"real": "jmp enter_protected", "ring0": "jmp enter_ring3", "ring3": "int 0x81"}
    labels = {"real": "bits 16\nmain:", "ring0": "bits 32\nprotected:", "ring3": "bits 32\nring3:"}
    for mode in MODES:
        parts.append(labels[mode])
        for number, loop in enumerate(loops):
            if loop.mode == mode:
                parts += [f"loop{number}:", loop.setup, "mark 1", f"mov ebp, {loop.count}", ".again:"]
                parts += [loop.body, "dec ebp", "jnz .again", "mark 2"]
        parts.append(onward[mode])
    return "\n".join(parts) + "\n"


@cache
def assemble(source: str) -> bytes:
    """Return the flat binary of an assembler text."""
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder, "guest.asm"), Path(folder, "guest.bin")
        text.write_text(source)
        include = f"-I{Path(__file__).parent}/"
        subprocess.run([require_tool("nasm"), "-f", "bin", include, "-o", binary, text], check=True)
        return binary.read_bytes()


def program(loops: Sequence[Loop]) -> bytes:
    """Return the guest for our own process: no BIOS, marks at a port of ours."""
    _check_order(loops)
    return assemble(f'%define MARK {MARK_PORT}\n%include "guest.inc"\n{_source(loops)}')


def boot_disk(loops: Sequence[Loop], path: Path, size_bytes: int = MIB, mark: int = COM1) -> Path:
    """Write the guest as a raw disk that a BIOS boots, marks at the port `mark`; return `path`."""
    _check_order(loops)
    text = _source(loops)
    sectors = len(assemble(f'%define MARK {mark}\n%include "guest.inc"\n{text}')) // SECTOR_BYTES
    code = assemble(f'%define MARK {mark}\n%define SECTORS {sectors}\n%include "guest.inc"\n{text}')
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(code)
        file.truncate(max(size_bytes, file.seek(0, 2)))
    return path


def _check_order(loops: Sequence[Loop]) -> None:
    assert [loop.mode for loop in loops] == sorted((loop.mode for loop in loops), key=MODES.index)


def on_qemu(loops: Sequence[Loop], disk: Path, *options: str | Path) -> list[float]:
    """Return the seconds of one turn of each loop on QEMU's translator; `disk` is from `boot_disk`."""
    stamps = []
    at = -1
    with qemu(*ide_disk(disk, "raw"), *options, memory_mib=64) as machine:
        for _ in loops:
            for border in BORDERS:
                at = machine.wait_for(bytes((border,)), TIMEOUT_S, at + 1)
                stamps.append(time.perf_counter())
    return _each(loops, stamps)


def _each(loops: Sequence[Loop], stamps: Sequence[float]) -> list[float]:
    pairs = zip(stamps[::2], stamps[1::2], strict=True)
    return [(end - start) / loop.count for loop, (start, end) in zip(loops, pairs, strict=True)]


class Measured(NamedTuple):
    """One turn of a loop: seconds, exits, and what the cost model says of them."""

    seconds: float
    exits: float
    cycles: float


class _Marks:
    """The port the guest writes at each border."""

    name = "benchmark marks"

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.stamps.append(time.perf_counter())


class Pc:
    """Our whole machine, in this process; its firmware is never asked for anything."""

    def __init__(
        self,
        folder: Path,
        engine: Engine = "accelerated",
        *,
        clock: ClockSource = "host",
        apic: bool = False,
        disk: Path | None = None,
        tracer: Tracer | None = None,
        technique: str = "bare",
    ) -> None:
        if engine == "accelerated" and not LIBRARY.exists():
            raise MissingError(f"{LIBRARY.name} is not built (it needs a C compiler on install)")
        rom = folder / "halt.rom"
        rom.write_bytes(HALT_ROM)
        config = MachineConfig(
            memory_bytes=16 * MIB,
            bios=str(rom),
            engine=engine,
            clock=clock,
            apic=apic,
            hd=() if disk is None else (DriveConfig(path=str(disk)),),
            **FULL_TECHNIQUES[technique],  # type: ignore[arg-type]
        )
        self.machine = Machine(config, tracer=tracer)
        self._marks = _Marks()
        self.machine.bus.attach(self._marks, PortRange(MARK_PORT, 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.close()

    def time(self, *loops: Loop) -> list[float]:
        """Run a guest from reset; return the seconds of one turn of each of its loops."""
        machine = self.machine
        machine.processor.reset()
        machine.memory.write(ORIGIN, program(loops))
        view = machine.processor.live.fetch()
        for index in (r.CS, r.DS, r.ES, r.SS):
            view.load_segment(index, 0, 0, 0xFFFF, 0x9B00 if index == r.CS else 0x9300)
        view.rip = ORIGIN
        machine.processor.live.commit()
        machine.technique.start()
        self._marks.stamps.clear()
        result = machine.run(timeout_s=TIMEOUT_S)
        assert result.reason == "halted", f"{result.reason} {result.detail} at {machine.registers()}"
        return _each(loops, self._marks.stamps)

    def measure(self, loop: Loop) -> Measured:
        """Run a guest of one loop from reset; return what one turn took, the way into the loop left out."""
        short = Loop(loop.body, 1, loop.mode, loop.setup)
        before = self._exits()
        self.time(short)
        between = self._exits()
        [seconds] = self.time(loop)
        after = self._exits()
        turns = loop.count - 1
        exits, cycles = (
            (end - 2 * middle + start) / turns
            for start, middle, end in zip(before, between, after, strict=True)
        )
        return Measured(seconds, exits, cycles)

    def _exits(self) -> tuple[int, int]:
        counts = self.machine.exits.values()
        return sum(count.count for count in counts), sum(count.cycles for count in counts)

    def time_one(self, loop: Loop) -> float:
        """Do as `time` with a single loop."""
        return self.time(loop)[0]


class BootedPc:
    """Our whole machine with our firmware, which starts the guest from a disk of `boot_disk`."""

    def __init__(self, disk: Path, floppy: Path) -> None:
        drives = [DriveConfig(path=str(path), format="raw") for path in (disk, floppy)]
        self._config = MachineConfig(
            memory_bytes=16 * MIB, hd=(drives[0],), floppy=(drives[1],), boot=("hd",), clock="host"
        )

    def time(self, loops: Sequence[Loop]) -> list[float]:
        """Return the seconds of one turn of each loop."""
        marks = _Marks()
        with Machine(self._config) as machine:
            machine.bus.attach(marks, PortRange(MARK_PORT, 1))
            result = machine.run(timeout_s=TIMEOUT_S)
        assert result.reason == "halted", result.reason
        return _each(loops, marks.stamps)
