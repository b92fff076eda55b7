"""Unicorn's physical address space: RAM, ROM and apertures by host address, windows and holes by call.

QEMU gives each mapped block a place in a RAM space of its own; translated code is known by that offset.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import unicorn
from unicorn.unicorn_py3.unicorn import uclib

from vmm.errors import EngineError
from vmm.memory import SHADOW_END, Block, Memory

HIDDEN_PAGE: Final = 1 << 40  # VMCB and MSR permission map: above every address a page table can hold
HIDDEN_BYTES: Final = 0x4000
_PHYSICAL_LIMIT: Final = 1 << 40
_PAGE_BYTES: Final = 4096

MapWindow = Callable[[int, int, Any, Any], None]


class MemoryMap:
    """What is mapped, and where in QEMU's RAM space. `map_window` has accesses to a range answered."""

    def __init__(self, uc: unicorn.Uc, memory: Memory, map_window: MapWindow) -> None:
        self._uc, self._memory, self._map_window = uc, memory, map_window
        self._hidden = ctypes.create_string_buffer(HIDDEN_BYTES + _PAGE_BYTES)
        self.hidden_host = (ctypes.addressof(self._hidden) + _PAGE_BYTES - 1) & -_PAGE_BYTES
        self._deltas: list[tuple[int, int]] = []  # by block: address, QEMU's RAM offset less it
        self._block_starts: list[int] = []
        self._spans: list[tuple[int, int]] = []
        self._shown: set[int] = set()  # addresses of the apertures that are mapped
        self._map_all()

    def _map_all(self) -> None:
        uc, memory = self._uc, self._memory
        # QEMU's allocator gives colliding RAM offsets when a larger block follows smaller ones
        # (the wrong block is then executed): freeing one first and going down in size avoids it.
        uc.mem_map(HIDDEN_PAGE + (1 << 32), 1 << 30)
        uc.mem_unmap(HIDDEN_PAGE + (1 << 32), 1 << 30)
        blocks = sorted(memory.blocks(), key=lambda b: -b.length)
        for block in blocks:
            uc.mem_map_ptr(block.address, block.length, unicorn.UC_PROT_ALL, block.host_address)
        uc.mem_map_ptr(HIDDEN_PAGE, HIDDEN_BYTES, unicorn.UC_PROT_ALL, self.hidden_host)
        self._learn_offsets(blocks)
        for block in blocks:
            if not block.writable:
                uc.mem_protect(block.address, block.length, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        for window in memory.windows:
            self._map_window(window.address, window.length, window.device.read, window.device.write)
        taken = sorted(
            [(b.address, b.length) for b in blocks] + [(w.address, w.length) for w in memory.windows]
        )
        at = 0
        for address, length in [*taken, (_PHYSICAL_LIMIT, 0)]:
            if address > at:
                self._map_window(at, address - at, None, None)
            at = address + length
        memory.on_protect = self._protect
        self.follow_apertures()

    def _learn_offsets(self, blocks: list[Block]) -> None:
        """Learn where QEMU put each block in its own RAM space, and that none overlap."""
        offset_of = uclib.qemu_ram_addr_from_host_x86_64
        offset_of.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        offset_of.restype = ctypes.c_uint64
        for block in blocks:
            offset = offset_of(self._uc._uch, block.host_address)
            self._spans.append((offset, offset + block.length))
            self._deltas.append((block.address, offset - block.address))
        self._spans.sort()
        if any(first[1] > second[0] for first, second in pairwise(self._spans)):
            raise EngineError("unicorn gave two memory blocks the same RAM offset; report this")
        self._deltas.sort()
        self._block_starts = [address for address, _ in self._deltas]

    def _protect(self, address: int, length: int, writable: bool) -> None:
        protection = unicorn.UC_PROT_ALL if writable else unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        for block in self._memory.blocks():
            if address <= block.address < address + length and block.address < SHADOW_END:
                self._uc.mem_protect(block.address, block.length, protection)

    def follow_apertures(self) -> None:
        """Map the apertures that are shown, and put the window back where one no longer is.

        Only between two runs: a mapping cannot change under the code that runs.
        """
        for aperture in self._memory.apertures:
            address, length = aperture.address, aperture.length
            if aperture.shown == (address in self._shown):
                continue
            self._uc.mem_unmap(address, length)
            if aperture.shown:
                self._shown.add(address)
                block = aperture.block
                self._uc.mem_map_ptr(address, length, unicorn.UC_PROT_ALL, block.host_address)
                if address not in self._block_starts:  # QEMU puts it at the same offset each time
                    self._learn_offsets([block])
            else:
                self._shown.remove(address)
                device = self._memory.window(address).device
                self._map_window(address, length, device.read, device.write)

    def ram_delta(self, address: int) -> int:
        """Return QEMU's RAM offset less the physical address, in the block that holds `address`."""
        return self._deltas[bisect_right(self._block_starts, address) - 1][1]
