"""From the engine's numbers to names: exit counts by reason, and one `Exit` event an exit."""

from __future__ import annotations

from typing import Final

from devices.backplane import Tracer
from vmm.cpu import registers as r
from vmm.cpu.engine import Engine, Kind
from vmm.cpu.intercepts import name_of
from vmm.cpu.paging import probe
from vmm.cpu.view import EngineView
from vmm.firmware.stubs import TRAP_PORT
from vmm.memory import Memory
from vmm.techniques.base import Place, Technique, mode_of
from vmm.techniques.engine_exits import engine_cycles
from vmm.techniques.exits import Finding
from vmm.trace.events import Exit, ExitCount, Violation

_SIMPLE: Final = {
    Kind.IN: "io.in",
    Kind.OUT: "io.out",
    Kind.MMIO_READ: "mmio.read",
    Kind.MMIO_WRITE: "mmio.write",
    Kind.SOFTWARE_INT: "software-int",
    Kind.INTERRUPT: "interrupt",
    Kind.NMI: "nmi",
    Kind.CPUID: "cpuid",
    Kind.RDTSC: "rdtsc",
    Kind.SYSCALL: "syscall",
    Kind.SYSENTER: "sysenter",
    Kind.HLT: "hlt",
}
# What is no exit where the guest has the processor to itself, or counted by the technique
_GUESTS_OWN: Final = frozenset(
    {Kind.EXCEPTION, Kind.SOFTWARE_INT, Kind.INTERRUPT, Kind.NMI, Kind.SYSCALL, Kind.SYSENTER, Kind.INTERCEPT}
)
_SHUTDOWN: Final = 0x17F
_CODE_BYTES: Final = 15
_INT_N: Final = 0xCD
_NO_INSTRUCTION: Final = frozenset({Kind.INTERRUPT, Kind.NMI})
_PAGE: Final = 4096


def reason_of(kind: Kind, detail: int) -> str:
    """Return the key of `vmm.trace.reasons`; `detail` is a vector (exceptions, intercepts)."""
    if kind is Kind.EXCEPTION:
        name = r.EXCEPTION_NAMES.get(detail, f"{detail:#x}")
        return "exception." + name.removeprefix("#").lower()
    if kind is Kind.INTERCEPT:
        return _intercept_reason(detail)
    return _SIMPLE[kind]


def _intercept_reason(vector: int) -> str:
    if vector == _SHUTDOWN:
        return "triple-fault"
    name = name_of(vector)
    if name in ("hlt", "rdtsc", "cpuid"):
        return name
    if name[:2] in ("cr", "dr") and "-" in name:
        return f"intercept.{name[:2]}-{name.partition('-')[2]}"
    return f"intercept.{name}"


def code_at(view: EngineView, memory: Memory, offset: int = 0) -> bytes:
    """Return the bytes at CS:IP + `offset`, up to the end of the page; nothing where none is mapped."""
    physical = probe(view, view.code_address(offset))
    if physical is None:
        return b""
    return memory.read(physical, min(_CODE_BYTES, _PAGE - (physical & (_PAGE - 1))))


class ExitCounts:
    """The exit table: the engine's counters, the firmware's share of them, and what the run loop adds."""

    def __init__(self, engine: Engine, technique: Technique) -> None:
        self._engine, self._technique = engine, technique
        self.firmware = ExitCount()
        self.hlt = ExitCount()

    def table(self) -> dict[str, ExitCount]:
        """Return counts and host time by reason."""
        found: dict[str, ExitCount] = {}
        for (kind, detail), count in self._engine.counts().items():
            if kind in _GUESTS_OWN and self._technique.counts_its_own:
                continue
            vector = detail + 0x100 if kind is Kind.INTERCEPT else detail
            entry = found.setdefault(reason_of(kind, vector), ExitCount())
            entry.count += count.count
            entry.host_ns += count.host_ns
        if self.firmware.count:
            found["firmware"] = self.firmware
            found["io.out"].count -= self.firmware.count
            found["io.out"].host_ns -= self.firmware.host_ns
        if self.hlt.count and "hlt" not in found:
            found["hlt"] = self.hlt
        for reason, entry in found.items():
            entry.cycles = entry.count * engine_cycles(self._technique.name, reason)
        found |= self._technique.exits.table()
        return {reason: entry for reason, entry in found.items() if entry.count}


class ExitReporter:
    """The engine's trace call: makes an `Exit` of each exit and hands it to a tracer."""

    def __init__(self, engine: Engine, memory: Memory, tracer: Tracer) -> None:
        self._engine = engine
        self._memory = memory
        self._tracer = tracer

    def __call__(self, kind_number: int, a: int, b: int, c: int, host_ns: int) -> None:
        """Report one exit."""
        kind = Kind(kind_number)
        reason = reason_of(kind, a)
        if kind is Kind.OUT and a == TRAP_PORT:
            reason = "firmware"
        view = self._engine.view
        ip = view.rip
        if kind is Kind.SOFTWARE_INT:  # it has already passed the instruction
            ip -= 2 if code_at(view, self._memory, -2)[:2] == bytes((_INT_N, a)) else 1
        code = b"" if kind in _NO_INSTRUCTION else code_at(view, self._memory, ip - view.rip)
        if kind in (Kind.IN, Kind.OUT) and _is_string_io(code):
            reason += "s"
        detail = self._service() if reason == "firmware" else _detail(kind, a, b, c)
        self._emit(reason, detail, code, host_ns, ip)

    def _service(self) -> str:
        """Name the service: the ROM's stub has pushed its vector."""
        view = self._engine.view
        stack = (view.segs[r.SS].base + (view.regs[r.RSP] & 0xFFFF)) & 0xFFFF_FFFF
        physical = probe(view, stack)
        vector = 0 if physical is None else self._memory.read(physical, 1)[0]
        return f"INT {vector:02x}h served" if vector else "power-on self-test done"

    def technique_exit(self, reason: str, place: Place, detail: str, host_ns: int) -> None:
        """Report what a technique did about one exit."""
        self._tracer.emit(
            Exit(
                time_ns=self._engine.wiring.now_ns(),
                cs=place.cs,
                ip=place.ip,
                cpl=place.cpl,
                mode=place.mode,
                reason=reason,
                detail=detail,
                code=place.code,
                host_ns=host_ns,
            )
        )

    def finding(self, finding: Finding) -> None:
        """Report a violation where it happened."""
        self._tracer.emit(
            Violation(
                time_ns=self._engine.wiring.now_ns(),
                linear=finding.linear,
                instruction=finding.instruction,
                name=finding.name,
                text=finding.text,
            )
        )

    def note(self, reason: str, detail: str = "") -> None:
        """Report what the run loop itself does: HLT, a reset."""
        view = self._engine.fetch()
        self._emit(reason, detail, code_at(view, self._memory), 0, view.rip)

    def _emit(self, reason: str, detail: str, code: bytes, host_ns: int, ip: int) -> None:
        view = self._engine.view
        self._tracer.emit(
            Exit(
                time_ns=self._engine.wiring.now_ns(),
                cs=view.segs[r.CS].selector,
                ip=ip,
                cpl=view.cpl,
                mode=mode_of(view),
                reason=reason,
                detail=detail,
                code=code,
                host_ns=host_ns,
            )
        )


def _is_string_io(code: bytes) -> bool:
    """Whether the instruction is INS or OUTS, whatever its prefixes."""
    rest = code.lstrip(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3")
    return bool(rest) and 0x6C <= rest[0] <= 0x6F


def _detail(kind: Kind, a: int, b: int, c: int) -> str:
    """Say what the monitor did."""
    if kind is Kind.IN:
        return f"port {a:x}h gave {c:0{2 * b}x}h"
    if kind is Kind.OUT:
        return f"port {a:x}h took {c:0{2 * b}x}h"
    if kind is Kind.MMIO_READ:
        return f"{a:08x}h gave {c:0{2 * b}x}h"
    if kind is Kind.MMIO_WRITE:
        return f"{a:08x}h took {c:0{2 * b}x}h"
    if kind is Kind.EXCEPTION:
        code = f", error code {b:x}h" if a in r.VECTORS_WITH_ERROR_CODE else ""
        return f"delivered through vector {a}{code}"
    if kind is Kind.SOFTWARE_INT:
        return f"delivered through vector {a:02x}h"
    if kind in (Kind.INTERRUPT, Kind.NMI):
        return f"vector {a:02x}h delivered"
    if kind is Kind.CPUID:
        return f"leaf {a:x}h answered"
    if kind is Kind.RDTSC:
        return f"gave {a}"
    if kind in (Kind.SYSCALL, Kind.SYSENTER):
        return f"entered the kernel, rax={a:x}h"
    return "emulated"
