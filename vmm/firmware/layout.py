"""Who gets which memory while a kernel is loaded: fixed places are checked, the others are found.

Every error is a ConfigError of one line that names the file and the addresses.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from vmm.errors import ConfigError
from vmm.firmware.e820 import HIGH
from vmm.firmware.post_state import PostState

MIB: Final = 1 << 20
RUNS_SHOWN: Final = 6


class _Taken(NamedTuple):
    first: int
    end: int
    what: str


class Layout:
    """The RAM of a machine after POST, and what of it is taken. `name` is the kernel's file."""

    def __init__(self, name: str, post: PostState) -> None:
        self._name = name
        self._ram = post.ram()
        self._taken: list[_Taken] = []

    def claim(self, what: str, address: int, length: int) -> None:
        """Take a range that cannot be elsewhere.

        Raises:
            ConfigError: it is not all RAM, or part of it is taken.
        """
        if not length:
            return
        end = address + length
        if not any(first <= address and end <= last for first, last in self._ram):
            runs = ", ".join(f"{first:X}h-{last - 1:X}h" for first, last in self._ram[:RUNS_SHOWN])
            raise ConfigError(
                f"{self._name}: {what} needs {address:X}h-{end - 1:X}h; free memory is {runs}: "
                "give the machine more memory, or link the kernel elsewhere"
            )
        for other in self._taken:
            if other.first < end and address < other.end:
                raise ConfigError(
                    f"{self._name}: {what} at {address:X}h-{end - 1:X}h overlaps {other.what} "
                    f"at {other.first:X}h-{other.end - 1:X}h"
                )
        self._taken.append(_Taken(address, end, what))

    def place_low(self, what: str, length: int, align: int) -> int:
        """Take the highest free range below 1 MiB and return its address.

        Raises:
            ConfigError: there is none.
        """
        for first, last in reversed([run for run in self._ram if run[0] < HIGH]):
            address = last - length & -align
            while address >= first:
                blocking = self._blocking(address, address + length)
                if blocking is None:
                    self._taken.append(_Taken(address, address + length, what))
                    return address
                address = blocking.first - length & -align
        raise ConfigError(f"{self._name}: no {length} bytes are free for {what} below 640 KiB")

    def place_above(self, what: str, length: int, align: int, lowest: int) -> int:
        """Take the lowest free range from `lowest` up and return its address.

        Raises:
            ConfigError: there is none.
        """
        for first, last in self._ram:
            address = -(-max(first, lowest) // align) * align
            while address + length <= last:
                blocking = self._blocking(address, address + length)
                if blocking is None:
                    self._taken.append(_Taken(address, address + length, what))
                    return address
                address = -(-blocking.end // align) * align
        raise ConfigError(
            f"{self._name}: no {length} bytes are free for {what} above {lowest:X}h: "
            "give the machine more memory"
        )

    def _blocking(self, first: int, end: int) -> _Taken | None:
        return next((taken for taken in self._taken if taken.first < end and first < taken.end), None)
