"""The data pages of translated code, as the monitor reaches them: `emit.py` says what is where."""

from __future__ import annotations

import ctypes

from vmm.cpu.paging import PAGE_SIZE
from vmm.techniques.hidden import HiddenMemory
from vmm.techniques.translation import emit


class DataPages:
    """A run of the monitor's pages; `flags` are the virtual flags."""

    def __init__(self, hidden: HiddenMemory) -> None:
        first = hidden.allocate_run(emit.DATA_PAGES)
        self.first, self.length = first, emit.DATA_PAGES * PAGE_SIZE
        self.pages = [first + number * PAGE_SIZE for number in range(emit.DATA_PAGES)]
        at = hidden.host_address(first)
        self.flags = ctypes.c_uint32.from_address(at + emit.FLAGS)
        self.pending = ctypes.c_uint8.from_address(at + emit.PENDING)
        self.target = ctypes.c_uint32.from_address(at + emit.TARGET)
        self.eax = ctypes.c_uint32.from_address(at + emit.SAVED_EAX)
        self.ecx = ctypes.c_uint32.from_address(at + emit.SAVED_ECX)
