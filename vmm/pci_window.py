"""The PCI memory window: where the BARs of functions decode memory accesses."""

from __future__ import annotations

from typing import Final

from devices.backplane import PortBank, PortDevice

FIRST: Final = 0xE000_0000
LAST: Final = 0xFEBF_FFFF
_ONES: Final = (1 << 64) - 1


class PciWindow:
    """Routes accesses in the window to whoever claims the address now; the rest reads as ones.

    Claims come from guests by way of BARs: an overlap is the guest's mistake, and the older claim wins.
    A frame buffer is no claim: while it is shown, memory has it in front of all windows.
    """

    name = "PCI memory window"

    def __init__(self) -> None:
        self._claims: list[tuple[int, int, PortDevice]] = []

    def move(self, device: PortDevice, size: int, old: int | None, new: int | None) -> None:
        """Move `device`'s `size` bytes from `old` to `new`; None is not decoded."""
        if old is not None:
            self._claims.remove((old, old + size, device))
        if new is not None:
            self._claims.append((new, new + size, device))

    def piece(self, start: int) -> PortBank:
        """Return the window from address `start` on."""
        return PortBank(
            self.name,
            lambda offset, size: self.read(start + offset, size),
            lambda offset, size, value: self.write(start + offset, size, value),
        )

    def read(self, address: int, size: int) -> int:
        """Guest read."""
        for first, end, device in self._claims:
            if first <= address < end:
                return device.read(address - first, size)
        return _ONES

    def write(self, address: int, size: int, value: int) -> None:
        """Guest write."""
        for first, end, device in self._claims:
            if first <= address < end:
                device.write(address - first, size, value)
                return
