"""A few lines of machine code with labels, for the ROM: bytes go in, jumps are resolved.

16-bit code only. A jump that does not reach is our bug.
"""

from __future__ import annotations

from typing import Final

JMP_NEAR: Final = b"\xe9"
SHORT_REACH: Final = range(-0x80, 0x80)


class Code:
    """Machine code under construction; the methods return the object, so that lines can be chained."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._labels: dict[str, int] = {}
        self._short: list[tuple[int, str]] = []

    def emit(self, *code: bytes) -> Code:
        """Append instructions."""
        for piece in code:
            self._bytes += piece
        return self

    def label(self, name: str) -> Code:
        """Name this place; a place has one name, and a name one place."""
        assert name not in self._labels, name
        self._labels[name] = len(self._bytes)
        return self

    def jump(self, opcode: bytes, name: str) -> Code:
        """Append a jump with an 8-bit displacement."""
        self._bytes += opcode + b"\0"
        self._short.append((len(self._bytes), name))
        return self

    def here(self) -> int:
        """Return the offset of what is appended next."""
        return len(self._bytes)

    def assemble(self) -> bytes:
        """Return the code, which runs at any address."""
        image = bytearray(self._bytes)
        for end, name in self._short:
            distance = self._labels[name] - end
            assert distance in SHORT_REACH, name
            image[end - 1] = distance & 0xFF
        return bytes(image)


def near_jump(at: int, target: int) -> bytes:
    """Return `jmp near target` for offset `at` of the same segment."""
    distance = target - (at + len(JMP_NEAR) + 2)
    return JMP_NEAR + (distance & 0xFFFF).to_bytes(2, "little")
