"""How one side of a conversation is written down: as a generator that owns no socket.

It yields a number to be given so many bytes, or a tuple of buffers to have them sent. What it is given
is good only until it asks again. When it returns, its part is over; ProtocolError says that the other
side broke the rules, and nothing sensible can follow.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeVar

Buffer = bytes | bytearray | memoryview
Step = int | tuple[Buffer, ...]
T = TypeVar("T")
Talk = Generator[Step, memoryview, T]

PIECE_BYTES: Final = 1 << 20  # nobody asks for more at once; data move through memory in such pieces


class ProtocolError(Exception):
    """The client sent what no client may send."""


def skip(length: int) -> Talk[None]:
    """Take `length` bytes and forget them."""
    while length:
        length -= len((yield min(length, PIECE_BYTES)))
