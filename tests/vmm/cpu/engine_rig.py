"""A processor, a little memory and a few ports: what the tests of the two engines run guests on.

Guests are assembled by nasm when a test runs. They report through ports (asm/common.inc): LOG takes
results, FRAME takes events as their handlers saw them. The rig is the interrupt controller too.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from devices.apic.local import LocalApic
from devices.backplane import IrqLine, PortRange
from tests.oracles import MissingError, require_tool
from vmm.bus import PortBus
from vmm.clock import HostTime, MachineClock, ManualTime
from vmm.cpu import registers as r
from vmm.cpu.accel import LIBRARY
from vmm.cpu.engine import EngineView, StopReason
from vmm.cpu.processor import Processor, ProcessorOptions
from vmm.memory import MIB, Memory
from vmm.techniques.base import Bare, Technique

ENGINES = ("accelerated", "portable")
both_engines = pytest.mark.parametrize("engine", ENGINES)

LOG, FRAME, INTR, NMI, STOP, A20, NUMBER, SERVICE = 0xE0, 0xE1, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9
BLOCK = 0xD0
ORIGIN = 0x7C00
ROM_AT, ROM_BYTES = 0xFFFF_0000, 0x10000
WINDOW_AT, WINDOW_BYTES = 0xA0000, 0x20000
SLICE_NS = 20_000_000
RAM_BYTES = 4 * MIB
_ASM = Path(__file__).with_name("asm")


class Frame(NamedTuple):
    """One event as the handlers of prot.inc and long.inc report it; `offset` counts from `try`."""

    vector: int
    error: int
    offset: int
    cs: int
    flags: int
    cr2: int
    sp: int
    ss: int

    @property
    def brief(self) -> tuple[int, int, int]:
        """Vector, error code, offset of the saved instruction pointer."""
        return self.vector, self.error, self.offset


@cache
def assemble(source: str) -> bytes:
    """Return the flat binary of a guest."""
    nasm = require_tool("nasm")
    with tempfile.TemporaryDirectory() as folder:
        listing, binary = Path(folder, "guest.asm"), Path(folder, "guest.bin")
        listing.write_text(source)
        command = [nasm, "-w-all", "-f", "bin", f"-I{_ASM}{os.sep}", "-o", str(binary), str(listing)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return binary.read_bytes()


class Ports:
    """The guest's ports to the test."""

    name = "test ports"

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.number = 0
        self.stop_every = 0  # accesses to NUMBER or LOG after which a stop is asked for, or 0

    def read(self, offset: int, size: int) -> int:
        self.number += 1
        self._stop_at(self.number)
        return self.number

    def _stop_at(self, count: int) -> None:
        if self.stop_every and count % self.stop_every == 0:
            self._rig.engine.stop()

    def write(self, offset: int, size: int, value: int) -> None:
        rig, port = self._rig, LOG + offset
        if port == LOG:
            rig.log.append(value)
            self._stop_at(len(rig.log))
        elif port == FRAME:
            rig.words.append(value)
        elif port == INTR:
            rig.raise_interrupt(value)
        elif port == NMI:
            rig.engine.raise_nmi()
        elif port == STOP:
            rig.engine.stop()
        elif port == A20:
            rig.engine.set_a20(bool(value))
        elif port == SERVICE:
            rig.service(value)


class BlockPort:
    """A data port that moves blocks, like a disk's; and may be read one element at a time."""

    name = "block port"

    def __init__(self, *, bulk: bool) -> None:
        self.source = bytearray(bytes(range(256)) * 64)
        self.sink = bytearray()
        self.calls: list[tuple[str, int, int]] = []
        self.read_block = self._read_block if bulk else None
        self.write_block = self._write_block if bulk else None

    def _take(self, length: int) -> bytes:
        data = bytes(self.source[:length])
        del self.source[:length]
        return data

    def read(self, offset: int, size: int) -> int:
        self.calls.append(("in", size, 1))
        return int.from_bytes(self._take(size), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        self.calls.append(("out", size, 1))
        self.sink += value.to_bytes(size, "little")

    def _read_block(self, size: int, elements: int) -> bytes:
        self.calls.append(("in", size, elements))
        return self._take(size * elements)

    def _write_block(self, size: int, data: bytes) -> int:
        self.calls.append(("out", size, len(data) // size))
        self.sink += data
        return len(data) // size


class Window:
    """A device's memory at A0000h: bytes that keep what is written, and every access."""

    name = "window"

    def __init__(self) -> None:
        self.bytes = bytearray(WINDOW_BYTES)
        self.accesses: list[tuple[str, int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        value = int.from_bytes(self.bytes[offset : offset + size], "little")
        self.accesses.append(("read", offset, size, value))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self.accesses.append(("write", offset, size, value))
        self.bytes[offset : offset + size] = value.to_bytes(size, "little")


class Rig:
    """One processor of one engine, with everything a test guest talks to, under a technique or bare."""

    kind: type[Technique] = Bare

    def __init__(
        self,
        engine: str,
        options: ProcessorOptions | None = None,
        *,
        bulk: bool = True,
        device: Callable[..., int] | None = None,
    ) -> None:
        """Build it. Without `bulk` port BLOCK moves single elements; `device`: port NUMBER and the window."""
        if engine == "accelerated" and not LIBRARY.exists():
            raise MissingError(f"{LIBRARY.name} is not built (it needs a C compiler on install)")
        self.log: list[int] = []
        self.words: list[int] = []
        self.service: Callable[[int], None] = self.log.append  # what a write to port SERVICE does
        self.memory = Memory(RAM_BYTES)
        if self.kind.hidden_bytes:
            self.memory.add_monitor(self.kind.hidden_bytes)
        self.memory.add_rom(ROM_AT, bytes(range(256)) * (ROM_BYTES // 256))
        self.window, self.ports, self.block = Window(), Ports(self), BlockPort(bulk=bulk)
        if device is not None:
            self.window.read = self.window.write = device  # type: ignore[method-assign,assignment]
        self.memory.add_window(WINDOW_AT, WINDOW_BYTES, self.window)
        self.bus = PortBus()
        self.bus.attach(self.ports, PortRange(LOG, 16))
        if device is not None:
            self.bus.readers[NUMBER], self.bus.writers[NUMBER] = (device, 0), (device, 0)
        self.bus.attach(self.block, PortRange(BLOCK, 1))
        self._vector: int | None = None
        options = options or ProcessorOptions()
        options = ProcessorOptions(**{**vars(options), "engine": engine})
        now = None if options.virtual_clock else HostTime()
        self.processor = Processor(self.memory, self.bus, self._acknowledge, now, options)
        self.engine = self.processor.live
        self.technique = self.kind(self.processor, self.memory)
        self.technique.start()

    @staticmethod
    def local_apic() -> LocalApic:
        """A local APIC of which the processor has the MSR and CR8; its wires and registers lead nowhere."""
        clock = MachineClock(ManualTime())
        return LocalApic(clock, IrqLine(lambda level: None), lambda: 0, lambda: None, lambda: None)

    def raise_interrupt(self, vector: int) -> None:
        """Raise INTR; the processor's acknowledge cycle gets this vector and lowers it."""
        self._vector = vector
        self.engine.set_interrupt(True)

    def _acknowledge(self) -> int:
        assert self._vector is not None
        vector, self._vector = self._vector, None
        self.engine.set_interrupt(False)
        return vector

    # -- running

    def load(self, source: str, at: int = ORIGIN) -> Rig:
        """Assemble a guest and point the processor at it, in real mode."""
        self.memory.write(at, assemble(source))
        view = self.engine.fetch()
        for index in (r.CS, r.DS, r.ES, r.SS):
            flags = 0x9B00 if index == r.CS else 0x9300
            view.load_segment(index, 0, 0, 0xFFFF, flags)
        view.regs[r.RSP] = 0x7000
        view.rip = at
        self.engine.commit()
        return self

    def run(self, timeout_s: float = 60, slice_ns: int = SLICE_NS) -> StopReason:
        """Run until the guest halts for good, stops or shuts down."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            reason = self.engine.run(self.engine.wiring.now_ns() + slice_ns)
            if reason is StopReason.DEADLINE:
                continue
            if reason is StopReason.HALTED and self._vector is not None and self.view.state.eflags & r.IF:
                continue
            return reason
        view = self.view
        at = f"{view.segs[r.CS].selector:x}:{view.rip:x}"
        raise AssertionError(f"still at {at} after {timeout_s} s; log {self.log[-20:]}, {self.frames[-3:]}")

    @property
    def view(self) -> EngineView:
        """The processor's state, up to date."""
        return self.engine.fetch()

    @property
    def frames(self) -> list[Frame]:
        """The events the guest's handlers reported, RF masked: the engines differ in it (see delivery)."""
        raw = [Frame(*self.words[i : i + 8]) for i in range(0, len(self.words) - 7, 8)]
        return [frame._replace(flags=frame.flags & ~r.RF) for frame in raw]

    @property
    def briefs(self) -> list[tuple[int, int, int]]:
        """The events, in brief."""
        return [frame.brief for frame in self.frames]


def run(engine: str, source: str, **options: object) -> Rig:
    """Run a guest to its end; it must halt."""
    rig = Rig(engine, ProcessorOptions(**options)).load(source)  # type: ignore[arg-type]
    reason = rig.run()
    assert reason is StopReason.HALTED, (reason, rig.frames[-3:], rig.log[-8:])
    return rig


def real(body: str) -> str:
    """A real-mode guest: `body` runs at 0:7C00h with all segments 0."""
    return f'%include "common.inc"\nbits 16\norg 0x7c00\n{body}\n'


def prot(body: str, define: str = "") -> str:
    """A 32-bit protected-mode guest; `body` runs in ring 0 on prot.inc's machine."""
    return f'{define}\n%include "prot.inc"\nmain:\n{body}\n'


def long(body: str) -> str:
    """A 64-bit guest on long.inc's machine."""
    return f'%include "long.inc"\nmain:\n{body}\n'
