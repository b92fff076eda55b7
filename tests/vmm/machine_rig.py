"""Machines whose BIOS is a test's own: sixteen-bit code that runs from the reset vector on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.oracles import MissingError
from tests.vmm.cpu.engine_rig import assemble
from vmm.config import MachineConfig
from vmm.cpu.accel import LIBRARY
from vmm.machine import Machine
from vmm.memory import MIB
from vmm.trace.events import Exit

HEAD = """
bits 16
org 0x0
%macro say 1                            ; a character on COM1
    mov dx, 0x3f8
    mov al, %1
    out dx, al
%endmacro
start:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
"""
TIMER = """
    cli
    mov word [8 * 4], tick
    mov word [8 * 4 + 2], 0xf000
    mov al, 0x11                        ; both PICs, master at 08h, only IRQ 0
    out 0x20, al
    mov al, 8
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34                        ; 1 kHz
    out 0x43, al
    mov al, 0xa9
    out 0x40, al
    mov al, 4
    out 0x40, al
    sti
"""
TICK = """
tick:
    push ax
    inc word [0x500]
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
"""


def rom(body: str) -> bytes:
    """A 64-KiB BIOS that runs `body` at F000:0000."""
    code = assemble(f"{HEAD}\n{body}\n times 0xfff0-($-$$) db 0xf4\n jmp 0xf000:start\n times 11 db 0")
    assert len(code) == 0x10000
    return code


class Bench:
    """Builds machines whose BIOS is a test's own."""

    def __init__(self, folder: Path, engine: str) -> None:
        self._folder = folder
        self._engine = engine

    @contextmanager
    def machine(self, body: str, *, tracer: Tracer | None = None, **options: object) -> Iterator[Machine]:
        if self._engine == "accelerated" and not LIBRARY.exists():
            raise MissingError(f"{LIBRARY.name} is not built (it needs a C compiler on install)")
        bios = self._folder / "bios.bin"
        bios.write_bytes(rom(body))
        config = {"bios": str(bios), "memory_bytes": 2 * MIB, "engine": self._engine, **options}
        with Machine(MachineConfig(**config), tracer=tracer) as machine:  # type: ignore[arg-type]
            yield machine


class Tracer:
    """Keeps every exit."""

    def __init__(self) -> None:
        self.exits: list[Exit] = []

    def emit(self, event: object) -> None:
        if isinstance(event, Exit):
            self.exits.append(event)
