"""The SCB memory of an AIC-7870 and the two queues of SCB numbers (90h, 9Ah-9Eh, A0h-BFh).

Sixteen pages of 32 bytes; the one that SCBPTR names lies in the register file. Queue entries are kept
as bytes, though four bits name all pages there are.

Sources:
    [AIC] Adaptec AIC-7870 data book: SCBPTR, SCBCNT, QINFIFO, QOUTFIFO.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated, Final

import msgspec

from devices.aic7870 import registers as r
from devices.aic7870.register_file import SCB_WINDOW, Keeping, RegisterFile

PAGES: Final = 16
PAGE_BYTES: Final = len(SCB_WINDOW)
QUEUE_DEPTH: Final = 16
NOTHING_QUEUED: Final = 0xFF
SCBCNT_BITS: Final = 0x9F
_WINDOW: Final = slice(SCB_WINDOW.start, SCB_WINDOW.stop)


class ScbState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All pages, the current one as it is in the window, and the queues."""

    pages: Annotated[bytes, msgspec.Meta(min_length=PAGES * PAGE_BYTES, max_length=PAGES * PAGE_BYTES)]
    queue_in: Annotated[bytes, msgspec.Meta(max_length=QUEUE_DEPTH)]
    queue_out: Annotated[bytes, msgspec.Meta(max_length=QUEUE_DEPTH)]


class ScbMemory:
    """The pages and queues."""

    def __init__(self, registers: RegisterFile) -> None:
        self._registers = registers
        self._plain = registers.plain
        self._pages = [bytes(PAGE_BYTES)] * PAGES
        self._in: deque[int] = deque()
        self._out: deque[int] = deque()
        registers.writers[r.SCBPTR] = self._select
        registers.keep(r.SCBCNT, Keeping(SCBCNT_BITS))
        registers.readers[r.QINFIFO] = self._pop_in
        registers.writers[r.QINFIFO] = self._push_in
        registers.readers[r.QINCNT] = self._count_in
        registers.readers[r.QOUTFIFO] = self._pop_out
        registers.writers[r.QOUTFIFO] = self._push_out
        registers.readers[r.QOUTCNT] = self._count_out

    def reset(self) -> None:
        """CHIPRST: page 0, empty queues; the pages keep what they hold."""
        self._select(0)
        self._in.clear()
        self._out.clear()

    def _select(self, value: int) -> None:
        plain = self._plain
        old = plain[r.SCBPTR]
        if value != old:
            self._registers.epoch += 1
            plain[r.SCBPTR] = value
        if (value ^ old) % PAGES:
            self._pages[old % PAGES] = bytes(plain[_WINDOW])
            plain[_WINDOW] = self._pages[value % PAGES]

    def host_address(self, address: int) -> int:
        """Return where a host access to the window goes: with SCBAUTO to the offset, which counts up."""
        count = self._plain[r.SCBCNT]
        if not count & r.SCBAUTO:
            return address
        offset = count % PAGE_BYTES
        self._plain[r.SCBCNT] = r.SCBAUTO | (offset + 1) % PAGE_BYTES
        return SCB_WINDOW.start + offset

    def _push_in(self, value: int) -> None:
        if len(self._in) < QUEUE_DEPTH:
            self._in.append(value)
            self._registers.epoch += 1

    def _pop_in(self) -> int:
        if not self._in:
            return 0
        self._registers.epoch += 1
        return self._in.popleft()

    def _count_in(self) -> int:
        return len(self._in)

    def _push_out(self, value: int) -> None:
        if len(self._out) < QUEUE_DEPTH:
            self._out.append(value)
            self._registers.epoch += 1

    def _pop_out(self) -> int:
        if not self._out:
            return NOTHING_QUEUED
        self._registers.epoch += 1
        return self._out.popleft()

    def _count_out(self) -> int:
        return len(self._out)

    def page(self, number: int) -> bytes:
        """Return an SCB, whether it is in the window or not; for those who watch."""
        if number == self._plain[r.SCBPTR] % PAGES:
            return bytes(self._plain[_WINDOW])
        return self._pages[number % PAGES]

    def save(self) -> ScbState:
        """Return pages and queues."""
        pages = b"".join(self.page(number) for number in range(PAGES))
        return ScbState(pages=pages, queue_in=bytes(self._in), queue_out=bytes(self._out))

    def load(self, state: ScbState) -> None:
        """Become `state`; SCBPTR and the window are in the register file, which was loaded before."""
        self._pages = [
            state.pages[PAGE_BYTES * number : PAGE_BYTES * (number + 1)] for number in range(PAGES)
        ]
        self._in, self._out = deque(state.queue_in), deque(state.queue_out)
