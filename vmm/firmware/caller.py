"""One call of a firmware service: the caller's registers, memory and interrupt frame.

A ROM stub pushes its vector and traps, so the caller's stack holds, from SS:SP up: the service
word (low byte the vector, high byte a verdict for the stub), IP, CS, FLAGS. Flags are returned by
changing the FLAGS that IRET takes back. Nothing here can fail, whatever the registers hold:
addresses wrap, and memory that is not there reads FFh.

A 16-bit caller under paging (VM86) is followed through its page tables. A caller of the 32-bit far
functions is a `FlatCaller`. Not modelled: frames that a 32-bit gate pushed.
"""

from __future__ import annotations

from typing import Final

from devices.backplane import GuestMemory
from vmm.cpu import registers as r
from vmm.cpu.paging import probe
from vmm.cpu.state import CpuView
from vmm.firmware.host import FirmwareHost

FRAME_VERDICT: Final = 1
FRAME_IP: Final = 2
FRAME_CS: Final = 4
FRAME_FLAGS: Final = 6

# Verdicts, tested by the stub's code (rom.py)
RETURN: Final = 0
WAIT: Final = 1  # enable interrupts, halt until one comes, then call again
RETRY: Final = 2  # let interrupts in, then call again
WAIT_FOR_KEY: Final = 3  # as WAIT, but tell INT 15h AH=90h first

PAGE_BYTES: Final = 4096
PAGE_MASK: Final = PAGE_BYTES - 1
LINEAR_MASK: Final = 0xFFFF_FFFF
ONE_MIB: Final = 0x10_0000
SYSTEM_CONTROL_PORT: Final = 0x92  # bit 1: A20, [PS2] System Control Port A
SYSTEM_CONTROL_A20: Final = 0x02


class _Part:
    """A general register, or part of one, of the caller: reads unsigned, writes keep the rest."""

    __slots__ = ("_index", "_mask", "_shift")

    def __init__(self, index: int, bits: int, shift: int = 0) -> None:
        self._index = index
        self._shift = shift
        self._mask = (1 << bits) - 1

    def __get__(self, caller: Caller, owner: type[Caller]) -> int:
        return caller.view.regs[self._index] >> self._shift & self._mask

    def __set__(self, caller: Caller, value: int) -> None:
        regs = caller.view.regs
        field = self._mask << self._shift
        regs[self._index] = regs[self._index] & ~field | (value & self._mask) << self._shift


class Caller:
    """The software that executed INT n, as a service sees it."""

    eax, ax, ah, al = _Part(r.RAX, 32), _Part(r.RAX, 16), _Part(r.RAX, 8, 8), _Part(r.RAX, 8)
    ebx, bx, bh, bl = _Part(r.RBX, 32), _Part(r.RBX, 16), _Part(r.RBX, 8, 8), _Part(r.RBX, 8)
    ecx, cx, ch, cl = _Part(r.RCX, 32), _Part(r.RCX, 16), _Part(r.RCX, 8, 8), _Part(r.RCX, 8)
    edx, dx, dh, dl = _Part(r.RDX, 32), _Part(r.RDX, 16), _Part(r.RDX, 8, 8), _Part(r.RDX, 8)
    si, di, bp = _Part(r.RSI, 16), _Part(r.RDI, 16), _Part(r.RBP, 16)
    edi = _Part(r.RDI, 32)
    flags_at = FRAME_FLAGS
    pointer_bytes = 4  # of a far pointer in memory

    def __init__(self, host: FirmwareHost, view: CpuView) -> None:
        self.host = host
        self.view = view
        self.memory: GuestMemory = host.memory
        stack = view.segs[r.SS]
        self._stack_base = stack.base
        self._stack_mask = 0xFFFF_FFFF if stack.flags & r.DESC_B else 0xFFFF
        self._sp = view.regs[r.RSP]
        word = self._frame_word(0)
        self.vector = word & 0xFF
        self.called_again = word >> 8 != RETURN

    # -- the interrupt frame

    def _frame_address(self, offset: int) -> int:
        return self._stack_base + ((self._sp + offset) & self._stack_mask)

    def _frame_word(self, offset: int) -> int:
        return int.from_bytes(self.read(self._frame_address(offset), 2), "little")

    def _set_frame_word(self, offset: int, value: int) -> None:
        self.write(self._frame_address(offset), value.to_bytes(2, "little"))

    def _set_flag(self, flag: int, on: bool) -> None:
        flags = self._frame_word(self.flags_at)
        wanted = flags | flag if on else flags & ~flag
        if wanted != flags:
            self._set_frame_word(self.flags_at, wanted)

    def set_carry(self, on: bool) -> None:
        """Set the CF that the caller sees."""
        self._set_flag(r.CF, on)

    def set_zero(self, on: bool) -> None:
        """Set the ZF that the caller sees."""
        self._set_flag(r.ZF, on)

    def conclude(self, verdict: int) -> None:
        """Tell the stub what to do next: RETURN, WAIT or RETRY."""
        self.write(self._frame_address(FRAME_VERDICT), bytes((verdict,)))

    def return_to(self, segment: int, offset: int, *, interrupts: bool = True) -> None:
        """Let the stub's IRET go to `segment`:`offset` instead of back, with interrupts on or off."""
        self._set_frame_word(FRAME_IP, offset)
        self._set_frame_word(FRAME_CS, segment)
        self._set_frame_word(FRAME_FLAGS, (r.IF if interrupts else 0) | 2)

    def move_stack(self, segment: int, offset: int) -> None:
        """Give the caller, in real mode, another stack; service word and frame are to be filled anew."""
        cache = self.view.segs[r.SS]
        cache.selector, cache.base = segment, segment << 4
        self._stack_base, self._sp = cache.base, offset
        self.view.regs[r.RSP] = self.view.regs[r.RSP] & ~0xFFFF | offset

    def store_on_stack(self, offset: int, data: bytes) -> None:
        """Store bytes above the service word, in room that the stub made."""
        self.write(self._frame_address(offset), data)

    def set_es(self, segment: int) -> None:
        """Give the caller, in real mode, another ES."""
        cache = self.view.segs[r.ES]
        cache.selector, cache.base = segment, segment << 4

    # -- memory

    def address(self, segment: int, offset: int) -> int:
        """Return the linear address of `offset` in segment register `segment` (ES, DS …)."""
        return (self.view.segs[segment].base + (offset & 0xFFFF)) & LINEAR_MASK

    def far_address(self, segment: int, offset: int) -> int:
        """Return the linear address of a far pointer in the caller's memory."""
        return (segment << 4) + offset

    def read(self, linear: int, length: int) -> bytes:
        """Return `length` bytes at a linear address."""
        return b"".join(self.memory.read(at, size) for at, size in self._pieces(linear, length))

    def write(self, linear: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at a linear address."""
        done = 0
        for at, size in self._pieces(linear, len(data)):
            self.memory.write(at, data[done : done + size])
            done += size

    def _pieces(self, linear: int, length: int) -> list[tuple[int, int]]:
        """Return the physical runs behind a linear range; a page not mapped counts as ROM."""
        linear &= LINEAR_MASK
        paged = bool(self.view.cr[0] & r.CR0_PG)
        if not paged and linear + length <= ONE_MIB:
            return [(linear, length)]
        a20 = self.host.bus.read(SYSTEM_CONTROL_PORT, 1) & SYSTEM_CONTROL_A20
        pieces = []
        while length > 0:
            size = min(length, PAGE_BYTES - (linear & PAGE_MASK))
            physical = probe(self.view, linear) if paged else linear
            physical = LINEAR_MASK & ~PAGE_MASK if physical is None else physical
            pieces.append((physical if a20 else physical & ~ONE_MIB, size))
            linear, length = (linear + size) & LINEAR_MASK, length - size
        return pieces


class FlatCaller(Caller):
    """A program in 32-bit protected mode that made a far call: dwords on the stack, offsets of 32 bits."""

    flags_at = FRAME_CS  # the frame is the service dword and EFLAGS
    pointer_bytes = 6

    def address(self, segment: int, offset: int) -> int:
        """Return the linear address of `offset` in segment register `segment`."""
        return (self.view.segs[segment].base + (offset & LINEAR_MASK)) & LINEAR_MASK

    def far_address(self, segment: int, offset: int) -> int:
        """Return the linear address; a selector that is not one of DS, ES and SS counts as flat."""
        caches = (self.view.segs[index] for index in (r.DS, r.ES, r.SS))
        base = next((cache.base for cache in caches if cache.selector == segment), 0)
        return (base + offset) & LINEAR_MASK
