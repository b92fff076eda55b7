"""What a guest has sent on one line, the newest part of it kept: a guest may print for ever."""

from __future__ import annotations

from typing import Final

KEPT_BYTES: Final = 4 << 20


class Output:
    """A stream of bytes. Positions count from its first byte, kept or not.

    Up to twice `kept` bytes lie in memory, so that forgetting costs nothing per byte.
    """

    def __init__(self, kept: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._bytes = bytearray()
        self._forgotten = 0

    @property
    def end(self) -> int:
        """How many bytes there have been."""
        return self._forgotten + len(self._bytes)

    def append(self, byte: int) -> None:
        """Take the next byte."""
        if len(self._bytes) >= 2 * self._kept:
            self._forgotten += len(self._bytes) - self._kept
            del self._bytes[: -self._kept]
        self._bytes.append(byte)

    def endswith(self, text: bytes) -> bool:
        """Return whether `text` is the newest."""
        return self._bytes.endswith(text)

    def since(self, position: int) -> bytes:
        """Return what came from `position` on, or what is kept of it."""
        return bytes(self._bytes[max(position - self._forgotten, 0) :])

    def find(self, text: bytes, position: int) -> int:
        """Return where `text` first stands at or behind `position`; -1 if nowhere."""
        at = self._bytes.find(text, max(position - self._forgotten, 0))
        return at if at < 0 else at + self._forgotten
