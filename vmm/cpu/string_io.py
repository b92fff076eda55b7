"""REP INS and REP OUTS of a device's data port as one callback.

A sector by PIO is 256 trips through the port hook. When the port belongs to a device that moves
blocks (`PortBank.read_block`), the first trip moves as many elements as lie in one page of RAM:
INS stores elements 1..n-1 itself, advances the registers by n-1, and returns element 0, which the
engine stores where it had already worked out. Wherever anything is unusual (DF set, a segment that
is not what it seems, a page that is not RAM) it moves a single element, exactly as the hardware.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.paging import probe

if TYPE_CHECKING:
    from vmm.cpu.engine import Engine, Wiring
    from vmm.cpu.view import EngineView

_PREFIXES: Final = frozenset({0x66, 0x67, 0xF2, 0xF3, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65})
_SEGMENT_OVERRIDE: Final = {0x26: r.ES, 0x2E: r.CS, 0x36: r.SS, 0x3E: r.DS, 0x64: r.FS, 0x65: r.GS}
_PAGE: Final = 4096


class _StringInstruction(NamedTuple):
    repeated: bool
    segment: int
    address_bits: int


@lru_cache(maxsize=1024)  # of a guest's loops; bounded, for the bytes reach past the instruction
def _decode(code: bytes, code_bits: int) -> _StringInstruction | None:
    """Decode INS/OUTS (6Ch-6Fh) with prefixes; None for any other instruction."""
    repeated, segment, address_override = False, r.DS, False
    for byte in code:
        if byte in _PREFIXES or (code_bits == 64 and byte & 0xF0 == 0x40):
            repeated = repeated or byte in (0xF2, 0xF3)
            segment = _SEGMENT_OVERRIDE.get(byte, segment)
            address_override = address_override or byte == 0x67
        elif 0x6C <= byte <= 0x6F:
            bits = {16: (16, 32), 32: (32, 16), 64: (64, 32)}[code_bits][address_override]
            return _StringInstruction(repeated, segment, bits)
        else:
            return None
    return None


class StringIo:
    """The bulk handlers of one engine's data ports."""

    def __init__(self, engine: Engine, wiring: Wiring) -> None:
        self._engine = engine
        self._memory = wiring.memory
        self._bus = wiring.bus

    def bulk_in(self, port: int, size: int) -> int:
        """Serve an IN of `size` bytes; when it is a REP INS, also its next elements."""
        view = self._engine.fetch()
        moved = self._run(view, size, index=r.RDI, segment=r.ES)
        if moved is not None:
            physical, count, mask = moved
            data = self._bus.block_readers[port](size, count)
            elements = len(data) // size
            if elements > 1:
                self._memory.write(physical + size, data[size:])
                self._advance(view, r.RDI, (elements - 1), size, mask)
            if elements:
                return int.from_bytes(data[:size], "little")
        read, offset = self._bus.readers[port]
        return read(offset, size)

    def bulk_out(self, port: int, size: int, value: int) -> None:
        """Serve an OUT; when it is a REP OUTS, also its next elements."""
        view = self._engine.fetch()
        moved = self._run(view, size, index=r.RSI, segment=None)
        if moved is not None:
            physical, count, mask = moved
            elements = self._bus.block_writers[port](size, self._memory.read(physical, count * size))
            if elements > 1:
                self._advance(view, r.RSI, elements - 1, size, mask)
            if elements:
                return
        write, offset = self._bus.writers[port]
        write(offset, size, value)

    def _run(
        self, view: EngineView, size: int, *, index: int, segment: int | None
    ) -> tuple[int, int, int] | None:
        """Return (physical address, elements, address mask) of what may move at once, or None."""
        state = view.state
        hflags = state.hflags
        bits = 64 if hflags & s.HF_CS64 else 32 if hflags & s.HF_CS32 else 16
        base = 0 if bits == 64 else state.segs[r.CS].base
        code_at = probe(view, base + state.rip)
        if state.df != 1 or code_at is None:
            return None
        instruction = _decode(view.memory.read(code_at, min(6, _PAGE - (code_at & (_PAGE - 1)))), bits)
        if instruction is None or not instruction.repeated:
            return None
        mask = (1 << instruction.address_bits) - 1
        offset, count = view.regs[index] & mask, view.regs[r.RCX] & mask
        number = instruction.segment if segment is None else segment
        linear = offset + (0 if bits == 64 and number < r.FS else state.segs[number].base)
        if not view.efer & r.EFER_LMA:
            linear &= 0xFFFF_FFFF
        count = min(count, (_PAGE - (linear & (_PAGE - 1))) // size, (mask + 1 - offset) // size)
        if count < 2:
            return None
        physical = probe(view, linear)
        if physical is not None:
            physical &= state.a20_mask
        if physical is None or not self._memory.is_ram(physical, count * size):
            return None
        return physical, count, mask

    def _advance(self, view: EngineView, index: int, elements: int, size: int, mask: int) -> None:
        """Move the index and count registers past `elements`, as their address size does."""
        keep = ~mask if mask == 0xFFFF else 0  # a 32-bit register write clears the upper half
        regs = view.regs
        regs[index] = (regs[index] & keep) | ((regs[index] + elements * size) & mask)
        regs[r.RCX] = (regs[r.RCX] & keep) | ((regs[r.RCX] - elements) & mask)
        self._engine.commit()
