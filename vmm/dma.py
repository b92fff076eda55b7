"""Guest memory as a bus master sees it: RAM and ROM; devices' windows do not answer.

One transfer may be megabytes long, and a guest may aim it anywhere: no part of it becomes calls of
a device's register.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmm.memory import Memory


class BusMasterMemory:
    """The `GuestMemory` of PCI and ISA bus masters."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes; windows read as FFh."""
        memory = self._memory
        if memory.is_ram(address, length):
            return memory.read(address, length)
        return b"".join(
            b"\xff" * size if memory.is_window(at) else memory.read(at, size)
            for at, size in memory.pieces(address, length)
        )

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data`; what falls on a window is dropped."""
        memory = self._memory
        if memory.is_ram(address, len(data)):
            memory.write(address, data)
            return
        view = memoryview(data)
        for at, size in memory.pieces(address, len(data)):
            if not memory.is_window(at):
                memory.write(at, view[at - address : at - address + size])
