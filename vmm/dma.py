"""Guest memory as a bus master sees it: RAM and ROM; devices' windows do not answer.

One transfer may be megabytes long, and a guest may aim it anywhere: no part of it becomes calls of
a device's register.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmm.memory import SHADOW_END, Memory


class BusMasterMemory:
    """The `ScatteredMemory` of PCI and ISA bus masters."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes; windows read as FFh."""
        memory = self._memory
        end = address + length
        if address >= SHADOW_END and end <= memory.ram_bytes:  # nearly always: with no call of another
            return memory.mapping[address:end]
        if memory.is_ram(address, length):
            return memory.read(address, length)
        return b"".join(
            b"\xff" * size if memory.is_window(at) else memory.read(at, size)
            for at, size in memory.pieces(address, length)
        )

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data`; what falls on a window is dropped."""
        memory = self._memory
        length = len(data)
        end = address + length
        if address >= SHADOW_END and end <= memory.ram_bytes:
            memory.ram[address:end] = data
            memory.on_write(address, length)
            return
        if memory.is_ram(address, length):
            memory.write(address, data)
            return
        view = memoryview(data)
        for at, size in memory.pieces(address, length):
            if not memory.is_window(at):
                memory.write(at, view[at - address : at - address + size])

    def views(self, runs: Sequence[tuple[int, int]]) -> list[memoryview] | None:
        """Return the RAM itself, a view a run; None if some run is not RAM from end to end."""
        return self._memory.views(runs)

    def written(self, runs: Sequence[tuple[int, int]]) -> None:
        """Have code that was translated from the runs forgotten."""
        on_write = self._memory.on_write
        for address, length in runs:
            on_write(address, length)
